"""The SQL that bills everybody at once says what the pure module says for each one, to the cent."""

from datetime import UTC, date, datetime, timedelta

import pytest

from billing.periods import BillingMonth
from billing.preview import cost_of, preview
from billing.prices import price_table
from billing.rating import Line, Period, Tier, rate, total
from billing.vat import vat_rate
from provisioning.core.database import Database
from provisioning.core.errors import Conflict, NotFound
from provisioning.core.ids import new_id
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    NOVEMBER,
    World,
    add_customer,
    add_mailboxes,
    add_prices,
    add_reseller,
    bill,
    random_world,
    read,
)

# A leap February and the day of 23 hours are among them.
MONTHS = tuple(BillingMonth(2028, month) for month in (1, 2, 3))
AFTERWARDS = datetime(2028, 4, 1, 4, 0, tzinfo=UTC)


def expected(world: World, month: BillingMonth) -> dict[str, list[Line]]:
    lines = {
        reseller_id: rate(periods, world.table(reseller_id, month), month)
        for reseller_id, periods in world.periods.items()
    }
    return {reseller_id: of_reseller for reseller_id, of_reseller in lines.items() if of_reseller}


async def billed(database: Database, month: BillingMonth) -> dict[str, list[Line]]:
    rows = await read(
        database,
        """
        select invoice.reseller_id, customer_id, service_class, price_cents, mailbox_days, base_days,
            line.net_cents
        from invoice join invoice_line line on line.invoice_id = invoice.id
        where period_starts_on = :month order by 1, 2, 3
        """,
        month=month.starts_on,
    )
    lines: dict[str, list[Line]] = {}
    for reseller_id, *values in rows:
        lines.setdefault(reseller_id, []).append(Line(*values))
    return lines


@pytest.mark.parametrize("seed", range(6))
async def test_the_run_bills_what_the_pure_module_says(fresh_database: Database, seed: int) -> None:
    async with fresh_database.as_system() as session:
        world = await random_world(session, seed, months=MONTHS)
    for month in MONTHS:
        await bill(fresh_database, month, now=AFTERWARDS)
        assert await billed(fresh_database, month) == expected(world, month)
        sums = await read(
            fresh_database,
            "select reseller_id, net_cents, tax_cents, gross_cents from invoice where period_starts_on = :month",
            month=month.starts_on,
        )
        for reseller_id, net_cents, tax_cents, gross_cents in sums:
            right = total(expected(world, month)[reseller_id], vat_rate("DE", month.last_on))
            assert (net_cents, tax_cents, gross_cents) == (
                right.net_cents,
                right.tax_cents,
                right.gross_cents,
            )


@pytest.mark.parametrize("seed", [11, 12])
async def test_the_preview_is_the_run(fresh_database: Database, seed: int) -> None:
    async with fresh_database.as_system() as session:
        world = await random_world(session, seed, months=MONTHS)
    previews = {}
    for month in MONTHS:
        for reseller_id in world.periods:
            # As the reseller itself asks: its role sees its own rows and the prices for all.
            async with fresh_database.as_tenant(reseller_id) as session:
                previews[reseller_id, month] = await preview(session, reseller_id, month, now=AFTERWARDS)
    for month in MONTHS:
        await bill(fresh_database, month, now=AFTERWARDS)
        lines = await billed(fresh_database, month)
        for reseller_id in world.periods:
            foreseen = previews[reseller_id, month]
            assert sorted(
                Line(
                    line.customer_id,
                    line.service_class,
                    line.price_cents,
                    line.mailbox_days,
                    base_days=line.base_days,
                    net_cents=line.net_cents,
                ).__repr__()
                for line in foreseen.lines
            ) == sorted(map(repr, lines.get(reseller_id, [])))
            assert sum(each.net_cents for each in foreseen.customers) == foreseen.total.net_cents
            assert not foreseen.is_estimate


async def test_the_price_table_of_a_reseller_is_the_one_the_run_uses(fresh_database: Database) -> None:
    async with fresh_database.as_system() as session:
        world = await random_world(session, 21, months=MONTHS)
        for reseller_id in world.periods:
            for month in MONTHS:
                assert await price_table(session, reseller_id, month.starts_on) == world.table(reseller_id, month)


