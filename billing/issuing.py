"""The documents of what is final: rendered, judged once more with their number, and stored for good.

Several workers render at once. Each claims a block by locks that others skip and that a killed worker cannot keep,
and renders within that transaction: what is claimed is stored by its commit or free again.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from hashlib import sha256

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.composing import compose_credit_note, compose_invoice
from billing.document_models import RETENTION_YEARS, CreditNote, DocumentKind, InvoiceDocument
from billing.document_sources import credit_note_facts, final_invoices
from billing.documents.cii import Profile, build_xml
from billing.documents.document import Document
from billing.documents.gate import check
from billing.documents.pdf import UnprintableDocument, render_pdf
from provisioning.core.ids import new_id

BLOCK = 10
"""How many invoices are rendered in one transaction: about a second of work."""

ISSUE_CREDIT_NOTE = "issue_credit_note"


@dataclass(frozen=True, slots=True)
class Progress:
    """How many final invoices of a run have their documents, how many could not get them, how many wait."""

    documents: int
    alarms: int
    waiting: int


@dataclass(frozen=True, slots=True)
class _Made:
    """The files of one document, or why there are none."""

    files: Mapping[DocumentKind, bytes]
    alarm: str | None = None


_WITHOUT_DOCUMENTS = """
    select invoice.id from invoice
    join invoice_run_item item on item.run_id = invoice.run_id and item.reseller_id = invoice.reseller_id
    where invoice.status = 'final' and {which}
        and not exists (select from invoice_document stored where stored.invoice_id = invoice.id)
    order by invoice.id limit :block for no key update of invoice skip locked
