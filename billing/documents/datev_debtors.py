"""DATEV's master data of debtors (EXTF, Debitoren/Kreditoren, format 5), so that bookings have names."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from billing.documents.datev import BatchHeader, encode_line, write_debtors_header
from billing.documents.datev_columns import EMPTY_DEBTOR
from billing.documents.transliteration import shorten, to_cp1252
from billing.iban import compact
from provisioning.core.errors import Invalid

# Positions counted from 0; the numbers of the field table are one higher.
_BANK: Final = 40
_COMPANY: Final = "2"


@dataclass(frozen=True, slots=True)
class Debtor:
    """A company as debtor account; texts that are too long are shortened, a street's rest goes beside it.

    `vat_id` with its country, such as ATU12345678; `country` is ISO 3166-1 alpha-2. `iban` and
    `mandate_reference` are those of a SEPA mandate.
    """

    account: int
    name: str
    street: str = ""
    postcode: str = ""
    city: str = ""
    country: str = "DE"
    vat_id: str = ""
    email: str = ""
    customer_number: str = ""
    due_days: int | None = None
    iban: str = ""
    bic: str = ""
    mandate_reference: str = ""


def write_debtors(header: BatchHeader, debtors: Iterable[Debtor]) -> Iterator[bytes]:
    """Yield the file line by line: header, the names of 254 columns, one line for each debtor.

    An account that is not one digit longer than the header's general ledger accounts raises Invalid.
    """
    yield from write_debtors_header(header)
    for debtor in debtors:
        if len(str(debtor.account)) != header.account_length + 1:
            raise Invalid(f"Account {debtor.account} has not {header.account_length + 1} digits.", code="datev_debtor")
        yield encode_line(EMPTY_DEBTOR, _values(debtor))


def _values(debtor: Debtor) -> Iterator[tuple[int, str]]:
    street = to_cp1252(debtor.street)
    line = shorten(street, 36)
    vat_country = debtor.vat_id[:2].replace("GR", "EL")
    yield 0, str(debtor.account)
    yield 1, _text(debtor.name, 50)
    yield 6, _COMPANY
    yield 7, _text(debtor.name, 15)
    yield 8, vat_country
    yield 9, debtor.vat_id[2:15]
    yield 14, "STR" if street else ""
    yield 15, line
    yield 17, _text(debtor.postcode, 10)
    yield 18, _text(debtor.city, 30)
    yield 19, debtor.country
    yield 21, shorten(street[len(line) :].strip(), 36)
    yield 25, "1"
    # An address cut short would be another person's.
    yield 32, to_cp1252(debtor.email) if len(debtor.email) <= 60 else ""
    if debtor.iban:
        yield _BANK + 3, compact(debtor.iban)[:2]
        yield _BANK + 4, compact(debtor.iban)
        yield _BANK + 6, compact(debtor.bic)
        yield _BANK + 8, "1"
        yield 221, debtor.mandate_reference
    yield 98, _text(debtor.customer_number, 15)
    if debtor.due_days is not None:
        yield 109, str(debtor.due_days)


def _text(text: str, length: int) -> str:
    return shorten(to_cp1252(text), length)
