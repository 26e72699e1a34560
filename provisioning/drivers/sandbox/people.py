"""What people do at the imitation backend behind the service's back: users, and administrators causing drift.

They speak of mailboxes by address. Nothing here counts as a write of the driver, fails on demand or lags.
All raise LookupError for what is not there.
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from provisioning.core.database import Database
from provisioning.drivers.sandbox.faults import ANY, forget, script
from provisioning.drivers.sandbox.mailboxes import add_folder
from provisioning.drivers.sandbox.rules import ROOT, VISIBLE, stored_mask
from provisioning.drivers.sandbox.tables import Fault
from provisioning.planner import FolderType
from provisioning.terms import ServiceClass

_BACKEND_ID = text("select backend_id from sandbox_address where address = :address")
_FOLDERS = text(
    """
    select f.id, f.name, f.type, f.default_mask, f.anonymous_mask, m.service_class
    from sandbox_folder f join sandbox_mailbox m on m.id = f.backend_id
    where f.backend_id = :backend_id order by f.number
    """
)
_ARCHIVE = text("update sandbox_mailbox set archive = :archive where id = :backend_id")
_QUOTA = text("update sandbox_mailbox set quota_mib = :quota_mib where id = :backend_id")
_LOCATION = text(
    """
    update sandbox_mailbox set location = :location, moving_to = null, move_left = 0 where id = :backend_id
    """
)
_RESUME = text("update sandbox_mailbox set suspended = false where id = :backend_id")
_DELETE = text("update sandbox_mailbox set presence = 'deleted' where id = :backend_id")
_PURGE = text("delete from sandbox_mailbox where id = :backend_id")
_SET = text(
    """
    insert into sandbox_right (folder_id, grantee, mask) values (:folder_id, :grantee, :mask)
    on conflict (folder_id, grantee) do update set mask = excluded.mask
    """
)
_UNSET = text("delete from sandbox_right where folder_id = :folder_id and grantee = :grantee")
_COUNT = text(
    """
    select coalesce(sum(calls), 0)::int as calls, coalesce(sum(writes), 0)::int as writes
    from sandbox_mailbox where cast(:mailbox_id as text) is null or mailbox_id = :mailbox_id
    """
)


@dataclass(frozen=True, slots=True)
class ShownFolder:
    """A folder as a client shows it, with the two entries that are always there."""

    id: str
    name: str
    type: FolderType
    default_mask: int
    anonymous_mask: int


@dataclass(frozen=True, slots=True)
class Count:
    """Write calls that were accepted, and those of them that changed something."""

    calls: int
    writes: int


class SandboxPeople:
    """The hands of people at the backend, and of those who script what goes wrong there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def script(self, address: str, call: str, fault: Fault, times: int = 1) -> None:
        """Let the next `times` calls fail, in every process; `*` is any address or any call.

        They happen in the order they were scripted. Raises ValueError for a call that there is not.
        """
        async with self._database.as_system() as session:
            await script(session, address=address, call=call, fault=fault, times=times)

    async def forget_faults(self, address: str = ANY) -> None:
        """Drop the faults that have not happened yet, of this address or all."""
        async with self._database.as_system() as session:
            await forget(session, address=address)

    async def counted(self, mailbox_id: str | None = None) -> Count:
        """How often any process has written to this mailbox, or to all that are not purged."""
        async with self._database.as_system() as session:
            return await _count(session, mailbox_id)

    async def client_lists_folders(self, address: str) -> list[ShownFolder]:
        """What the mailbox's user sees in a client, the root first."""
        async with self._database.as_system() as session:
            return await _list_folders(session, address)

    async def client_creates_folder(self, address: str, name: str, *, parent: str = ROOT.name) -> str:
        """Imitate a user making a folder by hand below the one named `parent`; its id. Raises LookupError."""
        async with self._database.as_system() as session:
            return await _create_folder(session, address, name, parent=parent)

    async def admin_sets_rights(
        self, address: str, *, folder: FolderType | str, grantee: str, mask: int | None
    ) -> None:
        """Imitate drift: rights of the address `grantee` on a folder, by type or name; None removes them."""
        async with self._database.as_system() as session:
            await _set_rights(session, address, folder=folder, grantee=grantee, mask=mask)

    async def admin_changes_quota(self, address: str, quota_mib: int) -> None:
        async with self._database.as_system() as session:
            await _change_quota(session, address, quota_mib)

    async def admin_turns_archive(self, address: str, *, on: bool) -> None:
        async with self._database.as_system() as session:
            await _turn_archive(session, address, on=on)

    async def admin_moves(self, address: str, *, to: str) -> None:
        """Imitate drift: the mailbox is in another data centre than ordered, at once."""
        async with self._database.as_system() as session:
            await _relocate(session, address, to)

    async def admin_resumes(self, address: str) -> None:
        """Imitate drift: a suspended mailbox lets its user in again."""
        async with self._database.as_system() as session:
            await session.execute(_RESUME, {"backend_id": await _backend_id(session, address)})

    async def admin_deletes(self, address: str, *, purge: bool = False) -> None:
        async with self._database.as_system() as session:
            await _delete(session, address, purge=purge)


