"""From one data centre to the other and back, with everything in it, while mail keeps coming."""

import imaplib
from threading import Event, Thread

import pytest

from tests.cell.groupware import card, event, new_uid, task
from tests.cell.mail import append, folders, letter, subjects, uid_validity, uids
from tests.cell.office import Office, Person
from tests.waiting import until

HERE, THERE = "de-fra-1", "fi-hel-1"
BOOKS = "a:addressbook-home-set"
# Postfix remembers for half a minute where an address lay, and asks again with ever longer pauses.
LATE_SECONDS = 150


@pytest.fixture(scope="module")
def sender(office: Office) -> Person:
    return office.order("korrespondenz")


@pytest.fixture(scope="module")
def secretary(office: Office) -> Person:
    return office.order("vorzimmer")


@pytest.fixture(scope="module")
def moved(office: Office, sender: Person, secretary: Person) -> Person:
    """Furnished, shared, moved to the other cell while mail was coming, with what it had before as `before`."""
    person = office.order("umzug")
    dav = person.dav()
    dav.put(dav.own("personal"), "termin.ics", event(new_uid(), "Termin"))
    dav.put(dav.own("tasks"), "kisten.ics", task(new_uid(), "Kisten packen"))
    dav.put(dav.own("personal", BOOKS), "spedition.vcf", card(new_uid(), "Sven", "Spediteur", "sven@kiste.example"))
    with person.imap() as client:
        client.create("Akten")
        for number in range(40):
            append(client, letter(f"Akte {number}", sender=person.address, to=person.address), "Akten")
        client.select("Akten")
        client.store("1:10", "+FLAGS", r"(\Deleted)")
        client.expunge()
        BEFORE["Akten"] = (uid_validity(client, "Akten"), uids(client, "Akten"))
    person.share("calendar", secretary, "read_write")
    person.share("mailbox", secretary, "read_write")
    stop = Event()
    sent: list[str] = []

    def keep_writing() -> None:
        while not stop.wait(0.2):
            subject = f"Brief {len(sent)}"
            sender.write(person, subject)
            sent.append(subject)

    thread = Thread(target=keep_writing)
    thread.start()
    try:
        person.move(THERE)
        until(lambda: len(sent) > 3)
    finally:
        stop.set()
        thread.join()
    SENT.extend(sent)
    return person


BEFORE: dict[str, tuple[bytes, list[tuple[int, str]]]] = {}
SENT: list[str] = []


def test_it_opens_there_and_not_here_any_more(moved: Person) -> None:
    assert moved.view()["location"] == THERE
    assert isinstance(moved.inbox(), list)
    stranger = Person(moved.office, moved.id, moved.address, moved.password, moved.office.cells.by_code[HERE])
    with pytest.raises(imaplib.IMAP4.error), stranger.imap():
        pass


def test_uids_and_their_validity_are_the_same(moved: Person) -> None:
    with moved.imap() as client:
        assert (uid_validity(client, "Akten"), uids(client, "Akten")) == BEFORE["Akten"]


def test_calendar_contacts_and_tasks_are_the_same(moved: Person) -> None:
    dav = moved.dav()
    assert "SUMMARY:Termin" in (dav.get(dav.own("personal"), "termin.ics") or "")
    assert "SUMMARY:Kisten packen" in (dav.get(dav.own("tasks"), "kisten.ics") or "")
    assert "sven@kiste.example" in (dav.get(dav.own("personal", BOOKS), "spedition.vcf") or "")


def test_nothing_of_it_is_left_where_it_was(moved: Person) -> None:
    home = moved.office.cells.by_code[HERE].mail
    assert not any(b"Akte 20" in path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_colleagues_still_write_to_it_and_it_to_them(moved: Person, sender: Person) -> None:
    sender.write(moved, "Angekommen?")
    until(lambda: "Angekommen?" in moved.inbox(), LATE_SECONDS)
    moved.write(sender, "Ja")
    until(lambda: "Ja" in sender.inbox())


def test_its_shares_open_once_both_are_in_one_data_centre(moved: Person, secretary: Person) -> None:
    assert secretary.dav().shared() == []
    secretary.move(THERE)
    dav = secretary.dav()
    until(lambda: len(dav.shared()) == 1)
    [path] = dav.shared()
    dav.put(path, "gemeinsam.ics", event(new_uid(), "Gemeinsam"))
    own = moved.dav()
    assert "gemeinsam.ics" in own.names(own.own("personal"))
    with secretary.imap() as client:
        [akten] = [name for name in folders(client) if name.startswith("shared/") and name.endswith("Akten")]
        assert "Akte 20" in subjects(client, akten)


def test_every_mail_that_came_meanwhile_arrives_once(moved: Person) -> None:
    until(lambda: set(SENT) <= set(moved.inbox()), LATE_SECONDS)
    came = [subject for subject in moved.inbox() if subject.startswith("Brief")]
    assert sorted(came) == sorted(SENT)


def test_it_comes_back_as_it_went(moved: Person) -> None:
    moved.move(HERE)
    with moved.imap() as client:
        assert (uid_validity(client, "Akten"), uids(client, "Akten")) == BEFORE["Akten"]
    dav = moved.dav()
    assert "SUMMARY:Termin" in (dav.get(dav.own("personal"), "termin.ics") or "")
