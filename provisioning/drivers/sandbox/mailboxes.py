"""Mailboxes of the imitation backend: create, change, move, remove and purge, each in few statements."""

from typing import Any
from uuid import uuid4

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from provisioning.drivers.base import CONVERGED, DriverError, Outcome, Progress
from provisioning.drivers.sandbox.rows import keep_stale, lock, lock_present, wrote
from provisioning.drivers.sandbox.rules import ROOT, archive_refusal, spec_refusal, standard_folders
from provisioning.planner import FolderType, MailboxSpec, Presence
from provisioning.roles import FREE_BUSY, Right
from provisioning.terms import ServiceClass

_LOCK_BY_OUR_ID = text(
    """
    update sandbox_mailbox set calls = calls + 1 where mailbox_id = :mailbox_id
    returning id, presence, kind, service_class, display_name, quota_mib, protocols, addresses, suspended,
        password_version, password_hash
    """
)
_CREATE = text(
    """
    with created as (
        insert into sandbox_mailbox (id, mailbox_id, presence, location, kind, service_class, display_name,
            quota_mib, protocols, addresses, suspended, password_version, password_hash, move_left,
            stale_reads, calls, writes)
        values (:backend_id, :mailbox_id, 'present', :location, :kind, :service_class, :display_name,
            :quota_mib, :protocols, :addresses, :suspended, :password_version, :password_hash, 0, :lag, 1, 1)
        on conflict (mailbox_id) do nothing returning id
    ), root as (
        insert into sandbox_folder (id, backend_id, number, type, name, default_mask, anonymous_mask)
        select :root_id, id, 0, 'root', :root_name, 0, 0 from created
    ), claimed as (
        insert into sandbox_address (address, backend_id)
        select a, created.id from created, unnest(cast(:addresses as text[])) a order by a
        on conflict (address) do nothing returning address
    )
    select (select count(*) from created) as created, (select count(*) from claimed) as claimed
    """
)
_CHANGE = text(
    """
    update sandbox_mailbox set presence = 'present', kind = :kind, service_class = :service_class,
        display_name = :display_name, quota_mib = :quota_mib, protocols = :protocols, addresses = :addresses,
        suspended = :suspended, password_version = :password_version, password_hash = :password_hash,
        writes = writes + 1, stale_reads = :lag
    where id = :backend_id
    """
)
_CLAIM = text(
    """
    with freed as (
        delete from sandbox_address
        where backend_id = :backend_id and address <> all(cast(:addresses as text[]))
    ), claimed as (
        insert into sandbox_address (address, backend_id)
        select a, :backend_id from unnest(cast(:addresses as text[])) a order by a
        on conflict (address) do update set backend_id = excluded.backend_id
        where sandbox_address.backend_id = excluded.backend_id returning address
    )
    select count(*) from claimed
    """
)
# A folder made later copies its parent's entries as a write keeps them; a NULL mask copies the parent's own.
_ADD_FOLDERS = text(
    """
    with parent as (
        select f.*, (select max(number) from sandbox_folder s where s.backend_id = f.backend_id) as last
        from sandbox_folder f where f.backend_id = :backend_id and f.name = :parent
        order by f.number limit 1
    ), added as (
        insert into sandbox_folder
            (id, backend_id, parent_id, number, type, name, default_mask, anonymous_mask)
        select gen_random_uuid()::text, p.backend_id, p.id, p.last + n.place, n.type, n.name,
            coalesce(n.default_mask, p.default_mask & ~:free_busy),
            case when n.default_mask is null then p.anonymous_mask & ~:free_busy else 0 end
        from parent p, unnest(cast(:types as text[]), cast(:names as text[]), cast(:masks as int[]))
            with ordinality as n (type, name, default_mask, place)
        on conflict (backend_id, parent_id, name) do nothing returning id, parent_id, type
    ), copied as (
        insert into sandbox_right (folder_id, grantee, mask)
        select a.id, r.grantee, case
            when a.type <> 'calendar' then r.mask & ~:free_busy
            when r.mask & :read_items > 0 then r.mask | :free_busy else r.mask end
        from added a join sandbox_right r on r.folder_id = a.parent_id
    )
    select id from added
    """
)
_MOVE = text(
    """
    update sandbox_mailbox set
        location = :location, moving_to = cast(:moving_to as text), move_left = :move_left
    where id = :backend_id
    """
)
_ARCHIVE = text("update sandbox_mailbox set archive = :archive where id = :backend_id")
_REMOVE = text(
    "update sandbox_mailbox set presence = 'deleted', moving_to = null, move_left = 0 where id = :backend_id"
)
_PURGE = text("delete from sandbox_mailbox where id = :backend_id")


async def put_mailbox(
    session: AsyncSession,
    mailbox_id: str,
    spec: MailboxSpec,
    *,
    location: str,
    password_hash: str | None,
    lag: int,
) -> Outcome:
    """Create, restore or change. Without a hash the password stays what it is."""
    if refusal := spec_refusal(spec):
        raise DriverError(refusal, permanent=True)
    wanted = {
        "kind": spec.kind.value,
        "service_class": spec.service_class.value,
        "display_name": spec.display_name,
        "quota_mib": spec.quota_mib,
        "protocols": sorted(protocol.value for protocol in spec.protocols),
        "addresses": list(spec.addresses),
        "suspended": spec.suspended,
        "password_version": 0 if password_hash is None else spec.password_version,
        "password_hash": password_hash,
    }
    by_our_id = {"mailbox_id": mailbox_id}
    there = (await session.execute(_LOCK_BY_OUR_ID, by_our_id)).one_or_none()
    if there is None:
        if await _create(session, {**wanted, **by_our_id, "location": location, "lag": lag}):
            return CONVERGED
        # Another process has created it since; its row is there to be locked now.
        there = (await session.execute(_LOCK_BY_OUR_ID, by_our_id)).one_or_none()
    if there is not None:
        await _change(session, there, wanted, lag=lag)
    return CONVERGED


