"""Months and days in Berlin: boundaries, leap years, clock changes and the months still to bill."""

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.periods import (
    BillingMonth,
    BillingPeriod,
    berlin_day,
    mailbox_days,
    period_beginning,
    period_containing,
    periods_closing,
    periods_due,
)

months = st.builds(BillingMonth, st.integers(min_value=2000, max_value=2100), st.integers(min_value=1, max_value=12))
days = st.dates(min_value=date(2020, 1, 1), max_value=date(2032, 12, 31))
moments = st.integers(min_value=946_684_800, max_value=2_208_988_800).map(
    lambda second: datetime.fromtimestamp(second, UTC)
)
anchor_days = st.integers(min_value=1, max_value=31)
lengths = st.integers(min_value=0, max_value=1500)
NOVEMBER = BillingMonth(2026, 11)


@pytest.mark.parametrize(
    ("text", "starts_on", "ends_on", "last_on", "length"),
    [
        ("2026-11", date(2026, 11, 1), date(2026, 12, 1), date(2026, 11, 30), 30),
        ("2026-12", date(2026, 12, 1), date(2027, 1, 1), date(2026, 12, 31), 31),
        ("2027-02", date(2027, 2, 1), date(2027, 3, 1), date(2027, 2, 28), 28),
        ("2028-02", date(2028, 2, 1), date(2028, 3, 1), date(2028, 2, 29), 29),
        ("2100-02", date(2100, 2, 1), date(2100, 3, 1), date(2100, 2, 28), 28),
    ],
)
def test_a_month_knows_its_days(text: str, starts_on: date, ends_on: date, last_on: date, length: int) -> None:
    month = BillingMonth.parse(text)
    assert (month.starts_on, month.ends_on, month.last_on, month.days) == (
        starts_on,
        ends_on,
        last_on,
        length,
    )


@given(months)
@settings(deadline=None)
def test_months_follow_each_other_without_gap_or_overlap(month: BillingMonth) -> None:
    assert month.next().starts_on == month.ends_on
    assert month.previous().ends_on == month.starts_on
    assert month.next().previous() == month
    assert month.previous() < month < month.next()


@given(months)
@settings(deadline=None)
def test_a_month_reads_back_from_its_text(month: BillingMonth) -> None:
    assert BillingMonth.parse(str(month)) == month


@given(months, months)
@settings(deadline=None)
def test_months_sort_as_their_texts_and_their_first_days_do(one: BillingMonth, other: BillingMonth) -> None:
    assert (one < other) == (str(one) < str(other)) == (one.starts_on < other.starts_on)


@given(days)
@settings(deadline=None)
def test_the_month_containing_a_day_contains_it(day: date) -> None:
    month = BillingMonth.containing(day)
    assert month.starts_on <= day < month.ends_on


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026",
        "2026-1",
        "2026-13",
        "2026-00",
        "11-2026",
        "2026-11-01",
        " 2026-11",
        "2026-11\n",
        "\u0662\u0660\u0662\u0666-11",
    ],
)
def test_a_text_that_is_no_month_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 2026-11"):
        BillingMonth.parse(text)


@pytest.mark.parametrize(("year", "month"), [(2026, 0), (2026, 13), (1, 1), (9999, 12)])
def test_a_month_that_does_not_exist_is_refused(year: int, month: int) -> None:
    with pytest.raises(ValueError, match="no billing month"):
        BillingMonth(year, month)


