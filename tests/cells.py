"""Two real cells for a whole run of tests, shared by its workers; the last one to leave takes them down."""

import base64
import fcntl
import functools
import os
import shutil
import ssl
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import pytest

from provisioning.cell import daemons, processes, running
from provisioning.cell.errors import CellError
from provisioning.cell.layout import Cell, cells_in, open_cell
from provisioning.cell.packages import require_packages

CODES = ("de-fra-1", "fi-hel-1")


@dataclass(frozen=True, slots=True)
class Cells:
    """`file` is what POSTFACHWERK_CELLS names; `seconds` is how long the start took this process."""

    directory: Path
    by_code: dict[str, Cell]
    file: Path
    seconds: float

    @property
    def trusted(self) -> ssl.SSLContext:
        """What a client checks certificates by."""
        return ssl.create_default_context(cafile=str(self.by_code[CODES[0]].ca_file))

    @contextmanager
    def without(self, code: str, daemon: str) -> Iterator[None]:
        """One daemon of a cell is killed, and comes back at the end of the block."""
        processes.stop(self.by_code[code], daemon)
        try:
            yield
        finally:
            self.mend(code)

    @contextmanager
    def down(self, code: str) -> Iterator[None]:
        """A whole cell is away for the length of the block."""
        running.down(self.by_code[code])
        try:
            yield
        finally:
            self.mend(code)

    def mend(self, code: str) -> None:
        """Start whatever does not run."""
        running.up(self.directory, code, durable=False)

    def make_folder(self, address: str, name: str) -> None:
        """What the mailbox's user would do by hand, in whichever cell has it."""
        made = [self._doveadm(cell, "mailboxCreate", user=address, mailbox=[name]) for cell in self.by_code.values()]
        assert "doveadmResponse" in made, made

    def _doveadm(self, cell: Cell, command: str, **parameters: object) -> str:
        key = base64.b64encode(cell.secrets.doveadm.encode()).decode()
        answer = httpx.post(
            f"https://{cell.address}:{cell.ports.doveadm}/doveadm/v1",
            headers={"Authorization": f"X-Dovecot-API {key}"},
            json=[[command, parameters, ""]],
            verify=self.trusted,
            trust_env=False,
        )
        kind: str = answer.json()[0][0]
        return kind

    def restart_agent(self, code: str) -> None:
        cell = self.by_code[code]
        agent = daemons.agent(cell)
        processes.stop(cell, agent.name)
        processes.start(cell, agent)
        processes.await_ready(cell, agent)


def why_not() -> str | None:
    """Why there can be no cells on this machine; None when there can."""
    try:
        require_packages()
    except CellError as error:
        return f"NO REAL CELLS HERE, so nothing of Dovecot, SOGo and Postfix is tested: {error}"
    return None


@functools.cache
def cells(apart: str = "") -> Cells:
    """Skips the test that asks where the packages are not installed.

    Whoever stops daemons takes a pair `apart`, by a letter of its own: all others share one.
    """
    if reason := why_not():
        pytest.skip(reason)
    directory = _directory(apart)
    began = time.monotonic()
    with _transition(directory):
        holders = (directory / "holders").open("a")
        fcntl.flock(holders, fcntl.LOCK_SH)
        _held[directory] = holders
        with ThreadPoolExecutor() as threads:
            started = threads.map(lambda code: running.up(directory, code, durable=False), CODES)
            by_code = dict(zip(CODES, started, strict=True))
    return Cells(directory, by_code, directory / "cells.json", time.monotonic() - began)


def let_go() -> None:
    """For the end of a process that may have asked for cells."""
    while _held:
        _let_go_of(*_held.popitem())


def _let_go_of(directory: Path, holders: IO[str]) -> None:
    with _transition(directory), holders:
        try:
            fcntl.flock(holders, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for name in cells_in(directory):
            running.down(open_cell(directory, name))
    shutil.rmtree(directory, ignore_errors=True)


_held: dict[Path, IO[str]] = {}


def _directory(apart: str) -> Path:
    """One for all workers of a run, which the account of the daemons can enter; short, because of the sockets."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))[:8]
    folder = Path(tempfile.gettempdir()) / f"pfw-cells-{run}{apart}"
    folder.mkdir(mode=0o711, exist_ok=True)
    return folder


@contextmanager
def _transition(directory: Path) -> Iterator[None]:
    with (directory / "transition").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
