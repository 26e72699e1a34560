"""Prices, invoices and invoice runs: the tables of billing, and the issuer named on its documents.

Amounts are whole cents, rates are basis points (1900 is 19 %), periods are half-open: `period_ends_on` is the
first day that is no longer billed.
"""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Literal

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlmodel import Field

from billing.terms import AllowanceKind, LineKind, Proration, TiersMode
from billing.vat import Regime
from provisioning.core.tables import Id, Json, Table, key, moment, reference, word

ChartName = Literal["SKR03", "SKR04"]
"""The two charts of accounts (Standardkontenrahmen) that DATEV exports know."""


class RunState(StrEnum):
    """The phase an invoice run is to do next, or how it ended."""

    RATING = "rating"
    CHECKING = "checking"
    VALIDATING = "validating"
    FINALISING = "finalising"
    DOCUMENTS = "documents"
    COLLECTION = "collection"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"


UNFINISHED = (
    RunState.RATING,
    RunState.CHECKING,
    RunState.VALIDATING,
    RunState.FINALISING,
    RunState.DOCUMENTS,
    RunState.COLLECTION,
)


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
    issue. Contact and phone are BT-41 and BT-42, register number and legal information BT-30 and BT-33.
    `creditor_id` (BT-90) is for direct debits of its own, `has_gateway` says whether cards and accounts kept at Stripe
    are charged. The logo, PNG or JPEG, is printed only and in no copy.
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
    contact_name: str
    phone: str
    register_number: str | None = None
    legal_info: str | None = None
    series: str = "PF"
    payment_days: int = 14
    creditor_id: str | None = None
    has_gateway: bool = False
    logo: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Books:
    """Whose books the bookings go into; `consultant` and `client` are the tax adviser's numbers (Berater, Mandant).

    `fee_income_account` takes the place of the chart's own account for fees.
    """

    consultant: int | None = None
    client: int | None = None
    chart: ChartName = "SKR03"
    account_length: int = 4
    fiscal_year_starts_in: int = 1
    fee_income_account: int | None = None


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
    """One tier: from `min_quantity` units of a product on, each costs `price_cents` a month.

    `service_class` is the product, a class of service or an add-on; PriceTerms say how its tiers are applied.
    """

    __tablename__ = "price"
    __table_args__ = (CheckConstraint("min_quantity >= 0 and price_cents >= 0", name="not_negative"),)

    price_list_id: str = Field(sa_type=Id, primary_key=True, foreign_key="price_list.id", ondelete="CASCADE")
    service_class: str = Field(primary_key=True)
    min_quantity: int = Field(primary_key=True)
    reseller_id: str | None = reference("reseller.id", nullable=True)
    price_cents: int


class PriceTerms(Table, table=True):
    """The terms of one product of a list (`billing.terms.Terms`), where they are not the usual ones."""

    __tablename__ = "price_terms"
    __table_args__ = (CheckConstraint("least(minimum_term_months, notice_days, trial_days) >= 0", name="not_negative"),)

    price_list_id: str = Field(sa_type=Id, primary_key=True, foreign_key="price_list.id", ondelete="CASCADE")
    service_class: str = Field(primary_key=True)
    reseller_id: str | None = reference("reseller.id", nullable=True)
    tiers_mode: TiersMode = word(TiersMode, TiersMode.VOLUME)
    proration: Proration = word(Proration, Proration.DAILY)
    minimum_term_months: int = 0
    notice_days: int = 0
    trial_days: int = 0


class InvoiceRun(Table, table=True):
    """The billing of all periods that close on one day. There is at most one for each day.

    Calendar months close on the first of the next one, other anchor days in between. `month` is the first day of the
    month in which the periods begin. `resellers` counts those with days to bill, `parked` and `finalised` how many
    of them went either way, `documents` the final ones whose documents are stored, `alarms` those whose documents could
    not be made. `finished_at` is when it last succeeded.
    """

    __tablename__ = "invoice_run"
    __table_args__ = (
        CheckConstraint("extract(day from month) = 1", name="month_is_first_day"),
        CheckConstraint(
            "closes_on >= month + interval '1 month' and closes_on < month + interval '2 months'",
            name="closes_in_the_next_month",
        ),
    )

    id: str = key()
    closes_on: date = Field(unique=True)
    month: date
    state: RunState = word(RunState, RunState.RATING)
    resellers: int = 0
    parked: int = 0
    finalised: int = 0
    documents: int = 0
    alarms: int = 0
    actor: str
    started_at: datetime = moment()
    finished_at: datetime | None = moment(None, nullable=True)


