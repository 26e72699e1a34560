"""An invoice as one HTML page for screen and paper, in German or English, without any external asset."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined

from billing.models import Invoice, InvoiceLine
from billing.money import Language, format_eur
from billing.rating import Line, explain

TEXTS: dict[Language, dict[str, str]] = {
    "de": {
        "amount": "Betrag netto",
        "bank": "Bankverbindung",
        "base_days": "Tage im Monat",
        "buyer_vat_id": "Ihre USt-IdNr.",
        "class": "Klasse",
        "days": "Postfachtage",
        "draft": "Entwurf",
        "due": "Zahlbar bis",
        "formula": "Netto je Zeile = Postfachtage × Preis je Monat / Tage im Monat, kaufmännisch gerundet.",
        "for_example": "Zum Beispiel:",
        "gross": "Rechnungsbetrag",
        "invoice": "Rechnung",
        "issued": "Rechnungsdatum",
        "net": "Summe netto",
        "number": "Rechnungsnummer",
        "pay": "Bitte überweisen Sie den Betrag unter Angabe der Rechnungsnummer.",
        "period": "Leistungszeitraum",
        "price": "Preis je Monat",
        "tax": "Umsatzsteuer",
        "tax_number": "Steuernummer",
        "vat_id": "USt-IdNr.",
    },
    "en": {
        "amount": "Net amount",
        "bank": "Bank details",
        "base_days": "Days of month",
        "buyer_vat_id": "Your VAT ID",
        "class": "Class",
        "days": "Mailbox-days",
        "draft": "Draft",
        "due": "Payable by",
        "formula": "Net of a line = mailbox-days × price a month / days of the month, rounded half up.",
        "for_example": "For example:",
        "gross": "Amount due",
        "invoice": "Invoice",
        "issued": "Date of invoice",
        "net": "Net total",
        "number": "Invoice number",
        "pay": "Please transfer the amount and give the invoice number as reference.",
        "period": "Period of service",
        "price": "Price a month",
        "tax": "VAT",
        "tax_number": "Tax number",
        "vat_id": "VAT ID",
    },
}

CLASSES = {"pop3": "POP3", "imap": "IMAP", "exchange": "Exchange"}

_environment = Environment(
    loader=PackageLoader("billing", "documents"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_invoice(invoice: Invoice, lines: Sequence[InvoiceLine], language: Language = "de") -> str:
    """Return the page of an invoice; `lines` in their order, those of one customer together.

    A draft says so and shows neither seller nor buyer, which are fixed with its number. A language other than
    de and en raises KeyError.
    """
    return _environment.get_template("invoice.html").render(
        customers=list(_customers(lines)),
        example=explain(_as_rated(lines[0]), language) if lines else None,
        invoice=invoice,
        language=language,
        last_on=invoice.period_ends_on - timedelta(days=1),
        t=TEXTS[language],
        class_name=lambda service_class: CLASSES.get(service_class, service_class),
        day=lambda day: format_day(day, language),
        eur=lambda cents: format_eur(cents, language),
        grouped_iban=_grouped_iban,
        rate=format_rate(invoice.rate_basis_points, language),
    )


def format_day(day: date, language: Language) -> str:
    """Return "01.12.2026" (de) or "2026-12-01" (en), which no reader takes for 12 January."""
    return day.strftime("%d.%m.%Y") if language == "de" else day.isoformat()


def format_rate(basis_points: int, language: Language) -> str:
    """Return "19 %" or, where it is no whole number, "5,5 %" (de); "19%" and "5.5%" (en)."""
    percent = f"{basis_points / 100:.2f}".rstrip("0").rstrip(".")
    return f"{percent.replace('.', ',')} %" if language == "de" else f"{percent}%"


def _customers(lines: Iterable[InvoiceLine]) -> Iterable[tuple[str, list[InvoiceLine], int]]:
    for _, group in groupby(lines, key=lambda line: line.customer_id):
        of_customer = list(group)
        yield of_customer[0].customer_name, of_customer, sum(line.net_cents for line in of_customer)


def _as_rated(line: InvoiceLine) -> Line:
    return Line(
        line.customer_id,
        line.service_class,
        price_cents=line.price_cents,
        mailbox_days=line.mailbox_days,
        base_days=line.base_days,
        net_cents=line.net_cents,
    )


def _grouped_iban(iban: str) -> str:
    compact = iban.replace(" ", "")
    return " ".join(compact[start : start + 4] for start in range(0, len(compact), 4))
