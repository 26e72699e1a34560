"""Whatever can be put together as a document passes the gate: what it could get wrong, it computes."""

from dataclasses import replace
from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.documents.cii import Profile, build_xml
from billing.documents.document import Adjustment, Document, DocumentType, Line, LineAllowance, Tax, Unit
from billing.documents.gate import check
from billing.documents.html import render_html
from billing.documents.payment_means import Card, NonSepaTransfer
from billing.documents.regimes import reverse_charge, small_business, standard, third_country
from billing.money import Language
from tests.billing.documents.corpus import BUYER, CORRECTED, DEBIT, NOVEMBER, ONLINE, TRANSFER, document

REGIMES = (
    (standard(1900), standard(700)),
    (standard(1900), standard(550), reverse_charge("de")),
    (small_business("de"),),
    (third_country("en"),),
)
# What people type, with all that XML or a page could stumble over; blank names are refused before they get here.
NAMES = st.text(min_size=1, max_size=60).map(lambda text: f"N{text}")
PAYMENTS = st.sampled_from([TRANSFER, DEBIT, ONLINE, Card("4242"), NonSepaTransfer("000123456789", "Fachwerk GmbH")])
UNITS = st.sampled_from([(Unit.DAY, 30), (Unit.DAY, 31), (Unit.DAY, 29), (Unit.MONTH, 1), (Unit.PIECE, 1)])


@st.composite
def lines(draw: st.DrawFn, taxes: tuple[Tax, ...]) -> Line:
    unit, base = draw(UNITS)
    line = Line(
        draw(NAMES),
        draw(st.integers(-5_000, 100_000)),
        unit,
        draw(st.integers(0, 100_000)),
        draw(st.sampled_from(taxes)),
        base_quantity=base,
        description=draw(st.none() | NAMES),
        group=draw(st.none() | NAMES),
        period=draw(st.sampled_from([None, NOVEMBER])),
    )
    amounts = draw(st.lists(st.integers(0, 10_000), max_size=2))
    return replace(line, allowances=tuple(LineAllowance(amount, "Nachlass") for amount in amounts))


@st.composite
def adjustments(draw: st.DrawFn, taxes: tuple[Tax, ...]) -> Adjustment:
    tax = draw(st.sampled_from(taxes))
    return Adjustment(draw(st.integers(0, 50_000)), draw(NAMES), tax, is_charge=draw(st.booleans()))


@st.composite
def documents(draw: st.DrawFn) -> Document:
    taxes = draw(st.sampled_from(REGIMES))
    type_code = draw(st.sampled_from(DocumentType))
    language: Language = draw(st.sampled_from(("de", "en")))
    return document(
        type_code=type_code,
        corrects=None if type_code is DocumentType.INVOICE else CORRECTED,
        language=language,
        payment=draw(PAYMENTS),
        buyer=replace(BUYER, name=draw(NAMES)),
        lines=tuple(draw(st.lists(lines(taxes), min_size=1, max_size=5))),
        adjustments=tuple(draw(st.lists(adjustments(taxes), max_size=2))),
        notes=tuple(draw(st.lists(NAMES, max_size=2))),
        prepaid_cents=draw(st.integers(0, 10_000)),
        rounding_cents=draw(st.integers(-4, 4)),
        due_on=date(2026, 12, 15),
    )


@settings(max_examples=150, deadline=None)
@given(documents())
def test_every_document_that_can_be_made_is_valid_in_both_profiles(made: Document) -> None:
    for profile in Profile:
        report = check(build_xml(made, profile), profile)
        assert [(each.rule, each.message_en) for each in report.errors] == []
    assert made.number in render_html(made)
