"""Invoice runs over HTTP, driven here as the worker's job drives them."""

import asyncio
from datetime import date
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api.worker import Schedules, create_jobs
from billing import runs
from billing.models import InvoiceRun
from provisioning.audit import OPERATOR_CHAIN, list_events
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from tests.api.conftest import Tenant
from tests.api.stage import Facts, on_stage
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    ISSUER,
    NOVEMBER,
    add_billable_resellers,
    add_customer,
    add_mailboxes,
    add_reseller,
    bill,
    read,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(fresh_database: Database, clock: TestClock) -> Database:
    """A month is billed once in a database, for everybody in it; here it is over."""
    clock.advance(IN_DECEMBER)
    return fresh_database


async def start(operator: httpx.AsyncClient, month: str = "2026-11") -> dict[str, Any]:
    answer = await operator.post("/v1/invoice-runs", json={"month": month})
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/invoice-runs/{body['id']}"
    return body


async def drive(database: Database, run_id: str) -> InvoiceRun:
    return await runs.continue_run(database, run_id, now=IN_DECEMBER, issuer=ISSUER)


async def add_parked(database: Database) -> str:
    """A reseller whose address lacks its city."""
    async with database.as_system() as session:
        reseller_id = await add_reseller(session, city="")
        await add_mailboxes(session, reseller_id, await add_customer(session, reseller_id))
    return reseller_id


async def actions(database: Database) -> list[str]:
    rows = await read(database, "select action from audit_event where chain = 'operator' order by sequence")
    return [action for (action,) in rows]


async def waiting_jobs(database: Database) -> list[str]:
    rows = await read(database, "select args ->> 'key' from procrastinate_jobs where status = 'todo'")
    return [key for (key,) in rows]


class TestStart:
    async def test_asking_twice_is_one_run_one_job_and_one_event(
        self, operator: httpx.AsyncClient, database: Database
    ) -> None:
        first, second = await start(operator), await start(operator)
        assert first["id"] == second["id"]
        assert (first["state"], first["month"]) == ("rating", "2026-11")
        assert await read(database, "select count(*) from invoice_run") == [(1,)]
        assert await waiting_jobs(database) == [first["id"]]
        assert await actions(database) == ["invoice_run.start"]

    async def test_many_who_ask_at_once_get_the_same_run(self, operator: httpx.AsyncClient, database: Database) -> None:
        started = await asyncio.gather(*(start(operator) for _ in range(8)))
        assert len({each["id"] for each in started}) == 1
        assert await read(database, "select count(*) from invoice_run") == [(1,)]

    async def test_a_month_that_is_not_over_is_refused_and_says_from_when(
        self, operator: httpx.AsyncClient, database: Database
    ) -> None:
        answer = await operator.post("/v1/invoice-runs", json={"month": "2026-12"})
        assert (answer.status_code, answer.json()["code"]) == (409, "month_not_over")
        assert "2027-01-01" in answer.json()["detail"]
        assert await read(database, "select count(*) from invoice_run") == [(0,)]
        assert await actions(database) == []

    async def test_a_month_that_is_billed_already_is_200_and_stays_as_it_is(
        self, operator: httpx.AsyncClient, database: Database
    ) -> None:
        await add_billable_resellers(database, 2)
        run = await bill(database)
        before = await read(database, "select * from invoice order by id")
        answer = await operator.post("/v1/invoice-runs", json={"month": "2026-11"})
        assert (answer.status_code, answer.json()["id"], answer.json()["state"]) == (200, run.id, "succeeded")
        await drive(database, run.id)
        assert await read(database, "select * from invoice order by id") == before
        assert await actions(database) == []

    async def test_another_closing_day_has_a_run_of_its_own(self, operator: httpx.AsyncClient) -> None:
        answer = await operator.post("/v1/invoice-runs", json={"closes_on": "2026-11-15"})
        assert (answer.status_code, answer.json()["month"], answer.json()["closes_on"]) == (
            202,
            "2026-10",
            "2026-11-15",
        )
        october = await start(operator, "2026-10")
        assert (october["id"] != answer.json()["id"], october["closes_on"]) == (True, "2026-11-01")
        again = await operator.post("/v1/invoice-runs", json={"closes_on": "2026-11-01"})
        assert again.json()["id"] == october["id"]

    @pytest.mark.parametrize("body", [{}, {"month": "2026-10", "closes_on": "2026-11-01"}, {"closes_on": "1999-01-01"}])
    async def test_either_month_or_closing_day_is_named(
        self, operator: httpx.AsyncClient, body: dict[str, str]
    ) -> None:
        assert (await operator.post("/v1/invoice-runs", json=body)).status_code == 422

    @pytest.mark.parametrize("month", ["2026-13", "26-11", "1999-01", "2101-01", "", None, 202611])
    async def test_what_is_no_month_is_refused(self, operator: httpx.AsyncClient, month: object) -> None:
        answer = await operator.post("/v1/invoice-runs", json={"month": month})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/month"

    async def test_a_reseller_runs_no_invoices(self, tenant: Tenant) -> None:
        for path in ("/v1/invoice-runs", "/v1/invoice-numbers"):
            assert (await tenant.client.get(path)).status_code == 403
        assert (await tenant.client.post("/v1/invoice-runs", json={"month": "2026-11"})).status_code == 403


