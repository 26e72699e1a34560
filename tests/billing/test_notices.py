"""Notices: what they say, in which language, and that each is mailed once at most, whatever a mail server does."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import date, timedelta
from email.message import EmailMessage

import pytest
from sqlalchemy import text

from billing.dunning_models import Delivery, Notice
from billing.gateways.smtp import Mailer, open_mailer
from billing.notice_texts import LANGUAGES, NoticeKind, Owed, Payee, dunning_text, language_for, resumption_text
from billing.notices import RETRY_MINUTES, Letterhead, due_notices, list_notices, send_notice
from provisioning.core.database import Database
from tests.billing.dunning_world import DUE, Arrears
from tests.billing.ledger_factory import ISSUER
from tests.billing.mail_server import MailServer, mail_server

pytestmark = pytest.mark.anyio

PAYEE = Payee("Postfachwerk Betrieb GmbH", "DE02120300000000202051", "BYLADEM1001", "rechnung@postfachwerk.example")
OWED = Owed(
    kind=NoticeKind.SECOND_DUNNING,
    number="PF-2026-000042",
    issued_on=date(2026, 12, 1),
    due_on=date(2026, 12, 15),
    amount_cents=123_456,
    owed_cents=100_000,
    fees_cents=850,
    fee_cents=500,
    pay_by_on=date(2027, 1, 13),
    suspends_on=date(2027, 1, 14),
)
STEPS = [kind for kind in NoticeKind if kind is not NoticeKind.RESUMPTION]


class TestTexts:
    def test_a_german_one_names_all_that_is_needed_to_pay(self) -> None:
        text_ = dunning_text("de", OWED, PAYEE)
        assert text_.subject == "2. Mahnung zur Rechnung PF-2026-000042"
        for part in (
            "vom 01.12.2026 über 1.234,56 €",
            "bis zum 13.01.2027",
            "ab dem 14.01.2027",
            "berechnen wir 5,00 €",
            "Offen aus der Rechnung: 1.000,00 €",
            "Mahnkosten und Gebühren: 8,50 €",
            "Zu zahlen: 1.008,50 €",
            "IBAN: DE02 1203 0000 0000 2020 51",
            "Verwendungszweck: PF-2026-000042",
        ):
            assert part in text_.body

    def test_an_english_one_says_the_same(self) -> None:
        text_ = dunning_text("en", OWED, PAYEE)
        assert text_.subject == "Second dunning notice for invoice PF-2026-000042"
        for part in ("of 1 Dec 2026 over €1,234.56", "by 13 Jan 2027", "from 14 Jan 2027", "To be paid: €1,008.50"):
            assert part in text_.body

    @pytest.mark.parametrize("kind", STEPS)
    @pytest.mark.parametrize("language", LANGUAGES)
    def test_none_leaves_a_gap_or_speaks_of_a_fee_that_is_none(self, kind: NoticeKind, language: str) -> None:
        owed = Owed(kind, "PF-1", DUE, DUE, 100, 100, 0, 0, DUE, None)
        body = dunning_text("de" if language == "de" else "en", owed, PAYEE).body
        assert not set("{}") & set(body)
        assert "None" not in body
        assert "Schadensersatz" not in body
        assert "damages" not in body

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_the_one_of_a_suspension_says_that_mail_keeps_arriving(self, language: str) -> None:
        owed = Owed(NoticeKind.SUSPENSION, "PF-1", DUE, DUE, 100, 100, 0, 0, DUE, None)
        body = dunning_text("de" if language == "de" else "en", owed, PAYEE).body
        assert ("Eingehende Nachrichten werden weiter zugestellt" in body) is (language == "de")
        assert ("Incoming mail is delivered as before" in body) is (language == "en")
        assert resumption_text("de", PAYEE).subject == "Anmeldung und Versand sind wieder frei"

    @pytest.mark.parametrize(("country", "language"), [("DE", "de"), ("AT", "de"), ("FR", "en"), ("US", "en")])
    def test_the_country_decides_on_the_language(self, country: str, language: str) -> None:
        assert language_for(country) == language


@pytest.fixture
async def peer() -> AsyncIterator[MailServer]:
    async with mail_server() as peer:
        yield peer


@pytest.fixture
async def arrears(fresh_database: Database) -> Arrears:
    return Arrears(fresh_database, head=Letterhead(ISSUER, by_mail=True))


async def remind(arrears: Arrears, **details: str) -> Notice:
    """The notice of an invoice that is three days late."""
    reseller_id = await arrears.add_reseller(**details)
    await arrears.bill(reseller_id)
    arrears.today = DUE + timedelta(days=3)
    assert await arrears.dun() == 1
    return await only_notice(arrears)


async def only_notice(arrears: Arrears) -> Notice:
    async with arrears.database.as_system() as session:
        [notice] = await list_notices(session, None)
    return notice


async def send(arrears: Arrears, mailer: Mailer, notice: Notice, *, minutes: int = 0) -> Delivery | None:
    now = arrears.now + timedelta(minutes=minutes)
    return await send_notice(arrears.database, mailer, notice.id, now=now, sender=ISSUER.email)


async def due(arrears: Arrears, *, minutes: int = 0) -> list[str]:
    async with arrears.database.as_system() as session:
        return list(await due_notices(session, now=arrears.now + timedelta(minutes=minutes)))


def body_of(message: EmailMessage) -> str:
    return str(message.get_content()).replace("\r\n", "\n")


class TestMail:
    async def test_a_notice_is_mailed_as_it_is_listed(self, arrears: Arrears, peer: MailServer) -> None:
        notice = await remind(arrears)
        assert await due(arrears) == [notice.id]
        assert await send(arrears, peer.mailer, notice) is Delivery.SENT
        [message] = peer.taken
        assert message["To"] == "rechnung@mueller.example"
        assert message["From"] == ISSUER.email
        assert message["Subject"] == notice.subject_de
        assert message["Message-ID"] == f"<{notice.id}@postfachwerk.example>"
        assert message["Auto-Submitted"] == "auto-generated"
        assert body_of(message) == notice.body_de
        assert await due(arrears, minutes=10_000) == []

    async def test_abroad_it_is_english(self, arrears: Arrears, peer: MailServer) -> None:
        notice = await remind(arrears, country="FR")
        await send(arrears, peer.mailer, notice)
        [message] = peer.taken
        assert (message["Subject"], body_of(message)) == (notice.subject_en, notice.body_en)

    async def test_workers_that_come_at_once_mail_it_once(self, arrears: Arrears, peer: MailServer) -> None:
        notice = await remind(arrears)
        endings = await asyncio.gather(*(send(arrears, peer.mailer, notice) for _ in range(5)))
        assert sorted(str(each) for each in endings) == ["None"] * 4 + ["sent"]
        assert len(peer.taken) == 1

    async def test_without_a_mail_server_it_is_listed_only(self, arrears: Arrears, peer: MailServer) -> None:
        arrears.head = Letterhead(ISSUER)
        notice = await remind(arrears)
        assert notice.delivery is Delivery.LISTED
        assert await due(arrears) == []
        assert await send(arrears, peer.mailer, notice) is None
        assert peer.taken == []

    async def test_a_job_is_waiting_for_it(self, arrears: Arrears) -> None:
        notice = await remind(arrears)
        jobs = await arrears.read("select args ->> 'key' from procrastinate_jobs where task_name = 'send_notice'")
        assert jobs == [(notice.id,)]


class TestTrouble:
    async def test_what_is_refused_for_now_is_sent_later(self, arrears: Arrears, peer: MailServer) -> None:
        notice = await remind(arrears)
        peer.answers = ["451 greylisted"]
        assert await send(arrears, peer.mailer, notice) is Delivery.WAITING
        assert "451 greylisted" in str((await only_notice(arrears)).problem)
        assert await due(arrears) == []
        assert await send(arrears, peer.mailer, notice) is None
        assert await due(arrears, minutes=1) == [notice.id]
        assert await send(arrears, peer.mailer, notice, minutes=1) is Delivery.SENT
        assert len(peer.taken) == 1
        assert (await only_notice(arrears)).problem is None

    async def test_what_is_refused_for_good_is_given_up(self, arrears: Arrears, peer: MailServer) -> None:
        notice = await remind(arrears)
        peer.answers = ["550 no such user"]
        assert await send(arrears, peer.mailer, notice) is Delivery.FAILED
        assert await due(arrears, minutes=10_000) == []

    async def test_a_server_that_is_away_is_asked_for_a_day(self, arrears: Arrears) -> None:
        notice = await remind(arrears)
        away = Mailer("127.0.0.1", _closed_port(), implicit_tls=False)
        minutes, endings = 0, []
        for wait in (0, *RETRY_MINUTES):
            minutes += wait
            endings.append(await send(arrears, away, notice, minutes=minutes))
        assert endings == [Delivery.WAITING] * len(RETRY_MINUTES) + [Delivery.FAILED]
        assert minutes <= 24 * 60

    async def test_what_may_have_been_taken_is_never_sent_again(self, arrears: Arrears, peer: MailServer) -> None:
        notice = await remind(arrears)
        peer.answers = [None]
        assert await send(arrears, peer.mailer, notice) is Delivery.UNKNOWN
        assert await due(arrears, minutes=10_000) == []
        assert await send(arrears, peer.mailer, notice, minutes=10_000) is None
        assert len(peer.taken) == 1

    async def test_nor_what_a_killed_worker_was_sending(self, arrears: Arrears, peer: MailServer) -> None:
        notice = await remind(arrears)
        async with arrears.database.as_system() as session:
            await session.execute(
                text("update notice set delivery = 'sending', tries = 1, next_try_at = :later"),
                {"later": arrears.now + timedelta(minutes=15)},
            )
        assert await due(arrears, minutes=14) == []
        assert (await only_notice(arrears)).delivery is Delivery.SENDING
        assert await due(arrears, minutes=15) == []
        assert (await only_notice(arrears)).delivery is Delivery.UNKNOWN
        assert await send(arrears, peer.mailer, notice, minutes=20) is None
        assert peer.taken == []

    async def test_an_address_that_no_header_can_hold_is_given_up(self, arrears: Arrears, peer: MailServer) -> None:
        notice = await remind(arrears, billing_email="a@b.example\nBcc: c@d.example")
        assert await send(arrears, peer.mailer, notice) is Delivery.FAILED
        assert peer.taken == []

    async def test_a_password_does_not_go_without_tls(self, arrears: Arrears, peer: MailServer) -> None:
        notice = await remind(arrears)
        mailer = Mailer("127.0.0.1", peer.port, implicit_tls=False, user="u", password="secret")
        assert await send(arrears, mailer, notice) is Delivery.WAITING
        assert "no TLS" in str((await only_notice(arrears)).problem)
        assert peer.taken == []


class TestAddresses:
    def test_both_kinds_are_read(self) -> None:
        assert open_mailer("smtp://mail.example") == Mailer("mail.example", 587, implicit_tls=False)
        assert open_mailer("smtps://u%40x:p%2Fw@mail.example") == Mailer(
            "mail.example", 465, implicit_tls=True, user="u@x", password="p/w"
        )
        assert open_mailer("smtp://mail.example:25").port == 25

    @pytest.mark.parametrize("url", ["mail.example", "http://mail.example", "smtp://", "smtp://h/path", "smtp://h?a=b"])
    def test_anything_else_is_refused(self, url: str) -> None:
        with pytest.raises(ValueError, match="smtp://"):
            open_mailer(url)


def _closed_port() -> int:
    """A port that nobody listens on: bound a moment ago, and let go."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
