"""The rules of the ledgers by the day, without periods: what a test expects of any sequence of events."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TypeVar

Key = TypeVar("Key")

DAY = timedelta(days=1)


def expected_days(history: Sequence[tuple[date, bool, Key]], *, until: date) -> dict[date, Key]:
    """What each day up to and with `until` counts for, after entries of (day, in service, as what).

    A day counts for what is in service at its end. One on which service ended counts for what ended first, if
    the day before was not counted.
    """
    counted: dict[date, Key] = {}
    serving: Key | None = None
    day = history[0][0] if history else until
    while day <= until:
        ended: Key | None = None
        for _, in_service, key in [entry for entry in history if entry[0] == day]:
            if serving is not None and not in_service and ended is None:
                ended = serving
            serving = key if in_service else None
        counts = ended if ended is not None and day - DAY not in counted else serving
        if counts is not None:
            counted[day] = counts
        day += DAY
    return counted
