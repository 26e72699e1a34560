"""The operator's sales and payments for the tax adviser: DATEV batches and debtors, in one archive that adds up."""

from asyncio import to_thread
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import IO, Any, Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from billing.booking_rows import BOOKINGS_SQL, DEBTORS_SQL, Sums, bookings_of
from billing.documents.datev import BatchHeader, Booking, month_header, write_batch
from billing.documents.datev_bookings import SKR03, SKR04, ChartOfAccounts
from billing.documents.datev_check import BatchSums, check_batch
from billing.documents.datev_debtors import Debtor, write_debtors
from billing.models import Books, ChartName
from billing.periods import BERLIN, BillingMonth
from provisioning.core.errors import Conflict, FieldError, Invalid

# A batch is checked as a whole, so its size is what the export takes of memory, however long the period is.
PART: Final = 10_000
YEARS_MAX: Final = 10
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2100, 12, 31)

_CHARTS: Final[dict[ChartName, ChartOfAccounts]] = {"SKR03": SKR03, "SKR04": SKR04}


@dataclass(slots=True)
class Booked:
    """What has been written and read back from the bytes, and the files it is in."""

    sums: Sums
    files: int = 0


def books_for(books: Books, given: Mapping[str, Any]) -> Books:
    """Books as set, with what is said for one export; an account that was set goes with the chart that was."""
    for_one = replace(books, **given)
    return for_one if for_one.chart == books.chart else replace(for_one, fee_income_account=None)


def exported_days(starts_on: date | None, ends_on: date | None, *, today: date) -> tuple[date, date]:
    """Return the days of an export, `[starts_on, ends_on)`: last month's, or up to the end of the month it begins in.

    Raises Invalid for days in the wrong order, and for more than YEARS_MAX years.
    """
    first = starts_on or BillingMonth.containing(today).previous().starts_on
    if not FIRST_DAY <= first <= LAST_DAY:
        out_of_range = FieldError("?from", "in_past", f"between {FIRST_DAY} and {LAST_DAY}")
        raise Invalid("These days cannot be exported.", errors=[out_of_range])
    end = ends_on or BillingMonth.containing(first).ends_on
    errors = []
    if end <= first:
        errors.append(FieldError("?to", "order", "later than from: it is the first day that is left out"))
    if (end - first).days > YEARS_MAX * 366:
        errors.append(FieldError("?to", "too_late", f"at most {YEARS_MAX} years after from"))
    if errors:
        raise Invalid("These days cannot be exported.", errors=errors)
    return first, end


async def write_bookings(
    session: AsyncSession, file: IO[bytes], *, books: Books, starts_on: date, ends_on: date, now: datetime
) -> Booked:
    """Write a ZIP archive: a batch for each month of `[starts_on, ends_on)`, and the debtors they name.

    A booking stands in the month of its document: an invoice on its day of issue, a payment on the day the money
    moved, what is given up on that day. Of all months together each debtor's account holds what `open_items` says.
    Each batch is read back, and its accounts must come to the sums that the database says of that month: otherwise
    Conflict `export_sums_differ`, and the archive is worth nothing. The days are those of `exported_days`. Raises
    Conflict `datev_not_configured`, and as the chart and the writers do for what DATEV cannot hold.
    """
    chart = _CHARTS[books.chart]
    if books.account_length != chart.account_length:
        chart = chart.lengthened(books.account_length)
    if books.fee_income_account is not None:
        chart = chart.with_fee_income(books.fee_income_account)
    template = _template(books, chart, starts_on, now)
    total = Booked(Sums())
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        month = BillingMonth.containing(starts_on)
        while month.starts_on < ends_on:
            header = _clipped(month_header(template, month), starts_on, ends_on)
            total.sums.add(await _write_month(session, archive, header, chart))
            month = month.next()
        await _write_debtors(session, archive, template, chart, starts_on=starts_on, ends_on=ends_on)
        total.files = len(archive.namelist())
    return total


