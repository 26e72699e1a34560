"""Permissions of the imitation backend: entries on folders, and the three grants on a mailbox."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from provisioning.drivers.base import CONVERGED, DriverError, Outcome
from provisioning.drivers.sandbox.rows import keep_stale, lock, lock_present, wrote
from provisioning.drivers.sandbox.rules import ANONYMOUS, DEFAULT, grant_refusal, rights_refusal, stored_mask
from provisioning.planner import FolderType
from provisioning.roles import Role
from provisioning.terms import ServiceClass

_PUT_RIGHTS = text(
    """
    insert into sandbox_right (folder_id, grantee, mask) values (:folder_id, :grantee, :mask)
    on conflict (folder_id, grantee) do update set mask = excluded.mask
    where sandbox_right.mask <> excluded.mask returning mask
    """
)
_PUT_DEFAULT = text(
    """
    update sandbox_folder set default_mask = :mask
    where id = :folder_id and default_mask <> :mask returning id
    """
)
_PUT_ANONYMOUS = text(
    """
    update sandbox_folder set anonymous_mask = :mask
    where id = :folder_id and anonymous_mask <> :mask returning id
    """
)
_DROP_RIGHTS = text(
    """
    delete from sandbox_right r using sandbox_folder f
    where f.id = r.folder_id and f.backend_id = :backend_id and r.folder_id = :folder_id
        and r.grantee = :grantee returning r.mask
    """
)
_PUT_GRANT = text(
    """
    insert into sandbox_grant (backend_id, role, grantee) values (:backend_id, :role, :grantee)
    on conflict (backend_id, role, grantee) do nothing returning role
    """
)
_DROP_GRANT = text(
    """
    delete from sandbox_grant
    where backend_id = :backend_id and role = :role and grantee = :grantee returning role
    """
)
_SPECIAL = {DEFAULT: _PUT_DEFAULT, ANONYMOUS: _PUT_ANONYMOUS}


async def put_rights(
    session: AsyncSession, backend_id: str, *, folder_id: str, grantee: str, mask: int, lag: int
) -> Outcome:
    there = await lock_present(session, backend_id, folder_id=folder_id)
    folder_type = None if there.folder_type is None else FolderType(there.folder_type)
    if refusal := rights_refusal(ServiceClass(there.service_class), folder_type, mask):
        raise DriverError(refusal, permanent=True)
    await keep_stale(session, backend_id, lag)
    kept = stored_mask(mask, folder_type or FolderType.OTHER)
    values = {"folder_id": folder_id, "grantee": grantee, "mask": kept}
    if (await session.execute(_SPECIAL.get(grantee, _PUT_RIGHTS), values)).first():
        await wrote(session, backend_id, lag)
    return CONVERGED


async def drop_rights(session: AsyncSession, backend_id: str, *, folder_id: str, grantee: str, lag: int) -> Outcome:
    if grantee in _SPECIAL:
        raise DriverError(f"{grantee} cannot be removed, only be set to None", permanent=True)
    if await lock(session, backend_id) is not None:
        await keep_stale(session, backend_id, lag)
        values = {"backend_id": backend_id, "folder_id": folder_id, "grantee": grantee}
        if (await session.execute(_DROP_RIGHTS, values)).first():
            await wrote(session, backend_id, lag)
    return CONVERGED


async def put_grant(session: AsyncSession, backend_id: str, *, role: Role, grantee: str, lag: int) -> Outcome:
    there = await lock_present(session, backend_id)
    if refusal := grant_refusal(ServiceClass(there.service_class), role):
        raise DriverError(refusal, permanent=True)
    await keep_stale(session, backend_id, lag)
    values = {"backend_id": backend_id, "role": role.value, "grantee": grantee}
    if (await session.execute(_PUT_GRANT, values)).first():
        await wrote(session, backend_id, lag)
    return CONVERGED


async def drop_grant(session: AsyncSession, backend_id: str, *, role: Role, grantee: str, lag: int) -> Outcome:
    if await lock(session, backend_id) is not None:
        await keep_stale(session, backend_id, lag)
        values = {"backend_id": backend_id, "role": role.value, "grantee": grantee}
        if (await session.execute(_DROP_GRANT, values)).first():
            await wrote(session, backend_id, lag)
    return CONVERGED
