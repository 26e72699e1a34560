"""Exchange folder roles, their rights as bit masks, and the widening a server does on write (pure).

The bits and masks are those of the Exchange folder permission cmdlets and of EWS. Cmdlet names are emitted;
the EWS spellings are accepted on input.
"""

from enum import IntFlag, StrEnum

from provisioning.terms import Access, Scope


class Right(IntFlag):
    READ_ITEMS = 0x001
    CREATE_ITEMS = 0x002
    EDIT_OWNED_ITEMS = 0x008
    DELETE_OWNED_ITEMS = 0x010
    EDIT_ALL_ITEMS = 0x020
    DELETE_ALL_ITEMS = 0x040
    CREATE_SUBFOLDERS = 0x080
    FOLDER_OWNER = 0x100
    FOLDER_CONTACT = 0x200
    FOLDER_VISIBLE = 0x400
    AVAILABILITY_ONLY = 0x800
    LIMITED_DETAILS = 0x1000


FREE_BUSY = Right.AVAILABILITY_ONLY | Right.LIMITED_DETAILS


class Role(StrEnum):
    """An Exchange role, or one of the three grants held on the mailbox itself rather than on a folder."""

    NONE = "None"
    OWNER = "Owner"
    PUBLISHING_EDITOR = "PublishingEditor"
    EDITOR = "Editor"
    PUBLISHING_AUTHOR = "PublishingAuthor"
    AUTHOR = "Author"
    NON_EDITING_AUTHOR = "NonEditingAuthor"
    REVIEWER = "Reviewer"
    CONTRIBUTOR = "Contributor"
    AVAILABILITY_ONLY = "AvailabilityOnly"
    LIMITED_DETAILS = "LimitedDetails"
    CUSTOM = "Custom"
    FULL_ACCESS = "FullAccess"
    SEND_AS = "SendAs"
    SEND_ON_BEHALF = "SendOnBehalf"


FOLDER_MASKS: dict[Role, int] = {
    Role.NONE: 0x000,
    Role.OWNER: 0x7FB,
    Role.PUBLISHING_EDITOR: 0x4FB,
    Role.EDITOR: 0x47B,
    Role.PUBLISHING_AUTHOR: 0x49B,
    Role.AUTHOR: 0x41B,
    Role.NON_EDITING_AUTHOR: 0x413,
    Role.REVIEWER: 0x401,
    Role.CONTRIBUTOR: 0x402,
}

CALENDAR_MASKS: dict[Role, int] = {
    Role.NONE: 0x0000,
    Role.OWNER: 0x1FFB,
    Role.PUBLISHING_EDITOR: 0x1CFB,
    Role.EDITOR: 0x1C7B,
    Role.PUBLISHING_AUTHOR: 0x1C9B,
    Role.AUTHOR: 0x1C1B,
    Role.NON_EDITING_AUTHOR: 0x1C13,
    Role.REVIEWER: 0x1C01,
    Role.CONTRIBUTOR: 0x0C02,
    Role.AVAILABILITY_ONLY: 0x0800,
    Role.LIMITED_DETAILS: 0x1800,
}

MAILBOX_ROLES = frozenset({Role.FULL_ACCESS, Role.SEND_AS, Role.SEND_ON_BEHALF})

# The same roles as EWS spells them; Exchange's own tools mix the two surfaces.
EWS_SPELLINGS: dict[str, Role] = {
    "NoneditingAuthor": Role.NON_EDITING_AUTHOR,
    "FreeBusyTimeOnly": Role.AVAILABILITY_ONLY,
    "FreeBusyTimeAndSubjectAndLocation": Role.LIMITED_DETAILS,
}

_PLAIN: dict[Access, Role] = {
    Access.READ: Role.REVIEWER,
    Access.READ_WRITE: Role.EDITOR,
    Access.OWNER: Role.OWNER,
}

ROLES: dict[Scope, dict[Access, Role]] = {
    Scope.MAILBOX: {Access.READ: Role.REVIEWER, Access.READ_WRITE: Role.FULL_ACCESS},
    Scope.INBOX: _PLAIN,
    Scope.CALENDAR: {Access.AVAILABILITY: Role.AVAILABILITY_ONLY, **_PLAIN},
    Scope.CONTACTS: _PLAIN,
    Scope.TASKS: _PLAIN,
}


def parse_role(name: str) -> Role:
    """The role of this cmdlet or EWS name; raises ValueError for any other."""
    return EWS_SPELLINGS[name] if name in EWS_SPELLINGS else Role(name)


def role_mask(role: Role, *, calendar: bool) -> int:
    """The full mask to send for a folder role; raises KeyError for a role that has none on such a folder."""
    return (CALENDAR_MASKS if calendar else FOLDER_MASKS)[role]


def roles_on(scope: Scope) -> list[Role]:
    """What can be granted on a scope, the plain words' roles first."""
    if scope is Scope.SEND_AS:
        return [Role.SEND_AS]
    if scope is Scope.SEND_ON_BEHALF:
        return [Role.SEND_ON_BEHALF]
    plain = list(ROLES[scope].values())
    if scope is Scope.MAILBOX:
        return plain
    masks = CALENDAR_MASKS if scope is Scope.CALENDAR else FOLDER_MASKS
    return plain + [role for role in masks if role not in (*plain, Role.NONE)]


def mask_on(scope: Scope, role: Role) -> int | None:
    """The mask of a role on the folder a scope names; None for a grant that is held on the mailbox itself."""
    return None if role in MAILBOX_ROLES else role_mask(role, calendar=scope is Scope.CALENDAR)


def widen(mask: int) -> int:
    """The mask as a server stores it: reading shows the folder, editing all includes editing one's own."""
    if mask & Right.READ_ITEMS:
        mask |= Right.FOLDER_VISIBLE
    if mask & Right.EDIT_ALL_ITEMS:
        mask |= Right.EDIT_OWNED_ITEMS
    if mask & Right.DELETE_ALL_ITEMS:
        mask |= Right.DELETE_OWNED_ITEMS
    if mask & Right.FOLDER_OWNER:
        mask |= Right.FOLDER_VISIBLE | Right.FOLDER_CONTACT
    return mask


def comparable(mask: int) -> int:
    """The mask with everything taken out that servers add or drop by themselves.

    Free/busy bits beside a right to read say nothing new; None with visible or contact is None; Owner
    without contact is Owner.
    """
    mask = widen(mask)
    if mask & (Right.READ_ITEMS | Right.CREATE_ITEMS):
        mask &= ~int(FREE_BUSY)
    if not mask & ~int(Right.FOLDER_VISIBLE | Right.FOLDER_CONTACT):
        return 0
    return mask & ~int(Right.FOLDER_CONTACT)


def same_rights(one: int, other: int) -> bool:
    """Whether two masks mean the same, whatever a server added on write."""
    return comparable(one) == comparable(other)


def match_role(mask: int, *, calendar: bool) -> Role:
    """The role a stored mask stands for, tolerantly; Custom when it is none of them."""
    masks = CALENDAR_MASKS if calendar else FOLDER_MASKS
    return next((role for role, known in masks.items() if same_rights(known, mask)), Role.CUSTOM)


def rights_of(mask: int) -> list[str]:
    """The cmdlet names of the single rights in a mask, in bit order, for example ReadItems, FolderVisible."""
    return ["".join(part.title() for part in str(right.name).split("_")) for right in Right if mask & right]
