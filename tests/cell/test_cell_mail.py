"""Mail of real mailboxes: in, out, between cells, and only under names one may use."""

import base64
import os
import smtplib
import socket

import pytest

from provisioning.terms import ServiceClass
from tests.cell import mail
from tests.cell.direct import PASSWORD, Box, introduce
from tests.cells import Cells
from tests.waiting import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NO MAIL FLOWS HERE: Postfix runs only where root starts it")

ABROAD = "fremd@example.net"


@pytest.fixture(scope="module")
def anna(cells: Cells) -> Box:
    return Box(cells.by_code["de-fra-1"])


@pytest.fixture(scope="module")
def bert(cells: Cells) -> Box:
    return Box(cells.by_code["de-fra-1"])


@pytest.fixture(scope="module")
def inge(cells: Cells) -> Box:
    inge = Box(cells.by_code["fi-hel-1"], ServiceClass.IMAP)
    introduce(inge, cells.by_code["de-fra-1"])
    return inge


def from_outside(to: str, subject: str, *, box: Box) -> None:
    with smtplib.SMTP(box.cell.address, box.cell.ports.smtp, timeout=30) as client:
        client.send_message(mail.letter(subject, sender=ABROAD, to=to))


def arrives(box: Box, subject: str) -> None:
    until(lambda: subject in box.inbox(), seconds=30)


def header(box: Box, subject: str, name: str) -> str | None:
    with box.imap() as client:
        client.select("INBOX", readonly=True)
        [uid] = [uid for uid, each in mail.uids(client) if each == subject]
        _, data = client.uid("FETCH", str(uid), f"(BODY.PEEK[HEADER.FIELDS ({name})])")
        assert isinstance(data[0], tuple)
        return data[0][1].decode().partition(":")[2].strip() or None


class TestDelivery:
    def test_a_colleague_gets_it(self, anna: Box, bert: Box) -> None:
        anna.send("an den Kollegen", to=[bert])
        arrives(bert, "an den Kollegen")

    def test_a_colleague_in_another_cell_gets_it(self, anna: Box, inge: Box) -> None:
        anna.send("nach Helsinki", to=[inge])
        arrives(inge, "nach Helsinki")

    def test_a_stranger_reaches_a_mailbox_and_nobody_else(self, anna: Box) -> None:
        from_outside(anna.address, "von draußen", box=anna)
        arrives(anna, "von draußen")
        for to in ("nobody@muster.example", "someone@example.org"):
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                from_outside(to, "verirrt", box=anna)

    def test_every_address_and_every_plus_leads_to_the_mailbox(self, cells: Cells) -> None:
        box = Box(cells.by_code["de-fra-1"])
        box.put(addresses=[box.address, f"info.{box.address}"])
        from_outside(f"info.{box.address}", "an info", box=box)
        from_outside(box.address.replace("@", "+rechnung@"), "mit plus", box=box)
        arrives(box, "an info")
        arrives(box, "mit plus")

    def test_a_deleted_mailbox_refuses_for_good_until_it_is_back(self, cells: Cells) -> None:
        box = Box(cells.by_code["de-fra-1"])
        assert box.ask("DELETE", f"/boxes/{box.id}").is_success
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refusal:
            from_outside(box.address, "zu spät", box=box)
        [(code, _)] = refusal.value.recipients.values()
        assert code == 550
        box.put()
        from_outside(box.address, "wieder da", box=box)
        arrives(box, "wieder da")

    def test_mail_for_a_mailbox_in_the_last_pass_of_a_move_waits(self, cells: Cells) -> None:
        box = Box(cells.by_code["de-fra-1"])
        assert box.ask("POST", f"/boxes/{box.id}/freeze", {"to": "fi-hel-1"}).is_success
        from_outside(box.address, "wartet", box=box)
        assert box.ask("POST", f"/boxes/{box.id}/thaw").is_success
        assert box.inbox() == [] or box.inbox() == ["wartet"]
        arrives(box, "wartet")