async def _list_folders(session: AsyncSession, address: str) -> list[ShownFolder]:
    """What a client shows of the mailbox, the root first."""
    rows = await session.execute(_FOLDERS, {"backend_id": await _backend_id(session, address)})
    return [
        ShownFolder(row.id, row.name, FolderType(row.type), row.default_mask, row.anonymous_mask)
        for row in rows
        if row.type in VISIBLE[ServiceClass(row.service_class)]
    ]


async def _create_folder(session: AsyncSession, address: str, name: str, *, parent: str = ROOT.name) -> str:
    """The id of a new folder below the one named `parent`, whose rights it copies."""
    folder_id = await add_folder(session, await _backend_id(session, address), name=name, parent=parent)
    if folder_id is None:
        raise LookupError(f"{address} has no folder {parent}, or {name} is in it already")
    return folder_id


async def _set_rights(
    session: AsyncSession, address: str, *, folder: FolderType | str, grantee: str, mask: int | None
) -> None:
    """Set the rights of another address on a folder given by type or name; None takes the entry away."""
    for shown in await _list_folders(session, address):
        if folder == (shown.type if isinstance(folder, FolderType) else shown.name):
            values = {"folder_id": shown.id, "grantee": await _backend_id(session, grantee)}
            if mask is None:
                await session.execute(_UNSET, values)
            else:
                await session.execute(_SET, {**values, "mask": stored_mask(mask, shown.type)})
            return
    raise LookupError(f"{address} has no folder {folder}")


async def _change_quota(session: AsyncSession, address: str, quota_mib: int) -> None:
    backend_id = await _backend_id(session, address)
    await session.execute(_QUOTA, {"backend_id": backend_id, "quota_mib": quota_mib})


async def _turn_archive(session: AsyncSession, address: str, *, on: bool) -> None:
    await session.execute(_ARCHIVE, {"backend_id": await _backend_id(session, address), "archive": on})


async def _relocate(session: AsyncSession, address: str, to: str) -> None:
    """Move the mailbox at once."""
    await session.execute(_LOCATION, {"backend_id": await _backend_id(session, address), "location": to})


async def _delete(session: AsyncSession, address: str, *, purge: bool) -> None:
    await session.execute(_PURGE if purge else _DELETE, {"backend_id": await _backend_id(session, address)})


async def _count(session: AsyncSession, mailbox_id: str | None) -> Count:
    """Of one mailbox or of all that are there."""
    calls, writes = (await session.execute(_COUNT, {"mailbox_id": mailbox_id})).one()
    return Count(calls, writes)


async def _backend_id(session: AsyncSession, address: str) -> str:
    found = await session.scalar(_BACKEND_ID, {"address": address})
    if found is None:
        raise LookupError(f"the backend has no {address}")
    return str(found)
