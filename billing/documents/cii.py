"""A document as UN/CEFACT Cross Industry Invoice, for ZUGFeRD / Factur-X EN 16931 and for XRechnung 3.0.

The order of elements is that of the Factur-X schema. The same document always gives the same bytes. No element is
empty (PEPPOL-EN16931-R008): what a document does not say is left out with its parents.
"""

import re
from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from typing import Final

from lxml import etree

from billing.documents.demand import demand_of, note_of
from billing.documents.document import (
    Address,
    Adjustment,
    Document,
    ElectronicAddress,
    Line,
    LineAllowance,
    Period,
    Tax,
    TaxCategory,
    Totals,
)
from billing.documents.payment_means import Card, NonSepaTransfer, OnlineDebit, Payment, SepaDirectDebit, SepaTransfer
from billing.documents.texts import text
from billing.iban import creditor_reference


class Profile(StrEnum):
    """BT-24: the rules that a document declares to follow."""

    ZUGFERD = "urn:cen.eu:en16931:2017"
    XRECHNUNG = "urn:cen.eu:en16931:2017#compliant#urn:xeinkauf.de:kosit:xrechnung_3.0"


BUSINESS_PROCESS: Final = "urn:fdc:peppol.eu:2017:poacc:billing:01:1.0"
NAMESPACES: Final = {
    "rsm": "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100",
    "qdt": "urn:un:unece:uncefact:data:standard:QualifiedDataType:100",
    "ram": "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100",
    "udt": "urn:un:unece:uncefact:data:standard:UnqualifiedDataType:100",
}
_RSM, _QDT, _RAM, _UDT = (f"{{{uri}}}" for uri in NAMESPACES.values())

_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")

Node = etree._Element


def build_xml(document: Document, profile: Profile) -> bytes:
    """Return the XML of a document in UTF-8 with its declaration.

    A number that gives no creditor reference (BT-83) raises ValueError; `creditor_reference` says which.
    """
    root = etree.Element(f"{_RSM}CrossIndustryInvoice", nsmap=NAMESPACES)
    context = etree.SubElement(root, f"{_RSM}ExchangedDocumentContext")
    _add(_child(context, "BusinessProcessSpecifiedDocumentContextParameter"), "ID", BUSINESS_PROCESS)
    _add(_child(context, "GuidelineSpecifiedDocumentContextParameter"), "ID", profile.value)
    _head(etree.SubElement(root, f"{_RSM}ExchangedDocument"), document)
    transaction = etree.SubElement(root, f"{_RSM}SupplyChainTradeTransaction")
    for position, line in enumerate(document.lines, start=1):
        _line(_child(transaction, "IncludedSupplyChainTradeLineItem"), position, line, document)
    _agreement(_child(transaction, "ApplicableHeaderTradeAgreement"), document)
    # Always with a date, as an element without content breaks R008: service is complete on the period's last day.
    delivered = _child(_child(transaction, "ApplicableHeaderTradeDelivery"), "ActualDeliverySupplyChainEvent")
    _date(delivered, "OccurrenceDateTime", document.period.last_on if document.period else document.issued_on)
    _settlement(_child(transaction, "ApplicableHeaderTradeSettlement"), document)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _head(head: Node, document: Document) -> None:
    _add(head, "ID", document.number)
    _add(head, "TypeCode", document.type_code.value)
    _date(head, "IssueDateTime", document.issued_on)
    for note in document.notes:
        _add(_child(head, "IncludedNote"), "Content", note)


