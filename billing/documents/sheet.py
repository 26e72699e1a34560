"""What a document shows to people, in its language and in reading order; PDF and HTML only lay it out."""

from collections.abc import Iterator
from dataclasses import dataclass

from billing.documents.demand import Pair, day_of, demand_of, particulars_of, sentence_of
from billing.documents.document import (
    Address,
    Adjustment,
    AnnexEntry,
    Document,
    Line,
    Period,
    Unit,
)
from billing.documents.girocode import girocode_of, qr_svg
from billing.documents.texts import format_day, format_rate, text
from billing.money import Language, format_eur


@dataclass(frozen=True, slots=True)
class Row:
    """One line; `details` stand small below its name, the arithmetic last."""

    position: str
    name: str
    details: tuple[str, ...]
    quantity: str
    price: str
    net: str


@dataclass(frozen=True, slots=True)
class Group:
    """The lines of one customer with their sum; `name` is None where lines are for nobody in particular."""

    name: str | None
    net: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class PaymentBox:
    """How the money moves: a sentence, its particulars, and the Girocode as SVG on transfers."""

    sentence: str
    particulars: tuple[Pair, ...]
    girocode: str | None
    girocode_caption: str


@dataclass(frozen=True, slots=True)
class Annex:
    title: str
    note: str
    heads: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """All texts of a document. `page` keeps the places {page} and {pages}, which only the layout knows.

    `payment` is None where nothing is said of it, as on a statement.
    """

    language: Language
    title: str
    number: str
    sender: str
    seller_name: str
    recipient: tuple[str, ...]
    facts: tuple[Pair, ...]
    subject: str | None
    heads: tuple[str, ...]
    groups: tuple[Group, ...]
    sums: tuple[Pair, ...]
    total: Pair
    remarks: tuple[str, ...]
    payment: PaymentBox | None
    footer: tuple[tuple[str, ...], ...]
    annex: Annex | None
    page: str


def sheet_of(document: Document) -> Sheet:
    language, seller = document.language, document.seller
    return Sheet(
        language=language,
        title=title_of(document),
        number=_number(document),
        sender=" · ".join((seller.name, seller.address.street, f"{seller.address.postcode} {seller.address.city}")),
        seller_name=seller.name,
        recipient=tuple(_recipient(document)),
        facts=tuple(_facts(document)),
        subject=_subject(document),
        heads=heads_of(language),
        groups=_groups(document),
        sums=tuple(_sums(document)),
        total=_total(document),
        remarks=tuple(_remarks(document)),
        payment=_payment(document),
        footer=_footer(document),
        annex=_annex(document),
        page=page_of(language),
    )


def heads_of(language: Language) -> tuple[str, ...]:
    return tuple(text(name, language) for name in ("position", "description", "quantity", "unit_price", "amount"))


def page_of(language: Language) -> str:
    # The places are filled in by the layout, so they are handed through.
    return text("page", language, page="{page}", pages="{pages}")


def title_of(document: Document) -> str:
    """Return the heading; a correction is never called "Gutschrift", which is self-billing (§ 14 (2) UStG)."""
    if not document.is_correction:
        return text("invoice", document.language)
    in_full = document.corrects is not None and document.corrects.in_full
    return text("cancellation" if in_full else "correction", document.language)


def _number(document: Document) -> str:
    return text("draft", document.language) if document.is_draft else document.number


def _subject(document: Document) -> str | None:
    corrected, language = document.corrects, document.language
    if corrected is None:
        return None
    day = format_day(corrected.issued_on, language)
    if not document.is_correction:
        return text("replaces", language, number=corrected.number, day=day)
    extent = text("corrects_in_full" if corrected.in_full else "corrects_in_part", language)
    return text("corrects", language, number=corrected.number, day=day, extent=extent)


def _recipient(document: Document) -> Iterator[str]:
    yield document.buyer.name
    if document.buyer.contact_name:
        yield document.buyer.contact_name
    yield from address_lines(document.buyer.address, with_country=_is_abroad(document))


