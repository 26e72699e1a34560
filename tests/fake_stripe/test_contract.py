"""What a request must look like, and what comes back when it does not."""

from typing import Any

import httpx
import pytest
import stripe

from tests.fake_stripe.client import FakeStripe
from tests.fake_stripe.contract import decode
from tests.fake_stripe.sdk import API_VERSION
from tests.fake_stripe.shapes import faults_of
from tests.fake_stripe.shop import SDK_WARNS, Shop, sdk

pytestmark = SDK_WARNS

INTENT = {"amount": 1999, "currency": "eur"}


@pytest.mark.parametrize(
    ("params", "param", "code"),
    [
        (INTENT | {"colour": "red"}, "colour", "parameter_unknown"),
        (INTENT | {"automatic_payment_methods": {"on": True}}, "automatic_payment_methods[on]", "parameter_unknown"),
        ({"amount": 1999}, "currency", "parameter_missing"),
        (INTENT | {"automatic_payment_methods": {}, "amount": "much"}, "amount", "parameter_invalid_integer"),
        (INTENT | {"amount": 19.99}, "amount", "parameter_invalid_integer"),
        (INTENT | {"confirm": "perhaps"}, "confirm", None),
        (INTENT | {"setup_future_usage": "sometimes"}, "setup_future_usage", None),
        (INTENT | {"off_session": "often"}, "off_session", None),
        (INTENT | {"metadata": "text"}, "metadata", None),
        (INTENT | {"amount": {"eur": 5}}, "amount", None),
        (INTENT | {"allowed_payment_method_types": ["cash"]}, "allowed_payment_method_types[0]", None),
        (INTENT | {"allowed_payment_method_types": ["ideal"]}, "allowed_payment_method_types", None),
        (INTENT | {"description": ""}, "description", "parameter_invalid_empty"),
        (INTENT | {"statement_descriptor": "x" * 23}, "statement_descriptor", None),
        (INTENT | {"statement_descriptor_suffix": "a*b"}, "statement_descriptor_suffix", "invalid_characters"),
        (INTENT | {"statement_descriptor_suffix": "2026-0001"}, "statement_descriptor_suffix", None),
        (INTENT | {"statement_descriptor": "RE 1"}, "statement_descriptor", None),
        (INTENT | {"statement_descriptor": "Счёт 2026"}, "statement_descriptor", "invalid_characters"),
        (INTENT | {"statement_descriptor": "RE 2026-0001"}, "statement_descriptor", None),
        (INTENT | {"metadata": {f"key{n}": "x" for n in range(51)}}, "metadata", None),
        (INTENT | {"metadata": {"k" * 41: "x"}}, "metadata", None),
        (INTENT | {"metadata": {"key": "x" * 501}}, "metadata", None),
        (INTENT | {"amount": 49}, "amount", "amount_too_small"),
        (INTENT | {"amount": 100_000_000}, "amount", "amount_too_large"),
        (INTENT | {"currency": "xxx"}, "currency", None),
        (INTENT | {"customer": "cus_nobody"}, "customer", "resource_missing"),
        (INTENT | {"off_session": True}, "off_session", None),
        (INTENT | {"expand": ["amount"]}, "expand", None),
        (INTENT | {"expand": ["latest_charge.a.b.c.d"]}, "expand", "property_expansion_max_depth"),
        (
            INTENT | {"automatic_payment_methods": {"enabled": True}, "allowed_payment_method_types": ["card"]},
            "automatic_payment_methods",
            "parameters_exclusive",
        ),
        (
            INTENT | {"payment_method_options": {"sepa_debit": {"target_date": "2026-11-18"}}},
            "payment_method_options[sepa_debit][target_date]",
            None,
        ),
    ],
)
async def test_a_wrong_parameter_is_named_and_nothing_happens(
    shop: Shop, params: dict[str, Any], param: str, code: str | None
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.v1.payment_intents.create_async(params)
    assert (refused.value.http_status, refused.value.param, refused.value.code) == (400, param, code)
    assert "payment_intent" not in shop.fake.snapshot()


@pytest.mark.parametrize("resource", ["payment_intents", "checkout.sessions"])
async def test_payment_method_types_are_no_longer_supported(shop: Shop, resource: str) -> None:
    service = shop.v1
    for name in resource.split("."):
        service = getattr(service, name)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await service.create_async(INTENT | {"payment_method_types": ["card"]})
    assert refused.value.code == "payment_method_types_no_longer_supported"


async def test_an_official_parameter_that_would_be_ignored_is_refused_loudly(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="does not implement the parameter transfer_group"):
        await shop.v1.payment_intents.create_async(INTENT | {"transfer_group": "g"})
    with pytest.raises(stripe.InvalidRequestError, match="does not implement POST /v1/charges"):
        await shop.v1.charges.create_async({"amount": 100, "currency": "eur"})


async def test_a_cancellation_reason_is_one_of_the_request_and_not_of_the_answer(shop: Shop) -> None:
    intent = await shop.v1.payment_intents.create_async(INTENT)
    with pytest.raises(stripe.InvalidRequestError, match="must be one of"):
        await shop.v1.payment_intents.cancel_async(intent.id, {"cancellation_reason": "void_invoice"})
    cancelled = await shop.v1.payment_intents.cancel_async(intent.id, {"cancellation_reason": "duplicate"})
    assert (cancelled.status, cancelled.cancellation_reason) == ("canceled", "duplicate")


@pytest.mark.parametrize(
    "body", ["amount=1&amount=2", "metadata[a=1", "a[b]=1&a=2", "a=1&a[b]=2", "expand[0]=a&expand[2]=b", "nonsense"]
)
def test_a_malformed_form_is_refused(raw: httpx.Client, body: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = raw.post("/v1/payment_intents", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_brackets_are_decoded_as_the_sdk_writes_them() -> None:
    pairs = [("a", "1"), ("b[c][d]", "2"), ("e[0][f]", "3"), ("e[1][f]", "4"), ("g[]", "5"), ("g[]", "6")]
    assert decode(pairs) == {
        "a": "1",
        "b": {"c": {"d": "2"}},
        "e": {"0": {"f": "3"}, "1": {"f": "4"}},
        "g": {"0": "5", "1": "6"},
    }


class TestTheCaller:
    def test_a_request_without_a_key_is_not_answered(self, fake: FakeStripe) -> None:
        assert httpx.get(f"{fake.url}/v1/account", trust_env=False).status_code == 401

    async def test_a_live_key_is_refused_and_remembered(self, fake: FakeStripe) -> None:
        async with sdk(fake.url, key="sk_live_" + "0" * 8) as client:
            with pytest.raises(stripe.AuthenticationError, match="live key"):
                await client.v1.accounts.retrieve_current_async()
        assert fake.snapshot()["live_keys_refused"] == 1

    async def test_what_is_no_key_is_refused(self, fake: FakeStripe) -> None:
        async with sdk(fake.url, key="nonsense") as client:
            with pytest.raises(stripe.AuthenticationError, match="Invalid API Key"):
                await client.v1.accounts.retrieve_current_async()

    async def test_only_the_version_the_sdk_pins_is_spoken(self, fake: FakeStripe) -> None:
        async with sdk(fake.url, version="2026-01-28.clover") as client:
            with pytest.raises(stripe.InvalidRequestError, match="Stripe-Version"):
                await client.v1.accounts.retrieve_current_async()
        async with sdk(fake.url) as client:
            account = await client.v1.accounts.retrieve_current_async()
        assert account.last_response is not None
        assert account.last_response.headers["stripe-version"] == API_VERSION

    def test_an_unknown_address_is_not_found(self, raw: httpx.Client) -> None:
        assert raw.get("/v1/unicorns").status_code == 404
        assert raw.get("/v1/customers/cus_nobody").json()["error"]["code"] == "resource_missing"


class TestCustomers:
    async def test_metadata_is_merged_and_an_empty_value_takes_a_key_away(self, shop: Shop) -> None:
        params = {"name": "A", "address": {"city": "Köln"}, "metadata": {"a": "1", "b": "2"}}
        customer = await shop.v1.customers.create_async(params)
        changed = await shop.v1.customers.update_async(customer.id, {"metadata": {"a": "", "c": "3"}, "address": ""})
        assert changed.metadata.to_dict() == {"b": "2", "c": "3"}
        assert (changed.name, changed.address) == ("A", None)
        assert (await shop.v1.customers.retrieve_async(customer.id)).metadata.to_dict() == {"b": "2", "c": "3"}
        assert shop.told() == ["customer.created", "customer.updated"]

    async def test_an_address_is_answered_with_all_its_parts(self, shop: Shop) -> None:
        customer = await shop.v1.customers.create_async({"address": {"city": "Köln", "country": "DE"}})
        assert (customer.address.city, customer.address.line1) == ("Köln", None)


class TestShapes:
    def test_a_body_of_the_wrong_shape_is_seen(self) -> None:
        refund = {
            "id": "re_1",
            "object": "refund",
            "amount": "100",
            "created": 1,
            "currency": "eur",
            "reason": "boredom",
            "colour": "red",
        }
        assert sorted(fault.partition(":")[0] for fault in faults_of(refund)) == [
            "refund.amount",
            "refund.colour",
            "refund.reason",
        ]

    def test_a_missing_part_is_seen_deep_inside_a_list(self) -> None:
        card = {"object": "payment_method", "id": "pm_1", "created": 1, "livemode": False, "type": "card", "card": {}}
        faults = faults_of({"object": "list", "data": [card]})
        assert "payment_method.card.brand: missing" in faults
        assert "payment_method.billing_details: missing" in faults

    def test_an_object_nobody_declares_is_seen(self) -> None:
        assert faults_of({"object": "unicorn"}) == ["no object is called 'unicorn'"]
