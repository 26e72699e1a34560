"""Keys keep the first answer, whatever it was; and lost answers are found again with them."""

import asyncio
from typing import Any

import pytest
import stripe

from tests.fake_stripe.client import FakeStripe
from tests.fake_stripe.shop import DAY, SDK_WARNS, Shop, sdk

pytestmark = SDK_WARNS

CREATE = r"POST /v1/payment_intents$"


def intents_in(fake: FakeStripe) -> list[dict[str, Any]]:
    return list(fake.snapshot().get("payment_intent", []))


async def test_the_same_call_with_the_same_key_is_answered_again_and_not_done_again(shop: Shop) -> None:
    customer, method = await shop.saved()
    first = await shop.charge(customer, method, key="k1")
    shop.fake.advance(DAY - 1)
    second = await shop.charge(customer, method, key="k1")
    assert second.id == first.id
    assert len(intents_in(shop.fake)) == 1
    assert second.last_response.headers["idempotent-replayed"] == "true"
    assert second.last_response.headers["original-request"] == first.last_response.headers["request-id"]
    assert "idempotent-replayed" not in first.last_response.headers


async def test_a_replay_shows_the_object_as_it_was(shop: Shop) -> None:
    customer, method = await shop.saved(iban="DE89370400440532013000")
    intent = await shop.charge(customer, method, key="k1")
    shop.fake.settle_sepa(intent.id)
    assert (await shop.charge(customer, method, key="k1")).status == "processing"
    assert await shop.status(intent.id) == "succeeded"


async def test_a_declined_card_stays_declined_for_its_key(shop: Shop) -> None:
    customer, method = await shop.saved()
    shop.fake.set_card(method, "insufficient_funds")
    with pytest.raises(stripe.CardError):
        await shop.charge(customer, method, key="k1")
    shop.fake.set_card(method, "ok")
    with pytest.raises(stripe.CardError):
        await shop.charge(customer, method, key="k1")
    assert len(intents_in(shop.fake)) == 1


@pytest.mark.parametrize("changed", [{"amount": 2000}, {"description": "another"}])
async def test_another_body_with_the_same_key_is_an_error(shop: Shop, changed: dict[str, Any]) -> None:
    customer, method = await shop.saved()
    await shop.charge(customer, method, key="k1")
    with pytest.raises(stripe.IdempotencyError) as refused:
        await shop.charge(customer, method, key="k1", **changed)
    assert refused.value.error is not None
    assert (refused.value.http_status, refused.value.error.type) == (400, "idempotency_error")
    assert len(intents_in(shop.fake)) == 1


async def test_another_endpoint_with_the_same_key_is_an_error(shop: Shop) -> None:
    customer, method = await shop.saved()
    await shop.charge(customer, method, key="k1")
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        await shop.v1.customers.create_async({"name": "A"}, {"idempotency_key": "k1"})


async def test_a_call_that_is_under_way_is_told_from_a_wrong_one(shop: Shop) -> None:
    customer, method = await shop.saved()
    shop.fake.fault("slow_in_flight", CREATE)
    both = await asyncio.gather(
        shop.charge(customer, method, key="k1"), shop.charge(customer, method, key="k1"), return_exceptions=True
    )
    [refused] = [each for each in both if isinstance(each, stripe.StripeError)]
    # The SDK has no class for it; status and code tell it from a failure of Stripe's.
    assert isinstance(refused, stripe.APIError)
    assert refused.error is not None
    assert (refused.http_status, refused.error.code) == (409, "idempotency_key_in_use")
    [intent] = intents_in(shop.fake)
    assert intent["status"] == "succeeded"


async def test_the_sdk_waits_for_the_call_that_is_under_way(shop: Shop) -> None:
    customer, method = await shop.saved()
    shop.fake.fault("slow_in_flight", CREATE)
    async with sdk(shop.fake.url, retries=3) as client:
        patient = Shop(shop.fake, client)
        one, other = await asyncio.gather(
            patient.charge(customer, method, key="k1"), patient.charge(customer, method, key="k1")
        )
    assert one.id == other.id
    assert len(intents_in(shop.fake)) == 1


async def test_a_key_is_forgotten_after_a_day_of_the_virtual_clock(shop: Shop) -> None:
    customer, method = await shop.saved()
    first = await shop.charge(customer, method, key="k1")
    shop.fake.advance(DAY)
    second = await shop.charge(customer, method, key="k1", amount=2000)
    assert second.id != first.id


async def test_a_refused_parameter_leaves_the_key_free(shop: Shop) -> None:
    customer, method = await shop.saved()
    for amount in (1, "much"):
        with pytest.raises(stripe.InvalidRequestError):
            await shop.charge(customer, method, key="k1", amount=amount)  # type: ignore[arg-type]  # wrong on purpose
    assert (await shop.charge(customer, method, key="k1")).status == "succeeded"


