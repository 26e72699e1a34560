"""Where `now` comes from: the machine, or a clock that is set by hand for demo and tests."""

from datetime import UTC, date, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

BERLIN = ZoneInfo("Europe/Berlin")


def berlin_day(at: datetime) -> date:
    """The calendar day in Germany at this aware point in time: the day that is billed."""
    return at.astimezone(BERLIN).date()


class Clock(Protocol):
    def now(self) -> datetime:
        """The present as an aware datetime in UTC."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class TestClock:
    """A clock that starts where it is told and moves only forward, by hand or with real time on top.

    With `running` it goes on in real time from the moment it was set, so that waiting looks natural in the
    demo.
    """

    __test__ = False

    def __init__(self, start: datetime, *, running: bool = False) -> None:
        self._set_at = datetime.now(UTC)
        self._base = start.astimezone(UTC)
        self._running = running

    def now(self) -> datetime:
        return self._base + (datetime.now(UTC) - self._set_at) if self._running else self._base

    def advance(self, to: datetime) -> None:
        """Moves the clock forward; raises ValueError when `to` lies in its past."""
        if to < self.now():
            raise ValueError(f"the clock stands at {self.now().isoformat()} and cannot go back to {to.isoformat()}")
        self._base, self._set_at = to.astimezone(UTC), datetime.now(UTC)