def _line(item: Node, position: int, line: Line, document: Document) -> None:
    _add(_child(item, "AssociatedDocumentLineDocument"), "LineID", str(position))
    product = _child(item, "SpecifiedTradeProduct")
    _add(product, "SellerAssignedID", line.sku)
    _add(product, "Name", line.name)
    _add(product, "Description", line.description)
    if line.group:
        characteristic = _child(product, "ApplicableProductCharacteristic")
        _add(characteristic, "Description", text("customer", document.language))
        _add(characteristic, "Value", line.group)
    price = _child(_child(item, "SpecifiedLineTradeAgreement"), "NetPriceProductTradePrice")
    _add(price, "ChargeAmount", _amount(line.price_cents))
    _add(price, "BasisQuantity", str(line.base_quantity), unitCode=line.unit.value)
    delivery = _child(item, "SpecifiedLineTradeDelivery")
    _add(delivery, "BilledQuantity", str(line.quantity), unitCode=line.unit.value)
    settlement = _child(item, "SpecifiedLineTradeSettlement")
    _line_tax(_child(settlement, "ApplicableTradeTax"), line.tax)
    _period(settlement, line.period)
    for allowance in line.allowances:
        _line_allowance(_child(settlement, "SpecifiedTradeAllowanceCharge"), allowance)
    summation = _child(settlement, "SpecifiedTradeSettlementLineMonetarySummation")
    _add(summation, "LineTotalAmount", _amount(line.net_cents))


def _line_allowance(node: Node, allowance: LineAllowance) -> None:
    _indicator(node, is_charge=False)
    _add(node, "ActualAmount", _amount(allowance.amount_cents))
    _add(node, "ReasonCode", allowance.reason_code)
    _add(node, "Reason", allowance.reason)


def _agreement(agreement: Node, document: Document) -> None:
    seller, buyer = document.seller, document.buyer
    _add(agreement, "BuyerReference", document.buyer_reference)
    party = _child(agreement, "SellerTradeParty")
    if not (seller.register_number or (seller.vat_id and document.names_vat_ids)):
        # BT-29, BT-30 or BT-31 tells a seller apart (BR-CO-26); sole traders may have neither of the last two.
        _add(party, "ID", seller.tax_number)
    _add(party, "Name", seller.name)
    _add(party, "Description", seller.legal_info)
    if seller.register_number:
        _add(_child(party, "SpecifiedLegalOrganization"), "ID", seller.register_number)
    contact = _child(party, "DefinedTradeContact")
    _add(contact, "PersonName", seller.contact.name)
    _add(_child(contact, "TelephoneUniversalCommunication"), "CompleteNumber", seller.contact.phone)
    _add(_child(contact, "EmailURIUniversalCommunication"), "URIID", seller.contact.email)
    _address(_child(party, "PostalTradeAddress"), seller.address)
    _electronic_address(party, seller.electronic_address)
    _registration(party, "VA", seller.vat_id if document.names_vat_ids else None)
    _registration(party, "FC", seller.tax_number)

    party = _child(agreement, "BuyerTradeParty")
    _add(party, "ID", buyer.number)
    _add(party, "Name", buyer.name)
    if buyer.contact_name:
        _add(_child(party, "DefinedTradeContact"), "PersonName", buyer.contact_name)
    _address(_child(party, "PostalTradeAddress"), buyer.address)
    _electronic_address(party, buyer.electronic_address)
    _registration(party, "VA", buyer.vat_id if document.names_vat_ids else None)
    _reference(agreement, "BuyerOrderReferencedDocument", document.order_reference)
    _reference(agreement, "ContractReferencedDocument", document.contract_reference)


