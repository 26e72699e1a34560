"""Ordering mailboxes over HTTP: one or many, defaults, gates, limits, and many callers at the same moment."""

from asyncio import gather
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import text

from billing.prices import create_price_list
from billing.rating import Tier
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.drivers.sandbox.driver import SandboxDriver
from provisioning.orders import ORDERS_MAX
from provisioning.resolver import SandboxZone
from tests.api.conftest import MakeTenant, Tenant
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
    set_proof,
    unique_name,
    verify,
)

pytestmark = pytest.mark.anyio


async def rows_of(database: Database, home: Home) -> dict[str, int]:
    """How much of a reseller's orders the database holds, in every place an order leaves something."""
    query = text(
        """
        select (select count(*) from mailbox where reseller_id = :id) as mailboxes,
               (select count(*) from mailbox_address where reseller_id = :id) as addresses,
               (select count(*) from operation where reseller_id = :id) as operations,
               (select count(*) from audit_event where reseller_id = :id and action = 'mailbox.order') as events,
               (select count(*) from idempotency_key where principal_id = :id) as answers,
               (select count(*) from procrastinate_jobs job join mailbox on job.args ->> 'key' = mailbox.id
                where reseller_id = :id) as jobs,
               (select mailboxes from tenant_usage where tenant_id = :id) as used
        """
    )
    async with database.as_system() as session:
        return dict((await session.execute(query, {"id": home.tenant.reseller_id})).mappings().one())


NOTHING = dict.fromkeys(("mailboxes", "addresses", "operations", "events", "answers", "jobs", "used"), 0)


async def send(home: Home, body: Json, **headers: str) -> Any:
    return await home.client.post("/v1/mailboxes", json=body, headers=headers)


async def send_batch(home: Home, orders: list[Json], query: str = "") -> Any:
    return await home.client.post(f"/v1/mailbox-batches{query}", json={"orders": orders})


async def test_an_ordered_mailbox_can_be_read_at_once(home: Home, database: Database) -> None:
    answer = await send(home, home.order("Anna.Krueger", display_name="Anna Krüger", aliases=[home.address("AK")]))
    mailbox = check(answer, 202)
    assert (mailbox["address"], mailbox["state"]) == (home.address("anna.krueger"), "provisioning")
    assert (mailbox["kind"], mailbox["quota_mib"], mailbox["location"]) == ("user", 51200, "de-fra-1")
    assert mailbox["aliases"] == [home.address("ak")]
    assert len(mailbox["protocols"]) == 8
    assert mailbox["customer_id"] == home.customer_id
    read = await home.client.get(f"/v1/mailboxes/{mailbox['id']}")
    assert check(read, 200) == mailbox
    assert read.headers["etag"] == answer.headers["etag"] == '"1"'
    operation = check(await home.client.get(answer.headers["location"]), 200)
    assert (operation["mailbox_id"], operation["state"]) == (mailbox["id"], "queued")
    once = dict.fromkeys(("mailboxes", "operations", "events", "jobs", "used"), 1)
    assert await rows_of(database, home) == {**once, "addresses": 2, "answers": 0}


@pytest.mark.parametrize(
    ("service_class", "quota_mib", "protocols"),
    [("pop3", 2048, ["pop3", "smtp"]), ("imap", 10240, ["imap", "pop3", "smtp", "web"])],
)
async def test_a_class_brings_its_size_and_protocols(
    home: Home, service_class: str, quota_mib: int, protocols: list[str]
) -> None:
    mailbox = await order(home, "anna", service_class=service_class)
    assert (mailbox["quota_mib"], mailbox["protocols"]) == (quota_mib, protocols)
    chosen = await order(home, "ben", service_class=service_class, quota_mib=7, protocols=["smtp", "pop3", "smtp"])
    assert (chosen["quota_mib"], chosen["protocols"]) == (7, ["pop3", "smtp"])