class TestDryRun:
    async def test_it_answers_the_sums_of_the_run_and_who_would_be_parked_and_writes_nothing(
        self, operator: httpx.AsyncClient, database: Database
    ) -> None:
        await add_billable_resellers(database, 2)
        parked = await add_parked(database)
        answer = await operator.post("/v1/invoice-runs?dry_run=true", json={"month": "2026-11"})
        assert answer.status_code == 200, answer.text
        would_be = answer.json()["would_be"]
        assert [each["reseller_id"] for each in would_be["parked_resellers"]] == [parked]
        assert await read(database, "select count(*) from invoice") == [(0,)]
        assert await read(database, "select count(*) from number_series") == [(0,)]
        run = await start(operator)
        await drive(database, run["id"])
        done = (await operator.get(f"/v1/invoice-runs/{run['id']}")).json()
        sums = ("state", "resellers", "parked", "finalised", "invoices", "net_cents", "tax_cents", "gross_cents")
        assert {name: would_be[name] for name in sums} == {name: done[name] for name in sums}
        assert (done["invoices"], done["net_cents"], done["gross_cents"]) == (2, 1474, 1754)


class TestParked:
    async def test_a_parked_reseller_is_shown_with_its_reason_and_billed_when_mended(
        self, operator: httpx.AsyncClient, database: Database
    ) -> None:
        await add_billable_resellers(database, 2)
        parked = await add_parked(database)
        path = f"/v1/invoice-runs/{(await start(operator))['id']}"
        await drive(database, path.rpartition("/")[2])

        why = {
            "reseller_id": parked,
            "state": "parked",
            "code": "address_incomplete",
            "reason": "The reseller's address lacks: city.",
            "report": None,
            "alarm": None,
        }
        run = (await operator.get(path)).json()
        assert (run["state"], run["resellers"], run["parked"], run["finalised"]) == ("succeeded", 3, 1, 2)
        assert run["parked_resellers"] == [why]
        assert (await operator.get(f"{path}/items?state=parked")).json()["items"] == [why]

        async with database.as_system() as session:
            await session.execute(text("update reseller set city = 'Goslar' where id = :id"), {"id": parked})
        answer = await operator.post(f"{path}/retry")
        assert (answer.status_code, answer.json()["state"]) == (202, "rating")
        await drive(database, run["id"])
        run = (await operator.get(path)).json()
        assert (run["state"], run["parked"], run["finalised"], run["parked_resellers"]) == ("succeeded", 0, 3, [])
        assert await actions(database) == ["invoice_run.start", "invoice_run.retry"]

    async def test_retrying_when_nobody_is_parked_changes_nothing(
        self, operator: httpx.AsyncClient, database: Database
    ) -> None:
        await add_billable_resellers(database, 1)
        run = await bill(database)
        answer = await operator.post(f"/v1/invoice-runs/{run.id}/retry")
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
        assert await actions(database) == []

    async def test_a_run_that_is_not_finished_cannot_be_retried(self, operator: httpx.AsyncClient) -> None:
        run = await start(operator)
        answer = await operator.post(f"/v1/invoice-runs/{run['id']}/retry")
        assert (answer.status_code, answer.json()["code"]) == (409, "run_not_finished")

    async def test_the_items_come_in_pages(self, operator: httpx.AsyncClient, database: Database) -> None:
        resellers = await add_billable_resellers(database, 3)
        run = await bill(database)
        seen: list[str] = []
        params: dict[str, str | int] = {"limit": 2}
        while True:
            page = (await operator.get(f"/v1/invoice-runs/{run.id}/items", params=params)).json()
            seen += [item["reseller_id"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
        assert seen == sorted(resellers)


class TestCancel:
    async def test_a_cancelled_run_holds_nobody_and_begins_anew_when_started_again(
        self, operator: httpx.AsyncClient, database: Database
    ) -> None:
        await add_billable_resellers(database, 2)
        run = await start(operator)

        def interrupt(_at: runs.Progress) -> None:
            raise InterruptedError

        with pytest.raises(InterruptedError):
            await runs.continue_run(database, run["id"], now=IN_DECEMBER, issuer=ISSUER, on_progress=interrupt)
        for _ in range(2):
            answer = await operator.post(f"/v1/invoice-runs/{run['id']}/cancel")
            assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
            assert (answer.json()["resellers"], answer.json()["parked"]) == (0, 0)
        assert await read(database, "select count(*) from invoice") == [(0,)]

        assert (await start(operator))["id"] == run["id"]
        assert (await drive(database, run["id"])).finalised == 2
        assert await actions(database) == ["invoice_run.start", "invoice_run.cancel", "invoice_run.start"]

    async def test_what_has_issued_invoices_cannot_be_cancelled(
        self, operator: httpx.AsyncClient, database: Database
    ) -> None:
        await add_billable_resellers(database, 1)
        run = await bill(database)
        answer = await operator.post(f"/v1/invoice-runs/{run.id}/cancel")
        assert (answer.status_code, answer.json()["code"]) == (409, "run_not_cancellable")

    async def test_a_dry_run_cancels_nothing(self, operator: httpx.AsyncClient, database: Database) -> None:
        run = await start(operator)
        answer = await operator.post(f"/v1/invoice-runs/{run['id']}/cancel?dry_run=true")
        assert answer.json()["would_be"]["state"] == "cancelled"
        assert (await operator.get(f"/v1/invoice-runs/{run['id']}")).json()["state"] == "rating"
        assert await actions(database) == ["invoice_run.start"]


class TestRead:
    async def test_runs_are_listed_newest_first_page_by_page(self, operator: httpx.AsyncClient) -> None:
        started = [(await start(operator, month))["id"] for month in ("2026-09", "2026-10", "2026-11")]
        first = (await operator.get("/v1/invoice-runs?limit=2")).json()
        rest = (await operator.get("/v1/invoice-runs", params={"cursor": first["next_cursor"]})).json()
        assert [run["id"] for run in first["items"] + rest["items"]] == sorted(started, reverse=True)

    async def test_an_unknown_run_is_not_found(self, operator: httpx.AsyncClient) -> None:
        path = f"/v1/invoice-runs/{new_id('run')}"
        assert (await operator.get(path)).status_code == 404
        assert (await operator.get(f"{path}/items")).status_code == 404
        assert (await operator.post(f"{path}/retry")).status_code == 404
        assert (await operator.post(f"{path}/cancel")).status_code == 404


class TestNumbers:
    async def test_every_number_has_its_invoice_and_none_is_missing(
        self, operator: httpx.AsyncClient, database: Database
    ) -> None:
        resellers = await add_billable_resellers(database, 5)
        await bill(database, NOVEMBER)
        entries: list[dict[str, Any]] = []
        params: dict[str, str | int] = {"limit": 2}
        while True:
            page = (await operator.get("/v1/invoice-numbers", params=params)).json()
            assert (page["series"], page["year"], page["last_number"], page["gaps"]) == ("PF", 2026, 5, [])
            entries += page["items"]
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
        assert [entry["number"] for entry in entries] == [f"PF-2026-{n:06d}" for n in range(1, 6)]
        assert sorted(entry["reseller_id"] for entry in entries) == sorted(resellers)

    async def test_a_number_without_an_invoice_is_a_gap_that_is_shown(
        self, operator: httpx.AsyncClient, database: Database
    ) -> None:
        await add_billable_resellers(database, 1)
        await bill(database)
        async with database.as_system() as session:
            await session.execute(text("update number_series set last_number = 3"))
        assert (await operator.get("/v1/invoice-numbers?series=PF&year=2026")).json()["gaps"] == [2, 3]

    async def test_a_series_without_numbers_is_empty(self, operator: httpx.AsyncClient) -> None:
        page = (await operator.get("/v1/invoice-numbers?series=XX&year=2020")).json()
        assert (page["last_number"], page["items"], page["next_cursor"]) == (0, [], None)

    @pytest.mark.parametrize("cursor", ["YWJj", "OTk5OTk5OTk5OTk5", "LTE"])
    async def test_a_cursor_of_another_list_is_refused(self, operator: httpx.AsyncClient, cursor: str) -> None:
        answer = await operator.get("/v1/invoice-numbers", params={"cursor": cursor})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "?cursor"


async def test_the_schedules_own_runs_are_in_the_operators_audit_log(fresh_database: Database) -> None:
    async with fresh_database.as_system() as session:
        reseller_id = await add_reseller(session)
        await add_mailboxes(session, reseller_id, await add_customer(session, reseller_id), starts_on=date(2026, 9, 17))
    jobs = create_jobs(on_stage(fresh_database, Facts()).context, {}, schedules=Schedules())
    for tick in (1, 2):
        await jobs.tasks["bill_months"].func(timestamp=tick)
    async with fresh_database.as_system() as session:
        events = await list_events(session, OPERATOR_CHAIN, resource_id=None, before=None, limit=10)
        months = await session.scalars(text("select id from invoice_run order by month desc"))
        assert [(event.action, event.actor, event.resource_id) for event in events] == [
            ("invoice_run.start", "system", run_id) for run_id in months
        ]
        assert len(events) == 2
