"""DATEV's booking batch: a golden file, and that whatever is written is found again in the file to the cent."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import islice, repeat
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.documents.datev import (
    MAX_AMOUNT_CENTS,
    MAX_BOOKINGS,
    BatchHeader,
    Booking,
    document_number,
    month_header,
    write_batch,
)
from billing.documents.datev_check import check_batch, read_batch
from billing.periods import BillingMonth
from provisioning.core.errors import Invalid

HEADER = BatchHeader(
    29098,
    55003,
    fiscal_year_starts_on=date(2026, 1, 1),
    starts_on=date(2026, 11, 1),
    ends_on=date(2026, 12, 1),
    created_at=datetime(2026, 12, 1, 8, 30, 15, 250_000, tzinfo=UTC),
    label="2026-11",
)

BOOKING = Booking(
    11_900,
    "S",
    account=10_001,
    contra_account=8400,
    document_on=date(2026, 11, 5),
    number="PF-2026-000001",
    text="PF-2026-000001 Bäckerei Groß",
)

# Line 2 of the sample EXTF_Buchungsstapel.csv on developer.datev.de, as it stands there.
OFFICIAL_COLUMNS = (
    "Umsatz (ohne Soll/Haben-Kz);Soll/Haben-Kennzeichen;WKZ Umsatz;Kurs;Basis-Umsatz;WKZ Basis-Umsatz;Konto;Gegenkonto "
    "(ohne BU-Schlüssel);BU-Schlüssel;Belegdatum;Belegfeld 1;Belegfeld 2;Skonto;Buchungstext;Postensperre;Diverse "
    "Adressnummer;Geschäftspartnerbank;Sachverhalt;Zinssperre;Beleglink;Beleginfo - Art 1;Beleginfo - Inhalt 1;"
    "Beleginfo - Art 2;Beleginfo - Inhalt 2;Beleginfo - Art 3;Beleginfo - Inhalt 3;Beleginfo - Art 4;Beleginfo - "
    "Inhalt 4;Beleginfo - Art 5;Beleginfo - Inhalt 5;Beleginfo - Art 6;Beleginfo - Inhalt 6;Beleginfo - Art 7;"
    "Beleginfo - Inhalt 7;Beleginfo - Art 8;Beleginfo - Inhalt 8;KOST1 - Kostenstelle;KOST2 - Kostenstelle;Kost-Menge;"
    "EU-Land u. UStID (Bestimmung);EU-Steuersatz (Bestimmung);Abw. Versteuerungsart;Sachverhalt L+L;Funktionsergänzung "
    "L+L;BU 49 Hauptfunktionstyp;BU 49 Hauptfunktionsnummer;BU 49 Funktionsergänzung;Zusatzinformation - Art 1;"
    "Zusatzinformation- Inhalt 1;Zusatzinformation - Art 2;Zusatzinformation- Inhalt 2;Zusatzinformation - Art 3;"
    "Zusatzinformation- Inhalt 3;Zusatzinformation - Art 4;Zusatzinformation- Inhalt 4;Zusatzinformation - Art 5;"
    "Zusatzinformation- Inhalt 5;Zusatzinformation - Art 6;Zusatzinformation- Inhalt 6;Zusatzinformation - Art 7;"
    "Zusatzinformation- Inhalt 7;Zusatzinformation - Art 8;Zusatzinformation- Inhalt 8;Zusatzinformation - Art 9;"
    "Zusatzinformation- Inhalt 9;Zusatzinformation - Art 10;Zusatzinformation- Inhalt 10;Zusatzinformation - Art 11;"
    "Zusatzinformation- Inhalt 11;Zusatzinformation - Art 12;Zusatzinformation- Inhalt 12;Zusatzinformation - Art 13;"
    "Zusatzinformation- Inhalt 13;Zusatzinformation - Art 14;Zusatzinformation- Inhalt 14;Zusatzinformation - Art 15;"
    "Zusatzinformation- Inhalt 15;Zusatzinformation - Art 16;Zusatzinformation- Inhalt 16;Zusatzinformation - Art 17;"
    "Zusatzinformation- Inhalt 17;Zusatzinformation - Art 18;Zusatzinformation- Inhalt 18;Zusatzinformation - Art 19;"
    "Zusatzinformation- Inhalt 19;Zusatzinformation - Art 20;Zusatzinformation- Inhalt 20;Stück;Gewicht;Zahlweise;"
    "Forderungsart;Veranlagungsjahr;Zugeordnete Fälligkeit;Skontotyp;Auftragsnummer;Buchungstyp;USt-Schlüssel "
    "(Anzahlungen);EU-Land (Anzahlungen);Sachverhalt L+L (Anzahlungen);EU-Steuersatz (Anzahlungen);Erlöskonto "
    "(Anzahlungen);Herkunft-Kz;Buchungs GUID;KOST-Datum;SEPA-Mandatsreferenz;Skontosperre;Gesellschaftername;"
    "Beteiligtennummer;Identifikationsnummer;Zeichnernummer;Postensperre bis;Bezeichnung SoBil-Sachverhalt;Kennzeichen "
    "SoBil-Buchung;Festschreibung;Leistungsdatum;Datum Zuord. Steuerperiode;Fälligkeit;Generalumkehr (GU);Steuersatz;"
    "Land;Abrechnungsreferenz;BVV-Position;EU-Land u. UStID (Ursprung);EU-Steuersatz (Ursprung);Abw. Skontokonto"
)

numbers = st.from_regex(r"[A-Z]{1,3}-20[0-9]{2}-[0-9]{1,6}", fullmatch=True)
bookings = st.builds(
    Booking,
    amount_cents=st.one_of(st.integers(1, 200), st.integers(1, MAX_AMOUNT_CENTS)),
    side=st.sampled_from(["S", "H"]),
    account=st.integers(10_000, 69_999),
    contra_account=st.sampled_from([8400, 8336, 8338, 8195, 1200]),
    document_on=st.dates(date(2026, 11, 1), date(2026, 11, 30)),
    number=numbers,
    text=st.one_of(st.text(), st.sampled_from(['Müller; "Söhne"', "Straße\r\nOrt", "a;b;c", '"', "Łódź €"])),
    due_on=st.none() | st.dates(date(2026, 11, 1), date(2027, 6, 1)),
    service_on=st.none() | st.dates(date(2026, 1, 1), date(2026, 12, 31)),
    tax_key=st.sampled_from(["", "9", "0040"]),
    vat_id=st.sampled_from(["", "ATU12345678", "NL123456789B01"]),
    eu_rate_basis_points=st.none() | st.integers(0, 9_999),
    cost_centre=st.sampled_from(["", "Hosting 1"]),
    document_id=st.none() | st.uuids(),
    is_reversal=st.booleans(),
)


def written(header: BatchHeader, *lines: Booking) -> bytes:
    return b"".join(write_batch(header, lines))


def fields_of(content: bytes, line: int) -> list[str]:
    return list(csv.reader(io.StringIO(content.decode("cp1252"), newline=""), delimiter=";"))[line - 1]


class TestGoldenFile:
    def test_the_header_is_that_of_the_official_sample(self) -> None:
        sample = BatchHeader(
            29098,
            55003,
            fiscal_year_starts_on=date(2024, 1, 1),
            starts_on=date(2024, 1, 1),
            ends_on=date(2024, 9, 1),
            created_at=datetime(2024, 1, 30, 13, 4, 40, 439_000, tzinfo=UTC),
            label="Buchungsstapel",
            initials="WD",
            is_locked=False,
            origin="RE",
        )
        assert written(sample).splitlines()[0] == (
            b'"EXTF";700;21;"Buchungsstapel";13;20240130140440439;;"RE";"";"";29098;55003;20240101;4;20240101;20240831;'
            b'"Buchungsstapel";"WD";1;0;0;"EUR";;"";;;"03";;;"";""'
        )

    def test_the_columns_are_those_of_the_official_sample(self) -> None:
        line = written(HEADER).split(b"\r\n")[1].decode("cp1252")
        assert line == OFFICIAL_COLUMNS
        assert line.count(";") == 124

    def test_an_invoice_is_written_field_by_field_as_the_description_says(self) -> None:
        booking = replace(
            BOOKING,
            due_on=date(2026, 11, 19),
            service_on=date(2026, 10, 31),
            document_id=UUID("e0a08953-fbaa-4054-af36-993d5d68f040"),
            cost_centre="Hosting",
        )
        content = written(HEADER, booking)
        assert content.split(b"\r\n")[2].decode("cp1252") == "".join(
            [
                '119,00;"S";"EUR";;;"";10001;8400;"";0511;"PF-2026-000001";"";;"PF-2026-000001 Bäckerei Groß"',
                ';;"";;;;"BEDI ""E0A08953-FBAA-4054-AF36-993D5D68F040"""',  # 15 - 20
                ';""' * 16,  # Beleginfo, 21 - 36
                ';"Hosting";"";;"";;"";;;;;',  # 37 - 47
                ';""' * 40,  # Zusatzinformation, 48 - 87
                ';;;;"";;;;"";"";;"";;;;"";"";;"";;"";;"";"";;"";',  # 88 - 113
                ';1;31102026;31102026;19112026;"0"',  # 114 - 118
                ';;"";"";;"";;',  # 119 - 125
            ]
        )
        assert content.endswith(b"\r\n")
        assert len(fields_of(content, 3)) == 125

    def test_reverse_charge_carries_country_vat_id_and_rate(self) -> None:
        booking = replace(BOOKING, contra_account=8336, vat_id="GR123456789", eu_rate_basis_points=2400)
        assert fields_of(written(HEADER, booking), 3)[39:41] == ["EL123456789", "24,00"]

    def test_a_reversal_is_marked(self) -> None:
        booking = replace(BOOKING, side="H", is_reversal=True)
        fields = fields_of(written(HEADER, booking), 3)
        assert (fields[0], fields[1], fields[117]) == ("119,00", "H", "1")


