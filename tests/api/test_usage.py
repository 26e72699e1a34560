"""The usage file: every mailbox of a month, and in sum the invoice; readable by csv, json and a spreadsheet."""

import csv
import io
import tracemalloc
from collections import Counter
from datetime import date
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from billing.periods import BillingMonth
from billing.rating import Period
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from provisioning.tenants import Customer
from tests import factories
from tests.api.conftest import MakeTenant
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    NOVEMBER,
    add_customer,
    add_mailboxes,
    add_periods,
    bill,
    random_world,
    read,
)

pytestmark = pytest.mark.anyio

# Fixed, and printed by its name when an assertion fails.
SEED = 20261124
# What spreadsheets run, in the ways it can be written.
FORMULAS = ("=1+1", "+49 30 1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "|cmd", "%0A=1")


@pytest.fixture
def database(fresh_database: Database, clock: TestClock) -> Database:
    """A month is billed once in a database; here it is over."""
    clock.advance(IN_DECEMBER)
    return fresh_database


async def rows(client: httpx.AsyncClient, **params: str) -> list[dict[str, Any]]:
    answer = await client.get("/v1/usage", params={"period": "2026-11", **params})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def read_csv(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8"), newline="")))


async def test_its_days_are_those_of_every_invoice_line(database: Database, operator: httpx.AsyncClient) -> None:
    async with database.as_system() as session:
        await random_world(session, SEED, months=[NOVEMBER])
    await bill(database)
    counted: Counter[tuple[str, str, str]] = Counter()
    for row in await rows(operator):
        assert row["mailbox_days"] == (date.fromisoformat(row["ends_on"]) - date.fromisoformat(row["starts_on"])).days
        assert (row["base_days"], row["quantity"], row["period"]) == (30, 1, "2026-11")
        counted[row["reseller_id"], row["customer_id"], row["service_class"]] += row["mailbox_days"]
    lines = await read(database, "select reseller_id, customer_id, service_class, mailbox_days from invoice_line")
    assert lines
    assert counted == {(reseller, customer, name): days for reseller, customer, name, days in lines}


async def test_each_stay_says_why_it_begins_and_ends(make_tenant: MakeTenant, database: Database) -> None:
    tenant = await make_tenant()
    async with database.as_system() as session:
        customer = await add_customer(session, tenant.reseller_id, "Kanzlei Grün")
        [staying] = await add_mailboxes(session, tenant.reseller_id, customer, starts_on=date(2026, 10, 5))
        [leaving] = await add_mailboxes(
            session, tenant.reseller_id, customer, starts_on=date(2026, 11, 3), ends_on=date(2026, 11, 20)
        )
        # Before, after, and a class that was changed again on its first day: none of them counts.
        for starts_on, ends_on in (
            (date(2026, 10, 1), date(2026, 11, 1)),
            (date(2026, 12, 1), None),
            (date(2026, 11, 7), date(2026, 11, 7)),
        ):
            await add_mailboxes(session, tenant.reseller_id, customer, starts_on=starts_on, ends_on=ends_on)
    found = {row["mailbox_id"]: row for row in await rows(tenant.client)}
    assert list(found) == sorted((staying, leaving))
    names = ("starts_on", "ends_on", "mailbox_days", "start_reason", "end_reason")
    assert [found[staying][name] for name in names] == ["2026-11-01", "2026-12-01", 30, "carried_over", "continues"]
    assert [found[leaving][name] for name in names] == ["2026-11-03", "2026-11-20", 17, "ordered", "deleted"]


async def test_own_ids_of_customer_and_mailbox_stand_in_it(make_tenant: MakeTenant, database: Database) -> None:
    tenant = await make_tenant()
    async with database.as_system() as session:
        customer = await add_customer(session, tenant.reseller_id)
        await session.execute(text("update customer set external_id = 'K-17' where id = :id"), {"id": customer})
        domain = await factories.make_domain(session, await session.get_one(Customer, customer))
        mailbox = await factories.order_mailbox(session, domain, address=f"chef@{domain.name}")
        await session.execute(text("update mailbox set external_id = 'P-4' where id = :id"), {"id": mailbox.id})
        await add_periods(
            session,
            tenant.reseller_id,
            [Period(mailbox.id, customer, "exchange", "de-fra-1", date(2026, 11, 1), None)],
        )
    [row] = await rows(tenant.client)
    assert (row["customer_id"], row["customer_external_id"]) == (customer, "K-17")
    assert (row["mailbox_id"], row["mailbox_external_id"]) == (mailbox.id, "P-4")


async def test_csv_says_what_json_says_in_the_same_order(database: Database, operator: httpx.AsyncClient) -> None:
    async with database.as_system() as session:
        await random_world(session, SEED, months=[NOVEMBER])
    as_json = await rows(operator)
    answer = await operator.get("/v1/usage?period=2026-11&format=csv")
    as_csv = read_csv(answer)
    assert list(as_csv[0]) == list(as_json[0])
    assert as_csv == [{name: "" if value is None else str(value) for name, value in row.items()} for row in as_json]
    again = await operator.get("/v1/usage?period=2026-11&format=csv")
    assert again.content == answer.content
    assert answer.headers["content-disposition"] == 'attachment; filename="usage-2026-11.csv"'
    assert int(answer.headers["content-length"]) == len(answer.content)


async def test_text_that_a_spreadsheet_would_run_is_text_in_csv_and_unchanged_in_json(
    make_tenant: MakeTenant, database: Database
) -> None:
    tenant = await make_tenant()
    harmless = (
        "Kanzlei Grün & Söhne",
        'Bäcker "Süß"; Filiale, 2',
        "3-2=1",
        "Müller\nSöhne",
        "\\.",
        "O'Neill",
        "a\x01\x02b",
    )
    async with database.as_system() as session:
        for name in (*FORMULAS, *harmless):
            customer = await add_customer(session, tenant.reseller_id, name)
            await add_mailboxes(session, tenant.reseller_id, customer)
    assert sorted(row["customer_name"] for row in await rows(tenant.client)) == sorted((*FORMULAS, *harmless))
    found = read_csv(await tenant.client.get("/v1/usage?period=2026-11&format=csv"))
    assert sorted(row["customer_name"] for row in found) == sorted((*(f"'{name}" for name in FORMULAS), *harmless))


async def test_a_reseller_sees_its_own_mailboxes_and_the_operator_all(
    make_tenant: MakeTenant, database: Database, operator: httpx.AsyncClient
) -> None:
    tenants = [await make_tenant() for _ in range(2)]
    async with database.as_system() as session:
        customers = [await add_customer(session, tenant.reseller_id) for tenant in tenants]
        for tenant, customer in zip(tenants, customers, strict=True):
            await add_mailboxes(session, tenant.reseller_id, customer, count=2)
    for tenant in tenants:
        assert {row["reseller_id"] for row in await rows(tenant.client)} == {tenant.reseller_id}
    assert len(await rows(operator)) == 4
    acting = await operator.get("/v1/usage?period=2026-11", headers={"Postfachwerk-Reseller": tenants[0].reseller_id})
    assert {row["reseller_id"] for row in acting.json()["items"]} == {tenants[0].reseller_id}
    assert len(await rows(tenants[0].client, customer=customers[0])) == 2
    for unknown in (customers[1], new_id("cus")):
        assert await rows(tenants[0].client, customer=unknown) == []


async def test_last_month_is_meant_when_none_is_given_and_a_running_one_is_an_estimate(
    make_tenant: MakeTenant, database: Database, clock: TestClock
) -> None:
    tenant = await make_tenant()
    async with database.as_system() as session:
        await add_mailboxes(session, tenant.reseller_id, await add_customer(session, tenant.reseller_id))
    body = (await tenant.client.get("/v1/usage")).json()
    assert (body["period"], body["is_estimate"], len(body["items"])) == ("2026-11", False, 1)
    running = (await tenant.client.get("/v1/usage?period=2026-12")).json()
    assert (running["period"], running["is_estimate"]) == (str(BillingMonth.containing(clock.now().date())), True)
    assert running["items"][0]["mailbox_days"] == 31


async def test_a_month_without_anything_is_a_file_without_rows(make_tenant: MakeTenant, database: Database) -> None:
    assert await read(database, "select 1 from service_period") == []
    tenant = await make_tenant()
    assert await rows(tenant.client) == []
    assert read_csv(await tenant.client.get("/v1/usage?period=2026-11&format=csv")) == []


@pytest.mark.parametrize("format_", ["json", "csv"])
async def test_a_large_file_is_sent_in_small_pieces_and_never_in_memory(
    app: FastAPI, database: Database, operator: httpx.AsyncClient, format_: str
) -> None:
    count = 40_000
    customer = await _add_many(database, count)
    sizes: list[int] = []
    heads: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await anyio.Event().wait()  # a client that stays to the end
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            heads.append(message)
        else:
            sizes.append(len(message["body"]))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/usage",
        "raw_path": b"/v1/usage",
        "query_string": f"period=2026-11&customer={customer}&format={format_}".encode(),
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in operator.headers.raw],
        "client": ("127.0.0.1", 1),
        "server": ("postfachwerk.test", 80),
    }
    tracemalloc.start()
    await app(scope, receive, send)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert heads[0]["status"] == 200
    assert dict(heads[0]["headers"])[b"content-length"] == str(sum(sizes)).encode()
    assert sum(sizes) > count * 150
    assert max(sizes) <= 64 * 1024
    assert peak < 4 * 1024 * 1024 < sum(sizes)


async def _add_many(database: Database, count: int) -> str:
    """A customer with so many mailboxes, by one statement and without asking for overlaps one by one."""
    async with database.as_system() as session:
        reseller = await factories.make_reseller(session)
        customer = await add_customer(session, reseller.id)
    async with database.transaction() as session:
        await session.execute(text("alter table service_period drop constraint ex_service_period_overlap"))
    async with database.as_system() as session:
        await session.execute(_MANY, {"reseller": reseller.id, "customer": customer, "count": count})
    return customer


_MANY = text(
    """
    insert into service_period (id, reseller_id, customer_id, mailbox_id, address, service_class, location,
        starts_on, start_reason)
    select 'per_' || n, :reseller, :customer, 'mbx_' || n, n || '@viele.example', 'exchange', 'de-fra-1',
        date '2026-11-01', 'ordered'
    from generate_series(1, :count) as n
    """
)
