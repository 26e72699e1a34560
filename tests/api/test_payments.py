"""From the link for a card to the refund: over REST, with the worker, against the fake Stripe and its webhooks."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import httpx
import pytest

from api.context import Context
from api.worker import Schedules, create_jobs, worker_beside
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from provisioning.keys import OPERATOR_SCOPES, RESELLER_SCOPES, create_key
from tests.api.conftest import ISSUER, PEPPER
from tests.api.loopback import serving
from tests.billing.payment_world import CARD, SECRET, START, Till, open_gateway
from tests.waiting import until

pytest_plugins = ["tests.billing.payment_fixtures"]

EVERY_SECOND = Schedules(
    sweep="* * * * * *", billing="0 0 1 1 *", collection="* * * * * *", events="0 0 1 1 *", housekeeping="0 0 1 1 *"
)
PATIENCE_SECONDS = 60


@pytest.fixture
def url(till: Till, fresh_url: str) -> Iterator[str]:
    """The API with a worker beside it; it opens its gateway in the loop that it runs in."""
    context = Context(Database(fresh_url), TestClock(START), PEPPER, cast(Any, None), ISSUER)
    gateway = open_gateway(till.fake)
    context.gateway = gateway

    @asynccontextmanager
    async def beside() -> AsyncIterator[None]:
        async with worker_beside(create_jobs(context, {}, schedules=EVERY_SECOND), concurrency=4):
            yield
        await gateway.close()

    with serving(context, beside=beside) as url:
        till.fake.webhook_endpoint(f"{url}/v1/webhooks/stripe", SECRET)
        yield url


async def client_of(till: Till, url: str, reseller_id: str | None) -> httpx.Client:
    scopes = OPERATOR_SCOPES if reseller_id is None else RESELLER_SCOPES
    async with till.database.as_system() as session:
        new = await create_key(
            session, reseller_id, name="test", scopes=scopes, expires_at=None, pepper=PEPPER, now=START
        )
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {new.secret}"}, timeout=30)


def get(client: httpx.Client, path: str) -> Any:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(client: httpx.Client, path: str, body: Any = None, *, expect: int) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == expect, answer.text
    return answer.json()


def enter_card(till: Till, link: str) -> None:
    [session] = [each for each in till.fake.snapshot()["checkout.session"] if each["url"] == link]
    till.fake.complete_checkout(session["id"], card=CARD)


async def test_a_reseller_enters_a_card_is_charged_and_gets_money_back(till: Till, url: str) -> None:
    reseller_id = await till.add_payer()
    reseller, operator = await client_of(till, url, reseller_id), await client_of(till, url, None)
    link = post(reseller, "/v1/payment-setup-links", expect=201)["url"]
    await asyncio.to_thread(enter_card, till, link)
    sent = await asyncio.to_thread(partial(till.fake.deliver_webhooks, duplicates=1))
    assert {each["status"] for each in sent} == {204}
    until(lambda: get(reseller, "/v1/payment-methods")["items"], PATIENCE_SECONDS)
    [method] = get(reseller, "/v1/payment-methods")["items"]
    assert (method["kind"], method["last4"], method["is_default"]) == ("card", "4242", True)

    [invoice] = await till.bill(reseller_id, 1786)
    [payment] = get(reseller, f"/v1/payments?invoice_id={invoice}")["items"]
    path = f"/v1/payments/{payment['id']}"
    until(lambda: get(reseller, path)["status"] == "paid", PATIENCE_SECONDS)
    assert till.charged(invoice) == [1786]
    assert reseller.post(f"{path}/retry").json()["code"] == "payment_not_open"

    [other_invoice] = await till.bill(reseller_id, 2000)
    wanted = {"amount_cents": 500, "credit_note_id": await till.credit_note(invoice, 500)}
    assert reseller.post(f"{path}/refunds", json=wanted).status_code == 403
    too_much = operator.post(f"{path}/refunds", json={**wanted, "amount_cents": 1787})
    assert (too_much.status_code, too_much.json()["code"]) == (409, "refund_exceeds_receipts")
    for credit_note_id in (new_id("crn"), await till.credit_note(other_invoice, 500)):
        stray = operator.post(f"{path}/refunds", json={**wanted, "credit_note_id": credit_note_id})
        assert (stray.status_code, stray.json()["code"]) == (409, "unknown_credit_note")
    post(operator, f"{path}/refunds", wanted, expect=202)
    until(lambda: len(get(reseller, path)["entries"]) == 3, PATIENCE_SECONDS)
    shown = get(reseller, path)
    assert [(each["kind"], each["amount_cents"]) for each in shown["entries"]] == [
        ("receipt", 1786),
        ("credit_note", 500),
        ("refund", -500),
    ]
    assert (shown["status"], shown["due_cents"]) == ("paid", 0)

    assert reseller.delete(f"/v1/payment-methods/{method['id']}").json()["disabled_reason"] == "detached"
    until(lambda: till.fake.snapshot()["payment_method"][0]["customer"] is None, PATIENCE_SECONDS)
    reseller.close()
    operator.close()


async def test_a_webhook_that_is_forged_or_too_large_changes_nothing(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        headers = {"Stripe-Signature": "t=1,v1=0"}
        forged = await client.post("/v1/webhooks/stripe", content=b'{"id": "evt_1"}', headers=headers)
        assert (forged.status_code, forged.json()["code"]) == (403, "forged_webhook")
        assert (await client.post("/v1/webhooks/stripe")).status_code == 403
        assert (await client.post("/v1/webhooks/stripe", content=b" " * 600_000)).status_code == 422
