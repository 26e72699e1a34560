"""Orders: one, many at a time, and until the backend has confirmed them; beside one bare INSERT.

The floor and the service take turns, round by round, so that both see the same other load on the machine.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, islice
from uuid import uuid4

from sqlalchemy import text

from bench.floor import TABLE
from bench.load import request
from bench.measure import Bench, Figures, Subject, Target, middle, ratio
from bench.processes import PostgreSQL, Service, serving, working
from bench.servers import serve_api, serve_floor, work
from bench.world import Tenant, fill_mailboxes, make_tenants, settle
from provisioning.core.database import Database

COLUMNS = ("orders/s", "p50 ms", "p99 ms", "app CPU ms", "PG CPU ms", "CPU ms", "x floor", "load CPU ms")
CONNECTIONS = 8
TIMES_FLOOR_MAX = 4.0
PER_SECOND_MIN = 400.0
_CONFIRM_SECONDS_MAX = 180

_REST = text("select count(*) from mailbox where confirmed_generation < generation")
_LATENCY = text(
    "select percentile_cont(array[0.5, 0.99]) within group (order by extract(epoch from finished_at - created_at)) "
    "from operation where created_at >= :since"
)


def measure(bench: Bench) -> Subject:
    """The whole subject, in a database of its own."""
    subject = Subject("Orders: POST /v1/mailboxes with everything on, beside one bare INSERT", COLUMNS)
    with bench.new_database() as url:
        many, one = asyncio.run(
            _prepare(url, tenants=4 if bench.quick else 20, standing=2_000 if bench.quick else 20_000)
        )
        postgres = PostgreSQL.at(url)
        with serving(serve_floor, url, bench.log) as floor, serving(serve_api, url, bench.log, processes=2) as both:
            single = _Run(bench, subject, postgres, both.first(), many)
            floor_ms = _intake(single, url, floor, one)
            _batches(single, floor_ms)
            _two_processes(_Run(bench, subject, postgres, both, many), floor_ms)
            asyncio.run(_forget_jobs(url))
            _sustained(single, url)
    return subject


@dataclass(frozen=True, slots=True)
class _Run:
    bench: Bench
    subject: Subject
    postgres: PostgreSQL
    api: Service
    orders: "_Orders"

    def send(self, requests: Sequence[bytes], *, connections: int = CONNECTIONS, things_each: int = 1) -> Figures:
        return self.bench.measure(
            self.api, self.postgres, requests, connections=connections, status=202, things_each=things_each
        )

    def add(self, name: str, figures: Figures, floor_ms: float) -> None:
        self.subject.add(
            name,
            figures.per_second,
            figures.p50_ms,
            figures.p99_ms,
            figures.app_cpu_ms,
            figures.database_cpu_ms,
            figures.cpu_ms,
            ratio(figures.cpu_ms, floor_ms),
            figures.load_cpu_ms,
        )


async def _prepare(url: str, *, tenants: int, standing: int) -> tuple["_Orders", "_Orders"]:
    """The tenants who order, beside others and their mailboxes that stand already.

    Without those PostgreSQL would plan for empty tables, look up foreign keys by reading the whole table, and go on so
    until autovacuum comes by: the first minute of a new installation, not its life. What orders alone fill (jobs,
    audit events, addresses) is settled after the round that warms up.
    """
    database, now = Database(url), datetime.now(UTC)
    async with database.transaction() as session:
        await session.execute(text(TABLE))
    many = await make_tenants(database, [f"haus-{n}" for n in range(tenants)], customers=5, now=now)
    one = await make_tenants(database, ["allein"], customers=5, now=now)
    old, *_ = await make_tenants(database, [f"bestand-{n}" for n in range(tenants * 5)], customers=5, now=now)
    await fill_mailboxes(database, old, mark="b", mailboxes=standing, customers=old.customers)
    await settle(database)
    await database.close()
    return _Orders(many), _Orders(one)


def _intake(run: _Run, url: str, floor: Service, one: "_Orders") -> float:
    """One process, workers stopped. Returns the floor's CPU ms for each order."""
    bench, each = run.bench, 60 if run.bench.quick else 400
    names = ("floor: one bare INSERT", "floor without SQLAlchemy", "order", "order, all of one reseller")
    rounds: dict[str, list[Figures]] = {name: [] for name in names}
    for number in range(bench.rounds + 1):
        bench.step(f"orders: intake, round {number} of {bench.rounds}")
        measured = (
            _floor(run, floor, _floor_requests("/mailboxes", each)),
            _floor(run, floor, _floor_requests("/raw/mailboxes", each)),
            run.send(run.orders.single(each)),
            run.send(one.single(each)),
        )
        if not number:  # round 0 warms up: imports, caches, prepared statements
            asyncio.run(_settle(url))
        else:
            for name, figures in zip(names, measured, strict=True):
                rounds[name].append(figures)
    middles = {name: middle(figures) for name, figures in rounds.items()}
    floor_ms = middles[names[0]].cpu_ms
    for name, figures in middles.items():
        run.add(name, figures, floor_ms)
    times = ratio(middles["order"].cpu_ms, floor_ms)
    run.subject.targets.append(Target("order, CPU of app and PostgreSQL, times its floor", times, TIMES_FLOOR_MAX))
    return floor_ms


def _floor(run: _Run, floor: Service, requests: Sequence[bytes]) -> Figures:
    return run.bench.measure(floor, run.postgres, requests, connections=CONNECTIONS, status=202)


