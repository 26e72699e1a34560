"""Resellers over HTTP, by the operator: admitted, changed, suspended; and what an operator may do in their name."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from provisioning.core.database import Database
from provisioning.keys import RESELLER_SCOPES
from provisioning.tenants import Customer
from tests.api.conftest import MakeClient, MakeTenant, Tenant
from tests.billing.ledger_factory import add_customer, add_mailboxes
from tests.factories import make_domain, make_mailbox

pytestmark = pytest.mark.anyio

ADDRESS = {
    "name": "IT-Haus Goslar GmbH",
    "street": "Marktstraße 5",
    "postcode": "38640",
    "city": "Goslar",
    "billing_email": "buchhaltung@it-haus.example",
}


async def new_reseller(operator: httpx.AsyncClient, **order: Any) -> dict[str, Any]:
    answer = await operator.post("/v1/resellers", json={**ADDRESS, **order})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def new_customer(tenant: Tenant) -> str:
    return str((await tenant.client.post("/v1/customers", json={"name": "Kanzlei"})).json()["id"])


class TestAdmission:
    async def test_a_reseller_is_admitted_with_its_first_key(
        self, operator: httpx.AsyncClient, make_client: MakeClient
    ) -> None:
        reseller = await new_reseller(operator, vat_id="DE123456788", mailboxes_max=10)
        assert (reseller["country"], reseller["standing"], reseller["customers_used"]) == ("DE", "good", 0)
        order = {"name": "first", "scopes": sorted(RESELLER_SCOPES)}
        key = await operator.post(f"/v1/resellers/{reseller['id']}/api-keys", json=order)
        assert key.status_code == 201
        client = make_client(key.json()["secret"])
        me = (await client.get("/v1/me")).json()
        assert (me["reseller"]["id"], me["operator"]) == (reseller["id"], False)
        assert key.json()["secret"] not in (await client.get("/v1/api-keys")).text

    async def test_the_secret_of_the_first_key_is_not_replayed(self, operator: httpx.AsyncClient) -> None:
        path = f"/v1/resellers/{(await new_reseller(operator))['id']}/api-keys"
        order, once = {"name": "first", "scopes": ["mailboxes:read"]}, {"Idempotency-Key": uuid4().hex}
        first = await operator.post(path, json=order, headers=once)
        again = await operator.post(path, json=order, headers=once)
        assert first.json()["secret"] is not None
        assert again.json() == {**first.json(), "secret": None}

    async def test_an_operator_hands_out_no_scope_it_lacks(
        self, operator: httpx.AsyncClient, make_client: MakeClient
    ) -> None:
        order = {"name": "clerk", "scopes": ["resellers:write", "mailboxes:read"]}
        clerk = make_client((await operator.post("/v1/api-keys", json=order)).json()["secret"])
        path = f"/v1/resellers/{(await new_reseller(operator))['id']}/api-keys"
        refused = await clerk.post(path, json={"name": "x", "scopes": ["mailboxes:read", "mailboxes:write"]})
        assert (refused.status_code, refused.json()["scopes"]) == (403, ["mailboxes:write"])
        assert (await clerk.post(path, json={"name": "x", "scopes": ["mailboxes:read"]})).status_code == 201

    async def test_an_external_id_is_unique_among_resellers(self, operator: httpx.AsyncClient) -> None:
        external_id = uuid4().hex
        await new_reseller(operator, external_id=external_id)
        answer = await operator.post("/v1/resellers", json={**ADDRESS, "external_id": external_id})
        assert (answer.status_code, answer.json()["code"]) == (409, "external_id_taken")

    @pytest.mark.parametrize(
        ("field", "value"),
        [("country", "de"), ("vat_id", "123"), ("billing_email", "nobody"), ("mailboxes_max", 2**31), ("name", None)],
    )
    async def test_a_wrong_field_is_pointed_at(self, operator: httpx.AsyncClient, field: str, value: Any) -> None:
        answer = await operator.post("/v1/resellers", json={**ADDRESS, field: value})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{field}")
        path = f"/v1/resellers/{(await new_reseller(operator))['id']}"
        answer = await operator.patch(path, json={field: value})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{field}")

    async def test_resellers_are_listed_newest_first(self, operator: httpx.AsyncClient) -> None:
        made = [(await new_reseller(operator))["id"] for _ in range(3)]
        first = (await operator.get("/v1/resellers?limit=2")).json()
        second = (await operator.get(f"/v1/resellers?limit=1&cursor={first['next_cursor']}")).json()
        assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]


class TestWhoMay:
    async def test_resellers_are_none_of_a_resellers_business(self, tenant: Tenant) -> None:
        answer = await tenant.client.get("/v1/resellers")
        assert (answer.status_code, answer.json()["code"]) == (403, "operator_only")

    async def test_an_operator_admits_nobody_while_it_acts_for_somebody(
        self, operator: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        acting = {"Postfachwerk-Reseller": tenant.reseller_id}
        answer = await operator.post("/v1/resellers", json=ADDRESS, headers=acting)
        assert (answer.status_code, answer.json()["code"]) == (403, "operator_only")

    async def test_an_operator_needs_a_reseller_for_what_resellers_own(self, operator: httpx.AsyncClient) -> None:
        answer = await operator.get("/v1/customers")
        assert (answer.status_code, answer.json()["code"]) == (403, "reseller_needed")

    async def test_an_operator_acts_for_a_reseller_and_sees_its_rows_only(
        self, operator: httpx.AsyncClient, tenant: Tenant, make_tenant: MakeTenant
    ) -> None:
        mine, other = await new_customer(tenant), await new_customer(await make_tenant())
        acting = {"Postfachwerk-Reseller": tenant.reseller_id}
        listed = (await operator.get("/v1/customers", headers=acting)).json()["items"]
        assert [item["id"] for item in listed] == [mine]
        assert (await operator.get(f"/v1/customers/{other}", headers=acting)).status_code == 404

    async def test_acting_for_an_unknown_reseller_is_404(self, operator: httpx.AsyncClient) -> None:
        answer = await operator.get("/v1/customers", headers={"Postfachwerk-Reseller": "res_" + "0" * 26})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    async def test_what_the_operator_does_for_a_reseller_stands_in_the_resellers_log(
        self, operator: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        acting = {"Postfachwerk-Reseller": tenant.reseller_id}
        await operator.post("/v1/customers", json={"name": "Kanzlei"}, headers=acting)
        [event] = (await tenant.client.get("/v1/audit-events")).json()["items"]
        assert event["actor"] == (await operator.get("/v1/me")).json()["key_id"]


class TestStanding:
    async def test_a_suspended_reseller_reads_but_changes_nothing(
        self, operator: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        customer = await new_customer(tenant)
        path = f"/v1/resellers/{tenant.reseller_id}"
        suspended = await operator.post(f"{path}/suspend", json={"reason": "Invoice overdue"})
        assert (suspended.json()["standing"], suspended.json()["standing_reason"]) == ("suspended", "Invoice overdue")
        assert (await tenant.client.get(f"/v1/customers/{customer}")).status_code == 200
        assert (await tenant.client.get("/v1/me")).json()["reseller"]["standing_reason"] == "Invoice overdue"
        writes = [
            await tenant.client.post("/v1/customers", json={"name": "More"}),
            await tenant.client.patch(f"/v1/customers/{customer}", json={"name": "Other"}),
            await tenant.client.delete(f"/v1/customers/{customer}"),
            await tenant.client.post("/v1/api-keys", json={"name": "x", "scopes": ["mailboxes:read"]}),
        ]
        assert {(write.status_code, write.json()["code"]) for write in writes} == {(403, "reseller_suspended")}
        items = (await tenant.client.get("/v1/customers")).json()["items"]
        assert [item["name"] for item in items] == ["Kanzlei"]

    async def test_the_operator_still_acts_for_a_suspended_one_and_can_resume_it(
        self, operator: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        path = f"/v1/resellers/{tenant.reseller_id}"
        await operator.post(f"{path}/suspend", json={"reason": "Invoice overdue"})
        acting = {"Postfachwerk-Reseller": tenant.reseller_id}
        assert (await operator.post("/v1/customers", json={"name": "A"}, headers=acting)).status_code == 201
        resumed = (await operator.post(f"{path}/resume")).json()
        assert (resumed["standing"], resumed["standing_reason"]) == ("good", None)
        assert (await tenant.client.post("/v1/customers", json={"name": "B"})).status_code == 201

    async def test_a_suspension_stands_in_the_operators_log(self, operator: httpx.AsyncClient, tenant: Tenant) -> None:
        await operator.post(f"/v1/resellers/{tenant.reseller_id}/suspend", json={"reason": "Invoice overdue"})
        events = (await operator.get(f"/v1/audit-events?resource_id={tenant.reseller_id}")).json()["items"]
        assert [(event["action"], event["detail"]) for event in events] == [
            ("reseller.suspend", {"reason": "Invoice overdue"})
        ]


class TestLimitsAndPolicy:
    async def test_limits_are_not_set_below_their_use(self, operator: httpx.AsyncClient, tenant: Tenant) -> None:
        await new_customer(tenant)
        path = f"/v1/resellers/{tenant.reseller_id}"
        answer = await operator.patch(path, json={"customers_max": 0})
        assert (answer.status_code, answer.json()["code"]) == (409, "limit_below_use")
        assert answer.json()["limit"] == {"tier": "reseller", "name": "customers", "max": 0, "used": 1}
        assert (await operator.patch(path, json={"customers_max": 1, "mailboxes_max": 0})).status_code == 200

    async def test_a_mailbox_of_any_customer_refuses_a_policy_it_would_break(
        self, operator: httpx.AsyncClient, tenant: Tenant, make_tenant: MakeTenant, database: Database
    ) -> None:
        customers = [await new_customer(tenant), await new_customer(await make_tenant())]
        async with database.as_system() as session:
            mailboxes = [
                await make_mailbox(
                    session,
                    await make_domain(session, await session.get_one(Customer, customer)),
                    location="fi-hel-1",
                )
                for customer in customers
            ]
        path = f"/v1/resellers/{tenant.reseller_id}"
        answer = await operator.patch(path, json={"allowed_countries": ["DE"]})
        assert (answer.status_code, answer.json()["code"]) == (409, "policy_violated_by_existing")
        assert (answer.json()["mailboxes"], answer.json()["addresses"]) == (1, [mailboxes[0].address])
        assert (await operator.patch(path, json={"allowed_countries": ["DE", "FI"]})).status_code == 200

    async def test_a_tightened_reseller_binds_customers_that_allow_more(
        self, operator: httpx.AsyncClient, tenant: Tenant, database: Database
    ) -> None:
        answer = await tenant.client.post("/v1/customers", json={"name": "A", "allowed_countries": ["DE", "FI"]})
        path = f"/v1/resellers/{tenant.reseller_id}"
        assert (await operator.patch(path, json={"allowed_countries": ["DE"]})).status_code == 200
        async with database.as_system() as session:
            domain = await make_domain(session, await session.get_one(Customer, answer.json()["id"]))
        order = {"address": f"a@{domain.name}", "display_name": "A", "service_class": "imap", "location": "fi-hel-1"}
        refused = await tenant.client.post("/v1/mailboxes", json=order)
        assert (refused.status_code, refused.json()["rule"]["tier"]) == (409, "reseller")


class TestManners:
    async def test_a_reseller_is_changed_only_as_it_was_read(self, operator: httpx.AsyncClient) -> None:
        path = f"/v1/resellers/{(await new_reseller(operator))['id']}"
        etag = (await operator.get(path)).headers["ETag"]
        assert (await operator.get(path, headers={"If-None-Match": etag})).status_code == 304
        assert (await operator.patch(path, json={"city": "Bonn"}, headers={"If-Match": etag})).status_code == 200
        stale = await operator.patch(path, json={"city": "Ulm"}, headers={"If-Match": etag})
        assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
        assert (await operator.get(path)).json()["city"] == "Bonn"

    async def test_a_dry_run_suspends_nobody(self, operator: httpx.AsyncClient, tenant: Tenant) -> None:
        path = f"/v1/resellers/{tenant.reseller_id}"
        tried = await operator.post(f"{path}/suspend?dry_run=true", json={"reason": "to see"})
        assert tried.json()["would_be"]["standing"] == "suspended"
        assert (await operator.get(path)).json()["standing"] == "good"

    async def test_an_unknown_reseller_is_404(self, operator: httpx.AsyncClient) -> None:
        path = "/v1/resellers/res_" + "0" * 26
        answers = [
            await operator.get(path),
            await operator.patch(path, json={}),
            await operator.post(f"{path}/suspend", json={"reason": "x"}),
            await operator.post(f"{path}/resume"),
            await operator.post(f"{path}/api-keys", json={"name": "x", "scopes": ["mailboxes:read"]}),
        ]
        assert [answer.status_code for answer in answers] == [404] * 5


class TestBillingAnchor:
    async def test_it_is_chosen_freely_until_a_mailbox_has_been_in_service(
        self, operator: httpx.AsyncClient, database: Database
    ) -> None:
        order = {**ADDRESS, "billing_anchor_day": 31}
        created = (await operator.post("/v1/resellers", json=order)).json()
        assert created["billing_anchor_day"] == 31
        path = f"/v1/resellers/{created['id']}"
        assert (await operator.patch(path, json={"billing_anchor_day": 15})).json()["billing_anchor_day"] == 15
        async with database.as_system() as session:
            await add_mailboxes(session, created["id"], await add_customer(session, created["id"]))
        answer = await operator.patch(path, json={"billing_anchor_day": 1})
        assert (answer.status_code, answer.json()["code"]) == (409, "billing_anchor_fixed")
        assert (await operator.patch(path, json={"billing_anchor_day": 15, "city": "Bonn"})).status_code == 200

    @pytest.mark.parametrize("day", [0, 32, None, "1"])
    async def test_it_is_a_day_of_a_month(self, operator: httpx.AsyncClient, day: object) -> None:
        answer = await operator.post("/v1/resellers", json={**ADDRESS, "billing_anchor_day": day})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/billing_anchor_day"
