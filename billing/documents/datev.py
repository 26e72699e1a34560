"""DATEV's booking batch (EXTF, Buchungsstapel, format 13) for the tax adviser, written and read back.

Source of the rules: the field tables of developer.datev.de, DATEV-Format, "Header" and "Buchungsstapel". A file
is Windows-1252 with CRLF, semicolons and decimal commas; text stands in quotation marks even where it is empty.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from billing.documents.datev_columns import BOOKING_COLUMNS, DEBTOR_COLUMNS, EMPTY_BOOKING, Column
from billing.documents.transliteration import shorten, to_cp1252
from billing.periods import BERLIN, BillingMonth
from provisioning.core.errors import Invalid

Side = Literal["S", "H"]

TEXT_LENGTH: Final = 60
# DATEV refuses a larger batch; several batches may cover the same period.
MAX_BOOKINGS: Final = 99_999
MAX_AMOUNT_CENTS: Final = 10**12 - 1

_DOCUMENT_NUMBER = re.compile(r"[A-Za-z0-9$&%*+\-/]{1,36}")
_GERMAN: Final[dict[int, str]] = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"}
)
_COLUMN_NUMBERS: Final[dict[str, int]] = {column.name: at for at, column in enumerate(BOOKING_COLUMNS)}


@dataclass(frozen=True, slots=True)
class Booking:
    """One line of a batch: a gross amount on `account` against `contra_account`.

    `side` is that of `account`: S debits, H credits. `number` is Belegfeld 1, by which DATEV settles open items:
    an invoice and its payment carry the same. `due_on` belongs on lines that touch a debtor. `vat_id` with its
    country is the buyer's for reverse charge (GR is written EL, §18a UStG). `tax_key` (BU-Schlüssel) stays empty
    on accounts that carry their tax by themselves. `document_id` links the voucher in DATEV Unternehmen online.
    A reversal (Generalumkehr) has the side opposite to what it takes back, and DATEV subtracts it there.

    Raises Invalid for an amount of zero or less and for a number DATEV would refuse; `text` may hold anything.
    """

    amount_cents: int
    side: Side
    account: int
    contra_account: int
    document_on: date
    number: str
    text: str
    due_on: date | None = None
    service_on: date | None = None
    tax_key: str = ""
    vat_id: str = ""
    eu_rate_basis_points: int | None = None
    cost_centre: str = ""
    cost_unit: str = ""
    document_id: UUID | None = None
    is_reversal: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.amount_cents <= MAX_AMOUNT_CENTS:
            raise Invalid(
                f"DATEV books amounts of 0.01 to 9,999,999,999.99, not {self.amount_cents} cents: turn the side "
                "instead of the sign and leave out what is zero.",
                code="datev_amount",
            )
        if not _DOCUMENT_NUMBER.fullmatch(self.number):
            raise Invalid(
                f"{self.number!r} cannot be a document number: 1 to 36 letters, digits or $&%*+-/. "
                "Use document_number().",
                code="datev_number",
            )
        if self.side not in ("S", "H") or self.account == self.contra_account:
            raise Invalid("A booking debits (S) or credits (H) one account against another.", code="datev_accounts")
        if self.tax_key and not re.fullmatch(r"[0-9]{1,4}", self.tax_key):
            raise Invalid(f"A tax key has up to four digits, not {self.tax_key!r}.", code="datev_tax_key")
        if len(self.vat_id) > 15 or not re.fullmatch(r"[A-Z0-9+*]*", self.vat_id):
            raise Invalid(f"{self.vat_id!r} is no VAT id with its country, such as ATU12345678.", code="datev_vat_id")
        if self.eu_rate_basis_points is not None and not 0 <= self.eu_rate_basis_points < 10_000:
            raise Invalid("A tax rate lies between 0 and 99.99 %.", code="datev_rate")


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """What line 1 says: whose books, which fiscal year, and the days `[starts_on, ends_on)` of the bookings.

    `consultant` and `client` are the tax adviser's numbers (Berater, Mandant). `account_length` is that of
    general ledger accounts; debtors have one digit more. `chart` is "03" or "04". `is_locked` makes DATEV lock
    (festschreiben) the batch at import. Raises Invalid for numbers out of range and for a period that does not
    lie within one fiscal year: Belegdatum has no year, so DATEV would book it into the wrong one.
    """

    consultant: int
    client: int
    fiscal_year_starts_on: date
    starts_on: date
    ends_on: date
    created_at: datetime
    account_length: int = 4
    chart: str = "03"
    label: str = ""
    initials: str = ""
    is_locked: bool = True
    origin: str = "PF"

    def __post_init__(self) -> None:
        faults = {
            "datev_consultant": not 1001 <= self.consultant <= 9_999_999,
            "datev_client": not 1 <= self.client <= 99_999,
            "datev_account_length": not 4 <= self.account_length <= 8,
            "datev_chart": not re.fullmatch(r"[0-9]{2}|", self.chart),
            "datev_label": not re.fullmatch(r"[A-Za-z0-9_.\-/ ]{0,30}", self.label),
            "datev_initials": not re.fullmatch(r"(?:[A-Z]{2}){0,2}", self.initials),
            "datev_origin": not re.fullmatch(r"[A-Z]{2}", self.origin),
            "datev_created_at": self.created_at.utcoffset() is None,
        }
        for code, is_wrong in faults.items():
            if is_wrong:
                raise Invalid(f"The field {code.removeprefix('datev_')} of a DATEV batch is out of range.", code=code)
        year_ends_on = _a_year_after(self.fiscal_year_starts_on)
        if not self.fiscal_year_starts_on <= self.starts_on < self.ends_on <= year_ends_on:
            raise Invalid(
                f"A batch from {self.starts_on} to before {self.ends_on} does not lie within the fiscal year from "
                f"{self.fiscal_year_starts_on} to before {year_ends_on}: write one batch a month.",
                code="datev_fiscal_year",
            )


def month_header(template: BatchHeader, month: BillingMonth) -> BatchHeader:
    """Return the header of one month, with its own fiscal year; DATEV recommends one batch a booking period.

    The fiscal year begins on the day and month of the template's.
    """
    start = template.fiscal_year_starts_on
    year = month.year if (start.month, start.day) <= (month.month, 1) else month.year - 1
    return BatchHeader(
        template.consultant,
        template.client,
        start.replace(year=year),
        month.starts_on,
        month.ends_on,
        template.created_at,
        account_length=template.account_length,
        chart=template.chart,
        label=str(month),
        initials=template.initials,
        is_locked=template.is_locked,
        origin=template.origin,
    )


def document_number(number: str) -> str:
    """Return a number as Belegfeld 1 can hold it: Umlauts written out, what is not allowed as a hyphen.

    More than 36 characters raise Invalid: cut short, two numbers could become one open item. Numbers that differ
    only in what is not allowed become one, so a number series should keep to what is.
    """
    written = number.translate(_GERMAN)
    field = re.sub(r"[^A-Za-z0-9$&%*+\-/]", "-", written)
    if not 1 <= len(field) <= 36:
        raise Invalid(f"{number!r} does not fit Belegfeld 1, which holds 1 to 36 characters.", code="datev_number")
    return field


def write_batch(header: BatchHeader, bookings: Iterable[Booking]) -> Iterator[bytes]:
    """Yield the file line by line: header, column names, one line for each booking in the order given.

    A booking outside the header's days, an account of the wrong length, or more than MAX_BOOKINGS raises
    Invalid when it is reached, so what was written until then is to be thrown away.
    """
    yield _header_line(header)
    yield column_line(BOOKING_COLUMNS)
    for count, booking in enumerate(bookings, start=1):
        if count > MAX_BOOKINGS:
            raise Invalid(f"A batch holds {MAX_BOOKINGS} bookings at most: write several.", code="datev_too_many")
        _check_against(header, booking)
        yield encode_line(EMPTY_BOOKING, ((_COLUMN_NUMBERS[name], value) for name, value in _values(header, booking)))


def write_debtors_header(header: BatchHeader) -> Iterator[bytes]:
    """Yield lines 1 and 2 of a file of debtors (category 16, format 5), which names no period and no currency."""
    yield _line(
        [
            *('"EXTF"', "700", "16", '"Debitoren/Kreditoren"', "5", _timestamp(header.created_at), ""),
            *(f'"{header.origin}"', '""', '""', str(header.consultant), str(header.client)),
            *(f"{header.fiscal_year_starts_on:%Y%m%d}", str(header.account_length), "", "", '""', '""'),
            *("", "", "", '""', "", '""', "", "", f'"{header.chart}"', "", "", '""', '""'),
        ]
    )
    yield column_line(DEBTOR_COLUMNS)


def column_line(columns: tuple[Column, ...]) -> bytes:
    """Return line 2 of a file: the names of its columns, without quotation marks as in DATEV's samples."""
    return _line([column.name for column in columns])


