"""A mailbox on its way to another cell: every phase can be asked for again, and given up until the last.

source: record, copy, freeze, copy, groupware, depart. target: arrivals, groupware, activate. The driver leads.
"""

import asyncio
from dataclasses import asdict
from typing import Any

from provisioning.cell import boxes, directory, groupware
from provisioning.cell.cache import keys_of_collection, keys_of_person
from provisioning.cell.directory import Spec
from provisioning.cell.house import House
from provisioning.cell.refusals import NotFound

_PASS_SECONDS = 3600.0
FREEZE_SECONDS = 60


async def record(house: House, backend_id: str) -> dict[str, Any]:
    """Its row with the hash of its password, and what was asked for of rights and grants."""
    async with house.transaction() as db:
        box = await directory.get_box(db, backend_id)
        masks = await directory.kept_masks(db, backend_id)
        grants = await directory.grants_of(db, backend_id)
    return {
        "mailbox_id": box.mailbox_id,
        "spec": asdict(box.spec),
        "password_hash": box.password_hash,
        "presence": box.presence,
        "archive": box.archive,
        "rights": [{"folder": folder, "grantee": who, "mask": mask} for (folder, who), mask in sorted(masks.items())],
        "grants": [{"role": role, "grantee": who} for role, who in sorted(grants)],
    }


async def arrive(house: House, backend_id: str, mailbox_id: str, spec: Spec, arrival: dict[str, Any]) -> None:
    """Make room for it: mail can be copied in, nobody logs in, mail for it still goes to where it comes from."""
    async with house.alone_with(backend_id), house.transaction() as db:
        known = await directory.find_box(db, backend_id)
        if known is not None and known.phase != "arriving":
            return
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


async def copy(house: House, backend_id: str, *, to: str) -> bool:
    """Whether a pass has ended; starts one when none runs. The answer comes at once if it is quick."""
    running = house.copies.get(backend_id)
    if running is None:
        async with house.transaction() as db:
            box = await directory.get_box(db, backend_id)
            await db.execute("UPDATE directory.box SET moving_to = %s WHERE backend_id = %s", [to, backend_id])
        running = asyncio.create_task(house.dovecot.copy(box.address, to=to, seconds=_PASS_SECONDS))
        house.copies[backend_id] = running
    done, _ = await asyncio.wait([running], timeout=2)
    if not done:
        return False
    del house.copies[backend_id]
    return running.result()


async def freeze(house: House, backend_id: str) -> int:
    """For so many seconds nobody logs in and new mail is put off by its sender; it ends by itself."""
    async with house.transaction() as db:
        box = await directory.get_box(db, backend_id)
        await db.execute(
            "UPDATE directory.box SET phase = 'frozen', frozen_until = now() + make_interval(secs => %s)"
            " WHERE backend_id = %s",
            [FREEZE_SECONDS, backend_id],
        )
    await boxes.end_sessions(house, box)
    return FREEZE_SECONDS


async def export_groupware(house: House, backend_id: str) -> dict[str, Any]:
    async with house.transaction() as db:
        await directory.get_box(db, backend_id)
        return await groupware.export(db, backend_id)


async def import_groupware(house: House, backend_id: str, archive: dict[str, Any]) -> None:
    async with house.alone_with(backend_id), house.transaction() as db:
        await directory.get_box(db, backend_id, phases=("arriving",))
        await groupware.restore(db, backend_id, archive)


async def activate(house: House, backend_id: str) -> None:
    """It lives here from now on. Already done is fine."""
    async with house.alone_with(backend_id):
        async with house.transaction() as db:
            box = await directory.get_box(db, backend_id, phases=("arriving", "home", "frozen"))
            await db.execute("UPDATE directory.box SET phase = 'home' WHERE backend_id = %s", [backend_id])
            await db.execute("DELETE FROM directory.guest WHERE backend_id = %s", [backend_id])
        await house.dovecot.recalculate_shares(box.address)
        collections = [key for each in groupware.COLLECTIONS for key in keys_of_collection(backend_id, each.path)]
        await house.forget([*collections, *keys_of_person(backend_id, box.spec.addresses)])


async def depart(house: House, backend_id: str, *, to: str) -> None:
    """It lives in cell `to`: what is left here is a guest, whose mail goes there and whose rights stay."""
    async with house.transaction() as db:
        box = await directory.find_box(db, backend_id)
        if box is None:
            if not await directory.addresses_of(db, backend_id):
                raise NotFound(f"there is no mailbox {backend_id} here")
            return
        await db.execute(
            "UPDATE directory.box SET moving_to = NULL, phase = 'frozen' WHERE backend_id = %s", [backend_id]
        )
    await boxes.erase(house, box)
    async with house.transaction() as db:
        name, addresses = box.spec.display_name, box.spec.addresses
        await directory.put_guest(db, backend_id, display_name=name, cell=to, addresses=addresses)
    await house.forget(keys_of_person(backend_id, box.spec.addresses))


async def give_up(house: House, backend_id: str) -> None:
    """Erase what has arrived so far; what lives here already is left alone."""
    async with house.transaction() as db:
        box = await directory.find_box(db, backend_id)
    if box is not None and box.phase == "arriving":
        await boxes.erase(house, box)
