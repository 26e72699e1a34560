"""Events in the list, and webhooks on good days and bad ones."""

import json
import signal
from typing import Any

import pytest
import stripe

from tests.fake_stripe.client import FakeStripe
from tests.fake_stripe.sdk import API_VERSION
from tests.fake_stripe.shop import DAY, GOOD_IBAN, SDK_WARNS, Receiver, Shop

pytestmark = SDK_WARNS

SECRET = "whsec_fake"


class TestList:
    async def test_an_event_names_the_request_that_caused_it(self, shop: Shop) -> None:
        customer, method = await shop.saved(iban=GOOD_IBAN)
        intent = await shop.charge(customer, method, key="inv-1-pi-1")
        shop.fake.settle_sepa()
        found = await shop.v1.events.list_async({"types": ["payment_intent.created", "payment_intent.succeeded"]})
        by_clock, by_request = found.data
        assert by_request.request.id == intent.last_response.headers["request-id"]
        assert by_request.request.idempotency_key == "inv-1-pi-1"
        assert (by_clock.request.id, by_clock.request.idempotency_key) == (None, None)
        assert (by_clock.data.object["id"], by_clock.data.object["status"]) == (intent.id, "succeeded")
        assert (by_clock.api_version, by_clock.pending_webhooks) == (API_VERSION, 0)
        # The object stays as it was then.
        assert by_request.data.object["status"] == "requires_confirmation"
        assert (await shop.v1.events.retrieve_async(by_clock.id)).type == "payment_intent.succeeded"

    async def test_pages_run_from_the_newest_to_the_oldest_and_back(self, shop: Shop) -> None:
        customers = [await shop.customer() for _ in range(7)]
        params: dict[str, Any] = {"types": ["customer.created"], "limit": 3}
        page = await shop.v1.events.list_async(params)
        assert [event.data.object["id"] for event in page.data] == customers[:3:-1]
        assert page.has_more
        everything = [event.data.object["id"] async for event in page.auto_paging_iter()]
        assert everything == customers[::-1]
        [*_, third] = page.data
        older = await shop.v1.events.list_async(params | {"starting_after": third.id, "limit": 100})
        assert ([event.data.object["id"] for event in older.data], older.has_more) == (customers[3::-1], False)
        newer = await shop.v1.events.list_async(params | {"ending_before": older.data[-1].id})
        # The page next to the cursor, not the newest one.
        assert ([event.data.object["id"] for event in newer.data], newer.has_more) == (customers[3:0:-1], True)

    async def test_events_are_filtered_by_type_and_time(self, shop: Shop) -> None:
        await shop.customer()
        now = shop.fake.advance(DAY)
        await shop.charge(*(await shop.saved()))

        async def types(**params: Any) -> set[str]:
            return {event.type for event in (await shop.v1.events.list_async({"limit": 100, **params})).data}

        assert await types(type="customer.created") == {"customer.created"}
        assert await types(type="charge.*") == {"charge.succeeded"}
        assert await types(created={"lt": now}) == {"customer.created"}
        assert "payment_intent.succeeded" in await types(created={"gte": now, "lte": now})
        assert await types(created=now - DAY) == {"customer.created"}
        shop.fake.advance(30 * DAY)
        assert await types() == set()

    @pytest.mark.parametrize(
        "params",
        [
            {"limit": 101},
            {"limit": 0},
            {"type": "a", "types": ["b"]},
            {"starting_after": "evt_nobody"},
            {"starting_after": "a", "ending_before": "b"},
            {"types": ["customer.created"] * 21},
            {"created": {"since": 1}},
        ],
    )
    async def test_a_wrong_question_is_refused(self, shop: Shop, params: dict[str, Any]) -> None:
        with pytest.raises(stripe.InvalidRequestError):
            await shop.v1.events.list_async(params)


