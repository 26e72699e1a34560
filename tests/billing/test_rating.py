"""The reference calculation: the same facts give the same cents, in any order and cut into any pieces."""

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise
from math import floor
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.periods import BillingMonth, mailbox_days
from billing.rating import Line, NoPrice, Period, PriceTable, Tier, explain, rate, tier_for, total
from billing.vat import VatRate, vat_rate

NOVEMBER = BillingMonth(2026, 11)
PRICES: PriceTable = {
    "pop3": (Tier(1, 99),),
    "imap": (Tier(0, 190), Tier(3, 170), Tier(5, 149)),
    "exchange": (Tier(1, 790), Tier(2, 745), Tier(4, 690)),
}
STANDARD = VatRate("S", 1900)

months = st.builds(BillingMonth, st.integers(min_value=2024, max_value=2029), st.integers(min_value=1, max_value=12))
prices_cents = st.integers(min_value=0, max_value=100_000)


def period(
    starts_on: date,
    ends_on: date | None = None,
    *,
    mailbox_id: str = "mbx_1",
    customer_id: str = "cus_1",
    service_class: str = "exchange",
) -> Period:
    return Period(mailbox_id, customer_id, service_class, "de-fks-1", starts_on, ends_on)


def running(count: int, *, service_class: str = "exchange", customer_id: str = "cus_1") -> list[Period]:
    return [
        period(date(2025, 5, 5), mailbox_id=f"mbx_{number}", customer_id=customer_id, service_class=service_class)
        for number in range(count)
    ]


@st.composite
def facts(draw: st.DrawFn) -> tuple[BillingMonth, list[Period]]:
    """A month and up to 25 mailboxes of one reseller, most of them touching the month."""
    month = draw(months)
    periods = []
    for number in range(draw(st.integers(min_value=0, max_value=25))):
        starts_on = month.starts_on + timedelta(days=draw(st.integers(min_value=-70, max_value=40)))
        length = draw(st.none() | st.integers(min_value=1, max_value=90))
        periods.append(
            period(
                starts_on,
                None if length is None else starts_on + timedelta(days=length),
                mailbox_id=f"mbx_{number}",
                customer_id=draw(st.sampled_from(["cus_1", "cus_2", "cus_3"])),
                service_class=draw(st.sampled_from(["pop3", "imap", "exchange"])),
            )
        )
    return month, periods


