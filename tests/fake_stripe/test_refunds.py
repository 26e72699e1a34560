"""Refunds and the disputes of cards."""

from typing import Any

import pytest
import stripe

from tests.fake_stripe.shop import DAY, GOOD_IBAN, SDK_WARNS, Shop

pytestmark = SDK_WARNS


async def test_a_charge_is_refunded_in_parts_up_to_what_was_charged(shop: Shop) -> None:
    intent = await shop.charge(*(await shop.saved()))
    params = {"payment_intent": intent.id, "reason": "requested_by_customer", "metadata": {"credit_note_id": "cn_1"}}
    first = await shop.v1.refunds.create_async(params | {"amount": 500}, {"idempotency_key": "cn-1"})
    assert (first.status, first.amount, first.charge) == ("succeeded", 500, intent.latest_charge)
    again = await shop.v1.refunds.create_async(params | {"amount": 500}, {"idempotency_key": "cn-1"})
    assert again.id == first.id
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount") as refused:
        await shop.v1.refunds.create_async(params | {"amount": 1500})
    assert refused.value.param == "amount"
    second = await shop.v1.refunds.create_async({"charge": intent.latest_charge})
    assert second.amount == 1499
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.v1.refunds.create_async({"charge": intent.latest_charge})
    assert refused.value.code == "charge_already_refunded"
    charge = await shop.v1.charges.retrieve_async(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (1999, True)
    found = await shop.v1.refunds.list_async({"payment_intent": intent.id})
    assert [refund.id for refund in found.data] == [second.id, first.id]
    movements = await shop.v1.balance_transactions.list_async({"type": "refund"})
    assert [movement.amount for movement in movements.data] == [-1499, -500]
    assert shop.told()[-2:] == ["refund.created", "charge.refunded"]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({}, "payment_intent"),
        ({"amount": 0}, "amount"),
        ({"reason": "expired_uncaptured_charge"}, "reason"),
        ({"charge": "ch_other"}, "payment_intent"),
    ],
)
async def test_a_refund_that_stripe_would_refuse_is_refused(shop: Shop, params: dict[str, Any], param: str) -> None:
    intent = await shop.charge(*(await shop.saved()))
    named = {"payment_intent": intent.id} if params else {}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.v1.refunds.create_async(named | params)
    assert refused.value.param == param
    assert "refund" not in shop.fake.snapshot()


@pytest.mark.parametrize("method", [{"card": "4000000000007726"}, {"iban": GOOD_IBAN}])
async def test_some_refunds_take_days(shop: Shop, method: dict[str, str]) -> None:
    intent = await shop.charge(*(await shop.saved(**method)))
    shop.fake.settle_sepa()
    refund = await shop.v1.refunds.create_async({"payment_intent": intent.id})
    assert refund.status == "pending"
    shop.fake.advance(3 * DAY)
    assert (await shop.v1.refunds.retrieve_async(refund.id)).status == "succeeded"
    assert shop.told()[-2:] == ["refund.updated", "charge.refund.updated"]


async def test_a_refund_can_fail_after_it_succeeded_and_the_money_comes_back(shop: Shop) -> None:
    intent = await shop.charge(*(await shop.saved(card="4000000000005126")))
    refund = await shop.v1.refunds.create_async({"payment_intent": intent.id})
    assert refund.status == "succeeded"
    shop.fake.advance(3 * DAY)
    failed = await shop.v1.refunds.retrieve_async(refund.id, {"expand": ["failure_balance_transaction"]})
    assert (failed.status, failed.failure_balance_transaction.amount) == ("failed", 1999)
    assert (await shop.v1.charges.retrieve_async(intent.latest_charge)).amount_refunded == 0
    assert shop.told()[-1] == "refund.failed"


async def test_a_refund_fails_when_the_bank_says_so(shop: Shop) -> None:
    intent = await shop.charge(*(await shop.saved(iban=GOOD_IBAN)))
    shop.fake.settle_sepa(intent.id)
    refund = await shop.v1.refunds.create_async({"payment_intent": intent.id, "amount": 999})
    assert shop.fake.fail_refund(refund.id, "lost_or_stolen_card")["failure_reason"] == "lost_or_stolen_card"
    shop.fake.advance(3 * DAY)
    assert (await shop.v1.refunds.retrieve_async(refund.id)).status == "failed"


class TestDisputes:
    @pytest.mark.parametrize(("outcome", "left"), [("won", 0), ("lost", -1999)])
    async def test_a_disputed_card_is_won_or_lost(self, shop: Shop, outcome: str, left: int) -> None:
        intent = await shop.charge(*(await shop.saved()))
        dispute = shop.fake.dispute(intent.latest_charge)
        assert dispute["status"] == "needs_response"
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await shop.v1.refunds.create_async({"payment_intent": intent.id})
        assert refused.value.code == "charge_disputed"
        shop.fake.close_dispute(dispute["id"], outcome)
        closed = await shop.v1.disputes.retrieve_async(dispute["id"])
        assert closed.status == outcome
        assert sum(movement.amount for movement in closed.balance_transactions) == left
        assert shop.told()[-1] == "charge.dispute.closed"
        assert ("charge.dispute.funds_reinstated" in shop.told()) == (outcome == "won")

    async def test_a_charge_is_disputed_once(self, shop: Shop) -> None:
        intent = await shop.charge(*(await shop.saved(card="4000000000000259")))
        assert [dispute["charge"] for dispute in shop.fake.snapshot()["dispute"]] == [intent.latest_charge]
        with pytest.raises(AssertionError, match="disputed already"):
            shop.fake.dispute(intent.id)

    async def test_a_refunded_charge_can_be_disputed_all_the_same(self, shop: Shop) -> None:
        intent = await shop.charge(*(await shop.saved()))
        await shop.v1.refunds.create_async({"payment_intent": intent.id})
        assert shop.fake.dispute(intent.id)["amount"] == 1999
