"""What dunning looks at: unpaid invoices with the steps taken so far, the operator's policy, and pauses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from billing.dunning_models import DunningPause, DunningPolicy
from billing.dunning_plan import (
    DEFAULT_POLICY,
    Hold,
    Next,
    Policy,
    PolicyStep,
    Situation,
    StepKind,
    Taken,
    faults_of,
    hold_on,
    next_step,
    suspension_day,
)
from billing.notice_texts import NoticeKind, Owed
from billing.payment_models import PaymentStatus
from provisioning.core.errors import FieldError, Invalid
from provisioning.core.queries import owned

# How long a notice gives that no step follows.
LAST_DAYS = 7

UNPAID = (
    PaymentStatus.OPEN,
    PaymentStatus.PROCESSING,
    PaymentStatus.REQUIRES_ACTION,
    PaymentStatus.FAILED,
    PaymentStatus.DISPUTED,
)


@dataclass(frozen=True, slots=True)
class StepTaken:
    """A step as it is shown: what it was, when, and what it cost."""

    kind: StepKind
    taken_on: date
    days_past_due: int
    fee_cents: int


@dataclass(frozen=True, slots=True)
class Case:
    """One unpaid invoice. `owed_cents` is what is left of the invoice itself, `fees_cents` what was added to it."""

    payment_id: str
    reseller_id: str
    invoice_id: str
    number: str
    issued_on: date
    due_on: date
    status: PaymentStatus
    amount_cents: int
    owed_cents: int
    fees_cents: int
    steps: tuple[StepTaken, ...]
    situation: Situation


@dataclass(frozen=True, slots=True)
class Outlook:
    """What comes next for a case: why nothing does at the moment (`hold`), and the step and its first day."""

    hold: Hold | None
    coming: Next | None


# Where a debit is under way or the bank decides, nobody is asked for anything. Held in a statement of their own: a join
# that waits for a lock would put what it had read of the other tables before the wait beside the row as it is after it.
_LOCK_DUE = text(
    """
    select payment.id from payment join invoice on invoice.id = payment.invoice_id
    where payment.status in ('open', 'failed', 'requires_action') and payment.id > :after
        and invoice.due_on <= :due_until
        and not exists (select from dunning_step step where step.payment_id = payment.id
            and step.reseller_id = payment.reseller_id and (step.kind = :last or step.taken_on >= :today))
    order by payment.id limit :block for update of payment
    """
)

# A fee is a debt of its own: what came in pays the invoice first, and what is left of the invoice is what is dunned.
_CASES = """
    select payment.id as payment_id, payment.reseller_id, payment.invoice_id, payment.status, payment.amount_cents,
        invoice.number, invoice.issued_on, invoice.due_on,
        payment.amount_cents - moved.settled_cents as owed_cents, moved.fees_cents,
        exists (select from payment_attempt attempt where attempt.payment_id = payment.id
            and attempt.reseller_id = payment.reseller_id and attempt.state in ('sending', 'unknown')) as is_unanswered,
        coalesce(pause.until_on > :today, false) as is_paused, taken.steps
    from payment
    join invoice on invoice.id = payment.invoice_id
    left join dunning_pause pause on pause.reseller_id = payment.reseller_id
    cross join lateral (
        select coalesce(sum(amount_cents) filter (where kind <> 'fee'), 0)::bigint as settled_cents,
            coalesce(-sum(amount_cents) filter (where kind = 'fee'), 0)::bigint as fees_cents
        from payment_entry entry where entry.payment_id = payment.id and entry.reseller_id = payment.reseller_id
    ) as moved
    cross join lateral (
        select coalesce(jsonb_agg(jsonb_build_object('kind', kind, 'taken_on', taken_on,
            'days_past_due', days_past_due, 'fee_cents', fee_cents) order by taken_on), '[]') as steps
        from dunning_step step where step.payment_id = payment.id and step.reseller_id = payment.reseller_id
    ) as taken
"""
_BY_ID = text(f"{_CASES} where payment.id = any(cast(:ids as text[])) order by payment.id")
_OF_RESELLER = text(
    f"{_CASES} where payment.reseller_id = :reseller_id "
    "and payment.status in ('open', 'processing', 'requires_action', 'failed', 'disputed') "
    "order by invoice.due_on, payment.id"
)
_OVERDUE = text(
    f"{_CASES} where payment.status in ('open', 'processing', 'requires_action', 'failed', 'disputed') "
    "and payment.id > :after and invoice.due_on <= :due_until order by payment.id limit :block"
)


async def find_policy(session: AsyncSession) -> DunningPolicy | None:
    """The operator's own policy; None while DEFAULT_POLICY holds."""
    return await session.get(DunningPolicy, "current", populate_existing=True)


async def read_policy(session: AsyncSession) -> Policy:
    return policy_of(await find_policy(session))


def policy_of(row: DunningPolicy | None) -> Policy:
    if row is None:
        return DEFAULT_POLICY
    steps = (PolicyStep(StepKind(each["kind"]), each["days_past_due"], each["fee_cents"]) for each in row.steps)
    return Policy(tuple(steps), row.small_amount_cents)


