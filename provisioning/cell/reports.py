"""What is really there of a mailbox: its row, its folders, and who may what in them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from provisioning.cell import directory, groupware, shares
from provisioning.cell.directory import Box, Guest
from provisioning.cell.house import House
from provisioning.cell.refusals import NotFound
from provisioning.cell.rights import all_rights, folder_rights, mask_of
from provisioning.planner import FolderType

Held = dict[str, frozenset[str]]  # grantee -> rights


async def report(house: House, mailbox_id: str) -> dict[str, Any]:
    """As the seam describes it; raises NotFound, also while the mailbox is only arriving."""
    async with house.transaction() as db:
        box = await directory.find_by_mailbox(db, mailbox_id)
        if box is None or box.phase == "arriving":
            guest = await directory.find_guest(db, mailbox_id=mailbox_id)
            raise NotFound(
                f"there is no mailbox {mailbox_id} here",
                guest=_guest(guest) if guest else None,
                arriving=box is not None,
            )
        kept = await directory.kept_masks(db, box.backend_id)
        grants = await directory.grants_of(db, box.backend_id)
        roles = await groupware.roles_of(db, box.backend_id) if box.has_groupware else {}
    folders = await shares.mail_folders(house, box)
    acls = await house.dovecot.acls(box.address, [each.name for each in folders])
    people = await _people(house, acls)
    held: list[tuple[str, FolderType, str, Held]] = [
        (shares.ROOT, FolderType.ROOT, "", {}),
        *((each.id, each.type, each.name, _by_grantee(acls[each.name], people, box)) for each in folders),
        *((each.id, each.type, each.title, roles[each.id]) for each in groupware.COLLECTIONS if each.id in roles),
    ]
    full = {grantee for role, grantee in grants if role == shares.FULL_ACCESS}
    complete = {grantee for grantee in full if all(_has_all(rights, kind, grantee) for _, kind, _, rights in held)}
    return {
        "backend_id": box.backend_id,
        "presence": box.presence,
        "spec": asdict(box.spec),
        "folders": [
            {"id": id_, "type": kind, "name": name, "rights": _masks(id_, kind, rights, kept, full)}
            for id_, kind, name, rights in held
        ],
        "grants": [
            {"role": role, "grantee": grantee}
            for role, grantee in sorted(grants)
            if role != shares.FULL_ACCESS or grantee in complete
        ],
        "archive": box.archive,
        "moving": box.moving,
    }


async def whereabouts(house: House, backend_id: str) -> dict[str, Any]:
    """What is known here of a backend's id, without asking any daemon; raises NotFound."""
    async with house.transaction() as db:
        box = await directory.find_box(db, backend_id)
        guest = await directory.find_guest(db, backend_id=backend_id)
    known = box or guest
    if known is None:
        raise NotFound(f"there is no mailbox {backend_id} here")
    state = "guest" if box is None else "arriving" if box.phase == "arriving" else "here"
    moving = box.moving if box else None
    return {"backend_id": backend_id, "mailbox_id": known.mailbox_id, "state": state, "moving": moving}


def _guest(guest: Guest) -> dict[str, Any]:
    return {name: value for name, value in asdict(guest).items() if name != "mailbox_id"}


def _masks(
    folder_id: str, kind: FolderType, held: Held, kept: dict[tuple[str, str], int], full: set[str]
) -> dict[str, int]:
    """The mask that was asked for where it is what is held, else what is held: grants are told apart from it."""
    asked = {grantee: mask for (folder, grantee), mask in kept.items() if folder == folder_id}
    masks: dict[str, int] = {}
    for grantee in sorted(held.keys() | asked.keys()):
        rights, mask = held.get(grantee, frozenset()), asked.get(grantee, 0)
        as_asked = rights == folder_rights(mask, kind)
        by_grant = grantee in full and rights == all_rights(kind)
        masks[grantee] = mask if as_asked or by_grant else mask_of(rights, kind)
    return {grantee: mask for grantee, mask in masks.items() if mask}


def _has_all(held: Held, kind: FolderType, grantee: str) -> bool:
    return held.get(grantee, frozenset()) == all_rights(kind)


async def _people(house: House, acls: Mapping[str, Held]) -> dict[str, str]:
    named = {each.removeprefix("user=") for acl in acls.values() for each in acl if each.startswith("user=")}
    if not named:
        return {}
    async with house.transaction() as db:
        return await directory.people(db, sorted(named))


def _by_grantee(acl: Held, people: dict[str, str], box: Box) -> Held:
    """Dovecot's names are a group for each mailbox, which we set, and users by address, which others set by hand."""
    held: Held = {}
    for identifier, rights in acl.items():
        kind, _, name = identifier.partition("=")
        grantee = name if kind == "group" else people.get(name, name)
        if grantee != box.backend_id:
            held[grantee] = held.get(grantee, frozenset()) | rights
    return held
