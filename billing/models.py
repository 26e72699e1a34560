"""Prices, invoices and invoice runs: the tables of billing, and the issuer named on its documents.

Amounts are whole cents, rates are basis points (1900 is 19 %), periods are half-open: `period_ends_on` is the
first day that is no longer billed.
"""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Literal

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlmodel import Field

from billing.vat import Regime
from provisioning.core.tables import Id, Json, Table, key, moment, reference, word

ChartName = Literal["SKR03", "SKR04"]
"""The two charts of accounts (Standardkontenrahmen) that DATEV exports know."""


class RunState(StrEnum):
    """The phase an invoice run is to do next, or how it ended."""

    RATING = "rating"
    CHECKING = "checking"
    FINALISING = "finalising"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"


class ItemState(StrEnum):
    """What has become of one reseller in a run; a parked one gets no invoice and no number."""

    DRAFTED = "drafted"
    PARKED = "parked"
    FINALISED = "finalised"


class InvoiceStatus(StrEnum):
    DRAFT = "draft"
    FINAL = "final"


class VatAnswer(StrEnum):
    """What VIES says of a VAT id; `unavailable` is no answer, and says nothing of the id."""

    VALID = "valid"
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who issues the invoices (EN 16931 BG-4) and where to pay; a copy goes into every final invoice.

    `series` begins every number, such as PF in PF-2026-000001; an invoice is due `payment_days` after its
    issue.
    """

    name: str
    street: str
    postcode: str
    city: str
    country: str
    vat_id: str
    tax_number: str
    email: str
    iban: str
    bic: str
    series: str = "PF"
    payment_days: int = 14


@dataclass(frozen=True, slots=True)
class Books:
    """Whose books the bookings go into; `consultant` and `client` are the tax adviser's numbers (Berater, Mandant)."""

    consultant: int | None = None
    client: int | None = None
    chart: ChartName = "SKR03"
    account_length: int = 4
    fiscal_year_starts_in: int = 1


class PriceList(Table, table=True):
    """What mailboxes cost from a day on: for one reseller, or for all when `reseller_id` is None.

    The list that holds on a month's first day prices the whole month. Lists never change; a new one replaces
    an older one from its day on, and one that no final invoice can have used may be withdrawn.
    """

    __tablename__ = "price_list"
    __table_args__ = (UniqueConstraint("reseller_id", "valid_from", postgresql_nulls_not_distinct=True),)

    id: str = key()
    reseller_id: str | None = reference("reseller.id", nullable=True)
    name: str
    currency: str = "EUR"
    valid_from: date
    created_at: datetime = moment()


class Price(Table, table=True):
    """One volume tier: from `min_quantity` mailboxes of a class on, each costs `price_cents` a month."""

    __tablename__ = "price"
    __table_args__ = (CheckConstraint("min_quantity >= 0 and price_cents >= 0", name="not_negative"),)

    price_list_id: str = Field(sa_type=Id, primary_key=True, foreign_key="price_list.id", ondelete="CASCADE")
    service_class: str = Field(primary_key=True)
    min_quantity: int = Field(primary_key=True)
    reseller_id: str | None = reference("reseller.id", nullable=True)
    price_cents: int


class InvoiceRun(Table, table=True):
    """The billing of one month, known by its first day. There is at most one for each month.

    `resellers` counts those with days in the month, `parked` and `finalised` how many of them went either
    way. `finished_at` is when it last succeeded.
    """

    __tablename__ = "invoice_run"
    __table_args__ = (CheckConstraint("extract(day from month) = 1", name="month_is_first_day"),)

    id: str = key()
    month: date = Field(unique=True)
    state: RunState = word(RunState, RunState.RATING)
    resellers: int = 0
    parked: int = 0
    finalised: int = 0
    actor: str
    started_at: datetime = moment()
    finished_at: datetime | None = moment(None, nullable=True)


class InvoiceRunItem(Table, table=True):
    """One reseller in one run; `code` and `reason` say why it is parked."""

    __tablename__ = "invoice_run_item"
    __table_args__ = (
        CheckConstraint("(state = 'parked') = (code is not null and reason is not null)", name="parked_has_reason"),
        Index("ix_invoice_run_item_run_id_state_reseller_id", "run_id", "state", "reseller_id"),
        Index("ix_invoice_run_item_parked_code", "code", postgresql_where=text("state = 'parked'")),
    )

    run_id: str = Field(sa_type=Id, primary_key=True, foreign_key="invoice_run.id")
    reseller_id: str = Field(sa_type=Id, primary_key=True, foreign_key="reseller.id")
    state: ItemState = word(ItemState, ItemState.DRAFTED)
    code: str | None = None
    reason: str | None = None