@pytest.mark.parametrize("kind", ["user", "shared", "room", "equipment"])
@pytest.mark.parametrize("service_class", ["pop3", "imap", "exchange"])
async def test_the_class_decides_which_kinds_there_are(home: Home, service_class: str, kind: str) -> None:
    able = {"pop3": ["user"], "imap": ["user", "shared"]}.get(service_class, ["user", "shared", "room", "equipment"])
    answer = await send(home, home.order("anna", service_class=service_class, kind=kind))
    if kind in able:
        assert check(answer, 202)["kind"] == kind
    else:
        assert "exchange" in refused(answer, 409, "class_does_not_support_kind")["classes"]


async def test_a_protocol_the_class_lacks_is_refused_with_the_class_that_has_it(home: Home) -> None:
    answer = await send(home, home.order("anna", service_class="imap", protocols=["imap", "activesync"]))
    assert refused(answer, 409, "class_does_not_support_protocol")["classes"] == ["exchange"]


async def test_an_order_is_for_a_verified_domain_of_ones_own(
    home: Home, database: Database, zone: SandboxZone, make_tenant: MakeTenant
) -> None:
    pending = await add_domain(home.tenant, home.customer_id, unique_name())
    answer = await send(home, home.order("anna", address=f"anna@{pending['name']}"))
    assert f"/v1/domains/{pending['id']}/verify" in refused(answer, 409, "domain_not_verified")["detail"]
    foreign = await onboard(database, zone, await make_tenant())
    for name in (foreign.domain, unique_name()):
        refused(await send(home, home.order("anna", address=f"anna@{name}")), 409, "unknown_domain")
    other = await another_home(database, zone, home)
    answer = await send(home, home.order("anna", aliases=[other.address("anna")]))
    refused(answer, 409, "domain_of_other_customer")


async def test_an_umlaut_domain_takes_orders_in_either_form(home: Home, zone: SandboxZone) -> None:
    domain = await add_domain(home.tenant, home.customer_id, f"straße.{unique_name('x')}")
    set_proof(zone, domain)
    await verify(home.tenant, domain)
    mailbox = check(await send(home, home.order("anna", address=f"anna@{domain['unicode_name']}")), 202)
    assert mailbox["address"] == f"anna@{domain['name']}"
    taken = await send(home, home.order("anna", address=f"ANNA@{domain['name'].upper()}"))
    refused(taken, 409, "address_taken")


@pytest.mark.parametrize(
    ("details", "pointer"),
    [
        ({"address": "anna"}, "/address"),
        ({"aliases": ["ok@kanzlei.example", "no address"]}, "/aliases/1"),
        ({"service_class": "mapi"}, "/service_class"),
        ({"quota_mib": 0}, "/quota_mib"),
        ({"quota_mib": 10**12}, "/quota_mib"),
        ({"display_name": ""}, "/display_name"),
        ({"displayname": "Anna"}, "/displayname"),
        ({"protocols": ["gopher"]}, "/protocols/0"),
    ],
)
async def test_what_is_malformed_is_refused_at_its_field(home: Home, details: Json, pointer: str) -> None:
    problem = refused(await send(home, home.order("anna", **details)), 422, "invalid")
    assert pointer in [error["pointer"] for error in problem["errors"]]


async def test_an_address_is_taken_once_whoever_asks_and_whatever_it_is_there(home: Home) -> None:
    await order(home, "anna", aliases=[home.address("info")], external_id="1")
    refused(await send(home, home.order("anna")), 409, "address_taken")
    refused(await send(home, home.order("info")), 409, "address_taken")
    refused(await send(home, home.order("ben", aliases=[home.address("anna")])), 409, "address_taken")
    refused(await send(home, home.order("ben", external_id="1")), 409, "external_id_taken")
    twice = home.order("ben", aliases=[home.address("ben"), home.address("b"), home.address("B")])
    assert check(await send(home, twice), 202)["aliases"] == [home.address("b")]


async def test_of_fifty_orders_of_one_address_one_wins(home: Home, database: Database) -> None:
    answers = await gather(*(send(home, home.order("anna")) for _ in range(50)))
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {202: 1, 409: 49}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"address_taken"}
    rows = await rows_of(database, home)
    assert (rows["mailboxes"], rows["addresses"], rows["jobs"], rows["used"]) == (1, 1, 1, 1)


