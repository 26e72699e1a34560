"""The life of a mailbox in this cell: made, changed, taken out of service, erased."""

import asyncio
import secrets
import shutil
from dataclasses import replace

from provisioning.cell import directory, groupware, shares
from provisioning.cell.cache import keys_of_collection, keys_of_person
from provisioning.cell.directory import Box, Guest, Spec
from provisioning.cell.house import House
from provisioning.cell.refusals import ClassCannot, WrongState

_SCHEMES = {
    "$argon2id$": "{ARGON2ID}",
    "$2a$": "{BLF-CRYPT}",
    "$2b$": "{BLF-CRYPT}",
    "$2y$": "{BLF-CRYPT}",
    "$5$": "{SHA256-CRYPT}",
    "$6$": "{SHA512-CRYPT}",
}


async def put_mailbox(house: House, mailbox_id: str, spec: Spec, password_hash: str | None) -> str:
    """Create it, bring it back or set its attributes; its backend id. Raises AddressTaken."""
    async with house.alone_with(mailbox_id):
        async with house.transaction() as db:
            before = await directory.find_by_mailbox(db, mailbox_id)
            if before is not None:
                await directory.get_box(db, before.backend_id)
            if before is None:
                backend_id = f"box_{secrets.token_hex(10)}"
                await directory.insert_box(db, backend_id, mailbox_id, spec)
            else:
                backend_id = before.backend_id
                await directory.update_box(db, before, spec)
            if password_hash is not None:
                hashed, version = with_scheme(password_hash), spec.password_version
                await directory.set_password(db, backend_id, password_hash=hashed, version=version)
            after = await directory.get_box(db, backend_id)
            await _settle_groupware(db, before, after)
        await settle(house, after)
        if before is not None and before.archive and not after.archive:
            await _erase_archive(house, backend_id)
        if before is not None:
            await settle_sessions(house, before, after)
        return backend_id


async def settle(house: House, box: Box) -> None:
    """Its standard folders, unless they have been made."""
    if not box.settled:
        await house.dovecot.create_folders(box.address)
        async with house.transaction() as db:
            await db.execute("UPDATE directory.box SET settled = true WHERE backend_id = %s", [box.backend_id])


async def remove_mailbox(house: House, backend_id: str) -> None:
    """Out of service and restorable; what is gone is gone."""
    async with house.alone_with(backend_id):
        async with house.transaction() as db:
            if await directory.find_box(db, backend_id) is None:
                return
            box = await directory.get_box(db, backend_id)
            await db.execute("UPDATE directory.box SET presence = 'deleted' WHERE backend_id = %s", [backend_id])
        await end_sessions(house, box)


async def purge_mailbox(house: House, backend_id: str) -> None:
    """Nothing is left of it, here or in what others gave it. Broken off, it is done again."""
    async with house.transaction() as db:
        box = await directory.find_box(db, backend_id)
    if box is None:
        return
    await remove_mailbox(house, backend_id)
    await shares.forget_grantee(house, backend_id)
    await erase(house, box)


async def erase(house: House, box: Box, *, leaving: Guest | None = None) -> None:
    """Its mail, its calendars, its row; what others gave it stays. `leaving` takes its place in the same moment."""
    home = house.cell.mail / box.backend_id
    async with house.alone_with(box.backend_id):
        async with house.transaction() as db:
            await groupware.erase(db, box.backend_id)
            await db.execute("DELETE FROM directory.group_share WHERE from_user = %s", [box.address])
            await db.execute("DELETE FROM directory.user_share WHERE from_user = %s", [box.address])
            if leaving is not None:
                await db.execute("DELETE FROM directory.box WHERE backend_id = %s", [box.backend_id])
                await directory.put_guest(db, leaving)
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
        # A session that was just ending may have written once more.
        await house.dovecot.kick(box.address)
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
        async with house.transaction() as db:
            await db.execute("DELETE FROM directory.box WHERE backend_id = %s", [box.backend_id])
        collections = [key for each in groupware.COLLECTIONS for key in keys_of_collection(box.backend_id, each.path)]
        await house.forget([*collections, *keys_of_person(box.backend_id, box.spec.addresses)])


