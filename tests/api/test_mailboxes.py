"""Mailboxes over HTTP once they are ordered: found, changed, suspended, moved, deleted, restored, purged."""

from asyncio import gather
from collections import Counter
from datetime import timedelta
from typing import Any

import httpx
import pytest

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.drivers.sandbox.driver import SandboxDriver
from provisioning.resolver import SandboxZone
from tests.api.conftest import MakeTenant, Tenant
from tests.api.onboarding import Home, Json, active, another_home, check, confirm, onboard, order, refused

pytestmark = pytest.mark.anyio


@pytest.fixture
async def anna(home: Home, database: Database, driver: SandboxDriver, clock: TestClock) -> Json:
    return await active(home, database, driver, clock, "anna", external_id="p-17")


def path_of(mailbox: Json) -> str:
    return f"/v1/mailboxes/{mailbox['id']}"


async def read(home: Home, mailbox: Json) -> Json:
    return check(await home.client.get(path_of(mailbox)), 200)


async def do(home: Home, mailbox: Json, action: str, body: Json | None = None) -> httpx.Response:
    return await home.client.post(f"{path_of(mailbox)}/{action}", json=body)


async def patch(home: Home, mailbox: Json, **change: Any) -> httpx.Response:
    return await home.client.patch(path_of(mailbox), json=change)


async def found(home: Home, **only: str | int) -> list[str]:
    page = check(await home.client.get("/v1/mailboxes", params=only), 200)
    return [mailbox["address"].partition("@")[0] for mailbox in page["items"]]


@pytest.mark.usefixtures("anna")
async def test_lists_are_narrowed_by_every_filter(home: Home, database: Database, zone: SandboxZone) -> None:
    other = await another_home(database, zone, home)
    await order(
        home, "info", kind="shared", location="de-nbg-1", display_name="Zentrale 100%", aliases=[home.address("post")]
    )
    await order(home, "ben", service_class="pop3")
    await order(other, "zoe", service_class="imap")
    assert await found(home) == ["zoe", "ben", "info", "anna"]
    assert await found(home, customer=other.customer_id) == ["zoe"]
    assert await found(home, **{"class": "pop3"}) == ["ben"]
    assert await found(home, state="active") == ["anna"]
    assert await found(home, state="provisioning", customer=home.customer_id) == ["ben", "info"]
    assert await found(home, location="de-nbg-1") == ["info"]
    assert await found(home, external_id="p-17") == ["anna"]
    assert await found(home, address=home.address("POST")) == ["info"]
    assert await found(home, address="no address") == []
    assert await found(home, q="zentrale") == await found(home, q="100%") == ["info"]
    assert await found(home, q="%") == ["info"]
    assert await found(home, q="ANNA@") == ["anna"]
    assert await found(home, customer="cus_unknown") == []
    everything = check(await home.client.get("/v1/mailboxes"), 200)
    assert {item["aliases"] is None for item in everything["items"]} == {True}


@pytest.mark.parametrize(
    "query", ["klass=imap", "limit=0", "limit=201", "cursor=!", "state=lost", "q=", "limit=1&limit=2"]
)
async def test_a_misspelt_or_impossible_parameter_is_refused(home: Home, query: str) -> None:
    problem = refused(await home.client.get(f"/v1/mailboxes?{query}"), 422, "invalid")
    assert problem["errors"][0]["pointer"] == f"?{query.partition('=')[0]}"


async def test_pages_stay_in_place_while_mailboxes_come_and_go(home: Home) -> None:
    orders = [home.order(f"user{number}") for number in range(7)]
    verdicts = check(await home.client.post("/v1/mailbox-batches", json={"orders": orders}), 202)["verdicts"]
    first = check(await home.client.get("/v1/mailboxes?limit=3"), 200)
    seen = [mailbox["id"] for mailbox in first["items"]]
    await order(home, "newcomer")
    check(await home.client.delete(f"/v1/mailboxes/{seen[-1]}"), 202)
    cursor = first["next_cursor"]
    while cursor:
        page = check(await home.client.get("/v1/mailboxes", params={"limit": 3, "cursor": cursor}), 200)
        seen += [mailbox["id"] for mailbox in page["items"]]
        cursor = page["next_cursor"]
    assert seen == sorted((verdict["mailbox"]["id"] for verdict in verdicts), reverse=True)


