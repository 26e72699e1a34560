"""Payments as they are opened, read and changed: one for each final invoice, collected by workers.

`reseller_id` None is the operator, who sees everybody's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import Select
from sqlmodel import col

from billing.attempts import NOT_CARRIED_OUT, body_of, new_attempt_id, open_attempt
from billing.gateways.base import KEY_REUSED, RefundRequest
from billing.models import Invoice
from billing.payment_models import (
    UNANSWERED,
    AttemptKind,
    AttemptState,
    EntryKind,
    Payment,
    PaymentAttempt,
    PaymentEntry,
    PaymentStatus,
)
from billing.settlement import (
    DISPUTED,
    apply_balance,
    attempts_in,
    book,
    find_entry,
    finish,
    lock_payment,
    restate,
    sums_of,
    take_from_balance,
)
from provisioning.core.errors import Conflict, NotFound
from provisioning.core.ids import new_id
from provisioning.core.jobs import enqueue
from provisioning.core.queries import owned

COLLECT = "collect_payment"

BLOCK = 5_000
"""How many payments are opened in one transaction."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A payment with the sum of its entries and the number of its invoice."""

    payment: Payment
    settled_cents: int
    number: str | None
    due_on: date | None


_WITHOUT_PAYMENT = text(
    """
    select id from invoice
    where status = 'final' and (run_id = :run_id or cast(:run_id as text) is null) and reseller_id is not null
        and not exists (select from payment where payment.invoice_id = invoice.id)
        and (cast(:run_id as text) is not null or exists (
            select from invoice_run run where run.id = run_id and run.state in ('collection', 'succeeded')
        ))
    order by id limit :block
    """
)

# What nobody owes anything for is settled from its first moment.
_OPEN = text(
    """
    insert into payment (id, reseller_id, invoice_id, amount_cents, method, status, next_attempt_at, opened_at)
    select new.id, invoice.reseller_id, invoice.id, gross_cents, coalesce(method.kind, 'transfer'),
        case when gross_cents > 0 then 'open' else 'paid' end,
        case when gross_cents > 0 and method.kind in ('card', 'sepa_debit') then cast(:now as timestamptz) end, :now
    from unnest(cast(:ids as text[]), cast(:invoice_ids as text[])) as new (id, invoice_id)
    join invoice on invoice.id = new.invoice_id
    left join payment_method method on method.reseller_id = invoice.reseller_id and method.is_default
    on conflict (invoice_id) do nothing
    returning id, reseller_id, amount_cents
    """
)

_WITH_BALANCE = text(
    """
    select reseller_id from payment_entry
    where payment_id is null and reseller_id = any(cast(:reseller_ids as text[]))
    group by reseller_id having sum(amount_cents) > 0 order by reseller_id
    """
)


async def open_payments(session: AsyncSession, run_id: str | None, *, now: datetime) -> int:
    """Open a payment for the next final invoices of a run that have none, or of all that have come so far; 0 when none
    is left.

    Payments by card or account are collected by the next sweep of the workers; a credit balance is used first.
    """
    invoice_ids = (await session.scalars(_WITHOUT_PAYMENT, {"run_id": run_id, "block": BLOCK})).all()
    if invoice_ids:
        await _open(session, invoice_ids, now=now)
    return len(invoice_ids)


async def payment_of(session: AsyncSession, reseller_id: str, invoice_id: str, *, now: datetime) -> Payment:
    """The payment of a final invoice, held until the transaction ends; opened where its run has not come so far."""
    query = owned(Payment, reseller_id).where(col(Payment.invoice_id) == invoice_id).with_for_update()
    payment = await session.scalar(query)
    if payment is None:
        await _open(session, [invoice_id], now=now)
        payment = (await session.scalars(query)).one()
    return payment


async def _open(session: AsyncSession, invoice_ids: Sequence[str], *, now: datetime) -> None:
    ids = sorted(new_id("pay") for _ in invoice_ids)
    opened = (await session.execute(_OPEN, {"ids": ids, "invoice_ids": list(invoice_ids), "now": now})).all()
    for row in opened:
        if row.amount_cents < 0:
            await restate(session, await lock_payment(session, row.id), now=now)
    resellers = [row.reseller_id for row in opened]
    for reseller_id in (await session.scalars(_WITH_BALANCE, {"reseller_ids": resellers})).all():
        await apply_balance(session, reseller_id, now=now)


async def due_payments(session: AsyncSession, *, now: datetime, limit: int = 1_000) -> Sequence[str]:
    """The payments a worker is to look at now, longest due first."""
    query = (
        select(col(Payment.id))
        .where(col(Payment.next_attempt_at) <= now)
        .order_by(col(Payment.next_attempt_at))
        .limit(limit)
    )
    return (await session.scalars(query)).all()


async def get_payment(session: AsyncSession, reseller_id: str | None, payment_id: str) -> Standing:
    """Raises NotFound for an unknown one and for another reseller's."""
    row = (await session.execute(_of(reseller_id).where(col(Payment.id) == payment_id))).one_or_none()
    if row is None:
        raise NotFound(f"There is no payment {payment_id}.")
    return Standing(*row)


