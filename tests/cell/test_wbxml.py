"""The tests' own phone is only worth something if it says what the document of ActiveSync says."""

import pytest

from tests.cell.wbxml import decode, element, encode

# Of the specification's own example of a FolderSync with the key 0.
FOLDER_SYNC = bytes.fromhex("03016a00 0007 5652 03 3000 01 01".replace(" ", ""))


def test_a_folder_sync_is_what_the_specification_prints() -> None:
    tree = element("FolderHierarchy:FolderSync", element("FolderHierarchy:SyncKey", "0"))
    assert encode(tree) == FOLDER_SYNC
    read = decode(FOLDER_SYNC)
    assert read.tag == "{FolderHierarchy}FolderSync"
    assert read.findtext("{FolderHierarchy}SyncKey") == "0"


@pytest.mark.parametrize("length", [0, 1, 127, 128, 300, 20_000])
def test_opaque_data_of_every_length_comes_back(length: int) -> None:
    tree = element(
        "ComposeMail:SendMail", element("ComposeMail:Mime", b"x" * length), element("ComposeMail:ClientId", "1")
    )
    read = decode(encode(tree))
    assert read.findtext("{ComposeMail}Mime") == "x" * length
    assert read.findtext("{ComposeMail}ClientId") == "1"


def test_pages_are_switched_and_switched_back() -> None:
    body = element("AirSyncBase:BodyPreference", element("AirSyncBase:Type", "1"))
    tree = element("AirSync:Sync", element("AirSync:Options", body), element("AirSync:SyncKey", "Käthe"))
    read = decode(encode(tree))
    assert read.findtext(".//{AirSyncBase}Type") == "1"
    assert read.findtext("{AirSync}SyncKey") == "Käthe"
