"""Mailboxes in real cells: from the order to the first program that opens them, beside the bare calls to the agent.

The bare calls take turns with the service, which adds REST, its database, a worker, and reading back.
"""

import asyncio
import imaplib
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from psycopg import connect

from bench.load import LoadError, percentile
from bench.measure import Bench, Subject, ratio
from bench.processes import serving, working
from bench.servers import serve_api, work
from bench.world import Tenant, make_tenants
from provisioning.cell.errors import CellError
from provisioning.cell.layout import Cell, cells_in, open_cell
from provisioning.cell.running import down, up
from provisioning.core.database import Database
from provisioning.passwords import hash_password

COLUMNS = ("per second", "p50 s", "p95 s", "p50 x bare")
HERE, THERE = "de-fra-1", "fi-hel-1"
PASSWORD = "Sieben Zwerge trinken 3 Liter Most"
_WAIT_SECONDS = 120.0
_PAUSE_SECONDS = 0.01
_AT_ONCE = 8
_MAIL = b"From: a@bench.example\r\nTo: b@bench.example\r\nSubject: bench\r\n\r\n" + b"Postfach und Fachwerk\r\n" * 80
# FolderSync with key 0, as a phone begins: WBXML 1.3, UTF-8, page FolderHierarchy.
_FOLDER_SYNC = b"\x03\x01\x6a\x00\x00\x07\x56\x52\x030\x00\x01\x01"
_CELLS = "update data_centre set driver = 'open_cell', sandbox = false where code = any(%s)"
_UNCONFIRMED = "select count(*) from mailbox where confirmed_generation < generation"
_UNSHARED = "select count(*) from share where state <> 'active'"


def measure(bench: Bench) -> Subject:
    """Empty, with the reason as its title, where the packages of a cell are not installed."""
    subject = Subject("Cells: orders that end in mailboxes which programs open, beside bare calls", COLUMNS)
    try:
        with _cells(bench) as cells, bench.new_database() as url, _world(bench, url, cells) as world:
            _first_opening(bench, subject, world)
            _many(bench, subject, world)
            _moves(bench, subject, world)
    except CellError as error:
        return Subject(f"Cells: not measured, {error}", COLUMNS)
    return subject


@contextmanager
def _cells(bench: Bench) -> Iterator[list[Cell]]:
    with tempfile.TemporaryDirectory(prefix="postfachwerk-bench-cells-") as folder:
        Path(folder).chmod(0o711)  # the cells' account passes through
        bench.step(f"cells: bring up {HERE} and {THERE}")
        try:
            with ThreadPoolExecutor() as threads:
                yield list(threads.map(partial(up, Path(folder)), (HERE, THERE)))
        finally:
            for name in cells_in(Path(folder)):
                down(open_cell(Path(folder), name))


