"""Who can open what, for one person of a customer of 500 among 100,000 mailboxes and 200,000 shares."""

import asyncio
from datetime import UTC, datetime

from bench.load import request
from bench.measure import Bench, Figures, Subject, Target, middle, ratio
from bench.processes import PostgreSQL, serving
from bench.servers import serve_api, serve_floor
from bench.world import Tenant, fill_mailboxes, fill_shares, make_tenants, settle
from provisioning.core.database import Database

COLUMNS = ("p50 ms", "p99 ms", "floor p50", "floor p99", "p99 x floor", "app CPU ms", "PG CPU ms", "CPU x floor")
CONNECTIONS = 4
TIMES_FLOOR_MAX = 3.0
CUSTOMER_SIZE = 500


def measure(bench: Bench) -> Subject:
    subject = Subject("Access: GET /v1/mailboxes/{id}/access, beside the bare query", COLUMNS)
    mailboxes = 1_000 if bench.quick else 100_000
    with bench.new_database() as url:
        bench.step(f"access: filling {mailboxes:,} mailboxes and {2 * mailboxes:,} shares")
        tenant = asyncio.run(_prepare(url, mailboxes))
        postgres = PostgreSQL.at(url)
        each = 40 if bench.quick else 500
        with serving(serve_floor, url, bench.log) as floor, serving(serve_api, url, bench.log) as api:
            for direction in ("inbound", "outbound"):
                asked = {
                    floor: [_floor_request(direction, n, mailboxes) for n in range(each)],
                    api: [_request(tenant, direction, n, mailboxes) for n in range(each)],
                }
                rounds: dict[object, list[Figures]] = {floor: [], api: []}
                for number in range(bench.rounds + 1):
                    bench.step(f"access: {direction}, round {number} of {bench.rounds}")
                    for service, requests in asked.items():
                        figures = bench.measure(service, postgres, requests, connections=CONNECTIONS)
                        if number:  # round 0 warms up
                            rounds[service].append(figures)
                _report(subject, direction, rounds[floor], rounds[api])
    return subject


async def _prepare(url: str, mailboxes: int) -> Tenant:
    database = Database(url)
    [tenant] = await make_tenants(
        database, ["haus"], customers=max(1, mailboxes // CUSTOMER_SIZE), now=datetime.now(UTC)
    )
    await fill_mailboxes(database, tenant, mark="a", mailboxes=mailboxes, customers=tenant.customers)
    await fill_shares(database, tenant, mark="a", mailboxes=mailboxes, size=CUSTOMER_SIZE)
    await settle(database)
    await database.close()
    return tenant


def _mailbox(number: int, mailboxes: int) -> str:
    return f"mbx_aa{1 + number * 7919 % mailboxes:024d}"


def _request(tenant: Tenant, direction: str, number: int, mailboxes: int) -> bytes:
    path = f"/v1/mailboxes/{_mailbox(number, mailboxes)}/access?direction={direction}"
    return request("GET", path, headers=tenant.headers)


def _floor_request(direction: str, number: int, mailboxes: int) -> bytes:
    return request("GET", f"/access?mailbox={_mailbox(number, mailboxes)}&direction={direction}")


def _report(subject: Subject, direction: str, floors: list[Figures], done: list[Figures]) -> None:
    floor, api = middle(floors), middle(done)
    of_rounds = sorted(mine.p99_ms / least.p99_ms for mine, least in zip(done, floors, strict=True))
    times = of_rounds[len(of_rounds) // 2]
    subject.add(
        {"inbound": "who can open a mailbox", "outbound": "what its user can open"}[direction],
        api.p50_ms,
        api.p99_ms,
        floor.p50_ms,
        floor.p99_ms,
        times,
        api.app_cpu_ms,
        api.database_cpu_ms,
        ratio(api.cpu_ms, floor.cpu_ms),
    )
    subject.targets.append(Target(f"access p99, times its floor, {direction}", times, TIMES_FLOOR_MAX))