def address_lines(address: Address, *, with_country: bool) -> Iterator[str]:
    yield from (line for line in (address.street, address.line_two, address.line_three) if line)
    yield f"{address.postcode} {address.city}"
    if with_country:
        yield address.country


def _is_abroad(document: Document) -> bool:
    return document.buyer.address.country != document.seller.address.country


def _facts(document: Document) -> Iterator[Pair]:
    language, buyer = document.language, document.buyer
    yield text("number_of_correction" if document.is_correction else "number", language), _number(document)
    if not document.is_draft:
        yield text("issued_on", language), format_day(document.issued_on, language)
    if document.period:
        first, last = (format_day(day, language) for day in (document.period.starts_on, document.period.last_on))
        yield text("period", language), f"{first} – {last}"
    if day := day_of(demand_of(document)):
        yield day
    reference = document.buyer_reference if document.buyer_reference != buyer.number else None
    found = (
        ("buyer_number", buyer.number),
        ("buyer_reference", reference),
        ("order_reference", document.order_reference),
        ("contract_reference", document.contract_reference),
        ("buyer_vat_id", buyer.vat_id if document.names_vat_ids else None),
    )
    yield from ((text(name, language), value) for name, value in found if value)


def _groups(document: Document) -> tuple[Group, ...]:
    return tuple(
        Group(
            name=name,
            net=format_eur(sum(line.net_cents for _, line in lines), document.language),
            rows=tuple(row_of(position, line, document.language, document.period) for position, line in lines),
        )
        for name, lines in document.groups
    )


def row_of(position: int, line: Line, language: Language, period: Period | None) -> Row:
    """Return a line as it is printed; its own period only where that is not the document's."""
    price = format_eur(line.price_cents, language)
    is_part = line.base_quantity != 1
    return Row(
        position=str(position),
        name=line.name,
        details=tuple(_details(line, language, period)),
        quantity=_quantity(line.quantity, line.unit, language),
        price=text("per", language, price=price, base=_quantity(line.base_quantity, line.unit, language))
        if is_part
        else price,
        net=format_eur(line.net_cents, language),
    )


def _details(line: Line, language: Language, period: Period | None) -> Iterator[str]:
    """The description, then what identifies and explains the line in one row of its own, then its allowances."""
    explained = []
    if line.description:
        yield line.description
    if line.sku:
        explained.append(text("sku", language, sku=line.sku))
    if line.period and line.period != period:
        days = (format_day(day, language) for day in (line.period.starts_on, line.period.last_on))
        explained.append(" – ".join(days))
    if line.base_quantity != 1 or line.allowances:
        explained.append(_arithmetic(line, language))
    if explained:
        yield " · ".join(explained)
    for allowance in line.allowances:
        yield f"{allowance.reason}: {format_eur(-allowance.amount_cents, language)}"


def _arithmetic(line: Line, language: Language) -> str:
    return text(
        "arithmetic",
        language,
        quantity=_quantity(line.quantity, line.unit, language),
        price=format_eur(line.price_cents, language),
        base=_quantity(line.base_quantity, line.unit, language),
        net=format_eur(line.before_allowances_cents, language),
    )


def _quantity(quantity: int, unit: Unit, language: Language) -> str:
    word = text(f"unit_{unit.value}_1" if abs(quantity) == 1 else f"unit_{unit.value}", language)
    number = f"{quantity:,}"
    return f"{number.replace(',', '.') if language == 'de' else number} {word}"


