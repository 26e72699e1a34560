"""The invoice as a page: everything a reader recomputes stands on it, and nothing comes from elsewhere."""

import re
from dataclasses import asdict
from datetime import UTC, date, datetime

import pytest

from billing.documents.html import render_invoice
from billing.documents.texts import format_rate
from billing.models import Invoice, InvoiceLine, InvoiceStatus
from tests.billing.ledger_factory import ISSUER

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def line(position: int, customer: str, service_class: str, *, days: int, price: int, net: int) -> InvoiceLine:
    return InvoiceLine(
        invoice_id="inv_1",
        position=position,
        reseller_id="res_1",
        customer_id=f"cus_{customer}",
        customer_name=customer,
        service_class=service_class,
        price_cents=price,
        mailbox_days=days,
        base_days=30,
        net_cents=net,
    )


LINES = [
    line(1, "Bäckerei <b>Süß</b>", "exchange", days=57, price=790, net=1501),
    line(2, "Kanzlei Grün & Söhne", "imap", days=4123, price=290, net=39856),
    line(3, "Kanzlei Grün & Söhne", "pop3", days=30, price=100, net=100),
]


def invoice() -> Invoice:
    return Invoice(
        id="inv_1",
        reseller_id="res_1",
        run_id="run_1",
        status=InvoiceStatus.FINAL,
        number="PF-2026-000042",
        series="PF",
        year=2026,
        sequence=42,
        period_starts_on=date(2026, 11, 1),
        period_ends_on=date(2026, 12, 1),
        issued_on=date(2026, 12, 1),
        due_on=date(2026, 12, 15),
        net_cents=41457,
        tax_cents=7877,
        gross_cents=49334,
        tax_category="S",
        rate_basis_points=1900,
        buyer={
            "id": "res_1",
            "name": "Müller & Söhne IT <GmbH>",
            "street": "Straße des 17. Juni 1",
            "postcode": "10623",
            "city": "Köln",
            "country": "DE",
            "vat_id": "DE123456789",
            "email": "rechnung@mueller.example",
        },
        seller=asdict(ISSUER),
        created_at=NOW,
        finalised_at=NOW,
    )


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))


def test_all_that_a_german_invoice_needs_stands_on_it() -> None:
    text = text_of(render_invoice(invoice(), LINES))
    for wanted in (
        *("Rechnung PF-2026-000042", "Rechnungsdatum 01.12.2026", "Zahlbar bis 15.12.2026"),
        *("Leistungszeitraum 01.11.2026 – 30.11.2026", "Ihre USt-IdNr. DE123456789", "Köln"),
        *("Postfachwerk Betrieb GmbH", "Gerberau 12", "79098 Freiburg im Breisgau"),
        *("USt-IdNr. DE136695976", "Steuernummer 06123/45678", "BYLADEM1001"),
        "IBAN DE02 1203 0000 0000 2020 51",
        *("Summe netto 414,57 €", "Umsatzsteuer 19 % 78,77 €", "Rechnungsbetrag 493,34 €"),
    ):
        assert wanted in text


def test_each_line_shows_quantity_days_price_and_amount() -> None:
    text = text_of(render_invoice(invoice(), LINES))
    assert "Exchange 57 7,90 € 30 15,01 €" in text
    assert "IMAP 4123 2,90 € 30 398,56 €" in text
    assert "POP3 30 1,00 € 30 1,00 €" in text


def test_lines_are_grouped_by_customer_with_their_sum() -> None:
    page = render_invoice(invoice(), LINES)
    assert page.count('<tr class="customer">') == 2
    assert "Kanzlei Grün &amp; Söhne 399,56 €" in text_of(page)


def test_the_formula_is_said_and_shown_on_the_first_line() -> None:
    assert "57 Postfachtage × 7,90 € / 30 Tage = 15,01 €" in text_of(render_invoice(invoice(), LINES))


def test_names_are_escaped() -> None:
    page = render_invoice(invoice(), LINES)
    assert "Bäckerei &lt;b&gt;Süß&lt;/b&gt;" in page
    assert "Müller &amp; Söhne IT &lt;GmbH&gt;" in page
    assert "<b>" not in page


def test_it_speaks_english_too() -> None:
    page = render_invoice(invoice(), LINES, "en")
    text = text_of(page)
    assert '<html lang="en">' in page
    for wanted in ("Invoice PF-2026-000042", "Amount due €493.34", "VAT 19% €78.77", "Payable by 2026-12-15"):
        assert wanted in text
    assert "57 mailbox-days × €7.90 / 30 days = €15.01" in text


def test_nothing_is_loaded_from_anywhere() -> None:
    assert not re.search(r"https?:|src=|@import|url\(", render_invoice(invoice(), LINES))


def test_a_draft_says_so_and_names_nobody() -> None:
    draft = invoice().model_copy(
        update={
            "status": InvoiceStatus.DRAFT,
            **dict.fromkeys(("number", "issued_on", "due_on", "buyer", "seller")),
        }
    )
    text = text_of(render_invoice(draft, LINES))
    assert "Rechnung Entwurf" in text
    assert "IBAN" not in text


def test_an_invoice_over_nothing_asks_for_nothing() -> None:
    free = invoice().model_copy(update={"net_cents": 0, "tax_cents": 0, "gross_cents": 0})
    assert "überweisen" not in text_of(render_invoice(free, []))


@pytest.mark.parametrize(
    ("basis_points", "german", "english"),
    [(1900, "19 %", "19%"), (0, "0 %", "0%"), (550, "5,5 %", "5.5%"), (1000, "10 %", "10%")],
)
def test_a_rate_is_written_as_people_write_it(basis_points: int, german: str, english: str) -> None:
    assert (format_rate(basis_points, "de"), format_rate(basis_points, "en")) == (german, english)


@pytest.mark.parametrize(
    ("category", "de", "en"),
    [
        ("AE", "Steuerschuldnerschaft des Leistungsempfängers.", "Reverse charge."),
        ("E", "steuerfrei als Kleinunternehmer gemäß § 19 UStG", "exempt as a small business"),
        ("O", "Nicht im Inland steuerbare Leistung", "Not subject to German VAT"),
    ],
)
def test_an_invoice_without_tax_says_why(category: str, de: str, en: str) -> None:
    untaxed = invoice()
    untaxed.tax_category, untaxed.rate_basis_points, untaxed.tax_cents = category, 0, 0
    assert de in text_of(render_invoice(untaxed, LINES))
    assert en in text_of(render_invoice(untaxed, LINES, "en"))
    assert de not in text_of(render_invoice(invoice(), LINES))
