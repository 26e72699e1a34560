"""Mailboxes follow their reseller: while its service is suspended, nobody logs in and nothing is sent.

Each mailbox that has to change gets an operation and a job like any other wish. What the reseller wants of it, its
`intent`, is not touched: what it had suspended itself stays so afterwards, and everything else comes back.
"""

from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.audit import SYSTEM_ACTOR, record_events
from provisioning.core.ids import new_id
from provisioning.core.jobs import FOLLOW_STANDING, RECONCILE, enqueue
from provisioning.models import Mailbox
from provisioning.operations import PRIORITY_ASKED
from provisioning.tenants import get_reseller
from provisioning.terms import Intent

SUSPEND_SERVICE, RESUME_SERVICE = "mailbox.suspend_service", "mailbox.resume_service"

BLOCK = 1_000
"""How many mailboxes are turned in one transaction."""

# What is suspended by the reseller or deleted is remembered only: nothing changes for its backend.
_TURN = text(
    """
    with turned as (
        update mailbox set service_suspended = :suspended, version = mailbox.version + 1,
            generation = mailbox.generation + turn.changes,
            failed = mailbox.failed and turn.changes = 0,
            reason = case when turn.changes = 0 then mailbox.reason end,
            attempts = case when turn.changes = 0 then mailbox.attempts else 0 end,
            state = case when turn.changes = 0 then mailbox.state
                when backend_id is null then 'provisioning'
                when placed_in is not null and placed_in <> location then 'moving'
                else 'updating' end
        from unnest(cast(:ids as text[]), cast(:operation_ids as text[]), cast(:changes as integer[]))
            as turn (id, operation_id, changes)
        where mailbox.id = turn.id and mailbox.reseller_id = :reseller_id
        returning mailbox.id, mailbox.reseller_id, mailbox.generation, turn.operation_id, turn.changes
    )
    insert into operation (id, reseller_id, mailbox_id, action, generation, state, steps, attempts, version, created_at)
    select operation_id, reseller_id, id, :action, generation, 'queued', '[]', 0, 1, :now from turned where changes = 1
    """
)

_OUT_OF_STEP = text(
    """
    select id from reseller where service_suspended_at is not null and exists (
        select from mailbox where mailbox.reseller_id = reseller.id and not service_suspended and intent <> 'purged')
    union
    select reseller_id from mailbox where service_suspended and intent <> 'purged' and exists (
        select from reseller where reseller.id = mailbox.reseller_id and service_suspended_at is null)
    order by 1
    """
)


async def follow_standing(session: AsyncSession, reseller_id: str, *, now: datetime) -> int:
    """Turn the next mailboxes whose service is not as the reseller's; how many. BLOCK means that there may be more."""
    reseller = await get_reseller(session, reseller_id)
    suspended = reseller.service_suspended_at is not None
    action = SUSPEND_SERVICE if suspended else RESUME_SERVICE
    query = (
        select(col(Mailbox.id), col(Mailbox.intent))
        .where(
            col(Mailbox.reseller_id) == reseller_id,
            col(Mailbox.service_suspended) != suspended,
            col(Mailbox.intent) != Intent.PURGED,
        )
        .order_by(col(Mailbox.id))
        .limit(BLOCK)
    )
    found = (await session.execute(query.with_for_update(key_share=True))).all()
    if not found:
        return 0
    changed = [row.id for row in found if row.intent is Intent.PRESENT]
    await session.execute(
        _TURN,
        {
            "reseller_id": reseller_id,
            "suspended": suspended,
            "ids": [row.id for row in found],
            "operation_ids": [new_id("op") for _ in found],
            "changes": [int(row.intent is Intent.PRESENT) for row in found],
            "action": action,
            "now": now,
        },
    )
    await enqueue(session, RECONCILE, changed, priority=PRIORITY_ASKED)
    await record_events(session, reseller_id, actor=SYSTEM_ACTOR, action=action, resource_ids=changed, now=now)
    return len(found)


async def sweep_standing(session: AsyncSession) -> int:
    """Enqueue the resellers whose mailboxes are out of step: ordered or restored since, or after a lost job."""
    out_of_step = (await session.scalars(_OUT_OF_STEP)).all()
    await enqueue(session, FOLLOW_STANDING, out_of_step)
    return len(out_of_step)
