"""A mailbox on its way to another cell: every call may be repeated, and the move given up until the target activates.

source: record, copy, freeze, copy, groupware, hold, depart. target: arrivals, groupware, activate. The driver leads.
"""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from provisioning.cell import boxes, directory, groupware
from provisioning.cell.cache import keys_of_collection, keys_of_person
from provisioning.cell.directory import Box, Connection, Guest, Spec
from provisioning.cell.house import Copy, House
from provisioning.cell.refusals import NotFound, WrongState

FREEZE_SECONDS = 120
_PASS_SECONDS = 3600.0
_WAIT_SECONDS = 5.0
_AT_HOME = ("home", "frozen")


async def record(house: House, backend_id: str) -> dict[str, Any]:
    """Its row with the hash of its password, what was asked for of rights and grants, and who the grantees are."""
    async with house.transaction() as db:
        box = await directory.get_box(db, backend_id, phases=_AT_HOME)
        masks = await directory.kept_masks(db, backend_id)
        grants = await directory.grants_of(db, backend_id)
        grantees = sorted({who for _, who in (*masks, *grants)})
        known = [await _as_guest(db, each, here=house.cell.name) for each in grantees]
    return {
        "mailbox_id": box.mailbox_id,
        "spec": asdict(box.spec),
        "password_hash": box.password_hash,
        "presence": box.presence,
        "archive": box.archive,
        "rights": [{"folder": folder, "grantee": who, "mask": mask} for (folder, who), mask in sorted(masks.items())],
        "grants": [{"role": role, "grantee": who} for role, who in sorted(grants)],
        "grantees": [asdict(each) for each in known if each],
    }


async def arrive(
    house: House, backend_id: str, mailbox_id: str, spec: Spec, *, arrival: dict[str, Any], grantees: Iterable[Guest]
) -> None:
    """Make room for it: mail can be copied in, nobody logs in, mail for it still goes to where it comes from.

    Grantees that are not known here become guests. Raises WrongState when it lives here already.
    """
    async with house.alone_with(backend_id), house.transaction() as db:
        before = await directory.find_box(db, backend_id)
        if before is not None and before.phase != "arriving":
            raise WrongState(f"{backend_id} is here")
        await db.execute("DELETE FROM directory.box WHERE backend_id = %s", [backend_id])
        await directory.insert_box(db, backend_id, mailbox_id, spec, phase="arriving")
        await db.execute(
            "UPDATE directory.box SET password_hash = %s, password_version = %s, presence = %s, archive = %s"
            " WHERE backend_id = %s",
            [arrival["password_hash"], spec.password_version, arrival["presence"], arrival["archive"], backend_id],
        )
        for right in arrival["rights"]:
            await directory.keep_mask(db, backend_id, right["folder"], right["grantee"], right["mask"])
        for grant in arrival["grants"]:
            await directory.keep_grant(db, backend_id, grant["role"], grant["grantee"])
        for guest in grantees:
            if await directory.find_box(db, guest.backend_id) is None:
                await directory.put_guest(db, guest)
                await directory.keep_peer(db, guest.cell, house.peer(guest.cell))


async def copy(house: House, backend_id: str, *, to: str) -> bool:
    """Whether a pass to cell `to` has ended that began after the freeze, if there was one; starts one if need be."""
    peer = house.peer(to)
    if peer is None:
        raise NotFound(f"{house.cell.name} knows no cell {to}")
    async with house.transaction() as db:
        box = await directory.get_box(db, backend_id, phases=_AT_HOME)
        await db.execute("UPDATE directory.box SET moving_to = %s WHERE backend_id = %s", [to, backend_id])
    frozen = box.phase == "frozen"
    running = house.copies.get(backend_id)
    if running is None:
        copying = house.dovecot.copy(box.address, to=peer.dsync, archive=box.archive, seconds=_PASS_SECONDS)
        task = asyncio.create_task(copying)
        running = house.copies[backend_id] = Copy(task, to, frozen)
    done, _ = await asyncio.wait([running.task], timeout=_WAIT_SECONDS)
    if not done:
        return False
    house.copies.pop(backend_id, None)
    return running.task.result() and running.to == to and running.frozen >= frozen


