"""Billing on another day than the first: each reseller's periods follow its anchor, and each is billed once."""

from datetime import UTC, date, datetime

import pytest
from sqlalchemy import text

from billing import runs
from billing.models import ItemState
from billing.periods import BillingMonth, BillingPeriod, periods_closing, periods_due
from billing.preview import preview, running_periods
from billing.rating import rate
from provisioning.core.database import Database
from tests.billing.ledger_factory import (
    ISSUER,
    add_customer,
    add_mailboxes,
    add_prices,
    add_reseller,
    bill,
    number_run,
    random_world,
    read,
)

# A leap February and the day of 23 hours are among them.
MONTHS = tuple(BillingMonth(2028, month) for month in (1, 2, 3))
AFTERWARDS = datetime(2028, 4, 1, 4, 0, tzinfo=UTC)
INVOICES = """
    select invoice.reseller_id, period_starts_on, period_ends_on, invoice.net_cents,
        array_agg(array[customer_id, service_class, kind, price_cents::text, mailbox_days::text, base_days::text]
            order by customer_id, position) as lines
    from invoice join invoice_line on invoice_id = invoice.id group by invoice.id order by 1, 2
"""


async def catch_up(database: Database, now: datetime) -> None:
    """As the schedule does: create what is due, and drive the last of it, which brings the others along."""
    async with database.as_system() as session:
        due = await runs.due_runs(session, now)
    for run_id in due[-1:]:
        await runs.continue_run(database, run_id, now=now, issuer=ISSUER)


@pytest.mark.parametrize(("seed", "rich"), [(71, False), (72, True), (73, True)])
async def test_everybody_is_billed_by_its_own_periods_as_the_pure_module_says(
    fresh_database: Database, seed: int, rich: bool
) -> None:
    async with fresh_database.as_system() as session:
        world = await random_world(session, seed, months=MONTHS, add_ons=rich, terms=rich, anchors=(31, 1, 29, 15, 30))
    async with fresh_database.as_system() as session:
        due = await runs.due_runs(session, AFTERWARDS)
    for run_id in due:
        await number_run(fresh_database, run_id, now=AFTERWARDS)
    parked = await read(fresh_database, "select * from invoice_run_item where state = 'parked'")
    expected = []
    for reseller_id, periods in sorted(world.periods.items()):
        first_on = min((each.starts_on for each in periods if not each.is_add_on), default=AFTERWARDS.date())
        for period in periods_due(first_on, world.anchors[reseller_id], AFTERWARDS):
            prices, terms = world.table(reseller_id, period), world.history(reseller_id)
            # Before the first list there are no prices, so whoever was in service then is parked.
            lines = rate(periods, prices, period, terms) if prices else []
            if lines:
                shown = [
                    [each.customer_id, each.service_class, each.kind.value]
                    + [str(number) for number in (each.price_cents, each.mailbox_days, each.base_days)]
                    for each in lines
                ]
                net_cents = sum(each.net_cents for each in lines)
                expected.append((reseller_id, period.starts_on, period.ends_on, net_cents, shown))
    assert await read(fresh_database, INVOICES) == expected != []
    assert all(row[3] == "no_price" for row in parked)


class TestThirtyFirst:
    async def test_an_anchor_of_31_january_comes_back_to_the_31st(self, fresh_database: Database) -> None:
        async with fresh_database.as_system() as session:
            await add_prices(session, valid_from=date(2026, 1, 1))
            reseller_id = await add_reseller(session, billing_anchor_day=31)
            customer_id = await add_customer(session, reseller_id)
            await add_mailboxes(session, reseller_id, customer_id, starts_on=date(2027, 1, 31))
        await catch_up(fresh_database, datetime(2027, 5, 1, 4, tzinfo=UTC))
        billed = await read(
            fresh_database,
            "select period_starts_on, period_ends_on, mailbox_days, base_days, invoice.net_cents "
            "from invoice join invoice_line on invoice_id = id order by sequence",
        )
        assert billed == [
            (date(2027, 1, 31), date(2027, 2, 28), 28, 28, 790),
            (date(2027, 2, 28), date(2027, 3, 31), 31, 31, 790),
            (date(2027, 3, 31), date(2027, 4, 30), 30, 30, 790),
        ]
        runs_made = await read(fresh_database, "select closes_on, month from invoice_run order by 1")
        assert [closes_on for closes_on, _ in runs_made] == [row[1] for row in billed]
        assert [month for _, month in runs_made] == [date(2027, 1, 1), date(2027, 2, 1), date(2027, 3, 1)]


