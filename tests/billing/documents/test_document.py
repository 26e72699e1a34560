"""A document cannot disagree with itself: its sums come from its lines."""

from dataclasses import replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.documents.document import Adjustment, DocumentType, Line, Period, Tax, TaxCategory, Unit, totals
from billing.documents.regimes import reverse_charge, small_business, standard, third_country
from tests.billing.documents.corpus import CORPUS, NOVEMBER, S19, document, line

TAXES = [standard(1900), standard(700), standard(550), reverse_charge("de")]

LINES = st.lists(
    st.builds(
        Line,
        st.just("Postfach"),
        st.integers(-10_000, 1_000_000),
        st.just(Unit.DAY),
        st.integers(0, 100_000),
        st.sampled_from(TAXES),
        base_quantity=st.integers(28, 31),
    ),
    min_size=1,
    max_size=12,
)
ADJUSTMENTS = st.lists(
    st.builds(Adjustment, st.integers(0, 100_000), st.just("x"), st.sampled_from(TAXES), is_charge=st.booleans()),
    max_size=3,
)


def half_up(amount: Decimal) -> int:
    return int(amount.quantize(Decimal(1), rounding=ROUND_HALF_UP))


@given(LINES, ADJUSTMENTS, st.integers(0, 10_000))
def test_the_sums_are_those_of_decimal_arithmetic(lines: list[Line], adjustments: list[Adjustment], paid: int) -> None:
    found = totals(lines, adjustments, prepaid_cents=paid)
    nets = [half_up(Decimal(each.quantity) * each.price_cents / each.base_quantity) for each in lines]
    assert [each.net_cents for each in lines] == nets
    assert found.lines_cents == sum(nets)
    signed = sum(each.amount_cents if each.is_charge else -each.amount_cents for each in adjustments)
    assert found.net_cents == sum(nets) + signed == sum(each.net_cents for each in found.breakdown)
    for subtotal in found.breakdown:
        assert subtotal.tax_cents == half_up(Decimal(subtotal.net_cents) * subtotal.tax.rate_basis_points / 10_000)
    assert found.tax_cents == sum(each.tax_cents for each in found.breakdown)
    assert found.payable_cents == found.net_cents + found.tax_cents - paid


@given(LINES)
def test_negative_quantities_give_the_mirror_of_an_invoice(lines: list[Line]) -> None:
    forward, back = totals(lines), totals([replace(each, quantity=-each.quantity) for each in lines])
    assert back.net_cents == -forward.net_cents
    assert back.tax_cents == -forward.tax_cents
    assert back.payable_cents == -forward.payable_cents


@given(LINES, st.randoms(use_true_random=False))
def test_the_order_of_lines_changes_no_sum(lines: list[Line], chance: Any) -> None:
    shuffled = list(lines)
    chance.shuffle(shuffled)
    assert totals(shuffled) == totals(lines)


def test_the_known_month_costs_what_the_rating_says() -> None:
    found = document().totals
    assert (found.net_cents, found.tax_cents, found.gross_cents) == (1501, 285, 1786)


def test_everything_off_leaves_nothing_to_pay() -> None:
    found = CORPUS["everything off"].totals
    assert found.lines_cents > 0
    assert found.payable_cents == found.tax_cents == 0


def test_lines_of_one_customer_stand_together_with_their_numbers() -> None:
    lines = (line("a", group="X"), line("b", group="Y"), line("c", group="X"))
    groups = document(lines=lines).groups
    assert [(name, [position for position, _ in of_group]) for name, of_group in groups] == [("X", [1, 3]), ("Y", [2])]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"lines": ()}, "has no line"),
        ({"type_code": DocumentType.CREDIT_NOTE}, "must name it"),
        ({"currency": "USD"}, "made in EUR"),
        ({"logo": b"<svg/>"}, "neither PNG nor JPEG"),
        ({"lines": (line(), line(tax=third_country("de")))}, "BR-O-11"),
        ({"lines": (line(tax=small_business("de")), line(tax=small_business("en")))}, "two reasons"),
    ],
)
def test_what_no_profile_could_say_is_refused(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        document(**change)


@pytest.mark.parametrize("change", [{"price_cents": -1}, {"base_quantity": 0}])
def test_a_price_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="negate the quantity"):
        line(**change)


@pytest.mark.parametrize(
    ("category", "rate", "reason"),
    [
        (TaxCategory.STANDARD, 0, None),
        (TaxCategory.STANDARD, 1900, "why"),
        (TaxCategory.EXEMPT, 0, None),
        (TaxCategory.REVERSE_CHARGE, 1900, "why"),
        (TaxCategory.ZERO, 0, "why"),
    ],
)
def test_a_tax_that_contradicts_itself_is_refused(category: TaxCategory, rate: int, reason: str | None) -> None:
    with pytest.raises(ValueError, match=f"category {category}"):
        Tax(category, rate, reason)


def test_a_period_has_at_least_one_day() -> None:
    assert NOVEMBER.last_on == date(2026, 11, 30)
    with pytest.raises(ValueError, match="cannot end"):
        Period(date(2026, 11, 1), date(2026, 11, 1))


def test_a_percentage_names_what_it_was_taken_of() -> None:
    with pytest.raises(ValueError, match="percentage"):
        Adjustment(1, "x", S19, percent_basis_points=100)
