"""Operations over HTTP: how far long work is, why it waits, and trying again what failed."""

from datetime import datetime, timedelta

import httpx
import pytest
from sqlalchemy import text

from provisioning.core.clock import TestClock, berlin_day
from provisioning.core.database import Database
from provisioning.drivers.base import DriverError, Outcome
from provisioning.drivers.sandbox.driver import SandboxDriver
from provisioning.keys import RESELLER_SCOPES
from provisioning.planner import MailboxSpec
from provisioning.reconciler import reconcile_mailbox
from provisioning.recording import Ending
from tests.api.conftest import MakeClient, MakeTenant
from tests.api.onboarding import Home, Json, check, confirm, order, refused

pytestmark = pytest.mark.anyio


class RefusingDriver(SandboxDriver):
    """A backend that refuses for good until it is told to accept; `purging` refuses only erasure."""

    refuses = "the licence has run out"

    async def ensure_mailbox(
        self, mailbox_id: str, spec: MailboxSpec, *, location: str, password_hash: str | None
    ) -> Outcome:
        self._refuse()
        return await super().ensure_mailbox(mailbox_id, spec, location=location, password_hash=password_hash)

    async def remove_mailbox(self, backend_id: str) -> Outcome:
        self._refuse()
        return await super().remove_mailbox(backend_id)

    async def purge_mailbox(self, backend_id: str) -> Outcome:
        self._refuse()
        return await super().purge_mailbox(backend_id)

    def _refuse(self) -> None:
        if self.refuses:
            raise DriverError(self.refuses, permanent=True)


@pytest.fixture
def driver(database: Database) -> RefusingDriver:
    return RefusingDriver(database)


@pytest.fixture
async def failed(home: Home, database: Database, driver: RefusingDriver, clock: TestClock) -> Json:
    """The operation of an order that the backend has refused."""
    mailbox = await order(home, "anna")
    ending = await reconcile_mailbox(database, {"sandbox": driver}, mailbox["id"], now=clock)
    assert ending is Ending.FAILED
    return await newest(home, mailbox["id"])


async def newest(home: Home, mailbox_id: str) -> Json:
    page = check(await home.client.get("/v1/operations", params={"mailbox": mailbox_id, "limit": 1}), 200)
    operation: Json = page["items"][0]
    return operation


async def retry(home: Home, operation: Json) -> Json:
    return check(await home.client.post(f"/v1/operations/{operation['id']}/retry"), 202)


