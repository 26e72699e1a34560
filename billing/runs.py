"""The invoice run as a resource: one for each closing day, driven phase by phase, resumable after any death.

    rating -> checking -> validating -> finalising -> documents -> collection -> succeeded
                                            (cancelled before finalising)

Each phase, and each block of invoices within one, is a transaction that begins by locking the run and reading its
state anew. Whoever comes after a kill, or beside another worker, goes on with what is left. Validating and documents
are work for the processor: helpers share it, and hold no lock on the run meanwhile.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing import drafts
from billing.models import UNFINISHED, InvoiceRun, InvoiceRunItem, Issuer, ItemState, RunState
from billing.periods import BillingMonth, BillingPeriod, berlin_day, periods_due
from billing.phases import SHARED, WAIT_SECONDS, is_waiting, locked, share, step, validate_here
from provisioning.core.database import Database
from provisioning.core.errors import Conflict, NotFound
from provisioning.core.ids import new_id
from provisioning.core.jobs import INVOICE_RUN, enqueue

# A job that confirmed something just before midnight may still be writing it down.
SETTLING = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: `state` is the phase that comes next, the counters are resellers."""

    run_id: str
    month: BillingMonth
    closes_on: date
    state: RunState
    resellers: int
    parked: int
    finalised: int
    documents: int


@dataclass(frozen=True, slots=True)
class RunSums:
    """How many invoices a run has, drafts included, and what they come to."""

    invoices: int
    net_cents: int
    tax_cents: int
    gross_cents: int


OnProgress = Callable[[Progress], None]


async def start_run(session: AsyncSession, period: BillingPeriod, *, actor: str, now: datetime) -> InvoiceRun:
    """Create and enqueue the run of the day that a period closes on, or return the one there is; a cancelled one
    begins anew. It bills everybody whose period closes on that day.

    Raises Conflict `month_not_over` before the period is over in Berlin.
    """
    if period.ends_on > berlin_day(now):
        raise Conflict(f"{period} is not over; it can be billed from {period.ends_on} on.", code="month_not_over")
    run_id = await _create(session, period, actor=actor, now=now)
    if run_id is None:
        run_id = (
            await session.scalars(select(col(InvoiceRun.id)).where(col(InvoiceRun.closes_on) == period.ends_on))
        ).one()
    run = await locked(session, run_id)
    if run.state == RunState.CANCELLED:
        run.state, run.actor, run.started_at = RunState.RATING, actor, now
    if run.state in UNFINISHED:
        await enqueue(session, INVOICE_RUN, [run.id])
    return run


async def due_runs(session: AsyncSession, now: datetime) -> list[str]:
    """Create the run of every day on which somebody's period closed and that has none, and enqueue all that are not
    finished.

    A period is left to settle for two hours: what was confirmed on its last day has been recorded by then.
    Returns the ids of those created, oldest first; the periods of an anchor day count from the first day that anybody
    who has it was in service. Safe to call at any time and twice at once: this is what the schedule does.
    """
    due: dict[date, BillingPeriod] = {}
    for anchor_day, first_on in await session.execute(_FIRST_DAYS):
        due |= {period.ends_on: period for period in periods_due(first_on, anchor_day, now - SETTLING)}
    have = set(await session.scalars(select(col(InvoiceRun.closes_on)))) if due else set()
    created = []
    for closes_on in sorted(due.keys() - have):
        run_id = await _create(session, due[closes_on], actor="schedule", now=now)
        if run_id is not None:
            created.append(run_id)
    unfinished = await session.scalars(
        select(col(InvoiceRun.id)).where(col(InvoiceRun.state).in_(UNFINISHED)).order_by(col(InvoiceRun.closes_on))
    )
    await enqueue(session, INVOICE_RUN, list(unfinished))
    return created


# One look into the ledger's index for each reseller, not one at each of its rows.
_FIRST_DAYS = text(
    """
    select billing_anchor_day, min(first_on) from reseller
    cross join lateral (select min(starts_on) as first_on from service_period where reseller_id = reseller.id) ledger
    where first_on is not null group by billing_anchor_day
    """
)


