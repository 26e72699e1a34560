"""Dunning: the operator's policy, pauses, the steps that were taken, the days that were gone through, and notices."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, UniqueConstraint, text
from sqlmodel import Field

from billing.dunning_plan import StepKind
from billing.notice_texts import NoticeKind
from provisioning.core.tables import Id, Json, Table, Versioned, key, moment, reference, word


class Delivery(StrEnum):
    """What became of a notice's e-mail. `listed` ones have none; of an `unknown` one nobody knows whether it left."""

    LISTED = "listed"
    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"


class DunningPolicy(Versioned, table=True):
    """The one policy, `id` being `current`. `steps` is a list of {"kind", "days_past_due", "fee_cents"}."""

    __tablename__ = "dunning_policy"
    __table_args__ = (
        CheckConstraint("id = 'current'", name="only_one"),
        CheckConstraint("small_amount_cents >= 0", name="not_negative"),
    )

    id: str = key(default="current")
    small_amount_cents: int
    steps: list[dict[str, Any]] = Field(sa_type=Json)
    changed_at: datetime = moment()


class DunningPause(Versioned, table=True):
    """No steps are taken towards this reseller before `until_on`."""

    __tablename__ = "dunning_pause"

    reseller_id: str = Field(sa_type=Id, primary_key=True, foreign_key="reseller.id")
    until_on: date
    reason: str
    created_at: datetime = moment()


class DunningStep(Table, table=True):
    """A step that was taken, for ever: each once for an invoice, and one a day at most.

    `days_past_due` is when the policy wanted it, `owed_cents` what was owed of the invoice itself, `fee_cents` what
    the step added.
    """

    __tablename__ = "dunning_step"
    __table_args__ = (
        UniqueConstraint("invoice_id", "kind"),
        UniqueConstraint("invoice_id", "taken_on"),
        Index("ix_dunning_step_payment_id", "payment_id"),
        Index("ix_dunning_step_suspension", "reseller_id", postgresql_where=text("kind = 'suspension'")),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    payment_id: str = reference("payment.id")
    invoice_id: str = reference("invoice.id")
    kind: StepKind = word(StepKind)
    days_past_due: int
    owed_cents: int = Field(sa_type=BigInteger)
    fee_cents: int = 0
    taken_on: date
    taken_at: datetime = moment()


class DunningDay(Table, table=True):
    """A day, in Berlin, on which all unpaid invoices were looked at, or are being looked at."""

    __tablename__ = "dunning_day"

    day: date = Field(primary_key=True)
    started_at: datetime = moment()
    finished_at: datetime | None = moment(None, nullable=True)


class Notice(Table, table=True):
    """A letter to a reseller, once for each `source`, in both languages; `language` is the one that is mailed.

    Only `delivery` and what belongs to it ever change: `tries`, `next_try_at`, `tried_at`, `problem`.
    """

    __tablename__ = "notice"
    __table_args__ = (
        Index("ix_notice_reseller_id_id", "reseller_id", "id"),
        Index("ix_notice_next_try_at", "next_try_at", postgresql_where=text("delivery in ('waiting', 'sending')")),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    invoice_id: str | None = reference("invoice.id", nullable=True)
    kind: NoticeKind = word(NoticeKind)
    source: str = Field(unique=True)
    recipient: str
    language: str
    subject_de: str
    body_de: str
    subject_en: str
    body_en: str
    created_at: datetime = moment()
    delivery: Delivery = word(Delivery, Delivery.LISTED)
    tries: int = 0
    next_try_at: datetime | None = moment(None, nullable=True)
    tried_at: datetime | None = moment(None, nullable=True)
    problem: str | None = None
