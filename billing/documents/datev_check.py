"""Reading a booking batch back: what was written is summed from the file and not from what was meant."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, cast
from uuid import UUID

from billing.documents.datev import BatchHeader, Booking, Side, day_in
from billing.documents.datev_columns import BOOKING_COLUMNS
from billing.periods import BERLIN
from provisioning.core.errors import Invalid

HEADER_FIELDS: Final = 31
_FORBIDDEN = re.compile(rb"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f\x81\x8d\x8f\x90\x9d]")
_KEY = {"EXTF": 0, "700": 1, "21": 2, "Buchungsstapel": 3, "13": 4}


@dataclass(frozen=True, slots=True)
class BatchSums:
    """What a file holds: lines, their amounts by side in cents, and each account's debits less its credits."""

    header: BatchHeader
    bookings: int
    debit_cents: int
    credit_cents: int
    reversals: int
    balance_cents: Mapping[int, int]

    def balance_of(self, accounts: Iterable[int]) -> int:
        """Return debits less credits of these accounts together; those that do not occur count nothing.

        Of all debtors, in a batch of invoices, it is the sum of the invoices.
        """
        return sum(self.balance_cents.get(account, 0) for account in accounts)


def check_batch(content: bytes) -> BatchSums:
    """Return the sums of a file; one that DATEV would not read raises Invalid with its line and reason."""
    header, bookings = read_batch(content)
    sides: Counter[str] = Counter()
    balances: Counter[int] = Counter()
    count = reversals = 0
    for booking in bookings:
        signed = booking.amount_cents if booking.side == "S" else -booking.amount_cents
        balances[booking.account] += signed
        balances[booking.contra_account] -= signed
        sides[booking.side] += booking.amount_cents
        count += 1
        reversals += booking.is_reversal
    return BatchSums(header, count, sides["S"], sides["H"], reversals, dict(balances))


def read_batch(content: bytes) -> tuple[BatchHeader, Iterator[Booking]]:
    """Return header and bookings of a file, the latter read as they are asked for.

    Raises Invalid for what is not Windows-1252 with CRLF, holds a control character, has other columns than
    format 13 or a value that cannot be.
    """
    _check_bytes(content)
    rows = csv.reader(io.StringIO(content.decode("cp1252"), newline=""), delimiter=";", strict=True)
    header = _read_header(_next_row(rows, 1))
    if _next_row(rows, 2) != [column.name for column in BOOKING_COLUMNS]:
        raise _unreadable(2, "these are not the 125 columns of format 13")
    return header, _read_bookings(header, rows)


def _check_bytes(content: bytes) -> None:
    if found := _FORBIDDEN.search(content):
        line = content.count(b"\n", 0, found.start()) + 1
        raise _unreadable(line, f"byte 0x{found[0].hex()} is no character of a DATEV file")
    if not content.endswith(b"\r\n") or not content.count(b"\r\n") == content.count(b"\n") == content.count(b"\r"):
        raise _unreadable(content.count(b"\n"), "each line ends with CR and LF, and neither stands elsewhere")


def _next_row(rows: Iterator[list[str]], line: int) -> list[str]:
    try:
        return next(rows)
    except StopIteration:
        raise _unreadable(line, "the file ends before it") from None
    except csv.Error as error:
        raise _unreadable(line, str(error)) from None


def _read_header(fields: list[str]) -> BatchHeader:
    if len(fields) != HEADER_FIELDS or any(fields[at] != word for word, at in _KEY.items()):
        raise _unreadable(1, 'it does not begin with "EXTF";700;21;"Buchungsstapel";13 and 31 fields')
    try:
        created_at = datetime.strptime(fields[5], "%Y%m%d%H%M%S%f").replace(tzinfo=BERLIN)
        return BatchHeader(
            int(fields[10]),
            int(fields[11]),
            _day(fields[12]),
            _day(fields[14]),
            _day(fields[15]) + timedelta(days=1),
            created_at,
            account_length=int(fields[13]),
            chart=fields[26],
            label=fields[16],
            initials=fields[17],
            is_locked=fields[20] == "1",
            origin=fields[7],
        )
    except ValueError as error:
        raise _unreadable(1, str(error)) from None


def _read_bookings(header: BatchHeader, rows: Iterator[list[str]]) -> Iterator[Booking]:
    line = 3
    while True:
        try:
            fields = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise _unreadable(line, str(error)) from None
        if len(fields) != len(BOOKING_COLUMNS):
            raise _unreadable(line, f"it has {len(fields)} fields instead of {len(BOOKING_COLUMNS)}")
        try:
            booking = _read_booking(header, dict(zip(_NAMES, fields, strict=True)))
        except ValueError as error:
            raise _unreadable(line, str(error)) from None
        yield booking
        line += 1


_NAMES: Final = tuple(column.name for column in BOOKING_COLUMNS)


def _read_booking(header: BatchHeader, values: dict[str, str]) -> Booking:
    amount = values["Umsatz (ohne Soll/Haben-Kz)"]
    if not re.fullmatch(r"[0-9]{1,10},[0-9]{2}", amount):
        raise ValueError(f"{amount!r} is no amount")
    rate = values["EU-Steuersatz (Bestimmung)"]
    link = values["Beleglink"]
    return Booking(
        int(amount.replace(",", "")),
        cast("Side", values["Soll/Haben-Kennzeichen"]),  # Booking refuses what is neither S nor H
        account=int(values["Konto"]),
        contra_account=int(values["Gegenkonto (ohne BU-Schlüssel)"]),
        document_on=day_in(header, values["Belegdatum"]),
        number=values["Belegfeld 1"],
        text=values["Buchungstext"],
        due_on=_german_day(values["Fälligkeit"]),
        service_on=_german_day(values["Leistungsdatum"]),
        tax_key=values["BU-Schlüssel"],
        vat_id=values["EU-Land u. UStID (Bestimmung)"],
        eu_rate_basis_points=int(rate.replace(",", "")) if rate else None,
        cost_centre=values["KOST1 - Kostenstelle"],
        cost_unit=values["KOST2 - Kostenstelle"],
        document_id=UUID(link.removeprefix("BEDI ").strip('"')) if link else None,
        is_reversal=values["Generalumkehr (GU)"] == "1",
    )


def _day(text: str) -> date:
    return datetime.strptime(text, "%Y%m%d").replace(tzinfo=BERLIN).date()


def _german_day(text: str) -> date | None:
    return datetime.strptime(text, "%d%m%Y").replace(tzinfo=BERLIN).date() if text else None


def _unreadable(line: int, reason: str) -> Invalid:
    return Invalid(f"DATEV cannot read line {line}: {reason}.", code="datev_file")
