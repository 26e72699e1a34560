"""Money that goes back: for a credit note, once, and never more than came in."""

from datetime import timedelta

import pytest

from billing.attempts import CollectionPolicy
from billing.payments import credit_payment, request_refund, retry, write_off
from billing.settlement import lock_payment
from provisioning.core.errors import Conflict
from provisioning.core.ids import new_id
from tests.billing.payment_world import CARD, IBAN, Till

pytest_plugins = ["tests.billing.payment_fixtures"]
pytestmark = pytest.mark.anyio


async def paid(till: Till, amount: int = 1786, **payer: str) -> str:
    [invoice] = await till.bill(await till.add_payer(**payer or {"card": CARD}), amount)
    await till.collect(invoice)
    return invoice


async def refund(till: Till, invoice: str, amount: int, *, credit_note_id: str | None = None) -> None:
    async with till.database.as_system() as session:
        payment = await lock_payment(session, (await till.payment(invoice))["id"])
        await request_refund(
            session, payment, credit_note_id=credit_note_id or new_id("inv"), amount_cents=amount, now=till.now
        )


async def credit(till: Till, invoice: str, amount: int, credit_note_id: str) -> None:
    async with till.database.as_system() as session:
        payment = await lock_payment(session, (await till.payment(invoice))["id"])
        await credit_payment(session, payment, credit_note_id=credit_note_id, amount_cents=amount, now=till.now)


def refunded(till: Till) -> list[int]:
    return [each["amount"] for each in till.fake.snapshot().get("refund", []) if each["status"] == "succeeded"]


async def test_a_credit_note_is_refunded_once_and_the_invoice_stays_paid(till: Till) -> None:
    invoice, note = await paid(till), new_id("inv")
    await refund(till, invoice, 500, credit_note_id=note)
    await till.collect(invoice)
    await till.hear()
    payment = await till.payment(invoice)
    assert (payment["status"], payment["due"]) == ("paid", 0)
    assert await till.entries(invoice) == [("receipt", 1786), ("credit_note", 500), ("refund", -500)]
    assert refunded(till) == [500]
    with pytest.raises(Conflict) as refusal:
        await refund(till, invoice, 500, credit_note_id=note)
    assert refusal.value.code == "refund_requested"


async def test_no_more_is_refunded_than_was_received(till: Till) -> None:
    invoice = await paid(till)
    for amount, code in ((1787, "refund_exceeds_receipts"), (99_999, "refund_exceeds_receipts")):
        with pytest.raises(Conflict) as refusal:
            await refund(till, invoice, amount)
        assert refusal.value.code == code
    await refund(till, invoice, 1000)
    with pytest.raises(Conflict) as refusal:
        await refund(till, invoice, 787)
    assert refusal.value.code == "refund_exceeds_receipts", "what is on its way back counts as gone"
    await till.collect(invoice)
    with pytest.raises(Conflict):
        await refund(till, invoice, 787)
    await refund(till, invoice, 786)
    await till.collect(invoice)
    assert sorted(refunded(till)) == [786, 1000]


async def test_what_was_not_received_through_stripe_is_not_refunded_there(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(), 1786)
    with pytest.raises(Conflict) as refusal:
        await refund(till, invoice, 100)
    assert refusal.value.code == "refund_exceeds_receipts"


@pytest.mark.parametrize("kind", ["timeout_before_write", "timeout_after_write"])
async def test_a_refund_whose_answer_is_lost_is_made_once(till: Till, kind: str) -> None:
    invoice = await paid(till)
    await refund(till, invoice, 500)
    till.fake.fault(kind, "POST /v1/refunds$")
    await till.collect(invoice)
    assert (await till.attempts(invoice))[1][:2] == ("refund", "unknown")
    till.let_pass(minutes=2)
    await till.collect(invoice)
    assert refunded(till) == [500]
    assert (await till.payment(invoice))["due"] == 0


