"""Calendars, address books and task lists as SOGo keeps them in the cell's database.

The rows are ours to write: SOGo then needs no administrator who could log in, and rights are changed in the same
transaction as the directory. SOGo's memory has to be told of it afterwards (cache.py).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from provisioning.cell.directory import Connection
from provisioning.planner import FolderType


@dataclass(frozen=True, slots=True)
class Collection:
    """A standard collection; `path` is below the owner's name, `title` is what clients show until it is renamed."""

    id: str
    type: FolderType
    path: str
    title: str
    kind: str


COLLECTIONS = (
    Collection("calendar", FolderType.CALENDAR, "Calendar/personal", "Kalender", "Appointment"),
    Collection("contacts", FolderType.CONTACTS, "Contacts/personal", "Kontakte", "Contact"),
    # SOGo keeps tasks in calendars: a list of its own is what can be shared on its own.
    Collection("tasks", FolderType.TASKS, "Calendar/tasks", "Aufgaben", "Appointment"),
)
BY_ID = {each.id: each for each in COLLECTIONS}

_CONTENT = ("sogo_store", "sogo_quick_appointment", "sogo_quick_contact")
_OF_FOLDERS = sql.SQL(
    "DELETE FROM {} WHERE c_folder_id IN (SELECT c_folder_id FROM sogo_folder_info WHERE c_path2 = %s)"
)
_IN_FOLDER = sql.SQL("SELECT * FROM {} WHERE c_folder_id = %s")
_SUBSCRIPTIONS = ("SubscribedFolders", "FolderShowAlarms", "FolderDisplayNames", "FolderSynchronize", "FolderColors")


async def create_collections(db: Connection, owner: str) -> None:
    """What is there stays."""
    for each in COLLECTIONS:
        module, name = each.path.split("/")
        # In SOGo's mode of few tables the places are read but not used: they must only be there.
        place = f"postgresql://cell/cell/{each.id}"
        await db.execute(
            "INSERT INTO sogo_folder_info (c_path, c_path1, c_path2, c_path3, c_path4, c_foldername, c_location,"
            " c_quick_location, c_acl_location, c_folder_type) VALUES (%s, 'Users', %s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            [
                _full_path(owner, each), owner, module, name, each.title,
                place, f"{place}_quick", f"{place}_acl", each.kind,
            ],
        )  # fmt: skip
    await _synchronise_tasks(db, owner)


async def roles_of(db: Connection, owner: str) -> dict[str, dict[str, frozenset[str]]]:
    """Collection id -> grantee -> the roles really held."""
    query = """
        SELECT f.c_path3 || '/' || f.c_path4 AS path, a.c_uid, array_agg(a.c_role) AS roles
          FROM sogo_acl a JOIN sogo_folder_info f USING (c_folder_id) WHERE f.c_path2 = %s GROUP BY 1, 2
    """
    found: dict[str, dict[str, frozenset[str]]] = {each.id: {} for each in COLLECTIONS}
    ids = {each.path: each.id for each in COLLECTIONS}
    for row in await (await db.execute(query, [owner])).fetchall():
        if row["path"] in ids and row["c_uid"] not in {"anonymous", "<default>"}:
            found[ids[row["path"]]][row["c_uid"]] = frozenset(row["roles"])
    return found


async def set_roles(db: Connection, owner: str, collection: Collection, grantee: str, roles: frozenset[str]) -> None:
    """Exactly these; with any, the grantee sees the collection among its own, also on its phone."""
    folder = {"path": _full_path(owner, collection), "object": f"/{owner}/{collection.path}", "grantee": grantee}
    await db.execute(
        "DELETE FROM sogo_acl WHERE c_uid = %(grantee)s AND c_folder_id ="
        " (SELECT c_folder_id FROM sogo_folder_info WHERE c_path = %(path)s)",
        folder,
    )
    await db.execute(
        "INSERT INTO sogo_acl (c_folder_id, c_object, c_uid, c_role) SELECT c_folder_id, %(object)s, %(grantee)s, role"
        " FROM sogo_folder_info, unnest(%(roles)s::text[]) role WHERE c_path = %(path)s",
        {**folder, "roles": sorted(roles)},
    )
    await _subscribe(db, grantee, owner, collection, on=bool(roles))


async def drop_roles(db: Connection, owner: str) -> None:
    """Nobody else may see its collections any more."""
    for collection, held in (await roles_of(db, owner)).items():
        for grantee in held:
            await set_roles(db, owner, BY_ID[collection], grantee, frozenset())


async def owners_sharing_with(db: Connection, grantee: str) -> list[str]:
    query = "SELECT DISTINCT c_path2 FROM sogo_acl JOIN sogo_folder_info USING (c_folder_id) WHERE c_uid = %s"
    return [row["c_path2"] for row in await (await db.execute(query, [grantee])).fetchall()]


async def erase(db: Connection, owner: str) -> None:
    """All its collections with who may what in them, its settings and the state of its devices."""
    await drop_roles(db, owner)
    for table in (*_CONTENT, "sogo_acl"):
        await db.execute(_OF_FOLDERS.format(sql.Identifier(table)), [owner])
    await db.execute("DELETE FROM sogo_folder_info WHERE c_path2 = %s", [owner])
    await db.execute("DELETE FROM sogo_user_profile WHERE c_uid = %s", [owner])
    await db.execute("DELETE FROM sogo_cache_folder WHERE c_uid = %s OR starts_with(c_uid, %s)", [owner, owner + "+"])
    others = await db.execute("SELECT c_uid FROM sogo_user_profile WHERE strpos(c_settings, %s) > 0", [f"{owner}:"])
    for row in await others.fetchall():
        for each in COLLECTIONS:
            await _subscribe(db, row["c_uid"], owner, each, on=False)


