"""A page of 50 among 1,000, 100,000 and 1,000,000 mailboxes of one reseller, beside the bare query.

The floor runs the same select through the same HTTP stack, without key, roles, row-level security and views.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from api.paging import encode_cursor
from bench.load import request
from bench.measure import Bench, Figures, Subject, Target, middle, ratio
from bench.processes import PostgreSQL, serving
from bench.servers import serve_api, serve_floor
from bench.world import Tenant, fill_mailboxes, make_tenants, settle
from provisioning.core.database import Database

COLUMNS = ("p50 ms", "p99 ms", "floor p50", "floor p99", "p99 x floor", "app CPU ms", "PG CPU ms", "CPU x floor")
CONNECTIONS = 4
TIMES_FLOOR_MAX = 3.0
FLAT_MAX = 1.5
CUSTOMERS, QUICK_CUSTOMERS = 200, 10


@dataclass(frozen=True, slots=True)
class _Page:
    """One kind of page of one reseller: what the service is asked, and what the floor is asked."""

    name: str
    size: int
    api: bytes
    floor: bytes


def measure(bench: Bench) -> Subject:
    subject = Subject("Lists: GET /v1/mailboxes, a page of 50, beside the bare query", COLUMNS)
    sizes = (100, 2_000) if bench.quick else (1_000, 100_000, 1_000_000)
    with bench.new_database() as url:
        bench.step(f"lists: filling {sum(sizes):,} mailboxes")
        pages = asyncio.run(_prepare(url, sizes, customers=QUICK_CUSTOMERS if bench.quick else CUSTOMERS))
        postgres = PostgreSQL.at(url)
        with serving(serve_floor, url, bench.log) as floor, serving(serve_api, url, bench.log) as api:
            rounds: list[list[tuple[Figures, Figures]]] = [[] for _ in pages]
            each = 40 if bench.quick else 300
            for number in range(bench.rounds + 1):
                bench.step(f"lists: round {number} of {bench.rounds}")
                for page, done in zip(pages, rounds, strict=True):
                    pair = tuple(
                        bench.measure(service, postgres, [asked] * each, connections=CONNECTIONS)
                        for service, asked in ((floor, page.floor), (api, page.api))
                    )
                    if number:  # round 0 warms up
                        done.append((pair[0], pair[1]))
    _report(subject, pages, rounds, sizes)
    return subject


async def _prepare(url: str, sizes: Sequence[int], *, customers: int) -> list[_Page]:
    database = Database(url)
    pages: list[_Page] = []
    tenants = await make_tenants(
        database, [f"haus-{size}" for size in sizes], customers=customers, now=datetime.now(UTC)
    )
    for mark, size, tenant in zip("abc", sizes, tenants, strict=False):
        await fill_mailboxes(database, tenant, mark=mark, mailboxes=size, customers=tenant.customers)
        pages += _pages(tenant, mark=mark, size=size)
    await settle(database)
    await database.close()
    return pages


def _pages(tenant: Tenant, *, mark: str, size: int) -> list[_Page]:
    deep = f"mbx_{mark * 2}{size // 3:024d}"
    customer = tenant.customers[1]
    asked: list[tuple[str, dict[str, str], dict[str, str]]] = [
        ("first page", {}, {}),
        ("deep page", {"cursor": encode_cursor(deep)}, {"before": deep}),
        ("of one customer", {"customer": customer}, {"by": "customer", "value": customer}),
        ("suspended ones", {"state": "suspended"}, {"by": "state", "value": "suspended"}),
        ("of class pop3", {"class": "pop3"}, {"by": "class", "value": "pop3"}),
    ]
    return [
        _Page(
            name,
            size,
            request("GET", f"/v1/mailboxes?{urlencode(api)}" if api else "/v1/mailboxes", headers=tenant.headers),
            request("GET", f"/mailboxes?{urlencode({'reseller': tenant.reseller_id, **floor})}"),
        )
        for name, api, floor in asked
    ]


def _report(
    subject: Subject,
    pages: Sequence[_Page],
    rounds: Sequence[Sequence[tuple[Figures, Figures]]],
    sizes: Sequence[int],
) -> None:
    p99: dict[str, dict[int, float]] = {}
    times: list[float] = []
    for page, done in zip(pages, rounds, strict=True):
        floor, api = middle([pair[0] for pair in done]), middle([pair[1] for pair in done])
        of_rounds = sorted(pair[1].p99_ms / pair[0].p99_ms for pair in done)
        times.append(of_rounds[len(of_rounds) // 2])
        p99.setdefault(page.name, {})[page.size] = api.p99_ms
        subject.add(
            f"{page.name}, {page.size:,}",
            api.p50_ms,
            api.p99_ms,
            floor.p50_ms,
            floor.p99_ms,
            times[-1],
            api.app_cpu_ms,
            api.database_cpu_ms,
            ratio(api.cpu_ms, floor.cpu_ms),
        )
    subject.targets.append(Target("list p99, times its floor, worst page", max(times), TIMES_FLOOR_MAX))
    grown = max(of_size[sizes[-1]] / of_size[sizes[0]] for of_size in p99.values())
    subject.targets.append(Target(f"list p99, {sizes[-1]:,} over {sizes[0]:,} mailboxes, worst page", grown, FLAT_MAX))
