"""`postfachwerk payments dunning`, as an operator types it: a process of its own on the real clock."""

from datetime import date

import pytest

from provisioning.core.database import Database
from tests.api.command_line import run, start
from tests.billing.dunning_world import Arrears
from tests.test_worker_killed import environment

pytestmark = pytest.mark.anyio


async def test_it_says_what_is_due_and_then_does_it_once(fresh_database: Database, fresh_url: str) -> None:
    arrears = Arrears(fresh_database)
    reseller_id = await arrears.add_reseller()
    payment_id = await arrears.bill(reseller_id, due_on=date(2020, 1, 15))
    held_id = await arrears.bill(reseller_id, due_on=date(2020, 1, 15))
    await arrears.begin_debit(held_id)
    env = environment(fresh_url)

    said = await start(env, "payments", "dunning", "--dry-run")
    assert said.code == 0, said.all
    assert f"PF-2026-000001  {reseller_id}" in said.all
    assert "100,00 €  today: reminder, fee 0,00 €" in said.all
    assert "held: collecting" in said.all
    assert "2 overdue, 1 steps due today; nothing was done." in said.all
    assert await arrears.notices(reseller_id) == []

    for taken in (1, 0):
        said = await run(env, "payments", "dunning")
        assert (said.code, said.all.strip()) == (0, f"{taken} steps taken.")
    assert [kind for kind, _ in await arrears.steps(payment_id)] == ["reminder"]
    assert await arrears.notices(reseller_id) == ["reminder"]
