"""The invoice run as a resource: one for each month, whoever starts it and however often."""

import asyncio
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import anyio
import pytest
from sqlalchemy import text

from billing import drafts, runs
from billing.discounts import grant_credit
from billing.models import ItemState, RunState
from billing.periods import BillingMonth
from billing.rating import Tier
from provisioning.core.database import Database
from provisioning.core.errors import Conflict, NotFound
from provisioning.core.ids import new_id
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    ISSUER,
    NOVEMBER,
    add_billable_resellers,
    add_customer,
    add_mailboxes,
    add_prices,
    add_reseller,
    bill,
    random_world,
    read,
)

SEPTEMBER, OCTOBER = BillingMonth(2026, 9), BillingMonth(2026, 10)


async def start(database: Database, month: BillingMonth = NOVEMBER, *, now: datetime = IN_DECEMBER) -> str:
    async with database.as_system() as session:
        return (await runs.start_run(session, month, actor="operator", now=now)).id


async def jobs(database: Database) -> list[str]:
    rows = await read(database, "select args ->> 'key' from procrastinate_jobs where status = 'todo' order by id")
    return [key for (key,) in rows]


async def numbers(database: Database) -> list[str]:
    rows = await read(database, "select number from invoice where status = 'final' order by sequence")
    return [number for (number,) in rows]


class TestStart:
    async def test_a_month_has_one_run_however_often_it_is_started(self, fresh_database: Database) -> None:
        first = await start(fresh_database)
        assert await start(fresh_database) == first
        assert await read(fresh_database, "select count(*) from invoice_run") == [(1,)]
        assert await jobs(fresh_database) == [first]

    async def test_two_who_start_at_once_get_the_same_run(self, fresh_database: Database) -> None:
        assert len(set(await asyncio.gather(*(start(fresh_database) for _ in range(8))))) == 1

    async def test_a_month_that_lasts_in_berlin_cannot_be_billed(self, fresh_database: Database) -> None:
        still_november = datetime(2026, 11, 30, 22, 59, tzinfo=UTC)
        with pytest.raises(Conflict) as refusal:
            await start(fresh_database, now=still_november)
        assert refusal.value.code == "month_not_over"
        assert await start(fresh_database, now=datetime(2026, 11, 30, 23, 0, tzinfo=UTC))

    async def test_an_unknown_run_is_not_found(self, fresh_database: Database) -> None:
        with pytest.raises(NotFound):
            await runs.continue_run(fresh_database, new_id("run"), now=IN_DECEMBER, issuer=ISSUER)


