"""The next charge of a payment, written down before it is sent: with which method, how much, and under which key."""

from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing import attempts
from billing.attempts import CollectionPolicy, Verdict, body_of, open_attempt, verdict_on
from billing.gateways.base import BELOW_MINIMUM, DEBIT_DAYS, ChargeRequest
from billing.methods import find_customer_id, find_default
from billing.models import Invoice
from billing.payment_models import (
    AT_STRIPE,
    UNSETTLED,
    AttemptKind,
    AttemptState,
    MethodKind,
    Payment,
    PaymentAttempt,
    PaymentMethod,
    PaymentStatus,
)
from billing.periods import berlin_day
from billing.settlement import attempts_in, due_cents, restate


async def open_charge(
    session: AsyncSession, payment: Payment, *, now: datetime, policy: CollectionPolicy
) -> PaymentAttempt | None:
    """The next attempt, written down; None where nothing can or need be charged now."""
    payment.next_attempt_at = None
    due = await due_cents(session, payment)
    method = await find_default(session, payment.reseller_id)
    customer_id = await find_customer_id(session, payment.reseller_id)
    if due <= 0 or await _is_spent(session, payment):
        await restate(session, payment, now=now)
        return None
    payment.method = method.kind if method is not None else MethodKind.TRANSFER
    payment.error_code = None
    if method is None or method.kind not in AT_STRIPE or customer_id is None:
        await restate(session, payment, now=now)
        return None
    small = await _small_ones(session, payment, policy=policy)
    amount = due + sum(cents for _, cents in small)
    if amount < policy.minimum_cents:
        payment.error_code = BELOW_MINIMUM
        await restate(session, payment, now=now)
        return None
    for each, _ in small:
        each.carried_to_id = payment.id
    attempt = await _write_charge(
        session, payment, method, amount_cents=amount, customer_id=customer_id, now=now, policy=policy
    )
    await restate(session, payment, now=now)
    return attempt


async def _write_charge(
    session: AsyncSession,
    payment: Payment,
    method: PaymentMethod,
    *,
    amount_cents: int,
    customer_id: str,
    now: datetime,
    policy: CollectionPolicy,
) -> PaymentAttempt:
    invoice = (
        await session.scalars(
            select(Invoice).where(
                col(Invoice.id) == payment.invoice_id, col(Invoice.reseller_id) == payment.reseller_id
            )
        )
    ).one()
    before = await _last_charge(session, payment)
    needs_customer = before is not None and (
        verdict_on(before.error_code, before.decline_code) is Verdict.NEEDS_CUSTOMER
    )
    attempt_id = attempts.new_attempt_id()
    days = 0 if invoice.due_on is None else (invoice.due_on - berlin_day(now)).days
    request = ChargeRequest(
        payment_id=payment.id,
        attempt_id=attempt_id,
        invoice_id=payment.invoice_id,
        number=invoice.number or "",
        amount_cents=amount_cents,
        customer_id=customer_id,
        method_id=method.provider_id or "",
        kind=method.kind.value,
        intent_id=payment.provider_id,
        off_session=not needs_customer,
        return_url=policy.return_url if needs_customer else None,
        debit_on=invoice.due_on if method.kind is MethodKind.SEPA_DEBIT and days in DEBIT_DAYS else None,
    )
    number = 1 if before is None else before.number + 1
    return await open_attempt(
        session,
        payment,
        AttemptKind.CHARGE,
        body_of(request),
        attempt_id=attempt_id,
        key=f"inv-{payment.invoice_id}-pi-{number}" if payment.provider_id is None else None,
        amount_cents=amount_cents,
        method=method,
        now=now,
    )


async def _is_spent(session: AsyncSession, payment: Payment) -> bool:
    """Whether nothing may be charged: a charge is under way, or has succeeded, which a PaymentIntent does once."""
    tried = await attempts_in(session, payment, (*UNSETTLED, AttemptState.SUCCEEDED))
    return any(
        each.kind is AttemptKind.CHARGE or (each.kind is AttemptKind.DEBIT and each.finished_at is None)
        for each in tried
    )


async def _last_charge(session: AsyncSession, payment: Payment) -> PaymentAttempt | None:
    query = select(PaymentAttempt).where(
        col(PaymentAttempt.payment_id) == payment.id,
        col(PaymentAttempt.reseller_id) == payment.reseller_id,
        col(PaymentAttempt.kind) == AttemptKind.CHARGE,
    )
    return await session.scalar(query.order_by(col(PaymentAttempt.number).desc()).limit(1))


async def _small_ones(
    session: AsyncSession, payment: Payment, *, policy: CollectionPolicy
) -> list[tuple[Payment, int]]:
    """The reseller's open payments that are too small to be charged alone, with what is due of each."""
    query = select(Payment).where(
        col(Payment.reseller_id) == payment.reseller_id,
        col(Payment.id) != payment.id,
        col(Payment.status) == PaymentStatus.OPEN,
        col(Payment.next_attempt_at).is_(None),
        col(Payment.method).in_(AT_STRIPE),
        _NOT_CARRIED_NOW,
    )
    found = await session.scalars(query.order_by(col(Payment.id)).with_for_update())
    due = [(each, await due_cents(session, each)) for each in found.all()]
    return [
        (each, cents)
        for each, cents in due
        if 0 < cents < policy.minimum_cents or (cents > 0 and each.error_code == BELOW_MINIMUM)
    ]


_NOT_CARRIED_NOW = text(
    "not exists (select from payment other where other.id = payment.carried_to_id "
    "and other.reseller_id = payment.reseller_id and other.status = 'processing')"
)