def _floor_requests(path: str, many: int) -> list[bytes]:
    body = {"display_name": "Person Nummer 1", "service_class": "imap", "location": "de-fra-1"}
    return [
        request("POST", path, body=json.dumps(body | {"address": f"person.{n}@haus.example"}).encode())
        for n in range(many)
    ]


def _batches(run: _Run, floor_ms: float) -> None:
    for size in (100,) if run.bench.quick else (100, 500):
        run.bench.step(f"orders: batches of {size}")
        run.send(run.orders.batches(1, size=size), things_each=size)
        rounds = [
            run.send(run.orders.batches(3 if run.bench.quick else 10, size=size), connections=2, things_each=size)
            for _ in range(run.bench.rounds)
        ]
        run.add(f"batches of {size}", middle(rounds), floor_ms)


def _two_processes(run: _Run, floor_ms: float) -> None:
    run.send(run.orders.single(40))
    rounds = []
    for number in range(run.bench.rounds):
        run.bench.step(f"orders: two processes, round {number + 1} of {run.bench.rounds}")
        rounds.append(run.send(run.orders.single(60 if run.bench.quick else 600), connections=2 * CONNECTIONS))
    figures = middle(rounds)
    run.add("order, two API processes", figures, floor_ms)
    run.subject.targets.append(Target("orders/s intake", figures.per_second, PER_SECOND_MIN, at_least=True))


def _sustained(run: _Run, url: str) -> None:
    """From the first order until the backend has confirmed the last one, with one worker and the sandbox."""
    many = 20 if run.bench.quick else 300
    run.bench.step(f"orders: {many} until active")
    run.send(run.orders.single(20))
    with working(work, url, run.bench.log) as worker:
        asyncio.run(
            _confirmed(url, since=datetime.now(UTC))
        )  # what stands before the start: imports and caches are warm
        since, started = datetime.now(UTC), time.perf_counter()
        worker_cpu, database_cpu = worker.cpu_seconds(), run.postgres.cpu_seconds()
        figures = run.send(run.orders.single(many))
        p50, p99 = asyncio.run(_confirmed(url, since=since))
        seconds = time.perf_counter() - started
        worker_ms = max(0.0, worker.cpu_seconds() - worker_cpu) * 1000 / many
        database_ms = max(0.0, run.postgres.cpu_seconds() - database_cpu) * 1000 / many
    app_ms = figures.app_cpu_ms + worker_ms
    total = app_ms + database_ms
    run.subject.add(
        f"{many} orders until active, worker included",
        many / seconds,
        p50 * 1000,
        p99 * 1000,
        app_ms,
        database_ms,
        total,
        None,
        figures.load_cpu_ms,
    )


async def _settle(url: str) -> None:
    database = Database(url)
    await settle(database)
    await database.close()


async def _forget_jobs(url: str) -> None:
    """The intake's orders stay unconfirmed: what follows measures its own orders only."""
    database = Database(url)
    async with database.transaction() as session:
        await session.execute(text("truncate procrastinate_jobs cascade"))
    async with database.as_system() as session:
        await session.execute(text("update mailbox set confirmed_generation = generation, observed_at = now()"))
    await settle(database)
    await database.close()


async def _confirmed(url: str, *, since: datetime) -> tuple[float, float]:
    """Wait until the backend has confirmed all; p50 and p99 in seconds from order to confirmation."""
    database = Database(url)
    try:
        for _ in range(_CONFIRM_SECONDS_MAX * 10):
            async with database.as_system() as session:
                if not await session.scalar(_REST):
                    [percentiles] = (await session.execute(_LATENCY, {"since": since})).one()
                    p50, p99 = percentiles or (0.0, 0.0)
                    return float(p50), float(p99)
            await asyncio.sleep(0.1)
        raise TimeoutError(f"Mailboxes are still not active after {_CONFIRM_SECONDS_MAX} seconds.")
    finally:
        await database.close()


class _Orders:
    """Requests nobody has sent before; orders go round the tenants and their customers."""

    def __init__(self, tenants: Sequence[Tenant]) -> None:
        self._tenants = tenants
        self._numbers = count()

    def single(self, many: int) -> list[bytes]:
        numbers = islice(self._numbers, many)
        return [
            self._request("/v1/mailboxes", tenant, self._order(tenant, number))
            for number in numbers
            for tenant in [self._tenants[number % len(self._tenants)]]
        ]

    def batches(self, many: int, *, size: int) -> list[bytes]:
        made = []
        for _ in range(many):
            numbers = list(islice(self._numbers, size))
            tenant = self._tenants[numbers[0] // size % len(self._tenants)]
            orders = [self._order(tenant, number) for number in numbers]
            made.append(self._request("/v1/mailbox-batches", tenant, {"orders": orders}))
        return made

    def _request(self, path: str, tenant: Tenant, body: Mapping[str, object]) -> bytes:
        headers = [*tenant.headers, f"Idempotency-Key: {uuid4()}"]
        return request("POST", path, headers=headers, body=json.dumps(body).encode())

    def _order(self, tenant: Tenant, number: int) -> dict[str, object]:
        domain = tenant.domains[number // len(self._tenants) % len(tenant.domains)]
        return {
            "address": f"person.{number}@{domain}",
            "display_name": f"Person Nummer {number}",
            "service_class": ("pop3", "imap", "exchange")[number % 3],
            "location": "de-fra-1",
        }