async def list_payments(
    session: AsyncSession,
    reseller_id: str | None,
    *,
    status: PaymentStatus | None = None,
    invoice_id: str | None = None,
    limit: int = 50,
    before: str | None = None,
) -> list[Standing]:
    """Newest first; `before` is the id of the last one of the page before."""
    query = _of(reseller_id).order_by(col(Payment.id).desc()).limit(limit)
    if status is not None:
        query = query.where(col(Payment.status) == status)
    if invoice_id is not None:
        query = query.where(col(Payment.invoice_id) == invoice_id)
    if before is not None:
        query = query.where(col(Payment.id) < before)
    return [Standing(*row) for row in await session.execute(query)]


async def entries_of(session: AsyncSession, payment: Payment) -> Sequence[PaymentEntry]:
    """What moved, in the order it was booked."""
    query = select(PaymentEntry).where(
        col(PaymentEntry.payment_id) == payment.id, col(PaymentEntry.reseller_id) == payment.reseller_id
    )
    return (await session.scalars(query.order_by(col(PaymentEntry.id)))).all()


async def attempts_of(session: AsyncSession, payment: Payment) -> Sequence[PaymentAttempt]:
    """What was tried, in its order."""
    return await attempts_in(session, payment, tuple(AttemptState))


async def retry(session: AsyncSession, payment: Payment, *, now: datetime) -> Payment:
    """Have an open or failed payment collected now. Raises Conflict `payment_not_open`, `charge_spent`.

    For the reseller too: it only says that a worker is to look at it.
    """
    if payment.status not in (PaymentStatus.OPEN, PaymentStatus.FAILED):
        raise Conflict(
            f"This payment is {payment.status}. Only what is open or failed is collected again.",
            code="payment_not_open",
        )
    succeeded = await attempts_in(session, payment, [AttemptState.SUCCEEDED])
    if any(each.kind is AttemptKind.CHARGE for each in succeeded):
        raise Conflict(
            "This was charged once and came back, and an invoice is charged once only. Pay it by transfer.",
            code="charge_spent",
        )
    payment.status, payment.next_attempt_at = PaymentStatus.OPEN, now
    await session.flush()
    await enqueue(session, COLLECT, [payment.id])
    return payment


async def release(session: AsyncSession, payment: Payment, *, now: datetime) -> None:
    """Give up an attempt that waits for people, once they have seen at Stripe that nothing came of it.

    The payment is then collected anew. Raises Conflict `payment_not_open` where no attempt waits for people.
    """
    waiting = [each for each in await attempts_in(session, payment, UNANSWERED) if each.error_code == KEY_REUSED]
    if not waiting:
        raise Conflict("No attempt of this payment waits for people.", code="payment_not_open")
    for attempt in waiting:
        finish(attempt, AttemptState.FAILED, now=now, error_code=NOT_CARRIED_OUT)
    payment.next_attempt_at = now
    await restate(session, payment, now=now)


async def record_receipt(
    session: AsyncSession, payment: Payment, *, amount_cents: int, received_on: date, reference: str, now: datetime
) -> None:
    """Book what came in by another way than Stripe and bank statement. Raises Conflict `receipt_booked`.

    `reference` tells one receipt from another. What is more than owed goes to the credit balance.
    """
    source = f"manual:{payment.id}:{reference}"
    kind = EntryKind.RECEIPT
    if not await book(session, payment, kind, amount_cents, source=source, now=now, booked_on=received_on):
        raise Conflict("A receipt with this reference is booked already.", code="receipt_booked")
    await restate(session, payment, now=now)
    await apply_balance(session, payment.reseller_id, now=now)


async def credit_payment(
    session: AsyncSession, payment: Payment, *, credit_note_id: str, amount_cents: int, now: datetime
) -> None:
    """Take what a credit note says off what is owed; what was paid too much then goes to the credit balance.

    Once for each credit note. Raises Conflict `credit_exceeds_invoice`, `credit_note_booked`.
    """
    await _credit(session, payment, credit_note_id=credit_note_id, amount_cents=amount_cents, now=now)
    await restate(session, payment, now=now)
    await apply_balance(session, payment.reseller_id, now=now)


async def write_off(session: AsyncSession, payment: Payment, *, now: datetime) -> None:
    """Give up what is still owed. Raises Conflict `payment_not_open`.

    Money pays the invoice first, so what is left of it is told from what is left of the fees: only the invoice bore
    VAT. Fees are lost with their invoice; where that is paid, they are waived.
    """
    sums = await sums_of(session, payment)
    due = payment.amount_cents - sums.settled_cents
    if payment.status not in (PaymentStatus.OPEN, PaymentStatus.FAILED) or due <= 0:
        raise Conflict(f"This payment is {payment.status}: there is nothing to give up.", code="payment_not_open")
    of_invoice = max(0, due - sums.fees_cents)
    source = f"write-off:{new_id('wof')}"
    if of_invoice:
        await book(session, payment, EntryKind.WRITE_OFF, of_invoice, source=source, now=now)
    if due > of_invoice:
        fee_source = f"{source}:fee" if of_invoice else f"waiver:{new_id('wof')}"
        await book(session, payment, EntryKind.FEE, due - of_invoice, source=fee_source, now=now)
    payment.next_attempt_at = None
    await restate(session, payment, now=now)


