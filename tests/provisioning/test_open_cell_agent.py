"""How a failing agent becomes a failing driver, over real TLS: a server on this machine that answers as told."""

import json
import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from provisioning.drivers.base import DriverError, DriverException, TryAgain
from provisioning.drivers.open_cell.agent import Agent, NotHere, Refused
from provisioning.drivers.open_cell.cells import Cells, read_cells
from provisioning.drivers.open_cell.driver import OpenCellDriver

TOKEN = "a-token-that-must-not-be-seen"
HASH = "$6$salt$a-hash-that-must-not-be-seen"


@dataclass
class Answering:
    """A server that gives every caller the same answer and keeps what it was asked."""

    port: int
    ca_file: Path
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"X-Cell": "de-fra-1"})
    body: bytes = b"{}"
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def says(self, status: int, *, headers: dict[str, str] | None = None, **body: object) -> None:
        self.status, self.headers = status, {"X-Cell": "de-fra-1", **(headers or {})}
        self.body = json.dumps(body).encode()


def _make_certificate(folder: Path, address: str) -> tuple[Path, Path]:
    certificate, key = folder / "cell.crt", folder / "cell.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=cell"]
    subprocess.run([*command, "-addext", f"subjectAltName=IP:{address}"], check=True, capture_output=True)
    return certificate, key


