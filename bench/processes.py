"""The processes that are measured, and what they cost: CPU seconds from /proc, which other load leaves alone."""

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

from psycopg import connect

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 60.0

# Forked from a process that has only imported: a measured one must not begin with the memory of the one that measures.
FORK = get_context("forkserver")
FORK.set_forkserver_preload(["bench.servers"])


@dataclass(frozen=True, slots=True)
class Service:
    """Processes of one kind, each with a port of its own (0 for one that does not listen)."""

    pids: tuple[int, ...]
    ports: tuple[int, ...]

    def first(self) -> "Service":
        """One of the processes alone; the others idle, which costs nothing."""
        return Service(self.pids[:1], self.ports[:1])

    def cpu_seconds(self) -> float:
        return sum(tree_cpu_seconds(pid) for pid in self.pids)


@dataclass(frozen=True, slots=True)
class PostgreSQL:
    """The server the bench brings along; `url` is a superuser's."""

    url: str
    postmaster: int

    @classmethod
    def at(cls, url: str) -> Self:
        with connect(url.replace("+psycopg", "")) as connection:
            row = connection.execute("select pg_backend_pid()").fetchone()
            assert row is not None
            return cls(url, _parent(row[0]))  # while the connection holds it: afterwards the process is gone

    def cpu_seconds(self) -> float:
        """Of the postmaster and all its backends, those that have ended included."""
        return tree_cpu_seconds(self.postmaster)


def tree_cpu_seconds(pid: int) -> float:
    """User and system time of a process, of its living children, and of its children that have ended."""
    fields = _stat(pid)
    if not fields:
        return 0.0
    ended = sum(int(each) for each in fields[13:15]) / _TICKS_PER_SECOND
    return _own_cpu_seconds(pid) + ended + sum(tree_cpu_seconds(child) for child in _children(pid))


def _own_cpu_seconds(pid: int) -> float:
    """In nanoseconds from the scheduler: the ticks of `stat` are too coarse for a dozen backends."""
    seconds = 0.0
    for thread in _entries(f"/proc/{pid}/task"):
        with suppress(OSError):  # ended meanwhile
            seconds += int((thread / "schedstat").read_text().split()[0]) / 1e9
    return seconds


def _children(pid: int) -> list[int]:
    children: list[int] = []
    for thread in _entries(f"/proc/{pid}/task"):
        with suppress(OSError):
            children += map(int, (thread / "children").read_text().split())
    return children


def _entries(folder: str) -> list[Path]:
    with suppress(OSError):
        return list(Path(folder).iterdir())
    return []


def _stat(pid: int) -> list[str]:
    try:
        # The name in parentheses may contain anything, also blanks.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return []


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


@contextmanager
def serving(target: Callable[..., None], *arguments: Any, processes: int = 1) -> Iterator[Service]:
    """Run `target(socket, *arguments)` in processes of their own until the block ends."""
    sockets = [_listening() for _ in range(processes)]
    with _running(target, [(each, *arguments) for each in sockets]) as pids:
        ports = tuple(int(each.getsockname()[1]) for each in sockets)
        for port in ports:
            _wait_for_answer(port)
        yield Service(pids, ports)


@contextmanager
def working(target: Callable[..., None], *arguments: Any, processes: int = 1) -> Iterator[Service]:
    """The same for what does not listen."""
    with _running(target, [arguments] * processes) as pids:
        yield Service(pids, (0,) * processes)


@contextmanager
def _running(target: Callable[..., None], calls: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, ...]]:
    # Daemons: they end with the bench, also when it is interrupted.
    running = [FORK.Process(target=target, args=arguments, daemon=True) for arguments in calls]
    try:
        for process in running:
            process.start()
        yield tuple(process.pid for process in running if process.pid)
    finally:
        for process in running:
            if process.is_alive():
                process.terminate()
        for process in running:
            process.join(timeout=15)
            if process.is_alive():
                process.kill()
                process.join(timeout=5)


def _listening() -> socket.socket:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(256)
    return listening


def _wait_for_answer(port: int) -> None:
    """Wait until the server accepts and answers; the socket alone listens from the beginning."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"The server on port {port} does not answer; its log is in the bench's folder.")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=left) as probe:
                probe.sendall(b"GET /healthz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
                if probe.recv(1):
                    return
        except OSError:
            time.sleep(0.05)
