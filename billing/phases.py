"""The phases of an invoice run, each step of them one transaction that the caller opens and commits.

Validating and documents are shared: helpers take part in them, and hold no lock on the run meanwhile.
"""

import asyncio
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing import drafts, issuing, validation
from billing.document_sources import unvalidated_drafts
from billing.models import InvoiceRun, Issuer, RunState
from billing.payments import open_payments
from billing.periods import berlin_day
from provisioning.core.database import Database
from provisioning.core.errors import NotFound
from provisioning.core.ids import new_id
from provisioning.core.jobs import enqueue

SHARED = (RunState.VALIDATING, RunState.DOCUMENTS)
"""The phases that helpers take part in."""

HELP_WITH_RUN = "help_with_invoice_run"
HELPERS_MAX = 8
# Others have claimed all that is left; whether they also finish it is looked at so often.
WAIT_SECONDS = 0.2


async def step(session: AsyncSession, run: InvoiceRun, *, now: datetime, issuer: Issuer) -> None:
    """Do the next step of a run, or find out that a shared phase is over."""
    if run.state == RunState.RATING:
        await drafts.rate_and_draft(session, run, now=now)
        run.state = RunState.CHECKING
    elif run.state == RunState.CHECKING:
        await drafts.check(session, run, now=now)
        run.state = RunState.VALIDATING
        await _call_helpers(session, run, blocks=(run.resellers - run.parked - run.finalised) // validation.BLOCK)
    elif run.state == RunState.VALIDATING:
        if not await validation.count_unvalidated(session, run.id):
            run.state = RunState.FINALISING
    elif run.state == RunState.FINALISING:
        await _finalise(session, run, now=now, issuer=issuer)
    elif run.state == RunState.DOCUMENTS:
        progress = await issuing.progress_of(session, run.id)
        run.documents, run.alarms = progress.documents, progress.alarms
        if not progress.waiting:
            run.state = RunState.COLLECTION
    elif not await open_payments(session, run.id, now=now):
        run.state, run.finished_at = RunState.SUCCEEDED, now


async def _finalise(session: AsyncSession, run: InvoiceRun, *, now: datetime, issuer: Issuer) -> None:
    if not await drafts.finalise_block(session, run, now=now, issuer=issuer):
        run.state = RunState.DOCUMENTS
        await _call_helpers(session, run, blocks=run.finalised // issuing.BLOCK)
    elif await validation.count_unvalidated(session, run.id):
        run.state = RunState.VALIDATING


async def share(database: Database, run: InvoiceRun, *, now: datetime, issuer: Issuer) -> bool:
    """Do one block of a shared phase; False when there is none that nobody else has."""
    if run.state == RunState.DOCUMENTS:
        async with database.as_system() as session:
            return bool(await issuing.issue_block(session, run.id, now=now, logo=issuer.logo))
    async with database.as_system() as session:
        found = await unvalidated_drafts(
            session, run.id, issuer=issuer, issued_on=berlin_day(now), salt=new_id("wrk"), limit=validation.BLOCK
        )
    verdicts = await asyncio.to_thread(validation.judge, found)
    async with database.as_system() as session:
        current = await locked(session, run.id)
        if found and current.state == RunState.VALIDATING:
            await validation.record(session, current, verdicts, issuer=issuer)
    return bool(found)


async def validate_here(session: AsyncSession, run: InvoiceRun, *, now: datetime, issuer: Issuer) -> None:
    """Validate all drafts of a run within the caller's transaction, for a rehearsal."""
    day = berlin_day(now)
    while found := await unvalidated_drafts(
        session, run.id, issuer=issuer, issued_on=day, salt="", limit=validation.BLOCK
    ):
        verdicts = await asyncio.to_thread(validation.judge, found)
        await validation.record(session, run, verdicts, issuer=issuer)


async def is_waiting(database: Database, run: InvoiceRun) -> bool:
    """Whether documents are left that another worker is at."""
    async with database.as_system() as session:
        return run.state == RunState.DOCUMENTS and bool((await issuing.progress_of(session, run.id)).waiting)


async def _call_helpers(session: AsyncSession, run: InvoiceRun, *, blocks: int) -> None:
    keys = [f"{run.id}:{place}" for place in range(min(blocks, HELPERS_MAX))]
    if keys:
        await enqueue(session, HELP_WITH_RUN, keys)


async def locked(session: AsyncSession, run_id: str) -> InvoiceRun:
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
