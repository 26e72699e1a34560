"""Every number that was given, invoices' and corrections', and what became of it: for the tax office."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.models import NumberSeries


class Became(StrEnum):
    """An invoice stands, was credited in part or was cancelled; a correction is what it is."""

    ISSUED = "issued"
    CREDITED = "credited"
    CANCELLED = "cancelled"
    CREDIT_NOTE = "credit_note"
    CANCELLATION = "cancellation"


@dataclass(frozen=True, slots=True)
class NumberEntry:
    """One number, and the invoice or credit note that has it; `invoice_id` is also that which a note corrects.

    `related` are the numbers of an invoice's corrections, or of the invoice that a correction is of.
    """

    sequence: int
    number: str
    invoice_id: str
    credit_note_id: str | None
    reseller_id: str
    issued_on: date
    gross_cents: int
    became: str
    related: Sequence[str]
    reason: str | None


@dataclass(frozen=True, slots=True)
class NumberReport:
    """All numbers of a series and year. `gaps` are those given to nothing: there are none."""

    series: str
    year: int
    last_number: int
    gaps: tuple[int, ...]
    entries: tuple[NumberEntry, ...]


async def all_series(session: AsyncSession) -> Sequence[NumberSeries]:
    """Return every series and year in which a number was given."""
    query = select(NumberSeries).where(col(NumberSeries.last_number) > 0)
    return (await session.scalars(query.order_by(col(NumberSeries.series), col(NumberSeries.year)))).all()


async def number_report(
    session: AsyncSession, *, series: str, year: int, limit: int = 1_000, after: int = 0
) -> NumberReport:
    """Return the numbers of a series and year after `after`, and every gap there is in all of it."""
    of_series = {"series": series, "year": year}
    last_number = await session.scalar(_LAST_NUMBER, of_series) or 0
    gaps = await session.scalars(_GAPS, {**of_series, "last_number": last_number})
    rows = await session.execute(_NUMBERS, {**of_series, "after": after, "limit": limit})
    return NumberReport(series, year, last_number, tuple(gaps), entries=tuple(NumberEntry(*row) for row in rows))


_LAST_NUMBER = text("select last_number from number_series where series = :series and year = :year")

_GAPS = text(
    """
    select number from generate_series(1, cast(:last_number as integer)) as number
    except
    select sequence from invoice where series = :series and year = :year
    except
    select sequence from credit_note where series = :series and year = :year
    order by 1
    """
)

_NUMBERS = text(
    """
    select sequence, number, id, cast(null as text), reseller_id, issued_on, gross_cents,
        case when notes.cancelled then 'cancelled' when notes.numbers is not null then 'credited' else 'issued' end,
        coalesce(notes.numbers, array[]::text[]), notes.reasons
    from invoice
    left join lateral (
        select bool_or(note.kind = 'cancellation') as cancelled, array_agg(note.number order by note.id) as numbers,
            string_agg(note.reason, '; ' order by note.id) as reasons
        from credit_note note where note.invoice_id = invoice.id
    ) notes on true
    where series = :series and year = :year and sequence > :after
    union all
    select note.sequence, note.number, note.invoice_id, note.id, note.reseller_id, note.issued_on, note.gross_cents,
        note.kind, array[corrected.number]::text[], note.reason
    from credit_note note join invoice corrected on corrected.id = note.invoice_id
    where note.series = :series and note.year = :year and note.sequence > :after
    order by 1 limit :limit
    """
)