class TestWhatIsWrittenIsFoundAgain:
    @given(st.lists(bookings, max_size=12))
    @settings(deadline=None)
    def test_no_line_is_skipped_and_the_sums_agree_to_the_cent(self, lines: list[Booking]) -> None:
        sums = check_batch(written(HEADER, *lines))
        assert sums.bookings == len(lines)
        assert sums.debit_cents == sum(line.amount_cents for line in lines if line.side == "S")
        assert sums.credit_cents == sum(line.amount_cents for line in lines if line.side == "H")
        assert sums.reversals == sum(line.is_reversal for line in lines)
        assert sum(sums.balance_cents.values()) == 0
        debtors = range(10_000, 70_000)
        signs = {"S": 1, "H": -1}
        assert sums.balance_of(debtors) == sum(signs[line.side] * line.amount_cents for line in lines)

    @given(st.lists(bookings, max_size=6))
    @settings(deadline=None)
    def test_a_booking_comes_back_as_it_was_but_for_its_text(self, lines: list[Booking]) -> None:
        header, found = read_batch(written(HEADER, *lines))
        read = list(found)
        assert header == HEADER
        assert [replace(line, text="") for line in read] == [replace(line, text="") for line in lines]
        assert all(len(line.text) <= 60 for line in read)

    @given(st.lists(bookings, max_size=6))
    @settings(deadline=None)
    def test_no_line_holds_a_forbidden_character(self, lines: list[Booking]) -> None:
        content = written(HEADER, *lines)
        assert content.count(b"\r\n") == content.count(b"\n") == content.count(b"\r") == 2 + len(lines)
        assert not set(content) & {*range(10), 11, 12, *range(14, 32), 127, 0x81, 0x8D, 0x8F, 0x90, 0x9D}

    @given(st.text(), st.text())
    @settings(deadline=None)
    def test_no_name_makes_it_fail(self, name: str, centre: str) -> None:
        assert check_batch(written(HEADER, replace(BOOKING, text=name, cost_centre=centre))).bookings == 1

    def test_a_long_text_ends_with_a_word(self) -> None:
        booking = replace(BOOKING, text="PF-2026-000001 Gemeinnützige Wohnungsbaugenossenschaft Oberschwaben eG")
        assert fields_of(written(HEADER, booking), 3)[13] == "PF-2026-000001 Gemeinnützige Wohnungsbaugenossenschaft"

    def test_the_29_february_of_a_fiscal_year_over_the_new_year_is_found_again(self) -> None:
        header = replace(
            HEADER, fiscal_year_starts_on=date(2027, 7, 1), starts_on=date(2027, 7, 1), ends_on=date(2028, 7, 1)
        )
        lines = [replace(BOOKING, document_on=day) for day in (date(2027, 7, 1), date(2028, 2, 29), date(2028, 6, 30))]
        _, found = read_batch(written(header, *lines))
        assert [line.document_on for line in found] == [line.document_on for line in lines]


