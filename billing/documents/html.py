"""An invoice as one HTML page for screen and paper, in German or English, without any external asset."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined

from billing.documents.document import Document
from billing.documents.sheet import sheet_of
from billing.documents.texts import TEXTS, format_day, format_rate, grouped_iban
from billing.models import Invoice, InvoiceAllowance, InvoiceLine
from billing.money import Language, format_eur
from billing.rating import KIND_WORDS, Line, explain
from billing.terms import PRODUCT_NAMES, AllowanceKind, LineKind
from billing.vat import EXEMPTIONS

_environment = Environment(
    loader=PackageLoader("billing", "documents"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_invoice(
    invoice: Invoice,
    lines: Sequence[InvoiceLine],
    language: Language = "de",
    *,
    allowances: Sequence[InvoiceAllowance] = (),
) -> str:
    """Return the page of an invoice; `lines` in their order, those of one customer together.

    A draft says so and shows neither seller nor buyer, which are fixed with its number. A language other than
    de and en raises KeyError.
    """
    return _environment.get_template("invoice.html").render(
        allowances=[(_allowance_name(each, language), each.amount_cents) for each in allowances],
        customers=list(_customers(lines)),
        exemption=getattr(EXEMPTIONS.get(invoice.tax_category), language, None),
        example=explain(_as_rated(lines[0]), language) if lines else None,
        invoice=invoice,
        language=language,
        last_on=invoice.period_ends_on - timedelta(days=1),
        t=TEXTS[language],
        line_name=lambda line: _line_name(line, language),
        day=lambda day: format_day(day, language),
        eur=lambda cents: format_eur(cents, language),
        grouped_iban=grouped_iban,
        rate=format_rate(invoice.rate_basis_points, language),
    )


def render_html(document: Document) -> str:
    """Return the page of a document: word for word what its PDF says, from the same sheet."""
    logo = None
    if document.logo:
        kind = "png" if document.logo.startswith(b"\x89PNG") else "jpeg"
        logo = f"data:image/{kind};base64,{b64encode(document.logo).decode()}"
    return _environment.get_template("document.html").render(logo=logo, sheet=sheet_of(document))


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
        kind=LineKind(line.kind),
    )


def _allowance_name(allowance: InvoiceAllowance, language: Language) -> str:
    if allowance.kind == AllowanceKind.CREDIT:
        return TEXTS[language]["credit"]
    if allowance.percent_basis_points is None:
        return allowance.reason
    return f"{allowance.reason} ({format_rate(allowance.percent_basis_points, language)})"


def _line_name(line: InvoiceLine, language: Language) -> str:
    name = PRODUCT_NAMES[language].get(line.service_class, line.service_class)
    kind = KIND_WORDS[language].get(line.kind)
    return name if kind is None else f"{name} ({kind})"
