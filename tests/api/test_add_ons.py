"""Add-ons over HTTP: put, changed, taken away, ordered along, and what they do to the quota."""

from datetime import date
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.ext.asyncio import AsyncSession

from billing.prices import create_price_list
from billing.rating import Tier
from provisioning.add_ons import EXTRA_STORAGE_UNITS_MAX, write_ordered
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.drivers.sandbox.driver import SandboxDriver
from provisioning.resolver import SandboxZone
from tests.api.conftest import MakeTenant, Tenant
from tests.api.onboarding import Home, Json, active, check, confirm, onboard, order, refused

pytestmark = pytest.mark.anyio

UNIT = 10240
TODAY = "2026-11-17"


@pytest.fixture
def driver(database: Database) -> SandboxDriver:
    return SandboxDriver(database)


@pytest.fixture
async def home(database: Database, zone: SandboxZone, tenant: Tenant) -> Home:
    return await onboard(database, zone, tenant)


@pytest.fixture
async def anna(home: Home, database: Database, driver: SandboxDriver, clock: TestClock) -> Json:
    return await active(home, database, driver, clock, "anna")


def path_of(mailbox: Json, add_on: str = "") -> str:
    return f"/v1/mailboxes/{mailbox['id']}/add-ons" + (f"/{add_on}" if add_on else "")


async def put(home: Home, mailbox: Json, add_on: str, quantity: Any = 1, **options: Any) -> httpx.Response:
    return await home.client.put(path_of(mailbox, add_on), json={"quantity": quantity}, **options)


async def take(home: Home, mailbox: Json, add_on: str, **options: Any) -> httpx.Response:
    return await home.client.delete(path_of(mailbox, add_on), **options)


async def read(home: Home, mailbox: Json) -> Json:
    return check(await home.client.get(path_of(mailbox)), 200)


async def patch(home: Home, mailbox: Json, **change: Any) -> httpx.Response:
    return await home.client.patch(f"/v1/mailboxes/{mailbox['id']}", json=change)


def line(add_on: str, quantity: int, confirmed: int, since: str | None) -> Json:
    return {"add_on": add_on, "quantity": quantity, "confirmed_quantity": confirmed, "confirmed_on": since}


async def test_a_mailbox_begins_without_add_ons_and_with_what_its_class_includes(home: Home, anna: Json) -> None:
    answer = await home.client.get(path_of(anna))
    assert check(answer, 200) == {
        "mailbox_id": anna["id"],
        "add_ons": [],
        "quota_mib": 51200,
        "quota_included_mib": 51200,
        "quota_max_mib": 51200,
        "version": anna["version"],
    }
    assert answer.headers["etag"] == f'"{anna["version"]}"'


