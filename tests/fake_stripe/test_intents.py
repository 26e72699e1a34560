"""Cards: saved in Checkout, charged without the customer, declined, and never charged twice."""

import asyncio
from typing import Any

import pytest
import stripe

from tests.fake_stripe.cards import CARDS, IBANS, iban_outcome, luhn
from tests.fake_stripe.errors import Refusal
from tests.fake_stripe.shop import DAY, GOOD_IBAN, SDK_WARNS, Shop

pytestmark = SDK_WARNS

ASKS_ALWAYS = "4000002760003184"
ASKS_UNTIL_SET_UP = "4000002500003155"


def test_the_documented_numbers_are_real_numbers() -> None:
    assert all(luhn(number) for number in CARDS)
    assert [iban_outcome(iban) for iban in IBANS] == list(IBANS.values())


@pytest.mark.parametrize(
    "iban", ["DE88370400440532013000", "DE18370400440532013003", "US89370400440532013000", "DE", "!"]
)
def test_an_iban_with_a_wrong_checksum_is_none(iban: str) -> None:
    with pytest.raises(Refusal, match="IBAN"):
        iban_outcome(iban)


class TestCheckout:
    async def test_a_completed_session_leaves_a_card_that_can_be_charged(self, shop: Shop) -> None:
        customer = await shop.customer()
        data = {"metadata": {"reseller_id": "r1"}}
        session = await shop.session(customer, setup_intent_data=data, metadata={"a": "b"}, locale="de")
        assert (session.status, session.payment_status) == ("open", "no_payment_required")
        assert session.url.startswith("https://checkout.stripe.com/")
        shop.fake.complete_checkout(session.id)
        session = await shop.v1.checkout.sessions.retrieve_async(
            session.id, {"expand": ["setup_intent.payment_method"]}
        )
        setup = session.setup_intent
        assert (session.status, setup.status, setup.mandate) == ("complete", "succeeded", None)
        assert setup.metadata.reseller_id == "r1"
        assert (setup.payment_method.type, setup.payment_method.card.last4) == ("card", "4242")
        assert setup.payment_method.customer == customer
        assert shop.told()[1:] == [
            "setup_intent.created",
            "payment_method.attached",
            "setup_intent.succeeded",
            "checkout.session.completed",
        ]

    async def test_a_debit_leaves_a_mandate_with_reference_and_address(self, shop: Shop) -> None:
        customer = await shop.customer()
        options = {"sepa_debit": {"mandate_options": {"reference_prefix": "PFW-"}}}
        session = await shop.session(customer, payment_method_options=options)
        shop.fake.complete_checkout(session.id, iban=GOOD_IBAN)
        setup = await shop.v1.setup_intents.retrieve_async(
            session.setup_intent, {"expand": ["mandate", "payment_method"]}
        )
        assert setup.mandate.payment_method_details.sepa_debit.reference.startswith("PFW-")
        assert setup.mandate.payment_method_details.sepa_debit.url.startswith("https://")
        assert (setup.mandate.status, setup.payment_method.sepa_debit.last4) == ("active", "3000")
        assert (await shop.v1.mandates.retrieve_async(setup.mandate.id)).id == setup.mandate.id

    @pytest.mark.parametrize(
        ("params", "param"),
        [
            ({"success_url": None}, "success_url"),
            ({"currency": None}, "currency"),
            ({"customer": "cus_nobody"}, "customer"),
            ({"mode": "payment"}, None),
            ({"expires_at": 1}, "expires_at"),
            (
                {"payment_method_options": {"sepa_debit": {"mandate_options": {"reference_prefix": "thirteen-long"}}}},
                "payment_method_options[sepa_debit][mandate_options][reference_prefix]",
            ),
        ],
    )
    async def test_a_session_that_stripe_would_refuse_is_refused(
        self, shop: Shop, params: dict[str, Any], param: str | None
    ) -> None:
        customer = await shop.customer()
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await shop.session(customer, **params)
        assert refused.value.param == param

    async def test_a_card_that_is_declined_when_saved_leaves_the_page_open(self, shop: Shop) -> None:
        customer = await shop.customer()
        session = await shop.session(customer)
        with pytest.raises(AssertionError, match="lost_card"):
            shop.fake.complete_checkout(session.id, card="4000000000009987")
        setup = await shop.v1.setup_intents.retrieve_async(session.setup_intent)
        assert (setup.status, setup.last_setup_error.decline_code) == ("requires_payment_method", "lost_card")
        shop.fake.complete_checkout(session.id, card="4242424242424242")
        assert (await shop.v1.checkout.sessions.retrieve_async(session.id)).status == "complete"

    async def test_a_session_ends_after_a_day_or_when_it_is_told_to(self, shop: Shop) -> None:
        customer = await shop.customer()
        one, other = await shop.session(customer), await shop.session(customer)
        assert (await shop.v1.checkout.sessions.expire_async(one.id)).status == "expired"
        with pytest.raises(stripe.InvalidRequestError, match="expired"):
            await shop.v1.checkout.sessions.expire_async(one.id)
        shop.fake.advance(DAY)
        assert (await shop.v1.checkout.sessions.retrieve_async(other.id)).status == "expired"
        with pytest.raises(AssertionError, match="the session is expired"):
            shop.fake.complete_checkout(other.id)
        assert shop.told().count("checkout.session.expired") == 2

    async def test_methods_and_setups_are_listed_by_customer(self, shop: Shop) -> None:
        customer, method = await shop.saved()
        await shop.saved(iban=GOOD_IBAN)
        assert [each.id for each in (await shop.v1.payment_methods.list_async({"customer": customer})).data] == [method]
        wanted = {"customer": customer, "type": "sepa_debit"}
        assert (await shop.v1.payment_methods.list_async(wanted)).data == []
        [setup] = (await shop.v1.setup_intents.list_async({"customer": customer})).data
        assert setup.payment_method == method


