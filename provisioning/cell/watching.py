"""Folders that come later: whoever may read a whole mailbox is to see them at once, not at the next observation.

Dovecot gives a new folder nobody's rights. The agent looks at the directories of those mailboxes that are shared
as a whole, which costs a few calls of stat, and spreads the rights when a folder has come.
"""

import asyncio
import os
from pathlib import Path

from provisioning.cell import shares
from provisioning.cell.house import House
from provisioning.cell.refusals import Refusal

_PAUSE_SECONDS = 2.0
_SHARED_AS_A_WHOLE = """
    SELECT backend_id, array_agg(DISTINCT grantee) AS grantees FROM (
        SELECT backend_id, grantee FROM directory.mailbox_grant WHERE role = 'full_access'
        UNION SELECT backend_id, grantee FROM directory.folder_right WHERE folder_id = 'root'
    ) whole JOIN directory.box USING (backend_id) WHERE phase = 'home' AND presence = 'present' GROUP BY backend_id
"""


async def watch(house: House) -> None:
    """Until it is cancelled. What cannot be done now is tried again."""
    seen: dict[str, frozenset[str]] = {}
    while True:
        await asyncio.sleep(_PAUSE_SECONDS)
        try:
            seen = await _look(house, seen)
        except Refusal:
            continue


async def _look(house: House, seen: dict[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    async with house.transaction() as db:
        rows = await (await db.execute(_SHARED_AS_A_WHOLE)).fetchall()
    now: dict[str, frozenset[str]] = {}
    for row in rows:
        owner = row["backend_id"]
        folders = await asyncio.to_thread(_folders, house.cell.mail / owner / "mdbox" / "mailboxes")
        # One that is new to us may have got its folders while nobody looked.
        if owner not in seen or folders - seen[owner]:
            await shares.spread_to_new_folders(house, owner, row["grantees"])
        now[owner] = folders
    return now


def _folders(top: Path) -> frozenset[str]:
    return frozenset(os.path.join(place, name) for place, names, _ in os.walk(top) for name in names)