@given(facts(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_the_facts_changes_nothing(facts: tuple[BillingMonth, list[Period]], random: Random) -> None:
    month, periods = facts
    shuffled = random.sample(periods, len(periods))
    assert rate(shuffled, PRICES, month) == rate(periods, PRICES, month)


@given(facts(), st.data())
@settings(deadline=None)
def test_cutting_a_period_at_any_days_changes_nothing(
    facts: tuple[BillingMonth, list[Period]], data: st.DataObject
) -> None:
    month, periods = facts
    pieces = []
    for whole in periods:
        until = whole.ends_on or month.ends_on + timedelta(days=40)
        length = max(0, (until - whole.starts_on).days)
        offsets = data.draw(st.sets(st.integers(min_value=0, max_value=length), max_size=4))
        cuts = [whole.starts_on, *(whole.starts_on + timedelta(days=offset) for offset in sorted(offsets))]
        ends: list[date | None] = [*cuts[1:], whole.ends_on]
        pieces += [replace(whole, starts_on=start, ends_on=end) for start, end in zip(cuts, ends, strict=True)]
    assert rate(pieces, PRICES, month) == rate(periods, PRICES, month)


@given(facts())
@settings(deadline=None)
def test_every_mailbox_day_is_on_exactly_one_line_and_every_line_is_sorted_and_has_days(
    facts: tuple[BillingMonth, list[Period]],
) -> None:
    month, periods = facts
    counted: Counter[tuple[str, str]] = Counter()
    for each in periods:
        counted[each.customer_id, each.service_class] += mailbox_days(each.starts_on, each.ends_on, month)
    lines = rate(periods, PRICES, month)
    assert [(line.customer_id, line.service_class) for line in lines] == sorted(+counted)
    assert all(line.mailbox_days == counted[line.customer_id, line.service_class] for line in lines)
    assert all(line.base_days == month.days for line in lines)


@given(facts())
@settings(deadline=None)
def test_every_line_is_the_exact_fraction_rounded_half_up_once(
    facts: tuple[BillingMonth, list[Period]],
) -> None:
    month, periods = facts
    for line in rate(periods, PRICES, month):
        exact = Fraction(line.price_cents) * Fraction(line.mailbox_days, line.base_days)
        assert line.net_cents == floor(exact + Fraction(1, 2))


@given(facts())
@settings(deadline=None)
def test_the_total_is_the_sum_of_its_lines_and_the_tax_at_most_half_a_cent_off(
    facts: tuple[BillingMonth, list[Period]],
) -> None:
    month, periods = facts
    lines = rate(periods, PRICES, month)
    document = total(lines, STANDARD)
    assert document.net_cents == sum(line.net_cents for line in lines)
    assert document.gross_cents == document.net_cents + document.tax_cents
    assert abs(document.tax_cents - Fraction(19, 100) * document.net_cents) <= Fraction(1, 2)
    assert document.rate == STANDARD


@given(months, st.integers(min_value=1, max_value=300), prices_cents)
@settings(deadline=None)
def test_n_mailboxes_over_whole_months_cost_exactly_n_times_the_price(
    month: BillingMonth, count: int, price_cents: int
) -> None:
    periods = [period(date(2023, 12, 31), mailbox_id=f"mbx_{number}") for number in range(count)]
    (line,) = rate(periods, {"exchange": (Tier(1, price_cents),)}, month)
    assert (line.net_cents, line.mailbox_days) == (count * price_cents, count * month.days)


@given(months, prices_cents, st.data())
@settings(deadline=None)
def test_mailboxes_relieving_one_another_cost_exactly_one_price(
    month: BillingMonth, price_cents: int, data: st.DataObject
) -> None:
    offsets = data.draw(st.sets(st.integers(min_value=1, max_value=month.days - 1)))
    cuts = [
        month.starts_on,
        *(month.starts_on + timedelta(days=day) for day in sorted(offsets)),
        month.ends_on,
    ]
    relay = [period(start, end, mailbox_id=f"mbx_{start}") for start, end in pairwise(cuts)]
    (line,) = rate(relay, {"exchange": (Tier(0, price_cents),)}, month)
    assert line.net_cents == price_cents


@pytest.mark.parametrize(
    ("starts_on", "ends_on", "month", "days", "net_cents"),
    [
        pytest.param(date(2027, 1, 31), None, "2027-01", 1, 25, id="ordered on 31 January, billed in January"),
        pytest.param(date(2027, 1, 31), None, "2027-02", 28, 790, id="ordered on 31 January, billed in February"),
        pytest.param(date(2028, 2, 29), None, "2028-02", 1, 27, id="ordered on the leap day"),
        pytest.param(date(2028, 2, 1), date(2028, 2, 29), "2028-02", 28, 763, id="given up on the leap day"),
        pytest.param(date(2026, 11, 14), date(2026, 11, 15), "2026-11", 1, 26, id="ordered and given up on one day"),
        pytest.param(date(2026, 3, 29), date(2026, 3, 30), "2026-03", 1, 25, id="the day of 23 hours"),
        pytest.param(date(2026, 10, 25), date(2026, 10, 26), "2026-10", 1, 25, id="the day of 25 hours"),
        pytest.param(date(2026, 10, 1), None, "2026-10", 31, 790, id="the month the clocks go back"),
        pytest.param(date(2026, 3, 1), date(2026, 4, 1), "2026-03", 31, 790, id="the month the clocks go forward"),
    ],
)
def test_the_days_of_the_calendar_decide_the_amount(
    starts_on: date, ends_on: date | None, month: str, days: int, net_cents: int
) -> None:
    (line,) = rate([period(starts_on, ends_on)], PRICES, BillingMonth.parse(month))
    assert (line.mailbox_days, line.net_cents) == (days, net_cents)


def test_a_class_changed_on_a_day_belongs_to_the_new_class_from_that_day() -> None:
    changed = [
        period(date(2026, 11, 1), date(2026, 11, 15), service_class="imap"),
        period(date(2026, 11, 15), service_class="exchange"),
    ]
    assert rate(changed, PRICES, NOVEMBER) == [
        Line("cus_1", "exchange", 790, 16, 30, 421),
        Line("cus_1", "imap", 190, 14, 30, 89),
    ]


def test_a_mailbox_moved_to_another_location_stays_on_its_line() -> None:
    here = period(date(2026, 1, 1), date(2026, 11, 10))
    there = replace(here, location="de-nue-1", starts_on=date(2026, 11, 10), ends_on=None)
    assert rate([here, there], PRICES, NOVEMBER) == [Line("cus_1", "exchange", 790, 30, 30, 790)]


def test_lines_without_days_are_left_out_and_need_no_price() -> None:
    outside = [
        period(date(2026, 10, 1), date(2026, 11, 1), service_class="unpriced"),
        period(date(2026, 12, 1), service_class="unpriced", mailbox_id="mbx_2"),
        period(date(2026, 11, 9), date(2026, 11, 9), service_class="unpriced", mailbox_id="mbx_3"),
    ]
    assert rate(outside, PRICES, NOVEMBER) == []
    assert total([], STANDARD).gross_cents == 0


@pytest.mark.parametrize("prices", [{}, {"exchange": ()}])
def test_a_class_with_days_and_no_price_is_refused_by_name(prices: PriceTable) -> None:
    with pytest.raises(NoPrice, match="'exchange'") as refused:
        rate(running(1), prices, NOVEMBER)
    assert refused.value.service_class == "exchange"


def test_a_price_of_nothing_is_a_price() -> None:
    assert rate(running(2), {"exchange": (Tier(1, 0),)}, NOVEMBER) == [Line("cus_1", "exchange", 0, 60, 30, 0)]


@pytest.mark.parametrize(("count", "price_cents"), [(1, 790), (2, 745), (3, 745), (4, 690), (5, 690)])
def test_all_mailboxes_of_a_class_get_the_price_of_the_tier_they_reach_together(count: int, price_cents: int) -> None:
    (line,) = rate(running(count), PRICES, NOVEMBER)
    assert (line.price_cents, line.net_cents) == (price_cents, count * price_cents)


def test_the_tier_counts_the_mailboxes_of_all_the_resellers_customers() -> None:
    periods = [*running(3, customer_id="cus_1"), *running(1, customer_id="cus_2")]
    assert [line.price_cents for line in rate(periods, PRICES, NOVEMBER)] == [690, 690]


def test_the_tier_counts_only_mailboxes_of_the_same_class() -> None:
    periods = [*running(1), *running(4, service_class="imap")]
    assert [line.price_cents for line in rate(periods, PRICES, NOVEMBER)] == [790, 170]


@pytest.mark.parametrize(
    ("starts_on", "ends_on", "price_cents"),
    [
        pytest.param(date(2026, 11, 30), None, 745, id="ordered on the last day counts"),
        pytest.param(date(2026, 11, 30), date(2026, 12, 1), 745, id="given up on the first of the next month counts"),
        pytest.param(date(2026, 11, 1), date(2026, 11, 30), 790, id="given up on the last day does not count"),
        pytest.param(date(2026, 12, 1), None, 790, id="ordered in the next month does not count"),
    ],
)
def test_the_tier_is_decided_by_the_last_day_of_the_month(
    starts_on: date, ends_on: date | None, price_cents: int
) -> None:
    periods = [*running(1), period(starts_on, ends_on, mailbox_id="mbx_other")]
    assert [line.price_cents for line in rate(periods, PRICES, NOVEMBER)] == [price_cents]


def test_mailboxes_all_given_up_before_the_last_day_pay_the_first_tier() -> None:
    gone = [replace(each, ends_on=date(2026, 11, 16)) for each in running(4)]
    assert rate(gone, PRICES, NOVEMBER) == [Line("cus_1", "exchange", 790, 60, 30, 1580)]


@given(st.integers(min_value=0, max_value=20))
@settings(deadline=None)
def test_the_tier_is_the_last_one_whose_quantity_is_reached(quantity: int) -> None:
    price_cents = 190 if quantity < 3 else 170 if quantity < 5 else 149
    assert tier_for(PRICES["imap"], quantity).price_cents == price_cents


@pytest.mark.parametrize(
    "tiers", [(), (Tier(2, 790),), (Tier(1, 790), Tier(1, 745)), (Tier(0, 790), Tier(9, 690), Tier(5, 745))]
)
def test_tiers_that_leave_the_price_open_are_refused(tiers: tuple[Tier, ...]) -> None:
    with pytest.raises(ValueError, match="rise from a min_quantity"):
        tier_for(tiers, 10)


@pytest.mark.parametrize(("min_quantity", "price_cents"), [(-1, 790), (1, -790)])
def test_a_negative_tier_is_refused(min_quantity: int, price_cents: int) -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        Tier(min_quantity, price_cents)


def test_a_period_that_ends_before_it_starts_is_refused_with_its_mailbox() -> None:
    with pytest.raises(ValueError, match="mbx_1 cannot end on 2026-11-01"):
        period(date(2026, 11, 2), date(2026, 11, 1))


def test_tax_is_taken_once_on_the_document_and_not_line_by_line() -> None:
    lines = [Line(f"cus_{number}", "pop3", 99, 1, 31, 3) for number in range(3)]
    document = total(lines, STANDARD)
    assert (document.net_cents, document.tax_cents, document.gross_cents) == (9, 2, 11)


@pytest.mark.parametrize(
    ("month", "tax_cents"), [("2020-06", 1881), ("2020-07", 1584), ("2020-12", 1584), ("2021-01", 1881)]
)
def test_the_half_year_of_16_percent_is_charged_by_the_month_of_service(month: str, tax_cents: int) -> None:
    billed = BillingMonth.parse(month)
    lines = [Line("cus_1", "pop3", 99, 100 * billed.days, billed.days, 9900)]
    assert total(lines, vat_rate("DE", billed.last_on)).tax_cents == tax_cents


@pytest.mark.parametrize(
    ("line", "german", "english"),
    [
        (
            Line("cus_1", "exchange", 790, 57, 30, 1501),
            "57 Postfachtage × 7,90 € / 30 Tage = 15,01 €",
            "57 mailbox-days × €7.90 / 30 days = €15.01",
        ),
        (
            Line("cus_1", "exchange", 790, 1, 31, 25),
            "1 Postfachtag × 7,90 € / 31 Tage = 0,25 € (kaufmännisch gerundet)",
            "1 mailbox-day × €7.90 / 31 days = €0.25 (rounded half up)",
        ),
    ],
)
def test_a_line_explains_its_own_arithmetic_and_admits_rounding(line: Line, german: str, english: str) -> None:
    assert explain(line) == explain(line, "de") == german
    assert explain(line, "en") == english