async def _create(session: AsyncSession, values: dict[str, Any]) -> bool:
    backend_id = str(uuid4())
    names = {"backend_id": backend_id, "root_id": str(uuid4()), "root_name": ROOT.name}
    created, claimed = (await session.execute(_CREATE, {**values, **names})).one()
    if not created:
        return False
    _check_claimed(claimed, values["addresses"])
    await add_standard_folders(session, backend_id, ServiceClass(values["service_class"]))
    return True


async def _change(session: AsyncSession, there: Row[Any], wanted: dict[str, Any], *, lag: int) -> None:
    if wanted["password_hash"] is None:
        kept = {"password_version": there.password_version, "password_hash": there.password_hash}
        wanted = wanted | kept
    if there.presence == Presence.PRESENT and all(getattr(there, name) == wanted[name] for name in wanted):
        return
    await keep_stale(session, there.id, lag)
    await session.execute(_CHANGE, {**wanted, "backend_id": there.id, "lag": lag})
    if there.addresses != wanted["addresses"]:
        values = {"backend_id": there.id, "addresses": wanted["addresses"]}
        _check_claimed(await session.scalar(_CLAIM, values), wanted["addresses"])
    if there.service_class != wanted["service_class"]:
        await add_standard_folders(session, there.id, ServiceClass(wanted["service_class"]))


def _check_claimed(claimed: int | None, addresses: list[str]) -> None:
    if claimed != len(addresses):
        # Not for good: the other mailbox may be about to give the address up, as when an alias changes hands.
        raise DriverError(f"one of {', '.join(addresses)} belongs to another mailbox", permanent=False)


async def add_standard_folders(session: AsyncSession, backend_id: str, service_class: ServiceClass) -> None:
    """Add what the class has and the mailbox has not. Folders of a class it has left are hidden and kept."""
    folders = standard_folders(service_class)
    values: dict[str, list[Any]] = {
        "types": [folder.type.value for folder in folders],
        "names": [folder.name for folder in folders],
        "masks": [folder.default_mask for folder in folders],
    }
    await _add_folders(session, backend_id, parent=ROOT.name, values=values)


async def add_folder(session: AsyncSession, backend_id: str, *, name: str, parent: str) -> str | None:
    """The id of a folder a user made; None when the parent is missing or the name is taken there."""
    values: dict[str, list[Any]] = {"types": [FolderType.OTHER.value], "names": [name], "masks": [None]}
    return await _add_folders(session, backend_id, parent=parent, values=values)


async def _add_folders(
    session: AsyncSession, backend_id: str, *, parent: str, values: dict[str, list[Any]]
) -> str | None:
    fixed = {"free_busy": int(FREE_BUSY), "read_items": int(Right.READ_ITEMS)}
    found = await session.scalar(_ADD_FOLDERS, {"backend_id": backend_id, "parent": parent, **fixed, **values})
    return None if found is None else str(found)


async def move(session: AsyncSession, backend_id: str, *, to: str, observations: int, lag: int) -> Outcome:
    there = await lock_present(session, backend_id)
    if there.moving_to == to:
        return Outcome(Progress.PENDING, f"mail is being copied to {to}, {there.move_left} observations to go")
    if there.location == to and there.moving_to is None:
        return CONVERGED
    # Wanted back where it still is, the move is given up.
    at_once = observations == 0 or there.location == to
    values = {
        "location": to if at_once else there.location,
        "moving_to": None if at_once else to,
        "move_left": 0 if at_once else observations,
    }
    await keep_stale(session, backend_id, lag)
    await session.execute(_MOVE, {**values, "backend_id": backend_id})
    await wrote(session, backend_id, lag)
    return CONVERGED if at_once else Outcome(Progress.PENDING, f"mail is being copied to {to}")


async def put_archive(session: AsyncSession, backend_id: str, *, on: bool, lag: int) -> Outcome:
    there = await lock_present(session, backend_id)
    if on and (refusal := archive_refusal(ServiceClass(there.service_class))):
        raise DriverError(refusal, permanent=True)
    if there.archive is not on:
        await keep_stale(session, backend_id, lag)
        await session.execute(_ARCHIVE, {"backend_id": backend_id, "archive": on})
        await wrote(session, backend_id, lag)
    return CONVERGED


async def remove(session: AsyncSession, backend_id: str, *, lag: int) -> Outcome:
    there = await lock(session, backend_id)
    if there is not None and there.presence == Presence.PRESENT:
        await keep_stale(session, backend_id, lag)
        await session.execute(_REMOVE, {"backend_id": backend_id})
        await wrote(session, backend_id, lag)
    return CONVERGED


async def purge(session: AsyncSession, backend_id: str) -> Outcome:
    """Seen at once whatever the lag: nothing remains that could show an old state."""
    await session.execute(_PURGE, {"backend_id": backend_id})
    return CONVERGED