async def _write_month(session: AsyncSession, archive: ZipFile, header: BatchHeader, chart: ChartOfAccounts) -> Sums:
    month, files = Sums(), 0
    expected = None
    async for rows in _parts(session, BOOKINGS_SQL, starts_on=header.starts_on, ends_on=header.ends_on):
        expected = Sums.of_row(rows[0])
        if rows[0].kind is None:
            break
        files += 1
        suffix = "" if files == 1 else f"_{files}"
        name = f"EXTF_Buchungsstapel_{header.label}{suffix}.csv"
        # Thousands of lines are written and read again: other requests are answered meanwhile.
        batch = await to_thread(_write_part, archive, name, header, bookings_of(chart, rows))
        month.add(_read_back(batch, chart))
    if month != expected:
        raise Conflict(
            f"The bookings of {header.label} come to {month}; expected were {expected}. Nothing was exported; report "
            "it.",
            code="export_sums_differ",
        )
    return month


def _write_part(archive: ZipFile, name: str, header: BatchHeader, bookings: Iterable[Booking]) -> BatchSums:
    content = b"".join(write_batch(header, bookings))
    _put(archive, name, header, content)
    return check_batch(content)


def _put(archive: ZipFile, name: str, header: BatchHeader, content: bytes) -> None:
    made = header.created_at.astimezone(BERLIN)
    entry = ZipInfo(name, (made.year, made.month, made.day, made.hour, made.minute, made.second))
    archive.writestr(entry, content, ZIP_DEFLATED)


def _read_back(batch: BatchSums, chart: ChartOfAccounts) -> Sums:
    """What a batch comes to; its debtors have to hold what all the other accounts say of them."""
    sums = Sums.of_batch(batch, chart)
    debtors = sum(
        cents for account, cents in batch.balance_cents.items() if chart.first_debtor <= account <= chart.last_debtor
    )
    if debtors != sums.open_cents:
        raise Conflict(
            f"Debtors of {batch.header.label} hold {debtors} cents, the other accounts {sums.open_cents}. "
            "Nothing was exported; report it.",
            code="export_sums_differ",
        )
    return sums


async def _write_debtors(
    session: AsyncSession,
    archive: ZipFile,
    header: BatchHeader,
    chart: ChartOfAccounts,
    *,
    starts_on: date,
    ends_on: date,
) -> None:
    number = 0
    async for rows in _parts(session, DEBTORS_SQL, starts_on=starts_on, ends_on=ends_on):
        number += 1
        debtors = [
            Debtor(
                chart.first_debtor + row.debtor,
                row.name,
                street=row.street,
                postcode=row.postcode,
                city=row.city,
                country=row.country,
                vat_id=row.vat_id or "",
                email=row.billing_email,
                customer_number=row.external_id or "",
            )
            for row in rows
        ]
        suffix = "" if number == 1 else f"_{number}"
        content = await to_thread(b"".join, write_debtors(header, debtors))
        await to_thread(_put, archive, f"EXTF_Debitoren{suffix}.csv", header, content)


async def _parts(session: AsyncSession, sql: str, *, starts_on: date, ends_on: date) -> AsyncIterator[Sequence[Any]]:
    """The rows of a statement, PART at a time, from a cursor that stays in the database."""
    days = {"starts_on": starts_on, "ends_on": ends_on}
    result = await session.stream(text(sql), days, execution_options={"yield_per": PART})
    async for rows in result.partitions(PART):
        yield rows


def _template(books: Books, chart: ChartOfAccounts, starts_on: date, now: datetime) -> BatchHeader:
    if books.consultant is None or books.client is None:
        raise Conflict(
            "DATEV wants the tax adviser's numbers: give consultant and client, or set POSTFACHWERK_DATEV_CONSULTANT "
            "and POSTFACHWERK_DATEV_CLIENT.",
            code="datev_not_configured",
        )
    month = BillingMonth.containing(starts_on)
    year = month.year if books.fiscal_year_starts_in <= month.month else month.year - 1
    return BatchHeader(
        books.consultant,
        books.client,
        date(year, books.fiscal_year_starts_in, 1),
        month.starts_on,
        month.ends_on,
        now,
        account_length=books.account_length,
        chart=chart.chart,
    )


def _clipped(header: BatchHeader, starts_on: date, ends_on: date) -> BatchHeader:
    return replace(header, starts_on=max(header.starts_on, starts_on), ends_on=min(header.ends_on, ends_on))