def _settlement(settlement: Node, document: Document) -> None:
    payment = document.payment
    _add(settlement, "CreditorReferenceID", payment.creditor_id if isinstance(payment, SepaDirectDebit) else None)
    _add(settlement, "PaymentReference", creditor_reference(document.number))
    _add(settlement, "InvoiceCurrencyCode", document.currency)
    _payment_means(_child(settlement, "SpecifiedTradeSettlementPaymentMeans"), payment, document)
    for subtotal in document.totals.breakdown:
        node = _child(settlement, "ApplicableTradeTax")
        _add(node, "CalculatedAmount", _amount(subtotal.tax_cents))
        _add(node, "TypeCode", "VAT")
        _add(node, "ExemptionReason", subtotal.tax.reason)
        _add(node, "BasisAmount", _amount(subtotal.net_cents))
        _add(node, "CategoryCode", subtotal.tax.category.value)
        _add(node, "ExemptionReasonCode", subtotal.tax.reason_code)
        # Here also for category O, unlike on its lines: BR-DE-14 wants BT-119 always.
        _add(node, "RateApplicablePercent", _amount(subtotal.tax.rate_basis_points))
    _period(settlement, document.period)
    for adjustment in document.adjustments:
        _adjustment(_child(settlement, "SpecifiedTradeAllowanceCharge"), adjustment)
    _payment_terms(settlement, document)
    _summation(
        _child(settlement, "SpecifiedTradeSettlementHeaderMonetarySummation"), document.totals, document.currency
    )
    if document.corrects:
        preceding = _child(settlement, "InvoiceReferencedDocument")
        _add(preceding, "IssuerAssignedID", document.corrects.number)
        issued = etree.SubElement(_child(preceding, "FormattedIssueDateTime"), f"{_QDT}DateTimeString", format="102")
        issued.text = f"{document.corrects.issued_on:%Y%m%d}"


def _payment_means(means: Node, payment: Payment, document: Document) -> None:
    _add(means, "TypeCode", payment_code(payment))
    _add(means, "Information", text(f"means_{payment_code(payment)}", document.language))
    match payment:
        case Card():
            card = _child(means, "ApplicableTradeSettlementFinancialCard")
            _add(card, "ID", payment.last4)
            _add(card, "CardholderName", payment.holder)
        case SepaDirectDebit():
            # No PayerSpecifiedDebtorFinancialInstitution: this profile has no place for the debtor's BIC.
            account = _child(means, "PayerPartyDebtorFinancialAccount")
            _add(account, "IBANID", _compact(payment.debtor_iban))
        case SepaTransfer():
            account = _child(means, "PayeePartyCreditorFinancialAccount")
            _add(account, "IBANID", _compact(payment.iban))
            _add(account, "AccountName", payment.account_name)
            _bic(means, payment.bic)
        case OnlineDebit():
            pass  # the code has no group of its own, and BG-19 would want the account
        case NonSepaTransfer():
            account = _child(means, "PayeePartyCreditorFinancialAccount")
            number = _compact(payment.account)
            _add(account, "IBANID", number if _IBAN.fullmatch(number) else None)
            _add(account, "AccountName", payment.account_name)
            _add(account, "ProprietaryID", None if _IBAN.fullmatch(number) else number)
            _bic(means, payment.bic)


def payment_code(payment: Payment) -> str:
    """Return BT-81 (UNTDID 4461)."""
    match payment:
        case SepaTransfer():
            return "58"
        case SepaDirectDebit():
            return "59"
        case NonSepaTransfer():
            return "30"
        case OnlineDebit():
            return "68"
        case Card():
            return payment.code


def _payment_terms(settlement: Node, document: Document) -> None:
    mandate = document.payment.mandate if isinstance(document.payment, SepaDirectDebit) else None
    said = "\n".join(each for each in (note_of(demand_of(document)), document.payment_terms) if each)
    if not (said or document.due_on or mandate):
        return
    terms = _child(settlement, "SpecifiedTradePaymentTerms")
    _add(terms, "Description", said)
    if document.payment_terms and document.payment_terms.rstrip().endswith("#"):
        terms[-1].text = f"{terms[-1].text}\n"  # the grammar of early payment discounts ends every line so (BR-DE-18)
    if document.due_on:
        _date(terms, "DueDateDateTime", document.due_on)
    _add(terms, "DirectDebitMandateID", mandate)


def _summation(node: Node, sums: Totals, currency: str) -> None:
    _add(node, "LineTotalAmount", _amount(sums.lines_cents))
    _add(node, "ChargeTotalAmount", _amount(sums.charges_cents))
    _add(node, "AllowanceTotalAmount", _amount(sums.allowances_cents))
    _add(node, "TaxBasisTotalAmount", _amount(sums.net_cents))
    _add(node, "TaxTotalAmount", _amount(sums.tax_cents), currencyID=currency)
    _add(node, "RoundingAmount", _amount(sums.rounding_cents) if sums.rounding_cents else None)
    _add(node, "GrandTotalAmount", _amount(sums.gross_cents))
    _add(node, "TotalPrepaidAmount", _amount(sums.prepaid_cents))
    _add(node, "DuePayableAmount", _amount(sums.payable_cents))


