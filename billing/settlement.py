"""What is settled of a payment: entries once for each source, surplus where it belongs, and the status that follows.

Every function works inside the caller's transaction, which holds the lock on the payment (`lock_payment`). The status
is never set from an event: it is worked out from the entries, the attempts and the dispute, so that news may come
twice, late and in any order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.gateways.base import BELOW_MINIMUM, Dispute, Refund
from billing.methods import disable_method
from billing.payment_models import (
    UNANSWERED,
    UNSETTLED,
    AttemptKind,
    AttemptState,
    EntryKind,
    Payment,
    PaymentAttempt,
    PaymentEntry,
    PaymentStatus,
)
from billing.periods import berlin_day
from provisioning.core.errors import NotFound
from provisioning.core.ids import new_id
from provisioning.core.queries import owned

# Money has gone while one of these holds; the bank has not spoken its last word.
DISPUTED = ("needs_response", "under_review")
# A later word of the bank is never undone by an earlier one that arrives after it.
_DISPUTE_RANK = {"needs_response": 1, "under_review": 2, "won": 3, "lost": 3}


@dataclass(frozen=True, slots=True)
class Sums:
    """What the entries of a payment come to, in cents: all of them, and those of some kinds.

    `fees_cents` is what was charged beside the invoice and not given up, whether it is paid or not.
    """

    settled_cents: int
    received_cents: int
    credited_cents: int
    written_off_cents: int
    fees_cents: int


async def lock_payment(session: AsyncSession, payment_id: str) -> Payment:
    """The payment as it is now, held until the transaction ends. Raises NotFound."""
    query = select(Payment).where(col(Payment.id) == payment_id).with_for_update()
    payment = (await session.scalars(query.execution_options(populate_existing=True))).one_or_none()
    if payment is None:
        raise NotFound(f"There is no payment {payment_id}.")
    return payment


async def sums_of(session: AsyncSession, payment: Payment) -> Sums:
    of_payment = {"payment_id": payment.id, "reseller_id": payment.reseller_id}
    return Sums(*(int(cents) for cents in (await session.execute(_SUMS, of_payment)).one()))


_SUMS = text(
    """
    select coalesce(sum(amount_cents), 0),
        coalesce(sum(amount_cents) filter (where kind in ('receipt', 'refund', 'chargeback')), 0),
        coalesce(sum(amount_cents) filter (where kind = 'credit_note'), 0),
        coalesce(sum(amount_cents) filter (where kind = 'write_off'), 0),
        coalesce(-sum(amount_cents) filter (where kind = 'fee'), 0)
    from payment_entry where payment_id = :payment_id and reseller_id = :reseller_id
    """
)


async def due_cents(session: AsyncSession, payment: Payment) -> int:
    """What is still owed; negative when there is more than enough."""
    return payment.amount_cents - (await sums_of(session, payment)).settled_cents


async def book(
    session: AsyncSession,
    payment: Payment,
    kind: EntryKind,
    amount_cents: int,
    *,
    source: str,
    now: datetime,
    booked_on: date | None = None,
) -> bool:
    """Write money that moved, once for each source; False when it is booked already."""
    return await _book(
        session, payment.reseller_id, payment.id, kind, amount_cents, source=source, now=now, booked_on=booked_on
    )


async def find_entry(session: AsyncSession, payment: Payment, source: str) -> PaymentEntry | None:
    """What is booked of this source, for this payment or another one of the same reseller."""
    return await session.scalar(owned(PaymentEntry, payment.reseller_id).where(col(PaymentEntry.source) == source))


async def restate(session: AsyncSession, payment: Payment, *, now: datetime) -> None:
    """Carry a surplus over, and bring the status up to date with entries, attempts and dispute."""
    await session.flush()
    unsettled = await attempts_in(session, payment, UNSETTLED)
    reserved = sum(
        each.amount_cents for each in unsettled if each.kind is AttemptKind.REFUND and each.state in UNANSWERED
    )
    sums = await sums_of(session, payment)
    surplus = sums.settled_cents - payment.amount_cents - reserved
    if surplus > 0:
        await _carry_over(session, payment, surplus, now=now)
    is_collecting = any(each.kind is not AttemptKind.REFUND for each in unsettled)
    payment.status = _status(payment, sums, is_collecting=is_collecting)
    if not is_collecting:
        payment.action_url = None
    if payment.status in (PaymentStatus.PAID, PaymentStatus.CANCELLED, PaymentStatus.UNCOLLECTIBLE):
        payment.error_code = None
        if not any(each.state in UNANSWERED for each in unsettled):
            payment.next_attempt_at = None
    await session.flush()


async def balance_cents(session: AsyncSession, reseller_id: str) -> int:
    """What a reseller has paid more than was owed, and what is not used for an invoice yet."""
    query = select(func.coalesce(func.sum(col(PaymentEntry.amount_cents)), 0)).where(
        col(PaymentEntry.reseller_id) == reseller_id, col(PaymentEntry.payment_id).is_(None)
    )
    return int(await session.scalar(query) or 0)


async def apply_balance(session: AsyncSession, reseller_id: str, *, now: datetime) -> None:
    """Use a reseller's credit balance for what is open, oldest first, but not for what is being collected."""
    # Two at once would spend it twice.
    await session.execute(_HOLD_BALANCE, {"key": f"balance:{reseller_id}"})
    left = await balance_cents(session, reseller_id)
    if left <= 0:
        return
    query = owned(Payment, reseller_id).where(col(Payment.status).in_((PaymentStatus.OPEN, PaymentStatus.FAILED)))
    for payment in (await session.scalars(query.order_by(col(Payment.id)).with_for_update())).all():
        amount = min(left, await due_cents(session, payment))
        if amount > 0:
            await _move(session, reseller_id, None, payment.id, amount, now=now)
            await restate(session, payment, now=now)
            left -= amount


