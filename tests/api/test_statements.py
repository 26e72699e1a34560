"""Statements at the reseller's own prices: the invoice's days, the invoice's formula, and the margin between."""

import csv
import io
from datetime import date
from typing import Any

import httpx
import pytest

from billing.money import round_half_up
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from tests.api.conftest import MakeTenant, Tenant
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    NOVEMBER,
    add_customer,
    add_mailboxes,
    add_prices,
    bill,
    random_world,
    read,
)
from tests.billing.resale_factory import add_resale_price

pytestmark = pytest.mark.anyio

SEED = 20261124


@pytest.fixture
def database(fresh_database: Database, clock: TestClock) -> Database:
    """A month is billed once in a database; here it is over."""
    clock.advance(IN_DECEMBER)
    return fresh_database


@pytest.fixture
async def tenant(make_tenant: MakeTenant, database: Database) -> Tenant:
    """A reseller with a law office (30 + 14 Exchange days, 30 IMAP days) and a bakery (17 Exchange days)."""
    tenant = await make_tenant()
    async with database.as_system() as session:
        await add_prices(session)
        law = await add_customer(session, tenant.reseller_id, "Kanzlei Grün")
        bakery = await add_customer(session, tenant.reseller_id, "=Bäckerei")
        for starts_on in (date(2026, 10, 5), date(2026, 11, 17)):
            await add_mailboxes(session, tenant.reseller_id, law, starts_on=starts_on)
        await add_mailboxes(session, tenant.reseller_id, law, service_class="imap")
        await add_mailboxes(
            session, tenant.reseller_id, bakery, starts_on=date(2026, 11, 3), ends_on=date(2026, 11, 20)
        )
    return tenant


async def customer_id(database: Database, name: str) -> str:
    [(found,)] = await read(database, "select id from customer where name = :name", name=name)
    return str(found)


async def margins(tenant: Tenant, **params: str) -> dict[str, Any]:
    answer = await tenant.client.get("/v1/statements", params={"period": "2026-11", **params})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def price(tenant: Tenant, **fields: Any) -> dict[str, Any]:
    new = {"service_class": "exchange", "price_cents": 1190, "valid_from": "2026-01-01", **fields}
    answer = await tenant.client.post("/v1/resale-prices", json=new)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


class TestMargins:
    async def test_wholesale_is_the_invoice_and_resale_its_formula(self, tenant: Tenant, database: Database) -> None:
        await price(tenant)
        await price(tenant, service_class="imap", price_cents=490)
        await bill(database)
        body = await margins(tenant)
        bakery, law = body["items"]
        assert (bakery["wholesale_net_cents"], bakery["resale_net_cents"]) == (448, 674)  # 17 × 7.90 and 11.90 / 30
        assert (bakery["margin_cents"], bakery["margin_basis_points"]) == (226, 3353)
        assert law["resale_net_cents"] == round_half_up(44 * 1190, 30) + 490 == 2235
        assert law["mailbox_days"] == 74
        [(net,)] = await read(database, "select net_cents from invoice")
        assert body["totals"]["wholesale_net_cents"] == net == sum(row["wholesale_net_cents"] for row in body["items"])
        assert body["totals"]["resale_net_cents"] == 674 + 2235
        assert body["totals"]["margin_cents"] == 674 + 2235 - net
        assert (body["is_estimate"], body["totals"]["unpriced_days"]) == (False, 0)

    async def test_before_the_invoice_it_is_the_preview_and_to_the_cent_the_same(
        self, tenant: Tenant, database: Database
    ) -> None:
        await price(tenant)
        await price(tenant, service_class="imap", price_cents=490)
        before = await margins(tenant)
        await bill(database)
        after = await margins(tenant)
        assert (before.pop("is_estimate"), after.pop("is_estimate")) == (True, False)
        assert before == after

    async def test_wholesale_sums_are_the_invoices_of_any_world(
        self, database: Database, operator: httpx.AsyncClient
    ) -> None:
        async with database.as_system() as session:
            world = await random_world(session, SEED, months=[NOVEMBER])
        await bill(database)
        from_invoices = {
            (reseller, customer): cents
            for reseller, customer, cents in await read(
                database,
                "select reseller_id, customer_id, cast(sum(net_cents) as bigint) from invoice_line group by 1, 2",
            )
        }
        found: dict[tuple[str, str], int] = {}
        for reseller_id in world.periods:
            acting = {"Postfachwerk-Reseller": reseller_id}
            answer = await operator.get("/v1/statements?period=2026-11", headers=acting)
            items = answer.json()["items"]
            found |= {(reseller_id, row["customer_id"]): row["wholesale_net_cents"] for row in items}
        assert from_invoices
        assert found == from_invoices

    async def test_a_class_without_a_price_gives_no_sum_and_says_how_many_days(
        self, tenant: Tenant, database: Database
    ) -> None:
        await price(tenant)
        await bill(database)
        bakery, law = (await margins(tenant))["items"]
        assert (bakery["resale_net_cents"], bakery["unpriced_days"]) == (674, 0)
        names = ("resale_net_cents", "margin_cents", "margin_basis_points", "unpriced_days")
        assert [law[name] for name in names] == [None, None, None, 30]

    async def test_selling_below_cost_and_for_nothing_is_shown(self, tenant: Tenant, database: Database) -> None:
        await price(tenant, price_cents=395)
        await price(tenant, service_class="imap", price_cents=0)
        bakery, law = (await margins(tenant))["items"]
        assert (bakery["margin_cents"], bakery["margin_basis_points"]) == (224 - 448, -10000)
        await price(tenant, price_cents=0, customer_id=await customer_id(database, "Kanzlei Grün"))
        _, law = (await margins(tenant))["items"]
        assert (law["resale_net_cents"], law["margin_basis_points"]) == (0, None)

    async def test_csv_has_the_same_numbers_and_no_formula(self, tenant: Tenant) -> None:
        await price(tenant)
        rows = (await margins(tenant))["items"]
        answer = await tenant.client.get("/v1/statements?period=2026-11&format=csv")
        found = list(csv.DictReader(io.StringIO(answer.text, newline="")))
        assert [row["customer_name"] for row in found] == ["'=Bäckerei", "Kanzlei Grün"]
        for name in ("wholesale_net_cents", "resale_net_cents", "margin_cents", "customer_id"):
            assert [row[name] for row in found] == ["" if row[name] is None else str(row[name]) for row in rows]


