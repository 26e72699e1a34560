"""What must hold of a cell whoever reaches its ports."""

import imaplib
import os
import socket
import ssl
import time
from pathlib import Path

import httpx
import pytest

from provisioning.cell.layout import Cell
from provisioning.cell.packages import hole_in_groupware
from tests.cell import mail
from tests.cell.direct import PASSWORD, Box, ask
from tests.cells import Cells

READER = 0x1C01
ACL_QUERY = (
    '<?xml version="1.0"?><acl-query xmlns="urn:inverse:params:xml:ns:inverse-dav"><set-roles user="{grantee}">'
    "<PublicModifier/><ObjectCreator/><ObjectEraser/></set-roles></acl-query>"
)
XML = "application/xml; charset=utf-8"


@pytest.fixture(scope="module")
def cell(cells: Cells) -> Cell:
    return cells.by_code["de-fra-1"]


@pytest.fixture(scope="module")
def boss(cells: Cells) -> Box:
    return Box(cells.by_code["de-fra-1"])


@pytest.fixture(scope="module")
def reader(cells: Cells, boss: Box) -> Box:
    reader = Box(cells.by_code["de-fra-1"])
    boss.allow("calendar", reader, READER)
    return reader


def rights_in_calendar(owner: Box) -> dict[str, int]:
    [calendar] = [each for each in owner.report()["folders"] if each["type"] == "calendar"]
    rights: dict[str, int] = calendar["rights"]
    return rights


class TestRightsAreNotTakenByReaders:
    def test_the_gateway_refuses_to_post_anything_but_invitations(self, boss: Box, reader: Box) -> None:
        path, content = f"{boss.id}/Calendar/personal/", ACL_QUERY.format(grantee=reader.id)
        assert reader.dav("POST", path, content=content, content_type=XML).status_code == 403
        assert rights_in_calendar(boss) == {reader.id: READER}

    def test_there_is_no_report_for_it(self, boss: Box, reader: Box) -> None:
        path, content = f"{boss.id}/Calendar/personal/", ACL_QUERY.format(grantee=reader.id)
        assert reader.dav("REPORT", path, content=content, content_type=XML).status_code >= 400
        assert rights_in_calendar(boss) == {reader.id: READER}

    @pytest.mark.parametrize("method", ["POST", "REPORT"])
    def test_past_the_gateway_no_right_is_written_down_that_would_last(
        self, boss: Box, reader: Box, method: str
    ) -> None:
        url = f"http://{boss.cell.address}:{boss.cell.ports.groupware}/SOGo/dav/{boss.id}/Calendar/personal/"
        content = ACL_QUERY.format(grantee=reader.id)
        for _ in range(8):  # one for every worker and more: none of them is left in a broken state
            httpx.request(method, url, content=content, headers={"content-type": XML}, auth=(reader.address, PASSWORD))
        assert rights_in_calendar(boss) == {reader.id: READER}

    def test_who_tries_disturbs_nobody_else(self, boss: Box) -> None:
        answers = [boss.dav("PROPFIND", f"{boss.id}/Calendar/personal/", depth="0").status_code for _ in range(8)]
        assert answers == [207] * 8

    def test_a_server_that_offers_it_is_not_started(self, tmp_path: Path) -> None:
        reports = tmp_path / "DAVReportMap.plist"
        reports.write_text('{ "{urn:inverse:params:xml:ns:inverse-dav}acl-query" = davAclQuery; }')
        assert "acl-query" in (hole_in_groupware(reports) or "")
        reports.write_text("{ }")
        assert hole_in_groupware(reports) is None
        assert hole_in_groupware(tmp_path / "missing") is not None


class TestNobodyIsTrustedByHisWord:
    @pytest.mark.parametrize("name", ["x-webobjects-remote-user", "x-webobjects-auth-type"])
    def test_no_port_of_the_groupware_believes_a_header(self, cell: Cell, boss: Box, name: str) -> None:
        headers = {name: boss.id, "x-webobjects-remote-user": boss.id}
        for url in (f"http://{cell.address}:{cell.ports.groupware}", f"https://{cell.address}:{cell.ports.https}"):
            answer = httpx.request(
                "PROPFIND", f"{url}/SOGo/dav/{boss.id}/Calendar/", headers=headers, verify=boss.trusted
            )
            assert answer.status_code == 401

    def test_no_more_sockets_listen_than_are_described(self, cell: Cell) -> None:
        """So there is no second, trusting groupware, and no memcached or Dovecot on a port nobody thinks of."""
        ports = cell.ports
        known = {getattr(ports, name) for name in ports.__dataclass_fields__}
        assert listening_ports(cell.address) <= known

    @pytest.mark.parametrize("token", ["", "Bearer", "Bearer wrong", "Basic d3Jvbmc="])
    def test_the_agent_answers_nobody_without_its_token(self, cells: Cells, cell: Cell, token: str) -> None:
        url = f"{cell.agent_url}/v1/status"
        answer = httpx.get(url, headers={"Authorization": token}, verify=cells.trusted)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")

    def test_what_the_agent_refuses_it_does_not_repeat(self, cell: Cell) -> None:
        answer = ask(cell, "PUT", "/mailboxes/mbx_1", {"spec": {}, "password_hash": ["$6$secret"]})
        assert (answer.status_code, answer.json()["code"]) == (422, "malformed")
        assert "secret" not in answer.text

    def test_the_database_lets_nobody_in_without_a_password(self, cell: Cell) -> None:
        with socket.create_connection((cell.address, cell.ports.postgresql), timeout=5) as connection:
            said = b"user\0cell\0database\0cell\0\0"
            connection.sendall((8 + len(said)).to_bytes(4) + (196608).to_bytes(4) + said)
            answer = connection.recv(64)
        assert answer.startswith(b"R"), answer
        assert b"SCRAM-SHA-256" in answer


