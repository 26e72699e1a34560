"""Who may open what of whose mailbox: judged by the owner's store, since a server that refuses may well say OK."""

import imaplib

import pytest

from tests.cell.activesync import FolderKind, Phone
from tests.cell.groupware import Dav, card, event, new_uid, task
from tests.cell.mail import append, folders, letter, subjects
from tests.cell.office import Office, Person, office_of
from tests.cells import CODES
from tests.waiting import next_second, until

BOOKS = "a:addressbook-home-set"


@pytest.fixture(scope="module")
def boss(office: Office) -> Person:
    person = office.order("chefin")
    dav = person.dav()
    dav.put(dav.own("personal"), "verhandlung.ics", event(new_uid(), "Verhandlung"))
    dav.put(dav.own("personal"), "arzt.ics", event(new_uid(), "Arzt", private=True))
    dav.put(dav.own("tasks"), "plan.ics", task(new_uid(), "Urlaubsplan"))
    dav.put(dav.own("personal", BOOKS), "notar.vcf", card(new_uid(), "Nora", "Notar", "nora@notar.example"))
    with person.imap() as client:
        append(client, letter("Vertraulich", sender=person.address, to=person.address))
    return person


@pytest.fixture(scope="module")
def secretary(office: Office, boss: Person) -> Person:
    person = office.order("sekretariat")
    boss.share("calendar", person, "read_write")
    return person


@pytest.fixture(scope="module")
def trainee(office: Office, boss: Person) -> Person:
    person = office.order("azubi")
    boss.share("calendar", person, "read")
    return person


@pytest.fixture(scope="module")
def stranger(office: Office) -> Person:
    return office.order("empfang")


def calendar_in(dav: Dav) -> str:
    """The one calendar of somebody else's that a client is shown."""
    [path] = dav.shared()
    return path


def shared_calendars(phone: Phone) -> list[str]:
    """Those of others: a task list of one's own is a calendar to a phone as well."""
    others = [each.id for each in phone.folders() if each.kind == FolderKind.OTHER_CALENDAR]
    return [each for each in others if each.endswith("_personal")]


def is_shut(client: imaplib.IMAP4, folder: str) -> bool:
    """Whether a folder cannot be opened, or the connection was cut."""
    try:
        return client.select(f'"{folder}"', readonly=True)[0] == "NO"
    except imaplib.IMAP4.abort:
        return True


def shared_folders(person: Person) -> list[str]:
    """What a mail program that starts now shows of others' mailboxes."""
    with person.imap() as client:
        return [name for name in folders(client) if name.startswith("shared/")]


def store(boss: Person, collection: str = "personal", kind: str = "c:calendar-home-set") -> set[str]:
    """What really lies in the owner's collection."""
    dav = boss.dav()
    return dav.names(dav.own(collection, kind))