async def test_a_key_has_at_most_255_characters(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="longer than 255"):
        await shop.v1.customers.create_async({"name": "A"}, {"idempotency_key": "k" * 256})
    await shop.v1.customers.create_async({"name": "A"}, {"idempotency_key": "k" * 255})


class TestTrouble:
    async def test_an_answer_lost_after_the_effect_is_found_with_the_key(self, shop: Shop) -> None:
        customer, method = await shop.saved()
        shop.fake.fault("timeout_after_write", CREATE)
        with pytest.raises(stripe.APIConnectionError):
            await shop.charge(customer, method, key="k1")
        [made] = intents_in(shop.fake)
        assert made["status"] == "succeeded"
        assert (await shop.charge(customer, method, key="k1")).id == made["id"]
        assert len(shop.fake.charges_of("inv_1")) == 1

    async def test_a_lost_answer_is_found_through_metadata_when_the_key_is_gone(self, shop: Shop) -> None:
        customer, method = await shop.saved()
        shop.fake.fault("timeout_after_write", CREATE)
        with pytest.raises(stripe.APIConnectionError):
            await shop.charge(customer, method, key="k1")
        shop.fake.advance(2 * DAY)
        found = await shop.v1.payment_intents.list_async({"customer": customer})
        assert [intent.metadata.invoice_id for intent in found.data] == ["inv_1"]

    async def test_a_connection_lost_before_the_effect_leaves_nothing(self, shop: Shop) -> None:
        customer, method = await shop.saved()
        shop.fake.fault("timeout_before_write", CREATE)
        with pytest.raises(stripe.APIConnectionError):
            await shop.charge(customer, method, key="k1")
        assert intents_in(shop.fake) == []
        assert (await shop.charge(customer, method, key="k1")).status == "succeeded"

    async def test_the_sdks_own_second_try_charges_once(self, shop: Shop) -> None:
        customer, method = await shop.saved()
        shop.fake.fault("timeout_after_write", CREATE)
        async with sdk(shop.fake.url, retries=1) as client:
            assert (await Shop(shop.fake, client).charge(customer, method)).status == "succeeded"
        assert len(shop.fake.charges_of("inv_1")) == 1

    @pytest.mark.parametrize(("kind", "charges"), [("error_500_before", 0), ("error_500_after", 1)])
    async def test_a_500_is_kept_by_its_key_with_or_without_the_effect(
        self, shop: Shop, kind: str, charges: int
    ) -> None:
        customer, method = await shop.saved()
        shop.fake.fault(kind, CREATE)
        for _ in range(2):
            with pytest.raises(stripe.APIError) as refused:
                await shop.charge(customer, method, key="k1")
            assert refused.value.http_status == 500
        assert len(shop.fake.charges_of("inv_1")) == charges

    async def test_trouble_hits_the_calls_that_match_so_many_times(self, shop: Shop) -> None:
        shop.fake.fault("error_500_before", r"POST /v1/customers$", times=2)
        for _ in range(2):
            with pytest.raises(stripe.APIError):
                await shop.customer()
        await shop.customer()

    async def test_trouble_comes_at_random_and_the_same_for_the_same_seed(self, shop: Shop) -> None:
        async def hits() -> list[bool]:
            shop.fake.reset(seed=7)
            shop.fake.fault("rate_limit", r"GET /v1/account", times=100, probability=0.5)
            found = []
            for _ in range(12):
                try:
                    await shop.v1.accounts.retrieve_current_async()
                    found.append(False)
                except stripe.RateLimitError:
                    found.append(True)
            return found

        first = await hits()
        assert any(first)
        assert not all(first)
        assert await hits() == first

    async def test_a_call_turned_away_by_the_limit_leaves_its_key_free(self, shop: Shop) -> None:
        customer, method = await shop.saved()
        shop.fake.fault("rate_limit", CREATE)
        with pytest.raises(stripe.RateLimitError):
            await shop.charge(customer, method, key="k1")
        assert (await shop.charge(customer, method, key="k1")).status == "succeeded"


class TestRate:
    async def test_an_endpoint_takes_so_many_requests_a_second_and_then_says_429(self, shop: Shop) -> None:
        shop.fake.reset(rate=5)
        calls = (shop.v1.accounts.retrieve_current_async() for _ in range(50))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refused = [each for each in answers if isinstance(each, stripe.RateLimitError)]
        assert refused
        assert len(answers) - len(refused) >= 5
        assert refused[0].error is not None
        assert (refused[0].http_status, refused[0].error.code) == (429, "rate_limit")
        headers = refused[0].headers or {}
        assert headers["stripe-rate-limited-reason"] == "endpoint-rate"
        assert not {"retry-after", "stripe-should-retry"} & headers.keys()

    async def test_every_endpoint_has_a_bucket_of_its_own(self, shop: Shop) -> None:
        shop.fake.reset(rate=1)
        await shop.v1.accounts.retrieve_current_async()
        await shop.customer()