async def test_orders_that_want_each_others_aliases_do_not_block_one_another(home: Home) -> None:
    pairs = [("a", "b"), ("b", "a")] * 5
    wishes = [send(home, home.order(one, aliases=[home.address(other)])) for one, other in pairs]
    assert Counter(answer.status_code for answer in await gather(*wishes)) == {202: 1, 409: 9}


async def test_one_key_places_one_order_however_often_it_is_sent(home: Home, database: Database) -> None:
    key = {"Idempotency-Key": "order 4711"}
    answers = await gather(*(send(home, home.order("anna"), **key) for _ in range(10)))
    assert len({answer.text for answer in answers}) == 1
    assert {answer.status_code for answer in answers} == {202}
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 9
    assert (await rows_of(database, home))["mailboxes"] == 1
    refused(await send(home, home.order("ben"), **key), 422, "idempotency_key_reused")


async def test_a_refused_order_leaves_its_key_free(home: Home) -> None:
    key = {"Idempotency-Key": "k"}
    refused(
        await send(home, home.order("anna", kind="room", service_class="imap"), **key),
        409,
        "class_does_not_support_kind",
    )
    check(await send(home, home.order("anna"), **key), 202)


@pytest.mark.parametrize("tier", ["customer", "reseller"])
async def test_a_limit_holds_against_orders_at_the_same_moment(
    tier: str, database: Database, zone: SandboxZone, make_tenant: MakeTenant
) -> None:
    limits: dict[str, dict[str, Any]] = {"customer": {}, "reseller": {}}
    limits[tier] = {"mailboxes_max": 5}
    home = await onboard(database, zone, await make_tenant(**limits["reseller"]), **limits["customer"])
    answers = await gather(*(send(home, home.order(f"user{number}")) for number in range(20)))
    assert Counter(answer.status_code for answer in answers) == {202: 5, 409: 15}
    problem = refused(await send(home, home.order("late")), 409, "limit_exceeded")
    assert problem["limit"] == {"tier": tier, "name": "mailboxes", "max": 5, "used": 5}
    rows = await rows_of(database, home)
    assert (rows["mailboxes"], rows["jobs"], rows["used"]) == (5, 5, 5)


async def test_a_batch_beyond_the_limit_places_nothing(database: Database, zone: SandboxZone, tenant: Tenant) -> None:
    home = await onboard(database, zone, tenant, mailboxes_max=2)
    answer = await send_batch(home, [home.order(f"user{number}") for number in range(3)])
    assert refused(answer, 409, "limit_exceeded")["limit"]["used"] == 0
    assert await rows_of(database, home) == NOTHING
    check(await send_batch(home, [home.order(f"user{number}") for number in range(2)]), 202)


async def test_five_hundred_orders_are_one_call(home: Home, database: Database) -> None:
    answer = await send_batch(home, [home.order(f"user{number}") for number in range(ORDERS_MAX)])
    verdicts = check(answer, 202)["verdicts"]
    assert [verdict["index"] for verdict in verdicts] == list(range(ORDERS_MAX))
    assert [verdict["mailbox"]["address"] for verdict in verdicts[:2]] == [home.address("user0"), home.address("user1")]
    operation = check(await home.client.get(f"/v1/operations/{verdicts[-1]['operation_id']}"), 200)
    assert operation["mailbox_id"] == verdicts[-1]["mailbox"]["id"]
    assert await rows_of(database, home) == {**dict.fromkeys(NOTHING, ORDERS_MAX), "answers": 0}
    too_many = [home.order(f"more{number}") for number in range(ORDERS_MAX + 1)]
    assert refused(await send_batch(home, too_many), 422, "invalid")["errors"][0]["pointer"] == "/orders"
    refused(await send_batch(home, []), 422, "invalid")


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"kind": "room", "service_class": "imap"}, "class_does_not_support_kind"),
        ({"address": "no address"}, "invalid"),
        ({"address": "anna@unknown.example"}, "unknown_domain"),
        ({"location": "fi-hel-1", "required_certificates": ["ISO27001"]}, "placement_refused"),
        ({"location": "xx-nowhere-1"}, "unknown_data_centre"),
    ],
)
async def test_one_bad_line_leaves_nothing_of_the_batch_and_every_line_has_its_verdict(
    home: Home, database: Database, bad: Json, code: str
) -> None:
    orders = [home.order(f"user{number}") for number in range(5)]
    orders[3] |= bad
    problem = refused(await send_batch(home, orders), 409, "orders_refused")
    assert [verdict and verdict["code"] for verdict in problem["verdicts"]] == [None, None, None, code, None]
    assert await rows_of(database, home) == NOTHING