async def put_archive(house: House, backend_id: str, *, on: bool) -> None:
    """A second mail store for old mail, below the folder Archive; taking it away erases what is in it."""
    async with house.alone_with(backend_id):
        async with house.transaction() as db:
            box = await directory.get_box(db, backend_id)
            if on and not box.has_groupware:
                raise ClassCannot(f"a mailbox of class {box.spec.service_class} has no archive")
            await db.execute("UPDATE directory.box SET archive = %s WHERE backend_id = %s", [on, backend_id])
        if not on and box.archive:
            await house.dovecot.kick(box.address)
            await _erase_archive(house, backend_id)


async def kick(house: House, backend_id: str) -> None:
    async with house.transaction() as db:
        box = await directory.get_box(db, backend_id, phases=("home", "frozen"))
    await end_sessions(house, box)


async def end_sessions(house: House, box: Box) -> None:
    """Cut its open connections, and let SOGo ask anew who it is and what it may."""
    await house.forget(keys_of_person(box.backend_id, box.spec.addresses))
    await house.dovecot.kick(box.address)


async def settle_sessions(house: House, before: Box, after: Box) -> None:
    """Sessions end where they would not come about any more as they are."""
    harmless = replace(
        after, spec=replace(after.spec, display_name=before.spec.display_name, quota_mib=before.spec.quota_mib)
    )
    if harmless == before:
        await house.forget(keys_of_person(after.backend_id, after.spec.addresses))
        return
    for box in (before, after):
        await end_sessions(house, box)


async def put_guest(house: House, guest: Guest) -> None:
    """A mailbox of another cell that may be a grantee here, and where mail for it goes.

    Raises AddressTaken, and WrongState for a mailbox that is here.
    """
    async with house.transaction() as db:
        box = await directory.find_box(db, guest.backend_id)
        if box is not None and box.phase != "arriving":
            raise WrongState(f"{guest.backend_id} is here")
        await directory.put_guest(db, guest)
        await directory.keep_peer(db, guest.cell, house.peer(guest.cell))
    await house.forget(keys_of_person(guest.backend_id, guest.addresses))


async def drop_guest(house: House, backend_id: str) -> None:
    """With everything that mailboxes here gave it."""
    async with house.transaction() as db:
        addresses = await directory.addresses_of(db, backend_id)
        is_home = await directory.find_box(db, backend_id) is not None
    if not is_home:
        await shares.forget_grantee(house, backend_id)
    async with house.transaction() as db:
        await db.execute("DELETE FROM directory.guest WHERE backend_id = %s", [backend_id])
    await house.forget(keys_of_person(backend_id, addresses))


def with_scheme(password_hash: str) -> str:
    """Crypt form with the scheme before it: neither Dovecot nor SOGo guesses."""
    for start, scheme in _SCHEMES.items():
        if password_hash.startswith(start):
            return scheme + password_hash
    return "{CRYPT}" + password_hash


async def _settle_groupware(db: directory.Connection, before: Box | None, after: Box) -> None:
    if after.has_groupware:
        await groupware.create_collections(db, after.backend_id)
    elif before is not None and before.has_groupware:
        # What is in them stays for the day the class comes back; nobody else keeps seeing it.
        await groupware.drop_roles(db, after.backend_id)
        await db.execute(
            "DELETE FROM directory.folder_right WHERE backend_id = %s AND folder_id = ANY (%s)",
            [after.backend_id, list(groupware.BY_ID)],
        )


async def _erase_archive(house: House, backend_id: str) -> None:
    await asyncio.to_thread(shutil.rmtree, house.cell.mail / backend_id / "archive", ignore_errors=True)