async def test_a_change_is_an_operation_and_true_once_confirmed(
    home: Home, anna: Json, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    answer = await patch(home, anna, quota_mib=1024, display_name="Anna K.", protocols=["web", "imap"])
    changed = check(answer, 202)
    assert (changed["quota_mib"], changed["display_name"]) == (1024, "Anna K.")
    assert (changed["protocols"], changed["state"]) == (["imap", "web"], "updating")
    assert changed["version"] > anna["version"]
    await confirm(database, driver, anna["id"], clock)
    assert check(await home.client.get(answer.headers["location"]), 200)["state"] == "succeeded"
    seen = await driver.observe_mailbox(anna["id"])
    assert seen is not None
    assert (seen.spec.quota_mib, seen.spec.display_name) == (1024, "Anna K.")
    assert (await read(home, anna))["state"] == "active"


async def test_what_no_backend_has_to_hear_of_is_done_at_once(home: Home, anna: Json) -> None:
    assert check(await patch(home, anna), 200) == anna
    assert check(await patch(home, anna, quota_mib=anna["quota_mib"]), 200) == anna
    renamed = check(await patch(home, anna, external_id="p-18"), 200)
    assert renamed == {**anna, "external_id": "p-18", "version": anna["version"] + 1}
    assert check(await patch(home, anna, external_id=None), 200)["external_id"] is None
    await order(home, "ben", external_id="b")
    refused(await patch(home, anna, external_id="b"), 409, "external_id_taken")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"display_name": None}, 422, "invalid"),
        ({"service_class": None}, 422, "invalid"),
        ({"quota_mib": 0}, 422, "invalid"),
        ({"address": "x@y.example"}, 422, "invalid"),
        ({"service_class": "imap", "protocols": ["mapi"]}, 409, "class_does_not_support_protocol"),
        ({"allowed_countries": ["FI"]}, 409, "placement_refused"),
    ],
)
async def test_a_change_that_cannot_be_is_refused(home: Home, anna: Json, change: Json, status: int, code: str) -> None:
    refused(await patch(home, anna, **change), status, code)
    assert await read(home, anna) == anna


async def test_a_new_class_brings_its_protocols_unless_shares_or_the_kind_need_the_old_one(
    home: Home, anna: Json
) -> None:
    room = await order(home, "saal", kind="room")
    refused(await patch(home, room, service_class="imap"), 409, "class_does_not_support_kind")
    ben = await order(home, "ben")
    share = f"{path_of(anna)}/shares/calendar/{ben['id']}"
    check(await home.client.put(share, json={"access": "read"}), 202)
    for mailbox in (anna, ben):
        problem = refused(await patch(home, mailbox, service_class="imap"), 409, "class_does_not_support_scope")
        assert "calendar" in problem["detail"]
    check(await home.client.delete(share), 202)
    await patch(home, ben, protocols=["web"])
    smaller = await order(home, "carl")
    changed = check(await patch(home, smaller, service_class="imap"), 202)
    assert changed["protocols"] == ["imap", "pop3", "smtp", "web"]


async def test_a_stale_etag_changes_nothing(home: Home, anna: Json) -> None:
    stale, good = {"If-Match": '"999"'}, {"If-Match": f'"{anna["version"]}"'}
    path = path_of(anna)
    refused(await home.client.patch(path, json={"quota_mib": 5}, headers=stale), 412, "precondition_failed")
    refused(await home.client.delete(path, headers=stale), 412, "precondition_failed")
    refused(await home.client.patch(path, json={"quota_mib": 5}, headers={"If-Match": "x"}), 422, "invalid")
    assert await read(home, anna) == anna
    answers = await gather(*(home.client.patch(path, json={"quota_mib": n}, headers=good) for n in (5, 6, 7)))
    assert Counter(answer.status_code for answer in answers) == {202: 1, 412: 2}


