"""Coupons, discounts and credit over HTTP."""

import httpx
import pytest

from provisioning.core.database import Database
from tests.api.conftest import MakeTenant
from tests.billing.ledger_factory import add_customer, add_mailboxes, add_prices, bill

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(fresh_database: Database) -> Database:
    """A month is billed once in a database, for everybody in it."""
    return fresh_database


COUPON = {"name": "Neukunden", "percent_basis_points": 1000, "duration": "repeating", "duration_in_months": 2}


async def test_a_coupon_becomes_a_discount_that_lowers_preview_invoice_and_page(
    operator: httpx.AsyncClient, make_tenant: MakeTenant, database: Database
) -> None:
    tenant = await make_tenant()
    coupon = (await operator.post("/v1/coupons", json=COUPON)).json()
    order = {"reseller_id": tenant.reseller_id, "coupon_id": coupon["id"], "first_month": "2026-10"}
    discount = (await operator.post("/v1/discounts", json=order)).json()
    assert (discount["starts_on"], discount["ends_on"]) == ("2026-10-01", "2026-12-01")
    granted = {"reseller_id": tenant.reseller_id, "amount_cents": 111, "reason": "Ausfall"}
    assert (await operator.post("/v1/credits", json=granted)).status_code == 201
    async with database.as_system() as session:
        await add_prices(session)
        await add_mailboxes(session, tenant.reseller_id, await add_customer(session, tenant.reseller_id))

    preview = (await tenant.client.get("/v1/billing/preview?period=2026-11")).json()
    await bill(database)
    [summary] = (await tenant.client.get("/v1/invoices")).json()["items"]
    invoice = (await tenant.client.get(f"/v1/invoices/{summary['id']}")).json()
    assert (invoice["allowances_cents"], invoice["net_cents"], invoice["gross_cents"]) == (190, 600, 714)
    assert (
        preview["allowances"]
        == invoice["allowances"]
        == [
            {
                "kind": "discount",
                "reason": "Neukunden",
                "percent_basis_points": 1000,
                "base_cents": 790,
                "amount_cents": 79,
            },
            {
                "kind": "credit",
                "reason": "Guthaben",
                "percent_basis_points": None,
                "base_cents": 711,
                "amount_cents": 111,
            },
        ]
    )
    page = (await tenant.client.get(f"/v1/invoices/{summary['id']}/html")).text
    for shown in ("Summe der Positionen", "Neukunden (10 % von 7,90 €)", "-0,79 €", "Guthaben", "-1,11 €"):
        assert shown in page
    credit = (await tenant.client.get("/v1/credits")).json()
    assert credit["balance_cents"] == 0
    assert {(each["amount_cents"], each["reason"]) for each in credit["items"]} == {
        (111, "Ausfall"),
        (-111, "PF-2026-000001"),
    }


async def test_a_reseller_sees_its_own_only_and_sets_none(operator: httpx.AsyncClient, make_tenant: MakeTenant) -> None:
    mine, other = await make_tenant(), await make_tenant()
    coupon = (await operator.post("/v1/coupons", json=COUPON)).json()
    order = {"reseller_id": other.reseller_id, "coupon_id": coupon["id"], "first_month": "2027-01"}
    assert (await operator.post("/v1/discounts", json=order)).status_code == 201
    assert (await operator.post("/v1/discounts", json=order)).json()["code"] == "discount_overlaps"
    assert (await mine.client.get("/v1/discounts")).json()["items"] == []
    assert len((await other.client.get("/v1/discounts")).json()["items"]) == 1
    for path, body in (("coupons", COUPON), ("discounts", order)):
        assert (await mine.client.post(f"/v1/{path}", json=body)).status_code == 403
    assert (await mine.client.get("/v1/coupons")).status_code == 403


async def test_a_coupon_that_somebody_has_had_stays(operator: httpx.AsyncClient, make_tenant: MakeTenant) -> None:
    tenant = await make_tenant()
    used, unused = [(await operator.post("/v1/coupons", json=COUPON)).json()["id"] for _ in range(2)]
    order = {"reseller_id": tenant.reseller_id, "coupon_id": used, "first_month": "2027-01"}
    discount = (await operator.post("/v1/discounts", json=order)).json()["id"]
    ended = await operator.delete(f"/v1/discounts/{discount}")
    assert (ended.status_code, ended.json()["ends_on"]) == (200, "2027-01-01")
    assert (await operator.delete(f"/v1/coupons/{used}")).json()["code"] == "coupon_used"
    assert (await operator.delete(f"/v1/coupons/{unused}")).status_code == 204
    assert [each["id"] for each in (await operator.get("/v1/coupons")).json()["items"]] == [used]
