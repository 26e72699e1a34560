"""A phone: the ActiveSync 14.1 client of these tests, which keeps what it has synchronised as a phone does."""

import ssl
from dataclasses import dataclass, field
from enum import IntEnum
from uuid import uuid4
from xml.etree.ElementTree import Element

import httpx

from tests.cell.wbxml import decode, element, encode

OK = "1"
FIRST_KEY = "0"
ROUNDS_MAX = 20


class FolderKind(IntEnum):
    """The types of MS-ASCMD; the last three are what others have shared, or what the user has added."""

    INBOX = 2
    DRAFTS = 3
    TRASH = 4
    SENT = 5
    TASKS = 7
    CALENDAR = 8
    CONTACTS = 9
    OTHER_CALENDAR = 13
    OTHER_CONTACTS = 14
    OTHER_TASKS = 15


class SyncRefused(Exception):
    """A status other than 1, or an answer that is no WBXML."""


@dataclass(frozen=True, slots=True)
class PhoneFolder:
    id: str
    name: str
    kind: int


@dataclass
class _Collection:
    """`items` are the fields of each item by its server id, such as {"Calendar:Subject": "Verhandlung"}."""

    key: str = FIRST_KEY
    items: dict[str, dict[str, str]] = field(default_factory=dict)


class Phone:
    """One device of one user. Close it with `phone.close()`."""

    def __init__(self, url: str, user: str, password: str, *, trusted: ssl.SSLContext) -> None:
        self._user, self._device = user, uuid4().hex
        self._collections: dict[str, _Collection] = {}
        self._http = httpx.Client(
            base_url=url,
            auth=(user, password),
            verify=trusted,
            timeout=60,
            trust_env=False,
            headers={"MS-ASProtocolVersion": "14.1", "User-Agent": "Postfachwerk-Test/1.0"},
        )

    def close(self) -> None:
        self._http.close()

    def options(self) -> httpx.Response:
        return self._http.options("/Microsoft-Server-ActiveSync")

    def post(self, command: str, tree: Element) -> httpx.Response:
        """The bare answer, for tests of who is let in."""
        return self._http.post(
            "/Microsoft-Server-ActiveSync",
            params={"Cmd": command, "User": self._user, "DeviceId": self._device, "DeviceType": "Phone"},
            content=encode(tree),
            headers={"Content-Type": "application/vnd.ms-sync.wbxml"},
        )

    def _ask(self, command: str, tree: Element) -> Element | None:
        """None for the empty answer, which means that nothing has changed."""
        answer = self.post(command, tree)
        if answer.status_code != httpx.codes.OK:
            raise SyncRefused(f"{command}: {answer.status_code}")
        return decode(answer.content) if answer.content else None

    def folders(self) -> list[PhoneFolder]:
        root = self._ask(
            "FolderSync", element("FolderHierarchy:FolderSync", element("FolderHierarchy:SyncKey", FIRST_KEY))
        )
        assert root is not None
        _check(root, "FolderHierarchy")
        return [
            PhoneFolder(
                _text(added, "FolderHierarchy", "ServerId"),
                _text(added, "FolderHierarchy", "DisplayName"),
                int(_text(added, "FolderHierarchy", "Type")),
            )
            for added in root.iter("{FolderHierarchy}Add")
        ]

    def folder(self, kind: FolderKind) -> PhoneFolder:
        return next(each for each in self.folders() if each.kind == kind)

    def pull(self, folder_id: str) -> list[dict[str, str]]:
        """What the phone shows of a folder once it has synchronised it."""
        collection = self._collections.setdefault(folder_id, _Collection())
        for _ in range(ROUNDS_MAX):
            first = collection.key == FIRST_KEY
            more = self._sync(folder_id, collection, [] if first else _options())
            if not first and not more:
                return list(collection.items.values())
        raise SyncRefused(f"{folder_id} has more and more to synchronise")

    def add(self, folder_id: str, *fields: Element) -> str:
        """The status the server gives the new item; not to be believed, it says 1 to what it drops too."""
        self.pull(folder_id)
        added = element(
            "AirSync:Add", element("AirSync:ClientId", uuid4().hex[:8]), element("AirSync:ApplicationData", *fields)
        )
        return self._command(folder_id, added)

    def delete(self, folder_id: str, field_name: str, value: str) -> str:
        """Of the one item whose field has this value."""
        self.pull(folder_id)
        items = self._collections[folder_id].items
        [server_id] = [each for each, fields in items.items() if fields.get(field_name) == value]
        return self._command(folder_id, element("AirSync:Delete", element("AirSync:ServerId", server_id)))

    def _command(self, folder_id: str, command: Element) -> str:
        collection = self._collections[folder_id]
        root = self._exchange(folder_id, collection, [*_options(), element("AirSync:Commands", command)])
        responses = root.find(".//{AirSync}Responses/*/{AirSync}Status") if root is not None else None
        return OK if responses is None else responses.text or ""

    def send(self, message: bytes) -> None:
        tree = element(
            "ComposeMail:SendMail",
            element("ComposeMail:ClientId", uuid4().hex),
            element("ComposeMail:SaveInSentItems"),
            element("ComposeMail:Mime", message),
        )
        root = self._ask("SendMail", tree)
        if root is not None:
            raise SyncRefused(f"SendMail: {_text(root, 'ComposeMail', 'Status')}")

    def _sync(self, folder_id: str, collection: _Collection, options: list[Element]) -> bool:
        root = self._exchange(folder_id, collection, options)
        return root is not None and root.find(".//{AirSync}MoreAvailable") is not None

    def _exchange(self, folder_id: str, collection: _Collection, options: list[Element]) -> Element | None:
        asked = element(
            "AirSync:Collection",
            element("AirSync:SyncKey", collection.key),
            element("AirSync:CollectionId", folder_id),
            *options,
        )
        root = self._ask("Sync", element("AirSync:Sync", element("AirSync:Collections", asked)))
        if root is None:
            return None
        _check(root, "AirSync")
        collection.key = _text(root, "AirSync", "SyncKey")
        for change in root.iterfind(".//{AirSync}Commands/*"):
            server_id = _text(change, "AirSync", "ServerId")
            if change.tag in ("{AirSync}Add", "{AirSync}Change"):
                collection.items.setdefault(server_id, {}).update(_fields(change))
            else:
                collection.items.pop(server_id, None)
        return root


def _options() -> list[Element]:
    body = element("AirSyncBase:BodyPreference", element("AirSyncBase:Type", "1"))
    return [
        element("AirSync:DeletesAsMoves", "1"),
        element("AirSync:GetChanges", "1"),
        element("AirSync:WindowSize", "100"),
        element("AirSync:Options", element("AirSync:FilterType", "0"), body),
    ]


def _fields(change: Element) -> dict[str, str]:
    data = change.find("{AirSync}ApplicationData")
    assert data is not None
    return {each.tag[1:].replace("}", ":"): each.text or "" for each in data.iter() if each is not data}


def _text(root: Element, space: str, name: str) -> str:
    return root.findtext(f".//{{{space}}}{name}") or ""


def _check(root: Element, space: str) -> None:
    status = root.findtext(f".//{{{space}}}Status", OK)
    if status != OK:
        raise SyncRefused(f"{root.tag}: status {status}")