@pytest.mark.parametrize(("kind", "made"), [("timeout_before_write", []), ("timeout_after_write", [500])])
async def test_a_refund_that_is_a_day_old_is_only_looked_for(till: Till, kind: str, made: list[int]) -> None:
    invoice = await paid(till)
    reseller_id = (await till.payment(invoice))["reseller_id"]
    await refund(till, invoice, 500)
    till.fake.fault(kind, "POST /v1/refunds$")
    await till.collect(invoice)
    till.let_pass(hours=25)
    await till.collect(invoice)
    assert refunded(till) == made
    assert (await till.payment(invoice))["due"] == 0
    assert await till.balance(reseller_id) == 500 - sum(made), "what could not go back stays the reseller's credit"


async def test_a_refund_that_the_bank_returns_becomes_credit(till: Till) -> None:
    invoice = await paid(till)
    await refund(till, invoice, 500)
    await till.collect(invoice)
    till.fake.fail_refund(till.fake.snapshot()["refund"][0]["id"])
    await till.hear()
    payment = await till.payment(invoice)
    assert (payment["status"], payment["due"]) == ("paid", 0)
    assert await till.balance(payment["reseller_id"]) == 500


async def test_nothing_is_refunded_while_the_bank_decides(till: Till) -> None:
    invoice = await paid(till)
    till.fake.dispute((await till.payment(invoice))["provider_id"])
    await till.hear()
    with pytest.raises(Conflict) as refusal:
        await refund(till, invoice, 500)
    assert refusal.value.code == "payment_disputed"


async def test_a_refund_and_then_a_dispute_take_no_more_than_there_was(till: Till) -> None:
    """A payer may go to the bank even after a refund."""
    till.policy = CollectionPolicy()
    invoice = await paid(till, iban=IBAN)
    till.let_pass(days=6)
    till.fake.settle_sepa()
    await till.hear()
    await refund(till, invoice, 500)
    await till.collect(invoice)
    till.fake.dispute((await till.payment(invoice))["provider_id"])
    await till.hear()
    entries = await till.entries(invoice)
    payment = await till.payment(invoice)
    assert payment["status"] == "open"
    assert payment["due"] == -sum(cents for kind, cents in entries if kind == "chargeback")
    with pytest.raises(Conflict):
        await refund(till, invoice, 1)


async def test_a_credit_note_over_an_unpaid_invoice_leaves_the_rest_to_collect(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    await credit(till, invoice, 786, new_id("inv"))
    await till.collect(invoice)
    assert till.charged(invoice) == [1000]
    assert (await till.payment(invoice))["status"] == "paid"


async def test_an_invoice_that_is_credited_in_full_is_cancelled_and_not_charged(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    note = new_id("inv")
    for _ in range(2):
        await credit(till, invoice, 1786, note)
    with pytest.raises(Conflict) as refusal:
        await credit(till, invoice, 1, new_id("inv"))
    assert refusal.value.code == "credit_exceeds_invoice"
    await till.collect(invoice, at_once=True)
    payment = await till.payment(invoice)
    assert (payment["status"], payment["due"], payment["next_attempt_at"]) == ("cancelled", 0, None)
    assert till.fake.snapshot().get("payment_intent", []) == []


async def test_a_credit_note_for_what_is_paid_is_credit_until_it_is_refunded(till: Till) -> None:
    invoice, note = await paid(till), new_id("inv")
    reseller_id = (await till.payment(invoice))["reseller_id"]
    await credit(till, invoice, 500, note)
    assert await till.balance(reseller_id) == 500
    with pytest.raises(Conflict) as refusal:
        await refund(till, invoice, 600, credit_note_id=note)
    assert refusal.value.code == "credit_note_booked"
    await refund(till, invoice, 500, credit_note_id=note)
    assert await till.balance(reseller_id) == 0
    await till.collect(invoice)
    assert refunded(till) == [500]


async def test_what_is_given_up_is_uncollectible_and_what_comes_after_all_is_credit(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(), 1786)
    async with till.database.as_system() as session:
        payment = await lock_payment(session, (await till.payment(invoice))["id"])
        await write_off(session, payment, now=till.now)
    assert (await till.payment(invoice))["status"] == "uncollectible"
    async with till.database.as_system() as session:
        payment = await lock_payment(session, (await till.payment(invoice))["id"])
        with pytest.raises(Conflict) as refusal:
            await retry(session, payment, now=till.now + timedelta(days=1))
    assert refusal.value.code == "payment_not_open"
