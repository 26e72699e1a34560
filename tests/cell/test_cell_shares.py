"""Rights as they really are in a cell: made by hand, made later, and for whom they do not work."""

import base64

import httpx
import pytest

from provisioning.cell.layout import Cell
from tests.cell import mail
from tests.cell.direct import Box, introduce
from tests.cells import Cells
from tests.waiting import until

READER = 0x401


@pytest.fixture
def owner(cells: Cells) -> Box:
    return Box(cells.by_code["de-fra-1"])


@pytest.fixture
def grantee(cells: Cells) -> Box:
    return Box(cells.by_code["de-fra-1"])


def doveadm(cells: Cells, cell: Cell, command: str, **parameters: object) -> None:
    """What somebody with a shell in the data centre could do."""
    key = base64.b64encode(cell.secrets.doveadm.encode()).decode()
    answer = httpx.post(
        f"https://{cell.address}:{cell.ports.doveadm}/doveadm/v1",
        headers={"Authorization": f"X-Dovecot-API {key}"},
        json=[[command, parameters, ""]],
        verify=cells.trusted,
    )
    assert answer.json()[0][0] == "doveadmResponse", answer.text


def rights(owner: Box, folder: str) -> dict[str, int]:
    [found] = [each["rights"] for each in owner.report()["folders"] if each["id"] == folder]
    assert isinstance(found, dict)
    return found


def folders_of(box: Box) -> list[str]:
    """In a session of its own: an open one keeps the list that it has."""
    with box.imap() as client:
        return mail.folders(client)


class TestByHand:
    @pytest.mark.parametrize("by", ["id", "address"])
    def test_what_was_given_by_hand_is_seen_and_can_be_taken_back(
        self, cells: Cells, owner: Box, grantee: Box, by: str
    ) -> None:
        name = f"group={grantee.id}" if by == "id" else f"user={grantee.address}"
        right = ["lookup", "read"]
        doveadm(cells, owner.cell, "aclSet", user=owner.address, mailbox="INBOX", id=name, right=right)
        assert rights(owner, "inbox") == {grantee.id: READER}
        assert owner.ask("DELETE", f"/boxes/{owner.id}/folders/inbox/rights/{grantee.id}").is_success
        assert rights(owner, "inbox") == {}

    def test_more_given_by_hand_than_was_asked_for_is_seen(self, cells: Cells, owner: Box, grantee: Box) -> None:
        owner.allow("inbox", grantee, READER)
        name, right = f"group={grantee.id}", ["lookup", "read", "expunge", "write-deleted"]
        doveadm(cells, owner.cell, "aclSet", user=owner.address, mailbox="INBOX", id=name, right=right)
        assert rights(owner, "inbox")[grantee.id] & 0x40
        owner.allow("inbox", grantee, READER)
        assert rights(owner, "inbox") == {grantee.id: READER}

    def test_full_access_with_a_gap_is_no_full_access(self, cells: Cells, owner: Box, grantee: Box) -> None:
        owner.grant("full_access", grantee)
        assert owner.report()["grants"] == [{"role": "full_access", "grantee": grantee.id}]
        name = f"group={grantee.id}"
        doveadm(cells, owner.cell, "aclDelete", user=owner.address, mailbox="Sent", id=name)
        assert owner.report()["grants"] == []
        owner.grant("full_access", grantee)
        assert owner.report()["grants"] == [{"role": "full_access", "grantee": grantee.id}]


