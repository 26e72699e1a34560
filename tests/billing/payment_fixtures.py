"""The fake Stripe as a process for a whole file of tests, emptied for each; asked for by `pytest_plugins`."""

from collections.abc import AsyncIterator, Iterator

import pytest

from provisioning.core.database import Database
from tests.billing.payment_world import START, Till, open_gateway
from tests.fake_stripe.client import FakeStripe


@pytest.fixture(scope="module")
def fake_process() -> Iterator[FakeStripe]:
    with FakeStripe() as fake:
        yield fake


@pytest.fixture
def fake(fake_process: FakeStripe) -> FakeStripe:
    fake_process.reset(rate=5_000)
    fake_process.set_clock(START.isoformat())
    return fake_process


@pytest.fixture
async def till(fresh_database: Database, fake: FakeStripe) -> AsyncIterator[Till]:
    gateway = open_gateway(fake)
    yield Till(fresh_database, gateway, fake)
    await gateway.close()
