"""Two who begin or cancel the same invoice run at the same moment: one did it, and the audit log says who."""

import asyncio

import httpx
import pytest

from billing import runs
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from tests.billing.ledger_factory import IN_DECEMBER, NOVEMBER, read
from tests.provisioning.world import until_somebody_waits

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(fresh_database: Database, clock: TestClock) -> Database:
    """A month is billed once in a database; here it is over."""
    clock.advance(IN_DECEMBER)
    return fresh_database


async def start(operator: httpx.AsyncClient) -> str:
    answer = await operator.post("/v1/invoice-runs", json={"month": "2026-11"})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def actions(database: Database) -> list[str]:
    rows = await read(database, "select action from audit_event where chain = 'operator' order by sequence")
    return [action for (action,) in rows]


async def test_who_finds_a_month_begun_meanwhile_has_not_begun_it(
    operator: httpx.AsyncClient, database: Database
) -> None:
    async with database.as_system() as session:
        run = await runs.start_run(session, NOVEMBER, actor="somebody else", now=IN_DECEMBER)
        starting = asyncio.create_task(start(operator))
        await until_somebody_waits(database)
    assert (await starting) == run.id
    assert await actions(database) == []


async def test_who_finds_a_run_cancelled_meanwhile_has_not_cancelled_it(
    operator: httpx.AsyncClient, database: Database
) -> None:
    run_id = await start(operator)
    async with database.as_system() as session:
        await runs.cancel_run(session, run_id)
        await session.flush()
        cancelling = asyncio.create_task(operator.post(f"/v1/invoice-runs/{run_id}/cancel"))
        await until_somebody_waits(database)
    assert (await cancelling).json()["state"] == "cancelled"
    assert await actions(database) == ["invoice_run.start"]