class TestTheBossesCalendar:
    def test_the_trainee_reads_it(self, trainee: Person) -> None:
        dav = trainee.dav()
        path = calendar_in(dav)
        assert "SUMMARY:Verhandlung" in (dav.get(path, "verhandlung.ics") or "")

    def test_the_trainee_changes_nothing_in_it(self, boss: Person, trainee: Person) -> None:
        dav = trainee.dav()
        path = calendar_in(dav)
        before = store(boss)
        dav.put(path, "neu.ics", event(new_uid(), "Vom Azubi"))
        dav.delete(path, "verhandlung.ics")
        assert store(boss) == before

    def test_a_private_appointment_is_no_more_than_a_busy_time_to_the_trainee(self, trainee: Person) -> None:
        dav = trainee.dav()
        assert "SUMMARY:Arzt" not in (dav.get(calendar_in(dav), "arzt.ics") or "")

    def test_the_secretary_adds_to_it(self, boss: Person, secretary: Person) -> None:
        dav = secretary.dav()
        dav.put(calendar_in(dav), "besprechung.ics", event(new_uid(), "Besprechung"))
        own = boss.dav()
        assert "SUMMARY:Besprechung" in (own.get(own.own("personal"), "besprechung.ics") or "")

    def test_the_secretary_deletes_from_it(self, boss: Person, secretary: Person) -> None:
        own, dav = boss.dav(), secretary.dav()
        own.put(own.own("personal"), "alt.ics", event(new_uid(), "Erledigt"))
        dav.delete(calendar_in(dav), "alt.ics")
        assert "alt.ics" not in store(boss)

    def test_it_is_on_the_secretarys_phone(self, boss: Person, secretary: Person) -> None:
        phone = secretary.phone()
        [calendar] = shared_calendars(phone)
        assert "Verhandlung" in [each.get("Calendar:Subject") for each in phone.pull(calendar)]
        next_second()
        own = boss.dav()
        own.put(own.own("personal"), "spontan.ics", event(new_uid(), "Spontan"))
        assert "Spontan" in [each.get("Calendar:Subject") for each in phone.pull(calendar)]

    def test_nobody_else_sees_it(self, boss: Person, stranger: Person) -> None:
        dav = stranger.dav()
        assert dav.shared() == []
        assert shared_calendars(stranger.phone()) == []
        own = boss.dav()
        assert dav.get(own.own("personal"), "verhandlung.ics") is None

    def test_a_reader_cannot_grant_himself_more(self, boss: Person, trainee: Person) -> None:
        dav = trainee.dav()
        path = calendar_in(dav)
        roles = f'<set-roles user="{trainee.address}"><PublicModifier/><ObjectCreator/></set-roles>'
        body = f'<?xml version="1.0"?><acl-query xmlns="urn:inverse:params:xml:ns:inverse-dav">{roles}</acl-query>'
        for method in ("POST", "REPORT"):
            dav.request(method, path, body)
        before = store(boss)
        dav.put(path, "erschlichen.ics", event(new_uid(), "Erschlichen"))
        assert store(boss) == before


class TestTheEndOfAShare:
    def test_what_is_revoked_is_gone_everywhere_within_seconds(self, office: Office, boss: Person) -> None:
        person = office.order("vertretung")
        boss.share("calendar", person, "read_write")
        boss.share("inbox", person, "read")
        dav, phone = person.dav(), person.phone()
        path = calendar_in(dav)
        assert dav.get(path, "verhandlung.ics") is not None
        assert len(shared_calendars(phone)) == 1
        with person.imap() as client:
            [inbox] = [name for name in folders(client) if name.startswith("shared/")]
            assert "Vertraulich" in subjects(client, inbox)
            boss.revoke("calendar", person)
            boss.revoke("inbox", person)
            until(lambda: dav.get(path, "verhandlung.ics") is None, 5)
            until(lambda: is_shut(client, inbox), 5)
        with person.imap() as client:
            assert is_shut(client, inbox)
        until(lambda: shared_calendars(phone) == [], 5)
        until(lambda: dav.shared() == [], 5)
        before = store(boss)
        dav.put(path, "nachtrag.ics", event(new_uid(), "Nachtrag"))
        assert store(boss) == before

    def test_less_is_less_at_once(self, office: Office, boss: Person) -> None:
        person = office.order("praktikum")
        boss.share("calendar", person, "read_write")
        dav = person.dav()
        path = calendar_in(dav)
        dav.put(path, "erlaubt.ics", event(new_uid(), "Erlaubt"))
        assert "erlaubt.ics" in store(boss)
        boss.share("calendar", person, "read")
        dav.put(path, "verboten.ics", event(new_uid(), "Verboten"))
        assert "verboten.ics" not in store(boss)
        assert dav.get(path, "verhandlung.ics") is not None


