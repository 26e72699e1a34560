"""The rows behind documents, loaded for a block of invoices at once and never for each line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.composing import CreditNoteFacts, InvoiceFacts, StayFacts
from billing.document_models import CreditNote, CreditNoteLine
from billing.documents.document import Corrected
from billing.invoices import CARRIED_OVER, CONTINUES
from billing.models import Invoice, InvoiceAllowance, InvoiceLine, InvoiceStatus, Issuer
from billing.snapshots import BUYER_SQL, PROVISIONAL_SEQUENCE, number_of, seller_json, validated_hash_sql


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be validated, and the hash of what it was made of."""

    reseller_id: str
    validated_hash: str
    facts: InvoiceFacts


# In an order of each worker's own, so that several of them seldom take the same ones, and need not know each other.
_UNVALIDATED = text(
    f"""
    select item.reseller_id, invoice.id, {BUYER_SQL} as buyer, cast(:seller as jsonb) as seller,
        {validated_hash_sql()} as validated_hash
    from invoice_run_item item
    join invoice on invoice.run_id = item.run_id and invoice.reseller_id = item.reseller_id
        and invoice.status = 'draft'
    join reseller on reseller.id = item.reseller_id
    where item.run_id = :run_id and item.state = 'drafted' and item.validated_hash is null
    order by md5(item.reseller_id || :salt) limit :block
    """  # noqa: S608 - made of constants only
)

_BUYER = text(
    f"select {BUYER_SQL} as buyer, cast(:seller as jsonb) as seller from reseller where reseller.id = :reseller_id"  # noqa: S608 - made of constants only
)

_ANNEX = text(
    f"""
    with stay as (
        select reseller_id, mailbox_id, customer_id, address, service_class as product, 1 as quantity, starts_on,
            ends_on, start_reason, end_reason, false as is_add_on
        from service_period
        union all
        select reseller_id, mailbox_id, customer_id, address, add_on, quantity, starts_on, ends_on, start_reason,
            end_reason, true
        from add_on_period
    )
    select invoice.id as invoice_id, customer_id, address, product,
        greatest(starts_on, period_starts_on) as starts_on, least(ends_on, period_ends_on) as ends_on,
        (least(ends_on, period_ends_on) - greatest(starts_on, period_starts_on)) * quantity as days,
        case when starts_on < period_starts_on then '{CARRIED_OVER}' else start_reason end as start_reason,
        case when ends_on <= period_ends_on then coalesce(end_reason, '') else '{CONTINUES}' end as end_reason
    from invoice
    join stay on stay.reseller_id = invoice.reseller_id and starts_on < period_ends_on
        and (ends_on is null or (ends_on > period_starts_on and ends_on > starts_on))
    where invoice.id = any(cast(:invoice_ids as text[]))
    order by invoice.id, customer_id, address, mailbox_id, is_add_on, stay.starts_on, product
    """  # noqa: S608 - made of constants only
)


async def unvalidated_drafts(
    session: AsyncSession, run_id: str, *, issuer: Issuer, issued_on: date, salt: str, limit: int
) -> list[Draft]:
    """Return the next drafts of a run that nobody has validated as they are now; without annex, which is in no XML."""
    parameters = {"run_id": run_id, "seller": seller_json(issuer), "salt": salt, "block": limit}
    found = {row.id: row for row in await session.execute(_UNVALIDATED, parameters)}
    number = number_of(issuer.series, issued_on.year, PROVISIONAL_SEQUENCE)
    due_on = issued_on + timedelta(days=issuer.payment_days)
    invoices = await _invoices(session, list(found))
    lines = await _lines(session, invoices)
    allowances = await _allowances(session, invoices)
    replaced = await _replaced(session, invoices)
    return [
        Draft(
            invoice.reseller_id,
            found[invoice.id].validated_hash,
            InvoiceFacts(
                invoice,
                number,
                issued_on,
                due_on,
                buyer=found[invoice.id].buyer,
                seller=found[invoice.id].seller,
                lines=lines.get(invoice.id, ()),
                allowances=allowances.get(invoice.id, ()),
                replaces=replaced.get(invoice.id),
            ),
        )
        for invoice in invoices
    ]


async def final_invoices(
    session: AsyncSession, invoice_ids: Sequence[str], *, with_annex: bool = True
) -> list[InvoiceFacts]:
    """Return what the documents of final invoices are made of, by invoice id."""
    invoices = await _invoices(session, invoice_ids)
    lines = await _lines(session, invoices)
    replaced = await _replaced(session, invoices)
    allowances = await _allowances(session, invoices)
    annex = await _annex(session, invoices) if with_annex else {}
    return [_final(each, lines, allowances, replaced, annex) for each in invoices]


