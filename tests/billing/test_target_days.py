"""The days on which euro payments settle, against dates that can be looked up."""

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.target_days import add_target_days, easter_sunday, is_target_day, next_target_day

days = st.dates(min_value=date(2000, 1, 1), max_value=date(2099, 12, 1))


@pytest.mark.parametrize(
    "easter",
    [date(1961, 4, 2), date(2000, 4, 23), date(2008, 3, 23), date(2024, 3, 31), date(2027, 3, 28), date(2038, 4, 25)],
)
def test_easter_is_where_the_calendar_has_it(easter: date) -> None:
    assert easter_sunday(easter.year) == easter


def test_2027_has_the_four_closing_days_that_no_weekend_hides() -> None:
    year = [date(2027, 1, 1) + timedelta(days=count) for count in range(365)]
    closed = [day for day in year if day.weekday() < 5 and not is_target_day(day)]
    # 1 May, 25 and 26 December 2027 are Saturdays and a Sunday.
    assert closed == [date(2027, 1, 1), date(2027, 3, 26), date(2027, 3, 29)]


def test_a_german_holiday_is_a_settlement_day() -> None:
    assert is_target_day(date(2028, 10, 3))
    assert not is_target_day(date(2028, 5, 1))


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2026, 11, 24), date(2026, 11, 24)),
        (date(2026, 11, 28), date(2026, 11, 30)),
        (date(2026, 12, 25), date(2026, 12, 28)),
        (date(2027, 3, 26), date(2027, 3, 30)),
    ],
)
def test_the_next_settlement_day_is_the_day_itself_or_after_the_closing(day: date, expected: date) -> None:
    assert next_target_day(day) == expected


@given(days)
@settings(deadline=None)
def test_a_closing_lasts_five_days_at_most(day: date) -> None:
    assert is_target_day(next_target_day(day))
    assert (next_target_day(day) - day).days <= 5


@given(days, st.integers(min_value=0, max_value=20), st.integers(min_value=0, max_value=20))
@settings(deadline=None)
def test_settlement_days_add_up(day: date, first: int, second: int) -> None:
    assert add_target_days(add_target_days(day, first), second) == add_target_days(day, first + second)


def test_settlement_days_are_not_counted_backward() -> None:
    with pytest.raises(ValueError, match="forward"):
        add_target_days(date(2026, 1, 2), -1)
