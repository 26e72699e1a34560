"""What a reseller hands to its customer in its own name; nothing in it tells what the reseller pays. No database."""

from asyncio import get_running_loop
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from billing.documents import html, pdf
from billing.documents.cii import Profile, build_xml
from billing.documents.document import Address, Document, Line, Period, Tax, TaxCategory, Unit
from billing.documents.sheet import Group, Sheet, address_lines, heads_of, page_of, row_of
from billing.documents.texts import format_day, text
from billing.money import Language, format_eur
from billing.statements import Statement, StatementLine
from billing.terms import PRODUCT_NAMES
from billing.validation import errors_of
from provisioning.core.errors import Conflict

Made = TypeVar("Made")

# A compiler serves one caller at a time: who waits for it waits here, and not in a thread that others need.
_RENDERING: Final = ThreadPoolExecutor(1, thread_name_prefix="rendering")

# A statement is net and names no tax.
_UNNAMED: Final = Tax(TaxCategory.ZERO, 0)


async def render_aside(render: Callable[[], Made]) -> Made:
    """Return what `render` makes in a thread. A PDF takes about 30 ms: call it outside of any transaction."""
    return await get_running_loop().run_in_executor(_RENDERING, render)


def statement_pdf(statement: Statement, language: Language, logo: bytes | None) -> bytes:
    """Return the PDF/A-3 of a statement; the same bytes each time."""
    return pdf.render_sheet(statement_sheet(statement, language), logo=logo, on=statement.period.last_on)


def statement_page(statement: Statement, language: Language, logo: bytes | None) -> str:
    """Return the page of a statement, with every word of its PDF."""
    return html.render_sheet(statement_sheet(statement, language), logo)


def judged_xml(document: Document) -> bytes:
    """Return the XRechnung of a document. Raises Conflict `document_invalid` with the gate's report."""
    _refuse_invalid(document)
    return build_xml(document, Profile.XRECHNUNG)


def judged_pdf(document: Document) -> bytes:
    """Return the PDF with ZUGFeRD inside. Raises as `judged_xml` does."""
    _refuse_invalid(document)
    return pdf.render_pdf(document, build_xml(document, Profile.ZUGFERD))


def _refuse_invalid(document: Document) -> None:
    try:
        found = errors_of(document)
    except ValueError as error:
        raise Conflict(f"No invoice can be made of it: {error}.", code="document_invalid") from error
    if found is not None:
        report, sentence = found
        raise Conflict(sentence, code="document_invalid", report=report)


def statement_sheet(statement: Statement, language: Language) -> Sheet:
    """Return a statement as it is printed: no invoice, so that it names no tax that would be owed (§ 14c UStG)."""
    seller = statement.seller
    address = Address(seller.street, seller.postcode, seller.city, seller.country)
    period = Period(statement.period.starts_on, statement.period.ends_on)
    lines = [line_of(each, period, language, _UNNAMED) for each in statement.lines]
    rows = tuple(row_of(position, line, language, period) for position, line in enumerate(lines, start=1))
    net = format_eur(statement.net_cents, language)
    remarks = ("statement_note", *(["rounding_rule_of_lines"] if lines else []))
    return Sheet(
        language=language,
        title=text("statement", language),
        number=str(statement.month),
        sender=" · ".join((seller.name, seller.street, f"{seller.postcode} {seller.city}")),
        seller_name=seller.name,
        recipient=(statement.buyer.name,),
        facts=tuple(_facts(statement, period, language)),
        subject=text("statement_estimate", language) if statement.is_estimate else None,
        heads=heads_of(language),
        groups=(Group(None, net, rows),),
        sums=(),
        total=(text("net", language), net),
        remarks=tuple(text(name, language) for name in remarks),
        payment=None,
        footer=((seller.name, *address_lines(address, with_country=False)), (seller.email,), ()),
        annex=None,
        page=page_of(language),
    )


def _facts(statement: Statement, period: Period, language: Language) -> Iterator[tuple[str, str]]:
    buyer = statement.buyer
    yield text("buyer_number", language), buyer.external_id or buyer.id
    first, last = (format_day(day, language) for day in (period.starts_on, period.last_on))
    yield text("period", language), f"{first} – {last}"


def line_of(line: StatementLine, period: Period, language: Language, tax: Tax) -> Line:
    """Return a line at the resale price; it comes to the statement's amount by the same formula."""
    return Line(
        PRODUCT_NAMES[language].get(line.service_class, line.service_class),
        line.mailbox_days,
        Unit.DAY,
        line.price_cents,
        tax,
        base_quantity=line.base_days,
        sku=line.service_class,
        period=period,
    )