async def test_a_batch_that_names_an_address_twice_or_a_taken_one_places_nothing(
    home: Home, database: Database
) -> None:
    orders = [home.order("anna"), home.order("ben", aliases=[home.address("ANNA")])]
    problem = refused(await send_batch(home, orders), 409, "orders_refused")
    assert [verdict and verdict["code"] for verdict in problem["verdicts"]] == [None, "duplicate_in_call"]
    assert await rows_of(database, home) == NOTHING
    await order(home, "anna")
    problem = refused(await send_batch(home, [home.order("ben"), home.order("anna")]), 409, "orders_refused")
    assert [verdict and verdict["code"] for verdict in problem["verdicts"]] == [None, "address_taken"]
    assert (await rows_of(database, home))["mailboxes"] == 1


async def test_a_dry_run_says_what_it_would_cost_and_changes_nothing(
    home: Home, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    async with database.as_system() as session:
        await create_price_list(
            session,
            home.tenant.reseller_id,
            name="Hausliste",
            valid_from=clock.now().date().replace(day=1),
            prices={"exchange": [Tier(0, 790)], "imap": [Tier(0, 300)]},
            now=clock.now(),
        )
    answer = await home.client.post("/v1/mailboxes?dry_run=true", json=home.order("anna"))
    preview = check(answer, 200)
    assert preview["would_be"]["address"] == home.address("anna")
    # From the 17th, 14 of November's 30 days: 790 * 14 / 30 = 368.67.
    assert preview["cost"] == {
        "currency": "EUR",
        "month": "2026-11",
        "net_cents_before": 0,
        "net_cents_after": 369,
        "difference_cents": 369,
        "whole_month_difference_cents": 790,
    }
    batch = check(await send_batch(home, [home.order("a"), home.order("b")], "?dry_run=true"), 200)
    assert batch["cost"]["whole_month_difference_cents"] == 1580
    assert await rows_of(database, home) == NOTHING
    mailbox = await active(home, database, driver, clock, "anna")
    path = f"/v1/mailboxes/{mailbox['id']}"
    smaller = check(await home.client.patch(f"{path}?dry_run=true", json={"service_class": "imap"}), 200)
    assert smaller["cost"]["whole_month_difference_cents"] == 300 - 790
    gone = check(await home.client.delete(f"{path}?dry_run=true"), 200)
    assert gone["cost"]["whole_month_difference_cents"] == -790
    assert check(await home.client.get(path), 200) == mailbox


async def test_who_waits_gets_the_finished_mailbox(
    home: Home, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    async def work() -> None:
        while not (page := check(await home.client.get("/v1/mailboxes"), 200)["items"]):
            pass
        await confirm(database, driver, page[0]["id"], clock)

    answer, _ = await gather(send(home, home.order("anna"), Prefer="wait=20"), work())
    mailbox = check(answer, 201)
    assert (mailbox["state"], mailbox["placed_in"]) == ("active", "de-fra-1")
    assert answer.headers["preference-applied"] == "wait=20"
    assert answer.headers["etag"] == f'"{mailbox["version"]}"'


async def test_who_waits_in_vain_gets_the_mailbox_as_it_is(home: Home) -> None:
    answer = await send(home, home.order("anna"), Prefer="respond-async, wait=0")
    assert check(answer, 202)["state"] == "provisioning"
    assert answer.headers["location"].startswith("/v1/operations/")
