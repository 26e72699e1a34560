"""WBXML as ActiveSync uses it: elements of its code pages to bytes and back. Tags read `{AirSync}Sync`."""

from xml.etree.ElementTree import Element, SubElement

# Of MS-ASWBXML, what a phone of these tests says and hears.
PAGES: dict[int, tuple[str, str]] = {
    0: (
        "AirSync",
        (
            "05 Sync 06 Responses 07 Add 08 Change 09 Delete 0A Fetch 0B SyncKey 0C ClientId 0D ServerId 0E Status "
            "0F Collection 10 Class 12 CollectionId 13 GetChanges 14 MoreAvailable 15 WindowSize 16 Commands "
            "17 Options 18 FilterType 1C Collections 1D ApplicationData 1E DeletesAsMoves 20 Supported 22 MIMESupport"
        ),
    ),
    1: (
        "Contacts",
        (
            "13 BusinessPhoneNumber 19 CompanyName 1B Email1Address 1E FileAs 1F FirstName 27 HomePhoneNumber "
            "28 JobTitle 29 LastName 2A MiddleName 2B MobilePhoneNumber"
        ),
    ),
    2: (
        "Email",
        (
            "0F DateReceived 11 DisplayTo 12 Importance 13 MessageClass 14 Subject 15 Read 16 To 17 Cc 18 From "
            "19 ReplyTo 35 ThreadTopic 39 InternetCPID"
        ),
    ),
    4: (
        "Calendar",
        (
            "05 Timezone 06 AllDayEvent 0D BusyStatus 11 DtStamp 12 EndTime 17 Location 18 MeetingStatus "
            "19 OrganizerEmail 1A OrganizerName 25 Sensitivity 26 Subject 27 StartTime 28 UID"
        ),
    ),
    7: (
        "FolderHierarchy",
        (
            "07 DisplayName 08 ServerId 09 ParentId 0A Type 0C Status 0E Changes 0F Add 10 Delete 11 Update 12 SyncKey "
            "16 FolderSync 17 Count"
        ),
    ),
    9: ("Tasks", "0A Complete 0C DueDate 0D UtcDueDate 0E Importance 1B ReminderSet 1D Sensitivity 20 Subject"),
    17: (
        "AirSyncBase",
        (
            "05 BodyPreference 06 Type 07 TruncationSize 0A Body 0B Data 0C EstimatedDataSize 0D Truncated "
            "16 NativeBodyType"
        ),
    ),
    21: ("ComposeMail", "05 SendMail 08 SaveInSentItems 10 Mime 11 ClientId 12 Status"),
}

_HEAD = b"\x03\x01\x6a\x00"  # version 1.3, no public id, UTF-8, no string table
_SWITCH_PAGE, _END, _STRING, _OPAQUE, _CONTENT = 0x00, 0x01, 0x03, 0xC3, 0x40


def _tables() -> dict[tuple[int, int], str]:
    names: dict[tuple[int, int], str] = {}
    for page, (space, listed) in PAGES.items():
        words = listed.split()
        names |= {
            (page, int(code, 16)): f"{{{space}}}{name}" for code, name in zip(words[::2], words[1::2], strict=True)
        }
    return names


NAMES = _tables()
TOKENS = {name: token for token, name in NAMES.items()}


def element(tag: str, *content: "Element | str | bytes") -> Element:
    """`tag` as in "AirSync:Sync". Bytes go as opaque data, as the MIME of a message does."""
    space, _, name = tag.partition(":")
    made = Element(f"{{{space}}}{name}")
    for each in content:
        if isinstance(each, Element):
            made.append(each)
        elif isinstance(each, bytes):
            made.set("opaque", each.decode("latin-1"))
        else:
            made.text = each
    return made


def encode(root: Element) -> bytes:
    out = bytearray(_HEAD)
    page = 0

    def write(node: Element) -> None:
        nonlocal page
        its_page, token = TOKENS[node.tag]
        if its_page != page:
            out.extend((_SWITCH_PAGE, its_page))
            page = its_page
        opaque = node.get("opaque")
        if not len(node) and not node.text and opaque is None:
            out.append(token)
            return
        out.append(token | _CONTENT)
        if opaque is not None:
            out.append(_OPAQUE)
            out.extend(_number(len(opaque)) + opaque.encode("latin-1"))
        if node.text:
            out.append(_STRING)
            out.extend(node.text.encode() + b"\0")
        for child in node:
            write(child)
        out.append(_END)

    write(root)
    return bytes(out)


def decode(data: bytes) -> Element:
    """The root element; elements of pages unknown here keep page and token as their name."""
    assert data[:3] == _HEAD[:3], data[:16]
    top = Element("document")
    open_, page, at = [top], 0, len(_HEAD)
    while at < len(data):
        token, at = data[at], at + 1
        if token == _SWITCH_PAGE:
            page, at = data[at], at + 1
        elif token == _END:
            open_.pop()
        elif token == _STRING:
            end = data.index(0, at)
            open_[-1].text = (open_[-1].text or "") + data[at:end].decode()
            at = end + 1
        elif token == _OPAQUE:
            length, at = _read_number(data, at)
            open_[-1].text = data[at : at + length].decode("utf-8", "replace")
            at += length
        else:
            bare = token & ~_CONTENT
            child = SubElement(open_[-1], NAMES.get((page, bare), f"{{page-{page}}}{bare:02X}"))
            if token & _CONTENT:
                open_.append(child)
    return top[0]


def _number(value: int) -> bytes:
    """A multi-byte integer: seven bits a byte, the last without the high bit."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    while True:
        byte, at = data[at], at + 1
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return value, at
