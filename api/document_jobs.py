"""The worker's jobs of issuing: help with a run's shared phases, credit notes, and documents that failed before."""

import structlog
from procrastinate import App

from api.context import Context
from billing.issuing import ISSUE_CREDIT_NOTE, issue_alarmed, issue_credit_note, unissued_credit_notes
from billing.phases import HELP_WITH_RUN
from billing.runs import help_with_run
from provisioning.core.jobs import enqueue

log = structlog.get_logger()


def add_document_jobs(jobs: App, context: Context, *, retries: str) -> None:
    """Add the jobs to the worker's; `retries` is a cron line."""
    database, clock, issuer = context.database, context.clock, context.issuer

    @jobs.task(name=HELP_WITH_RUN)
    async def help_with_invoice_run(key: str) -> None:
        await help_with_run(database, key, now=clock.now(), issuer=issuer)

    @jobs.task(name=ISSUE_CREDIT_NOTE)
    async def issue_documents_of_credit_note(key: str) -> None:
        async with database.as_system() as session:
            alarm = await issue_credit_note(session, key, now=clock.now(), logo=issuer.logo)
        if alarm is not None:
            log.error("a credit note has no documents", credit_note=key, alarm=alarm)

    @jobs.periodic(cron=retries)
    @jobs.task(name="issue_again", queueing_lock="issue_again")
    async def issue_again(timestamp: int) -> None:
        """What could not be rendered is never forgotten: it is tried until it has been mended."""
        last: str | None = ""
        tried = 0
        while last is not None:
            async with database.as_system() as session:
                last = await issue_alarmed(session, now=clock.now(), after=last, logo=issuer.logo)
            tried += last is not None
        async with database.as_system() as session:
            waiting = await unissued_credit_notes(session)
            await enqueue(session, ISSUE_CREDIT_NOTE, list(waiting))
        if tried or waiting:
            log.warning("documents were missing", blocks=tried, credit_notes=len(waiting), tick=timestamp)
