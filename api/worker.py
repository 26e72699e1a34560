"""The worker: which jobs there are, and when the sweeps and the monthly invoice run come round."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException

from api.billing_jobs import add_billing_jobs
from api.context import Context
from api.dunning_jobs import add_dunning_jobs
from api.payment_jobs import add_payment_jobs
from provisioning import sweeps
from provisioning.core.database import Database
from provisioning.core.errors import Unavailable
from provisioning.core.jobs import RECONCILE, forget_jobs, rescue_stalled
from provisioning.drivers.base import Driver
from provisioning.reconciler import reconcile_mailbox

# A worker that lives says so this many times before it is taken for dead.
HEARTBEATS = 3
DRIFT_AGE = timedelta(hours=6)
JOBS_KEPT_DAYS = 7
RESTART_SECONDS = 2.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Schedules:
    """Cron lines, with seconds in front where there are six fields. All sweeps look at the world, not at the time."""

    sweep: str = "*/5 * * * * *"
    billing: str = "* * * * *"
    documents: str = "*/5 * * * *"
    collection: str = "* * * * *"
    events: str = "*/10 * * * *"
    dunning: str = "* * * * *"
    housekeeping: str = "*/15 * * * *"


def create_jobs(
    context: Context, drivers: Mapping[str, Driver], *, schedules: Schedules, stalled_seconds: float = 15.0
) -> App:
    """The jobs over an open context. `drivers` are keyed by DataCentre.driver."""
    database, clock = context.database, context.clock
    conninfo = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    jobs = App(connector=PsycopgConnector(conninfo=conninfo))

    @jobs.task(name=RECONCILE)
    async def reconcile(key: str) -> None:
        ending = await reconcile_mailbox(database, drivers, key, now=clock)
        log.info("reconciled", mailbox=key, ending=str(ending))

    @jobs.periodic(cron=schedules.sweep)
    @jobs.task(name="sweep", queueing_lock="sweep")
    async def sweep(timestamp: int) -> None:
        # Without a lock: a rescue that waits for a stalled job's lock would never run.
        async with database.transaction() as session:
            rescued = await rescue_stalled(session, seconds=stalled_seconds)
        async with database.as_system() as session:
            lost = await sweeps.sweep_unfinished(session)
            expired = await sweeps.expire_shares(session, now=clock.now())
            purged = await sweeps.purge_deleted(session, now=clock.now())
            await sweeps.sweep_drift(session, now=clock.now(), older_than=DRIFT_AGE)
        if rescued or lost or expired or purged:
            log.info("swept", rescued=rescued, lost=lost, expired=expired, purged=purged, tick=timestamp)

    @jobs.periodic(cron=schedules.housekeeping)
    @jobs.task(name="housekeeping", queueing_lock="housekeeping")
    async def housekeeping(timestamp: int) -> None:
        keys, ended = await forget_what_is_over(database, now=clock.now())
        log.info("housekeeping", keys=keys, jobs=ended, tick=timestamp)

    add_billing_jobs(jobs, context, billing=schedules.billing, documents=schedules.documents)
    add_dunning_jobs(jobs, context, cron=schedules.dunning)
    if context.gateway is not None:
        add_payment_jobs(jobs, context, context.gateway, collection=schedules.collection, events=schedules.events)
    return jobs


async def forget_what_is_over(database: Database, *, now: datetime) -> tuple[int, int]:
    """Delete all idempotency keys and jobs that are kept no longer; how many of each.

    In bounded steps with a transaction each, so that a great many are held for a moment only.
    """
    keys = ended = 0
    while step := await _forget_keys(database, now=now):
        keys += step
    while step := await _forget_jobs(database):
        ended += step
    return keys, ended


async def _forget_keys(database: Database, *, now: datetime) -> int:
    async with database.as_system() as session:
        return await sweeps.forget_idempotency_keys(session, now=now)


async def _forget_jobs(database: Database) -> int:
    async with database.transaction() as session:
        return await forget_jobs(session, days=JOBS_KEPT_DAYS)


async def run_worker(jobs: App, *, concurrency: int, signals: bool, stalled_seconds: float = 15.0) -> None:
    """Work until told to stop, coming back by itself when the database was away.

    `signals` lets SIGTERM and SIGINT end it after the jobs in hand.
    """
    while True:
        try:
            async with jobs.open_async():
                await jobs.run_worker_async(
                    concurrency=concurrency,
                    install_signal_handlers=signals,
                    fetch_job_polling_interval=1.0,
                    update_heartbeat_interval=stalled_seconds / HEARTBEATS,
                    stalled_worker_timeout=stalled_seconds,
                    shutdown_graceful_timeout=20.0,
                    delete_jobs="successful",
                )
            return
        except (ConnectorException, Unavailable, OSError) as error:
            log.warning("the worker lost the database and starts again", error=str(error))
            await asyncio.sleep(RESTART_SECONDS)


@asynccontextmanager
async def worker_beside(jobs: App, *, concurrency: int, stalled_seconds: float = 15.0) -> AsyncIterator[None]:
    """A worker in this process while the block runs: for a single machine, the demo and tests."""
    task = asyncio.create_task(
        run_worker(jobs, concurrency=concurrency, signals=False, stalled_seconds=stalled_seconds)
    )
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
