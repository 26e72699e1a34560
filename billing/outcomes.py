"""What the provider says of a PaymentIntent, and what follows for its payment: one way in for answers and for events.

The state machine is monotonic by construction: money is booked by the id of the charge that moved it, an attempt that
has ended stays as it ended, and what is said of an older charge does not touch a newer attempt.
"""

from datetime import datetime

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.attempts import NOT_CARRIED_OUT, CollectionPolicy, Verdict, next_attempt_at, verdict_on
from billing.gateways.base import BELOW_MINIMUM, Intent, IntentStatus
from billing.methods import disable_method
from billing.payment_models import (
    UNANSWERED,
    UNSETTLED,
    AttemptKind,
    AttemptState,
    EntryKind,
    Payment,
    PaymentAttempt,
)
from billing.settlement import attempts_in, book, finish, restate

log = structlog.get_logger()


async def apply_intent(
    session: AsyncSession,
    payment: Payment,
    intent: Intent,
    *,
    now: datetime,
    policy: CollectionPolicy,
    answered: PaymentAttempt | None = None,
) -> None:
    """Bring a payment, which the caller holds, up to date with its PaymentIntent.

    `answered` is the attempt whose own call this is the answer to; an event or a poll is about any of them.
    """
    if payment.provider_id is None:
        payment.provider_id = intent.id
    elif payment.provider_id != intent.id:
        # It cannot be, and if it is, what it brought in is the reseller's all the same.
        log.error("a payment has two PaymentIntents", payment=payment.id, kept=payment.provider_id, other=intent.id)
        answered = None
    attempt = answered or await _attempt_of(session, payment, intent)
    if intent.status is IntentStatus.SUCCEEDED:
        await _receive(session, payment, intent, attempt, now=now)
    elif attempt is None or attempt.finished_at is not None:
        pass
    elif intent.status is IntentStatus.PROCESSING:
        attempt.state, attempt.provider_id = AttemptState.PROCESSING, intent.charge_id
        payment.error_code = None
        payment.next_attempt_at = None
    elif intent.status is IntentStatus.REQUIRES_ACTION:
        attempt.state = AttemptState.PROCESSING
        payment.action_url = intent.action_url
        payment.next_attempt_at = None
    elif intent.status is IntentStatus.CANCELED:
        await fail(session, payment, attempt, "canceled", None, now=now, policy=policy)
    elif answered is not None or _is_about(attempt, intent, payment):
        if intent.charge_id is not None and await _find_by_charge(session, payment, intent.charge_id) is None:
            attempt.provider_id = intent.charge_id
        await fail(session, payment, attempt, intent.error_code, intent.decline_code, now=now, policy=policy)
    await restate(session, payment, now=now)


async def fail(
    session: AsyncSession,
    payment: Payment,
    attempt: PaymentAttempt,
    code: str | None,
    decline_code: str | None,
    *,
    now: datetime,
    policy: CollectionPolicy,
) -> None:
    """End an attempt that brought in nothing, and decide when and with what the next one is made."""
    finish(attempt, AttemptState.FAILED, now=now, error_code=code, decline_code=decline_code)
    verdict = verdict_on(code, decline_code)
    payment.error_code = decline_code or code or "declined"
    payment.action_url = None
    payment.next_attempt_at = None
    if code == NOT_CARRIED_OUT or verdict is Verdict.NEEDS_CUSTOMER:
        payment.next_attempt_at = now
    elif verdict is Verdict.SOFT:
        payment.next_attempt_at = next_attempt_at(await _declined(session, payment), now=now, policy=policy)
    elif verdict is Verdict.TOO_SMALL:
        payment.error_code = BELOW_MINIMUM
    elif verdict is Verdict.METHOD_GONE and attempt.method_id is not None:
        reason = decline_code or code or "refused"
        await disable_method(session, payment.reseller_id, attempt.method_id, reason=reason, now=now)
    log.info("attempt failed", payment=payment.id, attempt=attempt.id, code=payment.error_code, verdict=str(verdict))
    await session.flush()


async def _receive(
    session: AsyncSession, payment: Payment, intent: Intent, attempt: PaymentAttempt | None, *, now: datetime
) -> None:
    source = intent.charge_id or intent.id
    await book(session, payment, EntryKind.RECEIPT, intent.received_cents, source=source, now=now)
    if attempt is not None and attempt.state is not AttemptState.SUCCEEDED:
        attempt.provider_id = intent.charge_id
        finish(attempt, AttemptState.SUCCEEDED, now=now)
        payment.error_code = payment.next_attempt_at = payment.action_url = None


async def _attempt_of(session: AsyncSession, payment: Payment, intent: Intent) -> PaymentAttempt | None:
    """The attempt that made the newest charge, else the one that is under way and has no charge yet."""
    # Who was asked to confirm and did not leaves no charge: then the newest is of the attempt before.
    unconfirmed = payment.action_url is not None and intent.status is IntentStatus.REQUIRES_PAYMENT_METHOD
    if intent.charge_id is not None and not unconfirmed:
        of_charge = await _find_by_charge(session, payment, intent.charge_id)
        if of_charge is not None:
            return of_charge
    under_way = [each for each in await attempts_in(session, payment, UNSETTLED) if each.kind is AttemptKind.CHARGE]
    return next((each for each in under_way if each.provider_id is None), None)


def _is_about(attempt: PaymentAttempt, intent: Intent, payment: Payment) -> bool:
    """Whether an intent that waits for a method tells of this attempt's end, and not of one before it."""
    if attempt.provider_id is not None:
        return attempt.provider_id == intent.charge_id
    if attempt.state in UNANSWERED:
        return False  # its own answer, or looking for it, will tell
    return payment.action_url is not None


async def _find_by_charge(session: AsyncSession, payment: Payment, charge_id: str) -> PaymentAttempt | None:
    return await session.scalar(
        select(PaymentAttempt).where(
            col(PaymentAttempt.provider_id) == charge_id,
            col(PaymentAttempt.payment_id) == payment.id,
            col(PaymentAttempt.reseller_id) == payment.reseller_id,
        )
    )


async def _declined(session: AsyncSession, payment: Payment) -> int:
    """How many charges of this payment were declined, the last one included."""
    await session.flush()
    declined = select(func.count()).where(
        col(PaymentAttempt.payment_id) == payment.id,
        col(PaymentAttempt.reseller_id) == payment.reseller_id,
        col(PaymentAttempt.kind) == AttemptKind.CHARGE,
        col(PaymentAttempt.state) == AttemptState.FAILED,
        col(PaymentAttempt.error_code) != NOT_CARRIED_OUT,
    )
    return await session.scalar(declined) or 0
