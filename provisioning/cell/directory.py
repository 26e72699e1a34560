"""The rows of the directory: mailboxes, guests, rights and grants. Connection first; callers commit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row

from provisioning.cell.layout import Peer
from provisioning.cell.refusals import AddressTaken, Busy, NotFound, UnknownGrantee, WrongState
from provisioning.terms import ServiceClass

Connection = AsyncConnection[DictRow]
ROW = dict_row

_SPEC = ("kind", "service_class", "display_name", "quota_mib", "suspended")


@dataclass(frozen=True, slots=True)
class Spec:
    """The attributes that the control plane sets, in the words of its API."""

    kind: str
    service_class: ServiceClass
    display_name: str
    quota_mib: int
    protocols: tuple[str, ...]
    addresses: tuple[str, ...]
    suspended: bool
    password_version: int


@dataclass(frozen=True, slots=True)
class Box:
    """One mailbox of this cell. `held` is a freeze that does not end by itself, `settled` that it has its folders.

    `password_hash` carries the scheme before it, as Dovecot and SOGo read it.
    """

    backend_id: str
    mailbox_id: str
    spec: Spec
    presence: str
    archive: bool
    settled: bool
    phase: str
    held: bool
    moving_to: str | None
    password_hash: str | None = field(repr=False)

    @property
    def address(self) -> str:
        return self.spec.addresses[0]

    @property
    def moving(self) -> dict[str, str] | None:
        """Where to and how far, as the seam says it."""
        return (
            {"to": self.moving_to, "phase": "frozen" if self.phase == "frozen" else "copying"}
            if self.moving_to
            else None
        )

    @property
    def has_groupware(self) -> bool:
        return self.spec.service_class is ServiceClass.EXCHANGE


@dataclass(frozen=True, slots=True)
class Guest:
    """A mailbox of another cell, as far as it is known here."""

    backend_id: str
    mailbox_id: str
    display_name: str
    cell: str
    addresses: tuple[str, ...]


# A freeze ends by itself, as in the view `homes`.
_BOX: LiteralString = """
    SELECT b.backend_id, b.mailbox_id, b.kind, b.service_class, b.display_name, b.quota_mib, b.protocols, b.suspended,
        b.password_version, b.password_hash, b.presence, b.archive, b.settled, b.moving_to,
        CASE WHEN b.phase = 'frozen' AND b.frozen_until <= now() THEN 'home' ELSE b.phase END AS phase_now,
        b.frozen_until = 'infinity' AS held,
        array(SELECT address FROM directory.address a WHERE a.backend_id = b.backend_id ORDER BY position)
        AS addresses FROM directory.box b
