"""A shop that charges through the fake with the real SDK: what the tests of the fake have in common."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self

import pytest
import stripe

from tests.fake_stripe.client import FakeStripe

KEY = "sk_test_fake_stripe"
GOOD_IBAN = "DE89370400440532013000"
DAY = 86400
# The SDK hands its bodies to httpx in a way that httpx would rather not see.
SDK_WARNS = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@asynccontextmanager
async def sdk(
    url: str, *, key: str = KEY, retries: int = 0, version: str | None = None
) -> AsyncIterator[stripe.StripeClient]:
    http = stripe.HTTPXClient(timeout=20)
    client = stripe.StripeClient(
        key, http_client=http, max_network_retries=retries, base_addresses={"api": url}, stripe_version=version
    )
    try:
        yield client
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]  # the SDK gives it no types


@dataclass
class Shop:
    fake: FakeStripe
    client: stripe.StripeClient

    @property
    def v1(self) -> Any:
        # The SDK's types would refuse the wrong requests that these tests are about.
        return self.client.v1

    async def customer(self) -> str:
        return str((await self.v1.customers.create_async({"name": "Beispiel GmbH"})).id)

    async def session(self, customer: str, /, **params: Any) -> Any:
        wanted = {
            "mode": "setup",
            "customer": customer,
            "currency": "eur",
            "success_url": "https://portal.example.test/done",
            "allowed_payment_method_types": ["card", "sepa_debit"],
        }
        return await self.v1.checkout.sessions.create_async(wanted | params)

    async def saved(self, *, card: str | None = None, iban: str | None = None) -> tuple[str, str]:
        """A new customer and the payment method saved for it."""
        customer = await self.customer()
        session = await self.session(customer)
        self.fake.complete_checkout(session.id, card=card, iban=iban)
        setup = await self.v1.setup_intents.retrieve_async(session.setup_intent)
        return customer, str(setup.payment_method)

    async def charge(
        self, customer: str, method: str, *, amount: int = 1999, key: str | None = None, **params: Any
    ) -> Any:
        """A PaymentIntent that is confirmed when it is made, without the customer."""
        wanted = {
            "amount": amount,
            "currency": "eur",
            "customer": customer,
            "payment_method": method,
            "confirm": True,
            "off_session": True,
            "metadata": {"invoice_id": "inv_1"},
        }
        return await self.v1.payment_intents.create_async(wanted | params, {"idempotency_key": key} if key else {})

    async def status(self, intent: str) -> str:
        return str((await self.v1.payment_intents.retrieve_async(intent)).status)

    def told(self) -> list[str]:
        """The types of all events, oldest first."""
        return [event["type"] for event in self.fake.snapshot().get("event", [])]


class Receiver:
    """Takes webhooks on a port of this machine, in a thread; answers with the statuses it was given, then 200."""

    def __init__(self, *statuses: int) -> None:
        receiver = self
        self.statuses = list(statuses)
        self.received: list[tuple[bytes, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append((body, self.headers["Stripe-Signature"]))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name of http.server
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/stripe"

    def __enter__(self) -> Self:
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
