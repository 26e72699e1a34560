"""Where EN 16931's terms stand in the XML."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from billing.documents.cii import BUSINESS_PROCESS, NAMESPACES, Profile, build_xml
from billing.documents.document import Document
from tests.billing.documents.corpus import CORPUS, DEBIT, document

SETTLEMENT = "//ram:ApplicableHeaderTradeSettlement"
AGREEMENT = "//ram:ApplicableHeaderTradeAgreement"


def texts(of: Document, path: str, profile: Profile = Profile.XRECHNUNG) -> list[str]:
    nodes = etree.fromstring(build_xml(of, profile)).xpath(path, namespaces=NAMESPACES)
    assert isinstance(nodes, list)
    return [node.text or "" for node in nodes if isinstance(node, etree._Element)]


@pytest.mark.parametrize("profile", Profile)
def test_the_profile_and_the_process_are_named(profile: Profile) -> None:
    head = "//rsm:ExchangedDocumentContext/*/ram:ID"
    assert texts(document(), head, profile) == [BUSINESS_PROCESS, profile.value]


def test_a_part_month_can_be_recomputed_from_its_line() -> None:
    line = "//ram:IncludedSupplyChainTradeLineItem"
    assert texts(document(), f"{line}//ram:ChargeAmount") == ["7.90"]
    assert texts(document(), f"{line}//ram:BasisQuantity[@unitCode='DAY']") == ["30"]
    assert texts(document(), f"{line}//ram:BilledQuantity[@unitCode='DAY']") == ["57"]
    assert texts(document(), f"{line}//ram:LineTotalAmount") == ["15.01"]


def test_a_debit_names_mandate_creditor_and_account_where_readers_look_for_them() -> None:
    debit = document(payment=DEBIT)
    assert texts(debit, f"{SETTLEMENT}/ram:CreditorReferenceID") == ["DE98ZZZ09999999999"]
    assert texts(debit, f"{SETTLEMENT}/ram:SpecifiedTradePaymentTerms/ram:DirectDebitMandateID") == ["PF-M-000017"]
    account = f"{SETTLEMENT}/ram:SpecifiedTradeSettlementPaymentMeans/ram:PayerPartyDebtorFinancialAccount/ram:IBANID"
    assert texts(debit, account) == ["DE89370400440532013000"]
    assert texts(debit, "//ram:PayeePartyCreditorFinancialAccount") == []
    assert texts(debit, "//ram:PayerSpecifiedDebtorFinancialInstitution") == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *(("domestic", "58"), ("debit", "59"), ("credit card", "54")),
        *(("bank card in English", "48"), ("transfer outside SEPA", "30"), ("debit card", "55")),
        *(("debit by a service", "68"), ("whatever a service keeps", "68")),
    ],
)
def test_the_means_of_payment_has_its_code(name: str, code: str) -> None:
    assert texts(CORPUS[name], "//ram:SpecifiedTradeSettlementPaymentMeans/ram:TypeCode") == [code]


def test_a_card_is_known_by_its_last_digits_and_its_holder() -> None:
    card = f"{SETTLEMENT}//ram:ApplicableTradeSettlementFinancialCard"
    assert texts(CORPUS["credit card"], f"{card}/ram:ID") == ["4242"]
    assert texts(CORPUS["credit card"], f"{card}/ram:CardholderName") == ["E. Müller"]
    assert texts(CORPUS["debit card"], f"{card}/*") == ["4242"]


def test_a_service_that_debits_is_said_in_the_terms_and_names_no_account() -> None:
    debit = CORPUS["debit by a service"]
    (said,) = texts(debit, f"{SETTLEMENT}/ram:SpecifiedTradePaymentTerms/ram:Description")
    assert said == (
        "17,86 € zieht Stripe am 15.12.2026 per SEPA-Lastschrift von Ihrem Konto mit den Endziffern 3000 ein. "
        "Sie müssen nichts überweisen. Mandatsreferenz: PXKQZ1ABCDEFGH2K."
    )
    for term in ("CreditorReferenceID", "DirectDebitMandateID", "IBANID", "ApplicableTradeSettlementFinancialCard"):
        assert texts(debit, f"//ram:{term}") == []


def test_terms_follow_what_is_said_of_the_payment() -> None:
    (said,) = texts(CORPUS["debit with terms"], f"{SETTLEMENT}/ram:SpecifiedTradePaymentTerms/ram:Description")
    first, *terms = said.split("\n")
    assert first.startswith("Wir ziehen 17,86 € am 15.12.2026")
    assert terms == ["Zahlbar sofort.", "#SKONTO#TAGE=7#PROZENT=2.00#", ""]


@pytest.mark.parametrize(
    "name", ["domestic", "nothing left for a card", "cancellation of a debit", "cancellation of a debit by a service"]
)
def test_where_nothing_is_collected_the_terms_announce_nothing(name: str) -> None:
    assert texts(CORPUS[name], f"{SETTLEMENT}/ram:SpecifiedTradePaymentTerms/ram:Description") == []


def test_a_period_ends_on_its_last_day_and_is_the_day_of_delivery() -> None:
    assert texts(document(), f"{SETTLEMENT}/ram:BillingSpecifiedPeriod//udt:DateTimeString") == ["20261101", "20261130"]
    assert texts(document(), "//ram:ActualDeliverySupplyChainEvent//udt:DateTimeString") == ["20261130"]


def test_a_correction_names_what_it_corrects() -> None:
    correction = CORPUS["cancellation as credit note"]
    assert texts(correction, "//ram:InvoiceReferencedDocument/ram:IssuerAssignedID") == ["PF-2026-000007"]
    assert texts(correction, "//ram:FormattedIssueDateTime/qdt:DateTimeString") == ["20261101"]


def test_what_is_not_subject_to_vat_names_no_vat_id_and_no_rate_on_its_lines() -> None:
    outside = CORPUS["third country"]
    assert texts(outside, "//ram:SpecifiedTaxRegistration/ram:ID[@schemeID='VA']") == []
    assert texts(outside, "//ram:SpecifiedLineTradeSettlement//ram:RateApplicablePercent") == []
    assert texts(outside, f"{SETTLEMENT}/ram:ApplicableTradeTax/ram:RateApplicablePercent") == ["0.00"]


def test_a_sole_trader_without_register_and_vat_id_is_told_apart_by_the_tax_number() -> None:
    seller = f"{AGREEMENT}/ram:SellerTradeParty/ram:ID"
    assert texts(CORPUS["small business of a sole trader"], seller) == ["06123/45678"]
    assert texts(CORPUS["small business"], seller) == []


def test_an_account_outside_sepa_is_an_iban_where_it_is_one() -> None:
    account = "//ram:PayeePartyCreditorFinancialAccount"
    assert texts(CORPUS["transfer to an IBAN outside SEPA"], f"{account}/ram:IBANID") == ["GE29NB0000000101904917"]
    assert texts(CORPUS["transfer outside SEPA"], f"{account}/ram:ProprietaryID") == ["000123456789"]


def test_an_authority_is_reached_under_its_leitweg_id() -> None:
    assert texts(CORPUS["authority"], f"{AGREEMENT}/ram:BuyerReference") == ["04011000-1234512345-06"]
    address = f"{AGREEMENT}/ram:BuyerTradeParty//ram:URIID[@schemeID='0204']"
    assert texts(CORPUS["authority"], address) == ["04011000-1234512345-06"]


def test_signs_that_xml_cannot_hold_are_left_out_and_all_others_kept() -> None:
    (note,) = texts(CORPUS["other scripts"], "//ram:IncludedNote/ram:Content")
    assert note == "山田 😀 \u200b ﬁ e\u0301"


@pytest.mark.parametrize("name", CORPUS)
def test_no_element_is_empty(name: str) -> None:
    for element in etree.fromstring(build_xml(CORPUS[name], Profile.ZUGFERD)).iter():
        assert len(element) or (element.text or "").strip(), element.tag


def test_the_same_document_gives_the_same_bytes_in_another_process_too(root: Path) -> None:
    script = (
        "import sys; from billing.documents.cii import Profile, build_xml; "
        "from tests.billing.documents.corpus import CORPUS; "
        "sys.stdout.buffer.write(b''.join(build_xml(each, Profile.ZUGFERD) for each in CORPUS.values()))"
    )
    expected = b"".join(build_xml(each, Profile.ZUGFERD) for each in CORPUS.values())
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=root,
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            timeout=60,
        )
        assert done.stdout == expected