def encode_line(empty: tuple[str, ...], values: Iterable[tuple[int, str]]) -> bytes:
    """Return one line of data: an empty one with values by position, counted from 0, quoted where it is text."""
    fields = list(empty)
    for at, value in values:
        fields[at] = '"' + value.replace('"', '""') + '"' if empty[at] else value
    return _line(fields)


def day_in(header: BatchHeader, day_and_month: str) -> date:
    """Return the day of a Belegdatum (DDMM) in the period of its batch; one outside raises Invalid."""
    for year in {header.starts_on.year, header.ends_on.year}:
        try:
            day = date(year, int(day_and_month[2:]), int(day_and_month[:2]))
        except ValueError:  # 29 February, in the one of two years that has none
            continue
        if header.starts_on <= day < header.ends_on:
            return day
    raise Invalid(f"The document date {day_and_month!r} does not lie in the batch's period.", code="datev_file")


def _header_line(header: BatchHeader) -> bytes:
    last_on = header.ends_on - timedelta(days=1)
    return _line(
        [
            *('"EXTF"', "700", "21", '"Buchungsstapel"', "13", _timestamp(header.created_at), ""),
            *(f'"{header.origin}"', '""', '""', str(header.consultant), str(header.client)),
            *(f"{header.fiscal_year_starts_on:%Y%m%d}", str(header.account_length)),
            *(f"{header.starts_on:%Y%m%d}", f"{last_on:%Y%m%d}", f'"{header.label}"', f'"{header.initials}"'),
            *("1", "0", str(int(header.is_locked)), '"EUR"', "", '""', "", "", f'"{header.chart}"', "", "", '""', '""'),
        ]
    )


