"""Dunning over REST: the operator's policy and pauses, and what a reseller sees of what it owes."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from api import dunning_jobs, worker
from api.context import Context
from provisioning.core.clock import TestClock, berlin_day
from provisioning.core.database import Database
from provisioning.drivers.sandbox.driver import SandboxDriver
from provisioning.tenants import Reseller
from tests import factories
from tests.api.conftest import MakeTenant, Tenant
from tests.billing.dunning_world import AT_ONCE, Arrears
from tests.billing.mail_server import mail_server

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(fresh_database: Database) -> Database:
    """Dunning looks at everything there is, so nothing else may be."""
    return fresh_database


@pytest.fixture
async def arrears(database: Database, clock: TestClock) -> Arrears:
    return Arrears(database, berlin_day(clock.now()))


async def bill(arrears: Arrears, tenant: Tenant, *, days_past_due: int) -> str:
    return await arrears.bill(tenant.reseller_id, due_on=arrears.today - timedelta(days=days_past_due))


async def pass_day(context: Context, clock: TestClock, days: int = 1) -> None:
    for _ in range(days):
        clock.advance(clock.now() + timedelta(days=1))
        await dunning_jobs.dun_now(context)


async def get(client: httpx.AsyncClient, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


class TestPolicy:
    async def test_one_comes_with_the_service_and_another_takes_its_place(self, operator: httpx.AsyncClient) -> None:
        first = await operator.get("/v1/dunning-policy")
        assert first.json()["version"] == 0
        assert [each["days_past_due"] for each in first.json()["steps"]] == [3, 10, 20, 30]
        wish = {"small_amount_cents": 0, "steps": [{"kind": "first_dunning", "days_past_due": 5, "fee_cents": 250}]}
        changed = await operator.put("/v1/dunning-policy", json=wish, headers={"If-Match": first.headers["etag"]})
        assert changed.status_code == 200, changed.text
        read = await get(operator, "/v1/dunning-policy")
        assert read == changed.json()
        assert (read["steps"], read["version"]) == (wish["steps"], 1)
        again = await operator.put("/v1/dunning-policy", json=wish, headers={"If-Match": first.headers["etag"]})
        assert (again.status_code, again.json()["code"]) == (412, "precondition_failed")

    async def test_steps_out_of_order_are_refused_by_their_place(self, operator: httpx.AsyncClient) -> None:
        steps = [{"kind": "first_dunning", "days_past_due": 5}, {"kind": "reminder", "days_past_due": 9}]
        answer = await operator.put("/v1/dunning-policy", json={"small_amount_cents": 0, "steps": steps})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/steps/1")
        assert (await get(operator, "/v1/dunning-policy"))["version"] == 0


class TestOpenItems:
    async def test_a_reseller_sees_what_it_owes_and_what_comes_next(
        self, arrears: Arrears, tenant: Tenant, operator: httpx.AsyncClient, context: Context, clock: TestClock
    ) -> None:
        payment_id = await bill(arrears, tenant, days_past_due=2)
        await pass_day(context, clock)
        state = await get(tenant.client, "/v1/dunning")
        [item] = state["open_items"]
        due_on = arrears.today - timedelta(days=2)
        assert item["payment_id"] == payment_id
        assert (item["days_past_due"], item["owed_cents"], item["fees_cents"]) == (3, 10_000, 0)
        assert [each["kind"] for each in item["steps"]] == ["reminder"]
        assert (item["next_step"], item["next_on"]) == ("first_dunning", str(due_on + timedelta(days=10)))
        assert item["hold"] is None
        assert await get(operator, f"/v1/resellers/{tenant.reseller_id}/dunning") == state

    async def test_it_sees_why_nothing_happens(self, arrears: Arrears, tenant: Tenant) -> None:
        payment_id = await bill(arrears, tenant, days_past_due=2)
        await arrears.begin_debit(payment_id)
        [item] = (await get(tenant.client, "/v1/dunning"))["open_items"]
        assert (item["hold"], item["status"]) == ("collecting", "processing")

    async def test_a_fee_that_is_left_is_shown_beside_the_invoice(
        self, arrears: Arrears, tenant: Tenant, context: Context, clock: TestClock
    ) -> None:
        payment_id = await bill(arrears, tenant, days_past_due=0)
        await pass_day(context, clock, 21)
        await arrears.pay(payment_id, 10_200)
        state = await get(tenant.client, "/v1/dunning")
        assert (state["owed_cents"], state["fees_cents"]) == (0, 300)
        assert state["open_items"][0]["hold"] == "settled"

    async def test_nobody_sees_what_others_owe_or_were_told(
        self, arrears: Arrears, tenant: Tenant, make_tenant: MakeTenant, context: Context, clock: TestClock
    ) -> None:
        await bill(arrears, tenant, days_past_due=2)
        other = await make_tenant()
        await pass_day(context, clock)
        assert len((await get(tenant.client, "/v1/notices"))["items"]) == 1
        assert (await get(other.client, "/v1/dunning"))["open_items"] == []
        assert (await get(other.client, "/v1/notices"))["items"] == []

    async def test_the_letter_is_there_in_both_languages(
        self, arrears: Arrears, tenant: Tenant, operator: httpx.AsyncClient, context: Context, clock: TestClock
    ) -> None:
        await bill(arrears, tenant, days_past_due=2)
        await pass_day(context, clock)
        [notice] = (await get(tenant.client, "/v1/notices"))["items"]
        assert (notice["kind"], notice["delivery"], notice["language"]) == ("reminder", "listed", "de")
        assert "PF-2026-000001" in notice["de"]["subject"]
        assert context.issuer.name in notice["en"]["body"]
        assert await get(operator, f"/v1/notices/{notice['id']}") == notice


class TestSuspension:
    async def test_a_suspended_reseller_orders_nothing_and_can_pay(
        self, arrears: Arrears, tenant: Tenant, context: Context, clock: TestClock
    ) -> None:
        await arrears.set_policy(AT_ONCE)
        payment_id = await bill(arrears, tenant, days_past_due=0)
        await pass_day(context, clock)
        me = (await get(tenant.client, "/v1/me"))["reseller"]
        assert me["standing"] == "good"
        assert me["service_suspended_at"] is not None
        assert "PF-2026-000001" in me["service_suspended_reason"]
        refused = await tenant.client.post("/v1/customers", json={"name": "Kanzlei Neu"})
        assert (refused.status_code, refused.json()["code"]) == (403, "reseller_suspended")
        method = await tenant.client.post("/v1/payment-methods", json={"kind": "transfer"})
        assert method.status_code == 201, method.text
        await arrears.pay(payment_id, 10_000)
        await dunning_jobs.dun_now(context)
        assert (await get(tenant.client, "/v1/me"))["reseller"]["service_suspended_at"] is None
        assert (await tenant.client.post("/v1/customers", json={"name": "Kanzlei Neu"})).status_code == 201

    async def test_a_pause_lets_service_go_on_and_its_end_stops_it_again(
        self, arrears: Arrears, tenant: Tenant, operator: httpx.AsyncClient, context: Context, clock: TestClock
    ) -> None:
        await arrears.set_policy(AT_ONCE)
        await bill(arrears, tenant, days_past_due=0)
        await pass_day(context, clock)
        path = f"/v1/resellers/{tenant.reseller_id}/dunning"
        until_on = str(berlin_day(clock.now()) + timedelta(days=30))
        paused = await operator.put(f"{path}-pause", json={"until_on": until_on, "reason": "instalments"})
        assert paused.status_code == 200, paused.text
        await dunning_jobs.dun_now(context)
        state = await get(operator, path)
        assert (state["service_suspended_at"], state["paused_until"]) == (None, until_on)
        assert (await operator.delete(f"{path}-pause")).status_code == 204
        assert (await operator.delete(f"{path}-pause")).status_code == 404
        await dunning_jobs.dun_now(context)
        assert (await get(operator, path))["service_suspended_at"] is not None

    async def test_a_pause_does_not_end_before_tomorrow(
        self, tenant: Tenant, operator: httpx.AsyncClient, clock: TestClock
    ) -> None:
        body = {"until_on": str(berlin_day(clock.now())), "reason": "instalments"}
        answer = await operator.put(f"/v1/resellers/{tenant.reseller_id}/dunning-pause", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/until_on")
        unknown = "/v1/resellers/res_01k9z3f6m2w5t8y1c4e7h0j3n6/dunning-pause"
        assert (await operator.put(unknown, json=body)).status_code == 404


async def test_workers_do_all_of_it_from_the_step_to_the_mailbox_and_the_letter(
    arrears: Arrears, tenant: Tenant, context: Context, clock: TestClock
) -> None:
    """The jobs of a worker, each run as the queue has them until it is empty."""
    await arrears.set_policy(AT_ONCE)
    payment_id = await bill(arrears, tenant, days_past_due=0)
    async with arrears.database.as_system() as session:
        reseller = await session.get_one(Reseller, tenant.reseller_id)
        domain = await factories.make_domain(session, await factories.make_customer(session, reseller))
        mailbox_id = (await factories.order_mailbox(session, domain)).id
    async with mail_server() as peer:
        context.mailer = peer.mailer
        jobs = worker.create_jobs(context, {"sandbox": SandboxDriver(arrears.database)}, schedules=worker.Schedules())

        async def work() -> Any:
            async with jobs.open_async():
                await jobs.tasks["dun"].defer_async(timestamp=0)
                await jobs.run_worker_async(wait=False, install_signal_handlers=False, delete_jobs="successful")
            return await get(tenant.client, f"/v1/mailboxes/{mailbox_id}")

        assert (await work())["state"] == "active"
        clock.advance(clock.now() + timedelta(days=1))
        mailbox = await work()
        assert (mailbox["state"], mailbox["service_suspended"]) == ("suspended", True)
        await arrears.pay(payment_id, 10_000)
        mailbox = await work()
        assert (mailbox["state"], mailbox["service_suspended"]) == ("active", False)
        subjects = [str(message["Subject"]) for message in peer.taken]
    assert subjects == [
        "Gesperrt: Rechnung PF-2026-000001 ist nicht bezahlt",
        "Anmeldung und Versand sind wieder frei",
    ]
