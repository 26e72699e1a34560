"""What agents report, as the planner reads it (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provisioning.drivers.base import DriverError
from provisioning.planner import Folder, FolderType, MailboxSpec, Presence, Seen
from provisioning.roles import Role
from provisioning.terms import MailboxKind, Protocol, ServiceClass

GRANTS = {
    Role.FULL_ACCESS: "full_access",
    Role.SEND_AS: "send_as",
    Role.SEND_ON_BEHALF: "send_on_behalf",
}
_ROLES = {word: role for role, word in GRANTS.items()}

FROZEN = "frozen"


@dataclass(frozen=True, slots=True)
class Moving:
    """Where a mailbox is going, and how far it got: `copying` in service, `frozen` for the last of it."""

    to: str
    phase: str


@dataclass(frozen=True, slots=True)
class Box:
    """What one cell knows of a mailbox. `state` is `here`, `guest` (it lies elsewhere) or `arriving`."""

    backend_id: str
    mailbox_id: str
    state: str
    moving: Moving | None


@dataclass(frozen=True, slots=True)
class Guest:
    """A mailbox as the cells it does not lie in know it."""

    backend_id: str
    mailbox_id: str
    addresses: tuple[str, ...]
    display_name: str
    cell: str

    def body(self) -> dict[str, Any]:
        return {
            "mailbox_id": self.mailbox_id,
            "addresses": list(self.addresses),
            "display_name": self.display_name,
            "cell": self.cell,
        }


def seen_of(report: Mapping[str, Any], *, cell: str) -> Seen:
    """Raises DriverError for a report that cannot be understood."""
    try:
        return Seen(
            backend_id=report["backend_id"],
            presence=Presence(report["presence"]),
            location=cell,
            spec=_spec_of(report["spec"]),
            folders=tuple(
                Folder(each["id"], FolderType(each["type"]), tuple(sorted(each["rights"].items())))
                for each in report["folders"]
            ),
            grants=frozenset((_ROLES[each["role"]], each["grantee"]) for each in report["grants"]),
            archive=report["archive"],
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise _not_understood(cell, error) from error


def box_of(row: Mapping[str, Any], *, cell: str) -> Box:
    try:
        return Box(row["backend_id"], row["mailbox_id"], row["state"], moving_of(row, cell=cell))
    except KeyError as error:
        raise _not_understood(cell, error) from error


def moving_of(report: Mapping[str, Any], *, cell: str) -> Moving | None:
    moving = report.get("moving")
    try:
        return None if moving is None else Moving(moving["to"], moving["phase"])
    except (KeyError, TypeError) as error:
        raise _not_understood(cell, error) from error


def guest_of(seen: Seen, mailbox_id: str) -> Guest:
    """The mailbox seen as the other cells should know it."""
    return Guest(seen.backend_id, mailbox_id, seen.spec.addresses, seen.spec.display_name, seen.location)


def knows(known: Mapping[str, Any], guest: Guest) -> bool:
    """Whether what a cell knows of a mailbox that lies elsewhere is right, or about to be settled by a move."""
    if known.get("arriving"):
        return True
    there = known.get("guest") or {}
    return (there.get("addresses"), there.get("display_name"), there.get("cell"), there.get("backend_id")) == (
        list(guest.addresses),
        guest.display_name,
        guest.cell,
        guest.backend_id,
    )


def spec_body(spec: MailboxSpec) -> dict[str, Any]:
    return {
        "kind": spec.kind.value,
        "service_class": spec.service_class.value,
        "display_name": spec.display_name,
        "quota_mib": spec.quota_mib,
        "protocols": sorted(protocol.value for protocol in spec.protocols),
        "addresses": list(spec.addresses),
        "suspended": spec.suspended,
        "password_version": spec.password_version,
    }


def _spec_of(spec: Mapping[str, Any]) -> MailboxSpec:
    return MailboxSpec(
        kind=MailboxKind(spec["kind"]),
        service_class=ServiceClass(spec["service_class"]),
        display_name=spec["display_name"],
        quota_mib=spec["quota_mib"],
        protocols=frozenset(Protocol(name) for name in spec["protocols"]),
        addresses=tuple(spec["addresses"]),
        suspended=spec["suspended"],
        password_version=spec["password_version"],
    )


def _not_understood(cell: str, error: Exception) -> DriverError:
    return DriverError(f"{cell} reports what is not understood ({type(error).__name__})", permanent=False)
