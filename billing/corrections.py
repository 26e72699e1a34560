"""Corrections of final invoices: a cancellation takes all of one back, a credit note a part. The original stays.

Each correction passes the gate before it gets its number, and its documents are stored as an invoice's are. It is
booked on the invoice's payment at once, so that nobody is charged or dunned for what was taken back.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing import runs
from billing.credit_notes import Taken, number_credit_note
from billing.document_models import CreditNote, CreditNoteKind, CreditNoteLine
from billing.issuing import ISSUE_CREDIT_NOTE
from billing.models import Invoice, InvoiceLine, InvoiceRunItem, InvoiceStatus, Issuer, ItemState
from billing.payments import credit_payment, payment_of
from provisioning.core.errors import Conflict, FieldError, Invalid, NotFound
from provisioning.core.ids import new_id
from provisioning.core.jobs import enqueue
from provisioning.core.queries import owned

_GIVE_CREDIT_BACK = text(
    """
    insert into credit (id, reseller_id, amount_cents, reason, actor, created_at)
    select :id, reseller_id, -amount_cents, :number, 'cancellation', :now from credit where invoice_id = :invoice_id
    """
)


async def cancel_invoice(
    session: AsyncSession, invoice_id: str, *, reason: str, reissue: bool, actor: str, issuer: Issuer, now: datetime
) -> CreditNote:
    """Take all of a final invoice back; with `reissue`, have its run bill the period anew under a new number.

    Raises NotFound, Conflict `invoice_not_final`, `already_cancelled`, `already_credited` when a part of it has been
    taken back before, `document_invalid`, and for a reissue `run_not_finished`.
    """
    invoice = await _locked(session, invoice_id)
    before = await _corrections_of(session, invoice)
    if before:
        raise Conflict(
            f"{before[0].number} has taken back a part of this invoice. Credit the rest of it instead.",
            code="already_credited",
        )
    lines = await _lines_of(session, invoice)
    taken = Taken({line.position: line.net_cents for line in lines}, _allowances_of(invoice, lines))
    note = await number_credit_note(
        session, invoice, CreditNoteKind.CANCELLATION, taken, reason=reason, actor=actor, issuer=issuer, now=now
    )
    await _book(session, note, now=now)
    await session.execute(
        _GIVE_CREDIT_BACK, {"invoice_id": invoice.id, "number": note.number, "id": new_id("crd"), "now": now}
    )
    if reissue:
        await _bill_anew(session, invoice, note)
    return note


async def credit_invoice(
    session: AsyncSession,
    invoice_id: str,
    *,
    amounts: Mapping[int, int] | None,
    reason: str,
    actor: str,
    issuer: Issuer,
    now: datetime,
) -> CreditNote:
    """Take back net cents by position of a final invoice's lines, or with `amounts` None all that is left of it.

    The tax is that of the invoice's rate on the sum. Raises NotFound, Invalid, Conflict `invoice_not_final`,
    `already_cancelled`, `nothing_to_credit`, `credit_exceeds_invoice` when all corrections together would take back
    more than was charged, and `document_invalid`.
    """
    invoice = await _locked(session, invoice_id)
    before = await _corrections_of(session, invoice)
    lines = {line.position: line for line in await _lines_of(session, invoice)}
    allowances = _allowances_of(invoice, list(lines.values())) - sum(each.allowances_cents for each in before)
    if amounts is None:
        left = await _left_by_position(session, invoice, lines)
        taken = Taken({position: cents for position, cents in left.items() if cents > 0}, allowances)
    else:
        unknown = sorted(amounts.keys() - lines.keys())
        if unknown:
            message = f"The invoice has no line {unknown[0]}."
            raise Invalid("These lines cannot be credited.", errors=[FieldError("/lines", "unknown_line", message)])
        taken = Taken(dict(sorted(amounts.items())), 0)
    if not taken.by_position or taken.net_cents <= 0:
        raise Conflict("Nothing is left of this invoice that could be taken back.", code="nothing_to_credit")
    note = await number_credit_note(
        session, invoice, CreditNoteKind.CREDIT_NOTE, taken, reason=reason, actor=actor, issuer=issuer, now=now
    )
    await _book(session, note, now=now)
    return note


async def _book(session: AsyncSession, note: CreditNote, *, now: datetime) -> None:
    """Have its documents made, and take it off what is owed; what was paid already becomes the reseller's credit."""
    await enqueue(session, ISSUE_CREDIT_NOTE, [note.id])
    if note.gross_cents:
        payment = await payment_of(session, note.reseller_id, note.invoice_id, now=now)
        await credit_payment(session, payment, credit_note_id=note.id, amount_cents=note.gross_cents, now=now)


async def _bill_anew(session: AsyncSession, invoice: Invoice, note: CreditNote) -> None:
    """Park the reseller in the run that billed the period, and have that run bill its parked ones again."""
    await session.execute(
        update(InvoiceRunItem)
        .where(
            col(InvoiceRunItem.run_id) == invoice.run_id,
            col(InvoiceRunItem.reseller_id) == invoice.reseller_id,
        )
        .values(
            state=ItemState.PARKED,
            code="invoice_cancelled",
            reason=f"{invoice.number} was cancelled by {note.number} and is billed anew.",
        )
    )
    await runs.reopen(session, invoice.run_id)


async def _locked(session: AsyncSession, invoice_id: str) -> Invoice:
    """The invoice, whose corrections nobody else changes until the transaction ends."""
    query = select(Invoice).where(col(Invoice.id) == invoice_id).with_for_update(key_share=True)
    invoice = (await session.scalars(query)).one_or_none()
    if invoice is None:
        raise NotFound(f"There is no invoice {invoice_id}.")
    if invoice.status != InvoiceStatus.FINAL:
        raise Conflict("This is a draft. Cancel its run, or correct it when it is final.", code="invoice_not_final")
    return invoice


async def _corrections_of(session: AsyncSession, invoice: Invoice) -> Sequence[CreditNote]:
    """Raises Conflict `already_cancelled` when nothing can follow."""
    query = owned(CreditNote, invoice.reseller_id).where(col(CreditNote.invoice_id) == invoice.id)
    found = (await session.scalars(query.order_by(col(CreditNote.id)))).all()
    for each in found:
        if each.kind is CreditNoteKind.CANCELLATION:
            raise Conflict(f"{each.number} has cancelled this invoice already.", code="already_cancelled")
    return found


async def _lines_of(session: AsyncSession, invoice: Invoice) -> Sequence[InvoiceLine]:
    query = owned(InvoiceLine, invoice.reseller_id).where(col(InvoiceLine.invoice_id) == invoice.id)
    return (await session.scalars(query.order_by(col(InvoiceLine.position)))).all()


async def _left_by_position(
    session: AsyncSession, invoice: Invoice, lines: Mapping[int, InvoiceLine]
) -> dict[int, int]:
    position, net = col(CreditNoteLine.invoice_position), func.sum(col(CreditNoteLine.net_cents))
    query = (
        select(position, net)
        .join(CreditNote, col(CreditNote.id) == col(CreditNoteLine.credit_note_id))
        .where(col(CreditNote.invoice_id) == invoice.id, col(CreditNote.reseller_id) == invoice.reseller_id)
        .group_by(position)
    )
    credited = {found: int(cents) for found, cents in await session.execute(query)}
    return {place: line.net_cents - credited.get(place, 0) for place, line in lines.items()}


def _allowances_of(invoice: Invoice, lines: Sequence[InvoiceLine]) -> int:
    """BT-107: what was taken off the lines' sum."""
    return sum(line.net_cents for line in lines) - invoice.net_cents