class TestCharging:
    async def test_a_good_card_is_charged_at_once(self, shop: Shop) -> None:
        customer, method = await shop.saved()
        intent = await shop.charge(
            customer,
            method,
            allowed_payment_method_types=["card"],
            error_on_requires_action=True,
            description="2026-0001",
            statement_descriptor_suffix="RE 2026-0001",
            expand=["latest_charge.balance_transaction"],
        )
        charge = intent.latest_charge
        assert (intent.status, intent.amount_received, charge.status, charge.paid) == (
            "succeeded",
            1999,
            "succeeded",
            True,
        )
        # 1.5 % and 25 cents.
        assert (charge.balance_transaction.fee, charge.balance_transaction.net) == (55, 1944)
        assert charge.calculated_statement_descriptor.startswith("POSTFACHWERK* RE 2026")
        assert [each["id"] for each in shop.fake.charges_of("inv_1")] == [charge.id]
        assert shop.told()[-3:] == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]

    @pytest.mark.parametrize(
        ("outcome", "code"),
        [
            ("generic_decline", "card_declined"),
            ("insufficient_funds", "card_declined"),
            ("lost_card", "card_declined"),
            ("expired_card", "expired_card"),
            ("processing_error", "processing_error"),
        ],
    )
    async def test_a_declined_card_is_a_402_with_the_intent_and_can_be_tried_again(
        self, shop: Shop, outcome: str, code: str
    ) -> None:
        customer, method = await shop.saved()
        shop.fake.set_card(method, outcome)
        with pytest.raises(stripe.CardError) as refused:
            await shop.charge(customer, method)
        error = refused.value.error
        assert error is not None
        assert error.payment_intent is not None
        assert (refused.value.http_status, error.code, error.decline_code) == (402, code, outcome)
        intent = await shop.v1.payment_intents.retrieve_async(error.payment_intent.id)
        assert (intent.status, intent.payment_method) == ("requires_payment_method", None)
        assert (intent.last_payment_error.decline_code, intent.last_payment_error.payment_method.id) == (
            outcome,
            method,
        )
        assert (intent.latest_charge, error.charge) == (error.charge, intent.latest_charge)
        assert shop.told()[-2:] == ["charge.failed", "payment_intent.payment_failed"]
        shop.fake.set_card(method, "ok")
        paid = await shop.v1.payment_intents.confirm_async(intent.id, {"payment_method": method, "off_session": True})
        assert (paid.status, paid.id, paid.last_payment_error) == ("succeeded", intent.id, None)

    @pytest.mark.parametrize(
        ("named", "outcome"),
        [
            ("pm_card_visa_chargeDeclined", "generic_decline"),
            ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
            ("pm_card_visa_chargeDeclinedLostCard", "lost_card"),
        ],
    )
    async def test_the_named_methods_of_every_test_account_exist(self, shop: Shop, named: str, outcome: str) -> None:
        params = {"amount": 500, "currency": "eur", "payment_method": named, "confirm": True}
        with pytest.raises(stripe.CardError) as refused:
            await shop.v1.payment_intents.create_async(params)
        assert refused.value.error is not None
        assert refused.value.error.decline_code == outcome

    async def test_the_card_that_can_be_saved_and_not_charged_is_declined(self, shop: Shop) -> None:
        customer, method = await shop.saved(card="4000000000000341")
        with pytest.raises(stripe.CardError):
            await shop.charge(customer, method)

    async def test_a_card_that_asks_every_time_cannot_be_charged_without_its_holder(self, shop: Shop) -> None:
        customer, method = await shop.saved(card=ASKS_ALWAYS)
        with pytest.raises(stripe.CardError) as refused:
            await shop.charge(customer, method)
        error = refused.value.error
        assert error is not None
        assert error.payment_intent is not None
        assert (refused.value.code, error.decline_code) == ("authentication_required", "authentication_required")
        assert await shop.status(error.payment_intent.id) == "requires_payment_method"

    async def test_a_card_that_was_set_up_with_its_holder_can_be_charged(self, shop: Shop) -> None:
        customer, method = await shop.saved(card=ASKS_UNTIL_SET_UP)
        assert (await shop.charge(customer, method)).status == "succeeded"

    @pytest.mark.parametrize(("succeeded", "status"), [(True, "succeeded"), (False, "requires_payment_method")])
    async def test_with_its_holder_present_the_card_asks(self, shop: Shop, succeeded: bool, status: str) -> None:
        customer, method = await shop.saved(card=ASKS_ALWAYS)
        intent = await shop.charge(customer, method, off_session=False, return_url="https://portal.example.test/")
        assert (intent.status, intent.next_action.type) == ("requires_action", "redirect_to_url")
        assert shop.told()[-1] == "payment_intent.requires_action"
        shop.fake.authenticate(intent.id, succeeded=succeeded)
        assert await shop.status(intent.id) == status

    async def test_an_error_can_be_asked_for_instead_of_an_action(self, shop: Shop) -> None:
        customer, method = await shop.saved(card=ASKS_ALWAYS)
        with pytest.raises(stripe.CardError, match="authentication"):
            await shop.charge(customer, method, off_session=False, error_on_requires_action=True)