async def continue_run(
    database: Database,
    run_id: str,
    *,
    now: datetime,
    issuer: Issuer,
    on_progress: OnProgress | None = None,
) -> InvoiceRun:
    """Drive a run to its end, and before it every earlier one that is not there yet: periods stay in order.

    Commits after each phase and each block of numbers, then calls `on_progress`. May be called again at any
    time and by several processes. Raises NotFound for an unknown run, Unavailable when the database is away.
    """
    async with database.as_system() as session:
        run = await get_run(session, run_id)
        pending = select(col(InvoiceRun.id)).where(
            col(InvoiceRun.state).in_(UNFINISHED), col(InvoiceRun.closes_on) <= run.closes_on
        )
        unfinished = (await session.scalars(pending.order_by(col(InvoiceRun.closes_on)))).all()
    for each in unfinished:
        driven = await _drive(database, each, now=now, issuer=issuer, on_progress=on_progress)
        run = driven if each == run.id else run
    return run


async def rehearse(session: AsyncSession, run_id: str, *, now: datetime, issuer: Issuer) -> list[InvoiceRun]:
    """Drive a run, and before it every earlier one that is not there yet, to the end in the caller's transaction.

    The caller rolls it back: what it reads until then is, to the cent, what `continue_run` would bring about by these
    same statements. Until then it holds the runs and the counter of numbers. Returns the runs in order. Raises
    NotFound.
    """
    run = await locked(session, run_id)
    # What the caller has just changed is part of the rehearsal.
    await session.flush()
    pending = select(col(InvoiceRun.id)).where(
        col(InvoiceRun.state).in_(UNFINISHED), col(InvoiceRun.closes_on) <= run.closes_on
    )
    rehearsed = []
    for each in (await session.scalars(pending.order_by(col(InvoiceRun.closes_on)))).all():
        running = await locked(session, each)
        while running.state in UNFINISHED:
            if running.state == RunState.VALIDATING:
                await validate_here(session, running, now=now, issuer=issuer)
            await step(session, running, now=now, issuer=issuer)
            await session.flush()
            if running.state == RunState.DOCUMENTS:
                # Rendering changes no sum, and what it made would be rolled back.
                running.state = RunState.COLLECTION
        rehearsed.append(running)
    return rehearsed


async def sums_of(session: AsyncSession, run_id: str) -> RunSums:
    """Return what the invoices of a run come to."""
    counted = (await session.execute(_SUMS, {"run_id": run_id})).one()
    return RunSums(*counted)


_SUMS = text(
    """
    select count(*), cast(coalesce(sum(net_cents), 0) as bigint), cast(coalesce(sum(tax_cents), 0) as bigint),
        cast(coalesce(sum(gross_cents), 0) as bigint)
    from invoice where run_id = :run_id
    """
)


async def retry_parked(session: AsyncSession, run_id: str) -> InvoiceRun:
    """Have a finished run bill its parked resellers again; those whose data is still wrong are parked again.

    Enqueues the run; `continue_run` does it at once. Raises NotFound, or Conflict `run_not_finished`.
    """
    run = await _finished(session, run_id)
    if run.parked:
        run.state = RunState.RATING
        await enqueue(session, INVOICE_RUN, [run.id])
    return run


async def reopen(session: AsyncSession, run_id: str) -> InvoiceRun:
    """Have a finished run bill those whom a correction has parked in it. Raises as retry_parked does."""
    run = await _finished(session, run_id)
    await drafts.count(session, run)
    run.state = RunState.RATING
    await enqueue(session, INVOICE_RUN, [run.id])
    return run


async def cancel_run(session: AsyncSession, run_id: str) -> InvoiceRun:
    """Drop the drafts of a run that has not begun to finalise. Cancelling twice is cancelling once.

    Raises NotFound, or Conflict `run_not_cancellable` when numbers may have been given.
    """
    run = await locked(session, run_id)
    if run.state == RunState.CANCELLED:
        return run
    if run.state not in {RunState.RATING, RunState.CHECKING, RunState.VALIDATING} or run.finished_at or run.finalised:
        raise Conflict(
            f"The run of {run_name(run)} is {run.state.value} and has begun to issue invoices.",
            code="run_not_cancellable",
        )
    await drafts.discard(session, run)
    run.state, run.resellers, run.parked = RunState.CANCELLED, 0, 0
    return run