class TestWebhooks:
    async def test_a_signature_is_accepted_by_the_sdk(self, shop: Shop) -> None:
        with Receiver() as receiver:
            shop.fake.webhook_endpoint(receiver.url, SECRET, real_time=True)
            customer = await shop.customer()
            [sent] = shop.fake.deliver_webhooks()
        [(payload, signature)] = receiver.received
        event = stripe.Webhook.construct_event(payload, signature, SECRET)
        assert (event.id, event.type, event.data.object["id"]) == (sent["event"], "customer.created", customer)
        assert (event.pending_webhooks, sent["status"]) == (1, 200)
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(payload + b" ", signature, SECRET)
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(payload, signature, "whsec_other")

    async def test_a_signature_carries_the_virtual_time(self, shop: Shop) -> None:
        with Receiver() as receiver:
            now = shop.fake.set_clock("2020-01-01T00:00:00+00:00")
            shop.fake.webhook_endpoint(receiver.url, SECRET)
            await shop.customer()
            shop.fake.deliver_webhooks()
        [(payload, signature)] = receiver.received
        assert signature.startswith(f"t={now},v1=")
        assert stripe.WebhookSignature.verify_header(payload, signature, SECRET, None)
        with pytest.raises(stripe.SignatureVerificationError, match="tolerance"):
            stripe.Webhook.construct_event(payload, signature, SECRET)

    async def test_a_refused_webhook_comes_again_later_each_time(self, shop: Shop) -> None:
        with Receiver(500, 404) as receiver:
            shop.fake.webhook_endpoint(receiver.url, SECRET)
            await shop.customer()
            assert [sent["status"] for sent in shop.fake.deliver_webhooks()] == [500]
            assert shop.fake.deliver_webhooks() == []
            undelivered = await shop.v1.events.list_async({"delivery_success": False})
            assert [event.pending_webhooks for event in undelivered.data] == [1]
            shop.fake.advance(60)
            assert [sent["status"] for sent in shop.fake.deliver_webhooks()] == [404]
            shop.fake.advance(60)
            assert shop.fake.deliver_webhooks() == []
            shop.fake.advance(60)
            assert [sent["status"] for sent in shop.fake.deliver_webhooks()] == [200]
        assert len({payload for payload, _ in receiver.received}) == 1
        assert (await shop.v1.events.list_async({"delivery_success": False})).data == []
        assert len((await shop.v1.events.list_async({"delivery_success": True})).data) == 1

    async def test_nobody_there_is_tried_for_three_days(self, shop: Shop) -> None:
        with Receiver() as receiver:
            gone = receiver.url
        shop.fake.webhook_endpoint(gone, SECRET)
        await shop.customer()
        attempts = 0
        for _ in range(30):
            attempts += len(shop.fake.deliver_webhooks())
            shop.fake.advance(DAY / 2)
        [delivery] = shop.fake.snapshot()["deliveries"]
        assert (delivery["state"], delivery["attempts"]) == ("given up", attempts)
        assert 3 < attempts < 20

    async def test_webhooks_come_twice_in_any_order_or_never(self, shop: Shop) -> None:
        with Receiver() as receiver:
            shop.fake.webhook_endpoint(receiver.url, SECRET)
            for _ in range(20):
                await shop.customer()
            shop.fake.deliver_webhooks(duplicates=0.5, reorder=True, drop=0.3, seed=3)
        made = [event["id"] for event in shop.fake.snapshot()["event"]]
        received = [json.loads(payload)["id"] for payload, _ in receiver.received]
        assert len(received) > len(set(received)), "none came twice"
        assert sorted(set(received), key=made.index) != list(dict.fromkeys(received)), "all came in order"
        lost = set(made) - set(received)
        assert lost, "none was lost"
        # What was lost never comes; the list of events still has it.
        shop.fake.advance(10 * DAY)
        assert shop.fake.deliver_webhooks() == []
        undelivered = await shop.v1.events.list_async({"delivery_success": False, "limit": 100})
        assert {event.id for event in undelivered.data} == lost

    async def test_webhooks_come_late(self, shop: Shop) -> None:
        with Receiver() as receiver:
            shop.fake.webhook_endpoint(receiver.url, SECRET)
            for _ in range(10):
                await shop.customer()
            at_once = len(shop.fake.deliver_webhooks(delay=3600, seed=1))
            shop.fake.advance(3600)
            # Late once, and not put off for ever.
            later = len(shop.fake.deliver_webhooks(delay=3600, seed=1))
        assert (at_once + later, at_once < 10) == (10, True)

    def test_webhooks_stay_on_this_machine(self, fake: FakeStripe) -> None:
        with pytest.raises(AssertionError, match="this machine only"):
            fake.webhook_endpoint("https://example.com/stripe", SECRET)


def test_a_control_that_does_not_exist_says_so(fake: FakeStripe) -> None:
    for name, arguments in (("dance", {}), ("fault", {"kind": "earthquake", "match": "."})):
        with pytest.raises(AssertionError, match="is called"):
            fake.control(name, **arguments)


def test_a_process_of_its_own_ends_with_its_block() -> None:
    with FakeStripe(seed=5) as fake:
        assert fake.snapshot()["shape_faults"] == []
    assert fake.process.returncode == -signal.SIGTERM
