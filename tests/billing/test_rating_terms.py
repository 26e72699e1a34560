"""Terms in the reference calculation: graduated tiers, proration, trials, minimum terms and add-ons."""

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.periods import BillingMonth, add_months, mailbox_days
from billing.rating import Line, Period, Tier, explain, rate
from billing.terms import LineKind, Proration, Terms, TermsHistory, TiersMode, terms_on

NOVEMBER, DECEMBER = BillingMonth(2026, 11), BillingMonth(2026, 12)
ALWAYS = date(2000, 1, 1)
PRODUCTS = ("pop3", "imap", "exchange")
TIERS = (Tier(1, 700), Tier(3, 600), Tier(6, 500))


def held(
    starts_on: date,
    ends_on: date | None = None,
    *,
    mailbox_id: str = "mbx_1",
    customer_id: str = "cus_1",
    service_class: str = "exchange",
) -> Period:
    return Period(mailbox_id, customer_id, service_class, "de-fra-1", starts_on, ends_on)


def on(**terms: Any) -> TermsHistory:
    return {"exchange": ((ALWAYS, replace(Terms(), **terms)),)}


def lines(periods: list[Period], month: BillingMonth = NOVEMBER, **terms: Any) -> list[tuple[str, int, int]]:
    """Kind, days and price of each line; a month of exchange costs 600."""
    rated = rate(periods, {"exchange": (Tier(1, 600),)}, month, on(**terms))
    return [(line.kind.value, line.mailbox_days, line.net_cents) for line in rated]


