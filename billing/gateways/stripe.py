"""The gateway to Stripe: off-session PaymentIntents, set up through Checkout. The only module that knows its library.

`allowed_payment_method_types` stands where `payment_method_types` did before API 2026-09-30, which refuses the latter.
"""

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, cast

import stripe

from billing.gateways.base import (
    KEY_REUSED,
    METHOD_UNUSABLE,
    ChargeRequest,
    Dispute,
    Event,
    ForgedWebhook,
    GatewayError,
    Intent,
    IntentStatus,
    Method,
    Refund,
    RefundRequest,
    Setup,
    TryAgain,
)
from billing.gateways.pace import TokenBucket

if TYPE_CHECKING:
    from stripe.params import PaymentIntentConfirmParams, PaymentIntentCreateParams
    from stripe.params.checkout import SessionCreateParams

API_VERSION = "2026-10-28.endive"
TIMEOUT_SECONDS = 25.0
NETWORK_RETRIES = 2
# Stripe allows 25 a second and endpoint; the rest is left to people at the dashboard.
LIVE_PER_SECOND, TEST_PER_SECOND = 20.0, 5.0
WEBHOOK_TOLERANCE = timedelta(minutes=5)
WRONG_KEY_SECONDS = 900.0

EVENT_TYPES = [
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
    "mandate.updated",
    "payment_intent.canceled",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
    "payment_method.detached",
    "refund.created",
    "refund.failed",
    "refund.updated",
    "setup_intent.succeeded",
]

_SIGNED_AT = re.compile(r"(?:^|,)\s*t=([0-9]{1,12})(?:,|$)")
# The bank statement of the payer shows 22 characters and not all of those.
_NOT_ON_STATEMENTS = re.compile(r"[^A-Za-z0-9 ./-]")