async def test_an_add_on_is_wanted_at_once_and_on_the_bill_once_confirmed(
    home: Home, anna: Json, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    answer = await put(home, anna, "archive")
    assert check(answer, 202)["add_ons"] == [line("archive", 1, 0, None)]
    check(await put(home, anna, "archive"), 200)
    await confirm(database, driver, anna["id"], clock)
    operation = check(await home.client.get(answer.headers["location"]), 200)
    assert (operation["action"], operation["state"]) == ("mailbox.put_add_on", "succeeded")
    assert (await read(home, anna))["add_ons"] == [line("archive", 1, 1, TODAY)]
    assert check(await take(home, anna, "archive"), 202)["add_ons"] == [line("archive", 0, 1, TODAY)]
    refused(await take(home, anna, "archive"), 404, "not_found")
    await confirm(database, driver, anna["id"], clock)
    assert (await read(home, anna))["add_ons"] == []


async def test_a_unit_of_extra_storage_raises_the_quota_and_goes_once_it_is_lowered(
    home: Home, anna: Json, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    more = check(await put(home, anna, "extra_storage", 5), 202)
    assert (more["quota_mib"], more["quota_max_mib"]) == (51200 + 5 * UNIT, 51200 + 5 * UNIT)
    await confirm(database, driver, anna["id"], clock)
    seen = await driver.observe_mailbox(anna["id"])
    assert seen is not None
    assert seen.spec.quota_mib == 102400
    for answer in (await put(home, anna, "extra_storage", 2), await take(home, anna, "extra_storage")):
        problem = refused(answer, 409, "extra_storage_in_use")
        assert f"PATCH /v1/mailboxes/{anna['id']}" in problem["detail"]
    assert "71680 or less" in refused(await put(home, anna, "extra_storage", 2), 409, "extra_storage_in_use")["detail"]
    check(await patch(home, anna, quota_mib=71680), 202)
    fewer = check(await put(home, anna, "extra_storage", 2), 202)
    assert (fewer["quota_mib"], fewer["quota_max_mib"]) == (71680, 71680)
    assert fewer["add_ons"] == [line("extra_storage", 2, 5, TODAY)]
    check(await patch(home, anna, quota_mib=51200), 202)
    assert check(await take(home, anna, "extra_storage"), 202)["quota_mib"] == 51200


async def test_a_quota_chosen_smaller_grows_by_what_is_added(home: Home, anna: Json) -> None:
    check(await patch(home, anna, quota_mib=1000), 202)
    assert check(await put(home, anna, "extra_storage", 1), 202)["quota_mib"] == 1000 + UNIT
    assert check(await put(home, anna, "extra_storage", 3), 202)["quota_mib"] == 1000 + 3 * UNIT
    assert check(await put(home, anna, "extra_storage", 2), 202)["quota_mib"] == 1000 + 3 * UNIT


@pytest.mark.parametrize("service_class", ["pop3", "imap", "exchange"])
async def test_a_quota_above_the_class_takes_extra_storage(home: Home, service_class: str) -> None:
    mailbox = await order(home, "ben", service_class=service_class)
    included = mailbox["quota_mib"]
    problem = refused(await patch(home, mailbox, quota_mib=included + UNIT + 1), 409, "quota_not_included")
    assert "2 units of the add-on extra_storage" in problem["detail"]
    refused(
        await home.client.post("/v1/mailboxes", json=home.order("carl", quota_mib=51201)), 409, "quota_not_included"
    )
    check(await put(home, mailbox, "extra_storage", 2), 202)
    assert check(await patch(home, mailbox, quota_mib=included + UNIT + 1), 202)["quota_mib"] == included + UNIT + 1
    problem = refused(await patch(home, mailbox, quota_mib=included + 2 * UNIT + 1), 409, "quota_not_included")
    assert f"at most {included + 2 * UNIT} MiB" in problem["detail"]


@pytest.mark.parametrize("service_class", ["pop3", "imap"])
async def test_an_archive_is_for_exchange_only(home: Home, service_class: str) -> None:
    mailbox = await order(home, "ben", service_class=service_class)
    problem = refused(await put(home, mailbox, "archive"), 409, "class_does_not_support_add_on")
    assert problem["classes"] == ["exchange"]
    body = home.order("carl", service_class=service_class, add_ons={"archive": True})
    refused(await home.client.post("/v1/mailboxes", json=body), 409, "class_does_not_support_add_on")


@pytest.mark.parametrize(
    ("add_on", "quantity", "pointer"),
    [
        ("archive", 2, "/quantity"),
        ("archive", 0, "/quantity"),
        ("extra_storage", EXTRA_STORAGE_UNITS_MAX + 1, "/quantity"),
        ("extra_storage", "2", "/quantity"),
    ],
)
async def test_a_quantity_that_cannot_be_is_refused(
    home: Home, anna: Json, add_on: str, quantity: Any, pointer: str
) -> None:
    problem = refused(await put(home, anna, add_on, quantity), 422, "invalid")
    assert problem["errors"][0]["pointer"] == pointer
    assert (await read(home, anna))["add_ons"] == []


async def test_an_unknown_add_on_is_refused(home: Home, anna: Json) -> None:
    refused(await put(home, anna, "fax"), 422, "invalid")
    refused(await take(home, anna, "fax"), 422, "invalid")


async def test_the_most_units_are_a_quota_that_can_still_be_set(home: Home, anna: Json) -> None:
    most = check(await put(home, anna, "extra_storage", EXTRA_STORAGE_UNITS_MAX), 202)["quota_mib"]
    check(await patch(home, anna, quota_mib=most - 1), 202)
    check(await patch(home, anna, quota_mib=most), 202)


async def test_a_new_class_brings_its_size_and_ends_the_archive(
    home: Home, anna: Json, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    check(await put(home, anna, "archive"), 202)
    check(await put(home, anna, "extra_storage", 2), 202)
    await confirm(database, driver, anna["id"], clock)
    kept = refused(await patch(home, anna, service_class="imap", quota_mib=51200), 409, "quota_not_included")
    assert "at most 30720 MiB" in kept["detail"]
    assert "take 4 units" in kept["detail"]
    changed = check(await patch(home, anna, service_class="imap"), 202)
    assert changed["quota_mib"] == 10240 + 2 * UNIT
    await confirm(database, driver, anna["id"], clock)
    assert (await read(home, anna))["add_ons"] == [line("extra_storage", 2, 2, TODAY)]
    # It does not come back by itself: what was in it is gone.
    assert check(await patch(home, anna, service_class="exchange", quota_mib=2048), 202)["quota_mib"] == 2048
    await confirm(database, driver, anna["id"], clock)
    assert (await read(home, anna))["add_ons"] == [line("extra_storage", 2, 2, TODAY)]


async def test_mailboxes_are_ordered_with_add_ons(
    home: Home, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    orders = [
        home.order("anna", add_ons={"archive": True, "extra_storage": 3}),
        home.order("ben"),
        home.order("carl", service_class="imap", quota_mib=20480, add_ons={"extra_storage": 1}),
        home.order("dora", add_ons={}),
    ]
    placed = check(await home.client.post("/v1/mailbox-batches", json={"orders": orders}), 202)["verdicts"]
    mailboxes = [verdict["mailbox"] for verdict in placed]
    assert [mailbox["quota_mib"] for mailbox in mailboxes] == [51200 + 3 * UNIT, 51200, 20480, 51200]
    for mailbox in mailboxes:
        await confirm(database, driver, mailbox["id"], clock)
    assert [(await read(home, mailbox))["add_ons"] for mailbox in mailboxes] == [
        [line("archive", 1, 1, TODAY), line("extra_storage", 3, 3, TODAY)],
        [],
        [line("extra_storage", 1, 1, TODAY)],
        [],
    ]


@pytest.mark.parametrize(
    ("add_ons", "pointer"),
    [
        ({"archive": 1}, "/add_ons/archive"),
        ({"extra_storage": -1}, "/add_ons/extra_storage"),
        ({"fax": True}, "/add_ons/fax"),
    ],
)
async def test_malformed_add_ons_of_an_order_are_refused_at_their_field(
    home: Home, add_ons: Json, pointer: str
) -> None:
    answer = await home.client.post("/v1/mailboxes", json=home.order("anna", add_ons=add_ons))
    assert refused(answer, 422, "invalid")["errors"][0]["pointer"] == pointer


async def test_an_order_without_add_ons_asks_the_database_nothing_more() -> None:
    without = {"id": "mbx_1", "archive": False, "extra_storage_units": 0}
    async with AsyncSession() as nowhere:
        await write_ordered(nowhere, "res_1", [without])
        with pytest.raises(UnboundExecutionError):
            await write_ordered(nowhere, "res_1", [without, {**without, "extra_storage_units": 1}])


async def test_a_price_that_is_not_known_is_not_guessed(
    home: Home, anna: Json, database: Database, clock: TestClock
) -> None:
    async with database.as_system() as session:
        await create_price_list(
            session,
            home.tenant.reseller_id,
            name="Hausliste",
            valid_from=date(2026, 1, 1),
            prices={"exchange": [Tier(0, 790)], "imap": [Tier(0, 300)]},
            now=clock.now(),
        )
    await put(home, anna, "archive")
    for preview in (
        await put(home, anna, "extra_storage", 2, params={"dry_run": "true"}),
        await take(home, anna, "archive", params={"dry_run": "true"}),
        await home.client.post("/v1/mailboxes?dry_run=true", json=home.order("ben", add_ons={"extra_storage": 1})),
        await home.client.patch(f"/v1/mailboxes/{anna['id']}?dry_run=true", json={"service_class": "imap"}),
        await home.client.delete(f"/v1/mailboxes/{anna['id']}?dry_run=true"),
    ):
        assert check(preview, 200)["dry_run"] is True
        assert check(preview, 200)["cost"] is None
    plain = await home.client.post("/v1/mailboxes?dry_run=true", json=home.order("ben", add_ons={}))
    assert check(plain, 200)["cost"]["whole_month_difference_cents"] == 790
    assert [each["add_on"] for each in (await read(home, anna))["add_ons"]] == ["archive"]


async def test_the_etag_is_the_mailboxs_own(home: Home, anna: Json) -> None:
    stale, good = {"If-Match": '"999"'}, {"If-Match": f'"{anna["version"]}"'}
    refused(await put(home, anna, "archive", headers=stale), 412, "precondition_failed")
    answer = await put(home, anna, "archive", headers=good)
    assert answer.headers["etag"] == f'"{check(answer, 202)["version"]}"' != good["If-Match"]
    refused(await take(home, anna, "archive", headers=good), 412, "precondition_failed")
    check(await take(home, anna, "archive", headers={"If-Match": answer.headers["etag"]}), 202)


async def test_a_deleted_mailbox_keeps_its_add_ons_for_its_return(
    home: Home, anna: Json, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    check(await put(home, anna, "archive"), 202)
    await confirm(database, driver, anna["id"], clock)
    check(await home.client.delete(f"/v1/mailboxes/{anna['id']}"), 202)
    await confirm(database, driver, anna["id"], clock)
    for answer in (await put(home, anna, "extra_storage"), await take(home, anna, "archive")):
        refused(answer, 409, "mailbox_deleted")
    assert (await read(home, anna))["add_ons"] == [line("archive", 1, 0, None)]
    check(await home.client.post(f"/v1/mailboxes/{anna['id']}/restore"), 202)
    await confirm(database, driver, anna["id"], clock)
    # The day was counted before it was given up, so that it is not counted again.
    assert (await read(home, anna))["add_ons"] == [line("archive", 1, 1, "2026-11-18")]


async def test_every_change_of_an_add_on_is_in_the_audit_log(home: Home, anna: Json) -> None:
    check(await put(home, anna, "archive"), 202)
    check(await take(home, anna, "archive"), 202)
    events = check(await home.client.get("/v1/audit-events", params={"resource_id": anna["id"]}), 200)["items"]
    assert [(event["action"], event["detail"]) for event in events[:2]] == [
        ("mailbox.remove_add_on", {"add_on": "archive"}),
        ("mailbox.put_add_on", {"add_on": "archive", "quantity": 1}),
    ]


async def test_add_ons_of_another_resellers_mailbox_do_not_exist(
    home: Home, anna: Json, make_tenant: MakeTenant
) -> None:
    stranger = (await make_tenant()).client
    for answer in (
        await stranger.get(path_of(anna)),
        await stranger.put(path_of(anna, "archive"), json={"quantity": 1}),
        await stranger.delete(path_of(anna, "archive")),
    ):
        refused(answer, 404, "not_found")
    assert (await read(home, anna))["add_ons"] == []
