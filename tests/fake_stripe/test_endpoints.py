"""Every endpoint answers, in the official shape: the fixture looks at each body that was sent."""

from collections.abc import Awaitable, Callable
from typing import Any

from tests.fake_stripe.endpoints import ENDPOINTS
from tests.fake_stripe.shop import GOOD_IBAN, SDK_WARNS, Shop

pytestmark = SDK_WARNS


async def test_every_endpoint_answers_the_sdk_and_takes_its_options(shop: Shop) -> None:
    v1 = shop.v1
    customer, card = await shop.saved()
    debited, account = await shop.saved(iban=GOOD_IBAN)
    session = await shop.session(customer)
    setup = (await v1.setup_intents.list_async({"customer": debited})).data[0]
    paid = await shop.charge(customer, card)
    debit = await shop.charge(debited, account)
    shop.fake.settle_sepa(debit.id)
    refund = await v1.refunds.create_async({"payment_intent": paid.id, "amount": 1})
    dispute = shop.fake.dispute(debit.id, "debit_not_authorized")
    open_intent: dict[str, Any] = {"amount": 500, "currency": "eur", "customer": customer}
    first, second = [(await v1.payment_intents.create_async(open_intent)).id for _ in range(2)]
    event = (await v1.events.list_async({"limit": 1})).data[0]
    both = {"expand": ["data.customer", "data.latest_charge.balance_transaction"], "limit": 100}
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "GET /v1/account": v1.accounts.retrieve_current_async,
        "POST /v1/customers": lambda: v1.customers.create_async({"email": "a@example.test", "tax_exempt": "reverse"}),
        "GET /v1/customers/{customer}": lambda: v1.customers.retrieve_async(customer),
        "POST /v1/customers/{customer}": lambda: v1.customers.update_async(customer, {"preferred_locales": ["de"]}),
        "POST /v1/checkout/sessions": lambda: shop.session(customer),
        "GET /v1/checkout/sessions/{session}": lambda: v1.checkout.sessions.retrieve_async(
            session.id, {"expand": ["customer", "setup_intent"]}
        ),
        "POST /v1/checkout/sessions/{session}/expire": lambda: v1.checkout.sessions.expire_async(session.id),
        "GET /v1/setup_intents": lambda: v1.setup_intents.list_async({"expand": ["data.mandate"]}),
        "GET /v1/setup_intents/{intent}": lambda: v1.setup_intents.retrieve_async(
            setup.id, {"expand": ["mandate.payment_method", "customer"]}
        ),
        "GET /v1/payment_methods": lambda: v1.payment_methods.list_async({"customer": debited, "type": "sepa_debit"}),
        "GET /v1/payment_methods/{payment_method}": lambda: v1.payment_methods.retrieve_async(account),
        "POST /v1/payment_methods/{payment_method}/detach": lambda: v1.payment_methods.detach_async(account),
        "GET /v1/mandates/{mandate}": lambda: v1.mandates.retrieve_async(setup.mandate, {"expand": ["payment_method"]}),
        "POST /v1/payment_intents": lambda: v1.payment_intents.create_async(open_intent | {"expand": ["customer"]}),
        "GET /v1/payment_intents": lambda: v1.payment_intents.list_async(both),
        "GET /v1/payment_intents/{intent}": lambda: v1.payment_intents.retrieve_async(
            paid.id, {"expand": ["payment_method", "latest_charge.customer"]}
        ),
        "POST /v1/payment_intents/{intent}": lambda: v1.payment_intents.update_async(
            first, {"receipt_email": "a@b.test"}
        ),
        "POST /v1/payment_intents/{intent}/confirm": lambda: v1.payment_intents.confirm_async(
            first, {"payment_method": card, "off_session": True, "error_on_requires_action": True}
        ),
        "POST /v1/payment_intents/{intent}/cancel": lambda: v1.payment_intents.cancel_async(second),
        "GET /v1/charges": lambda: v1.charges.list_async({"payment_intent": paid.id}),
        "GET /v1/charges/{charge}": lambda: v1.charges.retrieve_async(
            paid.latest_charge, {"expand": ["balance_transaction", "payment_intent.customer"]}
        ),
        "POST /v1/refunds": lambda: v1.refunds.create_async({"charge": paid.latest_charge, "amount": 2}),
        "GET /v1/refunds": lambda: v1.refunds.list_async({"charge": paid.latest_charge}),
        "GET /v1/refunds/{refund}": lambda: v1.refunds.retrieve_async(
            refund.id, {"expand": ["charge", "payment_intent", "balance_transaction"]}
        ),
        "GET /v1/disputes": lambda: v1.disputes.list_async({"charge": debit.latest_charge}),
        "GET /v1/disputes/{dispute}": lambda: v1.disputes.retrieve_async(dispute["id"], {"expand": ["charge"]}),
        "GET /v1/events": lambda: v1.events.list_async({"limit": 100}),
        "GET /v1/events/{id}": lambda: v1.events.retrieve_async(event.id),
        "GET /v1/balance_transactions": lambda: v1.balance_transactions.list_async({"expand": ["data.source"]}),
    }
    assert calls.keys() == ENDPOINTS.keys()
    for name, call in calls.items():
        answer = await call()
        assert answer.last_response.code == 200, name
        if answer.object == "list":
            assert answer.data, f"{name} found nothing"
            assert answer.url == name.partition(" ")[2]