class TestRefusals:
    @pytest.mark.parametrize("amount_cents", [0, -1, MAX_AMOUNT_CENTS + 1])
    def test_an_amount_that_is_no_turnover(self, amount_cents: int) -> None:
        with pytest.raises(Invalid, match="turn the side"):
            replace(BOOKING, amount_cents=amount_cents)

    @pytest.mark.parametrize("number", ["", "RE 1", "RE.1", "RÄ1", "A" * 37, 'R"1'])
    def test_a_number_that_would_break_the_open_item(self, number: str) -> None:
        with pytest.raises(Invalid, match="document number"):
            replace(BOOKING, number=number)

    @pytest.mark.parametrize(
        "change",
        [
            {"consultant": 1000},
            {"client": 100_000},
            {"account_length": 9},
            {"label": "Müller"},
            {"initials": "W"},
            {"origin": "PFW"},
            {"created_at": datetime(2026, 12, 1)},  # noqa: DTZ001 - a naive moment is what is refused
        ],
    )
    def test_a_header_out_of_range(self, change: dict[str, Any]) -> None:
        with pytest.raises(Invalid, match="out of range"):
            replace(HEADER, **change)

    def test_a_period_over_two_fiscal_years(self) -> None:
        with pytest.raises(Invalid, match="one batch a month") as refused:
            replace(HEADER, starts_on=date(2026, 12, 1), ends_on=date(2027, 2, 1))
        assert refused.value.code == "datev_fiscal_year"

    def test_a_booking_of_another_month(self) -> None:
        with pytest.raises(Invalid, match="batch of its own month"):
            written(HEADER, replace(BOOKING, document_on=date(2026, 12, 1)))

    def test_an_account_of_another_length(self) -> None:
        with pytest.raises(Invalid, match="neither 4 digits"):
            written(HEADER, replace(BOOKING, account=100_010))

    def test_more_lines_than_a_batch_holds(self) -> None:
        lines = write_batch(HEADER, repeat(BOOKING, MAX_BOOKINGS + 1))
        assert sum(1 for _ in islice(lines, MAX_BOOKINGS + 2)) == MAX_BOOKINGS + 2
        with pytest.raises(Invalid, match="write several"):
            next(lines)


