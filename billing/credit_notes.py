"""Credit notes as rows: judged, numbered and stored; and read.

`reseller_id` None is the operator, who reads everybody's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.document_models import CreditNote, CreditNoteKind, CreditNoteLine
from billing.models import Invoice, Issuer
from billing.money import tax_cents
from billing.periods import berlin_day
from billing.snapshots import PROVISIONAL_SEQUENCE, number_of
from billing.validation import refuse_invalid
from provisioning.core.database import violated_constraint
from provisioning.core.errors import Conflict, NotFound
from provisioning.core.ids import new_id
from provisioning.core.queries import owned

SERIES_SUFFIX = "K"
"""Corrections count in a series of their own (K for Korrektur), so that both are without gaps."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What is to be taken back: cents by position of the invoice's line, and all of its allowances or none."""

    by_position: Mapping[int, int]
    allowances_cents: int

    @property
    def net_cents(self) -> int:
        return sum(self.by_position.values()) - self.allowances_cents


_NEXT_NUMBER = text(
    """
    insert into number_series (series, year, last_number) values (:series, :year, 1)
    on conflict (series, year) do update set last_number = number_series.last_number + 1
    returning last_number
    """
)


async def number_credit_note(
    session: AsyncSession,
    invoice: Invoice,
    kind: CreditNoteKind,
    taken: Taken,
    *,
    reason: str,
    actor: str,
    issuer: Issuer,
    now: datetime,
) -> CreditNote:
    """Judge, number and store one correction. The caller holds the lock on its invoice."""
    issued_on = berlin_day(now)
    series = issuer.series + SERIES_SUFFIX
    tax = tax_cents(taken.net_cents, invoice.rate_basis_points)
    note = CreditNote(
        id=new_id("crn"),
        reseller_id=invoice.reseller_id,
        invoice_id=invoice.id,
        kind=kind,
        number=number_of(series, issued_on.year, PROVISIONAL_SEQUENCE),
        series=series,
        year=issued_on.year,
        sequence=PROVISIONAL_SEQUENCE,
        issued_on=issued_on,
        reason=reason.strip(),
        currency=invoice.currency,
        allowances_cents=taken.allowances_cents,
        net_cents=taken.net_cents,
        tax_cents=tax,
        gross_cents=taken.net_cents + tax,
        tax_category=invoice.tax_category,
        rate_basis_points=invoice.rate_basis_points,
        actor=actor,
        created_at=now,
    )
    rows = [
        CreditNoteLine(
            credit_note_id=note.id,
            position=place,
            reseller_id=invoice.reseller_id,
            invoice_position=position,
            net_cents=cents,
        )
        for place, (position, cents) in enumerate(taken.by_position.items(), start=1)
    ]
    await refuse_invalid(session, note, rows)
    await _number_and_store(session, note, rows)
    return note


async def _number_and_store(session: AsyncSession, note: CreditNote, rows: Sequence[CreditNoteLine]) -> None:
    """The last step, as whoever numbers next waits for the counter until this transaction is over."""
    series = {"series": note.series, "year": note.year}
    note.sequence = (await session.execute(_NEXT_NUMBER, series)).scalar_one()
    note.number = number_of(note.series, note.year, note.sequence)
    session.add(note)
    try:
        await session.flush()
        session.add_all(rows)
        await session.flush()
    except IntegrityError as error:
        if violated_constraint(error) != "credit_note_within_invoice":
            raise
        raise Conflict(
            "All corrections of this invoice together would take back more than it charged, tax included.",
            code="credit_exceeds_invoice",
        ) from error


async def get_credit_note(session: AsyncSession, reseller_id: str | None, credit_note_id: str) -> CreditNote:
    """Return one correction; an unknown one or another reseller's raises NotFound."""
    query = select(CreditNote) if reseller_id is None else owned(CreditNote, reseller_id)
    note = (await session.scalars(query.where(col(CreditNote.id) == credit_note_id))).one_or_none()
    if note is None:
        raise NotFound(f"There is no credit note {credit_note_id}.")
    return note


async def check_corrects(session: AsyncSession, reseller_id: str, credit_note_id: str, *, invoice_id: str) -> None:
    """Raises Conflict `unknown_credit_note` unless this is one of the invoice's corrections."""
    query = owned(CreditNote, reseller_id).where(col(CreditNote.id) == credit_note_id)
    note = (await session.scalars(query)).one_or_none()
    if note is None or note.invoice_id != invoice_id:
        raise Conflict(
            f"{credit_note_id} corrects another invoice or none. Credit this one first, with POST "
            f"/v1/invoices/{invoice_id}/credit-notes.",
            code="unknown_credit_note",
        )


async def list_credit_notes(
    session: AsyncSession,
    reseller_id: str | None,
    *,
    invoice_id: str | None = None,
    limit: int = 50,
    before: str | None = None,
) -> Sequence[CreditNote]:
    """Return corrections, newest first; `before` is the id of the last one of the page before."""
    query = select(CreditNote) if reseller_id is None else owned(CreditNote, reseller_id)
    query = query.order_by(col(CreditNote.id).desc()).limit(limit)
    if invoice_id is not None:
        query = query.where(col(CreditNote.invoice_id) == invoice_id)
    if before is not None:
        query = query.where(col(CreditNote.id) < before)
    return (await session.scalars(query)).all()


async def lines_of(session: AsyncSession, note: CreditNote) -> Sequence[CreditNoteLine]:
    query = owned(CreditNoteLine, note.reseller_id).where(col(CreditNoteLine.credit_note_id) == note.id)
    return (await session.scalars(query.order_by(col(CreditNoteLine.position)))).all()
