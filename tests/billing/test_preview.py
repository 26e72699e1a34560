"""What a month will cost, and what a change would do to it."""

from datetime import UTC, date, datetime, timedelta

import pytest

from billing.preview import cost_of, preview
from billing.rating import Period, Tier
from billing.terms import Terms
from provisioning.core.database import Database
from provisioning.core.errors import Conflict, NotFound
from provisioning.core.ids import new_id
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    NOVEMBER,
    add_customer,
    add_mailboxes,
    add_periods,
    add_prices,
    add_reseller,
)


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
            change = await cost_of(
                session, reseller_id, NOVEMBER, extra=changed, ended={old: today, young: today}, now=IN_DECEMBER
            )
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
                session, reseller_id, NOVEMBER, ended={young: today, old: today + timedelta(days=10)}, now=IN_DECEMBER
            )
        assert change.after.net_cents == round((1 + 25) * 790 / 30)

    async def test_a_trial_and_an_add_on_count_as_the_run_counts_them(self, fresh_database: Database) -> None:
        today = date(2026, 11, 16)
        async with fresh_database.as_system() as session:
            prices = {"exchange": (Tier(1, 300),), "imap": (Tier(1, 90),), "archive": (Tier(1, 600),)}
            await add_prices(session, prices=prices, terms={"exchange": Terms(trial_days=5)})
            reseller_id = await add_reseller(session)
            customer_id = await add_customer(session, reseller_id)
            (old,) = await add_mailboxes(session, reseller_id, customer_id, starts_on=date(2025, 1, 1))
            archive = Period(old, customer_id, "archive", "de-fra-1", date(2025, 1, 1), None, is_add_on=True)
            await add_periods(session, reseller_id, [archive])
            wanted = Period("mbx_new", customer_id, "exchange", "de-fra-1", today, None)
            ordered = await cost_of(session, reseller_id, NOVEMBER, extra=[wanted], now=IN_DECEMBER)
            given_up = await cost_of(session, reseller_id, NOVEMBER, ended={old: today}, now=IN_DECEMBER)
            smaller = Period(old, customer_id, "imap", "de-fra-1", today, None)
            changed = await cost_of(
                session, reseller_id, NOVEMBER, extra=[smaller], ended={old: today}, now=IN_DECEMBER
            )
        assert (ordered.before.net_cents, ordered.after.net_cents) == (900, 900 + 100)
        assert given_up.after.net_cents == 150 + 300
        # A change of class leaves the mailbox its add-ons.
        assert changed.after.net_cents == 150 + 45 + 600
