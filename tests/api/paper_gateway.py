"""A payment provider of two answers, for the endpoints that ask one before they write; all else has its own tests."""

from datetime import datetime
from typing import cast

from billing.gateways.base import Event, ForgedWebhook, Gateway


class PaperGateway:
    async def create_customer(self, *, name: str, email: str, reseller_id: str) -> str:
        assert name
        assert "@" in email
        return f"cus_of_{reseller_id}"

    async def create_setup_link(self, customer_id: str, *, return_url: str, key: str) -> str:
        assert return_url
        assert key
        return f"https://checkout.example/{customer_id}"

    def read_webhook(self, body: bytes, signature: str | None, *, now: datetime) -> Event:
        if signature != "signed":
            raise ForgedWebhook("This is not signed.")
        return Event(body.decode(), "payment_intent.succeeded", "pi_paper", now)


def paper_gateway() -> Gateway:
    """It does not pretend to the rest of the protocol: whoever asks for that gets an AttributeError."""
    return cast(Gateway, PaperGateway())
