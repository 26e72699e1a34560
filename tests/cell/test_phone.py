"""Mail, calendar, contacts and tasks on a phone, and the same in every other program of its user."""

import pytest

from tests.cell.activesync import OK, FolderKind
from tests.cell.groupware import card, event, new_uid, task
from tests.cell.mail import letter, subjects
from tests.cell.office import Office, Person
from tests.cell.wbxml import element
from tests.waiting import next_second, until


@pytest.fixture(scope="module")
def anna(office: Office) -> Person:
    return office.order("anna")


@pytest.fixture(scope="module")
def bernd(office: Office) -> Person:
    return office.order("bernd")


class TestMail:
    def test_what_comes_is_shown(self, anna: Person, bernd: Person) -> None:
        phone = anna.phone()
        inbox = phone.folder(FolderKind.INBOX).id
        phone.pull(inbox)
        bernd.write(anna, "Frist läuft ab")
        until(lambda: "Frist läuft ab" in [each.get("Email:Subject") for each in phone.pull(inbox)])

    def test_what_is_sent_arrives_and_stays_in_sent(self, anna: Person, bernd: Person) -> None:
        phone = anna.phone()
        phone.send(letter("Vom Telefon", sender=anna.address, to=bernd.address).as_bytes())
        until(lambda: "Vom Telefon" in bernd.inbox())
        sent = phone.folder(FolderKind.SENT).id
        assert "Vom Telefon" in [each.get("Email:Subject") for each in phone.pull(sent)]

    def test_what_is_deleted_on_the_phone_goes_to_the_trash(self, anna: Person, bernd: Person) -> None:
        bernd.write(anna, "Werbung")
        until(lambda: "Werbung" in anna.inbox())
        phone = anna.phone()
        phone.delete(phone.folder(FolderKind.INBOX).id, "Email:Subject", "Werbung")
        with anna.imap() as client:
            assert subjects(client, "Trash") == ["Werbung"]
            client.select("INBOX", readonly=True)
            # SOGo leaves it there marked as deleted until the folder is next tidied.
            assert client.search(None, "UNDELETED", "SUBJECT", "Werbung")[1] == [b""]


class TestCalendar:
    def test_an_appointment_made_elsewhere_is_shown(self, anna: Person) -> None:
        dav = anna.dav()
        dav.put(dav.own("personal"), "mandant.ics", event(new_uid(), "Mandant Schulze"))
        phone = anna.phone()
        shown = phone.pull(phone.folder(FolderKind.CALENDAR).id)
        assert "Mandant Schulze" in [each.get("Calendar:Subject") for each in shown]

    def test_an_appointment_made_on_the_phone_is_in_the_calendar(self, anna: Person) -> None:
        phone, dav = anna.phone(), anna.dav()
        uid = new_uid()
        status = phone.add(
            phone.folder(FolderKind.CALENDAR).id,
            element("Calendar:DtStamp", "20261118T080000Z"),
            element("Calendar:StartTime", "20261119T090000Z"),
            element("Calendar:EndTime", "20261119T100000Z"),
            element("Calendar:Subject", "Gerichtstermin"),
            element("Calendar:UID", uid),
        )
        assert status == OK
        calendar = dav.own("personal")
        texts = [dav.get(calendar, name) or "" for name in dav.names(calendar)]
        assert any("SUMMARY:Gerichtstermin" in text for text in texts)

    def test_an_appointment_deleted_elsewhere_vanishes(self, anna: Person) -> None:
        phone, dav = anna.phone(), anna.dav()
        calendar = dav.own("personal")
        dav.put(calendar, "weg.ics", event(new_uid(), "Abgesagt"))
        folder = phone.folder(FolderKind.CALENDAR).id
        assert "Abgesagt" in [each.get("Calendar:Subject") for each in phone.pull(folder)]
        next_second()
        dav.delete(calendar, "weg.ics")
        assert "Abgesagt" not in [each.get("Calendar:Subject") for each in phone.pull(folder)]


class TestContacts:
    def test_a_contact_made_elsewhere_is_shown(self, anna: Person) -> None:
        dav = anna.dav()
        book = dav.own("personal", "a:addressbook-home-set")
        dav.put(book, "karin.vcf", card(new_uid(), "Karin", "Vogt", "karin@vogt.example"))
        phone = anna.phone()
        shown = phone.pull(phone.folder(FolderKind.CONTACTS).id)
        assert ("Karin", "Vogt") in [(each.get("Contacts:FirstName"), each.get("Contacts:LastName")) for each in shown]

    def test_a_contact_made_on_the_phone_is_in_the_address_book(self, anna: Person) -> None:
        phone, dav = anna.phone(), anna.dav()
        status = phone.add(
            phone.folder(FolderKind.CONTACTS).id,
            element("Contacts:FirstName", "Olaf"),
            element("Contacts:LastName", "Brandt"),
            element("Contacts:Email1Address", "olaf@brandt.example"),
        )
        assert status == OK
        book = dav.own("personal", "a:addressbook-home-set")
        texts = [dav.get(book, name) or "" for name in dav.names(book)]
        assert any("olaf@brandt.example" in text for text in texts)


class TestTasks:
    def test_a_task_made_elsewhere_is_shown(self, anna: Person) -> None:
        dav = anna.dav()
        dav.put(dav.own("tasks"), "fax.ics", task(new_uid(), "Fax schicken"))
        phone = anna.phone()
        lists = [each.id for each in phone.folders() if each.kind in (FolderKind.TASKS, FolderKind.OTHER_TASKS)]
        shown = [each.get("Tasks:Subject") for folder in lists for each in phone.pull(folder)]
        assert "Fax schicken" in shown

    def test_a_task_made_on_the_phone_is_in_a_task_list(self, anna: Person) -> None:
        phone, dav = anna.phone(), anna.dav()
        status = phone.add(
            phone.folder(FolderKind.TASKS).id,
            element("Tasks:Subject", "Akte kopieren"),
            element("Tasks:Complete", "0"),
        )
        assert status == OK
        texts = [dav.get(path, name) or "" for path in dav.collections() for name in dav.names(path)]
        assert any("SUMMARY:Akte kopieren" in text for text in texts)