"""
_CLAIM = text(_WITHOUT_DOCUMENTS.format(which="invoice.run_id = :run_id and item.alarm is null"))
_CLAIM_ALARMED = text(_WITHOUT_DOCUMENTS.format(which="item.alarm is not null and invoice.id > :after"))

_RAISE_ALARMS = text(
    """
    update invoice_run_item item set alarm = raised.alarm
    from unnest(cast(:invoice_ids as text[]), cast(:alarms as text[])) as raised (invoice_id, alarm)
    join invoice on invoice.id = raised.invoice_id
    where item.run_id = invoice.run_id and item.reseller_id = invoice.reseller_id
        and item.alarm is distinct from raised.alarm
    """
)

_PROGRESS = text(
    """
    select count(*) filter (where is_stored) as documents,
        count(*) filter (where not is_stored and alarm is not null) as alarms,
        count(*) filter (where not is_stored and alarm is null) as waiting
    from (
        select item.alarm,
            exists (select from invoice_document stored where stored.invoice_id = invoice.id) as is_stored
        from invoice
        join invoice_run_item item on item.run_id = invoice.run_id and item.reseller_id = invoice.reseller_id
        where invoice.run_id = :run_id and invoice.status = 'final'
    ) each_invoice
    """
)

_RECOUNT = text(
    """
    update invoice_run run set alarms = counted.alarms, documents = run.documents + run.alarms - counted.alarms
    from (
        select run_id, count(alarm) as alarms from invoice_run_item
        where run_id in (select run_id from invoice where id = any(cast(:invoice_ids as text[]))) group by run_id
    ) counted
    where run.id = counted.run_id
    """
)

_UNISSUED_CREDIT_NOTES = text(
    """
    select id from credit_note
    where not exists (select from invoice_document stored where stored.credit_note_id = credit_note.id)
    order by id limit :block
    """
)


async def progress_of(session: AsyncSession, run_id: str) -> Progress:
    row = (await session.execute(_PROGRESS, {"run_id": run_id})).one()
    return Progress(row.documents, row.alarms, row.waiting)


async def issue_block(session: AsyncSession, run_id: str, *, now: datetime, logo: bytes | None = None) -> int:
    """Render and store the documents of the next final invoices of a run; 0 when none is left that nobody has."""
    claimed = (await session.scalars(_CLAIM, {"run_id": run_id, "block": BLOCK})).all()
    await _issue(session, claimed, now=now, logo=logo)
    return len(claimed)


async def issue_alarmed(
    session: AsyncSession, *, now: datetime, after: str = "", logo: bytes | None = None
) -> str | None:
    """Try the next ones again whose documents could not be made, of all runs; the last of them, None at the end."""
    claimed: Sequence[str] = (await session.scalars(_CLAIM_ALARMED, {"after": after, "block": BLOCK})).all()
    if not claimed:
        return None
    await _issue(session, claimed, now=now, logo=logo)
    await session.execute(_RECOUNT, {"invoice_ids": list(claimed)})
    return claimed[-1]


async def issue_credit_note(
    session: AsyncSession, credit_note_id: str, *, now: datetime, logo: bytes | None = None
) -> str | None:
    """Render and store the documents of a credit note that has none; why that failed, if it did."""
    has_documents = (
        select(col(InvoiceDocument.id)).where(col(InvoiceDocument.credit_note_id) == col(CreditNote.id)).exists()
    )
    query = (
        select(CreditNote)
        .where(col(CreditNote.id) == credit_note_id, ~has_documents)
        .with_for_update(key_share=True, skip_locked=True)
    )
    credit_note = (await session.scalars(query)).one_or_none()
    if credit_note is None:
        return None
    facts = await credit_note_facts(session, credit_note)
    made = await asyncio.to_thread(_make, partial(compose_credit_note, facts), logo)
    rows = _rows(made, credit_note.reseller_id, credit_note.issued_on, now=now, credit_note_id=credit_note.id)
    await _store(session, rows)
    return made.alarm


async def unissued_credit_notes(session: AsyncSession) -> Sequence[str]:
    """The credit notes whose documents nobody has stored yet."""
    return (await session.scalars(_UNISSUED_CREDIT_NOTES, {"block": 1_000})).all()


async def _issue(session: AsyncSession, invoice_ids: Sequence[str], *, now: datetime, logo: bytes | None) -> None:
    rows, alarms = [], {}
    for facts in await final_invoices(session, invoice_ids):
        invoice = facts.invoice
        made = await asyncio.to_thread(_make, partial(compose_invoice, facts), logo)
        rows += _rows(made, invoice.reseller_id, facts.issued_on, now=now, invoice_id=invoice.id)
        alarms[invoice.id] = made.alarm
    await _store(session, rows)
    await session.execute(_RAISE_ALARMS, {"invoice_ids": list(alarms), "alarms": list(alarms.values())})


def _make(compose: Callable[[], Document], logo: bytes | None) -> _Made:
    """The PDF with its XML, the XRechnung, and the verdict on both. Nothing is made when one of them is not valid."""
    try:
        document = replace(compose(), logo=logo)
        by_profile = {profile: build_xml(document, profile) for profile in Profile}
        reports = {profile: check(content, profile) for profile, content in by_profile.items()}
        errors = [each for report in reports.values() for each in report.errors]
        if errors:
            named = "; ".join(dict.fromkeys(f"{each.rule}: {each.message_en}" for each in errors))
            return _Made({}, f"The document is not valid. {named}")
        pdf = render_pdf(document, by_profile[Profile.ZUGFERD])
    except (ValueError, UnprintableDocument) as error:
        return _Made({}, f"The document cannot be made: {error}")
    verdict = {profile.name.lower(): report.as_json() for profile, report in reports.items()}
    return _Made(
        {
            DocumentKind.PDF: pdf,
            DocumentKind.ZUGFERD: by_profile[Profile.ZUGFERD],
            DocumentKind.XRECHNUNG: by_profile[Profile.XRECHNUNG],
            DocumentKind.REPORT: json.dumps(verdict, ensure_ascii=False, sort_keys=True).encode(),
        }
    )


def _rows(made: _Made, reseller_id: str, issued_on: date, *, now: datetime, **of: str) -> list[InvoiceDocument]:
    return [
        InvoiceDocument(
            id=new_id("doc"),
            reseller_id=reseller_id,
            kind=kind,
            content=content,
            sha256=sha256(content).hexdigest(),
            created_at=now,
            retain_until=date(issued_on.year + RETENTION_YEARS, 12, 31),
            **of,
        )
        for kind, content in made.files.items()
    ]


async def _store(session: AsyncSession, rows: Sequence[InvoiceDocument]) -> None:
    """Who looked before another worker's commit has rendered the same bytes; what is stored stays."""
    if rows:
        await session.execute(insert(InvoiceDocument).on_conflict_do_nothing(), [row.model_dump() for row in rows])