async def freeze(house: House, backend_id: str, *, to: str) -> int:
    """For so many seconds nobody logs in and new mail is put off by its sender; asked again, it lasts longer."""
    async with house.transaction() as db:
        box = await directory.get_box(db, backend_id, phases=_AT_HOME)
        await db.execute(
            "UPDATE directory.box SET phase = 'frozen', moving_to = %(to)s, frozen_until ="
            " CASE WHEN %(held)s THEN 'infinity' ELSE now() + make_interval(secs => %(seconds)s) END"
            " WHERE backend_id = %(id)s",
            {"to": to, "held": box.held, "seconds": FREEZE_SECONDS, "id": backend_id},
        )
    await boxes.end_sessions(house, box)
    return FREEZE_SECONDS


async def hold(house: House, backend_id: str) -> bool:
    """Whether the freeze still held, which then ends only by `depart` or `thaw`."""
    async with house.transaction() as db:
        await directory.get_box(db, backend_id, phases=_AT_HOME)
        held = await db.execute(
            "UPDATE directory.box SET frozen_until = 'infinity'"
            " WHERE backend_id = %s AND phase = 'frozen' AND frozen_until > now()",
            [backend_id],
        )
        return bool(held.rowcount)


async def thaw(house: House, backend_id: str) -> None:
    """The move is given up: everything is as before."""
    async with house.transaction() as db:
        box = await directory.get_box(db, backend_id, phases=_AT_HOME)
        await db.execute(
            "UPDATE directory.box SET phase = 'home', moving_to = NULL, frozen_until = NULL WHERE backend_id = %s",
            [backend_id],
        )
    if running := house.copies.pop(backend_id, None):
        running.task.cancel()
    await house.forget(keys_of_person(backend_id, box.spec.addresses))


async def export_groupware(house: House, backend_id: str) -> bytes | None:
    """None for a class that has none."""
    async with house.transaction() as db:
        box = await directory.get_box(db, backend_id, phases=_AT_HOME)
        return json.dumps(await groupware.export(db, backend_id)).encode() if box.has_groupware else None


async def import_groupware(house: House, backend_id: str, archive: bytes) -> None:
    async with house.alone_with(backend_id), house.transaction() as db:
        await directory.get_box(db, backend_id, phases=("arriving",))
        await groupware.restore(db, backend_id, json.loads(archive))


async def activate(house: House, backend_id: str) -> None:
    """It lives here from now on. Already done is fine."""
    async with house.alone_with(backend_id):
        async with house.transaction() as db:
            box = await directory.get_box(db, backend_id, phases=("arriving", *_AT_HOME))
            if box.phase == "arriving":
                await db.execute("UPDATE directory.box SET phase = 'home' WHERE backend_id = %s", [backend_id])
                await db.execute("DELETE FROM directory.guest WHERE backend_id = %s", [backend_id])
        await boxes.settle(house, box)
        await house.dovecot.recalculate_shares(box.address)
        collections = [key for each in groupware.COLLECTIONS for key in keys_of_collection(backend_id, each.path)]
        await house.forget([*collections, *keys_of_person(backend_id, box.spec.addresses)])


async def depart(house: House, backend_id: str, *, to: str) -> None:
    """It lives in cell `to`: what is left here is a guest, whose mail goes there and whose rights stay.

    Raises WrongState unless it is held: only then nothing came after the last copy.
    """
    async with house.transaction() as db:
        box = await directory.find_box(db, backend_id)
        if box is None:
            if await directory.find_guest(db, backend_id=backend_id) is None:
                raise NotFound(f"there is no mailbox {backend_id} here")
            return
        if not (box.phase == "frozen" and box.held):
            raise WrongState(f"{backend_id} is not held for its move")
        await directory.keep_peer(db, to, house.peer(to))
    await boxes.erase(house, box, leaving=_leaving(box, to))


async def give_up(house: House, backend_id: str) -> None:
    """Erase what has arrived so far. Raises WrongState when it lives here already."""
    async with house.transaction() as db:
        box = await directory.find_box(db, backend_id)
    if box is None:
        return
    if box.phase != "arriving":
        raise WrongState(f"{backend_id} is here")
    await boxes.erase(house, box)


async def _as_guest(db: Connection, backend_id: str, *, here: str) -> Guest | None:
    box = await directory.find_box(db, backend_id)
    return _leaving(box, here) if box else await directory.find_guest(db, backend_id=backend_id)


def _leaving(box: Box, cell: str) -> Guest:
    return Guest(box.backend_id, box.mailbox_id, box.spec.display_name, cell, box.spec.addresses)
