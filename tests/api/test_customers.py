"""Customers over HTTP: limits, policies that only tighten, and what stands refusing what would break it."""

from typing import Any

import pytest

from provisioning.core.database import Database
from provisioning.models import Mailbox
from provisioning.tenants import Customer
from provisioning.terms import Intent, MailboxState
from tests.api.conftest import MakeTenant, Tenant
from tests.factories import make_domain, make_mailbox

pytestmark = pytest.mark.anyio


async def new_customer(tenant: Tenant, **order: Any) -> dict[str, Any]:
    answer = await tenant.client.post("/v1/customers", json={"name": "Kanzlei Lindenhof", **order})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def with_mailboxes(database: Database, customer: dict[str, Any], *details: dict[str, Any]) -> list[Mailbox]:
    """A domain of this customer, and one mailbox for each of these details."""
    async with database.as_system() as session:
        row = await session.get_one(Customer, customer["id"])
        domain = await make_domain(session, row)
        return [await make_mailbox(session, domain, **each) for each in details]


class TestNouns:
    async def test_a_customer_is_what_was_ordered(self, tenant: Tenant) -> None:
        order = {"name": "Kanzlei", "external_id": "K-1", "mailboxes_max": 25, "allowed_countries": ["DE"]}
        answer = await tenant.client.post("/v1/customers", json=order)
        customer = answer.json()
        assert answer.headers["Location"] == f"/v1/customers/{customer['id']}"
        assert customer | order == customer
        assert (customer["mailboxes_used"], customer["version"]) == (0, 1)
        assert (await tenant.client.get(answer.headers["Location"])).json() == customer

    async def test_customers_are_listed_newest_first_and_in_pages(self, tenant: Tenant) -> None:
        made = [(await new_customer(tenant, name=f"Kanzlei {number}"))["id"] for number in range(5)]
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await tenant.client.get(f"/v1/customers?limit=2{cursor}")).json()
            seen += [item["id"] for item in page["items"]]
            cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
        assert seen == made[::-1]

    async def test_a_customer_is_found_by_external_id_and_by_name(self, tenant: Tenant) -> None:
        wanted = await new_customer(tenant, name="100% Recht", external_id="K-1")
        await new_customer(tenant, name="1000 Rechte", external_id="K-10")
        for query in ({"external_id": "K-1"}, {"q": "100% r"}):
            items = (await tenant.client.get("/v1/customers", params=query)).json()["items"]
            assert [item["id"] for item in items] == [wanted["id"]]

    async def test_an_external_id_is_unique_for_one_reseller_and_free_for_another(
        self, tenant: Tenant, make_tenant: MakeTenant
    ) -> None:
        await new_customer(tenant, external_id="K-1")
        answer = await tenant.client.post("/v1/customers", json={"name": "Second", "external_id": "K-1"})
        assert (answer.status_code, answer.json()["code"]) == (409, "external_id_taken")
        other = await new_customer(tenant)
        taken = await tenant.client.patch(f"/v1/customers/{other['id']}", json={"external_id": "K-1"})
        assert (taken.status_code, taken.json()["code"]) == (409, "external_id_taken")
        await new_customer(await make_tenant(), external_id="K-1")

    async def test_a_customer_never_served_can_go(self, tenant: Tenant) -> None:
        customer = await new_customer(tenant)
        answer = await tenant.client.delete(f"/v1/customers/{customer['id']}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert (await tenant.client.get(f"/v1/customers/{customer['id']}")).status_code == 404
        assert (await tenant.client.get("/v1/me")).json()["reseller"]["customers"]["used"] == 0

    async def test_a_customer_with_a_domain_stays(self, tenant: Tenant, database: Database) -> None:
        customer = await new_customer(tenant)
        await with_mailboxes(database, customer)
        answer = await tenant.client.delete(f"/v1/customers/{customer['id']}")
        assert (answer.status_code, answer.json()["code"]) == (409, "customer_in_use")
        assert (await tenant.client.get(f"/v1/customers/{customer['id']}")).json()["mailboxes_used"] == 0

    async def test_another_resellers_customer_is_404(self, tenant: Tenant, make_tenant: MakeTenant) -> None:
        path = f"/v1/customers/{(await new_customer(await make_tenant()))['id']}"
        answers = [
            await tenant.client.get(path),
            await tenant.client.patch(path, json={"name": "mine"}),
            await tenant.client.delete(path),
        ]
        assert [answer.status_code for answer in answers] == [404] * 3


class TestLimits:
    async def test_the_resellers_limit_of_customers_holds_and_is_named(self, make_tenant: MakeTenant) -> None:
        tenant = await make_tenant(customers_max=1)
        await new_customer(tenant)
        answer = await tenant.client.post("/v1/customers", json={"name": "Second"})
        assert (answer.status_code, answer.json()["code"]) == (409, "limit_exceeded")
        assert answer.json()["limit"] == {"tier": "reseller", "name": "customers", "max": 1, "used": 1}
        assert (await tenant.client.get("/v1/me")).json()["reseller"]["customers"]["used"] == 1

    async def test_a_limit_is_not_set_below_its_use(self, tenant: Tenant, database: Database) -> None:
        customer = await new_customer(tenant)
        await with_mailboxes(database, customer, {}, {})
        path = f"/v1/customers/{customer['id']}"
        answer = await tenant.client.patch(path, json={"mailboxes_max": 1})
        assert (answer.status_code, answer.json()["code"]) == (409, "limit_below_use")
        assert answer.json()["limit"] == {"tier": "customer", "name": "mailboxes", "max": 1, "used": 2}
        assert (await tenant.client.patch(path, json={"mailboxes_max": 2})).status_code == 200
        unlimited = await tenant.client.patch(path, json={"mailboxes_max": None})
        assert (unlimited.json()["mailboxes_max"], unlimited.json()["mailboxes_used"]) == (None, 2)


class TestPolicies:
    async def test_a_customer_only_tightens_the_resellers_policy(self, make_tenant: MakeTenant) -> None:
        tenant = await make_tenant(allowed_countries=["DE"])
        answer = await tenant.client.post("/v1/customers", json={"name": "Kanzlei", "allowed_countries": ["DE", "FI"]})
        assert (answer.status_code, answer.json()["code"]) == (409, "policy_widens")
        assert answer.json()["rule"] == {"tier": "reseller", "name": "allowed_countries"}
        customer = await new_customer(tenant, allowed_countries=["DE"])
        path = f"/v1/customers/{customer['id']}"
        assert (await tenant.client.patch(path, json={"allowed_countries": ["FI"]})).json()["code"] == "policy_widens"
        assert (await tenant.client.patch(path, json={"allowed_locations": ["de-fra-1"]})).status_code == 200

    @pytest.mark.parametrize(
        "policy",
        [
            {"allowed_locations": ["de-fra-1"]},
            {"allowed_countries": ["DE"]},
            {"required_certificates": ["ISO27001"]},
        ],
    )
    async def test_mailboxes_outside_refuse_a_policy_and_are_named(
        self, tenant: Tenant, database: Database, policy: dict[str, list[str]]
    ) -> None:
        customer = await new_customer(tenant)
        outside = [{"location": "fi-hel-1"}] * 6  # where the certificate has lapsed
        mailboxes = await with_mailboxes(database, customer, {"location": "de-fra-1"}, *outside)
        path = f"/v1/customers/{customer['id']}"
        answer = await tenant.client.patch(path, json=policy)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (409, "policy_violated_by_existing")
        assert problem["mailboxes"] == 6
        assert problem["addresses"] == sorted(mailbox.address for mailbox in mailboxes[1:])[:5]
        assert (await tenant.client.get(path)).json()["version"] == 1

    async def test_mailboxes_that_are_gone_and_those_of_others_refuse_nothing(
        self, tenant: Tenant, database: Database
    ) -> None:
        customer, neighbour = await new_customer(tenant), await new_customer(tenant)
        gone: list[dict[str, Any]] = [
            {"intent": Intent.DELETED, "state": MailboxState.DELETED},
            {"intent": Intent.PURGED, "state": MailboxState.PURGED},
        ]
        await with_mailboxes(database, customer, *[{"location": "fi-hel-1", **each} for each in gone])
        await with_mailboxes(database, neighbour, {"location": "fi-hel-1"})
        answer = await tenant.client.patch(f"/v1/customers/{customer['id']}", json={"allowed_countries": ["DE"]})
        assert answer.status_code == 200, answer.text

    async def test_a_rule_is_not_held_up_by_another_that_time_has_broken(
        self, tenant: Tenant, database: Database
    ) -> None:
        customer = await new_customer(tenant, required_certificates=["ISO27001"])
        await with_mailboxes(database, customer, {"location": "fi-hel-1"})
        path = f"/v1/customers/{customer['id']}"
        assert (await tenant.client.patch(path, json={"allowed_countries": ["FI"]})).status_code == 200

    async def test_an_order_where_the_certificate_has_lapsed_is_refused(
        self, tenant: Tenant, database: Database
    ) -> None:
        customer = await new_customer(tenant, required_certificates=["ISO27001"])
        [mailbox] = await with_mailboxes(database, customer, {})
        order = {"address": f"x{mailbox.address}", "display_name": "Anna", "service_class": "exchange"}
        answer = await tenant.client.post("/v1/mailboxes", json={**order, "location": "fi-hel-1"})
        assert (answer.status_code, answer.json()["code"]) == (409, "placement_refused")
        assert answer.json()["rule"] == {"tier": "customer", "name": "required_certificates", "values": ["ISO27001"]}
        assert (await tenant.client.post("/v1/mailboxes", json={**order, "location": "de-fra-1"})).status_code == 202


class TestManners:
    async def test_a_customer_is_changed_only_as_it_was_read(self, tenant: Tenant) -> None:
        path = f"/v1/customers/{(await new_customer(tenant))['id']}"
        etag = (await tenant.client.get(path)).headers["ETag"]
        assert (await tenant.client.patch(path, json={"name": "A"}, headers={"If-Match": etag})).status_code == 200
        for write in (
            tenant.client.patch(path, json={"name": "B"}, headers={"If-Match": etag}),
            tenant.client.delete(path, headers={"If-Match": etag}),
        ):
            answer = await write
            assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed")
        assert (await tenant.client.get(path)).json()["name"] == "A"

    async def test_an_unchanged_customer_is_304_until_a_mailbox_is_ordered(
        self, tenant: Tenant, database: Database
    ) -> None:
        customer = await new_customer(tenant)
        path = f"/v1/customers/{customer['id']}"
        etag = (await tenant.client.get(path)).headers["ETag"]
        for known in (etag, f"W/{etag}", f'"7", {etag}'):
            assert (await tenant.client.get(path, headers={"If-None-Match": known})).status_code == 304
        await with_mailboxes(database, customer, {})
        answer = await tenant.client.get(path, headers={"If-None-Match": etag})
        assert (answer.status_code, answer.json()["mailboxes_used"]) == (200, 1)

    async def test_a_dry_run_changes_nothing(self, tenant: Tenant) -> None:
        customer = await new_customer(tenant)
        path = f"/v1/customers/{customer['id']}"
        tried = await tenant.client.patch(f"{path}?dry_run=true", json={"name": "Other"})
        assert (tried.status_code, tried.json()["would_be"]["name"]) == (200, "Other")
        gone = await tenant.client.delete(f"{path}?dry_run=true")
        assert (gone.status_code, gone.json()["would_be"]) == (200, None)
        await tenant.client.post("/v1/customers?dry_run=true", json={"name": "Third"})
        assert (await tenant.client.get("/v1/customers")).json()["items"] == [customer]
        assert [e["action"] for e in (await tenant.client.get("/v1/audit-events")).json()["items"]] == [
            "customer.create"
        ]

    async def test_a_repeated_call_is_done_once(self, tenant: Tenant) -> None:
        repeated = {"Idempotency-Key": "once"}
        first = await tenant.client.post("/v1/customers", json={"name": "Kanzlei"}, headers=repeated)
        again = await tenant.client.post("/v1/customers", json={"name": "Kanzlei"}, headers=repeated)
        assert (again.status_code, again.json()) == (201, first.json())
        assert again.headers["Location"] == first.headers["Location"]
        reused = await tenant.client.post("/v1/customers", json={"name": "Other"}, headers=repeated)
        assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")


class TestBadInput:
    @pytest.mark.parametrize(
        ("order", "pointer"),
        [
            ({}, "/name"),
            ({"name": ""}, "/name"),
            ({"name": "x" * 257}, "/name"),
            ({"name": "a\0b"}, "/name"),
            ({"name": "x", "a/b\0": 1}, ""),
            ({"name": "x", "nick": "y"}, "/nick"),
            ({"name": "x", "mailboxes_max": -1}, "/mailboxes_max"),
            ({"name": "x", "mailboxes_max": 2**31}, "/mailboxes_max"),
            ({"name": "x", "mailboxes_max": "1"}, "/mailboxes_max"),
            ({"name": "x", "mailboxes_max": False}, "/mailboxes_max"),
            ({"name": "x", "allowed_countries": ["de"]}, "/allowed_countries/0"),
            ({"name": "x", "allowed_countries": ["DE", "D\0"]}, "/allowed_countries/1"),
        ],
    )
    async def test_a_wrong_field_is_pointed_at(self, tenant: Tenant, order: dict[str, Any], pointer: str) -> None:
        answer = await tenant.client.post("/v1/customers", json=order)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)

    @pytest.mark.parametrize(
        "body",
        [
            b'{"name": "\\ud800"}',
            b'{"name": "\xed\xa0\x80"}',
            b'{"name": "\xff"}',
            '{"name": "Kanzlei"}'.encode("utf-16"),
            b'{"name": "\\u0000"}',
            b'{"name": "\0"}',
            b'{"name": ',
            b'{"mailboxes_max": ' + b"9" * 5000 + b"}",
            b"[" * 100_000,
        ],
    )
    async def test_text_that_nobody_can_keep_is_422(self, tenant: Tenant, body: bytes) -> None:
        answer = await tenant.client.post("/v1/customers", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, answer.text
        assert len(answer.json()["errors"]) == 1

    async def test_an_escaped_backslash_is_no_nul(self, tenant: Tenant) -> None:
        assert (await new_customer(tenant, name="C:\\u0000 \U0001f4e8"))["name"] == "C:\\u0000 \U0001f4e8"

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [("q=%00", "?q"), ("cursor=%00", "?cursor"), ("nick=x", "?nick"), ("q=a&q=b", "?q"), ("limit=201", "?limit")],
    )
    async def test_a_wrong_parameter_is_pointed_at(self, tenant: Tenant, query: str, pointer: str) -> None:
        answer = await tenant.client.get(f"/v1/customers?{query}")
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)

    async def test_null_takes_a_limit_away_but_never_a_name(self, tenant: Tenant) -> None:
        path = f"/v1/customers/{(await new_customer(tenant, mailboxes_max=3))['id']}"
        assert (await tenant.client.patch(path, json={"mailboxes_max": None})).json()["mailboxes_max"] is None
        answer = await tenant.client.patch(path, json={"name": None})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/name")
