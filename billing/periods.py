"""Calendar months and days in Europe/Berlin, and how many days of a month a mailbox was there."""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Self
from zoneinfo import ZoneInfo

BERLIN = ZoneInfo("Europe/Berlin")


@dataclass(frozen=True, slots=True, order=True)
class BillingMonth:
    """A calendar month, the half-open range of days `[starts_on, ends_on)`; earlier months sort first.

    A month outside 1 to 12 or a year outside 2 to 9998 raises ValueError.
    """

    year: int
    month: int

    def __post_init__(self) -> None:
        # Not the first and last year `date` can hold, so that the days around a month always exist.
        if not (2 <= self.year <= 9998 and 1 <= self.month <= 12):
            raise ValueError(f"there is no billing month {self.year}-{self.month}")

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
    def starts_on(self) -> date:
        """The first day (BT-73)."""
        return date(self.year, self.month, 1)

    @property
    def ends_on(self) -> date:
        """The day after the last one, the first of the following month."""
        if self.month == 12:
            return date(self.year + 1, 1, 1)
        return date(self.year, self.month + 1, 1)

    @property
    def last_on(self) -> date:
        """The last day (BT-74): it decides volume tier and tax rate."""
        return self.ends_on - timedelta(days=1)

    @property
    def days(self) -> int:
        """How many days the month has, 28 to 31 (BT-149)."""
        return (self.ends_on - self.starts_on).days

    def previous(self) -> "BillingMonth":
        """Return the month before."""
        return BillingMonth.containing(self.starts_on - timedelta(days=1))

    def next(self) -> "BillingMonth":
        """Return the month after."""
        return BillingMonth.containing(self.ends_on)


def berlin_day(at: datetime) -> date:
    """Return the day it is in Berlin at an aware moment; a naive one raises ValueError."""
    if at.utcoffset() is None:
        raise ValueError(f"{at.isoformat()} has no time zone, so its day in Berlin is unknown")
    return at.astimezone(BERLIN).date()


def mailbox_days(starts_on: date, ends_on: date | None, month: BillingMonth) -> int:
    """Return how many days of the month lie in `[starts_on, ends_on)`; `ends_on` None is still running.

    The ledger stores a mailbox ordered and given up on one day as `[D, D+1)`, which counts one day.
    An end before the start raises ValueError.
    """
    if ends_on is not None and ends_on < starts_on:
        raise ValueError(f"a period cannot end on {ends_on} before it starts on {starts_on}")
    until = month.ends_on if ends_on is None else min(ends_on, month.ends_on)
    return max(0, (until - max(starts_on, month.starts_on)).days)


def months_due(last_billed: BillingMonth | None, first: BillingMonth, now: datetime) -> list[BillingMonth]:
    """Return the months to bill, oldest first: after `last_billed`, from `first` on, wholly past in Berlin.

    Missed months are all among them, so an outage over the first of a month loses none. A naive `now` raises
    ValueError.
    """
    today = berlin_day(now)
    month = first if last_billed is None else max(first, last_billed.next())
    due = []
    while month.ends_on <= today:
        due.append(month)
        month = month.next()
    return due