class StripeGateway:
    """One client for one event loop; close it with `await gateway.close()`.

    Raises ValueError for what is no secret key, and for a live one where `live` does not allow it or `url` names
    another host than Stripe's. `webhook_secret` None refuses every webhook.
    """

    def __init__(
        self,
        api_key: str,
        *,
        webhook_secret: str | None = None,
        live: bool = False,
        url: str | None = None,
        per_second: float | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        network_retries: int = NETWORK_RETRIES,
        jitter: Random | None = None,
    ) -> None:
        if re.fullmatch(r"(sk|rk)_(live|test)_\w+", api_key) is None:
            raise ValueError("a Stripe key begins with sk_live_, sk_test_, rk_live_ or rk_test_")
        self.is_live = api_key[3:7] == "live"
        if self.is_live and (not live or url is not None):
            raise ValueError("a live Stripe key is for production and for Stripe's own address only")
        stripe.enable_telemetry = False
        self._http = stripe.HTTPXClient(timeout=timeout_seconds)
        self._client = stripe.StripeClient(
            api_key,
            http_client=self._http,
            stripe_version=API_VERSION,
            max_network_retries=network_retries,
            base_addresses={} if url is None else {"api": url},
        )
        self._secret = webhook_secret
        self._bucket = TokenBucket(per_second or (LIVE_PER_SECOND if self.is_live else TEST_PER_SECOND))
        self._jitter = jitter or Random()  # noqa: S311 - spreads retries, guards nothing

    async def close(self) -> None:
        await self._http.close_async()  # type: ignore[no-untyped-call]  # the library leaves it without types

    async def create_customer(self, *, name: str, email: str, reseller_id: str) -> str:
        async with self._call():
            customer = await self._client.v1.customers.create_async(
                {
                    "name": name,
                    "email": email,
                    "preferred_locales": ["de"],
                    "metadata": {"reseller_id": reseller_id},
                },
                {"idempotency_key": f"cust-{reseller_id}"},
            )
        return customer.id

    async def create_setup_link(self, customer_id: str, *, return_url: str, key: str) -> str:
        params: SessionCreateParams = {
            "mode": "setup",
            "customer": customer_id,
            "currency": "eur",
            "allowed_payment_method_types": ["card", "sepa_debit"],
            "success_url": return_url,
            "cancel_url": return_url,
            "locale": "de",
        }
        async with self._call():
            session = await self._client.v1.checkout.sessions.create_async(params, {"idempotency_key": key})
        if session.url is None:
            raise GatewayError("Stripe made a session without an address.", code="gateway_refused")
        return session.url

    async def get_setup(self, setup_id: str) -> Setup:
        async with self._call():
            found = await self._client.v1.setup_intents.retrieve_async(
                setup_id, {"expand": ["payment_method", "mandate"]}
            )
        held, mandate = found.payment_method, found.mandate
        method = None
        if isinstance(held, stripe.PaymentMethod):
            method = _method(held, mandate if isinstance(mandate, stripe.Mandate) else None)
        return Setup(found.id, str(found.status), _id_of(found.customer), method)

    async def get_method(self, method_id: str) -> Method:
        async with self._call():
            return _method(await self._client.v1.payment_methods.retrieve_async(method_id), None)

    async def get_mandate_status(self, mandate_id: str) -> str:
        async with self._call():
            return str((await self._client.v1.mandates.retrieve_async(mandate_id)).status)

    async def detach_method(self, method_id: str) -> None:
        if (await self.get_method(method_id)).customer_id is None:
            return
        async with self._call():
            await self._client.v1.payment_methods.detach_async(method_id)

    async def charge(self, request: ChargeRequest, *, key: str) -> Intent:
        if request.intent_id is None:
            async with self._call():
                made = await self._client.v1.payment_intents.create_async(
                    creation_of(request), {"idempotency_key": key}
                )
            return _intent(made)
        async with self._call():
            # What is due may have become less since, by a transfer or a credit note.
            await self._client.v1.payment_intents.update_async(
                request.intent_id, {"amount": request.amount_cents}, {"idempotency_key": f"{key}-amount"}
            )
        async with self._call():
            tried = await self._client.v1.payment_intents.confirm_async(
                request.intent_id, confirmation_of(request), {"idempotency_key": key}
            )
        return _intent(tried)

    async def get_intent(self, intent_id: str) -> Intent:
        async with self._call():
            return _intent(await self._client.v1.payment_intents.retrieve_async(intent_id))

    async def find_intents(self, customer_id: str, *, since: datetime) -> Sequence[Intent]:
        async with self._call():
            page = await self._client.v1.payment_intents.list_async(
                {"customer": customer_id, "created": {"gte": int(since.timestamp())}, "limit": 100}
            )
            return [_intent(each) async for each in page.auto_paging_iter()]

    async def refund(self, request: RefundRequest, *, key: str) -> Refund:
        async with self._call():
            made = await self._client.v1.refunds.create_async(
                {
                    "payment_intent": request.intent_id,
                    "amount": request.amount_cents,
                    "reason": "requested_by_customer",
                    "metadata": {"credit_note_id": request.credit_note_id, "attempt_id": request.attempt_id},
                },
                {"idempotency_key": key},
            )
        return _refund(made)

    async def get_refund(self, refund_id: str) -> Refund:
        async with self._call():
            return _refund(await self._client.v1.refunds.retrieve_async(refund_id))

    async def find_refunds(self, intent_id: str) -> Sequence[Refund]:
        async with self._call():
            page = await self._client.v1.refunds.list_async({"payment_intent": intent_id, "limit": 100})
            return [_refund(each) async for each in page.auto_paging_iter()]

    async def get_dispute(self, dispute_id: str) -> Dispute:
        async with self._call():
            found = await self._client.v1.disputes.retrieve_async(dispute_id)
        charge_id = cast(str, _id_of(found.charge))
        return Dispute(found.id, str(found.status), found.amount, _id_of(found.payment_intent), charge_id)

    async def list_events(self, *, since: datetime | None) -> Sequence[Event]:
        async with self._call():
            page = await self._client.v1.events.list_async(
                {
                    "types": EVENT_TYPES,
                    "limit": 100,
                    **({} if since is None else {"created": {"gte": int(since.timestamp())}}),
                }
            )
            return [
                Event(each.id, each.type, str(each.data.object["id"]), datetime.fromtimestamp(each.created, UTC))
                async for each in page.auto_paging_iter()
            ]

    def read_webhook(self, body: bytes, signature: str | None, *, now: datetime) -> Event:
        try:
            stripe.WebhookSignature.verify_header(body, signature, self._secret)
            signed_at = _SIGNED_AT.search(signature or "")
            event = json.loads(body)
            read = Event(
                str(event["id"]),
                str(event["type"]),
                str(event["data"]["object"]["id"]),
                datetime.fromtimestamp(event["created"], UTC),
            )
        except (stripe.SignatureVerificationError, ValueError, TypeError, LookupError, OverflowError) as error:
            raise ForgedWebhook("This is not signed by Stripe with the secret of this endpoint.") from error
        # The library refuses what is too old and lets through what comes from the future.
        if signed_at is None or abs(now.timestamp() - int(signed_at[1])) > WEBHOOK_TOLERANCE.total_seconds():
            raise ForgedWebhook("Its signature is of another time than now.")
        return read

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[None]:
        """One call in its turn, with Stripe's errors in the two words of a gateway."""
        await self._bucket.take()
        try:
            yield
        except stripe.CardError as error:
            raise _refused(error, default="card_declined") from error
        except stripe.IdempotencyError as error:
            raise GatewayError(str(error), code=KEY_REUSED) from error
        except stripe.RateLimitError as error:
            raise TryAgain("Stripe is busy.", seconds=self._jitter.uniform(1, 5)) from error
        except stripe.APIConnectionError as error:
            raise TryAgain("Stripe did not answer.", seconds=self._jitter.uniform(15, 45)) from error
        except stripe.InvalidRequestError as error:
            raise _refused(error, default="invalid_request") from error
        except (stripe.AuthenticationError, stripe.PermissionError) as error:
            raise TryAgain(f"Stripe refuses our key: {error}", seconds=WRONG_KEY_SECONDS) from error
        except stripe.StripeError as error:
            # 409: the same key is under way elsewhere. 500 and above: stored, so the same key gets it again.
            stored = (error.http_status or 0) >= 500
            seconds = self._jitter.uniform(15, 45) if stored else self._jitter.uniform(1, 5)
            raise TryAgain(f"Stripe answered {error.http_status}.", seconds=seconds, answered=stored) from error