some_terms = st.builds(
    Terms,
    st.sampled_from(TiersMode),
    st.sampled_from(Proration),
    minimum_term_months=st.integers(min_value=0, max_value=4),
    notice_days=st.integers(min_value=0, max_value=60),
    trial_days=st.integers(min_value=0, max_value=60),
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[BillingMonth, list[Period], TermsHistory]:
    """A month, mailboxes that change class and return, and terms that change."""
    month = draw(st.builds(BillingMonth, st.integers(min_value=2024, max_value=2029), st.integers(1, 12)))
    periods = []
    for number in range(draw(st.integers(min_value=0, max_value=12))):
        customer_id = draw(st.sampled_from(["cus_1", "cus_2", "cus_3"]))
        day = month.starts_on + timedelta(days=draw(st.integers(min_value=-150, max_value=40)))
        for _ in range(draw(st.integers(min_value=1, max_value=3))):
            length = draw(st.none() | st.integers(min_value=1, max_value=90))
            ends_on = None if length is None else day + timedelta(days=length)
            name, product = f"mbx_{number}", draw(st.sampled_from(PRODUCTS))
            periods.append(held(day, ends_on, mailbox_id=name, customer_id=customer_id, service_class=product))
            if ends_on is None:
                break
            day = ends_on + timedelta(days=draw(st.sampled_from([0, 0, 5, 50])))
    later = month.starts_on - timedelta(days=draw(st.integers(min_value=0, max_value=100)))
    terms = {product: ((later, draw(some_terms)), (ALWAYS, draw(some_terms))) for product in PRODUCTS}
    return month, periods, terms


PRICES = dict.fromkeys(PRODUCTS, TIERS)


@given(worlds(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_the_facts_changes_nothing(
    world: tuple[BillingMonth, list[Period], TermsHistory], random: Random
) -> None:
    month, periods, terms = world
    shuffled = random.sample(periods, len(periods))
    assert rate(shuffled, PRICES, month, terms) == rate(periods, PRICES, month, terms)


@given(worlds(), st.data())
@settings(deadline=None)
def test_cutting_a_period_at_any_days_changes_nothing(
    world: tuple[BillingMonth, list[Period], TermsHistory], data: st.DataObject
) -> None:
    month, periods, terms = world
    pieces = []
    for whole in periods:
        length = ((whole.ends_on or month.ends_on + timedelta(days=40)) - whole.starts_on).days
        offsets = data.draw(st.sets(st.integers(min_value=0, max_value=max(0, length)), max_size=3))
        cuts = [whole.starts_on, *(whole.starts_on + timedelta(days=offset) for offset in sorted(offsets))]
        ends: list[date | None] = [*cuts[1:], whole.ends_on]
        pieces += [replace(whole, starts_on=start, ends_on=end) for start, end in zip(cuts, ends, strict=True)]
    assert rate(pieces, PRICES, month, terms) == rate(periods, PRICES, month, terms)


@given(worlds())
@settings(deadline=None)
def test_by_the_day_every_day_in_service_is_on_one_line_whatever_the_tiers(
    world: tuple[BillingMonth, list[Period], TermsHistory],
) -> None:
    month, periods, terms = world
    daily = {
        product: tuple((day, replace(each, proration=Proration.DAILY)) for day, each in history)
        for product, history in terms.items()
    }
    counted: Counter[tuple[str, str]] = Counter()
    for each in periods:
        counted[each.customer_id, each.service_class] += mailbox_days(each.starts_on, each.ends_on, month)
    billed: Counter[tuple[str, str]] = Counter()
    for line in rate(periods, PRICES, month, daily):
        assert line.mailbox_days > 0
        if line.kind != LineKind.MINIMUM_TERM:
            billed[line.customer_id, line.service_class] += line.mailbox_days
    assert billed == +counted


@given(worlds())
@settings(deadline=None)
def test_graduated_lines_fill_each_tier_before_the_next_one(
    world: tuple[BillingMonth, list[Period], TermsHistory],
) -> None:
    month, periods, terms = world
    graduated = {
        product: tuple((day, replace(each, tiers_mode=TiersMode.GRADUATED)) for day, each in history)
        for product, history in terms.items()
    }
    rated = rate(periods, PRICES, month, graduated)
    for product in PRODUCTS:
        by_price: Counter[int] = Counter()
        for line in rated:
            if line.service_class == product and line.kind != LineKind.TRIAL:
                by_price[line.price_cents] += line.mailbox_days
        days = by_price.total()
        first, second = 2 * month.days, 3 * month.days
        assert by_price[700] == min(days, first)
        assert by_price[600] == min(max(0, days - first), second)
        assert by_price[500] == max(0, days - first - second)


@given(worlds())
@settings(deadline=None)
def test_one_tier_costs_the_same_volume_or_graduated(
    world: tuple[BillingMonth, list[Period], TermsHistory],
) -> None:
    month, periods, terms = world
    prices = dict.fromkeys(PRODUCTS, TIERS[:1])
    in_modes = [
        {
            product: tuple((day, replace(each, tiers_mode=mode)) for day, each in history)
            for product, history in terms.items()
        }
        for mode in TiersMode
    ]
    one, other = (rate(periods, prices, month, each) for each in in_modes)
    assert one == other


def test_graduated_tiers_are_filled_in_the_order_of_customer_ids() -> None:
    periods = [
        held(ALWAYS, mailbox_id=f"mbx_{customer_id}{number}", customer_id=customer_id)
        for customer_id, count in (("cus_2", 3), ("cus_1", 1), ("cus_3", 4))
        for number in range(count)
    ]
    rated = rate(periods, {"exchange": TIERS}, NOVEMBER, on(tiers_mode=TiersMode.GRADUATED))
    assert [(line.customer_id, line.price_cents, line.mailbox_days, line.net_cents) for line in rated] == [
        ("cus_1", 700, 30, 700),
        ("cus_2", 700, 30, 700),
        ("cus_2", 600, 60, 1200),
        ("cus_3", 600, 30, 600),
        ("cus_3", 500, 90, 1500),
    ]


class TestProration:
    @pytest.mark.parametrize(
        ("starts_on", "ends_on", "daily", "full_month", "none"),
        [
            pytest.param(date(2026, 11, 17), None, 14, 30, 0, id="begins inside"),
            pytest.param(date(2026, 11, 1), None, 30, 30, 30, id="begins on the first"),
            pytest.param(date(2026, 11, 30), date(2026, 12, 1), 1, 30, 0, id="one day"),
            pytest.param(date(2026, 1, 1), date(2026, 11, 2), 1, 30, 30, id="ends inside"),
            pytest.param(date(2026, 1, 1), date(2026, 11, 1), 0, 0, 0, id="ends before"),
        ],
    )
    def test_a_part_of_a_month_costs_what_the_price_says(
        self, starts_on: date, ends_on: date | None, daily: int, full_month: int, none: int
    ) -> None:
        found = {
            mode: sum(days for _, days, _ in lines([held(starts_on, ends_on)], proration=mode)) for mode in Proration
        }
        assert found == {Proration.DAILY: daily, Proration.FULL_MONTH: full_month, Proration.NONE: none}

    def test_a_mailbox_that_is_moved_or_returns_pays_a_full_month_once(self) -> None:
        periods = [
            held(date(2026, 11, 3), date(2026, 11, 5)),
            held(date(2026, 11, 5), date(2026, 11, 9)),
            held(date(2026, 11, 20)),
        ]
        assert lines(periods, proration=Proration.FULL_MONTH) == [("usage", 30, 600)]

    def test_with_none_the_month_after_the_first_is_whole(self) -> None:
        assert lines([held(date(2026, 11, 17))], DECEMBER, proration=Proration.NONE) == [("usage", 31, 600)]


class TestTrial:
    def test_the_first_days_of_a_mailbox_stand_on_a_line_that_costs_nothing(self) -> None:
        assert lines([held(date(2026, 11, 17))], trial_days=10) == [("usage", 4, 80), ("trial", 10, 0)]

    def test_it_goes_on_in_the_next_month_and_is_not_begun_again_by_a_new_class_or_a_return(self) -> None:
        first = [held(date(2026, 11, 25), date(2026, 11, 27), service_class="imap"), held(date(2026, 11, 27))]
        terms = {product: ((ALWAYS, Terms(trial_days=14)),) for product in ("imap", "exchange")}
        rated = rate(first, {"imap": TIERS, "exchange": TIERS}, DECEMBER, terms)
        assert [(line.kind, line.mailbox_days) for line in rated] == [(LineKind.USAGE, 23), (LineKind.TRIAL, 8)]
        returned = [held(date(2026, 1, 5), date(2026, 1, 20)), held(date(2026, 11, 17))]
        assert lines(returned, trial_days=14) == [("usage", 14, 280)]

    def test_terms_that_change_later_do_not_reach_back(self) -> None:
        terms = {"exchange": ((date(2026, 11, 10), Terms(trial_days=60)), (ALWAYS, Terms()))}
        periods = [held(date(2026, 11, 9)), held(date(2026, 11, 10), mailbox_id="mbx_2")]
        rated = rate(periods, {"exchange": TIERS}, NOVEMBER, terms)
        assert [(line.kind, line.mailbox_days) for line in rated] == [(LineKind.USAGE, 22), (LineKind.TRIAL, 21)]

    def test_who_leaves_while_on_trial_owes_nothing(self) -> None:
        periods = [held(date(2026, 11, 2), date(2026, 11, 12))]
        assert lines(periods, trial_days=10, minimum_term_months=12, notice_days=30) == [("trial", 10, 0)]


class TestMinimumTerm:
    def test_a_mailbox_given_up_early_is_billed_on_as_a_line_of_its_own(self) -> None:
        periods = [held(date(2026, 10, 16), date(2026, 11, 11))]
        assert lines(periods, minimum_term_months=1) == [("usage", 10, 200), ("minimum_term", 5, 100)]
        assert lines(periods, DECEMBER, minimum_term_months=1) == []
        assert lines(periods, DECEMBER, minimum_term_months=2) == [("minimum_term", 15, 290)]

    def test_notice_begins_when_it_is_given_up_and_the_later_of_both_counts(self) -> None:
        periods = [held(date(2026, 10, 16), date(2026, 11, 11))]
        assert lines(periods, minimum_term_months=1, notice_days=10) == [("usage", 10, 200), ("minimum_term", 10, 200)]
        assert lines(periods, minimum_term_months=1, notice_days=2) == [("usage", 10, 200), ("minimum_term", 5, 100)]

    def test_a_change_of_class_is_no_end_and_a_return_ends_what_is_owed(self) -> None:
        changed = [held(date(2026, 11, 1), date(2026, 11, 11)), held(date(2026, 11, 11))]
        assert lines(changed, minimum_term_months=12) == [("usage", 30, 600)]
        returned = [held(date(2026, 11, 1), date(2026, 11, 11)), held(date(2026, 11, 21))]
        assert lines(returned, minimum_term_months=12) == [("usage", 20, 400), ("minimum_term", 10, 200)]

    def test_a_class_changed_twice_on_the_day_it_is_given_up_owes_the_class_it_really_had(self) -> None:
        day = date(2026, 11, 11)
        periods = [held(date(2026, 11, 1), day), held(day, day, service_class="imap"), held(day, day)]
        assert lines(periods, minimum_term_months=1) == [("usage", 10, 200), ("minimum_term", 20, 400)]

    def test_the_tier_counts_those_in_service_only(self) -> None:
        periods = [held(ALWAYS, mailbox_id=f"mbx_{n}") for n in range(2)]
        periods.append(held(date(2026, 11, 1), date(2026, 11, 11), mailbox_id="mbx_gone"))
        rated = rate(periods, {"exchange": TIERS}, NOVEMBER, on(minimum_term_months=12))
        assert {line.price_cents for line in rated} == {700}

    def test_a_full_month_is_not_paid_twice_by_who_leaves_in_it(self) -> None:
        periods = [held(date(2026, 10, 16), date(2026, 11, 11))]
        terms: dict[str, Any] = {"proration": Proration.FULL_MONTH, "minimum_term_months": 2}
        assert lines(periods, **terms) == [("usage", 30, 600)]
        assert lines(periods, DECEMBER, **terms) == [("minimum_term", 31, 600)]


@pytest.mark.parametrize(
    ("day", "months", "expected"),
    [
        (date(2027, 1, 31), 1, date(2027, 2, 28)),
        (date(2028, 1, 31), 1, date(2028, 2, 29)),
        (date(2027, 1, 31), 2, date(2027, 3, 31)),
        (date(2026, 11, 30), 3, date(2027, 2, 28)),
        (date(2026, 12, 1), 12, date(2027, 12, 1)),
        (date(2026, 12, 15), 0, date(2026, 12, 15)),
    ],
)
def test_months_are_added_from_the_day_they_began_on(day: date, months: int, expected: date) -> None:
    assert add_months(day, months) == expected


def test_an_add_on_is_charged_by_its_units_and_counts_its_own_trial() -> None:
    mailbox = held(ALWAYS)
    storage = replace(mailbox, service_class="extra_storage", is_add_on=True)
    periods = [
        mailbox,
        replace(storage, quantity=2, starts_on=date(2026, 11, 1), ends_on=date(2026, 11, 11)),
        replace(storage, quantity=5, starts_on=date(2026, 11, 11)),
    ]
    prices = {"exchange": (Tier(1, 600),), "extra_storage": (Tier(1, 90), Tier(5, 60))}
    rated = rate(periods, prices, NOVEMBER, {"extra_storage": ((ALWAYS, Terms(trial_days=5)),)})
    assert rated == [
        Line("cus_1", "exchange", 600, 30, 30, 600),
        Line("cus_1", "extra_storage", 60, 110, 30, 220),
        Line("cus_1", "extra_storage", 0, 10, 30, 0, LineKind.TRIAL),
    ]
    assert explain(rated[1]) == "110 Tage je 10 GiB × 0,60 € / 30 Tage = 2,20 €"
    assert explain(rated[2], "en") == "Trial: 10 days of 10 GiB × €0.00 / 30 days = €0.00"


def test_terms_without_a_day_are_the_usual_ones_and_none_are_negative() -> None:
    history = {"imap": ((date(2026, 5, 1), Terms(trial_days=3)),)}
    assert terms_on(history, "imap", date(2026, 4, 30)) == terms_on(history, "pop3", date(2026, 5, 1)) == Terms()
    with pytest.raises(ValueError, match="cannot be negative"):
        Terms(notice_days=-1)