class TestLater:
    def test_a_folder_made_later_is_there_for_who_has_full_access(self, owner: Box, grantee: Box) -> None:
        owner.grant("full_access", grantee)
        with owner.imap() as client:
            client.create("Akten")
        until(lambda: f"shared/{owner.address}/Akten" in folders_of(grantee))
        until(lambda: owner.report()["grants"] == [{"role": "full_access", "grantee": grantee.id}])

    def test_and_for_nobody_who_may_only_read_the_inbox(self, owner: Box, grantee: Box) -> None:
        owner.allow("inbox", grantee, READER)
        with owner.imap() as client:
            client.create("Geheim")
        with grantee.imap() as client:
            assert f"shared/{owner.address}" in mail.folders(client)
            assert f"shared/{owner.address}/Geheim" not in mail.folders(client)

    def test_what_is_taken_back_is_gone_for_open_sessions_too(self, owner: Box, grantee: Box) -> None:
        owner.allow("inbox", grantee, READER)
        with grantee.imap() as client:
            assert client.select(f"shared/{owner.address}", readonly=True)[0] == "OK"
            owner.allow("inbox", grantee, 0)
            with pytest.raises((client.error, OSError)):
                until(lambda: client.noop()[0] != "OK")
        with grantee.imap() as client:
            assert client.select(f"shared/{owner.address}", readonly=True)[0] == "NO"


class TestGuests:
    def test_rights_for_a_guest_are_kept_and_said_to_have_no_effect(self, cells: Cells, owner: Box) -> None:
        guest = Box(cells.by_code["fi-hel-1"])
        introduce(guest, cells.by_code["de-fra-1"])
        answer = owner.ask("PUT", f"/boxes/{owner.id}/folders/calendar/rights/{guest.id}", {"mask": 0x1C01})
        assert answer.json() == {"effective": False}
        assert rights(owner, "calendar") == {guest.id: 0x1C01}
        assert owner.ask("DELETE", f"/guests/{guest.id}").is_success
        assert rights(owner, "calendar") == {}

    def test_a_guest_does_not_log_in(self, cells: Cells) -> None:
        guest = Box(cells.by_code["fi-hel-1"])
        introduce(guest, cells.by_code["de-fra-1"])
        guest.cell = cells.by_code["de-fra-1"]
        with pytest.raises(Exception, match="AUTHENTICATIONFAILED"), guest.imap():
            pass
        assert guest.dav("PROPFIND", f"{guest.id}/Calendar/").status_code == 401

    def test_an_unknown_grantee_is_refused(self, owner: Box) -> None:
        for path in ("folders/inbox/rights/box_nobody", "grants/send_as/box_nobody"):
            answer = owner.ask("PUT", f"/boxes/{owner.id}/{path}", {"mask": READER})
            assert (answer.status_code, answer.json()["code"]) == (409, "unknown_grantee")


class TestAddresses:
    def test_an_address_of_another_mailbox_is_taken(self, cells: Cells, owner: Box) -> None:
        other = Box(cells.by_code["de-fra-1"])
        spec = {**other.spec, "addresses": [other.address, owner.address]}
        answer = other.ask("PUT", f"/mailboxes/{other.mailbox_id}", {"spec": spec, "password_hash": None})
        assert (answer.status_code, answer.json()["code"]) == (409, "address_taken")
        assert other.report()["spec"]["addresses"] == [other.address]

    def test_a_new_primary_address_keeps_mail_calendars_and_shares(self, owner: Box, grantee: Box) -> None:
        owner.allow("inbox", grantee, READER)
        with owner.imap() as client:
            mail.append(client, mail.letter("bleibt", sender=owner.address, to=owner.address))
        old, owner.address = owner.address, f"neu.{owner.address}"
        owner.put(addresses=[owner.address, old])
        assert owner.inbox() == ["bleibt"]
        assert rights(owner, "inbox") == {grantee.id: READER}
        with grantee.imap() as client:
            assert f"shared/{owner.address}" in mail.folders(client)
            assert f"shared/{old}" not in mail.folders(client)
        assert owner.dav("PROPFIND", f"{owner.id}/Calendar/personal/", depth="0").status_code == 207

    def test_nothing_is_left_of_what_was_purged(self, owner: Box, grantee: Box) -> None:
        owner.grant("full_access", grantee)
        grantee.allow("calendar", owner, 0x1C01)
        assert (owner.cell.mail / owner.id).exists()
        assert owner.ask("POST", f"/boxes/{owner.id}/purge").is_success
        assert not (owner.cell.mail / owner.id).exists()
        assert rights(grantee, "calendar") == {}
        with grantee.imap() as client:
            assert not [each for each in mail.folders(client) if owner.address in each]