def test_a_moment_is_not_taken_for_a_day() -> None:
    with pytest.raises(ValueError, match="not a moment"):
        BillingMonth.containing(datetime(2026, 10, 31, 23, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    ("at", "day"),
    [
        (datetime(2026, 11, 30, 22, 30, tzinfo=UTC), date(2026, 11, 30)),
        (datetime(2026, 11, 30, 23, 30, tzinfo=UTC), date(2026, 12, 1)),
        (datetime(2026, 7, 31, 21, 30, tzinfo=UTC), date(2026, 7, 31)),
        (datetime(2026, 7, 31, 22, 30, tzinfo=UTC), date(2026, 8, 1)),
        (datetime(2026, 11, 30, 12, 0, tzinfo=timezone(timedelta(hours=-12))), date(2026, 12, 1)),
    ],
)
def test_the_day_is_the_one_in_berlin_in_winter_and_in_summer(at: datetime, day: date) -> None:
    assert berlin_day(at) == day


@pytest.mark.parametrize(
    ("midnight", "hours"),
    [
        (datetime(2026, 3, 28, 23, tzinfo=UTC), 23),
        (datetime(2026, 10, 24, 22, tzinfo=UTC), 25),
        (datetime(2026, 6, 9, 22, tzinfo=UTC), 24),
    ],
)
def test_a_day_of_23_or_25_hours_is_one_day(midnight: datetime, hours: int) -> None:
    day = berlin_day(midnight)
    assert {berlin_day(midnight + timedelta(hours=hour)) for hour in range(hours)} == {day}
    assert berlin_day(midnight - timedelta(seconds=1)) == day - timedelta(days=1)
    assert berlin_day(midnight + timedelta(hours=hours)) == day + timedelta(days=1)


def test_a_moment_without_time_zone_has_no_day() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        berlin_day(datetime(2026, 11, 30, 22, 30, tzinfo=UTC).replace(tzinfo=None))


@pytest.mark.parametrize(
    ("starts_on", "ends_on", "month", "expected"),
    [
        (date(2026, 11, 1), None, "2026-11", 30),
        (date(2026, 11, 30), None, "2026-11", 1),
        (date(2026, 12, 1), None, "2026-11", 0),
        (date(2020, 1, 1), date(2026, 11, 1), "2026-11", 0),
        (date(2020, 1, 1), date(2026, 11, 2), "2026-11", 1),
        (date(2026, 11, 14), date(2026, 11, 15), "2026-11", 1),
        (date(2026, 11, 14), date(2026, 11, 14), "2026-11", 0),
        (date(2027, 1, 31), None, "2027-01", 1),
        (date(2027, 1, 31), None, "2027-02", 28),
        (date(2028, 2, 29), date(2028, 3, 1), "2028-02", 1),
        (date(2028, 1, 31), date(2028, 3, 31), "2028-02", 29),
        (date(2026, 3, 29), date(2026, 3, 30), "2026-03", 1),
        (date(2026, 3, 1), date(2026, 4, 1), "2026-03", 31),
        (date(2026, 10, 25), date(2026, 10, 26), "2026-10", 1),
        (date(2026, 10, 1), None, "2026-10", 31),
    ],
)
def test_days_count_from_the_first_up_to_and_not_including_the_end(
    starts_on: date, ends_on: date | None, month: str, expected: int
) -> None:
    assert mailbox_days(starts_on, ends_on, BillingMonth.parse(month)) == expected


@given(days, lengths, months)
@settings(deadline=None)
def test_the_days_counted_are_the_days_one_would_tick_off_on_a_calendar(
    starts_on: date, length: int, month: BillingMonth
) -> None:
    ends_on = starts_on + timedelta(days=length)
    calendar = [month.starts_on + timedelta(days=day) for day in range(month.days)]
    assert mailbox_days(starts_on, ends_on, month) == sum(starts_on <= day < ends_on for day in calendar)
    assert mailbox_days(starts_on, None, month) == sum(starts_on <= day for day in calendar)


@given(days, lengths)
@settings(deadline=None)
def test_the_months_share_out_every_day_of_a_period_once(starts_on: date, length: int) -> None:
    ends_on = starts_on + timedelta(days=length)
    month, counted = BillingMonth.containing(starts_on), 0
    while month.starts_on < ends_on:
        counted += mailbox_days(starts_on, ends_on, month)
        month = month.next()
    assert counted == length


def test_a_period_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="before it starts"):
        mailbox_days(date(2026, 11, 2), date(2026, 11, 1), NOVEMBER)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 11, 30, 22, 30, tzinfo=UTC), []),
        (datetime(2026, 11, 30, 22, 59, 59, 999_999, tzinfo=UTC), []),
        (datetime(2026, 11, 30, 23, 0, tzinfo=UTC), ["2026-11"]),
        (datetime(2026, 12, 31, 22, 30, tzinfo=UTC), ["2026-11"]),
        (datetime(2026, 12, 31, 23, 30, tzinfo=UTC), ["2026-11", "2026-12"]),
        (datetime(2027, 2, 1, 9, tzinfo=UTC), ["2026-11", "2026-12", "2027-01"]),
    ],
)
def test_a_month_is_due_from_midnight_in_berlin_on_and_missed_ones_stay_due(now: datetime, expected: list[str]) -> None:
    assert [str(period.named) for period in periods_due(date(2026, 11, 17), 1, now)] == expected


