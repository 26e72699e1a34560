"""Payments, what was tried to collect them, and every cent that moved: the tables of collection and settlement.

One payment for each final invoice, for life. What is settled of it is always the sum of its entries, which are
append-only; the database refuses a payment that is called paid while they do not cover it.
"""

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, UniqueConstraint, text
from sqlmodel import Field

from provisioning.core.tables import Id, Json, Table, Versioned, key, moment, reference, word


class MethodKind(StrEnum):
    """How a reseller pays: by a transfer of its own accord, through Stripe, or by a debit that the bank makes."""

    TRANSFER = "transfer"
    CARD = "card"
    SEPA_DEBIT = "sepa_debit"
    DIRECT_DEBIT = "direct_debit"


AT_STRIPE = (MethodKind.CARD, MethodKind.SEPA_DEBIT)


class PaymentStatus(StrEnum):
    """Where a payment stands. `failed` waits for another method, `disputed` for the bank's decision."""

    OPEN = "open"
    PROCESSING = "processing"
    REQUIRES_ACTION = "requires_action"
    PAID = "paid"
    FAILED = "failed"
    DISPUTED = "disputed"
    UNCOLLECTIBLE = "uncollectible"
    CANCELLED = "cancelled"


class AttemptKind(StrEnum):
    CHARGE = "charge"
    REFUND = "refund"
    DEBIT = "debit"


class AttemptState(StrEnum):
    """`unknown` was sent, and whether it was carried out nobody has said yet."""

    SENDING = "sending"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


UNSETTLED = (AttemptState.SENDING, AttemptState.UNKNOWN, AttemptState.PROCESSING)
UNANSWERED = (AttemptState.SENDING, AttemptState.UNKNOWN)


class EntryKind(StrEnum):
    """Why money moved. Receipts and credit notes settle, refunds, chargebacks and fees take away.

    `write_off` is what is given up of the invoice; a fee that is given up is booked back as a positive `fee`.
    `carry_over` moves what is there already, between two payments or a payment and the reseller's balance.
    """

    RECEIPT = "receipt"
    REFUND = "refund"
    CHARGEBACK = "chargeback"
    FEE = "fee"
    WRITE_OFF = "write_off"
    CREDIT_NOTE = "credit_note"
    CARRY_OVER = "carry_over"


class BankEntryState(StrEnum):
    """`unmatched` waits for the operator."""

    MATCHED = "matched"
    UNMATCHED = "unmatched"
    ASSIGNED = "assigned"


class PaymentCustomer(Table, table=True):
    """The reseller as the payment provider knows it."""

    __tablename__ = "payment_customer"

    reseller_id: str = Field(sa_type=Id, primary_key=True, foreign_key="reseller.id")
    provider_id: str = Field(unique=True)
    created_at: datetime = moment()


