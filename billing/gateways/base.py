"""What a payment provider can do, in calls that may be repeated with the same key, and the two words it may raise.

    GatewayException
      +- TryAgain        busy, away, or the answer was lost: whether the call was carried out is unknown; ask again
      +- GatewayError    refused; `code` says why, `intent` is how things stand after it where the provider said so

Amounts are whole cents of EUR. What a call returns is the provider's object as it stands now, cut down to what
collection needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol


class IntentStatus(StrEnum):
    """The states of a PaymentIntent, by Stripe's words."""

    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    REQUIRES_ACTION = "requires_action"
    REQUIRES_CAPTURE = "requires_capture"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class Intent:
    """One PaymentIntent. `charge_id` is its newest charge, `error_code` and `decline_code` why that one failed.

    `payment_id` and `attempt_id` are ours, from its metadata; None in one that is not ours.
    """

    id: str
    status: IntentStatus
    amount_cents: int
    received_cents: int
    charge_id: str | None
    error_code: str | None
    decline_code: str | None
    action_url: str | None
    customer_id: str | None
    payment_id: str | None
    attempt_id: str | None


@dataclass(frozen=True, slots=True)
class Method:
    """A card or an account as it is kept at the provider, with the mandate for the latter."""

    id: str
    kind: str
    last4: str | None
    customer_id: str | None
    mandate_id: str | None = None
    mandate_reference: str | None = None
    mandate_url: str | None = None
    mandate_status: str | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """What came of a setup link: `method` once it is done."""

    id: str
    status: str
    customer_id: str | None
    method: Method | None


@dataclass(frozen=True, slots=True)
class Refund:
    """`status` is pending, requires_action, succeeded, failed or canceled; `attempt_id` is ours."""

    id: str
    status: str
    amount_cents: int
    intent_id: str | None
    attempt_id: str | None


@dataclass(frozen=True, slots=True)
class Dispute:
    """`status` is one of Stripe's: warning_*, needs_response, under_review, won, lost, prevented."""

    id: str
    status: str
    amount_cents: int
    intent_id: str | None
    charge_id: str


@dataclass(frozen=True, slots=True)
class Event:
    """A hint that something happened to an object; the object itself is fetched."""

    id: str
    type: str
    object_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """The body of one charge. `intent_id` None makes the PaymentIntent, else the one there is tries once more.

    `off_session` False is a retry with the customer present, who is sent to `return_url` afterwards. `debit_on` is
    the day a SEPA debit is to be made, where the provider is told one.
    """

    payment_id: str
    attempt_id: str
    invoice_id: str
    number: str
    amount_cents: int
    customer_id: str
    method_id: str
    kind: str
    intent_id: str | None = None
    off_session: bool = True
    return_url: str | None = None
    debit_on: date | None = None


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """The body of one refund of what a PaymentIntent has brought in."""

    intent_id: str
    amount_cents: int
    attempt_id: str
    credit_note_id: str


class GatewayException(Exception):
    """The base of what a gateway may raise."""


class TryAgain(GatewayException):
    """No answer that says what became of the call; the same call with the same key finds out.

    `answered` tells a stored error of the provider, which the same key will always get again, from no answer at all.
    """

    def __init__(self, reason: str, *, seconds: float = 30.0, answered: bool = False) -> None:
        super().__init__(reason)
        self.seconds = seconds
        self.answered = answered


class GatewayError(GatewayException):
    """The provider refused, and will again. Codes are its own, such as card_declined or amount_too_small."""

    def __init__(
        self, reason: str, *, code: str, decline_code: str | None = None, intent: Intent | None = None
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.decline_code = decline_code
        self.intent = intent


NOT_FOUND = "resource_missing"
METHOD_UNUSABLE = "payment_method_unusable"
"""It was detached, belongs to somebody else, or never was: refused without a code of the provider's own."""
KEY_REUSED = "idempotency_error"
"""The same key came with another body: a fault of ours that is for people to look at, never for a new key."""
BELOW_MINIMUM = "amount_too_small"

MINIMUM_CENTS = 50
"""What is charged at least; less waits for the next charge."""
DEBIT_DAYS = range(3, 16)
"""How many days ahead the day of a SEPA debit may lie that the provider is told; without one it debits at once."""


class Gateway(Protocol):
    """A payment provider. Every call that writes takes the key that makes repeating it harmless."""

    async def create_customer(self, *, name: str, email: str, reseller_id: str) -> str:
        """The customer's id; the same one when it is asked for twice within a day."""
        ...

    async def create_setup_link(self, customer_id: str, *, return_url: str, key: str) -> str:
        """The address of a page at the provider where a card or an account is entered and the mandate given."""
        ...

    async def get_setup(self, setup_id: str) -> Setup: ...

    async def get_method(self, method_id: str) -> Method: ...

    async def get_mandate_status(self, mandate_id: str) -> str:
        """active, inactive or pending."""
        ...

    async def detach_method(self, method_id: str) -> None:
        """Nothing can be charged to it any more. One that is gone already is no error."""
        ...

    async def charge(self, request: ChargeRequest, *, key: str) -> Intent: ...

    async def get_intent(self, intent_id: str) -> Intent: ...

    async def find_intents(self, customer_id: str, *, since: datetime) -> Sequence[Intent]:
        """All of a customer's since then: what a charge whose answer was lost is looked for in."""
        ...

    async def refund(self, request: RefundRequest, *, key: str) -> Refund: ...

    async def get_refund(self, refund_id: str) -> Refund: ...

    async def find_refunds(self, intent_id: str) -> Sequence[Refund]: ...

    async def get_dispute(self, dispute_id: str) -> Dispute: ...

    async def list_events(self, *, since: datetime | None) -> Sequence[Event]:
        """All there are since then, to the last page; the provider keeps thirty days."""
        ...

    def read_webhook(self, body: bytes, signature: str | None, *, now: datetime) -> Event:
        """The event of a webhook. Raises ForgedWebhook."""
        ...


class ForgedWebhook(GatewayException):
    """Its signature is not the provider's, or was made at another time than now."""
