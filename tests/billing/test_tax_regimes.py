"""An issuer that is a small business (§ 19 UStG) from one day to another."""

from datetime import UTC, date, datetime

import pytest
from sqlalchemy import text

from billing.periods import BillingMonth
from billing.tax_regimes import set_tax_regime
from billing.vat import Regime
from provisioning.core.database import Database
from provisioning.core.errors import Conflict, Unavailable
from tests.billing.ledger_factory import IN_DECEMBER, bill
from tests.billing.vat_world import AUSTRIAN, add_buyer, ask, invoices
from tests.fake_vies import fake_vies

pytestmark = pytest.mark.anyio

DECEMBER = BillingMonth(2026, 12)
IN_JANUARY = datetime(2027, 1, 1, 6, 0, tzinfo=UTC)


class TestSmallBusiness:
    async def test_its_invoices_are_exempt_from_the_day_on_until_it_is_one_no_more(
        self, fresh_database: Database
    ) -> None:
        await add_buyer(fresh_database)
        async with fresh_database.as_system() as session:
            await set_tax_regime(session, date(2026, 1, 1), Regime.SMALL_BUSINESS, now=IN_DECEMBER)
            # The limit is passed in the middle of the month: its last day decides for a service that ends with it.
            await set_tax_regime(session, date(2026, 12, 15), Regime.STANDARD, now=IN_DECEMBER)
        await bill(fresh_database)
        await bill(fresh_database, DECEMBER, now=IN_JANUARY)
        assert await invoices(fresh_database) == [("E", 0, 790, 0, 790, False), ("S", 1900, 790, 150, 940, False)]

    async def test_what_has_been_billed_keeps_its_regime(self, fresh_database: Database) -> None:
        await add_buyer(fresh_database)
        await bill(fresh_database)
        async with fresh_database.as_system() as session:
            for valid_from in (date(2026, 11, 30), date(2020, 1, 1)):
                with pytest.raises(Conflict) as refusal:
                    await set_tax_regime(session, valid_from, Regime.SMALL_BUSINESS, now=IN_DECEMBER)
                assert refusal.value.code == "tax_regime_in_use"
            await set_tax_regime(session, date(2026, 12, 1), Regime.STANDARD, now=IN_DECEMBER)
            await set_tax_regime(session, date(2026, 12, 1), Regime.SMALL_BUSINESS, now=IN_DECEMBER)
        await bill(fresh_database, DECEMBER, now=IN_JANUARY)
        assert [row[0] for row in await invoices(fresh_database)] == ["S", "E"]

    async def test_it_reverses_the_charge_abroad_like_any_other(self, fresh_database: Database) -> None:
        reseller_id = await add_buyer(fresh_database, **AUSTRIAN)
        async with fresh_database.as_system() as session:
            await set_tax_regime(session, date(2026, 1, 1), Regime.SMALL_BUSINESS, now=IN_DECEMBER)
        with fake_vies() as fake:
            await ask(fresh_database, fake, reseller_id)
        await bill(fresh_database)
        assert await invoices(fresh_database) == [("AE", 0, 790, 0, 790, True)]

    async def test_it_waits_for_a_run_that_is_giving_numbers(self, fresh_database: Database) -> None:
        await add_buyer(fresh_database)
        await bill(fresh_database)

        async def set_at_once() -> None:
            async with fresh_database.as_system() as session:
                await session.execute(text("set local lock_timeout = '50ms'"))
                await set_tax_regime(session, date(2027, 1, 1), Regime.STANDARD, now=IN_DECEMBER)

        async with fresh_database.as_system() as numbering:
            await numbering.execute(text("select id from invoice_run for update"))
            with pytest.raises(Unavailable):
                await set_at_once()
        await set_at_once()