class PaymentMethod(Versioned, table=True):
    """One way a reseller pays. A disabled one stays, because attempts refer to it.

    `iban`, `bic` and `holder` are kept for direct debits only: what Stripe holds, it keeps to itself.
    """

    __tablename__ = "payment_method"
    __table_args__ = (
        CheckConstraint("not is_default or disabled_at is null", name="default_is_usable"),
        CheckConstraint("(disabled_at is null) = (disabled_reason is null)", name="disabled_has_reason"),
        CheckConstraint(
            "kind <> 'direct_debit' or num_nulls(iban, holder, mandate_reference, mandate_signed_on) = 0",
            name="debit_has_mandate",
        ),
        Index("ix_payment_method_reseller_id_id", "reseller_id", "id"),
        Index("uq_payment_method_default", "reseller_id", unique=True, postgresql_where=text("is_default")),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    kind: MethodKind = word(MethodKind)
    provider_id: str | None = Field(default=None, unique=True)
    last4: str | None = None
    mandate_id: str | None = None
    mandate_reference: str | None = Field(default=None, unique=True)
    mandate_url: str | None = None
    mandate_status: str | None = None
    mandate_signed_on: date | None = None
    iban: str | None = None
    bic: str | None = None
    holder: str | None = None
    is_default: bool = False
    disabled_at: datetime | None = moment(None, nullable=True)
    disabled_reason: str | None = None
    created_at: datetime = moment()


class Payment(Table, table=True):
    """What one final invoice is owed and how far it is collected.

    `provider_id` is the PaymentIntent, one for life. `carried_to_id` is the payment that this one, too small to be
    charged alone, is collected with. `next_attempt_at` is when a worker is to look at it again.
    """

    __tablename__ = "payment"
    __table_args__ = (
        CheckConstraint("(dispute_id is null) = (dispute_status is null)", name="dispute_has_status"),
        Index("ix_payment_reseller_id_id", "reseller_id", "id"),
        Index("ix_payment_next_attempt_at", "next_attempt_at", postgresql_where=text("next_attempt_at is not null")),
        Index("ix_payment_carried_to_id", "carried_to_id", postgresql_where=text("carried_to_id is not null")),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    invoice_id: str = Field(sa_type=Id, foreign_key="invoice.id", unique=True)
    amount_cents: int = Field(sa_type=BigInteger)
    method: MethodKind = word(MethodKind, MethodKind.TRANSFER)
    status: PaymentStatus = word(PaymentStatus, PaymentStatus.OPEN)
    provider_id: str | None = Field(default=None, unique=True)
    next_attempt_at: datetime | None = moment(None, nullable=True)
    action_url: str | None = None
    error_code: str | None = None
    dispute_id: str | None = None
    dispute_status: str | None = None
    carried_to_id: str | None = reference("payment.id", nullable=True)
    opened_at: datetime = moment()


class PaymentAttempt(Table, table=True):
    """One request to move money, written down and committed before it is sent.

    `request` is the body as it is sent each time with `idempotency_key`; `request_hash` is its SHA-256.
    `provider_id` is the charge or the refund it led to. `stored_errors` counts the answers of the provider that say
    nothing of the outcome and will come again for the same key.
    """

    __tablename__ = "payment_attempt"
    __table_args__ = (
        UniqueConstraint("payment_id", "number"),
        CheckConstraint("amount_cents > 0", name="amount_positive"),
        CheckConstraint(
            "(state in ('sending', 'unknown', 'processing')) = (finished_at is null)", name="finished_has_time"
        ),
        # Two collections of one payment at a time are two debits of one account.
        Index(
            "uq_payment_attempt_collecting",
            "payment_id",
            unique=True,
            postgresql_where=text("kind <> 'refund' and state in ('sending', 'unknown', 'processing')"),
        ),
        Index("ix_payment_attempt_provider_id", "provider_id"),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    payment_id: str = reference("payment.id")
    kind: AttemptKind = word(AttemptKind)
    number: int
    idempotency_key: str = Field(unique=True)
    state: AttemptState = word(AttemptState, AttemptState.SENDING)
    amount_cents: int = Field(sa_type=BigInteger)
    method_id: str | None = reference("payment_method.id", nullable=True)
    request: dict[str, Any] = Field(sa_type=Json)
    request_hash: str
    provider_id: str | None = None
    stored_errors: int = 0
    error_code: str | None = None
    decline_code: str | None = None
    created_at: datetime = moment()
    sent_at: datetime | None = moment(None, nullable=True)
    finished_at: datetime | None = moment(None, nullable=True)


class PaymentEntry(Table, table=True):
    """Money that moved, once for each `source` and for ever; `payment_id` None is the reseller's credit balance.

    The source is what the money is known by where it moved: a charge, a refund, a dispute, the key of a line of a
    bank statement, with a suffix where one of them moves more than once.
    """

    __tablename__ = "payment_entry"
    __table_args__ = (
        CheckConstraint("amount_cents <> 0", name="amount_not_zero"),
        Index("ix_payment_entry_payment_id", "payment_id"),
        Index("ix_payment_entry_balance", "reseller_id", postgresql_where=text("payment_id is null")),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    payment_id: str | None = reference("payment.id", nullable=True)
    kind: EntryKind = word(EntryKind)
    amount_cents: int = Field(sa_type=BigInteger)
    booked_on: date
    source: str = Field(unique=True)
    created_at: datetime = moment()


class StripeEvent(Table, table=True):
    """The inbox: an event's id and what it is about, and no more of it, because nothing else of it is believed.

    `problem` says why it was not handled yet, or with `handled_at` why it never will be.
    """

    __tablename__ = "stripe_event"
    __table_args__ = (Index("ix_stripe_event_next_try_at", "next_try_at", postgresql_where=text("handled_at is null")),)

    id: str = key()
    type: str
    object_id: str
    created_at: datetime = moment()
    received_at: datetime = moment()
    tries: int = 0
    next_try_at: datetime = moment()
    handled_at: datetime | None = moment(None, nullable=True)
    problem: str | None = None


class EventPoll(Table, table=True):
    """How far the provider's list of events has been read."""

    __tablename__ = "event_poll"

    gateway: str = Field(primary_key=True)
    watermark_at: datetime = moment()


class BankEntry(Table, table=True):
    """One line of a bank statement, kept once by its key; the operator assigns those that name no invoice.

    `amount_cents` is negative for what left the account, such as a debit that was returned.
    """

    __tablename__ = "bank_entry"
    __table_args__ = (
        CheckConstraint("(state = 'unmatched') = (payment_id is null)", name="matched_has_payment"),
        Index("ix_bank_entry_state_id", "state", "id"),
    )

    id: str = key()
    entry_key: str = Field(unique=True)
    reseller_id: str | None = reference("reseller.id", nullable=True)
    payment_id: str | None = reference("payment.id", nullable=True)
    state: BankEntryState = word(BankEntryState)
    amount_cents: int = Field(sa_type=BigInteger)
    booked_on: date
    counterparty_name: str | None = None
    counterparty_iban: str | None = None
    end_to_end_id: str | None = None
    remittance: str | None = None
    return_reason: str | None = None
    created_at: datetime = moment()


class DirectDebitFile(Table, table=True):
    """A pain.008 file as it went to the bank; its debits are attempts that name it as `file_id` in their request."""

    __tablename__ = "direct_debit_file"

    id: str = key()
    collect_on: date
    count: int
    total_cents: int = Field(sa_type=BigInteger)
    content: bytes
    sha256: str
    actor: str
    created_at: datetime = moment()