class TestRun:
    async def test_a_run_bills_only_those_whose_period_closes_and_a_retry_too(self, fresh_database: Database) -> None:
        async with fresh_database.as_system() as session:
            await add_prices(session)
            resellers = {}
            for anchor_day in (1, 15, 15):
                reseller_id = await add_reseller(session, billing_anchor_day=anchor_day, city="")
                await add_mailboxes(session, reseller_id, await add_customer(session, reseller_id))
                resellers[reseller_id] = anchor_day
        now = datetime(2026, 12, 15, 6, tzinfo=UTC)
        (period,) = periods_closing(date(2026, 12, 15)).values()
        run = await bill(fresh_database, period, now=now)
        assert (run.resellers, run.parked) == (2, 2)
        async with fresh_database.as_system() as session:
            items = await runs.list_items(session, run.id, state=ItemState.PARKED)
            assert {resellers[item.reseller_id] for item in items} == {15}
            await session.execute(text("update reseller set city = 'Köln'"))
            await runs.retry_parked(session, run.id)
        await runs.continue_run(fresh_database, run.id, now=now, issuer=ISSUER)
        seen = await read(fresh_database, "select period_starts_on, period_ends_on, net_cents from invoice")
        assert seen == [(date(2026, 11, 15), date(2026, 12, 15), 790)] * 2

    async def test_a_day_on_which_nobody_closes_makes_an_empty_run(self, fresh_database: Database) -> None:
        async with fresh_database.as_system() as session:
            await add_reseller(session)
        run = await bill(fresh_database, periods_closing(date(2026, 11, 9))[9])
        assert (run.resellers, run.finalised) == (0, 0)

    async def test_closing_days_are_caught_up_in_order(self, fresh_database: Database) -> None:
        async with fresh_database.as_system() as session:
            await add_prices(session)
            for anchor_day in (1, 20):
                reseller_id = await add_reseller(session, billing_anchor_day=anchor_day)
                customer_id = await add_customer(session, reseller_id)
                await add_mailboxes(session, reseller_id, customer_id, starts_on=date(2026, 10, 1))
        await catch_up(fresh_database, datetime(2026, 12, 1, 6, tzinfo=UTC))
        order = await read(fresh_database, "select period_ends_on, net_cents from invoice order by sequence")
        assert order == [
            (date(2026, 10, 20), 500),
            (date(2026, 11, 1), 790),
            (date(2026, 11, 20), 790),
            (date(2026, 12, 1), 790),
        ]


async def test_the_preview_and_the_running_period_follow_the_anchor(fresh_database: Database) -> None:
    async with fresh_database.as_system() as session:
        await add_prices(session)
        reseller_id = await add_reseller(session, billing_anchor_day=10)
        await add_mailboxes(session, reseller_id, await add_customer(session, reseller_id))
        on_the_ninth = datetime(2026, 12, 9, 12, tzinfo=UTC)
        running = await preview(session, reseller_id, None, now=on_the_ninth)
        assert running.period == BillingPeriod(date(2026, 11, 10), date(2026, 12, 10))
        assert (running.is_estimate, running.total.net_cents) == (True, 790)
        first = await preview(session, reseller_id, BillingMonth(2026, 10), now=on_the_ninth)
        # Nine days of a period of 31.
        assert (first.is_estimate, first.total.net_cents) == (False, 229)
        this, following = await running_periods(session, reseller_id, date(2026, 12, 9))
        assert (this, following.starts_on) == (running.period, date(2026, 12, 10))