async def forget_grantee(db: Connection, grantee: str) -> None:
    """Its roles in others' collections."""
    await db.execute("DELETE FROM sogo_acl WHERE c_uid = %s", [grantee])


async def export(db: Connection, owner: str) -> dict[str, Any]:
    """All collections with what is in them, who may what, and settings; without the state of devices."""
    query = "SELECT * FROM sogo_folder_info WHERE c_path2 = %s ORDER BY c_path"
    collections = []
    for row in await (await db.execute(query, [owner])).fetchall():
        content = {}
        for table in (*_CONTENT, "sogo_acl"):
            rows = await db.execute(_IN_FOLDER.format(sql.Identifier(table)), [row["c_folder_id"]])
            content[table] = [_without_id(each) for each in await rows.fetchall()]
        collections.append({"info": _without_id(row), "content": content})
    profile = await db.execute("SELECT c_defaults, c_settings FROM sogo_user_profile WHERE c_uid = %s", [owner])
    return {"collections": collections, "profile": await profile.fetchone()}


async def restore(db: Connection, owner: str, archive: Mapping[str, Any]) -> None:
    """What `export` gave, in place of anything there. Raises KeyError for what is no such archive."""
    await erase(db, owner)
    for each in archive["collections"]:
        query = _insert("sogo_folder_info", each["info"]) + sql.SQL(" RETURNING c_folder_id")
        for row in await (await db.execute(query, each["info"])).fetchall():
            for table in (*_CONTENT, "sogo_acl"):
                for item in each["content"][table]:
                    await db.execute(_insert(table, {**item, **row}), {**item, **row})
    if archive["profile"] is not None:
        profile = {"c_uid": owner, **archive["profile"]}
        await db.execute(_insert("sogo_user_profile", profile), profile)
    for collection, held in (await roles_of(db, owner)).items():
        for grantee in held:
            await _subscribe(db, grantee, owner, BY_ID[collection], on=True)
    # What others here share with it: it comes from where that was not there to be seen.
    shared = """
        SELECT DISTINCT c_path2, c_path3 || '/' || c_path4 AS path FROM sogo_acl JOIN sogo_folder_info
            USING (c_folder_id) WHERE c_uid = %s
    """
    by_path = {each.path: each for each in COLLECTIONS}
    for row in await (await db.execute(shared, [owner])).fetchall():
        if row["path"] in by_path:
            await _subscribe(db, owner, row["c_path2"], by_path[row["path"]], on=True)


def _insert(table: str, values: Iterable[str]) -> sql.Composed:
    names = list(values)
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    places = sql.SQL(", ").join(map(sql.Placeholder, names))
    return sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(table), columns, places)


def _without_id(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "c_folder_id"}


async def _synchronise_tasks(db: Connection, owner: str) -> None:
    """SOGo shows phones no collection but the first of each kind unless its owner says so."""
    settings = await _settings(db, owner)
    choices = settings.setdefault("Calendar", {}).setdefault("FolderSynchronize", {})
    name = f"{owner}:{BY_ID['tasks'].path}"
    if name not in choices:
        choices[name] = 1
        await _keep_settings(db, owner, settings)


async def _settings(db: Connection, owner: str) -> dict[str, Any]:
    query = "SELECT c_settings FROM sogo_user_profile WHERE c_uid = %s FOR UPDATE"
    row = await (await db.execute(query, [owner])).fetchone()
    settings: dict[str, Any] = json.loads((row and row["c_settings"]) or "{}")
    return settings


async def _keep_settings(db: Connection, owner: str, settings: dict[str, Any]) -> None:
    await db.execute(
        "INSERT INTO sogo_user_profile (c_uid, c_settings) VALUES (%s, %s)"
        " ON CONFLICT (c_uid) DO UPDATE SET c_settings = excluded.c_settings",
        [owner, json.dumps(settings, ensure_ascii=False)],
    )


async def _subscribe(db: Connection, grantee: str, owner: str, collection: Collection, *, on: bool) -> None:
    """Put the collection among the grantee's own, or take it away. Settings are JSON that SOGo writes, too."""
    settings = await _settings(db, grantee)
    if not on and not settings:
        return
    module = settings.setdefault(collection.path.split("/")[0], {})
    name = f"{owner}:{collection.path}"
    if on:
        if name not in module.setdefault("SubscribedFolders", []):
            module["SubscribedFolders"].append(name)
        if collection.kind == "Appointment":
            module.setdefault("FolderShowAlarms", {})[name] = 0
        # Without it the collection is not among those that ActiveSync offers.
        module.setdefault("FolderSynchronize", {})[name] = 1
    else:
        for key in _SUBSCRIPTIONS:
            kept = module.get(key)
            if isinstance(kept, list):
                module[key] = [each for each in kept if each != name]
            elif isinstance(kept, dict):
                kept.pop(name, None)
    await _keep_settings(db, grantee, settings)


def _full_path(owner: str, collection: Collection) -> str:
    return f"/Users/{owner}/{collection.path}"