async def request_refund(
    session: AsyncSession, payment: Payment, *, credit_note_id: str, amount_cents: int, now: datetime
) -> PaymentAttempt:
    """Give back through Stripe what a credit note took off; a worker sends it. Once for each credit note.

    Raises Conflict `payment_disputed`, `refund_exceeds_receipts`, `credit_exceeds_invoice`, `credit_note_booked`,
    `refund_requested`, `credit_used_up`.
    """
    if payment.dispute_status in DISPUTED:
        raise Conflict("The bank is deciding who gets this money. Wait for it.", code="payment_disputed")
    refundable = await _refundable_cents(session, payment)
    if payment.provider_id is None or amount_cents > refundable:
        raise Conflict(
            f"Only {refundable} cents of this payment came in through Stripe and are there to go back.",
            code="refund_exceeds_receipts",
        )
    key = f"cn-{credit_note_id}"
    query = select(col(PaymentAttempt.id)).where(
        col(PaymentAttempt.idempotency_key) == key, col(PaymentAttempt.reseller_id) == payment.reseller_id
    )
    if await session.scalar(query) is not None:
        raise Conflict("This credit note is refunded already.", code="refund_requested")
    is_new = await _credit(session, payment, credit_note_id=credit_note_id, amount_cents=amount_cents, now=now)
    if not is_new and not await take_from_balance(session, payment, amount_cents, now=now):
        raise Conflict("What was credited has been used for other invoices.", code="credit_used_up")
    attempt_id = new_attempt_id()
    request = RefundRequest(payment.provider_id, amount_cents, attempt_id, credit_note_id)
    attempt = await open_attempt(
        session,
        payment,
        AttemptKind.REFUND,
        body_of(request),
        attempt_id=attempt_id,
        key=key,
        amount_cents=amount_cents,
        method=None,
        now=now,
    )
    payment.next_attempt_at = now
    await restate(session, payment, now=now)
    await enqueue(session, COLLECT, [payment.id])
    return attempt


async def _credit(
    session: AsyncSession, payment: Payment, *, credit_note_id: str, amount_cents: int, now: datetime
) -> bool:
    """False when this credit note has been booked before."""
    source = f"cn-{credit_note_id}"
    before = await find_entry(session, payment, source)
    if before is not None:
        if before.payment_id != payment.id or before.amount_cents < amount_cents:
            raise Conflict("This credit note is booked already, with less or elsewhere.", code="credit_note_booked")
        return False
    credited = (await sums_of(session, payment)).credited_cents
    if credited + amount_cents > payment.amount_cents:
        raise Conflict(
            f"The invoice is over {payment.amount_cents} cents, of which {credited} are credited already.",
            code="credit_exceeds_invoice",
        )
    await book(session, payment, EntryKind.CREDIT_NOTE, amount_cents, source=source, now=now)
    return True


async def _refundable_cents(session: AsyncSession, payment: Payment) -> int:
    """What Stripe has received for this payment, without what went back, is going back, or was taken by the bank."""
    pending = sum(
        each.amount_cents for each in await attempts_in(session, payment, UNANSWERED) if each.kind is AttemptKind.REFUND
    )
    query = select(func.coalesce(func.sum(col(PaymentEntry.amount_cents)), 0)).where(
        col(PaymentEntry.payment_id) == payment.id,
        col(PaymentEntry.reseller_id) == payment.reseller_id,
        _AT_STRIPE,
    )
    return int(await session.scalar(query) or 0) - pending


_AT_STRIPE = text(
    """
    (payment_entry.kind in ('refund', 'chargeback') or payment_entry.kind = 'receipt' and exists (
        select from payment_attempt attempt where attempt.payment_id = payment_entry.payment_id
            and attempt.reseller_id = payment_entry.reseller_id and attempt.provider_id = payment_entry.source))
    """
)


def _of(reseller_id: str | None) -> Select[Payment, int, str | None, date | None]:
    settled = (
        select(func.coalesce(func.sum(col(PaymentEntry.amount_cents)), 0))
        .where(
            col(PaymentEntry.payment_id) == col(Payment.id), col(PaymentEntry.reseller_id) == col(Payment.reseller_id)
        )
        .scalar_subquery()
    )
    query = select(Payment, settled, col(Invoice.number), col(Invoice.due_on)).join(
        Invoice, col(Invoice.id) == col(Payment.invoice_id)
    )
    return query if reseller_id is None else query.where(col(Payment.reseller_id) == reseller_id)
