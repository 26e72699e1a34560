"""Domains over HTTP: claimed in either form, proven by a record, told what else they need."""

from typing import Any

import pytest
from sqlalchemy import text

from api.context import Context
from provisioning import dns_records
from provisioning.core.database import Database
from provisioning.models import Domain
from provisioning.resolver import ResolverUnavailable, SandboxZone
from tests.api.conftest import MakeTenant, Tenant
from tests.api.onboarding import (
    Home,
    add_customer,
    add_domain,
    another_home,
    check,
    order,
    refused,
    set_proof,
    unique_name,
    verify,
)

pytestmark = pytest.mark.anyio


class AwayDns:
    """Name servers that do not answer."""

    async def query(self, name: str, kind: str) -> list[str]:
        raise ResolverUnavailable(f"DNS did not answer for {kind} of {name}")


@pytest.fixture
async def customer(database: Database, tenant: Tenant) -> str:
    return await add_customer(database, tenant)


async def test_a_new_domain_says_which_record_proves_it(tenant: Tenant, customer: str) -> None:
    name = unique_name()
    answer = await tenant.client.post("/v1/domains", json={"name": name.upper(), "customer_id": customer})
    domain = check(answer, 201)
    assert answer.headers["location"] == f"/v1/domains/{domain['id']}"
    assert answer.headers["etag"] == '"1"'
    assert (domain["name"], domain["state"], domain["verified_at"]) == (name, "pending_verification", None)
    proof = domain["verification"]
    assert (proof["kind"], proof["name"]) == ("TXT", f"_postfachwerk.{name}")
    assert proof["expected"].startswith("postfachwerk-verification=")
    assert check(await tenant.client.get(f"/v1/domains/{domain['id']}"), 200) == domain


async def test_each_claim_has_a_token_of_its_own(tenant: Tenant, customer: str) -> None:
    tokens = {(await add_domain(tenant, customer, unique_name()))["verification"]["expected"] for _ in range(5)}
    assert len(tokens) == 5


async def test_an_umlaut_domain_is_shown_in_both_forms(tenant: Tenant, customer: str) -> None:
    ending = unique_name("x")
    domain = await add_domain(tenant, customer, f"Straße.{ending}")
    assert domain["name"] == f"xn--strae-oqa.{ending}"
    assert domain["unicode_name"] == f"straße.{ending}"


async def test_strasse_with_ss_is_another_domain(tenant: Tenant, customer: str) -> None:
    ending = unique_name("x")
    sharp, plain = [await add_domain(tenant, customer, f"{word}.{ending}") for word in ("straße", "strasse")]
    assert sharp["name"] != plain["name"]
    again = {"name": f"xn--strae-oqa.{ending}", "customer_id": customer}
    refused(await tenant.client.post("/v1/domains", json=again), 409, "domain_taken")


@pytest.mark.parametrize("name", ["localhost", "192.0.2.1", "a b.example", "-a.example", "under_score.example"])
async def test_what_is_no_domain_is_refused_at_its_field(tenant: Tenant, customer: str, name: str) -> None:
    answer = await tenant.client.post("/v1/domains", json={"name": name, "customer_id": customer})
    problem = refused(answer, 422, "invalid")
    assert problem["errors"][0]["pointer"] == "/name"


async def test_a_name_too_long_for_its_records_is_refused_at_its_field(tenant: Tenant, customer: str) -> None:
    label = "a" * 61
    names = [".".join([label, label, label, "b" * length, "example"]) for length in (41, 40)]
    assert [len(name) for name in names] == [235, 234]
    answers = [await tenant.client.post("/v1/domains", json={"name": name, "customer_id": customer}) for name in names]
    assert refused(answers[0], 422, "invalid")["errors"][0]["pointer"] == "/name"
    records = dns_records.expected_records(
        Domain(**check(answers[1], 201) | {"verification_token": ""}), service_domain="x"
    )
    assert max(len(record.name) for record in records) == 253


async def test_another_resellers_customer_does_not_exist(
    database: Database, make_tenant: MakeTenant, tenant: Tenant
) -> None:
    foreign = await add_customer(database, await make_tenant())
    answer = await tenant.client.post("/v1/domains", json={"name": unique_name(), "customer_id": foreign})
    refused(answer, 404, "not_found")


async def test_a_dry_run_adds_nothing(tenant: Tenant, customer: str) -> None:
    name = unique_name()
    answer = await tenant.client.post("/v1/domains?dry_run=true", json={"name": name, "customer_id": customer})
    assert check(answer, 200)["would_be"]["name"] == name
    assert check(await tenant.client.get("/v1/domains"), 200)["items"] == []


async def test_the_record_verifies_the_domain_for_good(zone: SandboxZone, tenant: Tenant, customer: str) -> None:
    domain = await add_domain(tenant, customer, unique_name())
    set_proof(zone, domain)
    verified = await verify(tenant, domain)
    assert (verified["state"], verified["version"]) == ("verified", 2)
    assert verified["verified_at"] is not None
    zone.set(domain["verification"]["name"], "TXT", [])
    assert await verify(tenant, domain) == verified
    events = check(await tenant.client.get(f"/v1/domains/{domain['id']}"), 200)
    assert events == verified


