"""SEPA debits: days in processing, late failures, disputes that are final, and mandates."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
import stripe

from tests.fake_stripe.sepa import easter_sunday, next_business_day
from tests.fake_stripe.shop import DAY, GOOD_IBAN, SDK_WARNS, Shop

pytestmark = SDK_WARNS

FAILS = "DE62370400440532013001"
DISPUTED = "DE35370400440532013002"
PAYS_SOON = "DE08370400440532013003"


def test_business_days_leave_out_weekends_and_the_holidays_of_the_payment_system() -> None:
    assert easter_sunday(2027) == date(2027, 3, 28)
    assert easter_sunday(2038) == date(2038, 4, 25)
    assert next_business_day(date(2027, 3, 25)) == date(2027, 3, 30)
    assert next_business_day(date(2026, 12, 24)) == date(2026, 12, 28)
    assert next_business_day(date(2026, 12, 31)) == date(2027, 1, 4)
    assert next_business_day(date(2026, 10, 2)) == date(2026, 10, 5)


async def test_a_debit_is_in_processing_for_five_business_days_and_then_paid(shop: Shop) -> None:
    shop.fake.set_clock("2026-12-22T09:00:00+00:00")
    customer, method = await shop.saved(iban=GOOD_IBAN)
    intent = await shop.charge(
        customer,
        method,
        allowed_payment_method_types=["sepa_debit"],
        statement_descriptor="RE 2026-0001",
        expand=["latest_charge"],
    )
    assert (intent.status, intent.latest_charge.status, intent.amount_received) == ("processing", "pending", 0)
    assert shop.told()[-3:] == ["payment_intent.created", "payment_intent.processing", "charge.pending"]
    # 23, 24, 28, 29 and 30 December: the 25th and 26th are closing days, the 27th is a Sunday.
    shop.fake.set_clock("2026-12-30T08:59:59+00:00")
    assert await shop.status(intent.id) == "processing"
    shop.fake.set_clock("2026-12-30T09:00:00+00:00")
    paid = await shop.v1.payment_intents.retrieve_async(intent.id, {"expand": ["latest_charge.balance_transaction"]})
    assert (paid.status, paid.amount_received) == ("succeeded", 1999)
    assert paid.latest_charge.balance_transaction.type == "payment"
    assert shop.told()[-2:] == ["charge.succeeded", "payment_intent.succeeded"]


async def test_a_later_date_of_the_debit_is_waited_for(shop: Shop) -> None:
    shop.fake.set_clock("2026-11-17T10:00:00+00:00")
    customer, method = await shop.saved(iban=GOOD_IBAN)
    options = {"sepa_debit": {"target_date": "2026-12-02"}}
    intent = await shop.charge(customer, method, payment_method_options=options)
    shop.fake.set_clock("2026-12-02T09:00:00+00:00")
    assert await shop.status(intent.id) == "processing"
    shop.fake.set_clock("2026-12-02T10:00:00+00:00")
    assert await shop.status(intent.id) == "succeeded"


async def test_nothing_can_be_done_to_a_debit_on_its_way(shop: Shop) -> None:
    customer, method = await shop.saved(iban=GOOD_IBAN)
    intent = await shop.charge(customer, method)
    for call in (
        shop.v1.payment_intents.cancel_async(intent.id),
        shop.v1.payment_intents.confirm_async(intent.id, {"payment_method": method}),
        shop.v1.payment_intents.update_async(intent.id, {"amount": 500}),
        shop.v1.refunds.create_async({"payment_intent": intent.id}),
    ):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await call
        assert refused.value.code == "payment_intent_unexpected_state"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.v1.refunds.create_async({"charge": intent.latest_charge})
    assert refused.value.code == "charge_not_refundable"


async def test_a_late_failure_leaves_the_intent_for_another_try(shop: Shop) -> None:
    customer, method = await shop.saved(iban=GOOD_IBAN)
    intent = await shop.charge(customer, method, key="k1")
    shop.fake.advance(2 * DAY)
    shop.fake.fail_sepa(intent.id, "insufficient_funds")
    failed = await shop.v1.payment_intents.retrieve_async(intent.id, {"expand": ["latest_charge"]})
    assert (failed.status, failed.last_payment_error.code) == ("requires_payment_method", "insufficient_funds")
    assert (failed.latest_charge.status, failed.latest_charge.failure_code) == ("failed", "insufficient_funds")
    assert shop.told()[-2:] == ["charge.failed", "payment_intent.payment_failed"]
    again = await shop.v1.payment_intents.confirm_async(intent.id, {"payment_method": method, "off_session": True})
    assert again.status == "processing"
    # The first debit's day comes and changes nothing.
    shop.fake.advance(5 * DAY)
    assert await shop.status(intent.id) == "processing"
    shop.fake.settle_sepa(intent.id)
    assert [charge["status"] for charge in shop.fake.charges_of("inv_1")] == ["failed", "succeeded"]


@pytest.mark.parametrize(
    ("iban", "code", "known"),
    [
        (FAILS, "debit_not_authorized", "debit_not_authorized"),
        ("DE65370400440002222227", "insufficient_funds", "insufficient_funds"),
        ("DE65370400440000343434", "charge_exceeds_source_limit", "payment_intent_payment_attempt_failed"),
        ("DE27370400440000121212", "charge_exceeds_weekly_limit", "payment_intent_payment_attempt_failed"),
    ],
)
async def test_the_documented_accounts_fail_as_documented(shop: Shop, iban: str, code: str, known: str) -> None:
    customer, method = await shop.saved(iban=iban)
    intent = await shop.charge(customer, method, expand=["latest_charge"])
    assert intent.status == "processing"
    shop.fake.advance(9 * DAY)
    failed = await shop.v1.payment_intents.retrieve_async(intent.id, {"expand": ["latest_charge"]})
    assert (failed.status, failed.last_payment_error.code) == ("requires_payment_method", known)
    assert failed.latest_charge.failure_code == code


async def test_one_account_pays_after_three_minutes(shop: Shop) -> None:
    customer, method = await shop.saved(iban=PAYS_SOON)
    intent = await shop.charge(customer, method)
    shop.fake.advance(179)
    assert await shop.status(intent.id) == "processing"
    shop.fake.advance(1)
    assert await shop.status(intent.id) == "succeeded"


async def test_a_bank_that_says_unauthorised_ends_the_mandate(shop: Shop) -> None:
    customer, method = await shop.saved(iban=FAILS)
    intent = await shop.charge(customer, method)
    shop.fake.advance(9 * DAY)
    [mandate] = shop.fake.snapshot()["mandate"]
    assert mandate["status"] == "inactive"
    assert shop.told()[-1] == "mandate.updated"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.v1.payment_intents.confirm_async(intent.id, {"payment_method": method, "off_session": True})
    assert refused.value.code == "payment_intent_mandate_invalid"
    assert await shop.status(intent.id) == "requires_payment_method"


async def test_an_inactive_mandate_refuses_a_new_debit(shop: Shop) -> None:
    customer, method = await shop.saved(iban=GOOD_IBAN)
    [mandate] = shop.fake.snapshot()["mandate"]
    shop.fake.set_mandate(mandate["id"], "inactive")
    with pytest.raises(stripe.InvalidRequestError, match="mandate is invalid"):
        await shop.charge(customer, method)
    assert "payment_intent" not in shop.fake.snapshot()


@pytest.mark.parametrize(
    ("params", "code"),
    [({"amount": 1_000_001}, "amount_too_large"), ({"currency": "usd"}, "payment_method_currency_mismatch")],
)
async def test_a_debit_has_limits(shop: Shop, params: dict[str, Any], code: str) -> None:
    customer, method = await shop.saved(iban=GOOD_IBAN)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.charge(customer, method, **params)
    assert refused.value.code == code
    assert (await shop.charge(customer, method, amount=1_000_000)).status == "processing"


async def test_a_paid_debit_can_be_disputed_and_that_is_final(shop: Shop) -> None:
    customer, method = await shop.saved(iban=GOOD_IBAN)
    intent = await shop.charge(customer, method)
    shop.fake.settle_sepa()
    shop.fake.advance(55 * DAY)
    dispute = shop.fake.dispute(intent.id, "debit_not_authorized")
    seen = await shop.v1.disputes.retrieve_async(dispute["id"], {"expand": ["charge", "payment_intent"]})
    assert (seen.status, seen.reason, seen.amount) == ("lost", "debit_not_authorized", 1999)
    assert (seen.charge.disputed, seen.payment_intent.status) == (True, "succeeded")
    # The amount leaves the balance together with the bank's fee.
    assert [(each.amount, each.net) for each in seen.balance_transactions] == [(-1999, -2749)]
    assert shop.told()[-5:] == [
        "charge.dispute.created",
        "charge.updated",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.closed",
        "mandate.updated",
    ]
    with pytest.raises(AssertionError, match="does not become won"):
        shop.fake.close_dispute(dispute["id"], "won")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.v1.refunds.create_async({"payment_intent": intent.id})
    assert refused.value.code == "charge_disputed"


async def test_one_account_disputes_everything_it_has_paid(shop: Shop) -> None:
    customer, method = await shop.saved(iban=DISPUTED)
    intent = await shop.charge(customer, method)
    shop.fake.advance(9 * DAY)
    [dispute] = (await shop.v1.disputes.list_async({"payment_intent": intent.id})).data
    assert (dispute.status, dispute.charge) == ("lost", intent.latest_charge)


async def test_the_clock_is_the_fakes_own(shop: Shop) -> None:
    now = shop.fake.set_clock("2027-01-01T00:00:00+01:00")
    assert datetime.fromtimestamp(now, UTC) == datetime(2026, 12, 31, 23, tzinfo=UTC)
    customer, method = await shop.saved()
    assert (await shop.charge(customer, method)).created == now
    with pytest.raises(AssertionError, match="does not go back"):
        shop.fake.set_clock("2026-12-31T00:00:00+01:00")
