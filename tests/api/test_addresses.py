"""Aliases and the primary address over HTTP."""

from asyncio import gather
from typing import Any
from urllib.parse import quote

import pytest

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.drivers.sandbox.driver import SandboxDriver
from provisioning.orders import ALIASES_MAX
from provisioning.resolver import SandboxZone
from tests.api.conftest import MakeTenant
from tests.api.onboarding import (
    Home,
    Json,
    active,
    add_domain,
    another_home,
    check,
    confirm,
    onboard,
    order,
    refused,
    unique_name,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def anna(home: Home, database: Database, driver: SandboxDriver, clock: TestClock) -> Json:
    return await active(home, database, driver, clock, "anna")


def alias_path(mailbox: Json, address: str) -> str:
    return f"/v1/mailboxes/{mailbox['id']}/aliases/{quote(address, safe='')}"


async def primary(home: Home, mailbox: Json, address: str, **options: Any) -> Any:
    path = f"/v1/mailboxes/{mailbox['id']}/primary-address"
    return await home.client.put(path, json={"address": address}, **options)


async def test_an_alias_is_added_by_an_operation(
    home: Home, anna: Json, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    answer = await home.client.put(alias_path(anna, home.address("Krueger")))
    mailbox = check(answer, 202)
    assert mailbox["aliases"] == [home.address("krueger")]
    assert mailbox["state"] == "updating"
    operation = check(await home.client.get(answer.headers["location"]), 200)
    assert (operation["action"], operation["state"]) == ("mailbox.add_alias", "queued")
    await confirm(database, driver, anna["id"], clock)
    assert check(await home.client.get(answer.headers["location"]), 200)["state"] == "succeeded"
    seen = await driver.observe_mailbox(anna["id"])
    assert seen is not None
    assert set(seen.spec.addresses) == {home.address("anna"), home.address("krueger")}


async def test_adding_an_alias_again_changes_nothing(home: Home, anna: Json) -> None:
    path = alias_path(anna, home.address("krueger"))
    first = check(await home.client.put(path), 202)
    answer = await home.client.put(path)
    assert check(answer, 200) == first
    assert "location" not in answer.headers
    assert check(await home.client.put(alias_path(anna, home.address("anna"))), 200) == first


async def test_an_alias_can_have_a_slash_and_an_umlaut_domain(home: Home, anna: Json, zone: SandboxZone) -> None:
    domain = await add_domain(home.tenant, home.customer_id, f"straße.{unique_name('x')}")
    zone.set(domain["verification"]["name"], "TXT", [domain["verification"]["expected"]])
    check(await home.client.post(f"/v1/domains/{domain['id']}/verify"), 200)
    address = f"office/2@{domain['unicode_name']}"
    assert check(await home.client.put(alias_path(anna, address)), 202)["aliases"] == [f"office/2@{domain['name']}"]
    assert check(await home.client.delete(alias_path(anna, address)), 202)["aliases"] == []


async def test_a_taken_address_is_refused_also_when_it_is_another_resellers(
    home: Home, anna: Json, database: Database, zone: SandboxZone, make_tenant: MakeTenant
) -> None:
    await order(home, "ben", aliases=[home.address("bernd")])
    for name in ("ben", "bernd"):
        refused(await home.client.put(alias_path(anna, home.address(name))), 409, "address_taken")
    foreign = await onboard(database, zone, await make_tenant())
    refused(await home.client.put(alias_path(anna, foreign.address("x"))), 409, "domain_not_verified")


async def test_one_of_many_that_want_the_same_address_gets_it(home: Home) -> None:
    mailboxes = [await order(home, f"user{number}") for number in range(8)]
    path = [alias_path(mailbox, home.address("info")) for mailbox in mailboxes]
    statuses = [answer.status_code for answer in await gather(*(home.client.put(each) for each in path))]
    assert sorted(statuses) == [202] + [409] * 7


async def test_an_alias_in_an_unverified_domain_or_another_customers_is_refused(
    home: Home, anna: Json, database: Database, zone: SandboxZone
) -> None:
    pending = await add_domain(home.tenant, home.customer_id, unique_name())
    answer = await home.client.put(alias_path(anna, f"anna@{pending['name']}"))
    refused(answer, 409, "domain_not_verified")
    other = await another_home(database, zone, home)
    refused(await home.client.put(alias_path(anna, other.address("anna"))), 409, "domain_of_other_customer")


async def test_what_is_no_address_is_refused_where_it_stands(home: Home, anna: Json) -> None:
    problem = refused(await home.client.put(alias_path(anna, "no address")), 422, "invalid")
    assert problem["errors"][0]["pointer"] == "path address"


async def test_a_mailbox_has_at_most_fifty_aliases(home: Home) -> None:
    aliases = [home.address(f"alias{number}") for number in range(ALIASES_MAX)]
    mailbox = await order(home, "anna", aliases=aliases)
    refused(await home.client.put(alias_path(mailbox, home.address("more"))), 409, "too_many_aliases")
    check(await home.client.put(alias_path(mailbox, aliases[0])), 200)


async def test_a_removed_alias_is_free_for_another_mailbox(home: Home, anna: Json) -> None:
    address = home.address("info")
    check(await home.client.put(alias_path(anna, address)), 202)
    assert check(await home.client.delete(alias_path(anna, address)), 202)["aliases"] == []
    refused(await home.client.delete(alias_path(anna, address)), 404, "not_found")
    ben = await order(home, "ben")
    check(await home.client.put(alias_path(ben, address)), 202)


async def test_the_primary_address_cannot_be_removed(home: Home, anna: Json) -> None:
    problem = refused(await home.client.delete(alias_path(anna, home.address("anna"))), 409, "address_is_primary")
    assert "primary-address" in problem["detail"]


async def test_another_mailboxes_alias_cannot_be_removed_here(home: Home, anna: Json) -> None:
    await order(home, "ben", aliases=[home.address("bernd")])
    refused(await home.client.delete(alias_path(anna, home.address("bernd"))), 404, "not_found")


async def test_the_old_primary_address_stays_as_an_alias(
    home: Home, anna: Json, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    check(await home.client.put(alias_path(anna, home.address("krueger"))), 202)
    mailbox = check(await primary(home, anna, home.address("KRUEGER")), 202)
    assert (mailbox["address"], mailbox["aliases"]) == (home.address("krueger"), [home.address("anna")])
    assert check(await primary(home, anna, home.address("krueger")), 200)["address"] == home.address("krueger")
    await confirm(database, driver, anna["id"], clock)
    seen = await driver.observe_mailbox(anna["id"])
    assert seen is not None
    assert seen.spec.addresses == (home.address("krueger"), home.address("anna"))
    found = check(await home.client.get("/v1/mailboxes", params={"address": home.address("anna")}), 200)
    assert [each["id"] for each in found["items"]] == [anna["id"]]


async def test_only_an_address_of_its_own_can_become_primary(home: Home, anna: Json) -> None:
    await order(home, "ben")
    for address in (home.address("ben"), home.address("nobody"), "no address"):
        refused(await primary(home, anna, address), 404, "not_found")


async def test_a_stale_etag_changes_nothing(home: Home, anna: Json) -> None:
    stale = {"If-Match": f'"{anna["version"] - 1}"'}
    refused(await home.client.put(alias_path(anna, home.address("k")), headers=stale), 412, "precondition_failed")
    refused(await primary(home, anna, home.address("anna"), headers=stale), 412, "precondition_failed")
    assert check(await home.client.get(f"/v1/mailboxes/{anna['id']}"), 200) == anna


async def test_a_dry_run_takes_no_address(home: Home, anna: Json) -> None:
    preview = check(await home.client.put(f"{alias_path(anna, home.address('info'))}?dry_run=true"), 200)
    assert preview["would_be"]["aliases"] == [home.address("info")]
    assert check(await home.client.get(f"/v1/mailboxes/{anna['id']}"), 200) == anna


async def test_a_deleted_mailbox_takes_no_address_and_a_foreign_one_is_not_there(
    home: Home, anna: Json, make_tenant: MakeTenant
) -> None:
    stranger = (await make_tenant()).client
    refused(await stranger.put(alias_path(anna, home.address("k"))), 404, "not_found")
    check(await home.client.delete(f"/v1/mailboxes/{anna['id']}"), 202)
    refused(await home.client.put(alias_path(anna, home.address("k"))), 409, "mailbox_deleted")
