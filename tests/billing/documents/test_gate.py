"""The gate lets every document of the corpus pass and names the rule that each breakage breaks."""

import json
from collections.abc import Callable, Iterator

import pytest
from lxml import etree

from billing.documents.cii import NAMESPACES, Profile, build_xml
from billing.documents.document import Document
from billing.documents.gate import check
from tests.billing.documents.corpus import CORPUS, DEBIT, document

Change = Callable[[etree._Element], None]


@pytest.mark.parametrize("profile", Profile)
def test_every_document_of_the_corpus_is_valid_without_a_warning(profile: Profile) -> None:
    reports = {name: check(build_xml(each, profile), profile) for name, each in CORPUS.items()}
    assert {name: report.findings for name, report in reports.items() if report.findings} == {}
    assert all(report.valid and dict(report.tools).keys() >= {"schema", "lxml"} for report in reports.values())


def test_the_corpus_has_the_size_that_was_asked_for() -> None:
    assert len(CORPUS) >= 40


def found(tree: etree._Element, path: str) -> Iterator[etree._Element]:
    nodes = tree.xpath(f"//{path}", namespaces=NAMESPACES)
    assert isinstance(nodes, list)
    assert nodes, f"{path} is not there to be broken"
    return (node for node in nodes if isinstance(node, etree._Element))


def without(path: str) -> Change:
    def change(tree: etree._Element) -> None:
        for node in found(tree, path):
            parent = node.getparent()
            assert parent is not None
            parent.remove(node)

    return change


def saying(path: str, value: str) -> Change:
    def change(tree: etree._Element) -> None:
        next(found(tree, path)).text = value

    return change


def with_attribute(path: str, name: str, value: str) -> Change:
    def change(tree: etree._Element) -> None:
        next(found(tree, path)).set(name, value)

    return change


def with_child(path: str, name: str, value: str) -> Change:
    def change(tree: etree._Element) -> None:
        etree.SubElement(next(found(tree, path)), f"{{{NAMESPACES['ram']}}}{name}").text = value

    return change


HEADER = "ram:ApplicableHeaderTradeSettlement"
SUMS = "ram:SpecifiedTradeSettlementHeaderMonetarySummation"
SELLER = "ram:SellerTradeParty"
BUYER = "ram:BuyerTradeParty"
MEANS = "ram:SpecifiedTradeSettlementPaymentMeans"
TRANSFER, REVERSE, ALLOWED = CORPUS["domestic"], CORPUS["reverse charge"], CORPUS["percentage off"]
DEBITED, CARD, SMALL = document(payment=DEBIT), CORPUS["credit card"], CORPUS["small business"]
BY_SERVICE = CORPUS["debit by a service"]

