"""What has to be done to make a mailbox what it should be: (wanted, seen) -> steps (pure).

Deterministic, without input or output; the reconciler applies the steps through a driver, and a second plan
over the result is empty.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from provisioning.roles import Role, comparable, role_mask, same_rights
from provisioning.terms import MailboxKind, Protocol, Scope, ServiceClass


class FolderType(StrEnum):
    """The type of a folder, which a backend knows whatever it displays ("Kalender", "Calendrier")."""

    ROOT = "root"
    INBOX = "inbox"
    CALENDAR = "calendar"
    CONTACTS = "contacts"
    TASKS = "tasks"
    OTHER = "other"


class Presence(StrEnum):
    PRESENT = "present"
    DELETED = "deleted"
    PURGED = "purged"


@dataclass(frozen=True, slots=True)
class MailboxSpec:
    """All attributes of a mailbox that a backend holds. `addresses` are A-label addresses, primary first."""

    kind: MailboxKind
    service_class: ServiceClass
    display_name: str
    quota_mib: int
    protocols: frozenset[Protocol]
    addresses: tuple[str, ...]
    suspended: bool = False
    password_version: int = 0


@dataclass(frozen=True, slots=True)
class SharedTo:
    """One wanted share, its grantee named by the backend's own id."""

    scope: Scope
    role: Role
    grantee: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """The intent for one mailbox. `password_hash` goes with `spec.password_version`, in crypt form."""

    mailbox_id: str
    presence: Presence
    location: str
    spec: MailboxSpec
    shares: frozenset[SharedTo] = frozenset()
    archive: bool = False
    password_hash: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder as the backend reports it; `rights` maps grantee to mask, Default and Anonymous left out."""

    id: str
    type: FolderType
    rights: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What the backend reports of one mailbox. `grants` are full access, send-as and send-on-behalf."""

    backend_id: str
    presence: Presence
    location: str
    spec: MailboxSpec
    folders: tuple[Folder, ...] = ()
    grants: frozenset[tuple[Role, str]] = frozenset()
    archive: bool = False


@dataclass(frozen=True, slots=True)
class EnsureMailbox:
    """Create the mailbox, bring it back from deletion, or change the named attributes."""

    changes: tuple[str, ...]

    def __str__(self) -> str:
        return "ensure mailbox: " + ", ".join(self.changes)


@dataclass(frozen=True, slots=True)
class MoveMailbox:
    to: str

    def __str__(self) -> str:
        return f"move mailbox to {self.to}"


@dataclass(frozen=True, slots=True)
class EnsureArchive:
    """Give the mailbox its archive, or take it away with what is in it."""

    on: bool

    def __str__(self) -> str:
        return "ensure archive: " + ("on" if self.on else "off")


@dataclass(frozen=True, slots=True)
class EnsureFolderRights:
    folder_id: str
    folder_type: FolderType
    grantee: str
    mask: int

    def __str__(self) -> str:
        return f"ensure rights {self.mask:#x} on {self.folder_type} for {self.grantee}"


@dataclass(frozen=True, slots=True)
class RemoveFolderRights:
    folder_id: str
    folder_type: FolderType
    grantee: str

    def __str__(self) -> str:
        return f"remove rights on {self.folder_type} of {self.grantee}"


@dataclass(frozen=True, slots=True)
class EnsureGrant:
    role: Role
    grantee: str

    def __str__(self) -> str:
        return f"ensure {self.role} for {self.grantee}"


@dataclass(frozen=True, slots=True)
class RemoveGrant:
    role: Role
    grantee: str

    def __str__(self) -> str:
        return f"remove {self.role} of {self.grantee}"


@dataclass(frozen=True, slots=True)
class RemoveMailbox:
    """Take the mailbox out of service; it stays restorable."""

    def __str__(self) -> str:
        return "remove mailbox, restorable"


@dataclass(frozen=True, slots=True)
class PurgeMailbox:
    """Erase the mailbox and everything in it."""

    def __str__(self) -> str:
        return "purge mailbox"


Step = (
    EnsureMailbox
    | MoveMailbox
    | EnsureArchive
    | EnsureFolderRights
    | RemoveFolderRights
    | EnsureGrant
    | RemoveGrant
    | RemoveMailbox
    | PurgeMailbox
)