async def take_from_balance(session: AsyncSession, payment: Payment, amount_cents: int, *, now: datetime) -> bool:
    """Put what went to the balance back to the payment it came from; False when it is used up."""
    await session.execute(_HOLD_BALANCE, {"key": f"balance:{payment.reseller_id}"})
    if await balance_cents(session, payment.reseller_id) < amount_cents:
        return False
    await _move(session, payment.reseller_id, None, payment.id, amount_cents, now=now)
    return True


_HOLD_BALANCE = text("select pg_advisory_xact_lock(hashtextextended(:key, 0))")


async def attempts_in(
    session: AsyncSession, payment: Payment, states: Sequence[AttemptState]
) -> Sequence[PaymentAttempt]:
    """The attempts of a payment in these states, oldest first."""
    query = (
        select(PaymentAttempt)
        .where(
            col(PaymentAttempt.payment_id) == payment.id,
            col(PaymentAttempt.reseller_id) == payment.reseller_id,
            col(PaymentAttempt.state).in_(states),
        )
        .order_by(col(PaymentAttempt.number))
    )
    return (await session.scalars(query.execution_options(populate_existing=True))).all()


def finish(
    attempt: PaymentAttempt,
    state: AttemptState,
    *,
    now: datetime,
    error_code: str | None = None,
    decline_code: str | None = None,
) -> None:
    """End an attempt, `state` being succeeded or failed."""
    attempt.state, attempt.finished_at = state, now
    attempt.error_code, attempt.decline_code = error_code, decline_code


async def apply_refund(
    session: AsyncSession, payment: Payment, attempt: PaymentAttempt, refund: Refund, *, now: datetime
) -> None:
    """Book a refund as the provider has it now, or take it back where the bank returned it."""
    attempt.provider_id = refund.id
    if refund.status in ("failed", "canceled"):
        if await find_entry(session, payment, refund.id) is not None:
            await book(session, payment, EntryKind.REFUND, refund.amount_cents, source=f"{refund.id}:returned", now=now)
        finish(attempt, AttemptState.FAILED, now=now, error_code=f"refund_{refund.status}")
    elif attempt.state is not AttemptState.FAILED:
        await book(session, payment, EntryKind.REFUND, -refund.amount_cents, source=refund.id, now=now)
        if refund.status == "succeeded":
            finish(attempt, AttemptState.SUCCEEDED, now=now)
        elif attempt.state is not AttemptState.SUCCEEDED:
            attempt.state = AttemptState.PROCESSING
    await restate(session, payment, now=now)


async def apply_stray_refund(session: AsyncSession, payment: Payment, refund: Refund, *, now: datetime) -> None:
    """Book a refund that somebody made at the provider itself: the money is gone, and the invoice owed again."""
    booked = await find_entry(session, payment, refund.id) is not None
    if refund.status in ("failed", "canceled"):
        if booked:
            await book(session, payment, EntryKind.REFUND, refund.amount_cents, source=f"{refund.id}:returned", now=now)
    elif await find_entry(session, payment, f"{refund.id}:returned") is None:
        await book(session, payment, EntryKind.REFUND, -refund.amount_cents, source=refund.id, now=now)
    await restate(session, payment, now=now)


