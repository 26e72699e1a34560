"""Collecting through Stripe: what each answer, and each lack of one, leads to. The peer is a process of its own."""

import asyncio
from datetime import timedelta

import pytest

from billing.gateways.base import ChargeRequest
from billing.payments import record_receipt, release
from billing.settlement import lock_payment
from tests.billing.ledger_factory import read
from tests.billing.payment_world import CARD, IBAN, Till

pytest_plugins = ["tests.billing.payment_fixtures"]
pytestmark = pytest.mark.anyio


async def test_a_card_is_charged_once_and_its_invoice_paid(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    await till.collect(invoice)
    await till.collect(invoice, at_once=True)
    await till.hear()
    payment = await till.payment(invoice)
    assert (payment["status"], payment["due"], payment["next_attempt_at"]) == ("paid", 0, None)
    assert till.charged(invoice) == [1786]
    assert await till.attempts(invoice) == [("charge", "succeeded", None, None)]


async def test_a_debit_is_on_its_way_for_days_and_paid_when_the_bank_says_so(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(iban=IBAN), 1786)
    await till.collect(invoice)
    assert (await till.payment(invoice))["status"] == "processing"
    await till.collect(invoice, at_once=True)
    till.let_pass(days=6)
    till.fake.settle_sepa()
    await till.hear()
    assert (await till.payment(invoice))["status"] == "paid"
    assert till.charged(invoice) == [1786]


@pytest.mark.parametrize("kind", ["timeout_before_write", "timeout_after_write", "rate_limit"])
async def test_a_lost_answer_is_asked_for_again_with_the_same_key(till: Till, kind: str) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    till.fake.fault(kind, "POST /v1/payment_intents$")
    await till.collect(invoice)
    assert (await till.payment(invoice))["status"] == "processing"
    assert (await till.attempts(invoice))[0][1] == "unknown"
    till.let_pass(minutes=2)
    await till.collect(invoice)
    assert (await till.payment(invoice))["status"] == "paid"
    assert till.charged(invoice) == [1786]
    assert len(await till.attempts(invoice)) == 1


async def test_two_workers_at_once_send_one_key_and_charge_once(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    till.fake.fault("slow_in_flight", "POST /v1/payment_intents$")
    await asyncio.gather(till.collect(invoice), till.collect(invoice, at_once=True))
    till.let_pass(minutes=2)
    await till.collect(invoice)
    assert (await till.payment(invoice))["status"] == "paid"
    assert till.charged(invoice) == [1786]
    assert len(await till.attempts(invoice)) == 1


@pytest.mark.parametrize("kind", ["error_500_before", "error_500_after"])
async def test_a_stored_error_is_looked_into_before_a_new_key_is_used(till: Till, kind: str) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    till.fake.fault(kind, "POST /v1/payment_intents$")
    for _ in range(3):
        await till.collect(invoice)
        till.let_pass(minutes=1)
    await till.collect(invoice)
    assert (await till.payment(invoice))["status"] == "processing", "nothing is believed for ten minutes"
    till.let_pass(minutes=11)
    await till.collect(invoice)
    await till.collect(invoice)
    assert (await till.payment(invoice))["status"] == "paid"
    assert till.charged(invoice) == [1786]
    outcomes = [attempt[1:3] for attempt in await till.attempts(invoice)]
    lost = [("failed", "not_carried_out")] if kind == "error_500_before" else []
    assert outcomes == [*lost, ("succeeded", None)]


@pytest.mark.parametrize("kind", ["timeout_before_write", "timeout_after_write"])
async def test_what_is_a_day_old_is_looked_for_and_never_sent_again(till: Till, kind: str) -> None:
    """Stripe has forgotten the key by then: the same call would charge a second time."""
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    till.fake.fault(kind, "POST /v1/payment_intents$")
    await till.collect(invoice)
    till.let_pass(hours=25)
    await till.collect(invoice)
    payment = await till.payment(invoice)
    assert payment["status"] == "paid"
    assert till.charged(invoice) == [1786]
    assert len(await till.attempts(invoice)) == (2 if kind == "timeout_before_write" else 1)


async def test_a_key_that_came_with_another_body_is_left_to_people(till: Till) -> None:
    reseller_id = await till.add_payer(card=CARD)
    [first, second] = await till.bill(reseller_id, 1786, 2500)
    await till.collect(first)
    body = (await read(till.database, "select request from payment_attempt"))[0][0]
    other = ChargeRequest(**{**body, "invoice_id": "inv_other", "payment_id": "pay_other", "amount_cents": 777})
    await till.gateway.charge(other, key=f"inv-{second}-pi-1")
    await till.collect(second)
    payment = await till.payment(second)
    assert (payment["status"], payment["next_attempt_at"]) == ("processing", None)
    assert await till.attempts(second) == [("charge", "unknown", "idempotency_error", None)]
    till.let_pass(minutes=5)
    await till.collect(second)
    till.let_pass(minutes=30)
    await till.reconcile()
    assert len(await till.attempts(second)) == 1
    assert till.charged(second) == []
    async with till.database.as_system() as session:
        await release(session, await lock_payment(session, payment["id"]), now=till.now)
    await till.collect(second)
    assert till.charged(second) == [2500]


async def card_of(till: Till) -> str:
    return str((await read(till.database, "select provider_id from payment_method"))[0][0])


async def test_a_soft_decline_is_tried_again_on_other_days_and_then_left(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    till.fake.set_card(await card_of(till), "insufficient_funds")
    for attempts, days in enumerate((3, 5, 7), start=1):
        await till.collect(invoice)
        payment = await till.payment(invoice)
        assert (payment["status"], payment["error_code"]) == ("open", "insufficient_funds")
        assert payment["next_attempt_at"] == till.now + timedelta(days=days)
        assert len(await till.attempts(invoice)) == attempts
        till.let_pass(days=days)
    await till.collect(invoice)
    payment = await till.payment(invoice)
    assert (payment["status"], payment["next_attempt_at"]) == ("failed", None)
    intents = till.fake.snapshot()["payment_intent"]
    assert len(intents) == 1, "one PaymentIntent for the invoice's whole life"


async def test_a_hard_decline_waits_for_another_card_and_takes_the_same_intent(till: Till) -> None:
    reseller_id = await till.add_payer(card=CARD)
    [invoice] = await till.bill(reseller_id, 1786)
    till.fake.set_card(await card_of(till), "lost_card")
    await till.collect(invoice)
    payment = await till.payment(invoice)
    assert (payment["status"], payment["error_code"], payment["next_attempt_at"]) == ("failed", "lost_card", None)
    customer = (await read(till.database, "select provider_id from payment_customer"))[0][0]
    await till.set_up(customer, card="5555555555554444")
    await till.collect(invoice)
    assert (await till.payment(invoice))["status"] == "paid"
    assert len(till.fake.snapshot()["payment_intent"]) == 1
    assert till.charged(invoice) == [1786]


async def test_a_card_that_wants_its_holder_leads_to_a_page_for_them(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(card="4000002760003184"), 1786)
    await till.collect(invoice)
    payment = await till.payment(invoice)
    assert payment["status"] == "requires_action"
    assert payment["action_url"].startswith("http")
    await till.collect(invoice, at_once=True)
    assert [attempt[1] for attempt in await till.attempts(invoice)] == ["failed", "processing"]
    till.fake.authenticate(payment["provider_id"])
    await till.hear()
    payment = await till.payment(invoice)
    assert (payment["status"], payment["action_url"]) == ("paid", None)
    assert till.charged(invoice) == [1786]


async def test_a_holder_who_does_not_confirm_is_asked_again_another_day(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(card="4000002760003184"), 1786)
    await till.collect(invoice)
    till.fake.authenticate((await till.payment(invoice))["provider_id"], succeeded=False)
    await till.hear()
    payment = await till.payment(invoice)
    assert payment["status"] == "open"
    assert payment["next_attempt_at"] > till.now
    assert till.charged(invoice) == []


async def test_a_method_that_was_detached_is_not_used_again(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    await till.gateway.detach_method(await card_of(till))
    await till.collect(invoice)
    payment = await till.payment(invoice)
    assert (payment["status"], payment["next_attempt_at"]) == ("failed", None)
    methods = await read(till.database, "select is_default, disabled_at is null from payment_method")
    assert methods == [(False, False)]
    await till.hear()
    assert await read(till.database, "select problem from stripe_event where problem is not null") == []


async def test_a_mandate_that_was_withdrawn_ends_its_method(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(iban=IBAN), 1786)
    mandate = (await read(till.database, "select mandate_id from payment_method"))[0][0]
    till.fake.set_mandate(mandate, "inactive")
    await till.collect(invoice)
    await till.hear()
    assert (await till.payment(invoice))["status"] == "failed"
    assert await read(till.database, "select mandate_status, is_default from payment_method") == [("inactive", False)]


async def test_what_is_too_small_to_charge_goes_with_the_next_invoice(till: Till) -> None:
    reseller_id = await till.add_payer(card=CARD)
    [small] = await till.bill(reseller_id, 30)
    await till.collect(small)
    assert (await till.payment(small))["status"] == "open"
    assert till.charged(small) == []
    [large] = await till.bill(reseller_id, 1786)
    await till.collect(large)
    assert till.charged(large) == [1816]
    assert [(await till.payment(each))["status"] for each in (small, large)] == ["paid", "paid"]
    assert await till.entries(small) == [("carry_over", 30)]
    assert await till.balance(reseller_id) == 0


async def test_small_ones_are_charged_together_once_they_are_enough(till: Till) -> None:
    reseller_id = await till.add_payer(card=CARD)
    [first] = await till.bill(reseller_id, 30)
    await till.collect(first)
    [second] = await till.bill(reseller_id, 25)
    await till.collect(second)
    assert till.charged(second) == [55]
    assert [(await till.payment(each))["due"] for each in (first, second)] == [0, 0]


async def test_a_debit_without_cover_is_made_again_and_a_closed_account_is_not(till: Till) -> None:
    [one, two] = await till.bill(await till.add_payer(iban=IBAN), 1786, 2500)
    for invoice, code in ((one, "insufficient_funds"), (two, "account_closed")):
        await till.collect(invoice)
        till.let_pass(days=4)
        till.fake.fail_sepa((await till.payment(invoice))["provider_id"], code)
        await till.hear()
    payment = await till.payment(one)
    assert payment["status"] == "open"
    assert payment["next_attempt_at"] == till.now - timedelta(days=4) + timedelta(days=3)
    assert (await till.payment(two))["status"] == "failed"
    assert await read(till.database, "select is_default from payment_method") == [(False,)]


async def test_a_debit_that_was_paid_and_comes_back_opens_the_invoice_with_the_banks_fee(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(iban=IBAN), 1786)
    await till.collect(invoice)
    till.let_pass(days=6)
    till.fake.settle_sepa()
    await till.hear()
    assert (await till.payment(invoice))["status"] == "paid"
    till.let_pass(days=50)
    till.fake.dispute((await till.payment(invoice))["provider_id"])
    await till.hear()
    payment = await till.payment(invoice)
    assert (payment["status"], payment["due"]) == ("open", 1786 + 350)
    assert await till.entries(invoice) == [("receipt", 1786), ("chargeback", -1786), ("fee", -350)]
    assert await read(till.database, "select is_default, disabled_at is null from payment_method") == [(False, False)]
    await till.collect(invoice, at_once=True)
    assert len(await till.attempts(invoice)) == 1, "a PaymentIntent that has succeeded is spent"


@pytest.mark.parametrize(("outcome", "status", "due"), [("won", "paid", 0), ("lost", "open", 1786 + 350)])
async def test_a_disputed_card_waits_for_the_bank(till: Till, outcome: str, status: str, due: int) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    await till.collect(invoice)
    dispute = till.fake.dispute((await till.payment(invoice))["provider_id"])
    await till.hear()
    assert ((await till.payment(invoice))["status"], (await till.payment(invoice))["due"]) == ("disputed", 1786)
    till.fake.close_dispute(dispute["id"], outcome)
    await till.hear()
    assert ((await till.payment(invoice))["status"], (await till.payment(invoice))["due"]) == (status, due)


async def test_what_came_by_transfer_meanwhile_is_not_charged(till: Till) -> None:
    reseller_id = await till.add_payer(card=CARD)
    [invoice] = await till.bill(reseller_id, 1786)
    till.fake.set_card(await card_of(till), "insufficient_funds")
    await till.collect(invoice)
    await receive(till, invoice, 786)
    till.fake.set_card(await card_of(till), "ok")
    till.let_pass(days=3)
    await till.collect(invoice)
    assert till.charged(invoice) == [1000]
    assert (await till.payment(invoice))["status"] == "paid"


async def test_what_was_paid_too_much_pays_the_next_invoice(till: Till) -> None:
    reseller_id = await till.add_payer(card=CARD)
    [first] = await till.bill(reseller_id, 1786)
    await receive(till, first, 2000)
    assert await till.balance(reseller_id) == 214
    [second] = await till.bill(reseller_id, 1000)
    assert await till.balance(reseller_id) == 0
    await till.collect(second)
    assert till.charged(second) == [786]


async def test_an_invoice_over_nothing_is_paid_and_a_negative_one_is_credit(till: Till) -> None:
    reseller_id = await till.add_payer(card=CARD)
    [nothing, negative] = await till.bill(reseller_id, 0, -500)
    for invoice in (nothing, negative):
        await till.collect(invoice)
        assert ((await till.payment(invoice))["status"], (await till.payment(invoice))["due"]) == ("paid", 0)
    assert await till.balance(reseller_id) == 500


async def receive(till: Till, invoice_id: str, amount_cents: int) -> None:
    async with till.database.as_system() as session:
        payment = await lock_payment(session, (await till.payment(invoice_id))["id"])
        day = till.now.date()
        await record_receipt(
            session, payment, amount_cents=amount_cents, received_on=day, reference="cash", now=till.now
        )
