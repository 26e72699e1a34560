"""What the imitation backend has and what it refuses, as the real one does (pure).

The traps are those found with Exchange and gromox: standard folders have local names, a server widens rights,
and which folders there are depends on the service class.
"""

from dataclasses import dataclass

from provisioning.planner import FolderType, MailboxSpec
from provisioning.roles import FREE_BUSY, MAILBOX_ROLES, Right, Role, widen
from provisioning.terms import ADD_ONS, KINDS, PROTOCOLS, SCOPES, AddOn, Scope, ServiceClass

DEFAULT = "Default"
ANONYMOUS = "Anonymous"

_ALL_RIGHTS = sum(Right)
_MAIL = frozenset({ServiceClass.IMAP, ServiceClass.EXCHANGE})
_GROUPWARE = frozenset({ServiceClass.EXCHANGE})

VISIBLE: dict[ServiceClass, frozenset[FolderType]] = {
    ServiceClass.POP3: frozenset({FolderType.ROOT, FolderType.INBOX}),
    ServiceClass.IMAP: frozenset({FolderType.ROOT, FolderType.INBOX, FolderType.OTHER}),
    ServiceClass.EXCHANGE: frozenset(FolderType),
}


@dataclass(frozen=True, slots=True)
class StandardFolder:
    """`default_mask` is what everybody in the organisation may: see when somebody is busy, nothing else."""

    name: str
    type: FolderType
    classes: frozenset[ServiceClass]
    default_mask: int = 0


ROOT = StandardFolder("Oberste Ebene des Informationsspeichers", FolderType.ROOT, frozenset(ServiceClass))

STANDARD_FOLDERS = (
    StandardFolder("Posteingang", FolderType.INBOX, frozenset(ServiceClass)),
    StandardFolder("Entwürfe", FolderType.OTHER, _MAIL),
    StandardFolder("Gesendete Elemente", FolderType.OTHER, _MAIL),
    StandardFolder("Gelöschte Elemente", FolderType.OTHER, _MAIL),
    StandardFolder("Junk-E-Mail", FolderType.OTHER, _MAIL),
    StandardFolder("Kalender", FolderType.CALENDAR, _GROUPWARE, int(Right.AVAILABILITY_ONLY)),
    StandardFolder("Kontakte", FolderType.CONTACTS, _GROUPWARE),
    StandardFolder("Aufgaben", FolderType.TASKS, _GROUPWARE),
)


def standard_folders(service_class: ServiceClass) -> list[StandardFolder]:
    """The folders below the root that a mailbox of this class is given."""
    return [folder for folder in STANDARD_FOLDERS if service_class in folder.classes]


def stored_mask(mask: int, folder_type: FolderType) -> int:
    """The mask as it is kept: widened, and in a calendar with the free/busy bits that come with reading."""
    mask = widen(mask)
    return mask | int(FREE_BUSY) if folder_type is FolderType.CALENDAR and mask & Right.READ_ITEMS else mask


def spec_refusal(spec: MailboxSpec) -> str | None:
    """Why such a mailbox cannot be; None when it can."""
    if not spec.addresses or len(set(spec.addresses)) < len(spec.addresses):
        return "a mailbox needs addresses, and each only once"
    if spec.quota_mib < 1:
        return f"a quota of {spec.quota_mib} MiB is none"
    if spec.kind not in KINDS[spec.service_class]:
        return f"a {spec.service_class} mailbox cannot be of kind {spec.kind}"
    if wrong := spec.protocols - PROTOCOLS[spec.service_class]:
        return f"a {spec.service_class} mailbox does not answer {', '.join(sorted(wrong))}"
    return None


def archive_refusal(service_class: ServiceClass) -> str | None:
    """Why such a mailbox cannot be given an archive; None when it can."""
    return None if AddOn.ARCHIVE in ADD_ONS[service_class] else f"a {service_class} mailbox has no archive"


def rights_refusal(service_class: ServiceClass, folder_type: FolderType | None, mask: int) -> str | None:
    """Why such an entry cannot be on the folder; `folder_type` is None when there is no such folder."""
    if folder_type is None:
        return "the mailbox has no such folder"
    if folder_type not in VISIBLE[service_class]:
        return f"a {service_class} mailbox has no {folder_type} folder"
    if mask & ~_ALL_RIGHTS:
        return f"{mask:#x} has bits that are no rights"
    # Full free/busy bits come along with a calendar role's other rights, and only there.
    if mask & FREE_BUSY and folder_type is not FolderType.CALENDAR:
        return "rights to see availability exist on calendars only"
    return None


def grant_refusal(service_class: ServiceClass, role: Role) -> str | None:
    """Why such a grant cannot be on the mailbox; None when it can."""
    if role not in MAILBOX_ROLES:
        return f"{role} is a role on a folder, not on a mailbox"
    if role is Role.FULL_ACCESS and Scope.MAILBOX not in SCOPES[service_class]:
        return f"a {service_class} mailbox cannot be opened by others"
    return None
