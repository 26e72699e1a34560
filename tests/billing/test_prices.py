"""Price lists: which one holds, what may stand in it, and that it never changes."""

import asyncio
from collections.abc import Sequence
from datetime import date
from itertools import pairwise

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from billing import prices
from billing.rating import Tier
from billing.runs import start_run
from billing.terms import Terms
from provisioning.core.database import Database
from provisioning.core.errors import Conflict, Invalid, NotFound
from provisioning.core.ids import new_id
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    NOVEMBER,
    PRICES,
    add_billable_resellers,
    add_prices,
    add_reseller,
    bill,
)
from tests.conftest import as_superuser


class TestWhichHolds:
    async def test_the_list_that_began_last_holds(self, fresh_database: Database) -> None:
        async with fresh_database.as_system() as session:
            reseller_id = await add_reseller(session)
            for day, price_cents in (
                (date(2026, 1, 1), 100),
                (date(2026, 11, 1), 200),
                (date(2026, 11, 2), 300),
            ):
                await add_prices(session, valid_from=day, prices={"imap": (Tier(1, price_cents),)})
            held = {
                day: await prices.price_table(session, reseller_id, day)
                for day in (date(2025, 12, 31), date(2026, 10, 1), date(2026, 11, 1), date(2026, 12, 1))
            }
        assert [table.get("imap") for table in held.values()] == [
            None,
            (Tier(1, 100),),
            (Tier(1, 200),),
            (Tier(1, 300),),
        ]

    async def test_a_resellers_own_list_wins_for_the_classes_it_names(self, fresh_database: Database) -> None:
        async with fresh_database.as_system() as session:
            reseller_id, other = await add_reseller(session), await add_reseller(session)
            await add_prices(session, valid_from=date(2026, 6, 1))
            await add_prices(session, reseller_id, prices={"pop3": (Tier(0, 5), Tier(50, 4))})
            own = await prices.price_table(session, reseller_id, date(2026, 11, 1))
            common = await prices.price_table(session, other, date(2026, 11, 1))
        assert own == {**PRICES, "pop3": (Tier(0, 5), Tier(50, 4))}
        assert common == PRICES

    async def test_a_reseller_sees_the_prices_for_all_and_its_own(self, fresh_database: Database) -> None:
        async with fresh_database.as_system() as session:
            mine, other = await add_reseller(session), await add_reseller(session)
            common = await add_prices(session)
            own = await add_prices(session, mine)
            foreign = await add_prices(session, other)
        async with fresh_database.as_tenant(mine) as session:
            seen = await prices.list_price_lists(session, mine)
            assert [each.id for each in seen] == sorted([own, common], reverse=True)
            # Without the query's filter, row-level security says the same.
            assert len(await prices.list_price_lists(session, None)) == 2
            assert await prices.prices_of(session, common) == PRICES
            assert await prices.prices_of(session, foreign) == {}
            with pytest.raises(NotFound):
                await prices.get_price_list(session, mine, foreign)


class TestCreate:
    @pytest.mark.parametrize(
        ("service_class", "tiers"),
        [
            ("exchnage", (Tier(1, 100),)),
            ("imap", ()),
            ("imap", (Tier(2, 100),)),
            ("imap", (Tier(1, 100), Tier(1, 90))),
            ("imap", (Tier(10, 100), Tier(1, 90))),
            ("imap", (Tier(1, 10**12),)),
        ],
    )
    async def test_a_price_that_cannot_be_is_refused_by_name(
        self, database: Database, service_class: str, tiers: Sequence[Tier]
    ) -> None:
        async with database.as_system() as session:
            with pytest.raises(Invalid) as refusal:
                await add_prices(session, prices={service_class: tiers, "pop3": (Tier(1, 1),)})
        assert [error.pointer for error in refusal.value.errors] == [f"/prices/{service_class}"]

    async def test_an_empty_list_and_an_unknown_reseller_are_refused(self, database: Database) -> None:
        async with database.as_system() as session:
            with pytest.raises(Invalid):
                await add_prices(session, prices={})
            with pytest.raises(NotFound):
                await add_prices(session, new_id("res"))

    @pytest.mark.parametrize("for_all", [True, False])
    async def test_one_owner_has_one_list_a_day(self, fresh_database: Database, for_all: bool) -> None:
        async with fresh_database.as_system() as session:
            owner = None if for_all else await add_reseller(session)
            await add_prices(session, owner)
            with pytest.raises(Conflict) as refusal:
                await add_prices(session, owner)
            assert refusal.value.code == "price_list_exists"
            assert len(await prices.list_price_lists(session, None)) == 1