async def test_an_order_given_up_on_the_same_day_costs_one_day(fresh_database: Database) -> None:
    async with fresh_database.as_system() as session:
        await add_prices(session)
        reseller_id = await add_reseller(session)
        customer_id = await add_customer(session, reseller_id)
        await add_mailboxes(session, reseller_id, customer_id, starts_on=date(2026, 11, 30), ends_on=date(2026, 12, 1))
    await bill(fresh_database)
    assert await read(fresh_database, "select mailbox_days, net_cents from invoice_line") == [(1, 26)]


class TestPreview:
    async def test_open_periods_count_to_the_end_of_a_month_that_lasts(self, fresh_database: Database) -> None:
        async with fresh_database.as_system() as session:
            await add_prices(session)
            reseller_id = await add_reseller(session)
            customer_id = await add_customer(session, reseller_id)
            await add_mailboxes(session, reseller_id, customer_id, starts_on=date(2026, 11, 17))
            seen = await preview(session, reseller_id, NOVEMBER, now=datetime(2026, 11, 20, 12, tzinfo=UTC))
        assert [(line.customer_name, line.mailbox_days) for line in seen.lines] == [("Kanzlei Grün", 14)]
        assert seen.is_estimate
        assert seen.total.gross_cents == 369 + 70

    async def test_it_refuses_where_the_run_would_park(self, fresh_database: Database) -> None:
        async with fresh_database.as_system() as session:
            await add_prices(session, prices={"imap": (Tier(1, 290),)})
            german = await add_reseller(session)
            await add_mailboxes(session, german, await add_customer(session, german))
            with pytest.raises(Conflict, match="exchange") as refusal:
                await preview(session, german, NOVEMBER, now=IN_DECEMBER)
            assert refusal.value.code == "no_price"
            with pytest.raises(Conflict) as refusal:
                await preview(session, await add_reseller(session, country="AT"), NOVEMBER, now=IN_DECEMBER)
            assert refusal.value.code == "vat_id_missing"
            with pytest.raises(NotFound):
                await preview(session, new_id("res"), NOVEMBER, now=IN_DECEMBER)


class TestCostOf:
    async def test_an_order_that_reaches_the_next_tier_makes_all_cheaper(self, fresh_database: Database) -> None:
        async with fresh_database.as_system() as session:
            await add_prices(session)
            reseller_id = await add_reseller(session)
            customer_id = await add_customer(session, reseller_id)
            await add_mailboxes(session, reseller_id, customer_id, count=9)
            wanted = Period("mbx_new", customer_id, "exchange", "de-fra-1", date(2026, 11, 30), None)
            change = await cost_of(session, reseller_id, NOVEMBER, extra=[wanted], now=IN_DECEMBER)
        assert (change.before.net_cents, change.after.net_cents) == (9 * 790, 9 * 690 + 23)

    async def test_a_change_of_class_ends_one_period_and_begins_another(self, fresh_database: Database) -> None:
        today = date(2026, 11, 16)
        async with fresh_database.as_system() as session:
            await add_prices(session)
            reseller_id = await add_reseller(session)
            customer_id = await add_customer(session, reseller_id)
            old, young = (
                *await add_mailboxes(session, reseller_id, customer_id),
                *await add_mailboxes(session, reseller_id, customer_id, starts_on=today),
            )
            changed = [Period(each, customer_id, "imap", "de-fra-1", today, None) for each in (old, young)]
            ended = {old: today, young: today}
            change = await cost_of(session, reseller_id, NOVEMBER, extra=changed, ended=ended, now=IN_DECEMBER)
        assert change.before.net_cents == 790 + 395 + 0
        assert change.after.net_cents == 395 + 290

    async def test_giving_up_on_the_first_day_still_costs_it_once(self, fresh_database: Database) -> None:
        today = date(2026, 11, 16)
        async with fresh_database.as_system() as session:
            await add_prices(session)
            reseller_id = await add_reseller(session)
            customer_id = await add_customer(session, reseller_id)
            (young,) = await add_mailboxes(session, reseller_id, customer_id, starts_on=today)
            (old,) = await add_mailboxes(session, reseller_id, customer_id)
            change = await cost_of(
                session,
                reseller_id,
                NOVEMBER,
                ended={young: today, old: today + timedelta(days=10)},
                now=IN_DECEMBER,
            )
        assert change.after.net_cents == round((1 + 25) * 790 / 30)