async def apply_dispute(
    session: AsyncSession, payment: Payment, dispute: Dispute, *, now: datetime, fee_cents: int
) -> None:
    """Book what a dispute takes or gives back; a lost one ends its method and adds `fee_cents` to what is owed."""
    rank = _DISPUTE_RANK.get(dispute.status)
    if rank is None:
        return  # an inquiry: no money has moved
    if payment.dispute_id == dispute.id and _DISPUTE_RANK.get(payment.dispute_status or "", 0) > rank:
        return
    payment.dispute_id, payment.dispute_status = dispute.id, dispute.status
    if dispute.status != "won":
        await book(session, payment, EntryKind.CHARGEBACK, -dispute.amount_cents, source=dispute.id, now=now)
    elif await find_entry(session, payment, dispute.id) is not None:
        await book(session, payment, EntryKind.CHARGEBACK, dispute.amount_cents, source=f"{dispute.id}:won", now=now)
    if dispute.status == "lost":
        if fee_cents:
            await book(session, payment, EntryKind.FEE, -fee_cents, source=f"{dispute.id}:fee", now=now)
        await _disable_charged(session, payment, dispute.charge_id, now=now)
    await restate(session, payment, now=now)


async def _disable_charged(session: AsyncSession, payment: Payment, charge_id: str, *, now: datetime) -> None:
    query = select(col(PaymentAttempt.method_id)).where(
        col(PaymentAttempt.provider_id) == charge_id, col(PaymentAttempt.reseller_id) == payment.reseller_id
    )
    method_id = await session.scalar(query)
    if method_id is not None:
        await disable_method(session, payment.reseller_id, method_id, reason="disputed", now=now)


def _status(payment: Payment, sums: Sums, *, is_collecting: bool) -> PaymentStatus:
    due = payment.amount_cents - sums.settled_cents
    if payment.dispute_status in DISPUTED:
        return PaymentStatus.DISPUTED
    if due <= 0:
        if sums.received_cents <= 0 < sums.credited_cents and not is_collecting:
            return PaymentStatus.CANCELLED
        return PaymentStatus.UNCOLLECTIBLE if sums.written_off_cents else PaymentStatus.PAID
    if is_collecting:
        return PaymentStatus.REQUIRES_ACTION if payment.action_url else PaymentStatus.PROCESSING
    if payment.error_code not in (None, BELOW_MINIMUM) and payment.next_attempt_at is None:
        return PaymentStatus.FAILED
    return PaymentStatus.OPEN


async def _carry_over(session: AsyncSession, payment: Payment, surplus: int, *, now: datetime) -> None:
    """First to the small payments that were collected with this one, then to the reseller's credit balance."""
    carried = await session.scalars(
        select(Payment)
        .where(
            col(Payment.carried_to_id) == payment.id,
            col(Payment.reseller_id) == payment.reseller_id,
            col(Payment.status) == PaymentStatus.OPEN,
        )
        .order_by(col(Payment.id))
        .with_for_update()
    )
    left = surplus
    for small in carried.all():
        amount = min(left, await due_cents(session, small))
        if amount > 0:
            await _move(session, payment.reseller_id, payment.id, small.id, amount, now=now)
            left -= amount
            await restate(session, small, now=now)
    if left > 0:
        await _move(session, payment.reseller_id, payment.id, None, left, now=now)


async def _move(
    session: AsyncSession, reseller_id: str, from_id: str | None, to_id: str | None, amount: int, *, now: datetime
) -> None:
    carry = new_id("carry")
    kind = EntryKind.CARRY_OVER
    await _book(session, reseller_id, from_id, kind, -amount, source=f"{carry}:from", now=now)
    await _book(session, reseller_id, to_id, kind, amount, source=f"{carry}:to", now=now)


async def _book(
    session: AsyncSession,
    reseller_id: str,
    payment_id: str | None,
    kind: EntryKind,
    amount_cents: int,
    *,
    source: str,
    now: datetime,
    booked_on: date | None = None,
) -> bool:
    entry = PaymentEntry(
        id=new_id("ent"),
        reseller_id=reseller_id,
        payment_id=payment_id,
        kind=kind,
        amount_cents=amount_cents,
        booked_on=booked_on or berlin_day(now),
        source=source,
        created_at=now,
    )
    booked = await session.scalar(
        insert(PaymentEntry)
        .values(entry.model_dump())
        .on_conflict_do_nothing(index_elements=["source"])
        .returning(col(PaymentEntry.id))
    )
    return booked is not None
