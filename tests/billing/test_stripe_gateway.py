"""The gateway by itself: whose key it takes, how fast it calls, and what it sends."""

import asyncio
from dataclasses import replace
from datetime import date

import pytest

from billing.gateways.base import ChargeRequest, GatewayError, TryAgain
from billing.gateways.pace import TokenBucket
from billing.gateways.stripe import EVENT_TYPES, StripeGateway, confirmation_of, creation_of
from tests.billing.payment_world import KEY, open_gateway
from tests.fake_stripe.client import FakeStripe

pytest_plugins = ["tests.billing.payment_fixtures"]
pytestmark = pytest.mark.anyio

LIVE = "sk_live_0123456789abcdef"
CARD = ChargeRequest(
    payment_id="pay_1",
    attempt_id="att_1",
    invoice_id="inv_1",
    number="PF-2026-000001",
    amount_cents=1786,
    customer_id="cus_1",
    method_id="pm_1",
    kind="card",
)


@pytest.mark.parametrize("key", ["", " ", "sk_test_", "pk_test_123", "whatever", "sk_other_123", f"{KEY} "])
async def test_what_is_no_secret_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="begins with sk_live_"):
        StripeGateway(key)


@pytest.mark.parametrize("key", [LIVE, LIVE.replace("sk_", "rk_")])
async def test_a_live_key_is_for_production_and_for_stripes_own_address(key: str) -> None:
    with pytest.raises(ValueError, match="production"):
        StripeGateway(key)
    with pytest.raises(ValueError, match="production"):
        StripeGateway(key, live=True, url="http://127.0.0.1:1")
    gateway = StripeGateway(key, live=True)
    assert gateway.is_live
    await gateway.close()


async def test_a_provider_that_is_away_is_asked_again_later() -> None:
    gateway = StripeGateway(KEY, url="http://127.0.0.1:9", network_retries=0)
    with pytest.raises(TryAgain):
        await gateway.get_intent("pi_1")
    await gateway.close()


async def test_what_is_not_there_says_so(fake: FakeStripe) -> None:
    gateway = open_gateway(fake)
    with pytest.raises(GatewayError) as refusal:
        await gateway.get_intent("pi_nobody")
    assert refusal.value.code == "resource_missing"
    await gateway.close()


async def test_calls_beyond_the_rate_are_held_up_in_turn() -> None:
    loop = asyncio.get_running_loop()
    bucket = TokenBucket(50)
    began = loop.time()
    await asyncio.gather(*(bucket.take() for _ in range(50)))
    assert loop.time() - began < 0.9, "a second's worth goes at once"
    await asyncio.gather(*(bucket.take() for _ in range(10)))
    assert loop.time() - began >= 10 / 50 - 0.02


async def test_one_that_counts_as_strictly_as_stripe_never_turns_us_away_for_pace() -> None:
    """By the moments at which calls leave: what the way delays arrives together, and is tried again."""
    bucket, loop = TokenBucket(50), asyncio.get_running_loop()
    left_at: list[float] = []

    async def call() -> None:
        await bucket.take()
        left_at.append(loop.time())

    await asyncio.gather(*(call() for _ in range(80)))
    held = strict = 55.0
    before = left_at[0]
    for moment in left_at:
        held, before = min(strict, held + (moment - before) * strict) - 1, moment
        assert held >= 0


def test_a_card_and_an_account_carry_the_number_where_each_may() -> None:
    card, account = creation_of(CARD), creation_of(replace(CARD, kind="sepa_debit", debit_on=date(2026, 12, 15)))
    assert card.get("statement_descriptor_suffix") == "PF-2026-000001"
    assert "statement_descriptor" not in card
    assert card.get("error_on_requires_action") is True
    assert account.get("statement_descriptor") == "PF-2026-000001"
    assert account.get("payment_method_options") == {"sepa_debit": {"target_date": "2026-12-15"}}
    for params in (card, account):
        assert "payment_method_types" not in params
        assert params.get("off_session") is True


def test_a_confirmation_with_the_holder_present_comes_back_to_us() -> None:
    with_holder = replace(CARD, intent_id="pi_1", off_session=False, return_url="https://panel.example/")
    params = confirmation_of(with_holder)
    assert (params.get("off_session"), params.get("return_url")) == (False, "https://panel.example/")
    assert "error_on_requires_action" not in params


def test_stripe_lists_twenty_types_of_events_at_most() -> None:
    assert len(EVENT_TYPES) <= 20
    assert sorted(set(EVENT_TYPES)) == EVENT_TYPES