class TestNames:
    def test_nobody_sends_under_another_name(self, anna: Box, bert: Box, inge: Box) -> None:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            anna.send("gefälscht", to=[inge], sender=bert)

    def test_who_may_send_as_another_is_not_named(self, anna: Box, bert: Box, inge: Box) -> None:
        bert.grant("send_as", anna)
        anna.send("im Namen", to=[inge], sender=bert)
        arrives(inge, "im Namen")
        assert header(inge, "im Namen", "Sender") is None
        bert.grant("send_as", anna, on=False)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            anna.send("nicht mehr", to=[inge], sender=bert)

    def test_who_sends_on_behalf_of_another_is_named_once(self, anna: Box, bert: Box, inge: Box) -> None:
        bert.grant("send_on_behalf", anna)
        anna.send("im Auftrag", to=[inge, anna, bert], sender=bert)
        arrives(inge, "im Auftrag")
        assert header(inge, "im Auftrag", "Sender") == f"<{anna.address}>"
        bert.grant("send_on_behalf", anna, on=False)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            anna.send("nicht mehr", to=[inge], sender=bert)

    def test_a_suspended_mailbox_gets_mail_and_sends_none(self, cells: Cells, anna: Box) -> None:
        box = Box(cells.by_code["de-fra-1"])
        box.put(suspended=True)
        with pytest.raises(smtplib.SMTPAuthenticationError):
            box.send("geht nicht", to=[anna])
        from_outside(box.address, "kommt an", box=box)
        box.put(suspended=False)
        arrives(box, "kommt an")

    def test_a_mailbox_without_sending_sends_none(self, cells: Cells, anna: Box) -> None:
        box = Box(cells.by_code["de-fra-1"])
        box.put(protocols=["imap"])
        with pytest.raises(smtplib.SMTPAuthenticationError):
            box.send("geht nicht", to=[anna])

    def test_the_port_for_what_rules_send_on_is_closed_to_people(self, anna: Box) -> None:
        def relay() -> None:
            with smtplib.SMTP(anna.cell.address, anna.cell.ports.relay, timeout=30) as client:
                client.starttls(context=anna.trusted)
                client.sendmail(ABROAD, ["someone@example.org"], "Subject: Relais\r\n\r\n")

        with pytest.raises((smtplib.SMTPException, OSError)):
            relay()


class TestRules:
    def test_mail_is_sent_on_and_answered_by_rules_of_its_owner(self, cells: Cells, anna: Box, inge: Box) -> None:
        box = Box(cells.by_code["de-fra-1"])
        put_rules(
            box,
            'require ["copy", "vacation"];\r\n'
            f'redirect :copy "{inge.address}";\r\n'
            'vacation :days 1 :subject "Ich bin im Urlaub" "Bis Montag!";\r\n',
        )
        anna.send("Frage", to=[box])
        arrives(box, "Frage")
        arrives(inge, "Frage")
        arrives(anna, "Ich bin im Urlaub")


def put_rules(box: Box, script: str) -> None:
    """By ManageSieve, as mail programs do."""
    with socket.create_connection((box.cell.address, box.cell.ports.sieve), timeout=30) as plain:
        _tell(plain, b"")
        _tell(plain, b"STARTTLS\r\n")
        with box.trusted.wrap_socket(plain, server_hostname=box.cell.address) as client:
            _tell(client, b"")
            login = base64.b64encode(f"\0{box.address}\0{PASSWORD}".encode())
            _tell(client, b'AUTHENTICATE "PLAIN" "' + login + b'"\r\n')
            _tell(client, b'PUTSCRIPT "rules" {%d+}\r\n%s\r\n' % (len(script), script.encode()))
            _tell(client, b'SETACTIVE "rules"\r\n')


def _tell(connection: socket.socket, command: bytes) -> None:
    if command:
        connection.sendall(command)
    said = b""
    while not any(line.startswith((b"OK", b"NO", b"BYE")) for line in said.split(b"\r\n")[:-1]):
        part = connection.recv(4096)
        assert part, said
        said += part
    assert b"OK" in said, said
