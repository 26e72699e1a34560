"""Collecting one payment: load, send, apply, each by itself, so that a worker may die anywhere between.

The attempt is written down and committed before it is sent, and nothing is sent inside a transaction. Whoever comes
after a kill finds the attempt unanswered and sends the same body with the same key; where that is not allowed any more,
it looks for what became of it. One PaymentIntent for each invoice, for life: it can succeed once only, so that no
mistake here can charge an invoice twice.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing import attempts
from billing.attempts import CollectionPolicy, must_look
from billing.charges import open_charge
from billing.gateways.base import (
    KEY_REUSED,
    Gateway,
    GatewayError,
    GatewayException,
    Intent,
    IntentStatus,
    Refund,
    TryAgain,
)
from billing.methods import find_customer_id
from billing.outcomes import apply_intent, fail
from billing.payment_models import (
    UNANSWERED,
    AttemptKind,
    AttemptState,
    Payment,
    PaymentAttempt,
)
from billing.settlement import apply_refund, attempts_in, finish, lock_payment, restate
from provisioning.core.database import Database

# More than one thing may be due at once: an attempt, its repetition with the customer present, a refund.
STEPS_MAX = 6

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Step:
    """One call to make: send the attempt, or only look what became of it."""

    attempt: PaymentAttempt
    intent_id: str | None
    customer_id: str | None
    look: bool


async def collect(
    database: Database,
    gateway: Gateway,
    payment_id: str,
    *,
    now: datetime,
    policy: CollectionPolicy,
    at_once: bool = False,
) -> None:
    """Do all that is due for a payment now. `at_once` does not wait for the time an unanswered attempt was put off to.

    May be called at any time and by several processes. Raises NotFound, and Unavailable when the database is away.
    """
    for _ in range(STEPS_MAX):
        async with database.as_system() as session:
            payment = await lock_payment(session, payment_id)
            step = await _next_step(session, payment, now=now, policy=policy, at_once=at_once)
        if step is None:
            return
        if step.look:
            await _look(database, gateway, step, now=now, policy=policy)
        elif step.attempt.kind is AttemptKind.REFUND:
            await _send_refund(database, gateway, step, now=now)
        else:
            await _send_charge(database, gateway, step, now=now, policy=policy)
        at_once = False


async def refresh(
    database: Database, gateway: Gateway, intent_id: str, *, now: datetime, policy: CollectionPolicy
) -> bool:
    """Fetch a PaymentIntent and apply it; False when it belongs to a payment that is not known (yet).

    One that is not ours at all, without a payment in its metadata, is True: there is nothing to do.
    """
    intent = await gateway.get_intent(intent_id)
    if intent.payment_id is None:
        return True
    async with database.as_system() as session:
        if await session.scalar(select(col(Payment.id)).where(col(Payment.id) == intent.payment_id)) is None:
            return False
        payment = await lock_payment(session, intent.payment_id)
        await apply_intent(session, payment, intent, now=now, policy=policy)
    return True


async def _next_step(
    session: AsyncSession, payment: Payment, *, now: datetime, policy: CollectionPolicy, at_once: bool
) -> Step | None:
    is_due = payment.next_attempt_at is not None and payment.next_attempt_at <= now
    unanswered = await attempts_in(session, payment, UNANSWERED)
    if not is_due and not (at_once and unanswered):
        return None
    attempt = unanswered[0] if unanswered else await open_charge(session, payment, now=now, policy=policy)
    if attempt is None:
        return None
    look = must_look(attempt, now=now)
    if look and attempt.sent_at is not None and now - attempt.sent_at < attempts.QUIET:
        payment.next_attempt_at = attempt.sent_at + attempts.QUIET
        return None
    payment.next_attempt_at = now + attempts.TAKE_OVER
    if not look:
        attempt.sent_at = now
    customer_id = await find_customer_id(session, payment.reseller_id)
    return Step(attempt, payment.provider_id, customer_id, look)


async def _send_charge(
    database: Database, gateway: Gateway, step: Step, *, now: datetime, policy: CollectionPolicy
) -> None:
    refusal: GatewayException | None = None
    intent: Intent | None = None
    try:
        intent = await gateway.charge(attempts.charge_of(step.attempt), key=step.attempt.idempotency_key)
    except GatewayException as error:
        refusal, intent = error, getattr(error, "intent", None)
    async with database.as_system() as session:
        payment = await lock_payment(session, step.attempt.payment_id)
        attempt = await _again(session, step.attempt)
        if intent is not None:
            await apply_intent(session, payment, intent, now=now, policy=policy, answered=attempt)
        elif refusal is not None and attempt.finished_at is None:  # else an event was faster than the answer
            await _note_refusal(session, payment, attempt, refusal, now=now, policy=policy)


async def _note_refusal(
    session: AsyncSession,
    payment: Payment,
    attempt: PaymentAttempt,
    error: GatewayException,
    *,
    now: datetime,
    policy: CollectionPolicy,
) -> None:
    """What an error without a PaymentIntent in it means."""
    if isinstance(error, GatewayError) and error.code not in (KEY_REUSED, attempts.UNEXPECTED_STATE):
        await fail(session, payment, attempt, error.code, error.decline_code, now=now, policy=policy)
    else:
        _stay_unknown(payment, attempt, error, now=now)
    await restate(session, payment, now=now)


async def _send_refund(database: Database, gateway: Gateway, step: Step, *, now: datetime) -> None:
    refusal: GatewayException | None = None
    refund: Refund | None = None
    try:
        refund = await gateway.refund(attempts.refund_of(step.attempt), key=step.attempt.idempotency_key)
    except GatewayException as error:
        refusal = error
    async with database.as_system() as session:
        payment = await lock_payment(session, step.attempt.payment_id)
        attempt = await _again(session, step.attempt)
        if refund is not None:
            await apply_refund(session, payment, attempt, refund, now=now)
        elif refusal is not None and attempt.finished_at is None:
            if isinstance(refusal, GatewayError) and refusal.code != KEY_REUSED:
                log.error("a refund was refused", payment=payment.id, attempt=attempt.id, code=refusal.code)
                finish(attempt, AttemptState.FAILED, now=now, error_code=refusal.code)
            else:
                _stay_unknown(payment, attempt, refusal, now=now)
            await restate(session, payment, now=now)


def _stay_unknown(payment: Payment, attempt: PaymentAttempt, error: GatewayException, *, now: datetime) -> None:
    """Ask again later; one whose key came with another body waits for people, and is only looked for."""
    attempt.state = AttemptState.UNKNOWN
    if isinstance(error, TryAgain):
        attempt.stored_errors += error.answered
        payment.next_attempt_at = now + timedelta(seconds=error.seconds)
    elif isinstance(error, GatewayError) and error.code == KEY_REUSED:
        log.error("an idempotency key came with another body", payment=payment.id, attempt=attempt.id)
        attempt.error_code = error.code
        payment.next_attempt_at = None
    else:
        attempt.stored_errors = attempts.STORED_ERRORS_MAX
        payment.next_attempt_at = now + attempts.QUIET


async def _look(database: Database, gateway: Gateway, step: Step, *, now: datetime, policy: CollectionPolicy) -> None:
    """Find out what became of an attempt that may not be sent again; what is not there was not carried out."""
    attempt = step.attempt
    try:
        if attempt.kind is AttemptKind.REFUND:
            await _look_for_refund(database, gateway, attempt, now=now)
            return
        intent = await _find_intent(gateway, step)
    except GatewayException as error:
        seconds = error.seconds if isinstance(error, TryAgain) else attempts.QUIET.total_seconds()
        async with database.as_system() as session:
            payment = await lock_payment(session, attempt.payment_id)
            payment.next_attempt_at = now + timedelta(seconds=seconds)
        return
    async with database.as_system() as session:
        payment = await lock_payment(session, attempt.payment_id)
        attempt = await _again(session, attempt)
        mine = intent is not None and await _shows(session, intent, attempt)
        if intent is not None:
            await apply_intent(session, payment, intent, now=now, policy=policy, answered=attempt if mine else None)
        if attempt.state in UNANSWERED and attempt.error_code == KEY_REUSED:
            payment.next_attempt_at = None  # nobody but people may decide on a new key
        elif attempt.state in UNANSWERED:
            await fail(session, payment, attempt, attempts.NOT_CARRIED_OUT, None, now=now, policy=policy)
            await restate(session, payment, now=now)


async def _find_intent(gateway: Gateway, step: Step) -> Intent | None:
    if step.intent_id is not None:
        return await gateway.get_intent(step.intent_id)
    if step.customer_id is None:
        return None
    since = step.attempt.created_at - timedelta(hours=1)
    found = await gateway.find_intents(step.customer_id, since=since)
    ours = [each for each in found if each.payment_id == step.attempt.payment_id]
    return next((each for each in ours if each.status is IntentStatus.SUCCEEDED), ours[0] if ours else None)


async def _shows(session: AsyncSession, intent: Intent, attempt: PaymentAttempt) -> bool:
    """Whether an intent tells of this attempt, and not only of those before it."""
    if intent.status is not IntentStatus.REQUIRES_PAYMENT_METHOD:
        return True
    if intent.charge_id is None:
        return intent.attempt_id == attempt.id
    of_others = select(func.count()).where(
        col(PaymentAttempt.provider_id) == intent.charge_id,
        col(PaymentAttempt.id) != attempt.id,
        col(PaymentAttempt.reseller_id) == attempt.reseller_id,
    )
    return not await session.scalar(of_others)


async def _look_for_refund(database: Database, gateway: Gateway, attempt: PaymentAttempt, *, now: datetime) -> None:
    request = attempts.refund_of(attempt)
    found = [each for each in await gateway.find_refunds(request.intent_id) if each.attempt_id == attempt.id]
    async with database.as_system() as session:
        payment = await lock_payment(session, attempt.payment_id)
        again = await _again(session, attempt)
        if found:
            await apply_refund(session, payment, again, found[0], now=now)
            return
        finish(again, AttemptState.FAILED, now=now, error_code=attempts.NOT_CARRIED_OUT)
        await restate(session, payment, now=now)


async def _again(session: AsyncSession, attempt: PaymentAttempt) -> PaymentAttempt:
    """The attempt as it is now, for a caller that holds its payment."""
    query = select(PaymentAttempt).where(
        col(PaymentAttempt.id) == attempt.id, col(PaymentAttempt.reseller_id) == attempt.reseller_id
    )
    return (await session.scalars(query)).one()
