"""The audit log: who did what to which object, in the transaction that did it, chained by hash in the database."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.core.database import fetch
from provisioning.core.ids import new_id
from provisioning.tenants import AuditEvent

OPERATOR_CHAIN = "operator"
SYSTEM_ACTOR = "system"

# Sequence and hashes are the trigger's. Its parameters are `event_values`.
RECORD = """
    insert into audit_event (id, chain, sequence, reseller_id, at, actor, action, resource_id, detail, previous_hash,
        hash)
    select event.id, %(chain)s, 0, %(reseller_id)s, %(at)s, %(actor)s, event.action, event.resource_id,
        cast(event.detail as jsonb), '', ''
    from unnest(cast(%(event_ids)s as text[]), cast(%(actions)s as text[]), cast(%(resource_ids)s as text[]),
        cast(%(details)s as text[])) with ordinality as event (id, action, resource_id, detail, place)
    order by event.place
"""

# Recomputes each hash and compares it with what is stored and with the `previous_hash` of the event after it.
_FIRST_BROKEN = text(
    """
    select sequence from (
        select sequence, hash, previous_hash, audit_event_hash(audit_event.*) as recomputed,
               lag(hash, 1, ''::bytea) over (order by sequence) as before,
               row_number() over (order by sequence) as position
        from audit_event where chain = :chain
    ) as event
    where hash <> recomputed or previous_hash <> before or sequence <> position
    order by sequence limit 1
    """
)


_EXTENT = text(
    """
    select count(*) as events,
           (select hash from audit_event where chain = :chain order by sequence desc limit 1) as last_hash
    from audit_event where chain = :chain
    """
)


@dataclass(frozen=True, slots=True)
class Event:
    """What was done to one object."""

    action: str
    resource_id: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChainCheck:
    """`first_broken` is the sequence of the first event that does not fit, None when the chain is whole.

    A chain that lost its newest events looks whole; only who knows `last_hash` from before can tell.
    """

    events: int
    first_broken: int | None
    last_hash: bytes | None


async def record_events(
    session: AsyncSession,
    reseller_id: str | None,
    *,
    actor: str,
    action: str,
    resource_ids: Sequence[str],
    now: datetime,
    detail: dict[str, Any] | None = None,
) -> None:
    """One event for each resource; `reseller_id` None writes to the operator's chain. Secrets have no place in it."""
    events = [Event(action, resource_id, detail or {}) for resource_id in resource_ids]
    await fetch(session, RECORD, event_values(reseller_id, events, actor=actor, now=now))


def event_values(reseller_id: str | None, events: Sequence[Event], *, actor: str, now: datetime) -> dict[str, Any]:
    """The parameters of RECORD, for whoever makes it part of a statement of its own."""
    return {
        "event_ids": [new_id("evt") for _ in events],
        "actions": [event.action for event in events],
        "resource_ids": [event.resource_id for event in events],
        "details": [json.dumps(event.detail) for event in events],
        "chain": reseller_id or OPERATOR_CHAIN,
        "reseller_id": reseller_id,
        "at": now,
        "actor": actor,
    }


async def list_events(
    session: AsyncSession, chain: str, *, resource_id: str | None, before: int | None, limit: int
) -> Sequence[AuditEvent]:
    """Newest first, at most `limit`, from below the sequence number `before`."""
    query = select(AuditEvent).where(col(AuditEvent.chain) == chain)
    if resource_id is not None:
        query = query.where(col(AuditEvent.resource_id) == resource_id)
    if before is not None:
        query = query.where(col(AuditEvent.sequence) < before)
    return (await session.scalars(query.order_by(col(AuditEvent.sequence).desc()).limit(limit))).all()


async def check_chain(session: AsyncSession, chain: str) -> ChainCheck:
    """Recompute every hash of a chain; a reseller checks its own, the operator `operator`."""
    extent = (await session.execute(_EXTENT, {"chain": chain})).one()
    first_broken = await session.scalar(_FIRST_BROKEN, {"chain": chain})
    return ChainCheck(events=extent.events, first_broken=first_broken, last_hash=extent.last_hash)
