"""The invoice run as a resource: one for each month, driven phase by phase, resumable after any death.

    rating -> checking -> finalising -> succeeded        (cancelled before finalising)

Each phase, and each block of invoices within finalising, is one transaction that begins by locking the run
and reading its state anew. Whoever comes after a kill, or beside another worker, goes on with what is left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing import drafts
from billing.models import InvoiceRun, InvoiceRunItem, Issuer, ItemState, RunState
from billing.payments import open_payments
from billing.periods import BillingMonth, berlin_day, months_due
from provisioning.core.database import Database
from provisioning.core.errors import Conflict, NotFound
from provisioning.core.ids import new_id
from provisioning.core.jobs import INVOICE_RUN, enqueue

# A job that confirmed something just before midnight may still be writing it down.
SETTLING = timedelta(hours=2)

UNFINISHED = (RunState.RATING, RunState.CHECKING, RunState.FINALISING)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: `state` is the phase that comes next, the counters are resellers."""

    run_id: str
    month: BillingMonth
    state: RunState
    resellers: int
    parked: int
    finalised: int


OnProgress = Callable[[Progress], None]


async def start_run(session: AsyncSession, month: BillingMonth, *, actor: str, now: datetime) -> InvoiceRun:
    """Create and enqueue the run of a month, or return the one there is; a cancelled one begins anew.

    Raises Conflict `month_not_over` before the month is over in Berlin.
    """
    if month.ends_on > berlin_day(now):
        raise Conflict(f"{month} is not over; it can be billed from {month.ends_on} on.", code="month_not_over")
    run_id = await _create(session, month, actor=actor, now=now)
    if run_id is None:
        run_id = (
            await session.scalars(select(col(InvoiceRun.id)).where(col(InvoiceRun.month) == month.starts_on))
        ).one()
    run = await _locked(session, run_id)
    if run.state == RunState.CANCELLED:
        run.state, run.actor, run.started_at = RunState.RATING, actor, now
    if run.state in UNFINISHED:
        await enqueue(session, INVOICE_RUN, [run.id])
    return run


async def due_runs(session: AsyncSession, now: datetime) -> list[str]:
    """Create the run of every month that is over and has none, and enqueue all that are not finished.

    A month is left to settle for two hours: what was confirmed on its last day has been recorded by then.
    Returns the ids of those created, oldest month first; months count from the ledger's first day. Safe to
    call at any time and twice at once: this is what the schedule does.
    """
    first_day = await session.scalar(text("select min(starts_on) from service_period"))
    if first_day is None:
        return []
    have = set(await session.scalars(select(col(InvoiceRun.month))))
    created = []
    for month in months_due(None, BillingMonth.containing(first_day), now - SETTLING):
        if month.starts_on in have:
            continue
        run_id = await _create(session, month, actor="schedule", now=now)
        if run_id is not None:
            created.append(run_id)
    unfinished = await session.scalars(
        select(col(InvoiceRun.id)).where(col(InvoiceRun.state).in_(UNFINISHED)).order_by(col(InvoiceRun.month))
    )
    await enqueue(session, INVOICE_RUN, list(unfinished))
    return created


async def continue_run(
    database: Database,
    run_id: str,
    *,
    now: datetime,
    issuer: Issuer,
    on_progress: OnProgress | None = None,
) -> InvoiceRun:
    """Drive a run to its end, and before it every earlier one that is not there yet: months stay in order.

    Commits after each phase and each block of numbers, then calls `on_progress`. May be called again at any
    time and by several processes. Raises NotFound for an unknown run, Unavailable when the database is away.
    """
    async with database.as_system() as session:
        run = await get_run(session, run_id)
        pending = select(col(InvoiceRun.id)).where(
            col(InvoiceRun.state).in_(UNFINISHED), col(InvoiceRun.month) <= run.month
        )
        unfinished = (await session.scalars(pending.order_by(col(InvoiceRun.month)))).all()
    for each in unfinished:
        driven = await _drive(database, each, now=now, issuer=issuer, on_progress=on_progress)
        run = driven if each == run.id else run
    return run


async def retry_parked(session: AsyncSession, run_id: str) -> InvoiceRun:
    """Have a finished run bill its parked resellers again; those whose data is still wrong are parked again.

    Enqueues the run; `continue_run` does it at once. Raises NotFound, or Conflict `run_not_finished`.
    """
    run = await _locked(session, run_id)
    if run.state != RunState.SUCCEEDED:
        raise Conflict(
            f"The run of {run.month:%Y-%m} is {run.state.value}; it can be retried when it has succeeded.",
            code="run_not_finished",
        )
    if run.parked:
        run.state = RunState.RATING
        await enqueue(session, INVOICE_RUN, [run.id])
    return run


async def cancel_run(session: AsyncSession, run_id: str) -> InvoiceRun:
    """Drop the drafts of a run that has not begun to finalise. Cancelling twice is cancelling once.

    Raises NotFound, or Conflict `run_not_cancellable` when numbers may have been given.
    """
    run = await _locked(session, run_id)
    if run.state == RunState.CANCELLED:
        return run
    if run.state not in {RunState.RATING, RunState.CHECKING} or run.finished_at is not None:
        raise Conflict(
            f"The run of {run.month:%Y-%m} is {run.state.value} and has begun to issue invoices.",
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


async def find_run(session: AsyncSession, month: BillingMonth) -> InvoiceRun | None:
    """Return the run of a month, if it has one."""
    return (await session.scalars(select(InvoiceRun).where(col(InvoiceRun.month) == month.starts_on))).first()


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


async def _create(session: AsyncSession, month: BillingMonth, *, actor: str, now: datetime) -> str | None:
    """The id of a new run, or None when the month has one: of two at once, the second waits and gets None."""
    run = InvoiceRun(id=new_id("run"), month=month.starts_on, actor=actor, started_at=now)
    created: str | None = await session.scalar(
        insert(InvoiceRun)
        .values(run.model_dump())
        .on_conflict_do_nothing(constraint="uq_invoice_run_month")
        .returning(col(InvoiceRun.id))
    )
    return created


async def _drive(
    database: Database, run_id: str, *, now: datetime, issuer: Issuer, on_progress: OnProgress | None
) -> InvoiceRun:
    while True:
        async with database.as_system() as session:
            run = await _locked(session, run_id)
            if run.state not in UNFINISHED:
                return run
            await _step(session, run, now=now, issuer=issuer)
        if on_progress is not None:
            on_progress(
                Progress(
                    run.id,
                    BillingMonth.containing(run.month),
                    run.state,
                    resellers=run.resellers,
                    parked=run.parked,
                    finalised=run.finalised,
                )
            )


async def _step(session: AsyncSession, run: InvoiceRun, *, now: datetime, issuer: Issuer) -> None:
    if run.state == RunState.RATING:
        await drafts.rate_and_draft(session, run, now=now)
        run.state = RunState.CHECKING
    elif run.state == RunState.CHECKING:
        await drafts.check(session, run, now=now)
        run.state = RunState.FINALISING
    elif await drafts.finalise_block(session, run, now=now, issuer=issuer):
        await open_payments(session, run.id, now=now)
    else:
        run.state, run.finished_at = RunState.SUCCEEDED, now


async def _locked(session: AsyncSession, run_id: str) -> InvoiceRun:
    """The run as it is now, locked until the transaction ends."""
    run = (
        await session.scalars(
            select(InvoiceRun)
            .where(col(InvoiceRun.id) == run_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    ).one_or_none()
    if run is None:
        raise NotFound(f"There is no invoice run {run_id}.")
    return run