class TestPrices:
    async def test_the_last_one_that_began_by_the_first_of_the_month_holds(
        self, tenant: Tenant, database: Database
    ) -> None:
        for valid_from, cents in (("2026-01-01", 1000), ("2026-11-01", 1100), ("2026-11-02", 9900)):
            await price(tenant, valid_from=valid_from, price_cents=cents)
        statement = await statement_of(tenant, await customer_id(database, "=Bäckerei"))
        assert [line["price_cents"] for line in statement["lines"]] == [1100]

    async def test_a_customers_own_price_wins_however_old(self, tenant: Tenant, database: Database) -> None:
        bakery = await customer_id(database, "=Bäckerei")
        await price(tenant, valid_from="2026-01-01", price_cents=800, customer_id=bakery)
        await price(tenant, valid_from="2026-11-01", price_cents=1190)
        assert [line["price_cents"] for line in (await statement_of(tenant, bakery))["lines"]] == [800]

    async def test_changing_and_removing_one_shows_in_the_statement(self, tenant: Tenant, database: Database) -> None:
        bakery = await customer_id(database, "=Bäckerei")
        first, second = await price(tenant), await price(tenant, valid_from="2026-10-01", price_cents=1500)
        path = f"/v1/resale-prices/{second['id']}"
        changed = await tenant.client.patch(path, json={"price_cents": 1600}, headers={"If-Match": '"1"'})
        assert (changed.status_code, changed.json()["price_cents"], changed.headers["etag"]) == (200, 1600, '"2"')
        assert (await statement_of(tenant, bakery))["lines"][0]["price_cents"] == 1600
        stale = await tenant.client.patch(path, json={"price_cents": 1}, headers={"If-Match": '"1"'})
        assert stale.status_code == 412
        assert (await tenant.client.delete(path)).status_code == 204
        assert (await statement_of(tenant, bakery))["lines"][0]["price_cents"] == first["price_cents"]
        listed = (await tenant.client.get("/v1/resale-prices")).json()["items"]
        assert [each["id"] for each in listed] == [first["id"]]

    async def test_the_same_price_twice_is_refused(self, tenant: Tenant) -> None:
        await price(tenant)
        again = await tenant.client.post(
            "/v1/resale-prices",
            json={"service_class": "exchange", "price_cents": 1, "valid_from": "2026-01-01"},
        )
        assert (again.status_code, again.json()["code"]) == (409, "resale_price_exists")

    async def test_another_resellers_customer_and_price_are_unknown(
        self, tenant: Tenant, make_tenant: MakeTenant, database: Database
    ) -> None:
        other = await make_tenant()
        async with database.as_system() as session:
            theirs = await add_customer(session, other.reseller_id)
            price_id = await add_resale_price(session, other.reseller_id)
        new = {"service_class": "exchange", "price_cents": 1, "valid_from": "2026-01-01", "customer_id": theirs}
        assert (await tenant.client.post("/v1/resale-prices", json=new)).status_code == 404
        assert (await tenant.client.get(f"/v1/resale-prices/{price_id}")).status_code == 404
        assert (await tenant.client.get(f"/v1/statements/{theirs}?period=2026-11")).status_code == 404
        # Nor do their prices price ours.
        assert {row["resale_net_cents"] for row in (await margins(tenant))["items"]} == {None}

    async def test_a_key_that_only_reads_sets_no_price(self, make_tenant: MakeTenant) -> None:
        reader = await make_tenant(scopes=frozenset({"billing:read"}))
        new = {"service_class": "exchange", "price_cents": 1, "valid_from": "2026-01-01"}
        answer = await reader.client.post("/v1/resale-prices", json=new)
        assert (answer.status_code, answer.json()["missing_scope"]) == (403, "resale_prices:write")

    async def test_a_customer_that_was_never_served_goes_with_its_prices(
        self, tenant: Tenant, database: Database
    ) -> None:
        created = await tenant.client.post("/v1/customers", json={"name": "Nie beliefert"})
        await price(tenant, customer_id=created.json()["id"])
        assert (await tenant.client.delete(f"/v1/customers/{created.json()['id']}")).status_code == 204
        assert await read(database, "select id from resale_price") == []