_SPEC_FIELDS = ("kind", "service_class", "display_name", "quota_mib", "protocols", "addresses", "suspended")
_FOLDER_OF_SCOPE = {
    Scope.INBOX: FolderType.INBOX,
    Scope.CALENDAR: FolderType.CALENDAR,
    Scope.CONTACTS: FolderType.CONTACTS,
    Scope.TASKS: FolderType.TASKS,
}
_GRANT_SCOPES = frozenset({Scope.SEND_AS, Scope.SEND_ON_BEHALF})


def plan(wanted: Wanted, seen: Seen | None) -> list[Step]:
    """The steps from what is seen to what is wanted, in the order to apply them; empty when they agree.

    Folder rights are planned only for folders the backend has reported: a mailbox just created is observed
    again before its shares are planned.
    """
    if wanted.presence is Presence.PURGED:
        return [] if seen is None else [PurgeMailbox()]
    if wanted.presence is Presence.DELETED:
        return [RemoveMailbox()] if seen is not None and seen.presence is Presence.PRESENT else []
    if seen is None:
        return [EnsureMailbox(("created",))]
    steps: list[Step] = []
    if changes := _spec_changes(wanted, seen):
        steps.append(EnsureMailbox(changes))
    if seen.location != wanted.location:
        steps.append(MoveMailbox(wanted.location))
    # After the class, which decides whether there can be one.
    if seen.archive != wanted.archive:
        steps.append(EnsureArchive(wanted.archive))
    # Folders come and go with the class: rights on them are set once they have been seen again.
    changes_class = seen.spec.service_class is not wanted.spec.service_class
    steps += (
        step for step in _folder_steps(wanted, seen) if not (changes_class and isinstance(step, EnsureFolderRights))
    )
    steps += _grant_steps(wanted, seen)
    return steps


def _spec_changes(wanted: Wanted, seen: Seen) -> tuple[str, ...]:
    changes = [name for name in _SPEC_FIELDS if getattr(wanted.spec, name) != getattr(seen.spec, name)]
    # A backend that cannot tell its password version reports 0; nothing is set before a password exists.
    if wanted.password_hash is not None and wanted.spec.password_version != seen.spec.password_version:
        changes.append("password")
    if seen.presence is Presence.DELETED:
        changes.insert(0, "restored")
    return tuple(changes)


def wanted_rights(wanted: Wanted, folder: Folder) -> dict[str, int]:
    """Grantee -> mask on one folder, the union where a whole-mailbox share and a folder share meet.

    Reading a whole mailbox is no single right in Exchange: it is Reviewer on the root and on every folder.
    """
    calendar = folder.type is FolderType.CALENDAR
    rights: dict[str, int] = {}
    for share in wanted.shares:
        covers = share.scope is Scope.MAILBOX and share.role is Role.REVIEWER
        if covers or _FOLDER_OF_SCOPE.get(share.scope) is folder.type:
            rights[share.grantee] = rights.get(share.grantee, 0) | role_mask(share.role, calendar=calendar)
    return rights


def wanted_grants(wanted: Wanted) -> frozenset[tuple[Role, str]]:
    return frozenset(
        (share.role, share.grantee)
        for share in wanted.shares
        if share.role is Role.FULL_ACCESS or share.scope in _GRANT_SCOPES
    )


def _folder_steps(wanted: Wanted, seen: Seen) -> Iterator[Step]:
    for folder in seen.folders:
        want, have = wanted_rights(wanted, folder), dict(folder.rights)
        for grantee in sorted(have.keys() - want.keys()):
            if comparable(have[grantee]):
                yield RemoveFolderRights(folder.id, folder.type, grantee)
        for grantee, mask in sorted(want.items()):
            if not same_rights(have.get(grantee, 0), mask):
                yield EnsureFolderRights(folder.id, folder.type, grantee, mask)


def _grant_steps(wanted: Wanted, seen: Seen) -> Iterator[Step]:
    want = wanted_grants(wanted)
    for role, grantee in sorted(seen.grants - want):
        yield RemoveGrant(role, grantee)
    for role, grantee in sorted(want - seen.grants):
        yield EnsureGrant(role, grantee)
