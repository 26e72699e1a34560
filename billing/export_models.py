"""What resellers charge their customers and whose data they bill it with; their accounts in the operator's books."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, Column, ForeignKeyConstraint, Identity, Integer, UniqueConstraint
from sqlmodel import Field

from provisioning.core.tables import Id, Table, Versioned, key, moment, reference


class ResalePrice(Versioned, table=True):
    """What a mailbox of a class costs a reseller's customer a month, net: one customer, or all when it is None.

    A customer's own price wins over that for all. Of several, the one that began last on or before a month's first day
    holds for the whole month.
    """

    __tablename__ = "resale_price"
    __table_args__ = (
        UniqueConstraint(
            "reseller_id",
            "service_class",
            "customer_id",
            "valid_from",
            name="uq_resale_price_valid_from",
            postgresql_nulls_not_distinct=True,
        ),
        ForeignKeyConstraint(["customer_id"], ["customer.id"], ondelete="CASCADE"),
        CheckConstraint("price_cents >= 0", name="not_negative"),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    customer_id: str | None = Field(default=None, sa_type=Id, nullable=True, index=True)
    service_class: str
    price_cents: int
    valid_from: date
    created_at: datetime = moment()


class SellerProfile(Versioned, table=True):
    """What a reseller's own invoices say of it beside its name, address and VAT id: BG-6, BG-17, BT-30, BT-32, BT-33.

    `is_small_business` is § 19 UStG. An invoice is due `payment_days` after its issue.
    """

    __tablename__ = "seller_profile"
    __table_args__ = (CheckConstraint("payment_days between 0 and 365", name="payment_days_in_a_year"),)

    reseller_id: str = Field(sa_type=Id, primary_key=True, foreign_key="reseller.id")
    contact_name: str
    phone: str
    email: str
    iban: str
    bic: str | None = None
    tax_number: str | None = None
    register_number: str | None = None
    legal_info: str | None = None
    is_small_business: bool = False
    payment_days: int = 14


class ResellerLogo(Versioned, table=True):
    """The picture on what goes out in a reseller's name: PNG or JPEG, 256 KiB at most; `sha256` is of it, in hex."""

    __tablename__ = "reseller_logo"

    reseller_id: str = Field(sa_type=Id, primary_key=True, foreign_key="reseller.id")
    media_type: str
    content: bytes
    sha256: str


class CustomerBilling(Versioned, table=True):
    """What a reseller's invoice says of its customer beside the name: BG-8, BT-10, BT-48, BT-49."""

    __tablename__ = "customer_billing"
    __table_args__ = (ForeignKeyConstraint(["customer_id"], ["customer.id"], ondelete="CASCADE"),)

    customer_id: str = Field(sa_type=Id, primary_key=True)
    reseller_id: str = reference("reseller.id", index=True)
    street: str
    postcode: str
    city: str
    country: str
    email: str
    vat_id: str | None = None
    contact_name: str | None = None
    buyer_reference: str | None = None
    electronic_address: str | None = None
    electronic_address_scheme: str | None = None


class DebtorAccount(Table, table=True):
    """A reseller's place among the debtors, given by a trigger when the reseller is created and never changed.

    `number` counts from 1; the account is that many after the chart's first debtor.
    """

    __tablename__ = "debtor_account"

    reseller_id: str = Field(sa_type=Id, primary_key=True, foreign_key="reseller.id")
    number: int = Field(sa_column=Column(Integer, Identity(always=False), nullable=False, unique=True))