class TestSecrets:
    def test_no_secret_stands_in_the_list_of_processes(self, cell: Cell) -> None:
        lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        assert any(str(cell.root).encode() in line for line in lines)
        for secret in secrets_of(cell):
            assert not any(secret.encode() in line for line in lines)

    def test_no_secret_stands_in_a_log(self, cell: Cell) -> None:
        logs = {path: path.read_bytes() for path in cell.log.iterdir()}
        for secret in (*secrets_of(cell), PASSWORD):
            assert not [path.name for path, text in logs.items() if secret.encode() in text]

    def test_only_the_account_of_the_cell_can_read_its_files(self, cell: Cell) -> None:
        private = [cell.token_file, cell.root / "secrets.json", cell.peer_file, cell.key_file, *cell.etc.glob("*.*")]
        assert not [path for path in private if path.is_file() and path.stat().st_mode & 0o077]
        for folder in (cell.etc, cell.run, cell.log, cell.mail):
            assert folder.stat().st_mode & 0o077 == 0

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
    def test_no_daemon_but_the_mail_system_runs_as_root(self, cell: Cell) -> None:
        for path in Path("/proc").glob("[0-9]*"):
            try:
                line = (path / "cmdline").read_bytes()
                owner = path.stat().st_uid
            except OSError:
                continue
            if str(cell.root).encode() in line and b"postfix" not in line and b"pytest" not in line:
                assert owner == cell.account.uid, line


class TestWires:
    @pytest.mark.parametrize("name", ["imaps", "pop3s", "submissions", "groupware_mail"])
    def test_a_port_for_mail_speaks_tls_from_the_first_byte(self, cells: Cells, cell: Cell, name: str) -> None:
        port = getattr(cell.ports, name)
        with (
            socket.create_connection((cell.address, port), timeout=5) as plain,
            cells.trusted.wrap_socket(plain, server_hostname=cell.address) as secured,
        ):
            assert secured.version() in {"TLSv1.2", "TLSv1.3"}
            assert secured.recv(1)

    @pytest.mark.parametrize("name", ["imaps", "https", "agent", "submissions", "dsync", "doveadm"])
    def test_old_versions_of_tls_are_refused(self, cell: Cell, name: str) -> None:
        old = ssl.create_default_context(cafile=str(cell.ca_file))
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with (
            socket.create_connection((cell.address, getattr(cell.ports, name)), timeout=5) as plain,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            old.wrap_socket(plain, server_hostname=cell.address)

    @pytest.mark.parametrize("name", ["imap", "pop3", "sieve"])
    def test_no_password_is_taken_before_tls(self, cell: Cell, name: str) -> None:
        """There is no plain port for IMAP and POP3 at all; filters and sending begin with STARTTLS."""
        if name != "sieve":
            assert listening_ports(cell.address).isdisjoint({110, 143, 10110, 10143})
            return
        with socket.create_connection((cell.address, cell.ports.sieve), timeout=5) as plain:
            said = b""
            while b"OK " not in said:
                said += plain.recv(4096)
        assert b"STARTTLS" in said
        assert b"PLAIN" not in said


class TestGuessing:
    def test_every_wrong_password_costs_time(self, cells: Cells, boss: Box) -> None:
        began = time.monotonic()
        with (
            pytest.raises(imaplib.IMAP4.error),
            mail.imap(boss.cell.address, boss.cell.ports.imaps, boss.address, "falsch", trusted=cells.trusted),
        ):
            pass
        assert time.monotonic() - began > 1.5

    def test_who_guesses_at_the_gateway_is_shut_out_for_a_while(self, cell: Cell) -> None:
        box = Box(cell)
        url = f"https://{cell.address}:{cell.ports.https}/SOGo/dav/{box.id}/"
        for _ in range(12):
            wrong = (box.address, "falsch")
            assert httpx.request("PROPFIND", url, auth=wrong, verify=box.trusted).status_code == 401
        assert box.dav("PROPFIND", f"{box.id}/").status_code == 401


def secrets_of(cell: Cell) -> list[str]:
    names = cell.secrets.__dataclass_fields__
    return [*(getattr(cell.secrets, name) for name in names), cell.peer_file.read_text().strip()]


def listening_ports(address: str) -> set[int]:
    wanted = int.from_bytes(socket.inet_aton(address), "little")
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    places = (row[1].split(":") for row in rows if row[3] == "0A")
    return {int(port, 16) for host, port in places if int(host, 16) == wanted}
