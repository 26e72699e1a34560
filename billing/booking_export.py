"""The operator's sales and payments for the tax adviser: DATEV batches and debtors, in one archive that adds up."""

from asyncio import to_thread
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import IO, Any, Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from billing import open_items
from billing.documents.datev import BatchHeader, Booking, month_header, write_batch
from billing.documents.datev_bookings import (
    SKR03,
    SKR04,
    ChartOfAccounts,
    TaxedAmount,
    invoice_bookings,
    payment_booking,
)
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
    """What has been written and read back from the bytes, in cents and pieces; a refund is a negative payment."""

    invoice_cents: int = 0
    payment_cents: int = 0
    bookings: int = 0
    files: int = 0


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
    moved. Each batch is read back, and its accounts must come to the sums of invoices and payments that the database
    says of that month: otherwise Conflict `export_sums_differ`, and the archive is worth nothing. The days are those
    of `exported_days`. Raises Conflict `datev_not_configured`, and as the writers do for what DATEV cannot hold.
    """
    chart = _CHARTS[books.chart]
    if books.account_length != chart.account_length:
        chart = chart.lengthened(books.account_length)
    template = _template(books, chart, starts_on, now)
    total = Booked()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        month = BillingMonth.containing(starts_on)
        while month.starts_on < ends_on:
            header = _clipped(month_header(template, month), starts_on, ends_on)
            await _write_month(session, archive, header, chart, total)
            month = month.next()
        await _write_debtors(session, archive, template, chart, starts_on=starts_on, ends_on=ends_on)
        total.files = len(archive.namelist())
    return total


async def _write_month(
    session: AsyncSession, archive: ZipFile, header: BatchHeader, chart: ChartOfAccounts, total: Booked
) -> None:
    month = Booked()
    expected = None
    async for rows in _parts(session, _bookings_sql(), starts_on=header.starts_on, ends_on=header.ends_on):
        first = rows[0]
        expected = (first.all_invoice_cents, first.all_payment_cents, first.all_bookings)
        if first.kind is None:
            break
        month.files += 1
        suffix = "" if month.files == 1 else f"_{month.files}"
        name = f"EXTF_Buchungsstapel_{header.label}{suffix}.csv"
        # Thousands of lines are written and read again: other requests are answered meanwhile.
        sums = await to_thread(_write_part, archive, name, header, _bookings(chart, rows))
        _add(month, sums, chart)
    if (month.invoice_cents, month.payment_cents, month.bookings) != expected:
        raise Conflict(
            f"The bookings of {header.label} come to {month.invoice_cents} cents of invoices and "
            f"{month.payment_cents} of payments in {month.bookings} lines; expected were {expected}. Nothing was "
            "exported; report it.",
            code="export_sums_differ",
        )
    total.invoice_cents += month.invoice_cents
    total.payment_cents += month.payment_cents
    total.bookings += month.bookings


def _write_part(archive: ZipFile, name: str, header: BatchHeader, bookings: Iterable[Booking]) -> BatchSums:
    content = b"".join(write_batch(header, bookings))
    _put(archive, name, header, content)
    return check_batch(content)


def _put(archive: ZipFile, name: str, header: BatchHeader, content: bytes) -> None:
    made = header.created_at.astimezone(BERLIN)
    entry = ZipInfo(name, (made.year, made.month, made.day, made.hour, made.minute, made.second))
    archive.writestr(entry, content, ZIP_DEFLATED)


def _add(month: Booked, sums: BatchSums, chart: ChartOfAccounts) -> None:
    """Revenue accounts carry their tax, so they hold the invoices' gross; what money accounts hold are payments."""
    money = sums.balance_of((chart.bank, chart.transit))
    revenue = sums.balance_of(chart.automatic)
    debtors = sum(
        cents for account, cents in sums.balance_cents.items() if chart.first_debtor <= account <= chart.last_debtor
    )
    if debtors != -revenue - money:
        raise Conflict(
            f"Debtors of {sums.header.label} hold {debtors} cents, revenue and money accounts {revenue + money}. "
            "Nothing was exported; report it.",
            code="export_sums_differ",
        )
    month.invoice_cents -= revenue
    month.payment_cents += money
    month.bookings += sums.bookings


def _bookings(chart: ChartOfAccounts, rows: Sequence[Any]) -> list[Booking]:
    made: list[Booking] = []
    for row in rows:
        debtor = chart.first_debtor + row.debtor
        if row.kind == "payment":
            made.append(
                payment_booking(
                    chart,
                    number=row.number,
                    debtor=debtor,
                    payer=row.buyer,
                    booked_on=row.document_on,
                    amount_cents=row.amount_cents,
                    to=chart.transit if row.is_in_transit else chart.bank,
                )
            )
            continue
        made += invoice_bookings(
            chart,
            [TaxedAmount(row.amount_cents, row.tax_category, row.rate_basis_points)],
            number=row.number,
            debtor=debtor,
            buyer=row.buyer,
            issued_on=row.document_on,
            due_on=row.due_on,
            service_on=row.service_on,
            vat_id=row.vat_id or "",
        )
    return made


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
    async for rows in _parts(session, _debtors_sql(), starts_on=starts_on, ends_on=ends_on):
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


_INVOICED = "status = 'final' and issued_on >= :starts_on and issued_on < :ends_on and gross_cents <> 0"


def _paid() -> str:
    return (
        f"select * from ({open_items.PAYMENTS_SQL}) payment "  # noqa: S608 - made of constants only
        "where is_cash and booked_on >= :starts_on and booked_on < :ends_on"
    )


def _bookings_sql() -> str:
    """Each booking to be, and beside it what all of them must come to, counted before anything is joined.

    Where there is none there is still a row with the sums, without a `kind`.
    """
    return f"""
        with paid as ({_paid()}),
        booking as (
            select 'invoice' as kind, id as invoice_id, issued_on as document_on, gross_cents as amount_cents,
                false as is_in_transit
            from invoice where {_INVOICED}
            union all
            select 'payment', invoice_id, booked_on, amount_cents, is_in_transit from paid
        )
        select sums.*, named.*
        from (
            select cast(coalesce(sum(amount_cents) filter (where kind = 'invoice'), 0) as bigint) as all_invoice_cents,
                cast(coalesce(sum(amount_cents) filter (where kind = 'payment'), 0) as bigint) as all_payment_cents,
                count(*) as all_bookings
            from booking
        ) sums
        left join (
            select booking.*, invoice.number, invoice.tax_category, invoice.rate_basis_points, invoice.due_on,
                invoice.period_ends_on - 1 as service_on, invoice.buyer ->> 'name' as buyer,
                invoice.buyer ->> 'vat_id' as vat_id, debtor_account.number as debtor
            from booking
            join invoice on invoice.id = booking.invoice_id
            join debtor_account on debtor_account.reseller_id = invoice.reseller_id
        ) named on true
        order by document_on, number, kind
    """  # noqa: S608 - made of constants only


def _debtors_sql() -> str:
    return f"""
        select debtor_account.number as debtor, reseller.*
        from debtor_account join reseller on reseller.id = debtor_account.reseller_id
        where reseller.id in (
            select reseller_id from invoice where {_INVOICED}
            union
            select invoice.reseller_id from ({_paid()}) paid join invoice on invoice.id = paid.invoice_id
        )
        order by debtor_account.number
    """  # noqa: S608 - made of constants only


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