async def set_policy(session: AsyncSession, policy: Policy, *, now: datetime) -> DunningPolicy:
    """Put a policy in place of the one that held; it holds for the next step of everybody. Raises Invalid."""
    if faults := faults_of(policy.steps):
        errors = [FieldError(f"/steps/{place}", "out_of_order", fault) for place, fault in faults.items()]
        raise Invalid("These steps are no policy.", errors=errors)
    row = await find_policy(session)
    if row is None:
        row = DunningPolicy(id="current", small_amount_cents=0, steps=[], changed_at=now)
        session.add(row)
    row.small_amount_cents, row.changed_at = policy.small_amount_cents, now
    row.steps = [
        {"kind": each.kind.value, "days_past_due": each.days_past_due, "fee_cents": each.fee_cents}
        for each in policy.steps
    ]
    await session.flush()
    return row


async def find_pause(session: AsyncSession, reseller_id: str) -> DunningPause | None:
    """The pause of a reseller, which may be over."""
    return await session.scalar(owned(DunningPause, reseller_id))


async def pause(session: AsyncSession, reseller_id: str, *, until_on: date, reason: str, now: datetime) -> DunningPause:
    """Take no step towards a reseller before `until_on`; a pause there was is replaced."""
    row = await find_pause(session, reseller_id)
    if row is None:
        row = DunningPause(reseller_id=reseller_id, until_on=until_on, reason=reason, created_at=now)
        session.add(row)
    row.until_on, row.reason, row.created_at = until_on, reason, now
    await session.flush()
    return row


async def lock_due(session: AsyncSession, policy: Policy, *, today: date, after: str, block: int) -> Sequence[str]:
    """The next payments that may need a step today, held until the transaction ends; empty when none is left."""
    if not policy.steps:
        return []
    values = {
        "after": after,
        "due_until": today - timedelta(days=policy.steps[0].days_past_due),
        "last": policy.steps[-1].kind,
        "today": today,
        "block": block,
    }
    return (await session.scalars(_LOCK_DUE, values)).all()


async def read_cases(session: AsyncSession, payment_ids: Sequence[str], *, today: date) -> list[Case]:
    rows = await session.execute(_BY_ID, {"ids": list(payment_ids), "today": today})
    return [_case(row) for row in rows.mappings()]


async def cases_of(session: AsyncSession, reseller_id: str, *, today: date) -> list[Case]:
    """All that a reseller has not paid, longest due first."""
    rows = await session.execute(_OF_RESELLER, {"reseller_id": reseller_id, "today": today})
    return [_case(row) for row in rows.mappings()]


async def overdue_cases(session: AsyncSession, *, today: date, after: str, block: int) -> list[Case]:
    """The next of all resellers' invoices that are due and not paid, in the order of their payments' ids."""
    values = {"today": today, "due_until": today - timedelta(days=1), "after": after, "block": block}
    return [_case(row) for row in (await session.execute(_OVERDUE, values)).mappings()]


def outlook(case: Case, policy: Policy) -> Outlook:
    return Outlook(hold_on(case.situation, policy), next_step(case.situation, policy))


def owed_after(case: Case, step: PolicyStep, policy: Policy, *, today: date) -> Owed:
    """What the notice of a step that is taken today says."""
    taken = (*case.situation.taken, Taken(step.kind, today, step.days_past_due))
    situation = Situation(case.due_on, case.owed_cents, taken)
    coming = next_step(situation, policy)
    pay_by_on = today + timedelta(days=LAST_DAYS) if coming is None else coming.on - timedelta(days=1)
    return Owed(
        kind=NoticeKind(step.kind),
        number=case.number,
        issued_on=case.issued_on,
        due_on=case.due_on,
        amount_cents=case.amount_cents,
        owed_cents=case.owed_cents,
        fees_cents=case.fees_cents + step.fee_cents,
        fee_cents=step.fee_cents,
        pay_by_on=pay_by_on,
        suspends_on=suspension_day(situation, policy),
    )


def _case(row: Mapping[Any, Any]) -> Case:
    steps = tuple(
        StepTaken(
            StepKind(each["kind"]), date.fromisoformat(each["taken_on"]), each["days_past_due"], each["fee_cents"]
        )
        for each in row["steps"]
    )
    taken = tuple(Taken(each.kind, each.taken_on, each.days_past_due) for each in steps)
    status = PaymentStatus(row["status"])
    over = min(row["owed_cents"], 0)  # what came in beyond the invoice has gone to the fees
    return Case(
        payment_id=row["payment_id"],
        reseller_id=row["reseller_id"],
        invoice_id=row["invoice_id"],
        number=row["number"],
        issued_on=row["issued_on"],
        due_on=row["due_on"],
        status=status,
        amount_cents=row["amount_cents"],
        owed_cents=row["owed_cents"] - over,
        fees_cents=row["fees_cents"] + over,
        steps=steps,
        situation=Situation(row["due_on"], row["owed_cents"], taken, _hold(row, status)),
    )


def _hold(row: Mapping[Any, Any], status: PaymentStatus) -> Hold | None:
    if status not in UNPAID:
        return Hold.SETTLED
    if status is PaymentStatus.DISPUTED:
        return Hold.DISPUTED
    if status is PaymentStatus.PROCESSING or row["is_unanswered"]:
        return Hold.COLLECTING
    return Hold.PAUSED if row["is_paused"] else None