def _values(header: BatchHeader, booking: Booking) -> Iterator[tuple[str, str]]:
    yield "Umsatz (ohne Soll/Haben-Kz)", f"{booking.amount_cents // 100},{booking.amount_cents % 100:02d}"
    yield "Soll/Haben-Kennzeichen", booking.side
    yield "WKZ Umsatz", "EUR"
    yield "Konto", str(booking.account)
    yield "Gegenkonto (ohne BU-Schlüssel)", str(booking.contra_account)
    yield "BU-Schlüssel", booking.tax_key
    yield "Belegdatum", f"{booking.document_on:%d%m}"
    yield "Belegfeld 1", booking.number
    yield "Buchungstext", shorten(to_cp1252(booking.text), TEXT_LENGTH)
    if booking.document_id is not None:
        yield "Beleglink", f'BEDI "{str(booking.document_id).upper()}"'
    if booking.cost_centre:
        yield "KOST1 - Kostenstelle", cost_field(booking.cost_centre)
    if booking.cost_unit:
        yield "KOST2 - Kostenstelle", cost_field(booking.cost_unit)
    if booking.vat_id:
        yield "EU-Land u. UStID (Bestimmung)", re.sub("^GR", "EL", booking.vat_id)
    if booking.eu_rate_basis_points is not None:
        percent, hundredths = divmod(booking.eu_rate_basis_points, 100)
        yield "EU-Steuersatz (Bestimmung)", f"{percent:02d},{hundredths:02d}"
    yield "Festschreibung", str(int(header.is_locked))
    if booking.service_on is not None:
        yield "Leistungsdatum", f"{booking.service_on:%d%m%Y}"
        # DATEV refuses the one without the other.
        yield "Datum Zuord. Steuerperiode", f"{booking.service_on:%d%m%Y}"
    if booking.due_on is not None:
        # With it, Belegfeld 2 must not carry a due date as well.
        yield "Fälligkeit", f"{booking.due_on:%d%m%Y}"
    yield "Generalumkehr (GU)", "1" if booking.is_reversal else "0"


def cost_field(text: str) -> str:
    """Return a cost centre as KOST1 and KOST2 take it: letters, digits, underscores and spaces, at most 36."""
    return re.sub(r"[^A-Za-z0-9_ ]", " ", to_cp1252(text))[:36].strip()


def _check_against(header: BatchHeader, booking: Booking) -> None:
    if not header.starts_on <= booking.document_on < header.ends_on:
        raise Invalid(
            f"{booking.number} of {booking.document_on} lies outside the batch from {header.starts_on} to before "
            f"{header.ends_on}: it belongs into the batch of its own month.",
            code="datev_period",
        )
    for account in (booking.account, booking.contra_account):
        if not 10 ** (header.account_length - 1) <= account < 10 ** (header.account_length + 1):
            raise Invalid(
                f"Account {account} has neither {header.account_length} digits nor, for a debtor, one more.",
                code="datev_account",
            )


def _line(fields: list[str]) -> bytes:
    return (";".join(fields) + "\r\n").encode("cp1252")


def _timestamp(at: datetime) -> str:
    return f"{at.astimezone(BERLIN):%Y%m%d%H%M%S}{at.microsecond // 1000:03d}"


def _a_year_after(day: date) -> date:
    return date(day.year + 1, day.month, day.day if (day.month, day.day) != (2, 29) else 28)