async def get_run(session: AsyncSession, run_id: str) -> InvoiceRun:
    """Return one run; an unknown one raises NotFound."""
    run = await session.get(InvoiceRun, run_id)
    if run is None:
        raise NotFound(f"There is no invoice run {run_id}.")
    return run


async def find_run(session: AsyncSession, period: BillingPeriod) -> InvoiceRun | None:
    """Return the run of the day that a period closes on, if it has one."""
    return (await session.scalars(select(InvoiceRun).where(col(InvoiceRun.closes_on) == period.ends_on))).first()


def run_name(run: InvoiceRun) -> str:
    """Return how people call a run: "2026-11", or by its closing day where that is not the first of a month."""
    return f"{run.month:%Y-%m}" if run.closes_on.day == 1 else f"the period closing on {run.closes_on}"


async def list_runs(session: AsyncSession, *, limit: int = 50, before: str | None = None) -> Sequence[InvoiceRun]:
    """Return runs, newest first; `before` is the id of the last run of the page before."""
    query = select(InvoiceRun).order_by(col(InvoiceRun.id).desc()).limit(limit)
    if before is not None:
        query = query.where(col(InvoiceRun.id) < before)
    return (await session.scalars(query)).all()


async def list_items(
    session: AsyncSession,
    run_id: str,
    *,
    state: ItemState | None = None,
    limit: int = 50,
    after: str | None = None,
) -> Sequence[InvoiceRunItem]:
    """Return what has become of each reseller in a run, by id; `after` is the last of the page before."""
    query = (
        select(InvoiceRunItem)
        .where(col(InvoiceRunItem.run_id) == run_id)
        .order_by(col(InvoiceRunItem.reseller_id))
        .limit(limit)
    )
    if state is not None:
        query = query.where(col(InvoiceRunItem.state) == state)
    if after is not None:
        query = query.where(col(InvoiceRunItem.reseller_id) > after)
    return (await session.scalars(query)).all()


async def _create(session: AsyncSession, period: BillingPeriod, *, actor: str, now: datetime) -> str | None:
    """The id of a new run, or None when the day has one: of two at once, the second waits and gets None."""
    month = period.named.starts_on
    run = InvoiceRun(id=new_id("run"), closes_on=period.ends_on, month=month, actor=actor, started_at=now)
    created: str | None = await session.scalar(
        insert(InvoiceRun)
        .values(run.model_dump())
        .on_conflict_do_nothing(constraint="uq_invoice_run_closes_on")
        .returning(col(InvoiceRun.id))
    )
    return created


async def _drive(
    database: Database, run_id: str, *, now: datetime, issuer: Issuer, on_progress: OnProgress | None
) -> InvoiceRun:
    while True:
        run = await advance_run(database, run_id, now=now, issuer=issuer)
        if run.state in SHARED and not await share(database, run, now=now, issuer=issuer):
            await asyncio.sleep(WAIT_SECONDS if await is_waiting(database, run) else 0)
        if on_progress is not None:
            on_progress(
                Progress(
                    run.id,
                    BillingMonth.containing(run.month),
                    run.closes_on,
                    state=run.state,
                    resellers=run.resellers,
                    parked=run.parked,
                    finalised=run.finalised,
                    documents=run.documents,
                )
            )
        if run.state not in UNFINISHED:
            return run


async def advance_run(database: Database, run_id: str, *, now: datetime, issuer: Issuer) -> InvoiceRun:
    """Do the next step of one run in one transaction; of a shared phase only find out whether it is over."""
    async with database.as_system() as session:
        run = await locked(session, run_id)
        if run.state in UNFINISHED:
            await step(session, run, now=now, issuer=issuer)
    return run


async def help_with_run(database: Database, key: str, *, now: datetime, issuer: Issuer) -> None:
    """Take part in what is to be validated or rendered of a run now; `key` is its id and any number behind a colon."""
    while True:
        async with database.as_system() as session:
            run = await get_run(session, key.partition(":")[0])
        if run.state not in SHARED or not await share(database, run, now=now, issuer=issuer):
            return


async def _finished(session: AsyncSession, run_id: str) -> InvoiceRun:
    run = await locked(session, run_id)
    if run.state != RunState.SUCCEEDED:
        raise Conflict(
            f"The run of {run_name(run)} is {run.state.value}; it can be retried when it has succeeded.",
            code="run_not_finished",
        )
    return run
