"""The attempts to move money: what is sent, under which key, and what an answer means for what happens next.

Pure but for `open_attempt`. The rules follow Stripe's documentation of idempotency keys and declines: a lost answer is
asked for again with the same key and body, a decline is hard or soft, and nothing that may have been carried out gets
a new key before it was looked for.
"""

import json
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.gateways.base import (
    BELOW_MINIMUM,
    KEY_REUSED,
    METHOD_UNUSABLE,
    MINIMUM_CENTS,
    ChargeRequest,
    RefundRequest,
)
from billing.payment_models import AttemptKind, Payment, PaymentAttempt, PaymentMethod
from provisioning.core.ids import new_id

# Stripe forgets a key after 24 hours at the earliest; after that the same call could be carried out a second time.
REPLAY_WINDOW = timedelta(hours=23)
# A stored error comes again for as long as its key lives: asking thrice is enough.
STORED_ERRORS_MAX = 3
# How long nothing must have been sent before "it is not there" can be believed.
QUIET = timedelta(minutes=10)
# A worker that was killed while it sent is replaced by another after this.
TAKE_OVER = timedelta(minutes=1)

NOT_CARRIED_OUT = "not_carried_out"
UNEXPECTED_STATE = "payment_intent_unexpected_state"
AUTHENTICATION = ("authentication_required", "authentication_not_handled")

SOFT = frozenset(
    {
        "approve_with_id",
        "card_velocity_exceeded",
        "do_not_honor",
        "generic_could_not_process",
        "generic_decline",
        "insufficient_funds",
        "issuer_not_available",
        "payment_intent_authentication_failure",
        "processing_error",
        "reenter_transaction",
        "service_not_allowed",
        "try_again_later",
        "withdrawal_count_limit_exceeded",
        NOT_CARRIED_OUT,
    }
)
# The method itself is of no use any more, whatever the account holds.
METHOD_GONE = frozenset(
    {
        "account_closed",
        "bank_account_closed",
        "debit_not_authorized",
        "mandate_invalid",
        "payment_intent_mandate_invalid",
        "payment_method_unactivated",
        "payment_method_unexpected_state",
        METHOD_UNUSABLE,
        "resource_missing",
    }
)


class Verdict(StrEnum):
    """What a refusal asks for: another day, the customer's own hand, the next invoice, or another method."""

    SOFT = "soft"
    HARD = "hard"
    METHOD_GONE = "method_gone"
    NEEDS_CUSTOMER = "needs_customer"
    TOO_SMALL = "too_small"


@dataclass(frozen=True, slots=True)
class CollectionPolicy:
    """`minimum_cents` is what the provider charges at least; `retry_days` lie between the attempts after a soft
    decline; `return_fee_cents` is what a debit that came back costs the reseller; `return_url` is where a customer
    that had to confirm comes back to.
    """

    minimum_cents: int = MINIMUM_CENTS
    retry_days: tuple[int, ...] = (3, 5, 7)
    return_fee_cents: int = 0
    return_url: str = "http://127.0.0.1:8000/"


def verdict_on(code: str | None, decline_code: str | None) -> Verdict:
    """What a refusal means. An unknown code is hard: nothing is charged again that nobody understands."""
    words = {code, decline_code} - {None}
    if words & set(AUTHENTICATION):
        return Verdict.NEEDS_CUSTOMER
    if BELOW_MINIMUM in words:
        return Verdict.TOO_SMALL
    if words & METHOD_GONE:
        return Verdict.METHOD_GONE
    return Verdict.SOFT if words & SOFT else Verdict.HARD


def next_attempt_at(number: int, *, now: datetime, policy: CollectionPolicy) -> datetime | None:
    """When to try again after the soft decline of attempt `number` (from 1); None when it was the last."""
    if number > len(policy.retry_days) or number < 1:
        return None
    return now + timedelta(days=policy.retry_days[number - 1])


def body_of(request: ChargeRequest | RefundRequest) -> dict[str, Any]:
    """A request as it is kept: what comes out of `charge_of` and `refund_of` is the same to the byte."""
    fields = asdict(request)
    if fields.get("debit_on") is not None:
        fields["debit_on"] = fields["debit_on"].isoformat()
    return fields


def charge_of(attempt: PaymentAttempt) -> ChargeRequest:
    request = ChargeRequest(**_kept(attempt))
    debit_on = attempt.request["debit_on"]
    return request if debit_on is None else replace(request, debit_on=date.fromisoformat(debit_on))


def refund_of(attempt: PaymentAttempt) -> RefundRequest:
    return RefundRequest(**_kept(attempt))


def hash_of(body: dict[str, Any]) -> str:
    return sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def must_look(attempt: PaymentAttempt, *, now: datetime) -> bool:
    """Whether an unanswered attempt may not be sent again, only looked for."""
    return (
        attempt.stored_errors >= STORED_ERRORS_MAX
        or attempt.error_code == KEY_REUSED
        or now - attempt.created_at >= REPLAY_WINDOW
    )


async def open_attempt(
    session: AsyncSession,
    payment: Payment,
    kind: AttemptKind,
    body: dict[str, Any],
    *,
    attempt_id: str,
    key: str | None,
    amount_cents: int,
    method: PaymentMethod | None,
    now: datetime,
) -> PaymentAttempt:
    """Write an attempt down, to be committed before it is sent. `key` None is one made of the attempt's id."""
    number = await session.scalar(
        select(func.coalesce(func.max(col(PaymentAttempt.number)), 0) + 1).where(
            col(PaymentAttempt.payment_id) == payment.id, col(PaymentAttempt.reseller_id) == payment.reseller_id
        )
    )
    attempt = PaymentAttempt(
        id=attempt_id,
        reseller_id=payment.reseller_id,
        payment_id=payment.id,
        kind=kind,
        number=number or 1,
        idempotency_key=key or f"att-{attempt_id}",
        amount_cents=amount_cents,
        method_id=None if method is None else method.id,
        request=body,
        request_hash=hash_of(body),
        created_at=now,
    )
    session.add(attempt)
    await session.flush()
    return attempt


def new_attempt_id() -> str:
    return new_id("att")


def _kept(attempt: PaymentAttempt) -> dict[str, Any]:
    if hash_of(attempt.request) != attempt.request_hash:
        raise ValueError(f"the request of attempt {attempt.id} is not what was sent first")
    return attempt.request