class Invoice(Table, table=True):
    """One reseller's month. A draft has no number; a final one is immutable, held so by the database.

    `number` (BT-1) is `sequence` within `series` and `year` as printed. `buyer` (BG-7: id, name, street,
    postcode, city, country, vat_id, email) and `seller` (the fields of Issuer) are copies taken at
    finalisation. Why there is no tax follows from `tax_category` (`billing.vat.EXEMPTIONS`); `vat_check_id` is
    the evidence that a reverse charge rests on.
    """

    __tablename__ = "invoice"
    __table_args__ = (
        UniqueConstraint("reseller_id", "period_starts_on"),
        UniqueConstraint("series", "year", "sequence"),
        CheckConstraint("gross_cents = net_cents + tax_cents", name="sums_agree"),
        CheckConstraint("status = 'final' or number is null", name="draft_has_no_number"),
        CheckConstraint(
            "status = 'draft' or "
            "num_nulls(number, series, year, sequence, issued_on, due_on, buyer, seller, finalised_at) = 0",
            name="final_is_complete",
        ),
        Index("ix_invoice_reseller_id_id", "reseller_id", "id"),
        Index("ix_invoice_run_id_id", "run_id", "id"),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    run_id: str = reference("invoice_run.id")
    status: InvoiceStatus = word(InvoiceStatus, InvoiceStatus.DRAFT)
    number: str | None = Field(default=None, unique=True)
    series: str | None = None
    year: int | None = None
    sequence: int | None = None
    period_starts_on: date
    period_ends_on: date
    issued_on: date | None = None
    due_on: date | None = None
    currency: str = "EUR"
    net_cents: int = Field(sa_type=BigInteger)
    tax_cents: int = Field(sa_type=BigInteger)
    gross_cents: int = Field(sa_type=BigInteger)
    tax_category: str
    rate_basis_points: int
    vat_check_id: str | None = reference("vat_check.id", nullable=True)
    buyer: dict[str, Any] | None = Field(default=None, sa_type=Json)
    seller: dict[str, Any] | None = Field(default=None, sa_type=Json)
    created_at: datetime = moment()
    finalised_at: datetime | None = moment(None, nullable=True)


class InvoiceLine(Table, table=True):
    """What one customer's mailboxes of one class cost; the units are those of `billing.rating.Line`.

    `reseller_id`, `customer_id` and `customer_name` are copies: the invoice outlives a customer that is
    erased, and a foreign key would be looked up for every line of a run.
    """

    __tablename__ = "invoice_line"
    __table_args__ = (ForeignKeyConstraint(["invoice_id"], ["invoice.id"], ondelete="CASCADE"),)

    invoice_id: str = key()
    position: int = Field(primary_key=True)
    reseller_id: str = Field(sa_type=Id)
    customer_id: str = Field(sa_type=Id)
    customer_name: str
    service_class: str
    price_cents: int
    mailbox_days: int
    base_days: int
    net_cents: int = Field(sa_type=BigInteger)


class NumberSeries(Table, table=True):
    """The last number given in a series and year; the transaction that finalises locks its row.

    Never a sequence: what rolls back here gives its numbers back, so there are no gaps.
    """

    __tablename__ = "number_series"

    series: str = Field(primary_key=True)
    year: int = Field(primary_key=True)
    last_number: int = 0


class VatCheck(Table, table=True):
    """One question to VIES whether a VAT id is valid, and its answer: evidence, held immutable by the database.

    `consultation_number` proves to the tax office that it was asked; `error` is VIES's own word, or ours, for
    why there was no answer; `raw` is the answer as it came. A yes holds until `expires_at`.
    """

    __tablename__ = "vat_check"
    __table_args__ = (
        CheckConstraint("(answer = 'valid') = (expires_at is not null)", name="valid_expires"),
        Index("ix_vat_check_reseller_id_vat_id_asked_at", "reseller_id", "vat_id", "asked_at"),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    vat_id: str
    asked_at: datetime = moment()
    answer: VatAnswer = word(VatAnswer)
    error: str | None = None
    name: str | None = None
    address: str | None = None
    consultation_number: str | None = None
    raw: dict[str, Any] = Field(sa_type=Json)
    expires_at: datetime | None = moment(None, nullable=True)


class TaxRegime(Table, table=True):
    """How the issuer is taxed from a day on; the standard regime before the first. Months go by their last day."""

    __tablename__ = "tax_regime"

    valid_from: date = Field(primary_key=True)
    regime: Regime = word(Regime)
    created_at: datetime = moment()