def creation_of(request: ChargeRequest) -> "PaymentIntentCreateParams":
    """The body that makes an invoice's PaymentIntent and tries it once."""
    params: PaymentIntentCreateParams = {
        "amount": request.amount_cents,
        "currency": "eur",
        "customer": request.customer_id,
        "payment_method": request.method_id,
        "allowed_payment_method_types": [request.kind],
        "confirm": True,
        "off_session": request.off_session,
        "description": request.number,
        "metadata": {
            "invoice_id": request.invoice_id,
            "payment_id": request.payment_id,
            "attempt_id": request.attempt_id,
        },
    }
    words = _NOT_ON_STATEMENTS.sub("", request.number)[:22]
    if request.kind == "card":
        params["statement_descriptor_suffix"] = words
        if request.off_session:
            params["error_on_requires_action"] = True
    else:
        params["statement_descriptor"] = words
        if request.debit_on is not None:
            params["payment_method_options"] = {"sepa_debit": {"target_date": request.debit_on.isoformat()}}
    if request.return_url is not None:
        params["return_url"] = request.return_url
    return params


def confirmation_of(request: ChargeRequest) -> "PaymentIntentConfirmParams":
    """The body that tries the PaymentIntent there is once more."""
    params: PaymentIntentConfirmParams = {
        "payment_method": request.method_id,
        "allowed_payment_method_types": [request.kind],
        "off_session": request.off_session,
    }
    if request.off_session and request.kind == "card":
        params["error_on_requires_action"] = True
    if request.return_url is not None:
        params["return_url"] = request.return_url
    return params


def _refused(error: Any, *, default: str) -> GatewayError:
    """`error` is a CardError or an InvalidRequestError, whose object carries the PaymentIntent it is about."""
    details = error.error
    code = error.code or (METHOD_UNUSABLE if error.param == "payment_method" else default)
    intent = getattr(details, "payment_intent", None)
    return GatewayError(
        str(error.user_message),
        code=code,
        decline_code=getattr(details, "decline_code", None),
        intent=_intent(intent) if isinstance(intent, stripe.PaymentIntent) else None,
    )


def _intent(found: stripe.PaymentIntent) -> Intent:
    failure = found.last_payment_error
    metadata: dict[str, str] = found.metadata.to_dict()
    charge_id = _id_of(found.latest_charge) or (getattr(failure, "charge", None) if failure else None)
    redirect = getattr(found.next_action, "redirect_to_url", None) if found.next_action else None
    return Intent(
        id=found.id,
        status=IntentStatus(found.status),
        amount_cents=found.amount,
        received_cents=found.amount_received or 0,
        charge_id=charge_id,
        error_code=getattr(failure, "code", None) if failure else None,
        decline_code=getattr(failure, "decline_code", None) if failure else None,
        action_url=redirect.url if redirect else None,
        customer_id=_id_of(found.customer),
        payment_id=metadata.get("payment_id"),
        attempt_id=metadata.get("attempt_id"),
    )


def _method(found: stripe.PaymentMethod, mandate: stripe.Mandate | None) -> Method:
    details = getattr(found, found.type, None)
    of_account = mandate.payment_method_details.sepa_debit if mandate and found.type == "sepa_debit" else None
    return Method(
        id=found.id,
        kind=found.type,
        last4=getattr(details, "last4", None),
        customer_id=_id_of(found.customer),
        mandate_id=mandate.id if mandate else None,
        mandate_reference=of_account.reference if of_account else None,
        mandate_url=of_account.url if of_account else None,
        mandate_status=str(mandate.status) if mandate else None,
    )


def _refund(found: stripe.Refund) -> Refund:
    metadata: dict[str, str] = found.metadata.to_dict() if found.metadata else {}
    return Refund(found.id, str(found.status), found.amount, _id_of(found.payment_intent), metadata.get("attempt_id"))


def _id_of(value: Any) -> str | None:
    """The id of what Stripe names by its id or, when expanded, by the whole object."""
    return value if value is None or isinstance(value, str) else str(value.id)
