"""The worker by itself: VIES is away when the month is billed, comes back, and the invoice follows."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from api.context import Context
from api.worker import Schedules, create_jobs, worker_beside
from billing.gateways.vies import Vies
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from tests.api.loopback import serving
from tests.billing.ledger_factory import IN_DECEMBER, ISSUER
from tests.billing.vat_world import AUSTRIAN, add_buyer
from tests.fake_vies import fake_vies
from tests.waiting import until

pytestmark = pytest.mark.anyio

EVERY_SECOND = Schedules(sweep="* * * * * *", billing="* * * * * *", housekeeping="*/15 * * * *")


def reader(url: str) -> Callable[[str], list[tuple[Any, ...]]]:
    def read(sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            connection.execute("set role postfachwerk_system")
            return connection.execute(sql.encode()).fetchall()

    return read


async def test_who_waits_for_vies_is_billed_when_it_is_back(
    context: Context, fresh_database: Database, fresh_url: str
) -> None:
    await add_buyer(fresh_database, **AUSTRIAN)
    await add_buyer(fresh_database, priced=False)
    clock, read = TestClock(IN_DECEMBER), reader(fresh_url)
    with fake_vies("MS_MAX_CONCURRENT_REQ") as fake:
        vies = Vies(fake.url, requester=ISSUER.vat_id, timeout_seconds=5)
        database = Database(fresh_url, pool_size=5)
        working = replace(context, database=database, clock=clock, issuer=ISSUER, vies=vies)

        @asynccontextmanager
        async def beside() -> AsyncIterator[None]:
            async with worker_beside(create_jobs(working, {}, schedules=EVERY_SECOND), concurrency=2):
                yield
            await vies.close()

        with serving(working, beside=beside):
            until(lambda: read("select state, parked, finalised from invoice_run") == [("succeeded", 1, 1)])
            until(lambda: ("unavailable", "MS_MAX_CONCURRENT_REQ") in read("select answer, error from vat_check"))
            assert read("select code from invoice_run_item where state = 'parked'") == [("vat_check_pending",)]
            fake.otherwise = "valid"
            clock.advance(IN_DECEMBER + timedelta(minutes=1))
            until(lambda: read("select state, parked, finalised from invoice_run") == [("succeeded", 0, 2)])
    assert read("select tax_category, gross_cents from invoice order by tax_category") == [("AE", 790), ("S", 940)]
    assert read("select answer from vat_check join invoice on invoice.vat_check_id = vat_check.id") == [("valid",)]