async def test_an_operation_says_what_it_does_and_how_far_it_is(
    home: Home, database: Database, driver: RefusingDriver, clock: TestClock, now: datetime
) -> None:
    driver.refuses = ""
    answer = await home.client.post("/v1/mailboxes", json=home.order("anna"))
    path, mailbox = answer.headers["location"], answer.json()
    first = await home.client.get(path)
    operation = check(first, 200)
    assert operation == {
        "id": path.rpartition("/")[2],
        "action": "mailbox.order",
        "mailbox_id": mailbox["id"],
        "state": "queued",
        "steps": [],
        "reason": None,
        "attempts": 0,
        "version": 1,
        "created_at": now.isoformat().replace("+00:00", "Z"),
        "finished_at": None,
    }
    await confirm(database, driver, mailbox["id"], clock)
    second = await home.client.get(path)
    operation = check(second, 200)
    assert operation["state"] == "succeeded"
    assert operation["attempts"] >= 1
    assert operation["finished_at"] is not None
    assert operation["steps"]
    assert {step["state"] for step in operation["steps"]} == {"done"}
    assert first.headers["etag"] != second.headers["etag"]
    unchanged = await home.client.get(path, headers={"If-None-Match": second.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


async def test_a_failed_operation_says_why(home: Home, failed: Json) -> None:
    assert failed["state"] == "failed"
    assert "the licence has run out" in failed["reason"]
    mailbox = check(await home.client.get(f"/v1/mailboxes/{failed['mailbox_id']}"), 200)
    assert (mailbox["state"], mailbox["reason"]) == ("failed", failed["reason"])


async def test_lists_are_narrowed_by_mailbox_and_state(home: Home, failed: Json) -> None:
    other = await order(home, "ben")
    pending = await newest(home, other["id"])

    async def ids(**only: str | int) -> list[str]:
        page = check(await home.client.get("/v1/operations", params=only), 200)
        return [operation["id"] for operation in page["items"]]

    assert await ids() == [pending["id"], failed["id"]]
    assert await ids(state="failed") == [failed["id"]]
    assert await ids(mailbox=other["id"]) == [pending["id"]]
    assert await ids(mailbox=other["id"], state="failed") == []
    assert await ids(mailbox="mbx_unknown") == []
    page = check(await home.client.get("/v1/operations?limit=1"), 200)
    assert await ids(cursor=page["next_cursor"], limit=1) == [failed["id"]]


async def test_a_retry_is_a_new_operation_for_the_same_wish(
    home: Home, failed: Json, database: Database, driver: RefusingDriver, clock: TestClock
) -> None:
    driver.refuses = ""
    answer = await home.client.post(f"/v1/operations/{failed['id']}/retry", headers={"Idempotency-Key": "once"})
    again = check(answer, 202)
    assert answer.headers["location"] == f"/v1/operations/{again['id']}"
    assert again["id"] != failed["id"]
    assert (again["action"], again["mailbox_id"], again["state"]) == ("mailbox.order", failed["mailbox_id"], "queued")
    replayed = await home.client.post(f"/v1/operations/{failed['id']}/retry", headers={"Idempotency-Key": "once"})
    assert replayed.json() == again
    await confirm(database, driver, failed["mailbox_id"], clock)
    mailbox = check(await home.client.get(f"/v1/mailboxes/{failed['mailbox_id']}"), 200)
    assert (mailbox["state"], mailbox["reason"]) == ("active", None)
    assert check(await home.client.get(f"/v1/operations/{again['id']}"), 200)["state"] == "succeeded"
    assert check(await home.client.get(f"/v1/operations/{failed['id']}"), 200) == failed


async def test_only_what_has_failed_can_be_tried_again(home: Home) -> None:
    waiting = await newest(home, (await order(home, "anna"))["id"])
    answer = await home.client.post(f"/v1/operations/{waiting['id']}/retry")
    refused(answer, 409, "operation_not_failed")


async def test_what_another_operation_has_taken_on_is_not_tried_again(home: Home, failed: Json) -> None:
    again = await retry(home, failed)
    for _ in range(2):
        answer = await home.client.post(f"/v1/operations/{failed['id']}/retry")
        refused(answer, 409, "operation_superseded")
    assert (await newest(home, failed["mailbox_id"]))["id"] == again["id"]


async def test_of_several_that_failed_only_the_newest_can_be_tried_again(
    home: Home, failed: Json, database: Database, driver: RefusingDriver, clock: TestClock
) -> None:
    path = f"/v1/mailboxes/{failed['mailbox_id']}"
    check(await home.client.patch(path, json={"display_name": "Anna B."}), 202)
    await reconcile_mailbox(database, {"sandbox": driver}, failed["mailbox_id"], now=clock)
    change = await newest(home, failed["mailbox_id"])
    assert (change["action"], change["state"]) == ("mailbox.change", "failed")
    problem = refused(await home.client.post(f"/v1/operations/{failed['id']}/retry"), 409, "operation_superseded")
    assert problem["operation"] == change["id"]
    assert (await retry(home, change))["action"] == "mailbox.change"


async def test_a_purge_that_failed_can_be_tried_again(
    home: Home, database: Database, driver: RefusingDriver, clock: TestClock
) -> None:
    driver.refuses = ""
    mailbox = await order(home, "anna")
    path = f"/v1/mailboxes/{mailbox['id']}"
    await confirm(database, driver, mailbox["id"], clock)
    check(await home.client.delete(path), 202)
    await confirm(database, driver, mailbox["id"], clock)
    check(await home.client.post(f"{path}/purge"), 202)
    driver.refuses = "a legal hold"
    await confirm(database, driver, mailbox["id"], clock)
    failed = await newest(home, mailbox["id"])
    assert (failed["action"], failed["state"]) == ("mailbox.purge", "failed")
    driver.refuses = ""
    await retry(home, failed)
    await confirm(database, driver, mailbox["id"], clock)
    assert check(await home.client.get(path), 200)["state"] == "purged"


async def test_a_deletion_that_is_tried_again_counts_from_the_day_it_was_asked_for(
    home: Home, database: Database, driver: RefusingDriver, clock: TestClock, now: datetime
) -> None:
    driver.refuses = ""
    mailbox = await order(home, "anna")
    await confirm(database, driver, mailbox["id"], clock)
    driver.refuses = "the licence has run out"
    clock.advance(now + timedelta(days=2))
    check(await home.client.delete(f"/v1/mailboxes/{mailbox['id']}"), 202)
    await reconcile_mailbox(database, {"sandbox": driver}, mailbox["id"], now=clock)
    clock.advance(now + timedelta(days=9))
    await retry(home, await newest(home, mailbox["id"]))
    driver.refuses = ""
    await confirm(database, driver, mailbox["id"], clock)
    async with database.as_system() as session:
        ends_on = await session.scalar(
            text("select ends_on from service_period where mailbox_id = :id"), {"id": mailbox["id"]}
        )
    assert ends_on == berlin_day(now + timedelta(days=2))


async def test_a_dry_run_begins_nothing(home: Home, failed: Json) -> None:
    preview = check(await home.client.post(f"/v1/operations/{failed['id']}/retry?dry_run=true"), 200)
    assert preview["would_be"]["state"] == "queued"
    assert await newest(home, failed["mailbox_id"]) == failed


async def test_another_resellers_operation_does_not_exist(failed: Json, make_tenant: MakeTenant) -> None:
    stranger = (await make_tenant()).client
    refused(await stranger.get(f"/v1/operations/{failed['id']}"), 404, "not_found")
    refused(await stranger.post(f"/v1/operations/{failed['id']}/retry"), 404, "not_found")
    assert check(await stranger.get("/v1/operations"), 200)["items"] == []


@pytest.mark.parametrize(
    ("action", "scope"),
    [
        ("mailbox.order", "mailboxes:write"),
        ("mailbox.delete", "mailboxes:delete"),
        ("mailbox.purge", "mailboxes:delete"),
        ("mailbox.password", "mailboxes:password"),
        ("share.grant", "shares:write"),
        ("share.revoke", "shares:write"),
        ("share.expire", "shares:write"),
    ],
)
async def test_trying_again_takes_the_scope_that_the_action_takes(
    home: Home, database: Database, failed: Json, make_client: MakeClient, action: str, scope: str
) -> None:
    async with database.as_system() as session:
        await session.execute(
            text("update operation set action = :action where id = :id"), {"action": action, "id": failed["id"]}
        )

    async def send(scopes: list[str]) -> httpx.Response:
        made = check(await home.client.post("/v1/api-keys", json={"name": "narrow", "scopes": scopes}), 201)
        return await make_client(made["secret"]).post(f"/v1/operations/{failed['id']}/retry")

    assert refused(await send(sorted(RESELLER_SCOPES - {scope})), 403, "missing_scope")["missing_scope"] == scope
    assert check(await send([scope]), 202)["action"] == action
