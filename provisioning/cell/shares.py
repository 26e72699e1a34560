"""Rights on folders and grants on whole mailboxes: kept in the directory, set in Dovecot and SOGo.

The row comes first: what was interrupted is seen in the report as a difference, and done again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from provisioning.cell import directory, groupware
from provisioning.cell.cache import keys_of_collection, keys_of_person
from provisioning.cell.directory import Box, Connection
from provisioning.cell.house import House
from provisioning.cell.refusals import ClassCannot, NotFound
from provisioning.cell.rights import all_rights, folder_rights
from provisioning.planner import FolderType

FULL_ACCESS = "full_access"
ROOT, INBOX = "root", "inbox"


@dataclass(frozen=True, slots=True)
class MailFolder:
    """A folder of IMAP. The inbox has an id of its own name, which lasts whatever Dovecot does."""

    id: str
    type: FolderType
    name: str


async def mail_folders(house: House, box: Box) -> list[MailFolder]:
    found = [
        MailFolder(INBOX, FolderType.INBOX, name) if name == "INBOX" else MailFolder(guid, FolderType.OTHER, name)
        for name, guid in (await house.dovecot.folders(box.address)).items()
    ]
    return sorted(found, key=lambda each: each.id)


async def put_right(house: House, backend_id: str, folder_id: str, grantee: str, mask: int) -> bool:
    """Exactly these rights; zero takes them away. Whether the grantee can use them here, as a guest cannot.

    Raises NotFound, UnknownGrantee, ClassCannot.
    """
    effective = True
    async with house.alone_with(backend_id):
        async with house.transaction() as db:
            box = await directory.get_box(db, backend_id)
            if mask:
                effective = await directory.require_grantee(db, box, grantee)
        folder = await _folder(house, box, folder_id, needed=bool(mask))
        async with house.transaction() as db:
            await directory.keep_mask(db, backend_id, folder_id, grantee, mask)
            full = (FULL_ACCESS, grantee) in await directory.grants_of(db, backend_id)
            if isinstance(folder, groupware.Collection):
                rights = all_rights(folder.type) if full else folder_rights(mask, folder.type)
                await groupware.set_roles(db, backend_id, folder, grantee, rights)
            given_by = await _identifiers(db, grantee)
        if isinstance(folder, MailFolder):
            rights = all_rights(folder.type) if full else folder_rights(mask, folder.type)
            await _set_mail(house, box, [(folder.name, rights)], given_by)
        if isinstance(folder, groupware.Collection):
            await _forget(house, backend_id, grantee)
    return effective


async def put_grant(house: House, backend_id: str, role: str, grantee: str) -> bool:
    """Full access covers every folder there is; one made later gets it by asking again. Answers as `put_right`."""
    async with house.alone_with(backend_id):
        async with house.transaction() as db:
            box = await directory.get_box(db, backend_id)
            effective = await directory.require_grantee(db, box, grantee)
            await directory.keep_grant(db, backend_id, role, grantee)
        if role == FULL_ACCESS:
            await _spread(house, box, grantee)
    return effective


async def spread_to_new_folders(house: House, backend_id: str, grantees: Iterable[str]) -> None:
    """Give those who may use or read the whole mailbox the same on mail folders that nobody has rights on yet."""
    async with house.alone_with(backend_id):
        async with house.transaction() as db:
            box = await directory.get_box(db, backend_id)
            grants = await directory.grants_of(db, backend_id)
            kept = await directory.kept_masks(db, backend_id)
        folders = await mail_folders(house, box)
        acls = await house.dovecot.acls(box.address, [each.name for each in folders])
        for grantee in grantees:
            whole = kept.get((ROOT, grantee), 0)
            fresh = [each for each in folders if not acls[each.name] and (each.id, grantee) not in kept]
            if whole:
                async with house.transaction() as db:
                    for each in fresh:
                        await directory.keep_mask(db, backend_id, each.id, grantee, whole)
            full = (FULL_ACCESS, grantee) in grants
            wanted = [(each.name, all_rights(each.type) if full else folder_rights(whole, each.type)) for each in fresh]
            async with house.transaction() as db:
                given_by = await _identifiers(db, grantee)
            await _set_mail(house, box, wanted, given_by)


async def drop_grant(house: House, backend_id: str, role: str, grantee: str) -> None:
    """What the grantee has on single folders stays."""
    async with house.alone_with(backend_id):
        async with house.transaction() as db:
            box = await directory.get_box(db, backend_id)
            await directory.drop_grant(db, backend_id, role, grantee)
        if role == FULL_ACCESS:
            await _spread(house, box, grantee)


async def forget_grantee(house: House, grantee: str) -> None:
    """Take away everything that others gave to a mailbox which is about to end."""
    async with house.transaction() as db:
        rows = await db.execute(
            "SELECT backend_id FROM directory.folder_right WHERE grantee = %(id)s"
            " UNION SELECT backend_id FROM directory.mailbox_grant WHERE grantee = %(id)s"
            " UNION SELECT backend_id FROM directory.group_share JOIN directory.address ON address = from_user"
            " WHERE to_group = %(id)s",
            {"id": grantee},
        )
        owners = [row["backend_id"] for row in await rows.fetchall() if row["backend_id"] != grantee]
        collections = await groupware.owners_sharing_with(db, grantee)
        await groupware.forget_grantee(db, grantee)
        await db.execute("DELETE FROM directory.folder_right WHERE grantee = %s", [grantee])
        await db.execute("DELETE FROM directory.mailbox_grant WHERE grantee = %s", [grantee])
        boxes = [box for owner in owners if (box := await directory.find_box(db, owner))]
        given_by = await _identifiers(db, grantee)
    for box in boxes:
        async with house.alone_with(box.backend_id):
            folders = await mail_folders(house, box)
            await _set_mail(house, box, [(folder.name, frozenset()) for folder in folders], given_by)
    for owner in collections:
        await _forget(house, owner, grantee)


async def _spread(house: House, box: Box, grantee: str) -> None:
    """Give the grantee on every folder what the directory says, full access or what single folders allow."""
    folders = await mail_folders(house, box)
    async with house.transaction() as db:
        full = (FULL_ACCESS, grantee) in await directory.grants_of(db, box.backend_id)
        kept = await directory.kept_masks(db, box.backend_id)
        if box.has_groupware:
            for each in groupware.COLLECTIONS:
                mask = kept.get((each.id, grantee), 0)
                rights = all_rights(each.type) if full else folder_rights(mask, each.type)
                await groupware.set_roles(db, box.backend_id, each, grantee, rights)
        given_by = await _identifiers(db, grantee)
    wanted = [
        (each.name, all_rights(each.type) if full else folder_rights(kept.get((each.id, grantee), 0), each.type))
        for each in folders
    ]
    await _set_mail(house, box, wanted, given_by)
    await _forget(house, box.backend_id, grantee)


async def _set_mail(
    house: House, box: Box, wanted: list[tuple[str, frozenset[str]]], given_by: tuple[str, list[str]]
) -> None:
    ours, by_address = given_by
    acls = await house.dovecot.acls(box.address, [name for name, _ in wanted])
    lessened = any(acls[name].get(ours, frozenset()) - rights for name, rights in wanted)
    changes = [(name, ours, rights) for name, rights in wanted if acls[name].get(ours, frozenset()) != rights]
    # Given by hand to an address: what we set replaces that, too.
    changes += [(name, each, frozenset()) for name, _ in wanted for each in by_address if each in acls[name]]
    await house.dovecot.set_acls(box.address, changes)
    if lessened or any(each in acls[name] for name, _ in wanted for each in by_address):
        # An open session keeps what it may in mind.
        for each in by_address:
            await house.dovecot.kick(each.removeprefix("user="))


async def _folder(house: House, box: Box, folder_id: str, *, needed: bool) -> MailFolder | groupware.Collection | None:
    """None for the root, which keeps no rights of its own, and for a folder that need not be there and is not."""
    if folder_id == ROOT:
        return None
    if folder_id in groupware.BY_ID:
        if not box.has_groupware and needed:
            raise ClassCannot(f"a mailbox of class {box.spec.service_class} has no {folder_id}")
        return groupware.BY_ID[folder_id]
    found = [each for each in await mail_folders(house, box) if each.id == folder_id]
    if not found and needed:
        raise NotFound(f"{box.backend_id} has no folder {folder_id}")
    return found[0] if found else None


async def _identifiers(db: Connection, grantee: str) -> tuple[str, list[str]]:
    """How Dovecot's lists name the grantee: by us, and by addresses if somebody did it by hand."""
    return f"group={grantee}", [f"user={each}" for each in await directory.addresses_of(db, grantee)]


async def _forget(house: House, owner: str, grantee: str) -> None:
    keys = [key for each in groupware.COLLECTIONS for key in keys_of_collection(owner, each.path)]
    await house.forget([*keys, *keys_of_person(grantee, [])])