class TestImmutable:
    @pytest.mark.parametrize(
        "attempt",
        [
            "update price set price_cents = 1",
            "delete from price",
            "update price_list set valid_from = '2020-01-01'",
        ],
    )
    async def test_the_database_refuses_every_change(self, fresh_database: Database, attempt: str) -> None:
        async with fresh_database.as_system() as session:
            await add_prices(session)
        with pytest.raises(IntegrityError, match="final"):
            async with fresh_database.as_system() as session:
                await session.execute(text(attempt))
        superuser = psycopg.connect(as_superuser(fresh_database.url))
        with superuser as connection, pytest.raises(psycopg.IntegrityError, match="final"):
            connection.execute(attempt.encode())

    async def test_a_list_no_invoice_can_have_used_is_withdrawn(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        await bill(fresh_database)
        async with fresh_database.as_system() as session:
            mistaken = await add_prices(session, valid_from=date(2026, 11, 2))
            await prices.withdraw_price_list(session, mistaken)
            assert await prices.prices_of(session, mistaken) == {}
            with pytest.raises(NotFound):
                await prices.withdraw_price_list(session, mistaken)

    async def test_where_there_are_terms_a_list_is_used_by_whom_it_was_agreed_on_in_the_middle_of_a_month(
        self, fresh_database: Database
    ) -> None:
        await add_billable_resellers(fresh_database, 1)
        await bill(fresh_database)
        async with fresh_database.as_system() as session:
            agreed_on = await add_prices(session, valid_from=date(2026, 11, 2), terms={"imap": Terms(trial_days=30)})
            after = await add_prices(session, valid_from=date(2026, 12, 1))
            await prices.withdraw_price_list(session, after)
            with pytest.raises(Conflict) as refusal:
                await prices.withdraw_price_list(session, agreed_on)
            assert refusal.value.code == "price_list_used"
        with pytest.raises(IntegrityError, match="final"):
            async with fresh_database.as_system() as session:
                await session.execute(text("delete from price_list where id = :id"), {"id": agreed_on})

    async def test_a_list_that_invoices_may_have_used_stays(self, fresh_database: Database) -> None:
        billed, other = await add_billable_resellers(fresh_database, 1), None
        await bill(fresh_database)
        async with fresh_database.as_system() as session:
            (used,) = await prices.list_price_lists(session, None)
            with pytest.raises(Conflict) as refusal:
                await prices.withdraw_price_list(session, used.id)
            assert refusal.value.code == "price_list_used"
            other = await add_reseller(session)
            await prices.withdraw_price_list(session, await add_prices(session, other))
            own = await add_prices(session, billed[0])
        with pytest.raises(IntegrityError, match="final"):
            async with fresh_database.as_system() as session:
                await session.execute(text("delete from price_list where id = :id"), {"id": own})

    async def test_a_list_that_drafts_are_made_by_stays(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        async with fresh_database.as_system() as session:
            (used,) = await prices.list_price_lists(session, None)
            await start_run(session, NOVEMBER, actor="operator", now=IN_DECEMBER)
            await session.execute(text("update invoice_run set state = 'checking'"))
        async with fresh_database.as_system() as session:
            with pytest.raises(Conflict) as refusal:
                await prices.withdraw_price_list(session, used.id)
        assert refusal.value.code == "price_list_used"

    async def test_a_phase_that_has_not_committed_is_waited_for(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        async with fresh_database.as_system() as session:
            (used,) = await prices.list_price_lists(session, None)
            await start_run(session, NOVEMBER, actor="operator", now=IN_DECEMBER)

        async def withdraw() -> None:
            async with fresh_database.as_system() as other:
                await prices.withdraw_price_list(other, used.id)

        async with fresh_database.as_system() as session:
            await session.execute(text("update invoice_run set state = 'checking'"))
            withdrawal = asyncio.create_task(withdraw())
            await held_up(fresh_database)
        with pytest.raises(Conflict) as refusal:
            await withdrawal
        assert refusal.value.code == "price_list_used"


async def held_up(database: Database) -> None:
    """Look until somebody waits for the runs to be let go of."""
    waits = text(
        "select count(*) from pg_locks where not granted and relation = 'invoice_run'::regclass "
        "and database = (select oid from pg_database where datname = current_database())"
    )
    async with database.as_system() as session:
        for _ in range(10_000):
            if await session.scalar(waits):
                return
    pytest.fail("nobody waits")


async def test_lists_are_read_page_by_page_newest_first(fresh_database: Database) -> None:
    async with fresh_database.as_system() as session:
        ids = [await add_prices(session, valid_from=date(2026, month, 1)) for month in (3, 1, 2)]
        seen, before = [], None
        while page := await prices.list_price_lists(session, None, limit=1, before=before):
            before = page[-1].id
            seen += [each.id for each in page]
        assert seen == sorted(ids, reverse=True)
        assert all(newer > older for newer, older in pairwise(seen))
        assert (await prices.get_price_list(session, None, seen[0])).created_at == IN_DECEMBER