async def page_facts(session: AsyncSession, invoice: Invoice, *, issuer: Issuer, today: date) -> InvoiceFacts:
    """Return what the page of an invoice is made of; a draft as if it were issued today."""
    if invoice.status == InvoiceStatus.FINAL:
        (facts,) = await final_invoices(session, [invoice.id])
        return facts
    parties = (await session.execute(_BUYER, {"reseller_id": invoice.reseller_id, "seller": seller_json(issuer)})).one()
    lines, allowances = await _lines(session, [invoice]), await _allowances(session, [invoice])
    replaced, annex = await _replaced(session, [invoice]), await _annex(session, [invoice])
    return InvoiceFacts(
        invoice,
        number_of(issuer.series, today.year, PROVISIONAL_SEQUENCE),
        today,
        today + timedelta(days=issuer.payment_days),
        buyer=parties.buyer,
        seller=parties.seller,
        lines=lines.get(invoice.id, ()),
        allowances=allowances.get(invoice.id, ()),
        replaces=replaced.get(invoice.id),
        annex=annex.get(invoice.id, ()),
    )


async def credit_note_facts(session: AsyncSession, credit_note: CreditNote) -> CreditNoteFacts:
    """Return what the document of a credit note is made of."""
    (corrected,) = await final_invoices(session, [credit_note.invoice_id], with_annex=False)
    query = select(CreditNoteLine).where(
        col(CreditNoteLine.credit_note_id) == credit_note.id,
        col(CreditNoteLine.reseller_id) == credit_note.reseller_id,
    )
    lines = (await session.scalars(query.order_by(col(CreditNoteLine.position)))).all()
    return CreditNoteFacts(credit_note, lines, corrected)


def _final(
    invoice: Invoice,
    lines: Mapping[str, Sequence[InvoiceLine]],
    allowances: Mapping[str, Sequence[InvoiceAllowance]],
    replaced: Mapping[str, Corrected],
    annex: Mapping[str, Sequence[StayFacts]],
) -> InvoiceFacts:
    if invoice.number is None or invoice.issued_on is None or invoice.due_on is None:
        raise ValueError(f"invoice {invoice.id} is not final")
    return InvoiceFacts(
        invoice,
        invoice.number,
        invoice.issued_on,
        invoice.due_on,
        buyer=invoice.buyer or {},
        seller=invoice.seller or {},
        lines=lines.get(invoice.id, ()),
        allowances=allowances.get(invoice.id, ()),
        replaces=replaced.get(invoice.id),
        annex=annex.get(invoice.id, ()),
    )


async def _invoices(session: AsyncSession, invoice_ids: Sequence[str]) -> Sequence[Invoice]:
    query = select(Invoice).where(col(Invoice.id).in_(invoice_ids)).order_by(col(Invoice.id))
    return (await session.scalars(query)).all()


async def _lines(session: AsyncSession, invoices: Sequence[Invoice]) -> dict[str, list[InvoiceLine]]:
    query = (
        select(InvoiceLine)
        .where(
            col(InvoiceLine.invoice_id).in_([each.id for each in invoices]),
            col(InvoiceLine.reseller_id).in_({each.reseller_id for each in invoices}),
        )
        .order_by(col(InvoiceLine.invoice_id), col(InvoiceLine.position))
    )
    found = (await session.scalars(query)).all()
    return {key: list(lines) for key, lines in groupby(found, key=lambda line: line.invoice_id)}


async def _allowances(session: AsyncSession, invoices: Sequence[Invoice]) -> dict[str, list[InvoiceAllowance]]:
    query = (
        select(InvoiceAllowance)
        .where(
            col(InvoiceAllowance.invoice_id).in_([each.id for each in invoices]),
            col(InvoiceAllowance.reseller_id).in_({each.reseller_id for each in invoices}),
        )
        .order_by(col(InvoiceAllowance.invoice_id), col(InvoiceAllowance.position))
    )
    found = (await session.scalars(query)).all()
    return {key: list(of_one) for key, of_one in groupby(found, key=lambda each: each.invoice_id)}


async def _replaced(session: AsyncSession, invoices: Sequence[Invoice]) -> dict[str, Corrected]:
    """The cancelled invoice that each one replaces, by the id of the new one."""
    originals = {each.id: each.replaces_id for each in invoices if each.replaces_id is not None}
    if not originals:
        return {}
    found = {each.id: each for each in await _invoices(session, list(originals.values()))}
    return {
        new: Corrected(str(original.number), original.issued_on, in_full=True)
        for new, original in ((new, found[old]) for new, old in originals.items())
        if original.issued_on is not None
    }


async def _annex(session: AsyncSession, invoices: Sequence[Invoice]) -> dict[str, list[StayFacts]]:
    rows = (await session.execute(_ANNEX, {"invoice_ids": [each.id for each in invoices]})).all()
    return {key: [_stay(row) for row in stays] for key, stays in groupby(rows, key=lambda row: row.invoice_id)}


def _stay(row: Any) -> StayFacts:
    return StayFacts(
        row.customer_id,
        row.address,
        row.product,
        row.days,
        row.starts_on,
        row.ends_on,
        start_reason=row.start_reason,
        end_reason=row.end_reason,
    )