"""


async def find_by_mailbox(db: Connection, mailbox_id: str) -> Box | None:
    row = await (await db.execute(_BOX + " WHERE mailbox_id = %s", [mailbox_id])).fetchone()
    return _box(row) if row else None


async def find_box(db: Connection, backend_id: str) -> Box | None:
    row = await (await db.execute(_BOX + " WHERE backend_id = %s", [backend_id])).fetchone()
    return _box(row) if row else None


async def get_box(db: Connection, backend_id: str, *, phases: Sequence[str] = ("home",)) -> Box:
    """Raises NotFound; Busy while a move ends, and WrongState when it is in another phase than these."""
    box = await find_box(db, backend_id)
    if box is None:
        raise NotFound(f"there is no mailbox {backend_id} here")
    if box.phase == "frozen" and box.phase not in phases:
        raise Busy(f"{backend_id} is being moved")
    if box.phase not in phases:
        raise WrongState(f"{backend_id} is {box.phase}")
    return box


async def find_guest(db: Connection, *, backend_id: str = "", mailbox_id: str = "") -> Guest | None:
    """By either id."""
    query = """
        SELECT g.*, array(SELECT address FROM directory.guest_address a WHERE a.backend_id = g.backend_id
            ORDER BY position) AS addresses FROM directory.guest g WHERE backend_id = %s OR mailbox_id = %s
    """
    row = await (await db.execute(query, [backend_id, mailbox_id])).fetchone()
    return Guest(**{**row, "addresses": tuple(row["addresses"])}) if row else None


async def addresses_of(db: Connection, backend_id: str) -> list[str]:
    """Of a mailbox or a guest, primary first; empty when it is neither."""
    query = """
        SELECT address FROM directory.address WHERE backend_id = %(id)s
        UNION SELECT address FROM directory.guest_address WHERE backend_id = %(id)s ORDER BY address
    """
    return [row["address"] for row in await (await db.execute(query, {"id": backend_id})).fetchall()]


async def insert_box(db: Connection, backend_id: str, mailbox_id: str, spec: Spec, *, phase: str = "home") -> None:
    await db.execute(
        "INSERT INTO directory.box (backend_id, mailbox_id, kind, service_class, display_name, quota_mib, suspended,"
        " protocols, phase) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [backend_id, mailbox_id, *_values(spec), list(spec.protocols), phase],
    )
    await set_addresses(db, backend_id, spec.addresses)


async def update_box(db: Connection, before: Box, spec: Spec) -> None:
    """Its attributes and addresses; it is present afterwards."""
    await db.execute(
        "UPDATE directory.box SET kind = %s, service_class = %s, display_name = %s, quota_mib = %s, suspended = %s,"
        " protocols = %s, presence = 'present', archive = archive AND %s WHERE backend_id = %s",
        [*_values(spec), list(spec.protocols), spec.service_class is ServiceClass.EXCHANGE, before.backend_id],
    )
    if spec.addresses != before.spec.addresses:
        await set_addresses(db, before.backend_id, spec.addresses)
        # Dovecot knows who shares by the primary address.
        await db.execute(
            "UPDATE directory.group_share SET from_user = %s WHERE from_user = %s", [spec.addresses[0], before.address]
        )


async def set_password(db: Connection, backend_id: str, *, password_hash: str, version: int) -> None:
    await db.execute(
        "UPDATE directory.box SET password_hash = %s, password_version = %s WHERE backend_id = %s",
        [password_hash, version, backend_id],
    )


async def set_addresses(db: Connection, backend_id: str, addresses: Sequence[str]) -> None:
    """Raises AddressTaken when one belongs to another mailbox or guest."""
    await _require_free(db, backend_id, addresses)
    await db.execute("DELETE FROM directory.address WHERE backend_id = %s", [backend_id])
    await db.execute(
        "INSERT INTO directory.address"
        " SELECT each, %s, number - 1 FROM unnest(%s::text[]) WITH ORDINALITY o(each, number)",
        [backend_id, list(addresses)],
    )


async def put_guest(db: Connection, guest: Guest) -> None:
    """Raises AddressTaken for an address of a mailbox that is here; what another guest had is taken from it."""
    await _require_free(db, guest.backend_id, guest.addresses)
    await db.execute(
        "INSERT INTO directory.guest (backend_id, mailbox_id, display_name, cell) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (backend_id) DO UPDATE SET mailbox_id = excluded.mailbox_id,"
        " display_name = excluded.display_name, cell = excluded.cell",
        [guest.backend_id, guest.mailbox_id, guest.display_name, guest.cell],
    )
    await db.execute("DELETE FROM directory.guest_address WHERE backend_id = %s", [guest.backend_id])
    await db.execute(
        "INSERT INTO directory.guest_address"
        " SELECT each, %s, number - 1 FROM unnest(%s::text[]) WITH ORDINALITY o(each, number)",
        [guest.backend_id, list(guest.addresses)],
    )


async def keep_peer(db: Connection, cell: str, peer: Peer | None) -> None:
    """Where mail for the guests of that cell goes; without a place it waits."""
    if peer is not None:
        await db.execute(
            "INSERT INTO directory.peer (cell, smtp) VALUES (%s, %s)"
            " ON CONFLICT (cell) DO UPDATE SET smtp = excluded.smtp WHERE peer.smtp <> excluded.smtp",
            [cell, peer.smtp],
        )


async def require_grantee(db: Connection, box: Box, grantee: str) -> bool:
    """Whether it can make use of rights here, which a guest cannot. Raises UnknownGrantee unless it is either."""
    found = await find_box(db, grantee)
    is_here = found is not None and found.phase != "arriving"
    if grantee == box.backend_id or (not is_here and await find_guest(db, backend_id=grantee) is None):
        raise UnknownGrantee(f"{grantee} is no other mailbox that is known here")
    return is_here


async def kept_masks(db: Connection, backend_id: str) -> dict[tuple[str, str], int]:
    """(folder, grantee) -> the mask that was asked for."""
    query = "SELECT folder_id, grantee, mask FROM directory.folder_right WHERE backend_id = %s"
    rows = await (await db.execute(query, [backend_id])).fetchall()
    return {(row["folder_id"], row["grantee"]): row["mask"] for row in rows}


async def keep_mask(db: Connection, backend_id: str, folder_id: str, grantee: str, mask: int) -> None:
    """Zero forgets it."""
    await db.execute(
        "DELETE FROM directory.folder_right WHERE backend_id = %s AND folder_id = %s AND grantee = %s",
        [backend_id, folder_id, grantee],
    )
    if mask:
        await db.execute(
            "INSERT INTO directory.folder_right VALUES (%s, %s, %s, %s)", [backend_id, folder_id, grantee, mask]
        )


async def grants_of(db: Connection, backend_id: str) -> set[tuple[str, str]]:
    """(role, grantee) of every grant that is kept."""
    query = "SELECT role, grantee FROM directory.mailbox_grant WHERE backend_id = %s"
    return {(row["role"], row["grantee"]) for row in await (await db.execute(query, [backend_id])).fetchall()}


async def keep_grant(db: Connection, backend_id: str, role: str, grantee: str) -> None:
    await db.execute(
        "INSERT INTO directory.mailbox_grant VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", [backend_id, role, grantee]
    )


async def drop_grant(db: Connection, backend_id: str, role: str, grantee: str) -> None:
    await db.execute(
        "DELETE FROM directory.mailbox_grant WHERE backend_id = %s AND role = %s AND grantee = %s",
        [backend_id, role, grantee],
    )


async def people(db: Connection, addresses: Sequence[str]) -> dict[str, str]:
    """Address -> backend id of those that are known here, for rights that were given by address."""
    query = """
        SELECT address, backend_id FROM directory.guest_address WHERE address = ANY (%(all)s)
        UNION ALL SELECT address, backend_id FROM directory.address WHERE address = ANY (%(all)s)
    """
    rows = await (await db.execute(query, {"all": list(addresses)})).fetchall()
    return {row["address"]: row["backend_id"] for row in rows}


async def _require_free(db: Connection, backend_id: str, addresses: Sequence[str]) -> None:
    """Only mailboxes that are here block an address: who is where is the control plane's to know."""
    query = "SELECT address FROM directory.address WHERE address = ANY (%s) AND backend_id <> %s"
    if taken := await (await db.execute(query, [list(addresses), backend_id])).fetchall():
        raise AddressTaken(", ".join(row["address"] for row in taken))
    await db.execute(
        "DELETE FROM directory.guest_address WHERE address = ANY (%s) AND backend_id <> %s",
        [list(addresses), backend_id],
    )


def _values(spec: Spec) -> list[Any]:
    return [getattr(spec, name) for name in _SPEC]


def _box(row: Mapping[str, Any]) -> Box:
    return Box(
        backend_id=row["backend_id"],
        mailbox_id=row["mailbox_id"],
        spec=Spec(
            kind=row["kind"],
            service_class=ServiceClass(row["service_class"]),
            display_name=row["display_name"],
            quota_mib=row["quota_mib"],
            protocols=tuple(row["protocols"]),
            addresses=tuple(row["addresses"]),
            suspended=row["suspended"],
            password_version=row["password_version"],
        ),
        presence=row["presence"],
        archive=row["archive"],
        settled=row["settled"],
        phase=row["phase_now"],
        held=bool(row["held"]),
        moving_to=row["moving_to"],
        password_hash=row["password_hash"],
    )
