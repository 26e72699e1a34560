"""Dunning: once a day each unpaid invoice gets the step that is due, and service follows what is paid.

A day is gone through once, by whichever worker comes first, in blocks that each commit by themselves; whoever is
killed is followed by another that finds the steps taken. A step is a row that the database takes once for an invoice
and once a day; its fee, its notice and the suspension are written in the same transaction, so that none stands alone.

The fee is booked as a receivable of its own beside the invoice. Under German law it makes good the damage of late
payment (sections 280, 286 BGB): no supply is paid for with it, so no VAT is due (UStAE 1.3 (6)) and it must not stand
on an invoice with VAT.
"""

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.dunning_cases import Case, lock_due, owed_after, read_cases, read_policy
from billing.dunning_models import DunningDay, DunningStep
from billing.dunning_plan import Policy, PolicyStep, StepKind, due_step
from billing.notices import Letterhead, write_dunning, write_resumption
from billing.payment_models import EntryKind
from billing.settlement import book, lock_payment
from provisioning.core.clock import berlin_day
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from provisioning.tenants import Reseller, get_reseller, resume_service, suspend_service

BLOCK = 200
"""How many invoices are looked at in one transaction."""

# Suspending service again is no step: it was taken, and it has no day of its own.
_AGAIN = PolicyStep(StepKind.SUSPENSION, days_past_due=0)


@dataclass(frozen=True, slots=True)
class Turned:
    """The resellers whose service was suspended again, or resumed."""

    suspended: tuple[str, ...]
    resumed: tuple[str, ...]


# What is taken back by the bank is owed again, and a pause that is over has not paid anything: so it is asked what is
# owed now, and not what was when the step was taken.
_IN_ARREARS = text(
    """
    select distinct on (payment.reseller_id) payment.reseller_id, payment.id as payment_id
    from dunning_step step
    join payment on payment.id = step.payment_id and payment.reseller_id = step.reseller_id
    where step.kind = 'suspension' and payment.status in ('open', 'processing', 'requires_action', 'failed')
        and payment.amount_cents >= greatest(:small_amount_cents, 1) + (
            select coalesce(sum(entry.amount_cents), 0) from payment_entry entry
            where entry.payment_id = payment.id and entry.reseller_id = payment.reseller_id and entry.kind <> 'fee')
        and not exists (select from dunning_pause pause
            where pause.reseller_id = payment.reseller_id and pause.until_on > :today)
    order by payment.reseller_id, payment.id
    """
)
_FINISH_DAY = text("update dunning_day set finished_at = :now where day = :day and finished_at is null")


async def run_day(database: Database, head: Letterhead, *, now: datetime, again: bool = False) -> int:
    """Take the steps that are due today in Berlin; how many. A day that is done is done, unless `again`.

    Days that nobody worked on are not made up for one by one: each invoice gets its next step today, and the one after
    that at its distance.
    """
    today = berlin_day(now)
    async with database.as_system() as session:
        if await _is_done(session, today, now=now) and not again:
            return 0
    taken, after = 0, ""
    while True:
        async with database.as_system() as session:
            policy = await read_policy(session)
            payment_ids = await lock_due(session, policy, today=today, after=after, block=BLOCK)
            for case in await read_cases(session, payment_ids, today=today):
                taken += await _take_due(session, head, case, policy, today=today, now=now)
        if not payment_ids:
            break
        after = payment_ids[-1]
    async with database.as_system() as session:
        await session.execute(_FINISH_DAY, {"day": today, "now": now})
    return taken


async def review_service(session: AsyncSession, head: Letterhead, *, now: datetime) -> Turned:
    """Suspend service where an invoice is owed whose suspension was reached, and resume it everywhere else."""
    today = berlin_day(now)
    # In this order: a suspension that commits in between is not taken for one without arrears.
    query = select(col(Reseller.id)).where(col(Reseller.service_suspended_at).is_not(None))
    suspended = set((await session.scalars(query)).all())
    policy = await read_policy(session)
    values = {"small_amount_cents": policy.small_amount_cents, "today": today}
    rows = await session.execute(_IN_ARREARS, values)
    in_arrears = {row.reseller_id: row.payment_id for row in rows}
    again = tuple(sorted(in_arrears.keys() - suspended))
    over = tuple(sorted(suspended - in_arrears.keys()))
    for reseller_id in again:
        [case] = await read_cases(session, [in_arrears[reseller_id]], today=today)
        source = f"{reseller_id}:suspended:{now.isoformat()}"
        await _tell(session, head, case, policy, _AGAIN, source=source, now=now)
    for reseller_id in over:
        reseller = await get_reseller(session, reseller_id, lock=True)
        since = reseller.service_suspended_at
        if since is not None:
            await resume_service(session, reseller)
            source = f"{reseller_id}:resumed:{since.isoformat()}"
            await write_resumption(session, head, reseller, source=source, now=now)
    return Turned(again, over)


async def _is_done(session: AsyncSession, day: date, *, now: datetime) -> bool:
    begun = insert(DunningDay).values(day=day, started_at=now).on_conflict_do_nothing()
    await session.execute(begun)
    return await session.scalar(select(col(DunningDay.finished_at)).where(col(DunningDay.day) == day)) is not None


async def _take_due(
    session: AsyncSession, head: Letterhead, case: Case, policy: Policy, *, today: date, now: datetime
) -> bool:
    step = due_step(case.situation, policy, today=today)
    if step is None:
        return False
    taken = DunningStep(
        id=new_id("dun"),
        reseller_id=case.reseller_id,
        payment_id=case.payment_id,
        invoice_id=case.invoice_id,
        kind=step.kind,
        days_past_due=step.days_past_due,
        owed_cents=case.owed_cents,
        fee_cents=step.fee_cents,
        taken_on=today,
        taken_at=now,
    )
    written = await session.scalar(
        insert(DunningStep).values(taken.model_dump()).on_conflict_do_nothing().returning(col(DunningStep.id))
    )
    if written is None:
        return False
    if step.fee_cents:
        payment = await lock_payment(session, case.payment_id)
        await book(session, payment, EntryKind.FEE, -step.fee_cents, source=f"{written}:fee", now=now)
    await _tell(session, head, case, policy, step, source=written, now=now)
    return True


async def _tell(
    session: AsyncSession,
    head: Letterhead,
    case: Case,
    policy: Policy,
    step: PolicyStep,
    *,
    source: str,
    now: datetime,
) -> None:
    """Write the notice of a step; the one of a suspension comes with it."""
    suspends = step.kind is StepKind.SUSPENSION
    reseller = await get_reseller(session, case.reseller_id, lock=suspends)
    if suspends and reseller.service_suspended_at is None:
        reason = f"Invoice {case.number} is not paid: see GET /v1/dunning. Service resumes by itself once it is."
        await suspend_service(session, reseller, reason=reason, now=now)
    owed = owed_after(case, step, policy, today=berlin_day(now))
    await write_dunning(session, head, reseller, owed, invoice_id=case.invoice_id, source=source, now=now)
