"""Suspended, given a new password, deleted, brought back, erased: what each means to a program that is open."""

import imaplib
import smtplib
from pathlib import Path

import httpx
import pytest

from tests.cell.activesync import FIRST_KEY
from tests.cell.groupware import event, new_uid
from tests.cell.mail import append, folders, letter, subjects
from tests.cell.office import Office, Person
from tests.cell.wbxml import element
from tests.waiting import until

SYNC = element("FolderHierarchy:FolderSync", element("FolderHierarchy:SyncKey", FIRST_KEY))


def is_cut(client: imaplib.IMAP4) -> bool:
    try:
        client.noop()
    except (imaplib.IMAP4.abort, OSError):
        return True
    return False


@pytest.fixture(scope="module")
def sender(office: Office) -> Person:
    return office.order("absender")


@pytest.fixture
def person(office: Office, request: pytest.FixtureRequest) -> Person:
    return office.order(f"wer-{abs(hash(request.node.name)) % 10**8}")


class TestSuspension:
    def test_an_open_connection_is_cut(self, person: Person) -> None:
        with person.imap() as client:
            assert not is_cut(client)
            person.act("suspend")
            until(lambda: is_cut(client), 5)

    def test_nothing_opens_it_and_mail_keeps_arriving(self, person: Person, sender: Person) -> None:
        dav, phone = person.dav(), person.phone()
        assert dav.status() == httpx.codes.MULTI_STATUS
        person.act("suspend")
        assert person.view()["state"] == "suspended"
        with pytest.raises(imaplib.IMAP4.error), person.imap():
            pass
        assert dav.status() == httpx.codes.UNAUTHORIZED
        assert phone.post("FolderSync", SYNC).status_code == httpx.codes.UNAUTHORIZED
        with pytest.raises(smtplib.SMTPException):
            person.write(sender, "Trotzdem")
        sender.write(person, "Mahnung")
        person.act("resume")
        until(lambda: person.inbox() == ["Mahnung"])
        assert dav.status() == httpx.codes.MULTI_STATUS
        assert "Trotzdem" not in sender.inbox()


class TestPasswords:
    def test_the_new_one_opens_at_once_and_the_old_one_does_not(self, person: Person) -> None:
        old, before = person.dav(), person.password
        assert old.status() == httpx.codes.MULTI_STATUS
        person.set_password("Neu-und-lang-genug-7")
        assert person.dav().status() == httpx.codes.MULTI_STATUS
        assert old.status() == httpx.codes.UNAUTHORIZED
        assert person.inbox() == []
        with (
            pytest.raises(imaplib.IMAP4.error),
            Person(person.office, person.id, person.address, before, person.cell).imap(),
        ):
            pass


class TestDeletion:
    def test_a_deleted_mailbox_takes_no_mail_and_comes_back_with_everything(
        self, person: Person, sender: Person
    ) -> None:
        dav = person.dav()
        dav.put(dav.own("personal"), "termin.ics", event(new_uid(), "Termin"))
        with person.imap() as client:
            client.create("Akten")
            append(client, letter("Akte", sender=person.address, to=person.address), "Akten")
        assert person.act("delete")["state"] == "deleted"
        with pytest.raises(imaplib.IMAP4.error), person.imap():
            pass
        assert dav.status() == httpx.codes.UNAUTHORIZED
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="550"):
            sender.write(person, "Zu spät")
        assert person.act("restore")["state"] == "active"
        with person.imap() as client:
            assert subjects(client, "Akten") == ["Akte"]
            assert subjects(client) == []
        assert "SUMMARY:Termin" in (dav.get(dav.own("personal"), "termin.ics") or "")

    def test_a_purged_mailbox_leaves_nothing_on_the_disk_and_nothing_with_others(
        self, person: Person, office: Office
    ) -> None:
        owner = office.order(f"besitzer-{person.id[-8:].lower()}")
        owner.share("calendar", person, "read_write")
        owner.share("mailbox", person, "read_write")
        with person.imap() as client:
            append(client, letter("Geheimnis-im-Klartext", sender=person.address, to=person.address))
        mail = person.cell.mail
        assert holds(mail, b"Geheimnis-im-Klartext")
        person.act("delete")
        office.api.call("POST", f"/mailboxes/{person.id}/purge")
        until(lambda: not holds(mail, b"Geheimnis-im-Klartext"))
        assert office.api.call("GET", f"/mailboxes/{owner.id}/shares")["items"] == []
        again = office.order(person.address.partition("@")[0])
        assert again.inbox() == []
        with again.imap() as client:
            assert [name for name in folders(client) if name.startswith("shared/")] == []
        assert again.dav().shared() == []


def holds(folder: Path, text: bytes) -> bool:
    """Whether any file below has this text in it."""
    for path in folder.rglob("*"):
        try:
            if path.is_file() and text in path.read_bytes():
                return True
        except FileNotFoundError:  # it went while we looked
            continue
    return False


class TestAddresses:
    def test_mail_to_an_alias_arrives_until_it_is_given_up(self, person: Person, sender: Person) -> None:
        alias = f"info-{person.id[-8:].lower()}@{person.office.domain}"
        person.office.api.call("PUT", f"/mailboxes/{person.id}/aliases/{alias}")
        sender.write(alias, "An den Alias")
        until(lambda: person.inbox() == ["An den Alias"])
