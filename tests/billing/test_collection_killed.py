"""A worker killed with -9 before every statement, every commit and on either side of every call charges once."""

import sys
from pathlib import Path

import anyio
import pytest

from tests.billing.payment_world import CARD, Till

pytest_plugins = ["tests.billing.payment_fixtures"]
pytestmark = pytest.mark.anyio


@pytest.mark.slow
async def test_a_payment_whose_worker_dies_at_every_step_is_charged_once(
    till: Till, fresh_url: str, root: Path
) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    payment_id = (await till.payment(invoice))["id"]
    command = [sys.executable, "-m", "tests.billing.collect_process", fresh_url, till.fake.url, payment_id]
    result = await anyio.run_process(command, cwd=root)
    assert int(result.stdout) > 20
    payment = await till.payment(invoice)
    assert (payment["status"], payment["due"], payment["next_attempt_at"]) == ("paid", 0, None)
    assert till.charged(invoice) == [1786]
    assert await till.attempts(invoice) == [("charge", "succeeded", None, None)]
    assert await till.entries(invoice) == [("receipt", 1786)]