def _adjustment(node: Node, adjustment: Adjustment) -> None:
    _indicator(node, is_charge=adjustment.is_charge)
    if adjustment.percent_basis_points is not None and adjustment.basis_cents is not None:
        _add(node, "CalculationPercent", _amount(adjustment.percent_basis_points))
        _add(node, "BasisAmount", _amount(adjustment.basis_cents))
    _add(node, "ActualAmount", _amount(adjustment.amount_cents))
    _add(node, "ReasonCode", adjustment.reason_code)
    _add(node, "Reason", adjustment.reason)
    _line_tax(_child(node, "CategoryTradeTax"), adjustment.tax)


def _line_tax(node: Node, tax: Tax) -> None:
    _add(node, "TypeCode", "VAT")
    _add(node, "CategoryCode", tax.category.value)
    if tax.category is not TaxCategory.NOT_SUBJECT:  # BR-O-05
        _add(node, "RateApplicablePercent", _amount(tax.rate_basis_points))


def _address(node: Node, address: Address) -> None:
    _add(node, "PostcodeCode", address.postcode)
    _add(node, "LineOne", address.street)
    _add(node, "LineTwo", address.line_two)
    _add(node, "LineThree", address.line_three)
    _add(node, "CityName", address.city)
    _add(node, "CountryID", address.country)


def _electronic_address(party: Node, address: ElectronicAddress) -> None:
    _add(_child(party, "URIUniversalCommunication"), "URIID", address.value, schemeID=address.scheme)


def _registration(party: Node, scheme: str, value: str | None) -> None:
    if value:
        _add(_child(party, "SpecifiedTaxRegistration"), "ID", value, schemeID=scheme)


def _reference(agreement: Node, name: str, value: str | None) -> None:
    if value:
        _add(_child(agreement, name), "IssuerAssignedID", value)


def _bic(means: Node, bic: str | None) -> None:
    if bic:
        _add(_child(means, "PayeeSpecifiedCreditorFinancialInstitution"), "BICID", bic)


def _period(parent: Node, period: Period | None) -> None:
    if period:
        node = _child(parent, "BillingSpecifiedPeriod")
        _date(node, "StartDateTime", period.starts_on)
        _date(node, "EndDateTime", period.last_on)


def _indicator(node: Node, *, is_charge: bool) -> None:
    etree.SubElement(_child(node, "ChargeIndicator"), f"{_UDT}Indicator").text = str(is_charge).lower()


def _date(parent: Node, name: str, day: date) -> None:
    etree.SubElement(_child(parent, name), f"{_UDT}DateTimeString", format="102").text = f"{day:%Y%m%d}"


def _child(parent: Node, name: str) -> Node:
    return etree.SubElement(parent, f"{_RAM}{name}")


def _add(parent: Node, name: str, value: str | None, **attributes: str) -> None:
    """Append an element with text; nothing at all for None and for text without a visible character."""
    if value and (printed := _printable(value)):
        etree.SubElement(parent, f"{_RAM}{name}", attributes).text = printed


def _printable(value: str) -> str:
    """XML has no place for control characters other than tab and line feed, in whatever notation."""
    return "".join(_allowed(value.replace("\r\n", "\n").replace("\r", "\n"))).strip()


def _allowed(value: Iterable[str]) -> Iterable[str]:
    return (each for each in value if each in "\t\n" or (each >= " " and each not in "\x7f\ufffe\uffff"))


def _amount(hundredths: int) -> str:
    """Cents as an amount, basis points as a percentage: both have two decimals."""
    sign = "-" if hundredths < 0 else ""
    return f"{sign}{abs(hundredths) // 100}.{abs(hundredths) % 100:02d}"


def _compact(account: str) -> str:
    return account.replace(" ", "").upper()
