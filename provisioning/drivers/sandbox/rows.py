"""What the imitation backend shows of a mailbox, and the lock that puts two writers of one mailbox in a row.

`lag` is the number of observations that still show the state before a write.
"""

from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from provisioning.drivers.base import DriverError
from provisioning.drivers.sandbox.rules import VISIBLE
from provisioning.planner import Folder, FolderType, MailboxSpec, Presence, Seen
from provisioning.roles import Role
from provisioning.terms import MailboxKind, Protocol, ServiceClass

_STATE = """
    jsonb_build_object(
        'id', m.id, 'presence', m.presence, 'location', m.location, 'kind', m.kind,
        'service_class', m.service_class, 'display_name', m.display_name, 'quota_mib', m.quota_mib,
        'protocols', to_jsonb(m.protocols), 'addresses', to_jsonb(m.addresses),
        'suspended', m.suspended, 'archive', m.archive, 'password_version', m.password_version,
        'folders', (
            select jsonb_agg(jsonb_build_array(f.id, f.type, (
                select coalesce(jsonb_object_agg(r.grantee, r.mask), '{}')
                from sandbox_right r where r.folder_id = f.id)) order by f.number)
            from sandbox_folder f where f.backend_id = m.id),
        'grants', (
            select coalesce(jsonb_agg(jsonb_build_array(g.role, g.grantee)), '[]')
            from sandbox_grant g where g.backend_id = m.id))
"""
_OBSERVE = text(
    f"select m.id, m.stale, m.stale_reads, m.move_left, {_STATE} as state "  # noqa: S608  # constants only
    "from sandbox_mailbox m where m.mailbox_id = :mailbox_id"
)
_KEEP_STALE = text(
    f"update sandbox_mailbox m set stale = {_STATE} where m.id = :backend_id and m.stale_reads = 0"  # noqa: S608  # constants only
)
_TICK = text(
    """
    update sandbox_mailbox set
        stale_reads = greatest(stale_reads - 1, 0),
        location = case when move_left = 1 then moving_to else location end,
        moving_to = case when move_left = 1 then null else moving_to end,
        move_left = greatest(move_left - 1, 0)
    where id = :backend_id returning location
    """
)
_LOCK = text(
    """
    update sandbox_mailbox m set calls = calls + 1 where m.id = :backend_id
    returning m.presence, m.service_class, m.archive, m.location, m.moving_to, m.move_left, (
        select f.type from sandbox_folder f where f.id = :folder_id and f.backend_id = m.id) as folder_type
    """
)
_WROTE = text("update sandbox_mailbox set writes = writes + 1, stale_reads = :lag where id = :backend_id")


async def observe(session: AsyncSession, mailbox_id: str) -> Seen | None:
    """What is shown of the mailbox. Observing lets time pass: old state fades and moves go on."""
    row = (await session.execute(_OBSERVE, {"mailbox_id": mailbox_id})).one_or_none()
    if row is None:
        return None
    state: dict[str, Any] | None = row.state
    if row.stale_reads or row.move_left:
        location = await session.scalar(_TICK, {"backend_id": row.id})
        state = row.stale if row.stale_reads else {**row.state, "location": location or row.state["location"]}
    return None if state is None else _seen(state)


def _seen(state: dict[str, Any]) -> Seen:
    service_class = ServiceClass(state["service_class"])
    spec = MailboxSpec(
        kind=MailboxKind(state["kind"]),
        service_class=service_class,
        display_name=state["display_name"],
        quota_mib=state["quota_mib"],
        protocols=frozenset(Protocol(name) for name in state["protocols"]),
        addresses=tuple(state["addresses"]),
        suspended=state["suspended"],
        password_version=state["password_version"],
    )
    return Seen(
        backend_id=state["id"],
        presence=Presence(state["presence"]),
        location=state["location"],
        spec=spec,
        folders=tuple(
            Folder(folder_id, FolderType(type_), tuple(sorted(rights.items())))
            for folder_id, type_, rights in state["folders"]
            if type_ in VISIBLE[service_class]
        ),
        grants=frozenset((Role(role), grantee) for role, grantee in state["grants"]),
        archive=state.get("archive", False),  # not in a state kept before there were archives
    )


async def lock(session: AsyncSession, backend_id: str, *, folder_id: str | None = None) -> Row[Any] | None:
    values = {"backend_id": backend_id, "folder_id": folder_id}
    return (await session.execute(_LOCK, values)).one_or_none()


async def lock_present(session: AsyncSession, backend_id: str, *, folder_id: str | None = None) -> Row[Any]:
    there = await lock(session, backend_id, folder_id=folder_id)
    if there is None or there.presence != Presence.PRESENT:
        raise DriverError("there is no such mailbox in service", permanent=True)
    return there


async def keep_stale(session: AsyncSession, backend_id: str, lag: int) -> None:
    if lag:
        await session.execute(_KEEP_STALE, {"backend_id": backend_id})


async def wrote(session: AsyncSession, backend_id: str, lag: int) -> None:
    await session.execute(_WROTE, {"backend_id": backend_id, "lag": lag})