class TestReadingBack:
    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (lambda content: content.replace(b"\r\n", b"\n"), "CR and LF"),
            (lambda content: content.replace(b"Gro\xdf", b"Gro\x81"), "0x81"),
            (lambda content: content.replace(b"Gro\xdf", b"Gro\x07"), "0x07"),
            (lambda content: content.replace(b'"EXTF";700', b'"EXTF";510'), "31 fields"),
            (lambda content: content.replace(b"Belegfeld 1", b"Belegfeld1"), "125 columns"),
            (lambda content: content.replace(b"119,00", b"119.00"), "line 3.*no amount"),
            (lambda content: content.replace(b"119,00;", b"119,00;;"), "126 fields"),
            (lambda content: content.replace(b";0511;", b";0512;"), "period"),
            (lambda content: content.replace(b"119,00;", b'119,00;"'), "line 3"),
            (lambda content: b"".join(content.splitlines(keepends=True)[:1]), "line 2"),
        ],
    )
    def test_a_damaged_file_is_named_with_line_and_reason(self, damage: Callable[[bytes], bytes], reason: str) -> None:
        with pytest.raises(Invalid, match=reason):
            check_batch(damage(written(HEADER, BOOKING)))


class TestMonths:
    def test_a_month_has_its_own_batch_in_its_own_fiscal_year(self) -> None:
        template = replace(
            HEADER, fiscal_year_starts_on=date(2026, 7, 1), starts_on=date(2026, 7, 1), ends_on=date(2026, 8, 1)
        )
        years = {month: month_header(template, BillingMonth(2027, month)).fiscal_year_starts_on for month in (6, 7)}
        assert years == {6: date(2026, 7, 1), 7: date(2027, 7, 1)}
        header = month_header(template, BillingMonth(2027, 2))
        assert (header.starts_on, header.ends_on, header.label) == (date(2027, 2, 1), date(2027, 3, 1), "2027-02")


@pytest.mark.parametrize(
    ("number", "field"),
    [("PF-2026-000001", "PF-2026-000001"), ("RE 2026.1", "RE-2026-1"), ("Märkte_1", "Maerkte-1")],
)
def test_a_number_becomes_a_document_field(number: str, field: str) -> None:
    assert document_number(number) == field
    assert replace(BOOKING, number=document_number(number)).number == field


def test_a_number_is_never_cut() -> None:
    with pytest.raises(Invalid, match="36"):
        document_number("1" * 37)