def _sums(document: Document) -> Iterator[Pair]:
    language, sums = document.language, document.totals
    if document.adjustments:
        yield text("lines_total", language), format_eur(sums.lines_cents, language)
        yield from (_adjustment(each, language) for each in document.adjustments)
    yield text("net", language), format_eur(sums.net_cents, language)
    for subtotal in sums.breakdown:
        rate = subtotal.tax.rate_basis_points
        category = f"{text('tax', language)} {format_rate(rate, language)}" if rate else text("tax_free", language)
        label = text("net_of", language, category=category, net=format_eur(subtotal.net_cents, language))
        yield (label if len(sums.breakdown) > 1 else category), format_eur(subtotal.tax_cents, language)
    if sums.prepaid_cents or sums.rounding_cents:
        yield _gross_label(document), format_eur(sums.gross_cents, language)
    if sums.prepaid_cents:
        yield text("prepaid", language), format_eur(-sums.prepaid_cents, language)
    if sums.rounding_cents:
        yield text("rounding", language), format_eur(sums.rounding_cents, language)


def _adjustment(adjustment: Adjustment, language: Language) -> Pair:
    label = adjustment.reason
    if adjustment.percent_basis_points is not None and adjustment.basis_cents is not None:
        percent = format_rate(adjustment.percent_basis_points, language)
        basis = format_eur(adjustment.basis_cents, language)
        label = f"{label} ({text('adjustment_percent', language, percent=percent, basis=basis)})"
    return label, format_eur(adjustment.signed_cents, language)


def _total(document: Document) -> Pair:
    sums = document.totals
    changed = sums.prepaid_cents or sums.rounding_cents
    label = text("payable", document.language) if changed else _gross_label(document)
    return label, format_eur(sums.payable_cents, document.language)


def _gross_label(document: Document) -> str:
    return text("correction_total" if document.is_correction else "gross", document.language)


def _remarks(document: Document) -> Iterator[str]:
    yield from (tax.reason for tax in document.taxes if tax.reason)
    yield from document.notes
    if document.payment_terms:
        # Lines that begin with # are a grammar for machines (BR-DE-18).
        yield from (line for line in document.payment_terms.splitlines() if line and not line.startswith("#"))
    if any(line.base_quantity != 1 for line in document.lines):
        yield text("rounding_rule", document.language)


def _payment(document: Document) -> PaymentBox:
    demand = demand_of(document)
    payload = girocode_of(document) if demand.moves_money else None
    return PaymentBox(
        sentence=sentence_of(demand),
        particulars=tuple(particulars_of(demand)),
        girocode=qr_svg(payload) if payload else None,
        girocode_caption=text("girocode", document.language),
    )


def _footer(document: Document) -> tuple[tuple[str, ...], ...]:
    language, seller = document.language, document.seller
    address = (seller.name, *address_lines(seller.address, with_country=_is_abroad(document)))
    contact = (seller.contact.name, seller.contact.phone, seller.contact.email)
    ids = (
        ("vat_id", seller.vat_id if document.names_vat_ids else None),
        ("tax_number", seller.tax_number),
        ("register", seller.register_number),
    )
    legal = [f"{text(name, language)} {value}" for name, value in ids if value]
    legal += seller.legal_info.splitlines() if seller.legal_info else []
    return address, contact, tuple(legal)


def _annex(document: Document) -> Annex | None:
    if not document.annex:
        return None
    language = document.language
    names = ("mailbox", "product", "from", "until", "days", "reason")
    groups: dict[str, list[tuple[str, ...]]] = {}
    for entry in document.annex:
        groups.setdefault(entry.group, []).append(_annex_row(entry, language))
    return Annex(
        title=text("annex", language),
        note=text("annex_note", language),
        heads=tuple(text(f"annex_{name}", language) for name in names),
        groups=tuple((name, tuple(rows)) for name, rows in groups.items()),
    )


def _annex_row(entry: AnnexEntry, language: Language) -> tuple[str, ...]:
    reasons = entry.start_reason if entry.end_reason is None else f"{entry.start_reason} → {entry.end_reason}"
    first, last = (format_day(day, language) for day in (entry.starts_on, entry.last_on))
    return entry.mailbox, entry.product, first, last, str(entry.days), reasons