class TestStatement:
    async def test_it_has_both_parties_and_lines_that_add_up(self, tenant: Tenant, database: Database) -> None:
        await price(tenant)
        await price(tenant, service_class="imap", price_cents=490)
        await bill(database)
        statement = await statement_of(tenant, await customer_id(database, "Kanzlei Grün"))
        assert statement["lines"] == [
            {"service_class": "exchange", "mailbox_days": 44, "base_days": 30, "price_cents": 1190, "net_cents": 1745},
            {"service_class": "imap", "mailbox_days": 30, "base_days": 30, "price_cents": 490, "net_cents": 490},
        ]
        assert statement["net_cents"] == 1745 + 490
        assert (statement["seller"]["id"], statement["seller"]["city"]) == (tenant.reseller_id, "Goslar")
        assert statement["buyer"]["name"] == "Kanzlei Grün"

    async def test_nothing_in_it_tells_what_the_reseller_pays(self, tenant: Tenant, database: Database) -> None:
        await price(tenant)
        bakery = await customer_id(database, "=Bäckerei")
        for format_ in ("json", "csv"):
            answer = await tenant.client.get(f"/v1/statements/{bakery}?period=2026-11&format={format_}")
            assert "wholesale" not in answer.text
            assert "margin" not in answer.text
            assert "448" not in answer.text.replace(bakery, "").replace(tenant.reseller_id, "")

    async def test_csv_has_its_lines(self, tenant: Tenant, database: Database) -> None:
        await price(tenant)
        bakery = await customer_id(database, "=Bäckerei")
        answer = await tenant.client.get(f"/v1/statements/{bakery}?period=2026-11&format=csv")
        [line] = csv.DictReader(io.StringIO(answer.text, newline=""))
        assert (line["service_class"], line["mailbox_days"], line["net_cents"]) == ("exchange", "17", "674")
        assert line["customer_name"] == "'=Bäckerei"

    async def test_a_class_without_a_price_is_a_conflict_that_names_it(
        self, tenant: Tenant, database: Database
    ) -> None:
        await price(tenant)
        law = await customer_id(database, "Kanzlei Grün")
        for format_ in ("json", "csv"):
            answer = await tenant.client.get(f"/v1/statements/{law}?period=2026-11&format={format_}")
            assert (answer.status_code, answer.json()["code"]) == (409, "no_resale_price")
            assert answer.json()["service_classes"] == ["imap"]

    async def test_who_was_not_served_owes_nothing_and_who_is_unknown_is_404(
        self, tenant: Tenant, database: Database
    ) -> None:
        async with database.as_system() as session:
            quiet = await add_customer(session, tenant.reseller_id, "Still")
        statement = await statement_of(tenant, quiet)
        assert (statement["lines"], statement["net_cents"]) == ([], 0)
        assert (await tenant.client.get(f"/v1/statements/{new_id('cus')}")).status_code == 404


async def statement_of(tenant: Tenant, customer: str) -> dict[str, Any]:
    answer = await tenant.client.get(f"/v1/statements/{customer}?period=2026-11")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body
