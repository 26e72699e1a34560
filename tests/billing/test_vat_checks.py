"""When VIES is asked, and what is kept of its answers."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from billing.models import VatAnswer
from billing.vat_checks import check_vat_id, list_checks
from billing.vat_sweeps import sweep_checks
from provisioning.core.database import Database
from tests.billing.ledger_factory import IN_DECEMBER, read
from tests.billing.vat_world import AUSTRIAN, VAT_ID, add_buyer, ask, sweep, treated
from tests.fake_vies import INVALID, SLOW, fake_vies

pytestmark = pytest.mark.anyio

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


class TestWhenItIsAsked:
    async def test_once_for_a_new_id_and_again_when_the_yes_has_expired(self, fresh_database: Database) -> None:
        reseller_id = await add_buyer(fresh_database, **AUSTRIAN)
        assert await sweep(fresh_database, now=IN_DECEMBER) == ([reseller_id], [])
        with fake_vies() as fake:
            await ask(fresh_database, fake, reseller_id)
        assert await sweep(fresh_database, now=IN_DECEMBER + 90 * DAY - MINUTE) == ([], [])
        assert await sweep(fresh_database, now=IN_DECEMBER + 90 * DAY) == ([reseller_id], [])

    async def test_a_clear_no_is_not_asked_for_again(self, fresh_database: Database) -> None:
        reseller_id = await add_buyer(fresh_database, **AUSTRIAN)
        with fake_vies(INVALID) as fake:
            await ask(fresh_database, fake, reseller_id)
        assert await sweep(fresh_database, now=IN_DECEMBER + 300 * DAY) == ([], [])

    async def test_pauses_grow_while_vies_is_away_up_to_an_hour(self, fresh_database: Database) -> None:
        reseller_id = await add_buyer(fresh_database, **AUSTRIAN)
        now = IN_DECEMBER
        with fake_vies("SERVICE_UNAVAILABLE") as fake:
            for minutes in (1, 2, 4, 8, 16, 32, 60, 60, 60):
                await ask(fresh_database, fake, reseller_id, now=now)
                now += minutes * MINUTE
                assert await sweep(fresh_database, now=now - timedelta(seconds=1)) == ([], [])
                assert await sweep(fresh_database, now=now) == ([reseller_id], [])
            fake.otherwise = "valid"
            await ask(fresh_database, fake, reseller_id, now=now)
            fake.otherwise = "TIMEOUT"
            now += 90 * DAY
            await ask(fresh_database, fake, reseller_id, now=now)
        # An answer in between lets the pauses begin anew.
        assert await sweep(fresh_database, now=now + MINUTE) == ([reseller_id], [])

    async def test_not_while_a_worker_is_asking(self, fresh_database: Database) -> None:
        await add_buyer(fresh_database, **AUSTRIAN)
        async with fresh_database.as_system() as session:
            assert await sweep_checks(session, now=IN_DECEMBER) == 1
            await session.execute(text("update procrastinate_jobs set status = 'doing'"))
            assert await sweep_checks(session, now=IN_DECEMBER) == 0

    async def test_a_question_without_an_answer_leaves_an_earlier_yes_standing(self, fresh_database: Database) -> None:
        reseller_id = await add_buyer(fresh_database, **AUSTRIAN)
        with fake_vies() as fake:
            await ask(fresh_database, fake, reseller_id)
            fake.otherwise = "MS_UNAVAILABLE"
            await ask(fresh_database, fake, reseller_id, now=IN_DECEMBER + MINUTE)
        assert await treated(fresh_database, now=IN_DECEMBER + 2 * MINUTE) == {reseller_id: ("AE", 0, None, None)}

    @pytest.mark.parametrize(
        "details",
        [
            {"country": "DE", "vat_id": "DE136695976"},
            {"country": "CH", "vat_id": "CHE107787577"},
            {"country": "AT", "vat_id": None},
            {"country": "AT", "vat_id": "AT12345675"},
            {"country": "AT", "vat_id": "DE136695976"},
            {"country": "ES", "postcode": "35001", "vat_id": "ESX1234567X"},
        ],
    )
    async def test_what_no_invoice_rests_on_is_not_asked_for(
        self, fresh_database: Database, details: dict[str, Any]
    ) -> None:
        reseller_id = await add_buyer(fresh_database, **details)
        assert await sweep(fresh_database, now=IN_DECEMBER) == ([], [])
        with fake_vies() as fake:
            assert await ask(fresh_database, fake, reseller_id) is None
            assert fake.asked == []

    async def test_without_vies_nobody_is_asked_and_nothing_is_kept(self, fresh_database: Database) -> None:
        reseller_id = await add_buyer(fresh_database, **AUSTRIAN)
        assert await check_vat_id(fresh_database, None, reseller_id, now=IN_DECEMBER) is None
        assert await read(fresh_database, "select count(*) from vat_check") == [(0,)]

    async def test_no_connection_is_held_while_vies_thinks(self, fresh_url: str) -> None:
        # With a single connection, holding it would leave none to look with.
        database = Database(fresh_url, pool_size=1)
        reseller_id = await add_buyer(database, **AUSTRIAN)
        seen = []

        class Watched:
            async def check(self, vat_id: str) -> object:
                seen.append(await read(database, "select count(*) from vat_check"))
                raise ConnectionAbortedError(vat_id)

        with pytest.raises(ConnectionAbortedError):
            await check_vat_id(database, Watched(), reseller_id, now=IN_DECEMBER)  # type: ignore[arg-type]  # only the one call is made
        await database.close()
        assert seen == [[(0,)]]


class TestEvidence:
    async def test_every_question_is_kept_as_it_was_answered(self, fresh_database: Database) -> None:
        reseller_id = await add_buyer(fresh_database, **AUSTRIAN)
        with fake_vies("MS_UNAVAILABLE") as fake:
            await ask(fresh_database, fake, reseller_id)
            fake.otherwise = "valid"
            await ask(fresh_database, fake, reseller_id, valid_days=30)
        async with fresh_database.as_tenant(reseller_id) as session:
            yes, away = await list_checks(session, reseller_id)
        assert (away.answer, away.error, away.expires_at) == (VatAnswer.UNAVAILABLE, "MS_UNAVAILABLE", None)
        assert away.raw == {"actionSucceed": False, "errorWrappers": [{"error": "MS_UNAVAILABLE"}]}
        assert (yes.vat_id, yes.name, yes.consultation_number) == (VAT_ID, "Alpen IT GmbH", "WAPIAAAA00000001")
        assert yes.expires_at == IN_DECEMBER + 30 * DAY
        assert yes.raw["traderNameMatch"] == "NOT_PROCESSED"

    @pytest.mark.parametrize("statement", ["update vat_check set answer = 'invalid'", "delete from vat_check"])
    async def test_it_cannot_be_changed(self, fresh_database: Database, statement: str) -> None:
        reseller_id = await add_buyer(fresh_database, **AUSTRIAN)
        with fake_vies() as fake:
            await ask(fresh_database, fake, reseller_id)
        with pytest.raises(IntegrityError, match="final"):
            async with fresh_database.as_system() as session:
                await session.execute(text(statement))

    async def test_a_slow_vies_is_noted_as_no_answer(self, fresh_database: Database) -> None:
        reseller_id = await add_buyer(fresh_database, **AUSTRIAN)
        with fake_vies(SLOW) as fake:
            check = await ask(fresh_database, fake, reseller_id, timeout_seconds=0.2)
        assert check is not None
        assert (check.answer, check.error) == (VatAnswer.UNAVAILABLE, "timeout")
