"""The debtors' master data, column by column."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.documents.datev_debtors import Debtor, write_debtors
from provisioning.core.errors import Invalid
from tests.billing.test_datev import HEADER

DEBTOR = Debtor(
    10_001,
    "Bäckerei Groß & Söhne Gemeinnützige Gesellschaft mit beschränkter Haftung",
    street="Straße des Siebzehnten Juni und der Freundschaft 135",
    postcode="10623",
    city="Berlin",
    vat_id="DE136695976",
    email="rechnung@gross.example",
    customer_number="K-17",
    due_days=14,
    iban="DE89 3704 0044 0532 0130 00",
    bic="COBADEFFXXX",
    mandate_reference="PFW-K-17-1",
)


def rows(*debtors: Debtor) -> list[list[str]]:
    content = b"".join(write_debtors(HEADER, debtors))
    assert content.count(b"\r\n") == content.count(b"\n") == 2 + len(debtors)
    return list(csv.reader(io.StringIO(content.decode("cp1252"), newline=""), delimiter=";"))


def test_the_header_is_that_of_the_official_sample_but_for_its_numbers() -> None:
    line = next(iter(write_debtors(HEADER, [])))
    assert line == (
        b'"EXTF";700;16;"Debitoren/Kreditoren";5;20261201093015250;;"PF";"";"";29098;55003;20260101;4;;;"";"";;;;"";;'
        b'"";;;"03";;;"";""\r\n'
    )


def test_there_are_254_columns_and_each_value_stands_in_its_own() -> None:
    _, names, values = rows(DEBTOR)
    assert len(names) == len(values) == 254
    filled = {name: value for name, value in zip(names, values, strict=True) if value}
    assert filled == {
        "Konto": "10001",
        "Name (Adressattyp Unternehmen)": "Bäckerei Groß & Söhne Gemeinnützige Gesellschaft",
        "Adressattyp": "2",
        "Kurzbezeichnung": "Bäckerei Groß &",
        "EU-Land": "DE",
        "EU-UStID": "136695976",
        "Adressart": "STR",
        "Straße": "Straße des Siebzehnten Juni und der",
        "Adresszusatz": "Freundschaft 135",
        "Postleitzahl": "10623",
        "Ort": "Berlin",
        "Land": "DE",
        "Kennz. Korrespondenzadresse": "1",
        "E-Mail": "rechnung@gross.example",
        "Länderkennzeichen 1": "DE",
        "IBAN-Nr. 1": "DE89370400440532013000",
        "SWIFT-Code 1": "COBADEFFXXX",
        "Kennz. Hauptbankverb. 1": "1",
        "Kunden-/Lief.-Nr.": "K-17",
        "Fälligkeit in Tagen (Debitor)": "14",
        "SEPA-Mandatsreferenz 1": "PFW-K-17-1",
    }


def test_greece_is_written_as_the_vat_directive_writes_it() -> None:
    assert rows(Debtor(10_001, "Α.Ε.", country="GR", vat_id="GR123456789"))[2][8:10] == ["EL", "123456789"]


@given(st.text(), st.text(), st.text())
@settings(deadline=None)
def test_no_name_or_address_makes_it_fail(name: str, street: str, city: str) -> None:
    assert len(rows(Debtor(10_001, name, street=street, city=city))[2]) == 254


@pytest.mark.parametrize("account", [8400, 100_001])
def test_an_account_of_another_length_is_refused(account: int) -> None:
    with pytest.raises(Invalid, match="5 digits"):
        rows(Debtor(account, "x"))
