"""The worker's jobs of billing: one invoice run, one VAT id to check; and what the schedule looks for."""

import structlog
from procrastinate import App

from api.context import Context
from api.document_jobs import add_document_jobs
from billing.payments import open_payments
from billing.runs import continue_run, due_runs
from billing.vat_checks import check_vat_id
from billing.vat_sweeps import retry_changed, sweep_checks
from provisioning.audit import SYSTEM_ACTOR, record_events
from provisioning.core.jobs import INVOICE_RUN, VAT_CHECK

log = structlog.get_logger()


def add_billing_jobs(jobs: App, context: Context, *, billing: str, documents: str) -> None:
    """Add the jobs to the worker's: `billing` is the cron line at which it looks for months that are over, `documents`
    the one at which it tries those again that could not be made.
    """
    add_document_jobs(jobs, context, retries=documents)
    database, clock = context.database, context.clock

    @jobs.task(name=INVOICE_RUN)
    async def invoice_run(key: str) -> None:
        run = await continue_run(database, key, now=clock.now(), issuer=context.issuer)
        log.info("invoice run", run=key, closes_on=f"{run.closes_on}", state=str(run.state), parked=run.parked)

    @jobs.task(name=VAT_CHECK)
    async def vat_check(key: str) -> None:
        check = await check_vat_id(database, context.vies, key, now=clock.now(), valid_days=context.vat_check_days)
        log.info("VAT id checked", reseller=key, answer=check and str(check.answer), error=check and check.error)

    @jobs.periodic(cron=billing)
    @jobs.task(name="bill_months", queueing_lock="bill_months")
    async def bill_months(timestamp: int) -> None:
        created, retried = await _bill_months(context)
        if created or retried:
            log.info("invoice runs to be done", created=created, retried=retried, tick=timestamp)


async def _bill_months(context: Context) -> tuple[list[str], list[str]]:
    """The runs created for months that are over, and those begun again for whom VIES has answered by now."""
    now = context.clock.now()
    async with context.database.as_system() as session:
        created = await due_runs(session, now)
        if created:
            await record_events(
                session,
                None,
                actor=SYSTEM_ACTOR,
                action="invoice_run.start",
                resource_ids=created,
                now=now,
                detail={"by": "schedule"},
            )
        retried = await retry_changed(session, now=now)
        # Of the invoices that no run has opened one for: from before there were payments, and corrections.
        await open_payments(session, None, now=now)
        if context.vies is not None:
            await sweep_checks(session, now=now)
    return created, retried
