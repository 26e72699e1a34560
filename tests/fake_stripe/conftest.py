"""One process of the fake for the run, emptied for each test; what it sent is looked at afterwards."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import stripe

from tests.fake_stripe.client import FakeStripe
from tests.fake_stripe.sdk import API_VERSION
from tests.fake_stripe.shop import KEY, Shop, sdk


@pytest.fixture(scope="session")
def fake_process() -> Iterator[FakeStripe]:
    with FakeStripe(seed=1, rate=0) as fake:
        yield fake


@pytest.fixture
def fake(fake_process: FakeStripe) -> Iterator[FakeStripe]:
    fake_process.reset()
    yield fake_process
    assert fake_process.snapshot()["shape_faults"] == []


@pytest.fixture(scope="session")
async def client(fake_process: FakeStripe) -> AsyncIterator[stripe.StripeClient]:
    async with sdk(fake_process.url) as client:
        yield client


@pytest.fixture
def shop(fake: FakeStripe, client: stripe.StripeClient) -> Shop:
    return Shop(fake, client)


@pytest.fixture
def raw(fake: FakeStripe) -> Iterator[httpx.Client]:
    """Requests the SDK would not make."""
    headers = {"Authorization": f"Bearer {KEY}", "Stripe-Version": API_VERSION}
    with httpx.Client(base_url=fake.url, headers=headers, trust_env=False) as client:
        yield client
