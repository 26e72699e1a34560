"""What a class includes answers, and what it does not is refused, whoever asks with which program."""

import imaplib
import poplib
import smtplib

import httpx
import pytest

from tests.cell.activesync import FIRST_KEY, FolderKind, Phone
from tests.cell.mail import letter, subjects
from tests.cell.office import Office, Person
from tests.cell.wbxml import element
from tests.cells import CODES
from tests.waiting import until

SYNC = element("FolderHierarchy:FolderSync", element("FolderHierarchy:SyncKey", FIRST_KEY))


def activesync_status(phone: Phone) -> int:
    return phone.post("FolderSync", SYNC).status_code


@pytest.fixture(scope="module")
def post(office: Office) -> Person:
    return office.order("post", service_class="pop3")


@pytest.fixture(scope="module")
def archive(office: Office) -> Person:
    return office.order("ablage", service_class="imap")


@pytest.fixture(scope="module")
def chef(office: Office) -> Person:
    return office.order("chef")


class TestPop3:
    def test_its_mail_is_fetched(self, post: Person, chef: Person) -> None:
        chef.write(post, "Für POP3")
        until(lambda: post.pop3() == ["Für POP3"])

    def test_it_is_refused_on_imap_with_a_reason(self, post: Person) -> None:
        with pytest.raises(imaplib.IMAP4.error, match="does not include this protocol"), post.imap():
            pass

    def test_it_is_refused_by_calendars_and_phones(self, post: Person) -> None:
        assert post.dav().status() == httpx.codes.UNAUTHORIZED
        assert activesync_status(post.phone()) == httpx.codes.UNAUTHORIZED

    def test_it_sends(self, post: Person, chef: Person) -> None:
        post.write(chef, "Von POP3")
        until(lambda: "Von POP3" in chef.inbox())


class TestImap:
    def test_all_its_folders_are_there(self, archive: Person) -> None:
        with archive.imap() as client:
            assert client.create("Akten")[0] == "OK"
            client.append("Akten", "", "", letter("Akte 1", sender=archive.address, to=archive.address).as_bytes())
            assert subjects(client, "Akten") == ["Akte 1"]

    def test_it_is_let_in_by_pop3_too(self, archive: Person) -> None:
        assert isinstance(archive.pop3(), list)

    def test_it_is_refused_by_calendars_and_phones(self, archive: Person) -> None:
        assert archive.dav().status() == httpx.codes.UNAUTHORIZED
        assert activesync_status(archive.phone()) == httpx.codes.UNAUTHORIZED


class TestExchange:
    def test_everything_answers(self, chef: Person) -> None:
        assert isinstance(chef.inbox(), list)
        assert isinstance(chef.pop3(), list)
        assert chef.dav().status() == httpx.codes.MULTI_STATUS
        assert activesync_status(chef.phone()) == httpx.codes.OK

    def test_the_protocols_it_speaks_are_announced(self, chef: Person) -> None:
        assert "14.1" in chef.phone().options().headers["MS-ASProtocolVersions"]

    def test_a_phone_is_shown_the_standard_folders(self, chef: Person) -> None:
        kinds = {each.kind for each in chef.phone().folders()}
        assert kinds >= {FolderKind.INBOX, FolderKind.CALENDAR, FolderKind.CONTACTS, FolderKind.TASKS, FolderKind.SENT}

    def test_a_wrong_password_opens_nothing(self, chef: Person) -> None:
        guesser = Person(chef.office, chef.id, chef.address, "geraten", chef.cell)
        with pytest.raises(imaplib.IMAP4.error), guesser.imap():
            pass
        with pytest.raises(poplib.error_proto):
            guesser.pop3()
        with pytest.raises(smtplib.SMTPAuthenticationError):
            guesser.write(chef, "Von irgendwem")
        assert guesser.dav().status() == httpx.codes.UNAUTHORIZED
        assert activesync_status(guesser.phone()) == httpx.codes.UNAUTHORIZED
        guesser.close()


class TestChanges:
    def test_a_greater_class_opens_at_once_and_a_lesser_one_shuts(self, office: Office) -> None:
        person = office.order("wechsel", service_class="imap")
        assert person.dav().status() == httpx.codes.UNAUTHORIZED
        person.change(service_class="exchange")
        assert person.dav().status() == httpx.codes.MULTI_STATUS
        assert activesync_status(person.phone()) == httpx.codes.OK
        person.change(service_class="pop3")
        assert person.dav().status() == httpx.codes.UNAUTHORIZED
        assert activesync_status(person.phone()) == httpx.codes.UNAUTHORIZED
        with pytest.raises(imaplib.IMAP4.error), person.imap():
            pass
        assert person.pop3() == []

    def test_a_protocol_can_be_taken_from_a_class(self, office: Office) -> None:
        person = office.order("nurtelefon", protocols=["activesync", "smtp"])
        assert activesync_status(person.phone()) == httpx.codes.OK
        with pytest.raises(imaplib.IMAP4.error), person.imap():
            pass
        assert person.dav().status() == httpx.codes.UNAUTHORIZED

    @pytest.mark.parametrize("code", CODES)
    def test_a_mailbox_opens_in_the_country_it_was_ordered_for_and_only_there(self, office: Office, code: str) -> None:
        person = office.order(f"ort-{code}", at=code)
        assert person.inbox() == []
        elsewhere = next(office.cells.by_code[each] for each in CODES if each != code)
        stranger = Person(office, person.id, person.address, person.password, elsewhere)
        with pytest.raises(imaplib.IMAP4.error), stranger.imap():
            pass
        assert person.view()["location"] == code

    def test_the_quota_is_what_was_ordered(self, office: Office) -> None:
        person = office.order("klein", service_class="imap", quota_mib=100)
        with person.imap() as client:
            assert b"102400" in b" ".join(client.getquotaroot("INBOX")[1][1])  # in KiB
        person.change(quota_mib=200)
        with person.imap() as client:
            assert b"204800" in b" ".join(client.getquotaroot("INBOX")[1][1])
