"""What Exchange's folder rights become in Dovecot and SOGo, and what theirs stand for (pure).

Neither can hold every mask, and neither knows who made an item: rights on one's own items alone become nothing.
Where the way back is not exact, it errs towards more, so that what somebody really may is not overlooked.
"""

from collections.abc import Iterable

from provisioning.planner import FolderType
from provisioning.roles import Right

FULL_MASK = 0x7FB
ALL_MAIL = frozenset(
    ("lookup", "read", "write", "write-seen", "write-deleted", "insert", "post", "expunge", "create", "delete")
)
ALL_CALENDAR = frozenset(("PublicModifier", "ConfidentialModifier", "PrivateModifier", "ObjectCreator", "ObjectEraser"))
ALL_CONTACTS = frozenset(("ObjectViewer", "ObjectEditor", "ObjectCreator", "ObjectEraser"))

_MAIL: dict[Right, tuple[str, ...]] = {
    Right.FOLDER_VISIBLE: ("lookup",),
    Right.READ_ITEMS: ("lookup", "read", "write-seen"),
    Right.CREATE_ITEMS: ("insert", "post"),
    Right.EDIT_ALL_ITEMS: ("write", "write-seen"),
    Right.DELETE_ALL_ITEMS: ("write-deleted", "expunge"),
    Right.CREATE_SUBFOLDERS: ("create",),
    Right.FOLDER_OWNER: ("lookup", "delete"),
}
_MAIL_BACK: dict[str, Right] = {
    "lookup": Right.FOLDER_VISIBLE,
    "read": Right.READ_ITEMS | Right.FOLDER_VISIBLE,
    "write": Right.EDIT_ALL_ITEMS | Right.EDIT_OWNED_ITEMS,
    "write-deleted": Right.DELETE_ALL_ITEMS | Right.DELETE_OWNED_ITEMS,
    "expunge": Right.DELETE_ALL_ITEMS | Right.DELETE_OWNED_ITEMS,
    "insert": Right.CREATE_ITEMS,
    "post": Right.CREATE_ITEMS,
    "create": Right.CREATE_SUBFOLDERS,
    "delete": Right.FOLDER_OWNER | Right.FOLDER_VISIBLE,
    "admin": Right.FOLDER_OWNER | Right.FOLDER_VISIBLE,
}
_CONTACTS: dict[Right, str] = {
    Right.READ_ITEMS: "ObjectViewer",
    Right.EDIT_ALL_ITEMS: "ObjectEditor",
    Right.CREATE_ITEMS: "ObjectCreator",
    Right.DELETE_ALL_ITEMS: "ObjectEraser",
}
_EDIT = Right.EDIT_ALL_ITEMS | Right.EDIT_OWNED_ITEMS | Right.READ_ITEMS | Right.FOLDER_VISIBLE
_SEE = Right.READ_ITEMS | Right.FOLDER_VISIBLE
_GROUPWARE_BACK: dict[str, Right] = {
    "ObjectCreator": Right.CREATE_ITEMS,
    "ObjectEraser": Right.DELETE_ALL_ITEMS | Right.DELETE_OWNED_ITEMS,
    "ObjectViewer": _SEE,
    "ObjectEditor": _EDIT,
    "PublicViewer": _SEE,
    "PublicResponder": _SEE,
    "PublicModifier": _EDIT,
    "ConfidentialViewer": _SEE,
    "ConfidentialModifier": _EDIT,
    "PrivateViewer": _SEE,
    "PrivateModifier": _EDIT | Right.FOLDER_OWNER,
    "PublicDAndTViewer": Right.AVAILABILITY_ONLY,
}


def folder_rights(mask: int, folder: FolderType) -> frozenset[str]:
    """The rights that hold this mask on a folder of this type, in the words of who keeps it; a root keeps none."""
    if folder is FolderType.ROOT:
        return frozenset()
    if folder in (FolderType.CALENDAR, FolderType.TASKS):
        return _calendar_roles(mask)
    if folder is FolderType.CONTACTS:
        return frozenset(role for right, role in _CONTACTS.items() if mask & right)
    return frozenset(word for right, words in _MAIL.items() if mask & right for word in words)


def all_rights(folder: FolderType) -> frozenset[str]:
    """What full access to the mailbox means on a folder of this type."""
    if folder is FolderType.ROOT:
        return frozenset()
    if folder in (FolderType.CALENDAR, FolderType.TASKS):
        return ALL_CALENDAR
    return ALL_CONTACTS if folder is FolderType.CONTACTS else ALL_MAIL


def mask_of(rights: Iterable[str], folder: FolderType) -> int:
    """The mask that the rights really held stand for."""
    groupware = folder in (FolderType.CALENDAR, FolderType.TASKS, FolderType.CONTACTS)
    words = _GROUPWARE_BACK if groupware else _MAIL_BACK
    mask = 0
    for word in rights:
        mask |= words.get(word, 0)
    return mask


def _calendar_roles(mask: int) -> frozenset[str]:
    roles: set[str] = set()
    if mask & Right.EDIT_ALL_ITEMS:
        roles |= {"PublicModifier", "ConfidentialModifier", "PrivateDAndTViewer"}
    elif mask & Right.READ_ITEMS:
        roles |= {"PublicViewer", "ConfidentialDAndTViewer", "PrivateDAndTViewer"}
    elif mask & (Right.AVAILABILITY_ONLY | Right.LIMITED_DETAILS):
        # There is nothing between busy times and all details: the lesser is given.
        roles |= {"PublicDAndTViewer", "ConfidentialDAndTViewer", "PrivateDAndTViewer"}
    if mask & Right.FOLDER_OWNER:
        roles = roles - {"PrivateDAndTViewer"} | {"PrivateModifier"}
    if mask & Right.CREATE_ITEMS:
        roles.add("ObjectCreator")
    if mask & Right.DELETE_ALL_ITEMS:
        roles.add("ObjectEraser")
    return frozenset(roles)