async def test_a_missing_record_is_named(tenant: Tenant, customer: str) -> None:
    domain = await add_domain(tenant, customer, unique_name())
    answer = await tenant.client.post(f"/v1/domains/{domain['id']}/verify")
    problem = refused(answer, 409, "domain_not_verified")
    assert problem["record"] == {**domain["verification"], "found": []}


async def test_a_wrong_record_is_shown_beside_the_right_one(zone: SandboxZone, tenant: Tenant, customer: str) -> None:
    domain = await add_domain(tenant, customer, unique_name())
    zone.set(domain["verification"]["name"], "TXT", ["postfachwerk-verification=of-last-year", "other=1"])
    problem = refused(await tenant.client.post(f"/v1/domains/{domain['id']}/verify"), 409, "domain_not_verified")
    assert problem["record"]["found"] == ["postfachwerk-verification=of-last-year"]


async def test_silent_name_servers_are_503_and_nothing_is_written(
    context: Context, database: Database, tenant: Tenant, customer: str
) -> None:
    domain = await add_domain(tenant, customer, unique_name())
    before = await written(database, tenant)
    context.resolver = AwayDns()
    headers = {"Idempotency-Key": "first"}
    answer = await tenant.client.post(f"/v1/domains/{domain['id']}/verify", headers=headers)
    refused(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert await written(database, tenant) == before
    shown = check(await tenant.client.get(f"/v1/domains/{domain['id']}/dns"), 200)
    assert {record["status"] for record in shown["records"]} == {"unknown"}
    assert not shown["ready"]


async def written(database: Database, tenant: Tenant) -> Any:
    """What a verification could have changed."""
    query = text(
        """
        select (select jsonb_agg(domain order by id) from domain where reseller_id = :id),
               (select count(*) from audit_event where reseller_id = :id),
               (select count(*) from idempotency_key where principal_id = :id)
        """
    )
    async with database.as_system() as session:
        return (await session.execute(query, {"id": tenant.reseller_id})).one()


async def test_no_transaction_is_open_while_dns_is_asked(
    context: Context, database: Database, tenant: Tenant, customer: str
) -> None:
    domain = await add_domain(tenant, customer, unique_name())
    open_transactions: list[int] = []

    class Watching(SandboxZone):
        async def query(self, name: str, kind: str) -> list[str]:
            open_transactions.append(database.engine.sync_engine.pool.checkedout())  # type: ignore[attr-defined]  # of a queue pool
            return await super().query(name, kind)

    context.resolver = Watching()
    await tenant.client.post(f"/v1/domains/{domain['id']}/verify")
    await tenant.client.get(f"/v1/domains/{domain['id']}/dns")
    assert len(open_transactions) > 1
    assert set(open_transactions) == {0}


async def test_dns_is_not_asked_for_a_caller_without_a_key_or_the_scope(
    context: Context, make_tenant: MakeTenant, tenant: Tenant, customer: str
) -> None:
    domain = await add_domain(tenant, customer, unique_name())
    context.resolver = AwayDns()
    path = f"/v1/domains/{domain['id']}/verify"
    refused(await tenant.client.post(path, headers={"Authorization": ""}), 401, "unauthorized")
    reader = await make_tenant(scopes=frozenset({"domains:read"}))
    assert refused(await reader.client.post(path), 403, "missing_scope")["missing_scope"] == "domains:write"
    refused(await (await make_tenant()).client.post(path), 404, "not_found")


async def test_two_resellers_may_claim_a_name_but_one_can_prove_it(
    database: Database, zone: SandboxZone, make_tenant: MakeTenant
) -> None:
    name = unique_name()
    first, second = await make_tenant(), await make_tenant()
    claims = [await add_domain(each, await add_customer(database, each), name) for each in (first, second)]
    proofs = [claim["verification"] for claim in claims]
    zone.set(proofs[0]["name"], "TXT", [proof["expected"] for proof in proofs])
    await verify(second, claims[1])
    path = f"/v1/domains/{claims[0]['id']}/verify"
    refused(await first.client.post(path), 409, "domain_taken")
    check(await second.client.delete(f"/v1/domains/{claims[1]['id']}"), 204)
    assert (await verify(first, claims[0]))["state"] == "verified"


async def test_the_records_say_what_is_expected_and_found(zone: SandboxZone, home: Home) -> None:
    name = home.domain
    zone.set(name, "MX", ["10 mx.postfachwerk.example"])
    zone.set(name, "TXT", ["v=spf1 include:spf.postfachwerk.example -all", "vendor=1"])
    zone.set(f"autodiscover.{name}", "CNAME", ["elsewhere.example"])
    dns = check(await home.client.get(f"/v1/domains/{home.domain_id}/dns"), 200)
    by_purpose = {record["purpose"]: record for record in dns["records"]}
    assert {purpose: record["status"] for purpose, record in by_purpose.items()} == {
        "ownership": "ok",
        "mail": "ok",
        "spf": "ok",
        "dmarc": "missing",
        "autodiscover": "differs",
        "autodiscover_srv": "missing",
        "autoconfig": "missing",
        "mta_sts": "missing",
        "mta_sts_policy": "missing",
        "tls_rpt": "missing",
    }
    assert by_purpose["autodiscover"]["found"] == ["elsewhere.example"]
    assert by_purpose["autodiscover"]["expected"] == "autodiscover.postfachwerk.example"
    assert not by_purpose["ownership"]["required"]  # proven already
    assert not dns["ready"]
    zone.set(f"autodiscover.{name}", "CNAME", ["autodiscover.postfachwerk.example"])
    assert check(await home.client.get(f"/v1/domains/{home.domain_id}/dns"), 200)["ready"]


async def test_several_spf_records_are_a_fault_even_if_ours_is_among_them(zone: SandboxZone, home: Home) -> None:
    zone.set(home.domain, "TXT", ["v=spf1 include:spf.postfachwerk.example -all", "v=spf1 mx -all"])
    dns = check(await home.client.get(f"/v1/domains/{home.domain_id}/dns"), 200)
    [spf] = [record for record in dns["records"] if record["purpose"] == "spf"]
    assert spf["status"] == "differs"
    assert len(spf["found"]) == 2
    assert "one v=spf1 record only" in spf["hint"]


async def test_the_zone_text_can_be_pasted(tenant: Tenant, customer: str) -> None:
    ending = unique_name("x")
    domain = await add_domain(tenant, customer, f"straße.{ending}")
    dns = check(await tenant.client.get(f"/v1/domains/{domain['id']}/dns"), 200)
    name = f"xn--strae-oqa.{ending}"
    assert f"{name}. 3600 IN MX 10 mx.postfachwerk.example.\n" in dns["zone"]
    assert f'_postfachwerk.{name}. 3600 IN TXT "{domain["verification"]["expected"]}"\n' in dns["zone"]
    assert f"_autodiscover._tcp.{name}. 3600 IN SRV 0 0 443 autodiscover.postfachwerk.example.\n" in dns["zone"]
    assert dns["zone"].count("\n") == len(dns["records"])


async def test_lists_are_narrowed_by_customer_state_and_name(database: Database, zone: SandboxZone, home: Home) -> None:
    other = await another_home(database, zone, home)
    pending = await add_domain(home.tenant, home.customer_id, f"straße.{unique_name('x')}")

    async def ids(**only: str) -> list[str]:
        page = check(await home.client.get("/v1/domains", params=only), 200)
        return [domain["id"] for domain in page["items"]]

    assert await ids() == [pending["id"], other.domain_id, home.domain_id]
    assert await ids(customer=home.customer_id) == [pending["id"], home.domain_id]
    assert await ids(state="verified") == [other.domain_id, home.domain_id]
    assert await ids(name=pending["unicode_name"]) == await ids(name=pending["name"]) == [pending["id"]]
    assert await ids(name="no name at all") == []
    first = check(await home.client.get("/v1/domains?limit=2"), 200)
    second = await home.client.get("/v1/domains", params={"limit": 2, "cursor": first["next_cursor"]})
    assert [domain["id"] for domain in check(second, 200)["items"]] == [home.domain_id]


async def test_a_domain_with_addresses_cannot_be_removed(home: Home) -> None:
    await order(home, "anna")
    problem = refused(await home.client.delete(f"/v1/domains/{home.domain_id}"), 409, "domain_in_use")
    assert home.address("anna") in problem["detail"]


async def test_an_unused_domain_goes_and_can_be_claimed_anew(home: Home) -> None:
    path = f"/v1/domains/{home.domain_id}"
    refused(await home.client.delete(path, headers={"If-Match": '"1"'}), 412, "precondition_failed")
    assert check(await home.client.delete(f"{path}?dry_run=true"), 200)["would_be"] is None
    answer = await home.client.delete(path, headers={"If-Match": '"2"'})
    assert (answer.status_code, answer.content) == (204, b"")
    refused(await home.client.get(path), 404, "not_found")
    again = await add_domain(home.tenant, home.customer_id, home.domain)
    assert again["state"] == "pending_verification"


async def test_another_resellers_domain_does_not_exist(home: Home, make_tenant: MakeTenant) -> None:
    stranger = (await make_tenant()).client
    path = f"/v1/domains/{home.domain_id}"
    for answer in (
        await stranger.get(path),
        await stranger.delete(path),
        await stranger.get(f"{path}/dns"),
        await stranger.post(f"{path}/verify"),
    ):
        refused(answer, 404, "not_found")
    assert check(await home.client.get(path), 200)["state"] == "verified"
