"""The SQL that bills everybody at once says what the pure module says for each one, to the cent."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import text

from billing.periods import BillingMonth
from billing.preview import preview
from billing.prices import price_table, terms_history
from billing.rating import Line, rate, total
from billing.rating_sql import Features, Scope, lines_sql, period_parameters
from billing.terms import LineKind, terms_on
from billing.vat import vat_rate
from provisioning.core.database import Database
from tests.billing.ledger_factory import (
    World,
    add_customer,
    add_mailboxes,
    add_prices,
    add_reseller,
    bill,
    number,
    random_world,
    read,
)

# A leap February and the day of 23 hours are among them.
MONTHS = tuple(BillingMonth(2028, month) for month in (1, 2, 3))
AFTERWARDS = datetime(2028, 4, 1, 4, 0, tzinfo=UTC)


def expected(world: World, month: BillingMonth) -> dict[str, list[Line]]:
    lines = {
        reseller_id: rate(periods, world.table(reseller_id, month), month, world.history(reseller_id))
        for reseller_id, periods in world.periods.items()
    }
    return {reseller_id: of_reseller for reseller_id, of_reseller in lines.items() if of_reseller}


async def billed(database: Database, month: BillingMonth) -> dict[str, list[Line]]:
    rows = await read(
        database,
        """
        select invoice.reseller_id, customer_id, service_class, price_cents, mailbox_days, base_days,
            line.net_cents, kind
        from invoice join invoice_line line on line.invoice_id = invoice.id
        where period_starts_on = :month order by 1, customer_id, position
        """,
        month=month.starts_on,
    )
    lines: dict[str, list[Line]] = {}
    for reseller_id, *values, kind in rows:
        lines.setdefault(reseller_id, []).append(replace(Line(*values), kind=LineKind(kind)))
    return lines


WORLDS = pytest.mark.parametrize(
    ("seed", "add_ons", "terms"),
    [
        *((seed, False, False) for seed in range(4)),
        *((seed, True, False) for seed in (30, 31)),
        *((seed, False, True) for seed in (40, 41, 42)),
        *((seed, True, True) for seed in range(50, 58)),
    ],
)


@WORLDS
async def test_the_run_bills_what_the_pure_module_says(
    fresh_database: Database, seed: int, add_ons: bool, terms: bool
) -> None:
    async with fresh_database.as_system() as session:
        world = await random_world(session, seed, months=MONTHS, add_ons=add_ons, terms=terms)
    for month in MONTHS:
        await number(fresh_database, month, now=AFTERWARDS)
        right_lines = expected(world, month)
        assert await billed(fresh_database, month) == right_lines
        sums = await read(
            fresh_database,
            "select reseller_id, net_cents, tax_cents, gross_cents from invoice where period_starts_on = :month",
            month=month.starts_on,
        )
        for reseller_id, net_cents, tax_cents, gross_cents in sums:
            right = total(right_lines[reseller_id], vat_rate("DE", month.last_on))
            assert (net_cents, tax_cents, gross_cents) == (
                right.net_cents,
                right.tax_cents,
                right.gross_cents,
            )


@pytest.mark.parametrize(("seed", "rich"), [(11, False), (12, True)])
async def test_the_preview_is_the_run(fresh_database: Database, seed: int, rich: bool) -> None:
    async with fresh_database.as_system() as session:
        world = await random_world(session, seed, months=MONTHS, add_ons=rich, terms=rich)
    previews = {}
    for month in MONTHS:
        for reseller_id in world.periods:
            # As the reseller itself asks: its role sees its own rows and the prices for all.
            async with fresh_database.as_tenant(reseller_id) as session:
                previews[reseller_id, month] = await preview(session, reseller_id, month, now=AFTERWARDS)
    for month in MONTHS:
        await number(fresh_database, month, now=AFTERWARDS)
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
                    kind=line.kind,
                ).__repr__()
                for line in foreseen.lines
            ) == sorted(map(repr, lines.get(reseller_id, [])))
            assert sum(each.net_cents for each in foreseen.customers) == foreseen.total.net_cents
            assert not foreseen.is_estimate


async def test_the_price_table_of_a_reseller_is_the_one_the_run_uses(fresh_database: Database) -> None:
    async with fresh_database.as_system() as session:
        world = await random_world(session, 21, months=MONTHS, add_ons=True, terms=True)
        for reseller_id in world.periods:
            history = await terms_history(session, reseller_id)
            for month in MONTHS:
                assert await price_table(session, reseller_id, month.starts_on) == world.table(reseller_id, month)
                for product in history:
                    for day in (month.starts_on, month.last_on):
                        told = terms_on(world.history(reseller_id), product, day)
                        assert terms_on(history, product, day) == told


@pytest.mark.parametrize("seed", [61, 62])
async def test_the_short_text_says_what_the_long_one_says(fresh_database: Database, seed: int) -> None:
    async with fresh_database.as_system() as session:
        await random_world(session, seed, months=MONTHS, add_ons=True)
        for month in MONTHS:
            read_both = [
                (await session.execute(text(lines_sql(Scope.ALL, features)), period_parameters(month))).all()
                for features in (Features(add_ons=True, terms=False), Features())
            ]
            short, long = (sorted(tuple(row) for row in rows) for rows in read_both)
            assert short == long != []


async def test_an_order_given_up_on_the_same_day_costs_one_day(fresh_database: Database) -> None:
    async with fresh_database.as_system() as session:
        await add_prices(session)
        reseller_id = await add_reseller(session)
        customer_id = await add_customer(session, reseller_id)
        await add_mailboxes(session, reseller_id, customer_id, starts_on=date(2026, 11, 30), ends_on=date(2026, 12, 1))
    await bill(fresh_database)
    assert await read(fresh_database, "select mailbox_days, net_cents from invoice_line") == [(1, 26)]
