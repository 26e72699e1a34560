"""The bank's side: what statements show is booked once for each line, and what nobody can match waits for a person.

Which invoices a line settles is said by `documents.matching`; here it becomes receipts, returns and credit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.attempts import CollectionPolicy
from billing.documents.camt import StatementEntry
from billing.documents.matching import OpenItem, match, match_return
from billing.iban import creditor_reference
from billing.methods import disable_method
from billing.payment_models import (
    AttemptState,
    BankEntry,
    BankEntryState,
    EntryKind,
    Payment,
    PaymentAttempt,
)
from billing.settlement import apply_balance, book, finish, lock_payment, restate
from provisioning.core.errors import Conflict, NotFound
from provisioning.core.ids import new_id

# The account had no cover, or the bank gave no reason: the mandate still holds.
RETURNED_ONCE = frozenset({"AM04", "MS02", "MS03"})


@dataclass(frozen=True, slots=True)
class Imported:
    """How many lines of a statement were booked, wait for a person, and were known from before."""

    matched: int
    unmatched: int
    known: int


async def settle_statement(
    session: AsyncSession, entries: Iterable[StatementEntry], *, now: datetime, policy: CollectionPolicy
) -> Imported:
    """Book the lines of a statement, each once by its key, and keep those that match nothing for the operator.

    The caller's transaction takes all of them or none; the same file may be given again.
    """
    items = {item.id: item for item in await _open_items(session)}
    matched = unmatched = known = 0
    for entry in entries:
        row = await _keep(session, entry, now=now)
        if row is None:
            known += 1
            continue
        if entry.amount_cents > 0:
            paid = await _receive(session, entry, items, now=now)
        else:
            paid = await _return(session, entry, now=now, policy=policy)
        if paid is None:
            unmatched += 1
            continue
        row.state, row.payment_id, row.reseller_id = BankEntryState.MATCHED, paid.id, paid.reseller_id
        await session.flush()
        matched += 1
    return Imported(matched, unmatched, known)


async def get_bank_entry(session: AsyncSession, bank_entry_id: str) -> BankEntry:
    """Raises NotFound. For the operator."""
    query = select(BankEntry).where(col(BankEntry.id) == bank_entry_id).with_for_update()
    entry = (await session.scalars(query)).one_or_none()
    if entry is None:
        raise NotFound(f"There is no bank entry {bank_entry_id}.")
    return entry


async def list_bank_entries(
    session: AsyncSession, *, state: BankEntryState | None, limit: int = 50, before: str | None = None
) -> Sequence[BankEntry]:
    """Newest first; `before` is the id of the last one of the page before. For the operator."""
    query = select(BankEntry).order_by(col(BankEntry.id).desc()).limit(limit)
    if state is not None:
        query = query.where(col(BankEntry.state) == state)
    if before is not None:
        query = query.where(col(BankEntry.id) < before)
    return (await session.scalars(query)).all()


async def assign(session: AsyncSession, entry: BankEntry, payment: Payment, *, now: datetime) -> BankEntry:
    """Book an unmatched line for a payment, whichever way the money went. Raises Conflict `entry_assigned`."""
    if entry.state is not BankEntryState.UNMATCHED:
        raise Conflict("This line is booked already.", code="entry_assigned")
    entry.state, entry.payment_id, entry.reseller_id = BankEntryState.ASSIGNED, payment.id, payment.reseller_id
    kind = EntryKind.RECEIPT if entry.amount_cents > 0 else EntryKind.CHARGEBACK
    source = f"bank:{entry.entry_key}"
    await book(session, payment, kind, entry.amount_cents, source=source, now=now, booked_on=entry.booked_on)
    await restate(session, payment, now=now)
    await apply_balance(session, payment.reseller_id, now=now)
    return entry


async def _keep(session: AsyncSession, entry: StatementEntry, *, now: datetime) -> BankEntry | None:
    """The line as a row, waiting to be matched; None when it is there already."""
    row = BankEntry(
        id=new_id("bke"),
        entry_key=entry.key,
        state=BankEntryState.UNMATCHED,
        amount_cents=entry.amount_cents,
        booked_on=entry.booked_on,
        counterparty_name=entry.counterparty or None,
        counterparty_iban=entry.counterparty_iban or None,
        end_to_end_id=entry.end_to_end_id or None,
        remittance=" ".join((entry.remittance, *entry.references)).strip() or None,
        return_reason=entry.return_reason or None,
        created_at=now,
    )
    stored = insert(BankEntry).values(row.model_dump()).on_conflict_do_nothing(index_elements=["entry_key"])
    if await session.scalar(stored.returning(col(BankEntry.id))) is None:
        return None
    return await get_bank_entry(session, row.id)


# What is still owed, with the end-to-end id of the debit that is on its way for it.
_OPEN = text(
    """
    select payment.id, invoice.number, payment.amount_cents - coalesce(sum(entry.amount_cents), 0) as due,
        max(attempt.request ->> 'end_to_end_id') as end_to_end_id
    from payment
    join invoice on invoice.id = payment.invoice_id and invoice.reseller_id = payment.reseller_id
    left join payment_entry entry on entry.payment_id = payment.id
    left join lateral (
        select request from payment_attempt
        where payment_id = payment.id and kind = 'debit' and state = 'processing'
    ) attempt on true
    where payment.status not in ('paid', 'cancelled')
    group by payment.id, invoice.number
    having payment.amount_cents > coalesce(sum(entry.amount_cents), 0)
    """
)


async def _open_items(session: AsyncSession) -> list[OpenItem]:
    return [
        OpenItem(
            row.id,
            row.number,
            int(row.due),
            reference=creditor_reference(row.number),
            end_to_end_id=row.end_to_end_id or "",
        )
        for row in await session.execute(_OPEN)
    ]


async def _receive(
    session: AsyncSession, entry: StatementEntry, items: dict[str, OpenItem], *, now: datetime
) -> Payment | None:
    """Book money that came in; the first of the payments it settles, None when that is for a person to say."""
    if entry.transactions > 1:
        return await _receive_batch(session, entry, items, now=now)
    found = match(entry, list(items.values()))
    settled: list[Payment] = []
    for item in sorted(found.items, key=lambda item: item.id):
        payment = await lock_payment(session, item.id)
        alone = len(found.items) == 1
        amount = entry.amount_cents if alone else item.open_cents
        source = f"bank:{entry.key}" if alone else f"bank:{entry.key}:{payment.id}"
        kind = EntryKind.RECEIPT
        await book(session, payment, kind, amount, source=source, now=now, booked_on=entry.booked_on)
        debit = await _find_debit(session, entry.end_to_end_id)
        if debit is not None and debit.payment_id == payment.id and debit.finished_at is None:
            finish(debit, AttemptState.SUCCEEDED, now=now)
        await restate(session, payment, now=now)
        settled.append(payment)
        items[item.id] = replace(item, open_cents=max(0, item.open_cents - amount))
    for reseller_id in sorted({payment.reseller_id for payment in settled}):
        await apply_balance(session, reseller_id, now=now)
    return settled[0] if settled else None


# What a bank may have put into one sum: a whole file, one day of it, or one sort of debits on a day.
_BATCHES = text(
    """
    select distinct array_agg(id order by id) as ids from (
        select id, amount_cents, request ->> 'file_id' as file_id, request ->> 'collection_on' as collection_on,
            request ->> 'sequence' as sequence
        from payment_attempt where kind = 'debit' and state = 'processing'
    ) debit
    group by grouping sets ((file_id, collection_on, sequence), (file_id, collection_on), (file_id))
    having sum(amount_cents) = :amount_cents and count(*) = :transactions
    """
)


async def _receive_batch(
    session: AsyncSession, entry: StatementEntry, items: dict[str, OpenItem], *, now: datetime
) -> Payment | None:
    """Book the sum of debits that the bank did not itemise, where it can be one batch of ours only."""
    batch = {"amount_cents": entry.amount_cents, "transactions": entry.transactions}
    found = (await session.scalars(_BATCHES, batch)).all()
    if len(found) != 1:
        return None
    query = select(PaymentAttempt).where(col(PaymentAttempt.id).in_(found[0])).order_by(col(PaymentAttempt.payment_id))
    settled: list[Payment] = []
    for debit in (await session.scalars(query)).all():
        payment = await lock_payment(session, debit.payment_id)
        source = f"bank:{entry.key}:{payment.id}"
        kind, amount = EntryKind.RECEIPT, debit.amount_cents
        await book(session, payment, kind, amount, source=source, now=now, booked_on=entry.booked_on)
        finish(debit, AttemptState.SUCCEEDED, now=now)
        await restate(session, payment, now=now)
        items.pop(payment.id, None)
        settled.append(payment)
    return settled[0]


async def _return(
    session: AsyncSession, entry: StatementEntry, *, now: datetime, policy: CollectionPolicy
) -> Payment | None:
    """Book a debit that came back: its invoice is open again, and owes the fee by policy."""
    debit = await _find_debit(session, entry.end_to_end_id)
    if debit is None:
        return None
    collected = OpenItem(debit.id, "", debit.amount_cents, end_to_end_id=entry.end_to_end_id)
    if not match_return(entry, [collected]).items:
        return None
    payment = await lock_payment(session, debit.payment_id)
    source, reason = f"bank:{entry.key}", entry.return_reason or "reversed"
    if debit.state is AttemptState.SUCCEEDED:
        kind, amount = EntryKind.CHARGEBACK, -debit.amount_cents
        await book(session, payment, kind, amount, source=source, now=now, booked_on=entry.booked_on)
    else:
        finish(debit, AttemptState.FAILED, now=now, error_code=reason)
    if policy.return_fee_cents:
        await book(session, payment, EntryKind.FEE, -policy.return_fee_cents, source=f"{source}:fee", now=now)
    payment.error_code, payment.next_attempt_at = reason, None
    if reason not in RETURNED_ONCE and debit.method_id is not None:
        await disable_method(session, payment.reseller_id, debit.method_id, reason=reason, now=now)
    await restate(session, payment, now=now)
    return payment


async def _find_debit(session: AsyncSession, end_to_end_id: str) -> PaymentAttempt | None:
    """The debit that went to the bank under this id."""
    if not end_to_end_id:
        return None
    # A debit's end-to-end id is its key: no two have the same.
    return await session.scalar(
        select(PaymentAttempt).where(col(PaymentAttempt.idempotency_key) == end_to_end_id).with_for_update()
    )
