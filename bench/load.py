"""The load generator: raw HTTP/1.1 on kept connections, in a process of its own, bounded in count and in time."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import cast

import uvloop

from bench.processes import FORK

_GRACE_SECONDS = 20.0  # for the answers still awaited when no more may be asked


class LoadError(Exception):
    """A server did not answer as it should; the message has its words."""


@dataclass(slots=True)
class Outcome:
    """`cpu_seconds` are the generator's own, so that it can be seen not to be the bottleneck."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    first_refusal: str = ""

    @property
    def answered(self) -> int:
        return len(self.latencies_ms)

    def check(self, status: int) -> None:
        """Raises LoadError unless all answers have this status: a fast refusal is not a fast answer."""
        if set(self.statuses) != {status}:
            raise LoadError(f"Expected {status}, got {dict(self.statuses)}. {self.first_refusal[:800]}")


class Generator:
    """Sends loads from the other process, one at a time."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def send(self, ports: Sequence[int], requests: Sequence[bytes], *, connections: int, seconds: float) -> Outcome:
        """Send the requests over this many connections, each sending its next one when it has its answer."""
        return self._pool.submit(_send, list(ports), list(requests), connections=connections, seconds=seconds).result()


@contextmanager
def generator() -> Iterator[Generator]:
    with ProcessPoolExecutor(1, mp_context=FORK) as pool:
        pool.submit(_warm).result()
        yield Generator(pool)


def request(method: str, path: str, *, headers: Sequence[str] = (), body: bytes | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _warm() -> None:
    """Brings the process up, so that its imports are not in the first measurement."""


def _send(ports: list[int], requests: list[bytes], *, connections: int, seconds: float) -> Outcome:
    return uvloop.run(_run(ports, requests, connections=connections, seconds=seconds))


async def _run(ports: list[int], requests: list[bytes], *, connections: int, seconds: float) -> Outcome:
    loop, outcome, left = asyncio.get_running_loop(), Outcome(), iter(requests)
    started, cpu = perf_counter(), process_time()
    clients: list[_Client] = []
    for index in range(connections):
        port = ports[index % len(ports)]
        _, client = await loop.create_connection(lambda: _Client(left, outcome, started + seconds), "127.0.0.1", port)
        clients.append(client)
    try:
        async with asyncio.timeout(seconds + _GRACE_SECONDS):
            await asyncio.gather(*(client.done for client in clients))
    finally:
        for client in clients:
            client.close()
    outcome.seconds, outcome.cpu_seconds = perf_counter() - started, process_time() - cpu
    return outcome


class _Client(asyncio.Protocol):
    """One connection. Callbacks rather than streams: they cost a third, and the generator shares the cores."""

    def __init__(self, left: Iterator[bytes], outcome: Outcome, until: float) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left, self._outcome, self._until = left, outcome, until
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._expected = 0
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send_next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._expected:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            self._expected = end + 4 + _content_length(bytes(self._received[:end]))
        if len(self._received) >= self._expected:
            self._take_answer()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(LoadError(f"The server closed a connection: {error or 'no reason given'}"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _take_answer(self) -> None:
        self._outcome.latencies_ms.append((perf_counter() - self._sent_at) * 1000)
        status = int(self._received[9:12])
        self._outcome.statuses[status] += 1
        if status >= 400 and not self._outcome.first_refusal:
            self._outcome.first_refusal = self._received.decode(errors="replace")
        self._received.clear()
        self._expected = 0
        self._send_next()

    def _send_next(self) -> None:
        assert self._transport is not None
        now = perf_counter()
        following = next(self._left, None) if now < self._until else None
        if following is None:
            if not self.done.done():
                self.done.set_result(None)
            return
        self._sent_at = now
        self._transport.write(following)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise LoadError(f"An answer without a length: {head!r}")
