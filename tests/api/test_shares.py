"""Shares over HTTP: every scope, access and class; rivals, expiry, and who can open what in both directions."""

from asyncio import gather
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.drivers.sandbox.driver import SandboxDriver
from provisioning.resolver import SandboxZone
from provisioning.sweeps import expire_shares
from tests.api.conftest import MakeTenant
from tests.api.onboarding import Home, Json, active, another_home, check, confirm, onboard, order, refused

pytestmark = pytest.mark.anyio

CLASSES = ("pop3", "imap", "exchange")
SCOPES = ("mailbox", "inbox", "calendar", "contacts", "tasks", "send_as", "send_on_behalf")
FOLDERS = {"read": ("Reviewer", 0x401), "read_write": ("Editor", 0x47B), "owner": ("Owner", 0x7FB)}
# The plain words of each scope, with Exchange's role and the mask it has there.
GRANTS: dict[str, dict[str, tuple[str, int | None]]] = {
    "mailbox": {"read": ("Reviewer", 0x401), "read_write": ("FullAccess", None)},
    "inbox": dict(FOLDERS),
    "calendar": {
        "availability": ("AvailabilityOnly", 0x800),
        "read": ("Reviewer", 0x1C01),
        "read_write": ("Editor", 0x1C7B),
        "owner": ("Owner", 0x1FFB),
    },
    "contacts": dict(FOLDERS),
    "tasks": dict(FOLDERS),
}
ABLE = {
    "pop3": {"send_as", "send_on_behalf"},
    "imap": {"mailbox", "inbox", "send_as", "send_on_behalf"},
    "exchange": set(SCOPES),
}


@pytest.fixture
async def boss(home: Home, database: Database, driver: SandboxDriver, clock: TestClock) -> Json:
    return await active(home, database, driver, clock, "boss")


@pytest.fixture
async def anna(home: Home, database: Database, driver: SandboxDriver, clock: TestClock) -> Json:
    return await active(home, database, driver, clock, "anna")


def share_path(owner: Json, scope: str, grantee: Json) -> str:
    return f"/v1/mailboxes/{owner['id']}/shares/{scope}/{grantee['id']}"


async def put(home: Home, owner: Json, scope: str, grantee: Json, **wish: Any) -> httpx.Response:
    return await home.client.put(share_path(owner, scope, grantee), json=wish)


