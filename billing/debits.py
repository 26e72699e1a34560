"""Direct debits of our own: the due payments of resellers who gave us a mandate, in one pain.008 file for the bank."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.attempts import new_attempt_id, open_attempt
from billing.documents.sepa import Creditor, DirectDebit, Mandate, collection_day, write_direct_debits
from billing.methods import get_method
from billing.payment_models import (
    AttemptKind,
    AttemptState,
    DirectDebitFile,
    MethodKind,
    Payment,
    PaymentMethod,
)
from billing.periods import berlin_day
from billing.settlement import due_cents, lock_payment, restate
from provisioning.core.errors import Conflict, Invalid, NotFound
from provisioning.core.ids import new_id


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A due payment that no debit can be made for, and why."""

    payment_id: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Made:
    """The file, and what is not in it."""

    file: DirectDebitFile
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class _Due:
    payment: Payment
    method: PaymentMethod
    amount_cents: int
    attempt_id: str
    debit: DirectDebit


_DUE = text(
    """
    select payment.id, method.id as method_id, invoice.number, invoice.issued_on, invoice.due_on
    from payment
    join payment_method method on method.reseller_id = payment.reseller_id and method.is_default
        and method.kind = 'direct_debit'
    join invoice on invoice.id = payment.invoice_id and invoice.reseller_id = payment.reseller_id
    where payment.status = 'open' and not exists (
        select from payment_attempt attempt where attempt.payment_id = payment.id and attempt.kind <> 'refund'
            and attempt.state in ('sending', 'unknown', 'processing'))
    order by payment.id
    """
)

_LAST_USED = text(
    "select max(cast(request ->> 'collection_on' as date)) from payment_attempt "
    "where method_id = :method_id and kind = 'debit' and state in ('processing', 'succeeded')"
)


async def make_debits(
    session: AsyncSession, creditor: Creditor, *, actor: str, notice_days: int, now: datetime
) -> Made:
    """Write a file of all that is open and covered by a mandate; each debit is under way until the bank reports it.

    Calling it again takes only what has become due since. Raises Conflict `nothing_to_debit`.
    """
    due: list[_Due] = []
    left_out: list[LeftOut] = []
    for row in (await session.execute(_DUE)).all():
        payment = await lock_payment(session, row.id)
        method = await get_method(session, payment.reseller_id, row.method_id)
        day = collection_day(
            row.due_on, notified_on=row.issued_on, submitted_on=berlin_day(now), notice_days=notice_days
        )
        try:
            due.append(await _debit_of(session, payment, method, number=row.number, collect_on=day))
        except Invalid as refusal:
            left_out.append(LeftOut(payment.id, refusal.code, refusal.detail))
    if not due:
        reasons = " ".join(each.reason for each in left_out[:3])
        raise Conflict(f"No payment is due that a mandate covers. {reasons}".strip(), code="nothing_to_debit")
    written = write_direct_debits(creditor, [each.debit for each in due], now=now)
    file = DirectDebitFile(
        id=new_id("ddf"),
        collect_on=min(each.debit.collection_on for each in due),
        count=written.debits,
        total_cents=written.amount_cents,
        content=written.content,
        sha256=sha256(written.content).hexdigest(),
        actor=actor,
        created_at=now,
    )
    session.add(file)
    sequences = _sequences(due)
    for each in due:
        await _send(session, each, file, sequence=sequences[each.attempt_id], now=now)
    return Made(file, tuple(left_out))


async def get_file(session: AsyncSession, file_id: str) -> DirectDebitFile:
    """Raises NotFound."""
    file = await session.scalar(select(DirectDebitFile).where(col(DirectDebitFile.id) == file_id))
    if file is None:
        raise NotFound(f"There is no direct debit file {file_id}.")
    return file


async def list_files(session: AsyncSession, *, limit: int = 50, before: str | None = None) -> Sequence[DirectDebitFile]:
    """Newest first; `before` is the id of the last one of the page before."""
    query = select(DirectDebitFile).order_by(col(DirectDebitFile.id).desc()).limit(limit)
    if before is not None:
        query = query.where(col(DirectDebitFile.id) < before)
    return (await session.scalars(query)).all()


async def _debit_of(
    session: AsyncSession, payment: Payment, method: PaymentMethod, *, number: str, collect_on: date
) -> _Due:
    """Raises Invalid where the mandate does not cover it."""
    mandate = Mandate(
        reference=method.mandate_reference or "",
        signed_on=method.mandate_signed_on or collect_on,
        debtor=method.holder or "",
        iban=method.iban or "",
        bic=method.bic or "",
        last_used_on=await session.scalar(_LAST_USED, {"method_id": method.id}),
    )
    attempt_id = new_attempt_id()
    amount = await due_cents(session, payment)
    debit = DirectDebit(mandate, amount, collect_on, end_to_end_id=end_to_end_id(attempt_id), description=number)
    return _Due(payment, method, amount, attempt_id, debit)


def end_to_end_id(attempt_id: str) -> str:
    """An attempt's id in the characters that banks take."""
    return attempt_id.replace("_", "-")


def _sequences(due: Sequence[_Due]) -> dict[str, str]:
    """FRST or RCUR of each, in the order in which the file is written: banks book each sort in one sum."""
    begun: set[str] = set()
    sequences = {}
    for each in sorted(due, key=lambda one: (one.debit.collection_on, one.debit.mandate.reference, one.attempt_id)):
        mandate = each.debit.mandate
        is_first = mandate.last_used_on is None and mandate.reference not in begun
        sequences[each.attempt_id] = "FRST" if is_first else "RCUR"
        begun.add(mandate.reference)
    return sequences


async def _send(session: AsyncSession, due: _Due, file: DirectDebitFile, *, sequence: str, now: datetime) -> None:
    body = {
        "file_id": file.id,
        "end_to_end_id": due.debit.end_to_end_id,
        "collection_on": due.debit.collection_on.isoformat(),
        "sequence": sequence,
        "amount_cents": due.amount_cents,
    }
    attempt = await open_attempt(
        session,
        due.payment,
        AttemptKind.DEBIT,
        body,
        attempt_id=due.attempt_id,
        key=due.debit.end_to_end_id,
        amount_cents=due.amount_cents,
        method=due.method,
        now=now,
    )
    attempt.state, attempt.sent_at = AttemptState.PROCESSING, now
    due.payment.method, due.payment.error_code = MethodKind.DIRECT_DEBIT, None
    await restate(session, due.payment, now=now)