class TestStates:
    async def test_an_intent_that_is_paid_is_never_paid_again(self, shop: Shop) -> None:
        customer, method = await shop.saved()
        intent = await shop.charge(customer, method)
        for call in (
            shop.v1.payment_intents.confirm_async(intent.id, {"payment_method": method}),
            shop.v1.payment_intents.cancel_async(intent.id),
            shop.v1.payment_intents.update_async(intent.id, {"amount": 500}),
        ):
            with pytest.raises(stripe.InvalidRequestError) as refused:
                await call
            assert refused.value.code == "payment_intent_unexpected_state"
            assert refused.value.error is not None
            assert refused.value.error.payment_intent is not None
            assert refused.value.error.payment_intent.status == "succeeded"
        assert len(shop.fake.charges_of("inv_1")) == 1
        changed = await shop.v1.payment_intents.update_async(intent.id, {"metadata": {"note": "paid"}})
        assert changed.metadata.to_dict() == {"invoice_id": "inv_1", "note": "paid"}

    async def test_of_many_confirmations_at_once_one_is_charged(self, shop: Shop) -> None:
        customer, method = await shop.saved()
        params = {"amount": 500, "currency": "eur", "customer": customer, "metadata": {"invoice_id": "inv_1"}}
        intent = await shop.v1.payment_intents.create_async(params)
        confirmations = (
            shop.v1.payment_intents.confirm_async(intent.id, {"payment_method": method, "off_session": True})
            for _ in range(6)
        )
        answers = await asyncio.gather(*confirmations, return_exceptions=True)
        refused = [each.code for each in answers if isinstance(each, stripe.InvalidRequestError)]
        assert refused == ["payment_intent_unexpected_state"] * 5
        assert [charge["status"] for charge in shop.fake.charges_of("inv_1")] == ["succeeded"]

    async def test_an_intent_waits_for_a_method_then_for_its_confirmation(self, shop: Shop) -> None:
        customer, method = await shop.saved()
        intent = await shop.v1.payment_intents.create_async({"amount": 500, "currency": "eur", "customer": customer})
        assert intent.status == "requires_payment_method"
        with pytest.raises(stripe.InvalidRequestError, match="missing a payment method"):
            await shop.v1.payment_intents.confirm_async(intent.id)
        changed = await shop.v1.payment_intents.update_async(intent.id, {"payment_method": method, "amount": 600})
        assert (changed.status, changed.amount) == ("requires_confirmation", 600)
        assert (await shop.v1.payment_intents.confirm_async(intent.id)).amount_received == 600

    async def test_a_cancelled_intent_stays_cancelled(self, shop: Shop) -> None:
        customer, method = await shop.saved()
        intent = await shop.v1.payment_intents.create_async({"amount": 500, "currency": "eur", "customer": customer})
        await shop.v1.payment_intents.cancel_async(intent.id)
        with pytest.raises(stripe.InvalidRequestError, match="canceled"):
            await shop.v1.payment_intents.confirm_async(intent.id, {"payment_method": method})
        assert shop.told()[-1] == "payment_intent.canceled"

    async def test_allowed_types_are_filtered_and_bind_the_method(self, shop: Shop) -> None:
        customer, method = await shop.saved()
        intent = await shop.v1.payment_intents.create_async(
            {
                "amount": 500,
                "currency": "eur",
                "customer": customer,
                "allowed_payment_method_types": ["ideal", "sepa_debit"],
            }
        )
        assert intent.payment_method_types == ["sepa_debit"]
        assert intent.allowed_payment_method_types == ["ideal", "sepa_debit"]
        with pytest.raises(stripe.InvalidRequestError, match="not allowed for this PaymentIntent"):
            await shop.v1.payment_intents.confirm_async(intent.id, {"payment_method": method})
        params = {"payment_method": method, "allowed_payment_method_types": ["card"]}
        assert (await shop.v1.payment_intents.confirm_async(intent.id, params)).status == "succeeded"

    async def test_a_detached_method_cannot_be_used_again(self, shop: Shop) -> None:
        customer, method = await shop.saved()
        await shop.v1.payment_methods.detach_async(method)
        with pytest.raises(stripe.InvalidRequestError, match="was detached from a Customer"):
            await shop.charge(customer, method)
        with pytest.raises(stripe.InvalidRequestError, match="not attached"):
            await shop.v1.payment_methods.detach_async(method)
        assert (await shop.v1.payment_methods.retrieve_async(method)).customer is None
        assert "payment_intent" not in shop.fake.snapshot()

    async def test_another_customers_method_cannot_be_used(self, shop: Shop) -> None:
        _, method = await shop.saved()
        with pytest.raises(stripe.InvalidRequestError, match="does not have a payment method"):
            await shop.charge(await shop.customer(), method)
        with pytest.raises(stripe.InvalidRequestError, match="belongs to a customer"):
            await shop.v1.payment_intents.create_async({"amount": 500, "currency": "eur", "payment_method": method})

    @pytest.mark.parametrize(
        ("iban", "field"), [(None, "statement_descriptor"), (GOOD_IBAN, "statement_descriptor_suffix")]
    )
    async def test_the_wrong_kind_of_statement_descriptor_is_refused(
        self, shop: Shop, iban: str | None, field: str
    ) -> None:
        customer, method = await shop.saved(iban=iban)
        params: dict[str, Any] = {field: "RE 2026-0001"}
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await shop.charge(customer, method, **params)
        assert refused.value.param == field

    async def test_a_descriptor_for_debits_stands_in_the_way_of_a_card_later(self, shop: Shop) -> None:
        customer, method = await shop.saved()
        intent = await shop.v1.payment_intents.create_async(
            {
                "amount": 500,
                "currency": "eur",
                "customer": customer,
                "allowed_payment_method_types": ["sepa_debit"],
                "statement_descriptor": "RE 2026-0001",
            }
        )
        params = {"payment_method": method, "allowed_payment_method_types": ["card"]}
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await shop.v1.payment_intents.confirm_async(intent.id, params)
        assert refused.value.param == "statement_descriptor"
        assert await shop.status(intent.id) == "requires_payment_method"

    async def test_intents_are_listed_by_customer_and_time(self, shop: Shop) -> None:
        customer, method = await shop.saved()
        old = await shop.charge(customer, method)
        now = shop.fake.advance(DAY)
        new = await shop.charge(customer, method)
        await shop.charge(*(await shop.saved()))

        async def listed(**params: Any) -> list[str]:
            found = await shop.v1.payment_intents.list_async({"customer": customer, **params})
            return [intent.id for intent in found.data]

        assert await listed() == [new.id, old.id]
        assert await listed(created={"gte": now}) == [new.id]
        assert await listed(created={"lt": now}) == [old.id]
        assert await listed(created={"gt": now}) == []
        assert [
            charge.payment_intent for charge in (await shop.v1.charges.list_async({"customer": customer})).data
        ] == [
            new.id,
            old.id,
        ]
