"""The German VAT rate on a day, and the refusal of everything the table does not know."""

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.periods import BillingMonth
from billing.vat import UnsupportedTaxRegime, VatRate, vat_rate


@pytest.mark.parametrize(
    ("on", "rate_basis_points"),
    [
        (date(2007, 1, 1), 1900),
        (date(2020, 6, 30), 1900),
        (date(2020, 7, 1), 1600),
        (date(2020, 12, 31), 1600),
        (date(2021, 1, 1), 1900),
        (date(2026, 11, 23), 1900),
    ],
)
def test_germany_charges_what_the_law_said_on_that_day(on: date, rate_basis_points: int) -> None:
    assert vat_rate("DE", on) == VatRate("S", rate_basis_points)


@pytest.mark.parametrize(
    ("month", "rate_basis_points"),
    [("2020-06", 1900), ("2020-07", 1600), ("2020-12", 1600), ("2021-01", 1900)],
)
def test_the_last_day_of_a_month_of_service_decides_its_rate(month: str, rate_basis_points: int) -> None:
    assert vat_rate("DE", BillingMonth.parse(month).last_on).rate_basis_points == rate_basis_points


@given(st.dates(min_value=date(2007, 1, 1)))
@settings(deadline=None)
def test_the_rate_is_16_percent_in_the_second_half_of_2020_and_19_percent_else(on: date) -> None:
    half_year = date(2020, 7, 1) <= on < date(2020, 7, 1) + timedelta(days=184)
    assert vat_rate("DE", on).rate_basis_points == (1600 if half_year else 1900)


@pytest.mark.parametrize("country", ["AT", "CH", "de", "", "DEU"])
def test_another_country_is_refused_by_name(country: str) -> None:
    with pytest.raises(UnsupportedTaxRegime) as refused:
        vat_rate(country, date(2026, 11, 30))
    assert (refused.value.country, refused.value.on) == (country, date(2026, 11, 30))
    assert str(refused.value) == f"no VAT rate is known for country {country!r} on 2026-11-30"


def test_a_day_before_the_table_begins_is_refused() -> None:
    with pytest.raises(UnsupportedTaxRegime):
        vat_rate("DE", date(2006, 12, 31))