async def access_of(home: Home, mailbox: Json, direction: str, **options: Any) -> list[Json]:
    params = {"direction": direction, **options}
    answer = await home.client.get(f"/v1/mailboxes/{mailbox['id']}/access", params=params)
    items: list[Json] = check(answer, 200)["items"]
    return items


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """The statements sent while this is open."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    yield sent
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)


async def test_a_share_is_pending_until_the_backend_has_confirmed_it(
    home: Home, boss: Json, anna: Json, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    answer = await put(home, boss, "calendar", anna, access="read_write")
    share = check(answer, 202)
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["location"].startswith("/v1/operations/")
    assert (share["mailbox_id"], share["grantee_id"]) == (boss["id"], anna["id"])
    assert (share["grantee_address"], share["state"]) == (anna["address"], "pending")
    assert (share["access"], share["role"], share["mask"]) == ("read_write", "Editor", 0x1C7B)
    await confirm(database, driver, boss["id"], clock)
    shown = check(await home.client.get(share_path(boss, "calendar", anna)), 200)
    assert shown == {**share, "state": "active", "version": 2}
    assert check(await home.client.get(f"/v1/mailboxes/{boss['id']}/shares"), 200)["items"] == [shown]


@pytest.mark.parametrize("scope", GRANTS)
async def test_each_access_is_the_exact_role_of_its_scope(home: Home, scope: str) -> None:
    owner, grantee = await order(home, "boss"), await order(home, "anna")
    for access in ("availability", "read", "read_write", "owner"):
        answer = await put(home, owner, scope, grantee, access=access)
        if access not in GRANTS[scope]:
            assert refused(answer, 422, "invalid")["errors"][0]["pointer"] == "/access"
            continue
        share = check(answer, 202)
        assert (share["role"], share["mask"]) == GRANTS[scope][access]
        assert share["rights"]
        assert share["access"] == access


@pytest.mark.parametrize("owner_class", CLASSES)
@pytest.mark.parametrize("grantee_class", CLASSES)
async def test_the_classes_of_both_sides_decide_what_can_be_shared(
    home: Home, owner_class: str, grantee_class: str
) -> None:
    owner = await order(home, "boss", service_class=owner_class)
    for scope in SCOPES:
        sending = scope.startswith("send")
        grantee = await order(home, f"anna.{scope}", service_class=grantee_class)
        answer = await put(home, owner, scope, grantee, **({} if sending else {"access": "read"}))
        if scope in ABLE[owner_class] and (sending or scope in ABLE[grantee_class]):
            check(answer, 202)
            continue
        problem = refused(answer, 409, "class_does_not_support_scope")
        assert problem["classes"] == [each for each in CLASSES if scope in ABLE[each]]
        assert problem["classes"][0] in problem["detail"]


async def test_a_pop3_mailbox_has_no_calendar_and_the_refusal_names_the_class_that_has(home: Home) -> None:
    answer = await put(
        home, await order(home, "boss", service_class="pop3"), "calendar", await order(home, "anna"), access="read"
    )
    assert refused(answer, 409, "class_does_not_support_scope")["detail"] == (
        "The owner's mailbox is of class pop3, which has no calendar to share; exchange would do."
    )


@pytest.mark.parametrize(
    ("scope", "wish", "pointer"),
    [
        ("calendar", {"access": "read", "role": "Editor"}, "/role"),
        ("calendar", {}, "/access"),
        ("calendar", {"role": "Custom"}, "/role"),
        ("calendar", {"role": "None"}, "/role"),
        ("calendar", {"role": "Emperor"}, "/role"),
        ("inbox", {"role": "LimitedDetails"}, "/role"),
        ("mailbox", {"role": "Editor"}, "/role"),
        ("inbox", {"role": "FullAccess"}, "/role"),
        ("send_as", {"access": "read"}, "/access"),
        ("send_as", {"role": "SendOnBehalf"}, "/access"),
        ("calendar", {"access": "read", "expires_at": "2026-11-17T10:00:00Z"}, "/expires_at"),
        ("calendar", {"access": "read", "expires_at": "2026-12-17T10:00:00"}, "/expires_at"),
        ("calendar", {"access": "read", "expires_at": "9999-12-31T23:59:59-12:00"}, "/expires_at"),
        ("calendar", {"access": "look"}, "/access"),
        ("calendar", {"acess": "read"}, "/acess"),
    ],
)
async def test_what_contradicts_itself_or_does_not_exist_is_refused_at_its_field(
    home: Home, scope: str, wish: Json, pointer: str
) -> None:
    answer = await put(home, await order(home, "boss"), scope, await order(home, "anna"), **wish)
    assert refused(answer, 422, "invalid")["errors"][0]["pointer"] == pointer


async def test_an_exact_role_can_be_asked_for_in_either_spelling(home: Home) -> None:
    owner, grantee = await order(home, "boss"), await order(home, "anna")
    share = check(await put(home, owner, "calendar", grantee, role="NoneditingAuthor"), 202)
    assert (share["role"], share["access"], share["mask"]) == ("NonEditingAuthor", None, 0x1C13)
    share = check(await put(home, owner, "calendar", grantee, role="FreeBusyTimeAndSubjectAndLocation"), 202)
    assert (share["role"], share["rights"]) == ("LimitedDetails", ["AvailabilityOnly", "LimitedDetails"])
    check(await put(home, owner, "calendar", grantee, role="Editor", access="read_write"), 202)


async def test_putting_what_stands_changes_nothing(home: Home, boss: Json, anna: Json) -> None:
    first = check(await put(home, boss, "tasks", anna, access="read"), 202)
    answer = await put(home, boss, "tasks", anna, role="Reviewer")
    assert check(answer, 200) == first
    assert "location" not in answer.headers


async def test_a_right_to_send_needs_no_body_and_rules_out_its_rival(home: Home, boss: Json, anna: Json) -> None:
    share = check(await home.client.put(share_path(boss, "send_as", anna)), 202)
    assert (share["access"], share["role"], share["mask"], share["rights"]) == (None, "SendAs", None, ["SendAs"])
    refused(await put(home, boss, "send_on_behalf", anna), 409, "rival_right_to_send")
    check(await put(home, anna, "send_on_behalf", boss), 202)
    check(await home.client.delete(share_path(boss, "send_as", anna)), 202)
    check(await put(home, boss, "send_on_behalf", anna), 202)
    refused(await put(home, boss, "send_as", anna), 409, "rival_right_to_send")


async def test_what_people_expect_otherwise_is_said(home: Home, boss: Json, anna: Json) -> None:
    async def said(scope: str, **wish: Any) -> list[str]:
        preview = check(await home.client.put(f"{share_path(boss, scope, anna)}?dry_run=true", json=wish), 200)
        return [warning["code"] for warning in preview["would_be"]["warnings"]]

    assert await said("mailbox", access="read_write") == ["shows_private_items", "does_not_include_sending"]
    assert "folder_by_folder" in await said("mailbox", access="read")
    assert await said("calendar", access="read") == ["hides_private_items"]
    assert "does_not_include_sending" in await said("inbox", access="owner")
    assert await said("send_as") == []
    assert check(await home.client.get(f"/v1/mailboxes/{boss['id']}/shares"), 200)["items"] == []


async def test_shares_end_at_the_customer_and_at_the_mailbox_itself(
    home: Home, boss: Json, database: Database, zone: SandboxZone, make_tenant: MakeTenant
) -> None:
    stranger = await order(await another_home(database, zone, home), "zoe")
    refused(await put(home, boss, "calendar", stranger, access="read"), 409, "share_across_customers")
    refused(await put(home, boss, "calendar", boss, access="read"), 409, "share_with_itself")
    foreign = await order(await onboard(database, zone, await make_tenant()), "zoe")
    refused(await put(home, boss, "calendar", foreign, access="read"), 404, "not_found")
    refused(await put(home, foreign, "calendar", boss, access="read"), 404, "not_found")
    for path in ("shares", "access"):
        refused(await home.client.get(f"/v1/mailboxes/{foreign['id']}/{path}"), 404, "not_found")


async def test_nothing_is_shared_with_or_by_a_deleted_mailbox(home: Home, boss: Json, anna: Json) -> None:
    check(await home.client.delete(f"/v1/mailboxes/{anna['id']}"), 202)
    refused(await put(home, boss, "calendar", anna, access="read"), 404, "not_found")
    refused(await put(home, anna, "calendar", boss, access="read"), 409, "mailbox_deleted")


async def test_a_share_ends_by_itself(
    home: Home, boss: Json, anna: Json, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    ends = clock.now() + timedelta(days=14)
    share = check(await put(home, boss, "calendar", anna, access="read", expires_at=ends.isoformat()), 202)
    assert share["expires_at"] == ends.isoformat().replace("+00:00", "Z")
    await confirm(database, driver, boss["id"], clock)
    clock.advance(ends)
    async with database.as_system() as session:
        assert await expire_shares(session, now=clock.now()) >= 1
    assert check(await home.client.get(share_path(boss, "calendar", anna)), 200)["state"] == "revoking"
    await confirm(database, driver, boss["id"], clock)
    refused(await home.client.get(share_path(boss, "calendar", anna)), 404, "not_found")
    assert await access_of(home, anna, "outbound") == []


async def test_another_expiry_alone_asks_nothing_of_the_backend(
    home: Home, boss: Json, anna: Json, clock: TestClock
) -> None:
    check(await put(home, boss, "calendar", anna, access="read"), 202)
    later = (clock.now() + timedelta(days=1)).isoformat()
    assert check(await put(home, boss, "calendar", anna, access="read", expires_at=later), 200)["version"] == 2
    assert check(await put(home, boss, "calendar", anna, access="read"), 200)["expires_at"] is None


async def test_an_ended_share_is_gone_once_confirmed(
    home: Home, boss: Json, anna: Json, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    path = share_path(boss, "contacts", anna)
    check(await put(home, boss, "contacts", anna, access="owner"), 202)
    await confirm(database, driver, boss["id"], clock)
    assert check(await home.client.delete(path), 202)["state"] == "revoking"
    assert check(await home.client.delete(path), 200)["state"] == "revoking"
    await confirm(database, driver, boss["id"], clock)
    refused(await home.client.delete(path), 404, "not_found")


async def test_who_waits_for_the_end_of_a_share_is_told_that_it_has_ended(
    home: Home, boss: Json, anna: Json, database: Database, driver: SandboxDriver, clock: TestClock
) -> None:
    path = share_path(boss, "contacts", anna)
    check(await put(home, boss, "contacts", anna, access="owner"), 202)
    await confirm(database, driver, boss["id"], clock)

    async def work() -> None:
        while check(await home.client.get(path), 200)["state"] != "revoking":
            pass
        await confirm(database, driver, boss["id"], clock)

    answer, _ = await gather(home.client.delete(path, headers={"Prefer": "wait=20"}), work())
    assert check(answer, 200)["state"] == "revoked"
    assert answer.headers["preference-applied"] == "wait=20"


async def test_a_share_put_again_while_it_ends_lives_on(home: Home, boss: Json, anna: Json) -> None:
    first = check(await put(home, boss, "tasks", anna, access="read"), 202)
    check(await home.client.delete(share_path(boss, "tasks", anna)), 202)
    again = check(await put(home, boss, "tasks", anna, access="read"), 202)
    assert (again["id"], again["state"]) == (first["id"], "pending")


async def test_a_stale_etag_changes_nothing(home: Home, boss: Json, anna: Json) -> None:
    path = share_path(boss, "tasks", anna)
    stale = {"If-Match": '"7"'}
    refused(await home.client.put(path, json={"access": "read"}, headers=stale), 412, "precondition_failed")
    check(await put(home, boss, "tasks", anna, access="read"), 202)
    refused(await home.client.put(path, json={"access": "owner"}, headers=stale), 412, "precondition_failed")
    refused(await home.client.delete(path, headers=stale), 412, "precondition_failed")
    current = {"If-Match": '"1"'}
    assert check(await home.client.put(path, json={"access": "owner"}, headers=current), 202)["version"] == 2


async def test_two_mailboxes_can_share_with_each_other_at_the_same_moment(home: Home) -> None:
    one, other = await order(home, "boss"), await order(home, "anna")
    wishes = [put(home, *pair, access="read") for pair in ((one, "calendar", other), (other, "calendar", one))]
    wishes += [put(home, *pair, access="read") for pair in ((one, "tasks", other), (other, "tasks", one))]
    assert [answer.status_code for answer in await gather(*wishes)] == [202] * 4


async def test_a_share_and_a_smaller_class_of_its_grantee_at_the_same_moment_do_not_both_win(home: Home) -> None:
    for number in range(5):
        owner, grantee = await order(home, f"boss{number}"), await order(home, f"anna{number}")
        change = home.client.patch(f"/v1/mailboxes/{grantee['id']}", json={"service_class": "pop3"})
        answers = await gather(put(home, owner, "calendar", grantee, access="read"), change)
        assert sorted(answer.status_code for answer in answers) == [202, 409]


async def test_who_can_open_what_is_told_in_both_directions(home: Home, boss: Json, anna: Json) -> None:
    ben = await order(home, "ben")
    for owner, scope, grantee, wish in (
        (boss, "calendar", anna, {"access": "read_write"}),
        (boss, "send_as", anna, {}),
        (ben, "mailbox", anna, {"access": "read"}),
        (anna, "tasks", ben, {"access": "read"}),
    ):
        check(await put(home, owner, scope, grantee, **wish), 202)

    def short(rows: list[Json]) -> list[tuple[str, str, str]]:
        return [(row["address"], row["scope"], row["role"]) for row in rows]

    assert short(await access_of(home, boss, "inbound")) == [
        (anna["address"], "calendar", "Editor"),
        (anna["address"], "send_as", "SendAs"),
    ]
    assert short(await access_of(home, anna, "outbound")) == [
        (boss["address"], "calendar", "Editor"),
        (boss["address"], "send_as", "SendAs"),
        (ben["address"], "mailbox", "Reviewer"),
    ]
    assert short(await access_of(home, anna, "inbound")) == [(ben["address"], "tasks", "Reviewer")]
    assert await access_of(home, boss, "outbound") == []
    [row] = await access_of(home, ben, "outbound")
    assert (row["mailbox_id"], row["display_name"]) == (anna["id"], "Anna")
    assert (row["mailbox_state"], row["state"]) == ("updating", "pending")


async def test_who_can_open_what_is_one_query_however_many_there_are(
    home: Home, boss: Json, database: Database
) -> None:
    counts = []
    for number in range(4):
        check(await put(home, boss, "calendar", await order(home, f"user{number}"), access="read"), 202)
        for direction in ("inbound", "outbound"):
            with statements(database) as sent:
                rows = await access_of(home, boss, direction)
            if rows:
                counts.append(len(sent))
                assert sum("FROM share" in statement for statement in sent) == 1
    assert len(set(counts)) == 1


async def test_pages_of_access_are_complete(home: Home, boss: Json) -> None:
    for number in range(5):
        check(await put(home, boss, "calendar", await order(home, f"user{number}"), access="read"), 202)
    path = f"/v1/mailboxes/{boss['id']}/access?limit=2"
    page = check(await home.client.get(path), 200)
    seen = [row["address"] for row in page["items"]]
    while cursor := page["next_cursor"]:
        page = check(await home.client.get(f"{path}&cursor={cursor}"), 200)
        seen += [row["address"] for row in page["items"]]
    assert seen == [home.address(f"user{number}") for number in range(5)]
    shares = check(await home.client.get(f"/v1/mailboxes/{boss['id']}/shares?limit=2"), 200)
    assert (len(shares["items"]), shares["next_cursor"] is None) == (2, False)


async def test_the_catalogue_lists_every_role_with_its_mask(home: Home) -> None:
    roles = check(await home.client.get("/v1/permission-roles"), 200)["roles"]
    words = {(row["scope"], row["access"]): (row["role"], row["mask"]) for row in roles if row["access"]}
    assert words == {(scope, access): role for scope, known in GRANTS.items() for access, role in known.items()}
    by_name = {(row["scope"], row["role"]): row for row in roles}
    assert len(by_name) == len(roles)
    assert by_name["calendar", "LimitedDetails"]["mask"] == 0x1800
    assert by_name["inbox", "Contributor"]["rights"] == ["CreateItems", "FolderVisible"]
    for scope in SCOPES:
        able = [each for each in CLASSES if scope in ABLE[each]]
        assert all(row["classes"] == able for row in roles if row["scope"] == scope)


async def test_shares_need_scopes_of_their_own(boss: Json, make_tenant: MakeTenant) -> None:
    client = (await make_tenant(scopes=frozenset({"mailboxes:read", "mailboxes:write"}))).client
    answer = await client.get(f"/v1/mailboxes/{boss['id']}/shares")
    assert refused(answer, 403, "missing_scope")["missing_scope"] == "shares:read"
    answer = await client.delete(share_path(boss, "tasks", boss))
    assert refused(answer, 403, "missing_scope")["missing_scope"] == "shares:write"
