"""VAT from end to end: a run on PostgreSQL for each kind of buyer and issuer, and what happens while VIES is away."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from billing import drafts, runs
from billing.models import RunState
from billing.periods import BillingMonth
from billing.preview import preview
from provisioning.core.database import Database
from provisioning.core.errors import Conflict
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    ISSUER,
    NOVEMBER,
    add_customer,
    add_mailboxes,
    add_prices,
    add_reseller,
    bill,
    read,
)
from tests.billing.vat_world import AUSTRIAN, VAT_ID, add_buyer, ask, invoices, sweep
from tests.fake_vies import INVALID, fake_vies

pytestmark = pytest.mark.anyio

DECEMBER = BillingMonth(2026, 12)
PENDING = (
    "VIES has not confirmed the VAT id ATU12345675 lately. It is asked again by itself, and the reseller then billed."
)
CANARIES = (
    "ES 35001 is a territory with VAT rules of its own. Correct the reseller's address, or have a tax adviser decide "
    "and bill it by hand."
)
IN_JANUARY = datetime(2027, 1, 1, 6, 0, tzinfo=UTC)


async def parked(database: Database) -> list[tuple[Any, ...]]:
    return await read(database, "select code, reason from invoice_run_item where state = 'parked' order by code")


class TestReverseCharge:
    async def test_an_austrian_company_is_billed_without_tax_and_with_evidence(self, fresh_database: Database) -> None:
        reseller_id = await add_buyer(fresh_database, **AUSTRIAN)
        with fake_vies() as fake:
            await ask(fresh_database, fake, reseller_id)
        await bill(fresh_database)
        assert await invoices(fresh_database) == [("AE", 0, 790, 0, 790, True)]
        rows = await read(
            fresh_database,
            "select buyer ->> 'vat_id', seller ->> 'vat_id', vat_check.vat_id, answer, consultation_number, name, "
            "raw ->> 'requestDate', asked_at, expires_at "
            "from invoice join vat_check on vat_check.id = invoice.vat_check_id",
        )
        evidence = (VAT_ID, "valid", "WAPIAAAA00000001", "Alpen IT GmbH", "2026-12-01T06:00:00.000Z")
        assert rows == [(VAT_ID, ISSUER.vat_id, *evidence, IN_DECEMBER, IN_DECEMBER + timedelta(days=90))]

    async def test_while_vies_is_away_it_waits_and_nobody_else_does(self, fresh_database: Database) -> None:
        waits = await add_buyer(fresh_database, **AUSTRIAN)
        await add_buyer(fresh_database, priced=False)
        with fake_vies("MS_UNAVAILABLE") as fake:
            await ask(fresh_database, fake, waits)
            run = await bill(fresh_database)
            assert (run.state, run.parked, run.finalised) == (RunState.SUCCEEDED, 1, 1)
            assert await parked(fresh_database) == [
                ("vat_check_pending", PENDING),
            ]
            # Nothing has changed, so nothing is retried.
            assert await sweep(fresh_database, now=IN_DECEMBER) == ([], [])
            fake.otherwise = "valid"
            later = IN_DECEMBER + timedelta(minutes=2)
            assert await sweep(fresh_database, now=later) == ([waits], [])
            await ask(fresh_database, fake, waits, now=later)
        assert await sweep(fresh_database, now=later) == ([], [run.id])
        run = await runs.continue_run(fresh_database, run.id, now=later, issuer=ISSUER)
        assert (run.state, run.parked, run.finalised) == (RunState.SUCCEEDED, 0, 2)
        assert sorted(await invoices(fresh_database)) == [
            ("AE", 0, 790, 0, 790, True),
            ("S", 1900, 790, 150, 940, False),
        ]
        assert await sweep(fresh_database, now=later) == ([], [])

    async def test_an_id_that_vies_denies_is_parked_with_that_reason(self, fresh_database: Database) -> None:
        reseller_id = await add_buyer(fresh_database, **AUSTRIAN)
        run = await bill(fresh_database)
        assert [code for code, _ in await parked(fresh_database)] == ["vat_check_pending"]
        with fake_vies(INVALID) as fake:
            await ask(fresh_database, fake, reseller_id)
        assert await sweep(fresh_database, now=IN_DECEMBER) == ([], [run.id])
        run = await runs.continue_run(fresh_database, run.id, now=IN_DECEMBER, issuer=ISSUER)
        assert [code for code, _ in await parked(fresh_database)] == ["vat_id_invalid"]
        # It stays as it is until somebody changes something.
        assert await sweep(fresh_database, now=IN_DECEMBER + timedelta(days=30)) == ([], [])
        async with fresh_database.as_system() as session:
            await session.execute(text("update reseller set country = 'DE', vat_id = null"))
        assert await sweep(fresh_database, now=IN_DECEMBER) == ([], [run.id])
        await runs.continue_run(fresh_database, run.id, now=IN_DECEMBER, issuer=ISSUER)
        assert await invoices(fresh_database) == [("S", 1900, 790, 150, 940, False)]

    async def test_a_new_id_needs_evidence_of_its_own(self, fresh_database: Database) -> None:
        reseller_id = await add_buyer(fresh_database, **AUSTRIAN)
        with fake_vies() as fake:
            await ask(fresh_database, fake, reseller_id)
        async with fresh_database.as_system() as session:
            await session.execute(text("update reseller set vat_id = 'ATU87654321'"))
        await bill(fresh_database)
        assert [code for code, _ in await parked(fresh_database)] == ["vat_check_pending"]
        assert await sweep(fresh_database, now=IN_DECEMBER) == ([reseller_id], [])

    async def test_an_id_that_is_denied_between_draft_and_number_gets_none(self, fresh_database: Database) -> None:
        reseller_id = await add_buyer(fresh_database, **AUSTRIAN)
        with fake_vies() as fake:
            await ask(fresh_database, fake, reseller_id)
            async with fresh_database.as_system() as session:
                run = await runs.start_run(session, NOVEMBER, actor="operator", now=IN_DECEMBER)
                await drafts.rate_and_draft(session, run, now=IN_DECEMBER)
                run.state = RunState.FINALISING
            assert await read(fresh_database, "select tax_category from invoice") == [("AE",)]
            fake.otherwise = INVALID
            await ask(fresh_database, fake, reseller_id, now=IN_DECEMBER + timedelta(minutes=1))
        run = await runs.continue_run(fresh_database, run.id, now=IN_DECEMBER + timedelta(minutes=2), issuer=ISSUER)
        assert (run.parked, run.finalised) == (1, 0)
        assert await invoices(fresh_database) == []

    async def test_an_address_that_moves_home_between_draft_and_number_is_drafted_anew(
        self, fresh_database: Database
    ) -> None:
        reseller_id = await add_buyer(fresh_database, **AUSTRIAN)
        with fake_vies() as fake:
            await ask(fresh_database, fake, reseller_id)
        async with fresh_database.as_system() as session:
            run = await runs.start_run(session, NOVEMBER, actor="operator", now=IN_DECEMBER)
            await drafts.rate_and_draft(session, run, now=IN_DECEMBER)
            run.state = RunState.CHECKING
            await session.execute(text("update reseller set country = 'DE', vat_id = null"))
        run = await runs.continue_run(fresh_database, run.id, now=IN_DECEMBER, issuer=ISSUER)
        assert [code for code, _ in await parked(fresh_database)] == ["vat_treatment_changed"]
        assert await sweep(fresh_database, now=IN_DECEMBER) == ([], [run.id])
        await runs.continue_run(fresh_database, run.id, now=IN_DECEMBER, issuer=ISSUER)
        assert await invoices(fresh_database) == [("S", 1900, 790, 150, 940, False)]

    async def test_the_preview_says_what_the_run_would(self, fresh_database: Database) -> None:
        reseller_id = await add_buyer(fresh_database, **AUSTRIAN)
        async with fresh_database.as_tenant(reseller_id) as session:
            with pytest.raises(Conflict) as refusal:
                await preview(session, reseller_id, NOVEMBER, now=IN_DECEMBER)
        assert refusal.value.code == "vat_check_pending"
        with fake_vies() as fake:
            await ask(fresh_database, fake, reseller_id)
        async with fresh_database.as_tenant(reseller_id) as session:
            seen = await preview(session, reseller_id, NOVEMBER, now=IN_DECEMBER)
        assert (seen.total.rate.category, seen.total.gross_cents) == ("AE", 790)


class TestOthers:
    @pytest.mark.parametrize(
        ("buyer", "category"),
        [
            ({"country": "CH", "postcode": "8001", "city": "Zürich", "vat_id": "CHE107787577"}, "O"),
            ({"country": "DE", "postcode": "78266", "city": "Büsingen"}, "O"),
        ],
    )
    async def test_a_third_country_is_out_of_scope(
        self, fresh_database: Database, buyer: dict[str, Any], category: str
    ) -> None:
        await add_buyer(fresh_database, **buyer)
        await bill(fresh_database)
        assert await invoices(fresh_database) == [(category, 0, 790, 0, 790, False)]

    async def test_a_territory_with_rules_of_its_own_is_parked(self, fresh_database: Database) -> None:
        await add_buyer(fresh_database, country="ES", postcode="35001", vat_id="ESX1234567X")
        await bill(fresh_database)
        assert await parked(fresh_database) == [
            ("tax_regime_unsupported", CANARIES),
        ]

    async def test_the_month_decides_the_rate_and_not_the_day_of_the_run(self, fresh_database: Database) -> None:
        # Issued on 1 January 2021, when 19 % held again: December 2020 is taxed at 16 %.
        for month, rate, tax in ((BillingMonth(2020, 12), 1600, 126), (BillingMonth(2021, 1), 1900, 150)):
            async with fresh_database.as_system() as session:
                if rate == 1600:
                    await add_prices(session, valid_from=date(2020, 1, 1))
                    reseller_id = await add_reseller(session)
                    customer_id = await add_customer(session, reseller_id)
                    await add_mailboxes(session, reseller_id, customer_id, starts_on=date(2020, 12, 1))
            await bill(fresh_database, month, now=datetime(2021, month.next().starts_on.month, 1, 6, tzinfo=UTC))
            assert (await invoices(fresh_database))[-1] == ("S", rate, 790, tax, 790 + tax, False)
