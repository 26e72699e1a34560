"""Rounding, tax and printed amounts, checked against exact fractions."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.money import Language, format_eur, round_half_up, tax_cents

numerators = st.integers(min_value=-(10**15), max_value=10**15)
denominators = st.integers(min_value=1, max_value=10**6)


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [(1, 2, 1), (-1, 2, -1), (3, 2, 2), (-3, 2, -2), (5, 2, 3), (1, 3, 0), (-1, 3, 0), (2, 3, 1), (0, 7, 0)],
)
def test_a_half_goes_away_from_zero_and_everything_else_to_the_nearest(
    numerator: int, denominator: int, expected: int
) -> None:
    assert round_half_up(numerator, denominator) == expected


@given(numerators, denominators)
@settings(deadline=None)
def test_rounding_agrees_with_exact_fractions(numerator: int, denominator: int) -> None:
    exact = abs(Fraction(numerator, denominator))
    expected = floor(exact + Fraction(1, 2))
    assert round_half_up(numerator, denominator) == (expected if numerator >= 0 else -expected)


@given(numerators)
@settings(deadline=None)
def test_every_half_is_rounded_away_from_zero(whole: int) -> None:
    half = 2 * whole + 1
    assert round_half_up(half, 2) == (whole + 1 if half > 0 else whole)


@given(numerators, denominators)
@settings(deadline=None)
def test_a_negative_amount_mirrors_the_positive_one(numerator: int, denominator: int) -> None:
    assert round_half_up(-numerator, denominator) == -round_half_up(numerator, denominator)


@given(numerators, denominators, st.integers(min_value=1, max_value=1000))
@settings(deadline=None)
def test_an_expanded_fraction_rounds_alike(numerator: int, denominator: int, factor: int) -> None:
    assert round_half_up(numerator * factor, denominator * factor) == round_half_up(numerator, denominator)


@pytest.mark.parametrize("denominator", [0, -1])
def test_a_denominator_below_one_is_refused(denominator: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        round_half_up(1, denominator)


@pytest.mark.parametrize(
    ("net_cents", "rate_basis_points", "expected"),
    [
        (10_000, 1900, 1900),
        (10_000, 1600, 1600),
        (50, 1900, 10),
        (-50, 1900, -10),
        (150, 1900, 29),
        (999, 0, 0),
    ],
)
def test_tax_is_rounded_half_up_and_never_to_the_even_cent(
    net_cents: int, rate_basis_points: int, expected: int
) -> None:
    assert tax_cents(net_cents, rate_basis_points) == expected


@given(numerators, st.integers(min_value=0, max_value=10_000))
@settings(deadline=None)
def test_tax_is_never_more_than_half_a_cent_off(net_cents: int, rate_basis_points: int) -> None:
    exact = Fraction(net_cents * rate_basis_points, 10_000)
    assert abs(tax_cents(net_cents, rate_basis_points) - exact) <= Fraction(1, 2)


def test_a_negative_tax_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="-1 basis points"):
        tax_cents(100, -1)


@pytest.mark.parametrize(
    ("cents", "language", "expected"),
    [
        (123_456, "de", "1.234,56 €"),
        (123_456, "en", "€1,234.56"),
        (-123_456, "de", "-1.234,56 €"),
        (-123_456, "en", "-€1,234.56"),
        (0, "de", "0,00 €"),
        (-5, "de", "-0,05 €"),
        (100_000_000, "de", "1.000.000,00 €"),
        (100_000_000, "en", "€1,000,000.00"),
    ],
)
def test_an_amount_is_printed_as_the_language_writes_it(cents: int, language: Language, expected: str) -> None:
    assert format_eur(cents, language) == expected


def test_an_amount_is_printed_in_german_unless_told_otherwise() -> None:
    assert format_eur(790) == "7,90 €"


@given(numerators)
@settings(deadline=None)
def test_a_printed_amount_reads_back_as_the_same_cents(cents: int) -> None:
    for language in ("de", "en"):
        kept = format_eur(cents, language).translate(str.maketrans("", "", "€., "))
        assert int(kept) == cents


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="'fr'"):
        format_eur(100, "fr")  # type: ignore[arg-type]  # the mistake under test
