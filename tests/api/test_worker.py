"""The worker's own schedules, run here without a worker."""

from datetime import datetime

import pytest
from sqlalchemy import text

from api.worker import Schedules, create_jobs
from provisioning.core.database import Database
from tests.api.stage import Facts, on_stage

pytestmark = pytest.mark.anyio

_KEYS = text(
    """
    insert into idempotency_key (principal_id, idempotency_key, fingerprint, created_at)
    select 'operator', hours || ' ' || number, '', cast(:now as timestamptz) - make_interval(hours => hours)
    from unnest(array[23, 25]) as hours, generate_series(1, case hours when 23 then 3 else :old end) as number
    """
)
# Procrastinate dates a job by its events, which are written where one is to be done.
_JOBS = text(
    """
    insert into procrastinate_jobs (queue_name, task_name, lock, args, status)
    select 'default', 'reconcile_mailbox', 'lock ' || number, '{}', 'todo'
    from generate_series(1, :count) as number
    """
)
_FAIL = text("update procrastinate_jobs set status = 'failed' where status = 'todo'")
_AGE = text("update procrastinate_events set at = now() - interval '8 days'")


async def test_housekeeping_leaves_nothing_behind_however_much_there_is(
    fresh_database: Database, now: datetime
) -> None:
    async with fresh_database.as_system() as session:
        await session.execute(_KEYS, {"now": now, "old": 10_001})
    async with fresh_database.transaction() as session:
        await session.execute(_JOBS, {"count": 2001})
        await session.execute(_FAIL)
        await session.execute(_AGE)
        await session.execute(_JOBS, {"count": 2})
        await session.execute(_FAIL)
    jobs = create_jobs(on_stage(fresh_database, Facts()).context, {}, schedules=Schedules())
    await jobs.tasks["housekeeping"].func(timestamp=1)
    async with fresh_database.as_system() as session:
        assert await session.scalar(text("select count(*) from idempotency_key")) == 3
    async with fresh_database.transaction() as session:
        assert await session.scalar(text("select count(*) from procrastinate_jobs")) == 2