class TestContinue:
    async def test_it_ends_with_one_final_invoice_for_each_reseller(self, fresh_database: Database) -> None:
        resellers = await add_billable_resellers(fresh_database, 3)
        run = await bill(fresh_database)
        assert (run.state, run.resellers, run.parked, run.finalised) == (RunState.SUCCEEDED, 3, 0, 3)
        assert run.finished_at == IN_DECEMBER
        rows = await read(
            fresh_database,
            "select reseller_id, number, status, issued_on, due_on, net_cents, tax_cents, gross_cents "
            "from invoice order by sequence",
        )
        issued = ("final", date(2026, 12, 1), date(2026, 12, 15), 737, 140, 877)
        assert rows == [
            (reseller_id, f"PF-2026-{place:06}", *issued)
            for place, reseller_id in enumerate(sorted(resellers), start=1)
        ]

    async def test_who_had_no_mailbox_gets_no_invoice(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        async with fresh_database.as_system() as session:
            await add_reseller(session)
            gone = await add_reseller(session)
            customer_id = await add_customer(session, gone)
            await add_mailboxes(session, gone, customer_id, starts_on=date(2026, 10, 1), ends_on=date(2026, 11, 1))
        assert (await bill(fresh_database)).resellers == 1

    async def test_mailboxes_that_cost_nothing_are_invoiced_too(self, fresh_database: Database) -> None:
        async with fresh_database.as_system() as session:
            await add_prices(session, prices={"exchange": (Tier(0, 0),)})
            reseller_id = await add_reseller(session)
            await add_mailboxes(session, reseller_id, await add_customer(session, reseller_id))
        await bill(fresh_database)
        assert await read(fresh_database, "select number, gross_cents from invoice") == [("PF-2026-000001", 0)]

    async def test_run_twice_is_run_once(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 2)
        first = await bill(fresh_database)
        before = await read(fresh_database, "select * from invoice order by id")
        second = await bill(fresh_database)
        assert second.id == first.id
        assert await read(fresh_database, "select * from invoice order by id") == before

    async def test_progress_is_told_after_each_step(
        self, fresh_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(drafts, "BLOCK", 2)
        await add_billable_resellers(fresh_database, 3)
        seen: list[tuple[RunState, int]] = []
        await runs.continue_run(
            fresh_database,
            await start(fresh_database),
            now=IN_DECEMBER,
            issuer=ISSUER,
            on_progress=lambda progress: seen.append((progress.state, progress.finalised)),
        )
        assert seen == [
            (RunState.CHECKING, 0),
            (RunState.VALIDATING, 0),
            (RunState.FINALISING, 0),
            (RunState.FINALISING, 2),
            (RunState.FINALISING, 3),
            (RunState.DOCUMENTS, 3),
            (RunState.COLLECTION, 3),
            (RunState.COLLECTION, 3),
            (RunState.SUCCEEDED, 3),
        ]

    async def test_several_tasks_drive_one_run_together(
        self, fresh_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(drafts, "BLOCK", 2)
        await add_billable_resellers(fresh_database, 9)
        run_id = await start(fresh_database)
        await asyncio.gather(
            *(runs.continue_run(fresh_database, run_id, now=IN_DECEMBER, issuer=ISSUER) for _ in range(4))
        )
        assert await numbers(fresh_database) == [f"PF-2026-{place:06}" for place in range(1, 10)]

    async def test_several_processes_drive_one_run_together(
        self, fresh_database: Database, fresh_url: str, root: Path
    ) -> None:
        await add_billable_resellers(fresh_database, 9)
        run_id = await start(fresh_database)
        command = [sys.executable, "-m", "tests.billing.run_process", "continue", fresh_url, run_id]
        await asyncio.gather(*(anyio.run_process(command, cwd=root) for _ in range(2)))
        assert await numbers(fresh_database) == [f"PF-2026-{place:06}" for place in range(1, 10)]

    async def test_numbers_go_on_in_the_next_month_and_begin_anew_in_the_next_year(
        self, fresh_database: Database
    ) -> None:
        await add_billable_resellers(fresh_database, 2)
        await bill(fresh_database)
        await bill(fresh_database, BillingMonth(2026, 12), now=datetime(2027, 1, 1, 5, 0, tzinfo=UTC))
        assert sorted(await numbers(fresh_database)) == [
            "PF-2026-000001",
            "PF-2026-000002",
            "PF-2027-000001",
            "PF-2027-000002",
        ]


class TestRehearse:
    @pytest.mark.parametrize("seed", [91, 92])
    async def test_a_dry_run_comes_to_the_same_as_the_run_and_leaves_nothing(
        self, fresh_database: Database, seed: int
    ) -> None:
        months = [BillingMonth(2028, month) for month in (1, 2, 3)]
        now = datetime(2028, 4, 1, 4, 0, tzinfo=UTC)
        async with fresh_database.as_system() as session:
            world = await random_world(session, seed, months=months, add_ons=True, terms=True, anchors=(1, 31, 15))
            for number, reseller_id in enumerate(world.periods):
                await grant_credit(
                    session, reseller_id, amount_cents=500 + number, reason="Ausfall", actor="operator", now=now
                )
            await session.execute(text("update reseller set city = '' where id = :id"), {"id": min(world.periods)})
        await bill(fresh_database, months[0], now=now)
        before = await read(fresh_database, "select state from invoice_run")
        async with fresh_database.as_system() as session:
            due = await runs.due_runs(session, now)
            rehearsed = [
                (each.closes_on, each.resellers, each.parked, await runs.sums_of(session, each.id))
                for each in await runs.rehearse(session, due[-1], now=now, issuer=ISSUER)
            ]
            await session.rollback()
        assert await read(fresh_database, "select state from invoice_run") == before
        async with fresh_database.as_system() as session:
            due = await runs.due_runs(session, now)
        await runs.continue_run(fresh_database, due[-1], now=now, issuer=ISSUER)
        async with fresh_database.as_system() as session:
            done = [await runs.get_run(session, run_id) for run_id in due]
            real = [
                (each.closes_on, each.resellers, each.parked, await runs.sums_of(session, each.id)) for each in done
            ]
        assert rehearsed == sorted(real, key=lambda row: row[0])
        assert sum(sums.gross_cents for *_, sums in real) > 0


class TestPark:
    async def test_wrong_data_parks_its_reseller_and_stops_nobody_else(self, fresh_database: Database) -> None:
        (good,) = await add_billable_resellers(fresh_database, 1)
        async with fresh_database.as_system() as session:
            abroad = await add_reseller(session, country="AT")
            homeless = await add_reseller(session, street=" ", city="")
            unpriced = await add_reseller(session)
            for reseller_id in (abroad, homeless, unpriced):
                customer_id = await add_customer(session, reseller_id)
                await add_mailboxes(session, reseller_id, customer_id)
            await session.execute(text("delete from price_list"))
            await add_prices(session, good)
            for reseller_id in (abroad, homeless):
                await add_prices(session, reseller_id)
        run = await bill(fresh_database)
        assert (run.state, run.resellers, run.parked, run.finalised) == (RunState.SUCCEEDED, 4, 3, 1)
        async with fresh_database.as_system() as session:
            items = await runs.list_items(session, run.id, state=ItemState.PARKED)
        assert {item.reseller_id: (item.code, item.reason) for item in items} == {
            abroad: ("vat_id_missing", "A business in AT is billed by its VAT id. Add the id to the reseller."),
            homeless: ("address_incomplete", "The reseller's address lacks: street, city."),
            unpriced: ("no_price", "No price list that holds on 2026-11-01 names exchange."),
        }
        assert await read(fresh_database, "select reseller_id, number from invoice") == [(good, "PF-2026-000001")]

    async def test_what_is_mended_is_billed_by_a_retry_and_the_rest_stays_parked(
        self, fresh_database: Database
    ) -> None:
        resellers = sorted(await add_billable_resellers(fresh_database, 3, city=""))
        run = await bill(fresh_database)
        assert (run.parked, run.finalised) == (3, 0)
        async with fresh_database.as_system() as session:
            await session.execute(
                text("update reseller set city = 'Köln' where id = any(:ids)"), {"ids": resellers[:2]}
            )
            await runs.retry_parked(session, run.id)
        # The job left by the first start is the one that waits for the retry too.
        assert await jobs(fresh_database) == [run.id]
        run = await runs.continue_run(fresh_database, run.id, now=IN_DECEMBER, issuer=ISSUER)
        assert (run.state, run.resellers, run.parked, run.finalised) == (RunState.SUCCEEDED, 3, 1, 2)
        assert await numbers(fresh_database) == ["PF-2026-000001", "PF-2026-000002"]

    async def test_a_retry_with_nothing_parked_changes_nothing(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        run = await bill(fresh_database)
        async with fresh_database.as_system() as session:
            assert (await runs.retry_parked(session, run.id)).state == RunState.SUCCEEDED

    async def test_a_run_that_goes_on_cannot_be_retried(self, fresh_database: Database) -> None:
        run_id = await start(fresh_database)
        async with fresh_database.as_system() as session:
            with pytest.raises(Conflict) as refusal:
                await runs.retry_parked(session, run_id)
        assert refusal.value.code == "run_not_finished"

    async def test_who_moves_abroad_after_the_check_gets_no_number(self, fresh_database: Database) -> None:
        stays, moves = sorted(await add_billable_resellers(fresh_database, 2))
        run_id = await start(fresh_database)
        async with fresh_database.as_system() as session:
            run = await runs.get_run(session, run_id)
            await drafts.rate_and_draft(session, run, now=IN_DECEMBER)
            await drafts.check(session, run, now=IN_DECEMBER)
            run.state = RunState.FINALISING
        async with fresh_database.as_system() as session:
            await session.execute(text("update reseller set country = 'AT' where id = :id"), {"id": moves})
        run = await runs.continue_run(fresh_database, run_id, now=IN_DECEMBER, issuer=ISSUER)
        assert (run.state, run.parked, run.finalised) == (RunState.SUCCEEDED, 1, 1)
        assert await read(fresh_database, "select reseller_id, number from invoice") == [(stays, "PF-2026-000001")]


class TestCancel:
    async def test_the_drafts_are_gone_and_the_month_can_be_run_anew(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 2)
        run_id = await start(fresh_database)
        async with fresh_database.as_system() as session:
            run = await runs.get_run(session, run_id)
            await drafts.rate_and_draft(session, run, now=IN_DECEMBER)
            run.state = RunState.CHECKING
        for _ in range(2):
            async with fresh_database.as_system() as session:
                assert (await runs.cancel_run(session, run_id)).state == RunState.CANCELLED
        assert await read(fresh_database, "select count(*) from invoice_line") == [(0,)]
        run = await runs.continue_run(fresh_database, run_id, now=IN_DECEMBER, issuer=ISSUER)
        assert run.state == RunState.CANCELLED
        assert (await bill(fresh_database)).finalised == 2

    async def test_what_is_invoiced_cannot_be_cancelled(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        run = await bill(fresh_database)
        async with fresh_database.as_system() as session:
            with pytest.raises(Conflict) as refusal:
                await runs.cancel_run(session, run.id)
        assert refusal.value.code == "run_not_cancellable"


class TestSchedule:
    async def test_missed_months_are_caught_up_in_order(self, fresh_database: Database) -> None:
        async with fresh_database.as_system() as session:
            await add_prices(session)
            reseller_id = await add_reseller(session)
            customer_id = await add_customer(session, reseller_id)
            await add_mailboxes(session, reseller_id, customer_id, starts_on=date(2026, 9, 17))
        async with fresh_database.as_system() as session:
            due = await runs.due_runs(session, IN_DECEMBER)
        assert await jobs(fresh_database) == due
        # Whichever worker comes first, and with whichever month, the oldest is billed first.
        await runs.continue_run(fresh_database, due[-1], now=IN_DECEMBER, issuer=ISSUER)
        rows = await read(fresh_database, "select period_starts_on, sequence, net_cents from invoice order by 1")
        assert rows == [
            (SEPTEMBER.starts_on, 1, 369),
            (OCTOBER.starts_on, 2, 790),
            (NOVEMBER.starts_on, 3, 790),
        ]
        async with fresh_database.as_system() as session:
            assert await runs.due_runs(session, IN_DECEMBER) == []

    async def test_a_month_started_late_is_made_up_for_by_a_later_one(self, fresh_database: Database) -> None:
        async with fresh_database.as_system() as session:
            await add_prices(session)
            reseller_id = await add_reseller(session)
            customer_id = await add_customer(session, reseller_id)
            await add_mailboxes(session, reseller_id, customer_id, starts_on=date(2026, 10, 1))
        done = await bill(fresh_database)
        await start(fresh_database, OCTOBER)
        again = await runs.continue_run(fresh_database, done.id, now=IN_DECEMBER, issuer=ISSUER)
        assert (again.id, again.state) == (done.id, RunState.SUCCEEDED)
        assert await numbers(fresh_database) == ["PF-2026-000001", "PF-2026-000002"]

    async def test_two_schedulers_make_one_run(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)

        async def schedule() -> list[str]:
            async with fresh_database.as_system() as session:
                return await runs.due_runs(session, IN_DECEMBER)

        created = [run_id for each in await asyncio.gather(*(schedule() for _ in range(5))) for run_id in each]
        assert len(created) == 1
        assert await jobs(fresh_database) == created

    async def test_a_run_whose_job_was_lost_is_enqueued_again(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        run_id = await start(fresh_database)
        async with fresh_database.as_system() as session:
            await session.execute(text("update procrastinate_jobs set status = 'failed'"))
        async with fresh_database.as_system() as session:
            assert await runs.due_runs(session, IN_DECEMBER) == []
        assert await jobs(fresh_database) == [run_id]

    async def test_nothing_is_due_before_anybody_was_in_service(self, fresh_database: Database) -> None:
        async with fresh_database.as_system() as session:
            assert await runs.due_runs(session, IN_DECEMBER) == []

    async def test_a_cancelled_month_is_not_started_by_itself(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        run_id = await start(fresh_database)
        async with fresh_database.as_system() as session:
            await runs.cancel_run(session, run_id)
        async with fresh_database.as_system() as session:
            assert await runs.due_runs(session, IN_DECEMBER) == []
            assert (await runs.get_run(session, run_id)).state == RunState.CANCELLED
