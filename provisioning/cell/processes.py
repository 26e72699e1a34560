"""Starting, finding and ending the daemons of a cell, whatever was killed meanwhile.

A daemon leads a session of its own. Process ids are given out again, so a record holds the moment the leader
started as well: a session is the daemon's if its members belong to the account, started no earlier and, where
the leader still lives, the leader is the same.
"""

import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from provisioning.cell.errors import CellError
from provisioning.cell.layout import Cell, held, open_new, write

_READY_SECONDS = 60.0
_PAUSE_SECONDS = 0.03
_LOG_LINES = 5


@dataclass(frozen=True, slots=True)
class Daemon:
    """One program in the foreground. `digest` is of its configuration: another one means to start it anew.

    `ready` asks whether it serves; `grace_seconds` is how long it may take to end before it is killed. `as_root` is
    for those that give root up themselves. `directory` is where
    processes work that leave the session.
    """

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool]
    digest: str
    environment: tuple[tuple[str, str], ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 10.0
    as_root: bool = False
    directory: Path | None = None


@dataclass(frozen=True, slots=True)
class _Record:
    pid: int
    began: int
    digest: str
    stop_signal: int
    grace_seconds: float
    directory: str


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    session: int
    began: int


def is_running(cell: Cell, name: str) -> bool:
    return bool(_members(_read(cell, name)))


def start(cell: Cell, daemon: Daemon) -> None:
    """Start it unless it runs with this configuration; what an earlier one left is ended first. Does not wait."""
    record = _read(cell, daemon.name)
    members = _members(record)
    if record and record.digest == daemon.digest and any(each.pid == record.pid for each in members):
        return
    if members:
        stop(cell, daemon.name)
    uid, gid = (cell.account.uid, cell.account.gid) if os.geteuid() == 0 and not daemon.as_root else (None, None)
    with held(cell.log) as folder:
        log = open_new(f"{daemon.name}.out", folder, os.O_APPEND, 0o600)
    os.fchown(log, cell.account.uid, cell.account.gid)
    try:
        # Files for output, never pipes: daemons keep them, and whoever reads a pipe would wait for ever.
        process = subprocess.Popen(
            daemon.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
            user=uid, group=gid, extra_groups=None if uid is None else [], umask=0o077,
            # Little: secrets of whoever typed the command are not the daemons'.
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC", **dict(daemon.environment)},
        )  # fmt: skip
    except OSError as error:
        raise CellError(f"{daemon.name}: {error}: postfachwerk cell install") from error
    finally:
        os.close(log)
    _CHILDREN[process.pid] = process
    seen = _look(process.pid)
    record = _Record(
        pid=process.pid,
        began=seen.began if seen else 0,
        digest=daemon.digest,
        stop_signal=int(daemon.stop_signal),
        grace_seconds=daemon.grace_seconds,
        directory=str(daemon.directory or ""),
    )
    write(cell.run / f"{daemon.name}.json", json.dumps(asdict(record)), cell.account)


# Kept so that an ended child is noticed instead of staying a zombie that looks alive.
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}


def await_ready(cell: Cell, daemon: Daemon) -> None:
    """Return once it serves; raises CellError with the end of its log when it ends or stays silent."""
    began = time.monotonic()
    while not daemon.ready():
        ended = not is_running(cell, daemon.name)
        if ended or time.monotonic() - began > _READY_SECONDS:
            what = "ended while starting" if ended else "does not answer"
            raise CellError(
                "\n    ".join([f"{daemon.name} {what}; its log ends with", *_last_lines(cell, daemon.name)])
            )
        time.sleep(_PAUSE_SECONDS)


def stop(cell: Cell, name: str) -> None:
    """End it with everything it started: the leader is asked, and after its time of grace all are killed."""
    record = _read(cell, name)
    if record is None:
        return
    deadline = time.monotonic() + record.grace_seconds
    asked = False
    while members := _members(record):
        leader = [each for each in members if each.pid == record.pid]
        if time.monotonic() > deadline or not leader:
            _signal(members, signal.SIGKILL)
        elif not asked:
            _signal(leader, record.stop_signal)
            asked = True
        time.sleep(_PAUSE_SECONDS)
    with held(cell.run) as folder, suppress(FileNotFoundError):
        os.unlink(f"{name}.json", dir_fd=folder)


def greets(address: str, port: int, trust: ssl.SSLContext | None = None) -> bool:
    """Whether the server says its greeting, through TLS where `trust` is given."""
    with suppress(OSError), socket.create_connection((address, port), timeout=5) as plain:
        if trust is None:
            return bool(plain.recv(1))
        with trust.wrap_socket(plain, server_hostname=address) as secured:
            return bool(secured.recv(1))
    return False


def answers_http(url: str, trust: ssl.SSLContext | None = None) -> bool:
    """Whether a web server answers at all, be it with a refusal."""
    where = urlsplit(url)
    host, port = where.hostname or "", where.port or 0
    if where.scheme == "https":
        connection: HTTPConnection = HTTPSConnection(host, port, timeout=5, context=trust)
    else:
        connection = HTTPConnection(host, port, timeout=5)
    with closing(connection), suppress(OSError, HTTPException):
        connection.request("GET", where.path)
        return connection.getresponse().status < 500
    return False


def _read(cell: Cell, name: str) -> _Record | None:
    try:
        return _Record(**json.loads((cell.run / f"{name}.json").read_text()))
    except (FileNotFoundError, ValueError):
        return None


def _members(record: _Record | None) -> list[_Process]:
    """The living processes that the record tells of."""
    if record is None:
        return []
    if child := _CHILDREN.get(record.pid):
        child.poll()
    leader = _look(record.pid)
    if leader is not None and leader.began != record.began:
        return []
    numbers = (int(name) for name in os.listdir("/proc") if name.isdigit())
    seen = (_look(number) for number in numbers)
    ours = (each for each in seen if each and each.began >= record.began)
    return [each for each in ours if each.session == record.pid or _works_in(each.pid, record.directory)]


def _look(pid: int) -> _Process | None:
    """What the kernel says of a process; None when it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    words = text.rpartition(")")[2].split()  # the name before may hold spaces and brackets
    return None if words[0] == "Z" else _Process(pid, session=int(words[3]), began=int(words[19]))


def _works_in(pid: int, directory: str) -> bool:
    try:
        return bool(directory) and os.readlink(f"/proc/{pid}/cwd") == directory
    except OSError:
        return False


def _signal(members: Sequence[_Process], number: int) -> None:
    for each in members:
        with suppress(ProcessLookupError):
            os.kill(each.pid, number)


def _last_lines(cell: Cell, name: str) -> list[str]:
    lines: list[str] = []
    for path in (cell.log / f"{name}.log", cell.log / f"{name}.out"):
        with suppress(OSError):
            lines += path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    return lines