@contextmanager
def answering(folder: Path, *, address: str = "127.0.0.1") -> Iterator[Answering]:
    certificate, key = _make_certificate(folder, address)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            told.asked.append((self.command, self.path, self.headers.get("Authorization")))
            self.send_response(told.status)
            for name, value in {**told.headers, "Content-Length": str(len(told.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told.body)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told = Answering(http.server_address[1], certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    thread = Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield told
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Answering]:
    with answering(tmp_path) as server:
        yield server


@pytest.fixture
async def agent(server: Answering) -> AsyncIterator[Agent]:
    agent = Agent("de-fra-1", url=server.url, token=TOKEN, ca_file=str(server.ca_file))
    yield agent
    await agent.close()


def cells_file(folder: Path, server: Answering, **other: object) -> Path:
    path = folder / "cells.json"
    entry = {"url": server.url, "token": TOKEN, "ca_file": str(server.ca_file), **other}
    path.write_text(json.dumps({"cells": {"de-fra-1": entry}}))
    return path


class TestAnswers:
    async def test_the_token_goes_along(self, server: Answering, agent: Agent) -> None:
        server.says(200, cell="de-fra-1")
        assert await agent.call("GET", "/v1/status") == {"cell": "de-fra-1"}
        assert server.asked == [("GET", "/v1/status", f"Bearer {TOKEN}")]

    async def test_no_content_is_an_empty_answer(self, server: Answering, agent: Agent) -> None:
        server.says(204)
        server.body = b""
        assert await agent.call("DELETE", "/v1/boxes/box_1") == {}

    @pytest.mark.parametrize("status", [409, 422])
    async def test_a_refusal_is_for_good_and_says_why(self, server: Answering, agent: Agent, status: int) -> None:
        server.says(status, code="address_taken", detail="anna@muster.example is taken")
        with pytest.raises(Refused, match=r"de-fra-1 refuses \(address_taken\): anna@muster.example") as refusal:
            await agent.call("PUT", "/v1/mailboxes/mbx_1", {})
        assert refusal.value.permanent
        assert refusal.value.code == "address_taken"

    async def test_what_is_not_there_is_told_apart_and_brings_what_is_known(
        self, server: Answering, agent: Agent
    ) -> None:
        server.says(404, code="not_found", detail="", guest=None, arriving=True)
        with pytest.raises(NotHere) as absence:
            await agent.call("GET", "/v1/mailboxes/mbx_1")
        assert absence.value.known["arriving"]
        assert await agent.find("/v1/boxes/box_1") is None

    @pytest.mark.parametrize("status", [429, 500, 502, 503])
    async def test_a_busy_agent_is_asked_again_when_it_says(self, server: Answering, agent: Agent, status: int) -> None:
        server.says(status, headers={"Retry-After": "7"}, code="busy", detail="dovecot is away")
        with pytest.raises(TryAgain, match="de-fra-1 is busy: dovecot is away") as busy:
            await agent.call("GET", "/v1/mailboxes/mbx_1")
        assert busy.value.seconds == 7

    @pytest.mark.parametrize("said", ["soon", "inf", "1e9", "-4"])
    async def test_a_wait_that_makes_no_sense_is_kept_within_reason(
        self, server: Answering, agent: Agent, said: str
    ) -> None:
        server.says(503, headers={"Retry-After": said})
        with pytest.raises(TryAgain) as busy:
            await agent.call("GET", "/v1/status")
        assert 0 < busy.value.seconds <= 300

    async def test_a_page_of_somebody_elses_is_no_answer(self, server: Answering, agent: Agent) -> None:
        server.says(200)
        server.body = b"<html>Welcome to nginx</html>"
        with pytest.raises(TryAgain):
            await agent.call("GET", "/v1/status")

    async def test_a_cell_that_is_another_one_is_no_evidence(self, server: Answering, agent: Agent) -> None:
        for name in ("fi-hel-1", ""):
            server.says(200, headers={"X-Cell": name})
            with pytest.raises(DriverError, match="at the address of de-fra-1") as wrong:
                await agent.call("GET", "/v1/mailboxes/mbx_1")
            assert not wrong.value.permanent

    async def test_a_refused_token_may_be_mended(self, server: Answering, agent: Agent) -> None:
        server.says(401, code="unauthorized", detail="")
        with pytest.raises(DriverError, match="does not accept our token") as refusal:
            await agent.call("GET", "/v1/status")
        assert not refusal.value.permanent


class TestTransport:
    async def test_a_certificate_of_another_authority_is_not_believed(self, server: Answering, tmp_path: Path) -> None:
        stranger = tmp_path / "stranger"
        stranger.mkdir()
        certificate, _ = _make_certificate(stranger, "127.0.0.1")
        agent = Agent("de-fra-1", url=server.url, token=TOKEN, ca_file=str(certificate))
        with pytest.raises(TryAgain, match="ca_file does not vouch for"):
            await agent.call("GET", "/v1/status")
        await agent.close()
        assert server.asked == []

    async def test_a_certificate_of_another_address_is_not_believed(self, tmp_path: Path) -> None:
        with answering(tmp_path, address="127.0.0.9") as server:
            agent = Agent("de-fra-1", url=server.url, token=TOKEN, ca_file=str(server.ca_file))
            with pytest.raises(TryAgain, match="ca_file does not vouch for"):
                await agent.call("GET", "/v1/status")
            await agent.close()
            assert server.asked == []

    async def test_nobody_listening_is_waited_for(self, server: Answering) -> None:
        agent = Agent("de-fra-1", url="https://127.0.0.1:9", token=TOKEN, ca_file=str(server.ca_file))
        with pytest.raises(TryAgain, match="de-fra-1 does not answer"):
            await agent.call("GET", "/v1/status")
        await agent.close()

    async def test_no_secret_is_in_what_is_said_of_a_failure(self, server: Answering, agent: Agent) -> None:
        body = {"password_hash": HASH}
        failures: list[DriverException] = []
        for status in (401, 404, 409, 422, 500, 503):
            server.says(status, code="x", detail="y")
            with pytest.raises(DriverException) as failure:
                await agent.call("PUT", "/v1/mailboxes/mbx_1", body)
            failures.append(failure.value)
        said = " ".join(f"{error} {error!r} {error.__cause__} {vars(error)}" for error in failures)
        assert TOKEN not in said
        assert HASH not in said


class TestCells:
    async def test_a_cell_that_is_added_is_found_without_a_restart(self, server: Answering, tmp_path: Path) -> None:
        cells = Cells(tmp_path / "cells.json")
        assert not cells.agents()
        with pytest.raises(DriverError, match="no cell de-fra-1") as unknown:
            cells.agent("de-fra-1")
        assert not unknown.value.permanent
        cells_file(tmp_path, server)
        assert await cells.agent("de-fra-1").call("GET", "/v1/status") == {}
        await cells.close()

    async def test_an_entry_that_changes_is_used_from_then_on(self, server: Answering, tmp_path: Path) -> None:
        path = cells_file(tmp_path, server, url="https://127.0.0.1:9")
        cells = Cells(path)
        with pytest.raises(TryAgain):
            await cells.agent("de-fra-1").call("GET", "/v1/status")
        cells_file(tmp_path, server)
        os.utime(path, ns=(1, 1))  # whatever the clock of the file system says
        assert await cells.agent("de-fra-1").call("GET", "/v1/status") == {}
        await cells.close()

    def test_an_entry_that_stays_keeps_its_agent(self, server: Answering, tmp_path: Path) -> None:
        path = cells_file(tmp_path, server)
        cells = Cells(path)
        before = cells.agent("de-fra-1")
        os.utime(path, ns=(1, 1))
        assert cells.agent("de-fra-1") is before

    @pytest.mark.parametrize("text", ["", "[]", '{"cells": []}', '{"cells": {"x": {"token": "SECRET"}}}', "SECRET"])
    def test_a_file_that_is_none_is_named_without_what_stands_in_it(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "cells.json"
        path.write_text(text)
        with pytest.raises(DriverError, match=r"cells\.json is no cells file") as wrong:
            read_cells(path)
        assert "SECRET" not in str(wrong.value)
        assert not wrong.value.permanent

    async def test_a_mailbox_is_not_called_gone_while_a_cell_is_away(self, server: Answering, tmp_path: Path) -> None:
        """Or it would be made a second time, or its owner told that it is lost."""
        path = cells_file(tmp_path, server, url="https://127.0.0.1:9")
        driver = OpenCellDriver(path)
        with pytest.raises(TryAgain, match="where the mailbox lies cannot be told: de-fra-1 does not answer"):
            await driver.observe_mailbox("mbx_1")
        with pytest.raises(TryAgain):
            await driver.purge_mailbox("box_1")
        await driver.close()

    async def test_a_report_that_cannot_be_understood_is_no_loss(self, server: Answering, tmp_path: Path) -> None:
        server.says(200, backend_id="box_1", presence="present", spec={"kind": "robot"})
        driver = OpenCellDriver(cells_file(tmp_path, server))
        with pytest.raises(DriverError, match="reports what is not understood") as wrong:
            await driver.observe_mailbox("mbx_1")
        assert not wrong.value.permanent
        await driver.close()