class TestOtherScopes:
    def test_contacts_read_only_and_then_editable(self, office: Office, boss: Person) -> None:
        person = office.order("adressen")
        boss.share("contacts", person, "read")
        dav, own = person.dav(), boss.dav()
        mine = own.own("personal", BOOKS)
        [path] = dav.shared("contacts")
        assert "nora@notar.example" in (dav.get(path, "notar.vcf") or "")
        dav.put(path, "neu.vcf", card(new_uid(), "Neu", "Nein", "neu@nein.example"))
        assert "neu.vcf" not in own.names(mine)
        boss.share("contacts", person, "read_write")
        dav.put(path, "neu.vcf", card(new_uid(), "Neu", "Ja", "neu@ja.example"))
        assert "neu.vcf" in own.names(mine)

    def test_tasks_without_the_calendar(self, office: Office, boss: Person) -> None:
        person = office.order("aufgaben")
        boss.share("tasks", person, "read_write")
        dav = person.dav()
        [path] = dav.shared("tasks")
        assert dav.shared() == []
        assert "SUMMARY:Urlaubsplan" in (dav.get(path, "plan.ics") or "")
        dav.put(path, "neu.ics", task(new_uid(), "Blumen"))
        assert "neu.ics" in store(boss, "tasks")

    def test_an_inbox_is_read_and_not_written(self, office: Office, boss: Person) -> None:
        person = office.order("leser", service_class="imap")
        boss.share("inbox", person, "read")
        with person.imap() as client:
            [inbox] = [name for name in folders(client) if name.startswith("shared/")]
            assert "Vertraulich" in subjects(client, inbox)
            before = boss.inbox()
            append(client, letter("Untergeschoben", sender=person.address, to=boss.address), inbox)
            client.select(f'"{inbox}"')
            client.store("1", "+FLAGS", r"(\Deleted)")
            client.expunge()
        assert boss.inbox() == before

    def test_a_whole_mailbox_with_folders_made_later_and_nothing_after(self, office: Office, boss: Person) -> None:
        person = office.order("kanzleileitung")
        boss.share("mailbox", person, "read_write")
        with boss.imap() as client:
            client.create("Akten")
            append(client, letter("Akte Meier", sender=boss.address, to=boss.address), "Akten")
        akten = f"shared/{boss.address}/Akten"
        until(lambda: akten in shared_folders(person), 5)
        with person.imap() as client:
            assert subjects(client, akten) == ["Akte Meier"]
            append(client, letter("Akte Schmidt", sender=person.address, to=boss.address), akten)
        with boss.imap() as client:
            assert subjects(client, "Akten") == ["Akte Meier", "Akte Schmidt"]
        boss.revoke("mailbox", person)
        assert shared_folders(person) == []

    def test_a_share_with_another_customers_mailbox_is_refused(self, office: Office, boss: Person) -> None:
        with office_of(office.api, office.cells, name="Praxis Dr. Baum") as practice:
            doctor = practice.order("doktor", wait=False)
            answer = office.api.bare("PUT", f"/mailboxes/{boss.id}/shares/calendar/{doctor.id}", {"access": "read"})
        assert (answer.status_code, answer.json()["code"]) == (409, "share_across_customers")

    def test_a_share_over_two_data_centres_says_when_it_will_open(self, office: Office, boss: Person) -> None:
        person = office.order("helsinki", at=CODES[1])
        boss.share("calendar", person, "read")
        assert person.dav().shared() == []
        found = office.api.call("GET", "/operations", mailbox=boss.id, limit=200)["items"]
        details = [step["detail"] for each in found for step in each["steps"]]
        assert "kept, and open once both mailboxes are in one data centre" in details


class TestSending:
    def test_who_may_send_as_another_does(self, office: Office, boss: Person, secretary: Person) -> None:
        boss.share("send_as", secretary)
        to = office.order("gericht")
        secretary.submit(letter("Im Namen der Chefin", sender=boss.address, to=to.address))
        until(lambda: to.inbox() == ["Im Namen der Chefin"])

    def test_who_may_not_is_refused(self, office: Office, boss: Person, stranger: Person) -> None:
        to = office.order("gegenseite")
        with pytest.raises(Exception, match=r"5\d\d"):  # what smtplib raises depends on when it is refused
            stranger.submit(letter("Gefälscht", sender=boss.address, to=to.address))
        stranger.write(to, "Echt")
        until(lambda: to.inbox() == ["Echt"])