@pytest.mark.parametrize(
    ("now", "count"), [(datetime(2026, 7, 31, 21, 30, tzinfo=UTC), 0), (datetime(2026, 7, 31, 22, 30, tzinfo=UTC), 1)]
)
def test_a_month_is_due_from_midnight_in_berlin_in_summer_too(now: datetime, count: int) -> None:
    assert len(periods_due(date(2026, 7, 1), 1, now)) == count


def test_what_is_due_cannot_be_told_from_a_moment_without_time_zone() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        periods_due(NOVEMBER.starts_on, 1, datetime(2026, 12, 1, tzinfo=UTC).replace(tzinfo=None))


@given(days, anchor_days, moments)
@settings(deadline=None)
def test_due_periods_are_consecutive_and_past_and_the_next_one_is_not(
    first_on: date, anchor_day: int, now: datetime
) -> None:
    due = periods_due(first_on, anchor_day, now)
    assert all(one.ends_on == other.starts_on for one, other in pairwise(due))
    assert all(period.last_on < berlin_day(now) for period in due)
    assert not due or due[0].starts_on <= first_on < due[0].ends_on
    after = due[-1].ends_on if due else first_on
    assert period_containing(after, anchor_day).ends_on > berlin_day(now)


class TestAnchors:
    @pytest.mark.parametrize(
        ("anchor_day", "starts"),
        [
            (31, ["01-31", "02-28", "03-31", "04-30", "05-31"]),
            (30, ["01-30", "02-28", "03-30", "04-30", "05-30"]),
            (29, ["01-29", "02-28", "03-29", "04-29", "05-29"]),
            (15, ["01-15", "02-15", "03-15", "04-15", "05-15"]),
            (1, ["01-01", "02-01", "03-01", "04-01", "05-01"]),
        ],
    )
    def test_a_short_month_does_not_move_the_anchor(self, anchor_day: int, starts: list[str]) -> None:
        begun = [period_beginning(BillingMonth(2027, month), anchor_day) for month in range(1, 6)]
        assert [f"{period.starts_on:%m-%d}" for period in begun] == starts
        assert all(one.ends_on == other.starts_on for one, other in pairwise(begun))

    def test_the_leap_day_is_kept_where_there_is_one(self) -> None:
        assert period_beginning(BillingMonth(2028, 1), 31) == BillingPeriod(date(2028, 1, 31), date(2028, 2, 29))
        assert period_beginning(BillingMonth(2028, 2), 31).days == 31

    @given(days, anchor_days)
    @settings(deadline=None)
    def test_every_day_lies_in_one_period_which_is_named_by_the_month_it_begins_in(
        self, day: date, anchor_day: int
    ) -> None:
        period = period_containing(day, anchor_day)
        assert period.starts_on <= day < period.ends_on
        assert period_beginning(period.named, anchor_day) == period
        assert period_containing(period.last_on, anchor_day) == period
        assert 28 <= period.days <= 31

    @given(days)
    @settings(deadline=None)
    def test_the_periods_that_close_on_a_day_are_those_of_all_anchors_that_do(self, day: date) -> None:
        closing = periods_closing(day)
        expected = {
            anchor: period_containing(day - timedelta(days=1), anchor)
            for anchor in range(1, 32)
            if period_containing(day, anchor).starts_on == day
        }
        assert closing == expected != {}

    def test_a_calendar_month_is_the_period_of_the_first(self) -> None:
        period = period_beginning(NOVEMBER)
        assert (period.starts_on, period.ends_on, period.days) == (NOVEMBER.starts_on, NOVEMBER.ends_on, 30)
        assert list(periods_closing(date(2026, 12, 1))) == [1]
        assert list(periods_closing(date(2027, 2, 28))) == [28, 29, 30, 31]

    @pytest.mark.parametrize("anchor_day", [0, 32])
    def test_there_is_no_other_anchor(self, anchor_day: int) -> None:
        with pytest.raises(ValueError, match="between 1 and 31"):
            period_beginning(NOVEMBER, anchor_day)

    def test_a_period_without_days_is_refused(self) -> None:
        with pytest.raises(ValueError, match="cannot end on 2026-11-01"):
            BillingPeriod(date(2026, 11, 1), date(2026, 11, 1))
