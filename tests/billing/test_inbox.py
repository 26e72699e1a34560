"""Stripe's events: stored once, handled once, in any order, and found by the poll where no webhook brought them."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import stripe
from sqlalchemy import text

from billing.gateways.base import ChargeRequest, Event, ForgedWebhook
from billing.inbox import handle_event, poll_events, store_events
from tests.billing.ledger_factory import read
from tests.billing.payment_world import CARD, IBAN, SECRET, START, Till
from tests.superuser import rewrite

pytest_plugins = ["tests.billing.payment_fixtures"]
pytestmark = pytest.mark.anyio


async def store(till: Till, *events: Event) -> list[str]:
    async with till.database.as_system() as session:
        return list(await store_events(session, events, now=till.now))


async def handle(till: Till, event_id: str) -> bool:
    return await handle_event(till.database, till.gateway, event_id, now=till.now, policy=till.policy)


def events_of(till: Till, *types: str) -> list[Event]:
    return [
        Event(each["id"], each["type"], each["data"]["object"]["id"], datetime.fromtimestamp(each["created"], UTC))
        for each in till.fake.snapshot()["event"]
        if each["type"] in types
    ]


def signed(body: bytes, *, at: datetime, secret: str = SECRET) -> str:
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, int(at.timestamp()))
    return str(header)


BODY = json.dumps(
    {"id": "evt_1", "type": "payment_intent.succeeded", "created": 1_796_100_000, "data": {"object": {"id": "pi_1"}}}
).encode()


class TestSignature:
    async def test_what_stripe_signed_now_is_read_down_to_what_it_is_about(self, till: Till) -> None:
        event = till.gateway.read_webhook(BODY, signed(BODY, at=START), now=START)
        assert (event.id, event.type, event.object_id) == ("evt_1", "payment_intent.succeeded", "pi_1")

    @pytest.mark.parametrize(
        ("body", "header"),
        [
            (BODY, None),
            (BODY, ""),
            (BODY, "t=,v1="),
            (BODY, "nonsense"),
            (BODY, signed(BODY, at=START, secret="whsec_of_somebody_else")),
            (BODY.replace(b"pi_1", b"pi_2"), signed(BODY, at=START)),
            (BODY, signed(BODY, at=START - timedelta(minutes=6))),
            (BODY, signed(BODY, at=START + timedelta(minutes=6))),
            (b"[]", signed(b"[]", at=START)),
            (b"{}", signed(b"{}", at=START)),
            (b"\xff\xfe", signed(BODY, at=START)),
        ],
    )
    async def test_what_is_forged_old_of_the_future_or_no_event_is_refused(
        self, till: Till, body: bytes, header: str | None
    ) -> None:
        with pytest.raises(ForgedWebhook):
            till.gateway.read_webhook(body, header, now=START)

    async def test_while_the_secret_is_changed_both_are_good(self, till: Till) -> None:
        other = signed(BODY, at=START, secret="whsec_the_next_one").partition(",")[2]
        assert till.gateway.read_webhook(BODY, f"{signed(BODY, at=START)},{other}", now=START).id == "evt_1"


async def test_an_event_is_stored_once_and_handled_once(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    await till.collect(invoice)
    [event] = events_of(till, "payment_intent.succeeded")
    assert await store(till, event, event) == [event.id]
    assert await store(till, event) == []
    assert await handle(till, event.id)
    assert await handle(till, event.id)
    assert await till.entries(invoice) == [("receipt", 1786)]


async def test_an_event_says_nothing_that_is_believed(till: Till) -> None:
    """A payload may lie or be old: only what the object is when it is fetched counts."""
    [invoice] = await till.bill(await till.add_payer(iban=IBAN), 1786)
    await till.collect(invoice)
    intent = (await till.payment(invoice))["provider_id"]
    await store(till, Event("evt_lie", "payment_intent.succeeded", intent, till.now))
    assert await handle(till, "evt_lie")
    assert (await till.payment(invoice))["status"] == "processing"
    assert await till.entries(invoice) == []


async def test_an_event_that_is_faster_than_the_answer_settles_and_the_answer_adds_nothing(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    till.fake.fault("timeout_after_write", "POST /v1/payment_intents$")
    await till.collect(invoice)
    await till.hear()
    assert (await till.payment(invoice))["status"] == "paid"
    till.let_pass(minutes=2)
    await till.collect(invoice, at_once=True)
    assert await till.entries(invoice) == [("receipt", 1786)]
    assert await till.attempts(invoice) == [("charge", "succeeded", None, None)]


async def test_an_event_about_what_is_not_there_yet_waits_and_is_handled_then(till: Till) -> None:
    """As when a webhook overtakes the transaction that makes its row."""
    customer = await till.gateway.create_customer(name="Späth", email="a@spaeth.example", reseller_id="res_later")
    await till.set_up(customer, card=CARD)
    rows = await read(till.database, "select problem, handled_at from stripe_event where type like 'setup%'")
    assert rows == [("its customer is not known", None)]
    reseller_id = await till.add_payer()
    await execute(till, "insert into payment_customer values (:reseller_id, :customer, now())", reseller_id, customer)
    till.let_pass(hours=1)
    assert await till.hear() == 0
    assert await read(till.database, "select kind, is_default from payment_method") == [("card", True)]


async def test_a_charge_whose_payment_is_not_committed_yet_is_booked_once_it_is(till: Till) -> None:
    reseller_id = await till.add_payer(card=CARD)
    [first] = await till.bill(reseller_id, 1000)
    await till.collect(first)
    body = (await read(till.database, "select request from payment_attempt"))[0][0]
    later = ChargeRequest(**{**body, "payment_id": "pay_later", "invoice_id": "inv_later", "amount_cents": 1786})
    intent = await till.gateway.charge(later, key="later")
    await store(till, Event("evt_early", "payment_intent.succeeded", intent.id, till.now))
    assert not await handle(till, "evt_early")
    [second] = await till.bill(reseller_id, 1786)
    await rewrite(
        till.database, "update payment set id = 'pay_later' where invoice_id = %(invoice_id)s", invoice_id=second
    )
    till.let_pass(minutes=5)
    assert await handle(till, "evt_early")
    assert ((await till.payment(second))["status"], await till.entries(second)) == ("paid", [("receipt", 1786)])


async def test_what_nobody_ever_knows_is_given_up_after_three_days(till: Till) -> None:
    await store(till, Event("evt_lost", "payment_intent.succeeded", "pi_of_nobody", till.now))
    for _ in range(3):
        assert not await handle(till, "evt_lost")
        till.let_pass(days=1)
    assert not await handle(till, "evt_lost")
    [row] = await read(till.database, "select handled_at is not null, problem from stripe_event")
    assert row == (True, "unknown at Stripe")


async def test_what_belongs_to_another_business_in_the_same_account_is_left_alone(till: Till) -> None:
    client = stripe.StripeClient("sk_test_another0123456789", base_addresses={"api": till.fake.url})
    intent = client.v1.payment_intents.create({"amount": 700, "currency": "eur"})
    await store(till, Event("evt_other", "payment_intent.succeeded", intent.id, till.now))
    assert await handle(till, "evt_other")
    assert await read(till.database, "select * from payment_entry") == []


@pytest.mark.parametrize("outcome", ["won", "lost"])
async def test_the_end_of_a_dispute_may_be_heard_of_before_its_beginning(till: Till, outcome: str) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    await till.collect(invoice)
    dispute = till.fake.dispute((await till.payment(invoice))["provider_id"])
    till.fake.close_dispute(dispute["id"], outcome)
    events = events_of(till, "charge.dispute.created", "charge.dispute.closed", "charge.dispute.funds_withdrawn")
    for event in reversed(events):
        await store(till, event)
        assert await handle(till, event.id)
    payment = await till.payment(invoice)
    expected = ("paid", 0) if outcome == "won" else ("open", 1786 + till.policy.return_fee_cents)
    assert (payment["status"], payment["due"]) == expected


async def test_the_poll_reads_again_what_may_have_come_late_and_only_moves_forward(till: Till) -> None:
    reseller_id = await till.add_payer(card=CARD)
    [first] = await till.bill(reseller_id, 1786)
    await till.collect(first)
    assert await poll_events(till.database, till.gateway, now=till.now) > 0
    assert await poll_events(till.database, till.gateway, now=till.now) == 0
    [before] = await read(till.database, "select watermark_at from event_poll")
    till.let_pass(hours=5)
    [second] = await till.bill(reseller_id, 900)
    await till.collect(second)
    assert await poll_events(till.database, till.gateway, now=till.now) > 0
    [after] = await read(till.database, "select watermark_at from event_poll")
    assert after > before
    await poll_events(till.database, till.gateway, now=till.now, since=till.now - timedelta(days=1))
    assert [after] == await read(till.database, "select watermark_at from event_poll")


async def test_more_events_than_a_page_holds_are_read_to_the_last(till: Till) -> None:
    reseller_id = await till.add_payer(card=CARD)
    invoices = await till.bill(reseller_id, *[1000] * 60)
    for invoice in invoices:
        await till.collect(invoice)
    assert await poll_events(till.database, till.gateway, now=till.now, since=START - timedelta(days=1)) >= 60
    known = {row[0] for row in await read(till.database, "select id from stripe_event")}
    assert {event.id for event in events_of(till, "payment_intent.succeeded")} <= known


async def test_a_refund_made_at_stripe_itself_is_booked_and_the_invoice_owed_again(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    await till.collect(invoice)
    client = stripe.StripeClient("sk_test_0123456789abcdef", base_addresses={"api": till.fake.url})
    client.v1.refunds.create({"payment_intent": (await till.payment(invoice))["provider_id"], "amount": 500})
    await till.hear()
    payment = await till.payment(invoice)
    assert (payment["status"], payment["due"]) == ("open", 500)


async def test_after_a_restore_what_was_charged_since_is_read_back_before_it_is_charged_again(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    await till.collect(invoice)
    await rewrite(
        till.database,
        *("delete from payment_entry", "delete from payment_attempt", "delete from stripe_event"),
        *(
            "delete from event_poll",
            "update payment set status = 'open', provider_id = null, next_attempt_at = %(now)s",
        ),
        now=till.now,
    )
    till.let_pass(days=2)
    await till.reconcile(since=till.now - timedelta(days=3))
    await till.collect(invoice, at_once=True)
    assert (await till.payment(invoice))["status"] == "paid"
    assert till.charged(invoice) == [1786]


async def execute(till: Till, sql: str, reseller_id: str, customer: str) -> None:
    async with till.database.as_system() as session:
        await session.execute(text(sql), {"reseller_id": reseller_id, "customer": customer})
