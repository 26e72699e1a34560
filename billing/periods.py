"""Billing periods and days in Europe/Berlin, and how many days of a period a mailbox was there."""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Self
from zoneinfo import ZoneInfo

BERLIN = ZoneInfo("Europe/Berlin")
ANCHOR_DAY_MAX = 31


@dataclass(frozen=True, slots=True, order=True)
class BillingPeriod:
    """What one invoice bills: the half-open range of days `[starts_on, ends_on)`; earlier ones sort first.

    `starts_on` is BT-73. `ends_on` is the day the period closes, on which it can be billed. An end that is not after
    the start raises ValueError.
    """

    starts_on: date
    ends_on: date

    def __post_init__(self) -> None:
        if self.ends_on <= self.starts_on:
            raise ValueError(f"a billing period cannot end on {self.ends_on} and start on {self.starts_on}")

    def __str__(self) -> str:
        return f"{self.starts_on} to {self.last_on}"

    @property
    def last_on(self) -> date:
        """The last day (BT-74): it decides volume tier and tax rate."""
        return self.ends_on - timedelta(days=1)

    @property
    def days(self) -> int:
        """How many days the period has, 28 to 31 (BT-149)."""
        return (self.ends_on - self.starts_on).days

    @property
    def named(self) -> "BillingMonth":
        """The month the period begins in, by which it is asked for: there is one in each month."""
        return BillingMonth.containing(self.starts_on)


class BillingMonth(BillingPeriod):
    """A calendar month, which is what is billed unless a reseller has an anchor day of its own.

    A month outside 1 to 12 or a year outside 2 to 9998 raises ValueError.
    """

    __slots__ = ()

    def __init__(self, year: int, month: int) -> None:
        # Not the first and last year `date` can hold, so that the days around a month always exist.
        if not (2 <= year <= 9998 and 1 <= month <= 12):
            raise ValueError(f"there is no billing month {year}-{month}")
        following = date(year + 1, 1, 1) if month == 12 else date(year, month + 1, 1)
        super().__init__(date(year, month, 1), following)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "2026-11"; anything else raises ValueError."""
        found = re.fullmatch(r"([0-9]{4})-(0[1-9]|1[0-2])", text)
        if found is None:
            raise ValueError(f"a billing month is written YYYY-MM, such as 2026-11, not {text!r}")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def containing(cls, day: date) -> Self:
        """Return the month of a day; a datetime raises ValueError."""
        # A datetime is a date to Python, but 31 October 23:30 UTC is November in Berlin.
        if isinstance(day, datetime):
            raise ValueError(f"give a day, not a moment: berlin_day() of {day.isoformat()}")
        return cls(day.year, day.month)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"

    @property
    def year(self) -> int:
        return self.starts_on.year

    @property
    def month(self) -> int:
        return self.starts_on.month

    def previous(self) -> "BillingMonth":
        """Return the month before."""
        return BillingMonth.containing(self.starts_on - timedelta(days=1))

    def next(self) -> "BillingMonth":
        """Return the month after."""
        return BillingMonth.containing(self.ends_on)


def add_months(day: date, months: int) -> date:
    """Return the same day `months` later, or the last day of a month that is too short for it."""
    years, month = divmod(day.month - 1 + months, 12)
    first = date(day.year + years, month + 1, 1)
    return first.replace(day=min(day.day, monthrange(first.year, first.month)[1]))


def berlin_day(at: datetime) -> date:
    """Return the day it is in Berlin at an aware moment; a naive one raises ValueError."""
    if at.utcoffset() is None:
        raise ValueError(f"{at.isoformat()} has no time zone, so its day in Berlin is unknown")
    return at.astimezone(BERLIN).date()


def mailbox_days(starts_on: date, ends_on: date | None, period: BillingPeriod) -> int:
    """Return how many days of the period lie in `[starts_on, ends_on)`; `ends_on` None is still running.

    The ledger stores a mailbox ordered and given up on one day as `[D, D+1)`, which counts one day.
    An end before the start raises ValueError.
    """
    if ends_on is not None and ends_on < starts_on:
        raise ValueError(f"a period cannot end on {ends_on} before it starts on {starts_on}")
    until = period.ends_on if ends_on is None else min(ends_on, period.ends_on)
    return max(0, (until - max(starts_on, period.starts_on)).days)


def period_beginning(month: BillingMonth, anchor_day: int = 1) -> BillingPeriod:
    """Return the period that begins in a month, on the anchor day or on the last day of a month too short for it.

    The anchor is never moved by a short month: after 28 February, 31 is 31 March again. An anchor outside 1 to 31
    raises ValueError.
    """
    return BillingPeriod(_anchored(month, anchor_day), _anchored(month.next(), anchor_day))


def period_containing(day: date, anchor_day: int = 1) -> BillingPeriod:
    """Return the period of a day."""
    month = BillingMonth.containing(day)
    return period_beginning(month if _anchored(month, anchor_day) <= day else month.previous(), anchor_day)


def periods_closing(closes_on: date) -> dict[int, BillingPeriod]:
    """Return the periods that close on a day, by their anchor day: several on the last day of a short month."""
    month = BillingMonth.containing(closes_on)
    return {
        anchor_day: period_beginning(month.previous(), anchor_day)
        for anchor_day in range(closes_on.day, ANCHOR_DAY_MAX + 1)
        if _anchored(month, anchor_day) == closes_on
    }


def periods_due(first_on: date, anchor_day: int, now: datetime) -> list[BillingPeriod]:
    """Return the periods to bill, oldest first: from the one of `first_on` on, wholly past in Berlin.

    Missed ones are all among them, so an outage over a closing day loses none. A naive `now` raises ValueError.
    """
    today = berlin_day(now)
    period = period_containing(first_on, anchor_day)
    due = []
    while period.ends_on <= today:
        due.append(period)
        period = period_beginning(period.named.next(), anchor_day)
    return due


def _anchored(month: BillingMonth, anchor_day: int) -> date:
    if not 1 <= anchor_day <= ANCHOR_DAY_MAX:
        raise ValueError(f"an anchor day lies between 1 and {ANCHOR_DAY_MAX}, not {anchor_day}")
    return month.starts_on.replace(day=min(anchor_day, month.days))
