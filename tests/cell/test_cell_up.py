"""A cell comes up, stays up and comes back, whatever was done to it."""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioning.cell import running
from provisioning.cell.errors import CellError
from provisioning.cell.layout import ACCOUNT, Cell, Tls, cells_in, find_peer, make_cell, open_cell
from tests.cell import mail
from tests.cell.direct import Box
from tests.cells import Cells, why_not
from tests.waiting import until

NAME = "xx-tst-1"


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Where the account of the daemons can enter."""
    if reason := why_not():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="pfw-"))
    folder.chmod(0o711)
    yield folder
    for name in cells_in(folder):
        running.down(open_cell(folder, name))
    shutil.rmtree(folder)


def up(place: Path) -> Cell:
    return running.up(place, NAME, durable=False)


def processes_of(cell: Cell) -> set[int]:
    """All whose command line names the cell's directory, or that work in it."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line, where = (path / "cmdline").read_bytes(), os.readlink(path / "cwd")
        except OSError:
            continue
        if int(path.name) != os.getpid() and (str(cell.root).encode() in line or where.startswith(str(cell.root))):
            found.add(int(path.name))
    return found


class TestUp:
    def test_everything_runs_and_the_second_time_nothing_is_started(self, place: Path) -> None:
        cell = up(place)
        assert all(running.services(cell).values())
        before = processes_of(cell)
        assert up(place) == cell
        assert before <= processes_of(cell)

    def test_what_is_down_is_brought_up_and_nothing_else(self, place: Path) -> None:
        cell = up(place)
        box = Box(cell)
        until(lambda: box.inbox() == [])
        for daemon in ("groupware", "dovecot"):
            before = processes_of(cell)
            pid = pid_of(cell, daemon)
            os.kill(pid, signal.SIGKILL)
            up(place)
            assert all(running.services(cell).values())
            assert before & processes_of(cell)
        assert box.inbox() == []

    def test_after_a_kill_of_everything_nothing_is_lost(self, place: Path) -> None:
        cell = up(place)
        box = Box(cell)
        with box.imap() as client:
            mail.append(client, mail.letter("überlebt", sender=box.address, to=box.address))
        before = box.report()
        for pid in processes_of(cell) | {pid_of(cell, name) for name in running.services(cell)}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        assert up(place) == cell
        assert box.report() == before
        assert box.inbox() == ["überlebt"]

    def test_down_ends_all_of_it_and_up_brings_back_the_mail(self, place: Path) -> None:
        cell = up(place)
        box = Box(cell)
        running.down(cell)
        assert not any(running.services(cell).values())
        until(lambda: not processes_of(cell))
        running.down(cell)
        up(place)
        assert box.report()["backend_id"] == box.id

    def test_a_changed_certificate_is_taken_without_losing_a_cell(self, place: Path) -> None:
        cell = up(place)
        old = cell.certificate_file.read_bytes()
        cell.certificate_file.unlink()
        up(place)
        assert cell.certificate_file.read_bytes() != old
        assert Box(cell).inbox() == []

    def test_a_certificate_from_outside_is_shown_to_customers(self, place: Path) -> None:
        """It names a host and no address, as an authority signs it."""
        folder = place / "tls"
        folder.mkdir()
        tls = Tls(folder / "crt.pem", folder / "key.pem", folder / "crt.pem", "mail.muster.example")
        name = ("-subj", "/CN=mail.muster.example", "-addext", "subjectAltName=DNS:mail.muster.example")
        made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "9", *name)
        subprocess.run((*made, "-keyout", tls.private_key, "-out", tls.certificate), check=True, capture_output=True)
        cell = up(place)
        shutil.chown(tls.private_key, cell.account.uid)
        running.down(cell)
        cell = running.up(place, "xx-tst-2", tls=tls, durable=False)
        assert cell.agent_url.startswith("https://mail.muster.example:")
        trusted = ssl.create_default_context(cafile=str(tls.ca))
        for port in (cell.ports.imaps, cell.ports.https, cell.ports.agent):
            with (
                socket.create_connection((cell.address, port), timeout=5) as plain,
                trusted.wrap_socket(plain, server_hostname=tls.host) as secured,
            ):
                assert secured.version()
        running.down(cell)


class TestPlaces:
    @pytest.mark.parametrize("name", ["", "De-Fra", "../x", "a/b", "-x", "x" * 33])
    def test_what_is_no_name_is_refused(self, place: Path, name: str) -> None:
        with pytest.raises(CellError):
            make_cell(place, name)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root starts a cell for another account")
    def test_a_place_that_its_account_cannot_enter_is_refused_with_a_fix(self, place: Path) -> None:
        closed = place / "closed"
        closed.mkdir(mode=0o700)
        with pytest.raises(CellError, match="--directory"):
            make_cell(closed / "cells", NAME)

    def test_a_cell_that_was_never_made_is_no_cell(self, place: Path) -> None:
        with pytest.raises(CellError, match="cell up"):
            open_cell(place, "yy-tst-9")

    def test_cells_have_addresses_of_their_own_and_know_each_other(self, cells: Cells) -> None:
        [one, other] = cells.by_code.values()
        assert one.address != other.address
        peer = find_peer(one, other.name)
        assert peer is not None
        assert peer.dsync.startswith(other.address)
        assert find_peer(one, "no-one-1") is None

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
    def test_an_ordinary_account_brings_a_cell_up_too(self, place: Path) -> None:
        """Without Postfix, whose master needs root."""
        command = ("setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups", sys.executable, "-c")
        environment = {"PATH": os.defpath, "PYTHONPATH": os.getcwd(), "PYTHONDONTWRITEBYTECODE": "1"}
        if subprocess.run((*command, "import provisioning.cell"), check=False, env=environment, cwd="/").returncode:
            pytest.skip("the interpreter lies where no other account can read it")
        home = place / "own"
        home.mkdir()
        shutil.chown(home, ACCOUNT)
        code = f"""if True:
            from pathlib import Path
            from provisioning.cell import running
            cell = running.up(Path({str(home)!r}), {NAME!r}, durable=False)
            print(running.services(cell))
            running.down(cell)
        """
        done = subprocess.run((*command, code), check=False, env=environment, cwd="/", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "'dovecot': True" in done.stdout
        assert "False" not in done.stdout
        assert "postfix" not in done.stdout


def pid_of(cell: Cell, daemon: str) -> int:
    pid: int = json.loads((cell.run / f"{daemon}.json").read_text())["pid"]
    return pid
