"""What resellers charge their customers, and the debtor accounts of resellers in the operator's books."""

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


class DebtorAccount(Table, table=True):
    """A reseller's place among the debtors, given by a trigger when the reseller is created and never changed.

    `number` counts from 1; the account is that many after the chart's first debtor.
    """

    __tablename__ = "debtor_account"

    reseller_id: str = Field(sa_type=Id, primary_key=True, foreign_key="reseller.id")
    number: int = Field(sa_column=Column(Integer, Identity(always=False), nullable=False, unique=True))
