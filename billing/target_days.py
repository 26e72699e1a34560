"""The days on which T2 (formerly TARGET2) settles payments in euro: a SEPA debit can be due on these only."""

from datetime import date, timedelta

SATURDAY = 5


def easter_sunday(year: int) -> date:
    """Return Easter Sunday by the Gregorian computus (Meeus, Jones and Butcher); valid for 1583 and later."""
    golden = year % 19
    century, of_century = divmod(year, 100)
    leap_centuries, rest_centuries = divmod(century, 4)
    correction = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - leap_centuries - correction + 15) % 30
    leap_years, rest_years = divmod(of_century, 4)
    weekday = (32 + 2 * rest_centuries + 2 * leap_years - epact - rest_years) % 7
    late = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * late + 114, 31)
    return date(year, month, day + 1)


def is_target_day(day: date) -> bool:
    """Say whether T2 is open: Monday to Friday but for six closing days (ECB decision of 14 December 2000)."""
    if day.weekday() >= SATURDAY:
        return False
    if (day.month, day.day) in {(1, 1), (5, 1), (12, 25), (12, 26)}:
        return False
    easter = easter_sunday(day.year)
    return day not in {easter - timedelta(days=2), easter + timedelta(days=1)}


def next_target_day(day: date) -> date:
    """Return this day when T2 is open on it, else the first one after it."""
    while not is_target_day(day):
        day += timedelta(days=1)
    return day


def add_target_days(day: date, days: int) -> date:
    """Return the day that is `days` settlement days after this one; a negative number raises ValueError."""
    if days < 0:
        raise ValueError(f"settlement days are counted forward, not {days}")
    for _ in range(days):
        day = next_target_day(day + timedelta(days=1))
    return day