class InvoiceRunItem(Table, table=True):
    """One reseller in one run; `code` and `reason` say why it is parked, `report` what the gate found if it did.

    `validated_hash` is what of the draft has passed the gate. `alarm` says why the documents of a final invoice could
    not be made; that is tried again until it is mended.
    """

    __tablename__ = "invoice_run_item"
    __table_args__ = (
        CheckConstraint("(state = 'parked') = (code is not null and reason is not null)", name="parked_has_reason"),
        Index("ix_invoice_run_item_run_id_state_reseller_id", "run_id", "state", "reseller_id"),
        Index("ix_invoice_run_item_alarm", "run_id", postgresql_where=text("alarm is not null")),
        Index("ix_invoice_run_item_parked_code", "code", postgresql_where=text("state = 'parked'")),
    )

    run_id: str = Field(sa_type=Id, primary_key=True, foreign_key="invoice_run.id")
    reseller_id: str = Field(sa_type=Id, primary_key=True, foreign_key="reseller.id")
    state: ItemState = word(ItemState, ItemState.DRAFTED)
    code: str | None = None
    reason: str | None = None
    report: dict[str, Any] | None = Field(default=None, sa_type=Json)
    validated_hash: str | None = None
    alarm: str | None = None


class Invoice(Table, table=True):
    """One reseller's billing period. A draft has no number; a final one is immutable, held so by the database.

    `net_cents` is BT-109: the sum of its lines (BT-106) less `allowances_cents` (BT-107).

    `number` (BT-1) is `sequence` within `series` and `year` as printed. `buyer` (`billing.snapshots.BUYER_SQL`) and
    `seller` (the fields of Issuer) are copies taken at finalisation; how the buyer pays is in its copy. `replaces_id`
    is the cancelled invoice of the same period that this one bills anew. Why there is no tax follows from
    `tax_category` (`billing.vat.EXEMPTIONS`); `vat_check_id` is the evidence that a reverse charge rests on.
    """

    __tablename__ = "invoice"
    __table_args__ = (
        Index(
            "uq_invoice_reseller_id_period_starts_on",
            "reseller_id",
            "period_starts_on",
            unique=True,
            postgresql_where=text("replaces_id is null"),
        ),
        UniqueConstraint("series", "year", "sequence"),
        CheckConstraint("gross_cents = net_cents + tax_cents", name="sums_agree"),
        CheckConstraint("allowances_cents >= 0", name="allowances_not_negative"),
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
    replaces_id: str | None = Field(default=None, sa_type=Id, foreign_key="invoice.id", unique=True)
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
    allowances_cents: int = Field(default=0, sa_type=BigInteger)
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
    """What one customer's units of one product cost at one price; fields and units are those of
    `billing.rating.Line`.

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
    kind: LineKind = word(LineKind, LineKind.USAGE)
    price_cents: int
    mailbox_days: int
    base_days: int
    net_cents: int = Field(sa_type=BigInteger)


class InvoiceAllowance(Table, table=True):
    """What lowers an invoice as a whole, before tax (EN 16931 BG-20).

    `amount_cents` is BT-92, `base_cents` BT-93, `percent_basis_points` BT-94 in basis points, `reason` BT-97.
    """

    __tablename__ = "invoice_allowance"
    __table_args__ = (
        ForeignKeyConstraint(["invoice_id"], ["invoice.id"], ondelete="CASCADE"),
        CheckConstraint("amount_cents > 0 and amount_cents <= base_cents", name="within_its_base"),
    )

    invoice_id: str = key()
    position: int = Field(primary_key=True)
    reseller_id: str = Field(sa_type=Id)
    kind: AllowanceKind = word(AllowanceKind)
    discount_id: str | None = Field(default=None, sa_type=Id)
    reason: str
    percent_basis_points: int | None = None
    base_cents: int = Field(sa_type=BigInteger)
    amount_cents: int = Field(sa_type=BigInteger)


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