@dataclass(frozen=True, slots=True)
class _World:
    """The service as a reseller reaches it, the agents as the service does, and the cells as programs do."""

    url: str
    service: httpx.Client
    agents: dict[str, httpx.Client]
    cells: dict[str, Cell]
    tls: ssl.SSLContext
    domain: str
    password_hash: str

    def call(self, method: str, path: str, body: Any = None, *, wait: bool = False) -> Any:
        """`wait` has the service answer when it has come true, at most ten seconds later."""
        headers = {"Prefer": "wait=10"} if wait else {}
        return _answer(self.service.request(method, f"/v1{path}", json=body, headers=headers))

    def order(self, name: str) -> str:
        """A mailbox with a password, once both have come true; its id.

        Nobody logs in before: Dovecot makes who fails wait longer each time.
        """
        order = {
            "address": f"{name}@{self.domain}",
            "display_name": name,
            "service_class": "exchange",
            "location": HERE,
        }
        mailbox_id: str = self.call("POST", "/mailboxes", order)["id"]
        self.call("PUT", f"/mailboxes/{mailbox_id}/password", {"password": PASSWORD}, wait=True)
        return mailbox_id

    def make(self, name: str) -> str:
        """The same as one bare call to the agent; the cell's id."""
        spec = {
            "kind": "user",
            "service_class": "exchange",
            "display_name": name,
            "quota_mib": 1024,
            "protocols": ["activesync", "caldav", "carddav", "imap", "pop3", "smtp", "web"],
            "addresses": [f"{name}@{self.domain}"],
            "password_version": 1,
        }
        body = {"spec": spec, "password_hash": self.password_hash}
        answer = self.agents[HERE].put(f"/v1/mailboxes/mbx_{name}", json=body)
        backend_id: str = _answer(answer)["backend_id"]
        return backend_id

    def log_in(self, name: str, code: str = HERE) -> imaplib.IMAP4_SSL:
        cell = self.cells[code]
        client = imaplib.IMAP4_SSL(cell.address, cell.ports.imaps, ssl_context=self.tls, timeout=30)
        client.login(f"{name}@{self.domain}", PASSWORD)
        return client

    def opens_mail(self, name: str) -> bool:
        with suppress(imaplib.IMAP4.error):
            self.log_in(name).logout()
            return True
        return False

    def opens_phone(self, name: str) -> bool:
        user, cell = f"{name}@{self.domain}", self.cells[HERE]
        answer = httpx.post(
            f"https://{cell.address}:{cell.ports.https}/Microsoft-Server-ActiveSync",
            params={"Cmd": "FolderSync", "User": user, "DeviceId": "bench", "DeviceType": "bench"},
            content=_FOLDER_SYNC,
            headers={"Content-Type": "application/vnd.ms-sync.wbxml", "MS-ASProtocolVersion": "14.1"},
            auth=(user, PASSWORD),
            verify=self.tls,
            timeout=30,
        )
        return answer.status_code == httpx.codes.OK and bool(answer.content)

    def wait_for_none(self, count: str) -> None:
        with connect(self.url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("set role postfachwerk_system")
            _until(lambda: connection.execute(count.encode()).fetchone() == (0,))


@contextmanager
def _world(bench: Bench, url: str, cells: Sequence[Cell]) -> Iterator[_World]:
    tenant = asyncio.run(_prepare(url))
    with connect(url.replace("+psycopg", "")) as connection:
        connection.execute(_CELLS, [[HERE, THERE]])
    registry = cells[0].root.parent / "cells.json"
    tls = ssl.create_default_context(cafile=str(cells[0].ca_file))
    with serving(serve_api, url, bench.log) as api, working(work, url, bench.log, registry):
        world = _World(
            url=url,
            service=httpx.Client(
                base_url=f"http://127.0.0.1:{api.ports[0]}",
                headers={"Authorization": f"Bearer {tenant.secret}"},
                timeout=60,
            ),
            agents={
                cell.name: httpx.Client(
                    base_url=cell.agent_url,
                    headers={"Authorization": f"Bearer {cell.secrets.agent}"},
                    verify=tls,
                    timeout=60,
                )
                for cell in cells
            },
            cells={cell.name: cell for cell in cells},
            tls=tls,
            domain=tenant.domains[0],
            password_hash=hash_password(PASSWORD),
        )
        yield world
        for client in (world.service, *world.agents.values()):
            client.close()


async def _prepare(url: str) -> Tenant:
    database = Database(url)
    [tenant] = await make_tenants(database, ["zelle"], customers=1, now=datetime.now(UTC))
    await database.close()
    return tenant


def _first_opening(bench: Bench, subject: Subject, world: _World) -> None:
    """One after the other: how long one order takes where nothing else is to be done."""
    many = 3 if bench.quick else 30
    for kind, opens in (("IMAP login", world.opens_mail), ("ActiveSync sync", world.opens_phone)):
        bench.step(f"cells: first {kind}")
        times: dict[str, list[float]] = {"order": [], "bare call": []}
        for number in range(many + 1):
            for way, make in (("order", world.order), ("bare call", world.make)):
                name = f"{kind.split()[0].lower()}.{way.split()[0]}.{number}"
                seconds = _until_opened(name, make, opens)
                if number:  # the first warms up
                    times[way].append(seconds)
        bare = percentile(times["bare call"], 0.5)
        for way, each in times.items():
            middle = percentile(each, 0.5)
            subject.add(f"{way} to first {kind}", 1 / middle, middle, percentile(each, 0.95), ratio(middle, bare))


def _until_opened(name: str, make: Callable[[str], str], opens: Callable[[str], bool]) -> float:
    started = time.perf_counter()
    make(name)
    _until(lambda: opens(name))
    return time.perf_counter() - started


def _many(bench: Bench, subject: Subject, world: _World) -> None:
    """As many at once as a batch holds, until all are confirmed; then a share of each with the next one."""
    many = 10 if bench.quick else 200
    names = [f"viele.{number}" for number in range(many)]
    bench.step(f"cells: {many} mailboxes, bare")
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        bare_seconds, boxes = _timed(lambda: list(threads.map(world.make, [f"bare.{name}" for name in names])))
        folders = list(threads.map(partial(_calendar, world), boxes))
        pairs = list(zip(boxes, folders, [*boxes[1:], boxes[0]], strict=True))
        shares_seconds, _ = _timed(lambda: list(threads.map(partial(_grant, world), pairs)))
    bench.step(f"cells: {many} mailboxes through the service")
    order = {"service_class": "exchange", "location": HERE}
    orders = [{**order, "address": f"{name}@{world.domain}", "display_name": name} for name in names]

    def order_all() -> list[str]:
        verdicts = world.call("POST", "/mailbox-batches", {"orders": orders})["verdicts"]
        world.wait_for_none(_UNCONFIRMED)
        return [each["mailbox"]["id"] for each in verdicts]

    seconds, ids = _timed(order_all)
    subject.add("mailboxes until active, one batch", many / seconds, None, None, ratio(seconds, bare_seconds))
    subject.add("mailboxes, bare calls", many / bare_seconds, None, None, 1.0)
    bench.step(f"cells: {many} shares through the service")

    def share_all() -> None:
        for owner, grantee in zip(ids, [*ids[1:], ids[0]], strict=True):
            world.call("PUT", f"/mailboxes/{owner}/shares/calendar/{grantee}", {"access": "read_write"})
        world.wait_for_none(_UNSHARED)

    seconds, _ = _timed(share_all)
    subject.add("calendar shares until active", many / seconds, None, None, ratio(seconds, shares_seconds))
    subject.add("calendar shares, bare calls", many / shares_seconds, None, None, 1.0)


def _calendar(world: _World, backend_id: str) -> str:
    """The id of the mailbox's calendar."""
    agent = world.agents[HERE]
    mailbox_id = _answer(agent.get(f"/v1/boxes/{backend_id}"))["mailbox_id"]
    folders = _answer(agent.get(f"/v1/mailboxes/{mailbox_id}"))["folders"]
    return next(str(each["id"]) for each in folders if each["type"] == "calendar")


def _grant(world: _World, pair: tuple[str, str, str]) -> None:
    owner, folder, grantee = pair
    path = f"/v1/boxes/{owner}/folders/{folder}/rights/{grantee}"
    _answer(world.agents[HERE].put(path, json={"mask": 0x1C7B}))


def _moves(bench: Bench, subject: Subject, world: _World) -> None:
    """A mailbox with a thousand mails to the other country and back; the bare call is one pass of copying."""
    mails, turns = (50, 1) if bench.quick else (1_000, 4)
    bench.step(f"cells: a mailbox of {mails} mails")
    mailbox_id, box = world.order("umzug"), world.make("umzug.bare")
    world.wait_for_none(_UNCONFIRMED)
    for name in ("umzug", "umzug.bare"):
        client = world.log_in(name)
        for _ in range(mails):
            client.append("INBOX", None, None, _MAIL)
        client.logout()
    times = []
    for turn in range(turns):
        to = (THERE, HERE)[turn % 2]
        bench.step(f"cells: move to {to}")

        def move(to: str = to) -> None:
            world.call("POST", f"/mailboxes/{mailbox_id}/move", {"location": to})
            world.wait_for_none(_UNCONFIRMED)

        times.append(_timed(move)[0])
        client = world.log_in("umzug", to)
        if client.select("INBOX", readonly=True)[1] != [str(mails).encode()]:
            raise LoadError(f"The mailbox that moved to {to} does not hold its {mails} mails.")
        client.logout()
    bare_seconds, _ = _timed(lambda: _copy(world, box))
    middle = percentile(times, 0.5)
    subject.add(
        f"move of {mails:,} mails", mails / middle, middle, percentile(times, 0.95), ratio(middle, bare_seconds)
    )
    subject.add(f"bare copy of {mails:,} mails", mails / bare_seconds, bare_seconds, None, 1.0)


def _copy(world: _World, box: str) -> None:
    here, there = world.agents[HERE], world.agents[THERE]
    record = _answer(here.get(f"/v1/boxes/{box}/record"))
    _answer(there.put(f"/v1/arrivals/{box}", json=record))
    _until(lambda: bool(_answer(here.post(f"/v1/boxes/{box}/copy", json={"to": THERE}))["done"]))


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"A cell does not come to an end within {_WAIT_SECONDS:.0f} seconds.")
        time.sleep(_PAUSE_SECONDS)


def _answer(answer: httpx.Response) -> Any:
    if answer.is_error:
        raise LoadError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:400]}")
    return answer.json() if answer.content else None
