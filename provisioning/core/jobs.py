"""Jobs: enqueued in the transaction that makes them necessary, run by Procrastinate's workers on the same database.

A job carries ids only and takes no other input: it looks at the world and makes it right, so that running it twice,
late, or after a crash does no harm.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

RECONCILE = "reconcile_mailbox"
INVOICE_RUN = "continue_invoice_run"
VAT_CHECK = "check_vat_id"
FOLLOW_STANDING = "follow_standing"

# Procrastinate's own defer function raises where an equal job waits already, which would abort the transaction; and
# a job that waits for its back-off must be brought forward when something new is wanted. Both are one upsert on its
# partial unique index. `lock` lets only one job of a key run at a time, `queueing_lock` lets only one wait.
_ENQUEUE = text(
    """
    insert into procrastinate_jobs as job (queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at)
    select 'default', named.task, :priority, named.task || ':' || key, named.task || ':' || key,
           jsonb_build_object('key', key), cast(:run_at as timestamptz)
    from unnest(cast(:keys as text[])) as key, (select cast(:task as text) as task) as named
    on conflict (queueing_lock) where status = 'todo'
    do update set scheduled_at = nullif(least(coalesce(job.scheduled_at, '-infinity'),
                                              coalesce(excluded.scheduled_at, '-infinity')), '-infinity'),
                  priority = greatest(job.priority, excluded.priority)
    where job.scheduled_at > coalesce(excluded.scheduled_at, '-infinity') or job.priority < excluded.priority
    """
)


async def enqueue(
    session: AsyncSession, task: str, keys: Sequence[str], *, run_at: datetime | None = None, priority: int = 0
) -> None:
    """Enqueue one job of `task` for each key, in the caller's transaction; a waiting one is brought forward.

    `run_at` is real time, not the service's clock: it paces attempts, it dates nothing.
    """
    await session.execute(_ENQUEUE, {"task": task, "keys": list(keys), "run_at": run_at, "priority": priority})


# A worker that was killed leaves its job `doing`. It cannot simply become `todo` again, because an equal one may wait
# already; so it is taken out, and what it was for is enqueued anew by the upsert above.
_TAKE_OUT_STALLED = text(
    """
    delete from procrastinate_jobs where id in (
        select job.id from procrastinate_jobs job left join procrastinate_workers worker on worker.id = job.worker_id
        where job.status = 'doing'
          and (worker.id is null or worker.last_heartbeat < now() - make_interval(secs => :seconds))
        for update of job skip locked
    ) returning task_name, args ->> 'key' as key
    """
)

_FORGET = text(
    """
    delete from procrastinate_jobs where id in (
        select id from procrastinate_jobs job
        where status in ('failed', 'cancelled', 'aborted') and not exists (
            select from procrastinate_events where job_id = job.id and at > now() - make_interval(days => :days))
        limit :limit for update of job skip locked)
    returning id
    """
)


async def rescue_stalled(session: AsyncSession, *, seconds: float) -> int:
    """Enqueue again what workers without a heartbeat for so long were doing, as the login role; how many."""
    stalled = (await session.execute(_TAKE_OUT_STALLED, {"seconds": seconds})).all()
    for job in stalled:
        # Periodic jobs carry no key: their next tick comes by itself.
        if job.key is not None:
            await enqueue(session, job.task_name, [job.key])
    return len(stalled)


async def forget_jobs(session: AsyncSession, *, days: int, limit: int = 1000) -> int:
    """Delete jobs that failed so long ago, as the login role, and say how many; those that succeeded are deleted at
    once."""
    return len((await session.execute(_FORGET, {"days": days, "limit": limit})).all())
