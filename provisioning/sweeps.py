"""What nobody asks for and still has to happen: lost work, drift, expiry. Run often, by any number of
workers.

Each sweep looks at the world as it is, takes a bounded number of rows, passes over those another worker
holds, and says how many it dealt with; that number at its limit means that there may be more.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

from sqlalchemy import delete, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.audit import SYSTEM_ACTOR, record_events
from provisioning.core.clock import SystemClock
from provisioning.core.jobs import RECONCILE, enqueue
from provisioning.models import Mailbox, Share
from provisioning.operations import PRIORITY_SWEPT, begin_operation
from provisioning.recording import BACKOFF_SECONDS, JITTER, backoff_seconds
from provisioning.tenants import IdempotencyKey
from provisioning.terms import Intent, MailboxState, ShareState

IDEMPOTENCY_KEY_HOURS = 24

# One index probe each: Procrastinate has a unique index on what waits and one on what runs.
_HAS_NO_JOB = text(
    f"""
    not exists (select from procrastinate_jobs job
                where job.queueing_lock = '{RECONCILE}:' || mailbox.id and job.status = 'todo')
    and not exists (select from procrastinate_jobs job
                    where job.lock = '{RECONCILE}:' || mailbox.id and job.status = 'doing')
    """  # noqa: S608  # the task's name is ours
)


async def sweep_unfinished(session: AsyncSession, *, limit: int = 500, jitter: Random = JITTER) -> int:
    """Enqueue mailboxes whose wish has not come true and whose job is gone, as after a crash.

    One that was lost before comes back later each time, so that a mailbox that kills its worker stops nobody
    else.
    """
    query = (
        select(col(Mailbox.id), col(Mailbox.attempts))
        .where(col(Mailbox.confirmed_generation) < col(Mailbox.generation), ~col(Mailbox.failed), _HAS_NO_JOB)
        .order_by(col(Mailbox.id))
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    lost = (await session.execute(query)).all()
    first_time = [row.id for row in lost if row.attempts == 0]
    await enqueue(session, RECONCILE, first_time, priority=PRIORITY_SWEPT)
    for row in lost:
        if row.attempts:
            seconds = backoff_seconds(row.attempts, at_least=BACKOFF_SECONDS, jitter=jitter)
            run_at = SystemClock().now() + timedelta(seconds=seconds)
            await enqueue(session, RECONCILE, [row.id], run_at=run_at, priority=PRIORITY_SWEPT)
    await session.execute(
        update(Mailbox)
        .where(col(Mailbox.id).in_([row.id for row in lost]))
        .values(attempts=col(Mailbox.attempts) + 1)
        .execution_options(synchronize_session=False)
    )
    return len(lost)


async def sweep_drift(session: AsyncSession, *, now: datetime, older_than: timedelta, limit: int = 500) -> int:
    """Enqueue the confirmed mailboxes whose backend was looked at longest ago, before `now - older_than`."""
    query = (
        select(col(Mailbox.id))
        .where(
            col(Mailbox.observed_at) < now - older_than,
            col(Mailbox.state) != MailboxState.PURGED,
            col(Mailbox.confirmed_generation) == col(Mailbox.generation),
            ~col(Mailbox.failed),
            _HAS_NO_JOB,
        )
        .order_by(col(Mailbox.observed_at))
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    due = (await session.scalars(query)).all()
    await enqueue(session, RECONCILE, sorted(due), priority=PRIORITY_SWEPT)
    return len(due)


async def expire_shares(session: AsyncSession, *, now: datetime, limit: int = 500) -> int:
    """Revoke the shares whose time is over: one operation `share.expire` for each mailbox that has some."""
    expired = (
        col(Share.expires_at) <= now,
        col(Share.state).in_((ShareState.PENDING, ShareState.ACTIVE)),
    )
    # Those of a deleted mailbox open nothing; they are found again when it is restored.
    in_service = col(Mailbox.intent).in_((Intent.PRESENT, Intent.SUSPENDED))
    query = (
        select(col(Share.id), col(Share.mailbox_id))
        .join(Mailbox, col(Mailbox.id) == col(Share.mailbox_id))
        .where(*expired, in_service)
        .order_by(col(Share.expires_at))
        .limit(limit)
    )
    found = await session.execute(query)
    by_mailbox: dict[str, list[str]] = defaultdict(list)
    for share_id, mailbox_id in found:
        by_mailbox[mailbox_id].append(share_id)
    revoked = 0
    for mailbox in await _lock_mailboxes(session, list(by_mailbox)):
        # Asked again under the lock: another worker may have been here since, or the share been prolonged.
        shares = await session.scalars(
            update(Share)
            .where(col(Share.id).in_(by_mailbox[mailbox.id]), *expired)
            .values(state=ShareState.REVOKING, version=col(Share.version) + 1)
            .returning(col(Share.id))
            .execution_options(synchronize_session=False)
        )
        if ids := shares.all():
            await begin_operation(session, mailbox, "share.expire", now=now, priority=PRIORITY_SWEPT)
            await _audit(session, mailbox.reseller_id, "share.expire", ids, now=now)
            revoked += len(ids)
    return revoked


async def purge_deleted(session: AsyncSession, *, now: datetime, limit: int = 500) -> int:
    """Have mailboxes erased that were deleted and whose time to be restored is over.

    Their use of limits was given back when they were deleted.
    """
    query = (
        select(Mailbox)
        .where(col(Mailbox.intent) == Intent.DELETED, col(Mailbox.purge_at) <= now)
        .order_by(col(Mailbox.purge_at))
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    mailboxes = (await session.scalars(query)).all()
    for mailbox in mailboxes:
        mailbox.intent = Intent.PURGED
        await begin_operation(session, mailbox, "mailbox.purge", now=now, priority=PRIORITY_SWEPT)
        await _audit(session, mailbox.reseller_id, "mailbox.purge", [mailbox.id], now=now)
    return len(mailboxes)


async def forget_idempotency_keys(session: AsyncSession, *, now: datetime, limit: int = 5000) -> int:
    """Delete answers that are no longer replayed."""
    key = (col(IdempotencyKey.principal_id), col(IdempotencyKey.idempotency_key))
    old = (
        select(*key)
        .where(col(IdempotencyKey.created_at) < now - timedelta(hours=IDEMPOTENCY_KEY_HOURS))
        .order_by(col(IdempotencyKey.created_at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    deleted = await session.execute(delete(IdempotencyKey).where(tuple_(*key).in_(old)).returning(*key))
    return len(deleted.all())


async def _lock_mailboxes(session: AsyncSession, ids: list[str]) -> list[Mailbox]:
    query = select(Mailbox).where(col(Mailbox.id).in_(ids)).order_by(col(Mailbox.id))
    return list(await session.scalars(query.with_for_update(skip_locked=True, key_share=True)))


async def _audit(
    session: AsyncSession, reseller_id: str, action: str, resource_ids: Sequence[str], *, now: datetime
) -> None:
    await record_events(session, reseller_id, actor=SYSTEM_ACTOR, action=action, resource_ids=resource_ids, now=now)