async def test_a_suspended_mailbox_stays_and_can_be_resumed(
    home: Home, anna: Json, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    assert check(await do(home, anna, "suspend"), 202)["state"] == "updating"
    check(await do(home, anna, "suspend"), 200)
    await confirm(database, driver, anna["id"], clock)
    assert (await read(home, anna))["state"] == "suspended"
    seen = await driver.observe_mailbox(anna["id"])
    assert seen is not None
    assert seen.spec.suspended
    check(await do(home, anna, "resume"), 202)
    check(await do(home, anna, "resume"), 200)
    await confirm(database, driver, anna["id"], clock)
    assert (await read(home, anna))["state"] == "active"


async def test_a_mailbox_moves_where_policies_allow(
    home: Home, anna: Json, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    check(await patch(home, anna, required_certificates=["ISO27001"]), 200)
    problem = refused(await do(home, anna, "move", {"location": "fi-hel-1"}), 409, "placement_refused")
    assert "ISO27001" in problem["detail"]
    refused(await do(home, anna, "move", {"location": "nowhere"}), 409, "unknown_data_centre")
    check(await do(home, anna, "move", {"location": "de-fra-1"}), 200)
    moving = check(await do(home, anna, "move", {"location": "de-nbg-1"}), 202)
    assert (moving["state"], moving["location"], moving["placed_in"]) == ("moving", "de-nbg-1", "de-fra-1")
    await confirm(database, driver, anna["id"], clock)
    moved = await read(home, anna)
    assert (moved["state"], moved["placed_in"]) == ("active", "de-nbg-1")


async def test_a_deleted_mailbox_can_be_restored_with_its_addresses(
    home: Home, anna: Json, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    deleted = check(await home.client.delete(path_of(anna)), 202)
    assert deleted["state"] == "deleting"
    assert deleted["purge_at"] == (clock.now() + timedelta(days=30)).isoformat().replace("+00:00", "Z")
    check(await home.client.delete(path_of(anna)), 200)
    await confirm(database, driver, anna["id"], clock)
    assert (await read(home, anna))["state"] == "deleted"
    for action in ("suspend", "resume"):
        refused(await do(home, anna, action), 409, "mailbox_deleted")
    refused(await patch(home, anna, quota_mib=5), 409, "mailbox_deleted")
    refused(await home.client.post("/v1/mailboxes", json=home.order("anna")), 409, "address_taken")
    restored = check(await do(home, anna, "restore"), 202)
    assert restored["purge_at"] is None
    await confirm(database, driver, anna["id"], clock)
    assert (await read(home, anna))["state"] == "active"
    refused(await do(home, anna, "restore"), 409, "mailbox_not_deleted")


async def test_a_suspended_mailbox_comes_back_suspended_however_often_it_is_deleted(
    home: Home, anna: Json, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    check(await do(home, anna, "suspend"), 202)
    for _ in range(2):
        check(await home.client.delete(path_of(anna)), 202)
        await confirm(database, driver, anna["id"], clock)
        check(await do(home, anna, "restore"), 202)
        await confirm(database, driver, anna["id"], clock)
        assert (await read(home, anna))["state"] == "suspended"
        seen = await driver.observe_mailbox(anna["id"])
        assert seen is not None
        assert seen.spec.suspended
    check(await do(home, anna, "resume"), 202)
    check(await home.client.delete(path_of(anna)), 202)
    check(await do(home, anna, "restore"), 202)
    await confirm(database, driver, anna["id"], clock)
    assert (await read(home, anna))["state"] == "active"


async def test_a_restore_must_fit_the_limits_again(database: Database, zone: SandboxZone, tenant: Tenant) -> None:
    home = await onboard(database, zone, tenant, mailboxes_max=2)
    anna, _ = await order(home, "anna"), await order(home, "ben")
    check(await home.client.delete(path_of(anna)), 202)
    carl = await order(home, "carl")
    problem = refused(await do(home, anna, "restore"), 409, "limit_exceeded")
    assert problem["limit"] == {"tier": "customer", "name": "mailboxes", "max": 2, "used": 2}
    check(await home.client.delete(path_of(carl)), 202)
    check(await do(home, anna, "restore"), 202)


async def test_a_limit_is_counted_right_while_mailboxes_come_and_go_at_once(
    database: Database, zone: SandboxZone, tenant: Tenant
) -> None:
    home = await onboard(database, zone, tenant, mailboxes_max=8)
    there = [await order(home, f"old{number}") for number in range(8)]
    leaving = [home.client.delete(path_of(mailbox)) for mailbox in there]
    coming = [home.client.post("/v1/mailboxes", json=home.order(f"new{number}")) for number in range(8)]
    answers = await gather(*(each for pair in zip(leaving, coming, strict=True) for each in pair))
    counts = Counter(answer.status_code for answer in answers)
    assert set(counts) <= {202, 409}
    left = 8 - counts[409]
    problem = await home.client.post("/v1/mailbox-batches", json={"orders": [home.order(f"x{n}") for n in range(9)]})
    assert refused(problem, 409, "limit_exceeded")["limit"]["used"] == left


async def test_a_purged_mailbox_is_gone_for_good_and_its_address_free(
    home: Home, anna: Json, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    refused(await do(home, anna, "purge"), 409, "mailbox_not_deleted")
    check(await home.client.delete(path_of(anna)), 202)
    await confirm(database, driver, anna["id"], clock)
    check(await do(home, anna, "purge"), 202)
    await confirm(database, driver, anna["id"], clock)
    assert await driver.observe_mailbox(anna["id"]) is None
    assert await found(home) == []
    assert await found(home, state="purged") == ["anna"]
    assert (await read(home, anna))["state"] == "purged"
    for action in ("restore", "purge", "suspend"):
        refused(await do(home, anna, action), 404, "not_found")
    assert (await order(home, "anna", external_id="p-17"))["id"] != anna["id"]


async def test_a_dry_run_of_every_change_changes_nothing(home: Home, anna: Json) -> None:
    path = path_of(anna)
    for answer in (
        await home.client.patch(f"{path}?dry_run=true", json={"quota_mib": 5}),
        await home.client.post(f"{path}/suspend?dry_run=true"),
        await home.client.post(f"{path}/move?dry_run=true", json={"location": "de-nbg-1"}),
        await home.client.post(f"{path}/password-links?dry_run=true"),
    ):
        preview = check(answer, 200)
        assert preview["dry_run"] is True
        assert preview["would_be"] != anna
        assert "location" not in answer.headers
    assert await read(home, anna) == anna


async def test_every_change_is_in_the_audit_log_of_its_mailbox(home: Home, anna: Json) -> None:
    check(await patch(home, anna, quota_mib=2048), 202)
    check(await do(home, anna, "suspend"), 202)
    check(await home.client.delete(path_of(anna)), 202)
    events = check(await home.client.get("/v1/audit-events", params={"resource_id": anna["id"]}), 200)["items"]
    assert [event["action"] for event in events] == [
        "mailbox.delete",
        "mailbox.suspend",
        "mailbox.change",
        "mailbox.order",
    ]
    assert events[2]["detail"] == {"quota_mib": 2048}


async def test_another_resellers_mailbox_does_not_exist(home: Home, anna: Json, make_tenant: MakeTenant) -> None:
    stranger = (await make_tenant()).client
    path = path_of(anna)
    for answer in (
        await stranger.get(path),
        await stranger.patch(path, json={"quota_mib": 5}),
        await stranger.delete(path),
        *[await stranger.post(f"{path}/{action}") for action in ("suspend", "resume", "restore", "purge")],
        await stranger.post(f"{path}/move", json={"location": "de-nbg-1"}),
    ):
        refused(answer, 404, "not_found")
    assert check(await stranger.get("/v1/mailboxes", params={"address": anna["address"]}), 200)["items"] == []
    assert await read(home, anna) == anna