MUTANTS: dict[str, tuple[Document, Change, str]] = {
    "no number": (TRANSFER, without("rsm:ExchangedDocument/ram:ID"), "BR-02"),
    "no issue date": (TRANSFER, without("rsm:ExchangedDocument/ram:IssueDateTime"), "BR-03"),
    "an unknown type": (TRANSFER, saying("rsm:ExchangedDocument/ram:TypeCode", "999"), "BR-CL-01"),
    "an unknown currency": (TRANSFER, saying("ram:InvoiceCurrencyCode", "EUX"), "BR-CL-04"),
    "another profile": (TRANSFER, saying("ram:GuidelineSpecifiedDocumentContextParameter/ram:ID", "urn:x"), "BT-24"),
    "no business process": (
        TRANSFER,
        without("ram:BusinessProcessSpecifiedDocumentContextParameter"),
        "PEPPOL-EN16931-R001",
    ),
    "no buyer reference": (TRANSFER, without("ram:BuyerReference"), "BR-DE-15"),
    "no contact": (TRANSFER, without(f"{SELLER}/ram:DefinedTradeContact"), "BR-DE-2"),
    "no contact name": (TRANSFER, without(f"{SELLER}/ram:DefinedTradeContact/ram:PersonName"), "BR-DE-5"),
    "no phone": (TRANSFER, without("ram:TelephoneUniversalCommunication"), "BR-DE-6"),
    "no contact mail": (TRANSFER, without("ram:EmailURIUniversalCommunication"), "BR-DE-7"),
    "no seller address": (TRANSFER, without(f"{SELLER}/ram:URIUniversalCommunication"), "PEPPOL-EN16931-R020"),
    "no buyer address": (TRANSFER, without(f"{BUYER}/ram:URIUniversalCommunication"), "PEPPOL-EN16931-R010"),
    "no seller name": (TRANSFER, without(f"{SELLER}/ram:Name"), "BR-06"),
    "no buyer name": (TRANSFER, without(f"{BUYER}/ram:Name"), "BR-07"),
    "no seller city": (TRANSFER, without(f"{SELLER}//ram:CityName"), "BR-DE-3"),
    "no seller postcode": (TRANSFER, without(f"{SELLER}//ram:PostcodeCode"), "BR-DE-4"),
    "no buyer city": (TRANSFER, without(f"{BUYER}//ram:CityName"), "BR-DE-8"),
    "no buyer postcode": (TRANSFER, without(f"{BUYER}//ram:PostcodeCode"), "BR-DE-9"),
    "no seller country": (TRANSFER, without(f"{SELLER}//ram:CountryID"), "BR-09"),
    "no tax id of the seller": (TRANSFER, without(f"{SELLER}/ram:SpecifiedTaxRegistration"), "BR-S-02"),
    "an unknown country": (TRANSFER, saying(f"{BUYER}//ram:CountryID", "XX"), "BR-CL-14"),
    "no means of payment": (TRANSFER, without(MEANS), "BR-DE-1"),
    "an unknown means of payment": (TRANSFER, saying(f"{MEANS}/ram:TypeCode", "998"), "BR-CL-16"),
    "a transfer without account": (TRANSFER, without("ram:PayeePartyCreditorFinancialAccount"), "BR-DE-23-a"),
    "an IBAN with a wrong digit": (TRANSFER, saying("ram:IBANID", "DE02120300000000202052"), "BR-DE-19"),
    "a transfer with a mandate": (
        TRANSFER,
        with_child("ram:SpecifiedTradePaymentTerms", "DirectDebitMandateID", "M-1"),
        "BR-DE-23-b",
    ),
    "a debit without creditor id": (DEBITED, without("ram:CreditorReferenceID"), "BR-DE-30"),
    "a debit without account": (DEBITED, without("ram:PayerPartyDebtorFinancialAccount"), "BR-DE-31"),
    "a debit without mandate": (DEBITED, without("ram:DirectDebitMandateID"), "PEPPOL-EN16931-R061"),
    "a debit of an IBAN with a wrong digit": (DEBITED, saying("ram:IBANID", "DE89370400440532013001"), "BR-DE-20"),
    "a debit of an account that is its last digits": (DEBITED, saying("ram:IBANID", "3000"), "BR-DE-20"),
    "a service's debit with a mandate for an account that nobody knows": (
        BY_SERVICE,
        with_child("ram:SpecifiedTradePaymentTerms", "DirectDebitMandateID", "M-1"),
        "BR-DE-31",
    ),
    "a service's debit said to be our own": (BY_SERVICE, saying(f"{MEANS}/ram:TypeCode", "59"), "BR-DE-25-a"),
    "a card with our account": (CARD, with_child(MEANS, "PayeePartyCreditorFinancialAccount", "x"), "BR-DE-24-b"),
    "a card without its digits": (CARD, without("ram:ApplicableTradeSettlementFinancialCard"), "BR-DE-24-a"),
    "neither due date nor terms": (TRANSFER, without("ram:SpecifiedTradePaymentTerms"), "BR-CO-25"),
    "a line amount that is not its arithmetic": (
        TRANSFER,
        saying("ram:SpecifiedTradeSettlementLineMonetarySummation/ram:LineTotalAmount", "15.51"),
        "PEPPOL-EN16931-R120",
    ),
    "a quantity that is not the amount's": (TRANSFER, saying("ram:BilledQuantity", "58"), "PEPPOL-EN16931-R120"),
    "a base of another unit": (TRANSFER, with_attribute("ram:BasisQuantity", "unitCode", "MON"), "PEPPOL-EN16931-R130"),
    "a base of nothing": (TRANSFER, saying("ram:BasisQuantity", "0"), "PEPPOL-EN16931-R121"),
    "an unknown unit": (TRANSFER, with_attribute("ram:BilledQuantity", "unitCode", "TAG"), "BR-CL-23"),
    "a negative price": (TRANSFER, saying("ram:ChargeAmount", "-7.90"), "BR-27"),
    "a line without name": (TRANSFER, without("ram:SpecifiedTradeProduct/ram:Name"), "BR-25"),
    "a line without tax": (TRANSFER, without("ram:SpecifiedLineTradeSettlement/ram:ApplicableTradeTax"), "BR-CO-04"),
    "one cent of VAT": (TRANSFER, saying(f"{HEADER}/ram:ApplicableTradeTax/ram:CalculatedAmount", "2.86"), "BR-CO-14"),
    "one cent of total": (TRANSFER, saying(f"{SUMS}/ram:GrandTotalAmount", "17.87"), "BR-CO-15"),
    "one cent of payable": (TRANSFER, saying(f"{SUMS}/ram:DuePayableAmount", "17.87"), "BR-CO-16"),
    "a sum of lines that is none": (TRANSFER, saying(f"{SUMS}/ram:LineTotalAmount", "15.02"), "BR-CO-10"),
    "a sum of allowances that is none": (ALLOWED, saying(f"{SUMS}/ram:AllowanceTotalAmount", "0.00"), "BR-CO-11"),
    "an allowance without reason": (ALLOWED, without(f"{HEADER}//ram:Reason|//ram:ReasonCode"), "BR-33"),
    "three decimals": (TRANSFER, saying(f"{SUMS}/ram:DuePayableAmount", "17.860"), "BR-DEC-18"),
    "no VAT breakdown": (TRANSFER, without(f"{HEADER}/ram:ApplicableTradeTax"), "BR-CO-18"),
    "no rate in the breakdown": (
        TRANSFER,
        without(f"{HEADER}/ram:ApplicableTradeTax/ram:RateApplicablePercent"),
        "BR-DE-14",
    ),
    "reverse charge without reason": (REVERSE, without("ram:ExemptionReason|//ram:ExemptionReasonCode"), "BR-AE-10"),
    "reverse charge without the buyer's VAT id": (
        REVERSE,
        without(f"{BUYER}/ram:SpecifiedTaxRegistration"),
        "BR-AE-02",
    ),
    "reverse charge with tax": (
        REVERSE,
        saying(f"{HEADER}/ram:ApplicableTradeTax/ram:CalculatedAmount", "2.85"),
        "BR-AE-09",
    ),
    "small business without reason": (SMALL, without("ram:ExemptionReason"), "BR-E-10"),
    "a period that ends before it starts": (
        TRANSFER,
        saying(f"{HEADER}/ram:BillingSpecifiedPeriod/ram:EndDateTime/udt:DateTimeString", "20261031"),
        "BR-29",
    ),
    "an empty element": (TRANSFER, saying(f"{BUYER}/ram:Name", " "), "PEPPOL-EN16931-R008"),
    "a debtor's bank": (DEBITED, with_child(MEANS, "PayerSpecifiedDebtorFinancialInstitution", "X"), "XSD"),
    "no delivery": (TRANSFER, without("ram:ApplicableHeaderTradeDelivery"), "XSD"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_one_broken_field_is_refused_with_its_rule(name: str) -> None:
    original, change, rule = MUTANTS[name]
    tree = etree.fromstring(build_xml(original, Profile.XRECHNUNG))
    change(tree)
    report = check(etree.tostring(tree), Profile.XRECHNUNG)
    assert not report.valid
    assert rule in {each.rule for each in report.errors}, [(each.rule, each.severity) for each in report.findings]


def test_a_finding_says_in_both_languages_what_is_wrong_and_where() -> None:
    tree = etree.fromstring(build_xml(TRANSFER, Profile.XRECHNUNG))
    without("ram:BuyerReference")(tree)
    (finding,) = check(etree.tostring(tree), Profile.XRECHNUNG).errors
    assert finding.terms == ("BT-10",)
    assert "Buyer reference" in finding.message_en
    assert finding.message_de != finding.message_en


def test_what_only_xrechnung_asks_for_is_a_hint_for_zugferd() -> None:
    tree = etree.fromstring(build_xml(TRANSFER, Profile.ZUGFERD))
    without("ram:BuyerReference")(tree)
    without("ram:DefinedTradeContact")(tree)
    report = check(etree.tostring(tree), Profile.ZUGFERD)
    assert report.valid
    assert {each.rule for each in report.warnings} == {"BR-DE-15", "BR-DE-2"}


def test_a_report_can_be_stored() -> None:
    tree = etree.fromstring(build_xml(TRANSFER, Profile.XRECHNUNG))
    without("ram:BuyerReference")(tree)
    stored = json.loads(json.dumps(check(etree.tostring(tree), Profile.XRECHNUNG).as_json()))
    assert stored["valid"] is False
    assert stored["profile"] == Profile.XRECHNUNG.value
    assert stored["tools"]["verifyhash-einvoice"]
    assert [each["rule"] for each in stored["findings"]] == ["BR-DE-15"]


@pytest.mark.parametrize("content", [b"", b"no xml", b"<a/>", b"\xff\xfe", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"])
def test_what_is_no_invoice_gets_a_report_and_no_traceback(content: bytes) -> None:
    report = check(content, Profile.ZUGFERD)
    assert not report.valid
    assert all(each.rule and each.message_en and each.message_de for each in report.errors)
