"""From the rows of an invoice or a credit note to the one Document that XML, PDF and page are made of. No database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Final

from billing.document_models import CreditNote, CreditNoteKind, CreditNoteLine
from billing.documents.document import (
    Address,
    Adjustment,
    AnnexEntry,
    Buyer,
    Contact,
    Corrected,
    Document,
    DocumentType,
    ElectronicAddress,
    Line,
    Period,
    Seller,
    Tax,
    TaxCategory,
    Unit,
)
from billing.documents.regimes import standard
from billing.documents.texts import text
from billing.means import means_of
from billing.models import Invoice, InvoiceAllowance, InvoiceLine, InvoiceStatus
from billing.money import Language
from billing.rating import KIND_WORDS
from billing.terms import PRODUCT_NAMES, AllowanceKind
from billing.vat import EXEMPTIONS

# The ledger's reasons, and those at the edges of a period (`billing.invoices`).
REASONS: Final[Mapping[Language, Mapping[str, str]]] = {
    "de": {
        "carried_over": "aus dem Vormonat",
        "class_changed": "Klasse gewechselt",
        "continues": "läuft weiter",
        "customer_changed": "Kunde gewechselt",
        "deleted": "gekündigt",
        "moved": "Standort gewechselt",
        "ordered": "bestellt",
        "purged": "gelöscht",
        "restored": "wiederhergestellt",
    },
    "en": {
        "carried_over": "carried over",
        "class_changed": "class changed",
        "customer_changed": "customer changed",
        "deleted": "given up",
        "moved": "moved",
        "ordered": "ordered",
        "purged": "purged",
        "restored": "restored",
    },
}


@dataclass(frozen=True, slots=True)
class StayFacts:
    """One row of the annex: the days `[starts_on, ends_on)` of one mailbox in one class."""

    customer_id: str
    address: str
    product: str
    days: int
    starts_on: date
    ends_on: date
    start_reason: str
    end_reason: str


@dataclass(frozen=True, slots=True)
class InvoiceFacts:
    """All that an invoice's document is made of; number and days are provisional as long as it is a draft.

    `buyer` is `billing.snapshots.BUYER_SQL`, `seller` the fields of Issuer.
    """

    invoice: Invoice
    number: str
    issued_on: date
    due_on: date
    buyer: Mapping[str, Any]
    seller: Mapping[str, Any]
    lines: Sequence[InvoiceLine]
    allowances: Sequence[InvoiceAllowance] = ()
    replaces: Corrected | None = None
    annex: Sequence[StayFacts] = ()


@dataclass(frozen=True, slots=True)
class CreditNoteFacts:
    """A correction, its lines, and the invoice that it corrects."""

    credit_note: CreditNote
    lines: Sequence[CreditNoteLine]
    corrected: InvoiceFacts


def compose_invoice(facts: InvoiceFacts, language: Language | None = None) -> Document:
    """Return the document in a language, the buyer's own when none is named.

    Raises ValueError when the rows make no document, or its sums are not theirs.
    """
    if language is not None:
        facts = replace(facts, buyer={**facts.buyer, "language": language})
    invoice, language = facts.invoice, _language(facts.buyer)
    document = Document(
        type_code=DocumentType.INVOICE,
        number=facts.number,
        issued_on=facts.issued_on,
        due_on=facts.due_on,
        lines=tuple(_line(each, facts) for each in facts.lines),
        adjustments=tuple(_adjustment(each, facts) for each in facts.allowances),
        corrects=facts.replaces,
        annex=tuple(_annex_entry(each, facts) for each in facts.annex),
        language=language,
        currency=invoice.currency,
        is_draft=invoice.status == InvoiceStatus.DRAFT,
        **_common(facts),
    )
    sums = document.totals
    if (sums.net_cents, sums.tax_cents) != (invoice.net_cents, invoice.tax_cents):
        raise ValueError(
            f"the lines of invoice {invoice.id} come to {sums.net_cents} and {sums.tax_cents} cents, "
            f"its sums are {invoice.net_cents} and {invoice.tax_cents}"
        )
    return document


def compose_credit_note(facts: CreditNoteFacts) -> Document:
    """Raises ValueError when the rows make no document, or its sums are not theirs."""
    note, invoice = facts.credit_note, facts.corrected.invoice
    by_position = {line.position: line for line in facts.corrected.lines}
    document = Document(
        type_code=DocumentType.CREDIT_NOTE,
        number=note.number,
        issued_on=note.issued_on,
        lines=tuple(_taken_back(each, by_position[each.invoice_position], facts.corrected) for each in facts.lines),
        corrects=Corrected(
            facts.corrected.number,
            facts.corrected.issued_on,
            in_full=note.kind is CreditNoteKind.CANCELLATION,
        ),
        # All of them or none: a part of a line is credited without what was taken off the whole.
        adjustments=tuple(_adjustment(each, facts.corrected) for each in facts.corrected.allowances)
        if note.allowances_cents
        else (),
        notes=(note.reason,),
        language=_language(facts.corrected.buyer),
        currency=note.currency,
        # What it gives back, it gives back whatever paid the invoice.
        **(_common(facts.corrected) | {"prepaid_cents": 0}),
    )
    sums = document.totals
    if (sums.net_cents, sums.tax_cents) != (note.net_cents, note.tax_cents):
        raise ValueError(f"the lines of credit note {note.number} for {invoice.number} do not come to its sums")
    return document


def _common(facts: InvoiceFacts) -> dict[str, Any]:
    """What a correction has in common with its invoice: parties, period, and by what means money moves."""
    buyer, seller = facts.buyer, facts.seller
    means = means_of(
        buyer, seller, gross_cents=facts.invoice.gross_cents, issued_on=facts.issued_on, due_on=facts.due_on
    )
    return {
        "seller": _seller(seller),
        "buyer": _buyer(buyer),
        "payment": means.payment,
        "prepaid_cents": means.prepaid_cents,
        "buyer_reference": buyer.get("reference") or _buyer_number(buyer),
        "period": _period(facts.invoice),
    }


def _seller(seller: Mapping[str, Any]) -> Seller:
    return Seller(
        name=seller["name"],
        address=Address(seller["street"], seller["postcode"], seller["city"], seller["country"]),
        contact=Contact(seller.get("contact_name") or seller["name"], seller.get("phone") or "", seller["email"]),
        electronic_address=ElectronicAddress(seller["email"]),
        vat_id=seller.get("vat_id"),
        tax_number=seller.get("tax_number"),
        register_number=seller.get("register_number"),
        legal_info=seller.get("legal_info"),
    )


def _buyer(buyer: Mapping[str, Any]) -> Buyer:
    electronic = ElectronicAddress(buyer["email"])
    if buyer.get("electronic_address"):
        electronic = ElectronicAddress(buyer["electronic_address"], buyer.get("electronic_address_scheme") or "EM")
    return Buyer(
        name=buyer["name"],
        address=Address(buyer["street"], buyer["postcode"], buyer["city"], buyer["country"]),
        electronic_address=electronic,
        number=_buyer_number(buyer),
        vat_id=buyer.get("vat_id"),
        contact_name=buyer.get("contact_name"),
    )


def _buyer_number(buyer: Mapping[str, Any]) -> str:
    return str(buyer.get("number") or buyer["id"])


def _language(buyer: Mapping[str, Any]) -> Language:
    return "en" if buyer.get("language") == "en" else "de"


def _period(invoice: Invoice) -> Period:
    return Period(invoice.period_starts_on, invoice.period_ends_on)


def _tax(invoice: Invoice, language: Language) -> Tax:
    category = TaxCategory(invoice.tax_category)
    if category is TaxCategory.STANDARD:
        return standard(invoice.rate_basis_points)
    exemption = EXEMPTIONS[category.value]
    return Tax(category, invoice.rate_basis_points, getattr(exemption, language), exemption.code)


def _adjustment(allowance: InvoiceAllowance, facts: InvoiceFacts) -> Adjustment:
    language = _language(facts.buyer)
    percent = allowance.percent_basis_points
    return Adjustment(
        allowance.amount_cents,
        text("credit", language) if allowance.kind == AllowanceKind.CREDIT else allowance.reason,
        _tax(facts.invoice, language),
        reason_code="95",
        percent_basis_points=percent,
        basis_cents=None if percent is None else allowance.base_cents,
    )


def _line(line: InvoiceLine, facts: InvoiceFacts) -> Line:
    language = _language(facts.buyer)
    kind = KIND_WORDS[language].get(line.kind)
    name = _product(line.service_class, language)
    return Line(
        name if kind is None else f"{name} ({kind})",
        line.mailbox_days,
        Unit.DAY,
        line.price_cents,
        _tax(facts.invoice, language),
        base_quantity=line.base_days,
        sku=line.service_class,
        group=line.customer_name,
        period=_period(facts.invoice),
    )


def _taken_back(taken: CreditNoteLine, charged: InvoiceLine, facts: InvoiceFacts) -> Line:
    """All of a line is said as it was charged, a part of it as one amount."""
    line = _line(charged, facts)
    if taken.net_cents == charged.net_cents:
        return line
    return Line(
        line.name,
        1,
        Unit.PIECE,
        taken.net_cents,
        line.tax,
        sku=line.sku,
        group=line.group,
        period=line.period,
    )


def _annex_entry(stay: StayFacts, facts: InvoiceFacts) -> AnnexEntry:
    language = _language(facts.buyer)
    names = {line.customer_id: line.customer_name for line in facts.lines}
    reasons = REASONS[language]
    return AnnexEntry(
        group=names.get(stay.customer_id, stay.customer_id),
        mailbox=stay.address,
        product=_product(stay.product, language),
        days=stay.days,
        starts_on=stay.starts_on,
        last_on=stay.ends_on - timedelta(days=1),
        start_reason=reasons.get(stay.start_reason, stay.start_reason),
        end_reason=None if stay.end_reason == "continues" else reasons.get(stay.end_reason, stay.end_reason),
    )


def _product(name: str, language: Language) -> str:
    return PRODUCT_NAMES[language].get(name, name)
