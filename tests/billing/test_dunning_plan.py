"""The next step of dunning: in order, once, at its distance, and never towards who owes nothing worth it."""

from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.dunning_plan import (
    DEFAULT_POLICY,
    ORDER,
    Hold,
    Policy,
    PolicyStep,
    Situation,
    StepKind,
    Taken,
    due_step,
    faults_of,
    hold_on,
    next_step,
    suspension_day,
)

DUE = date(2026, 12, 15)
LONG_AGO = 400


@dataclass
class Debtor:
    """An invoice that nobody pays, looked at on some days."""

    policy: Policy
    situation: Situation = field(default_factory=lambda: Situation(DUE, 10_000))

    def look(self, day: int, *, hold: Hold | None = None) -> StepKind | None:
        today = DUE + timedelta(days=day)
        seen = replace(self.situation, hold=hold)
        step = due_step(seen, self.policy, today=today)
        if step is None:
            return None
        taken = (*self.situation.taken, Taken(step.kind, today, step.days_past_due))
        self.situation = replace(self.situation, taken=taken)
        return step.kind

    @property
    def days(self) -> list[tuple[StepKind, int]]:
        return [(each.kind, (each.taken_on - DUE).days) for each in self.situation.taken]


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    kinds = [kind for kind in ORDER if draw(st.booleans())]
    days = sorted(draw(st.sets(st.integers(1, 60), min_size=len(kinds), max_size=len(kinds))))
    return Policy(tuple(PolicyStep(kind, day) for kind, day in zip(kinds, days, strict=True)), 1_000)


holds = st.none() | st.sampled_from(list(Hold))


class TestUndisturbed:
    def test_each_step_is_taken_on_its_day(self) -> None:
        debtor = Debtor(DEFAULT_POLICY)
        for day in range(-20, 60):
            debtor.look(day)
        assert debtor.days == [
            (StepKind.REMINDER, 3),
            (StepKind.FIRST_DUNNING, 10),
            (StepKind.SECOND_DUNNING, 20),
            (StepKind.SUSPENSION, 30),
        ]

    @given(policies())
    def test_so_it_is_with_any_policy(self, policy: Policy) -> None:
        debtor = Debtor(policy)
        for day in range(-5, 70):
            debtor.look(day)
        assert debtor.days == [(step.kind, step.days_past_due) for step in policy.steps]

    def test_an_outage_does_not_bundle_letters(self) -> None:
        """Nobody worked for seven weeks: the steps begin then, as far apart as they always are."""
        debtor = Debtor(DEFAULT_POLICY)
        for day in range(50, 120):
            debtor.look(day)
        assert [day for _, day in debtor.days] == [50, 57, 67, 77]

    def test_a_debit_that_fails_late_is_followed_by_the_step_that_comes_next(self) -> None:
        debtor = Debtor(DEFAULT_POLICY)
        for day in range(60):
            debtor.look(day, hold=Hold.COLLECTING if 5 <= day < 25 else None)
        assert [day for _, day in debtor.days] == [3, 25, 35, 45]


class TestAnything:
    @given(policies(), st.lists(st.tuples(st.integers(0, 30), holds), max_size=60))
    def test_steps_come_in_order_once_and_at_their_distance(
        self, policy: Policy, looks: list[tuple[int, Hold | None]]
    ) -> None:
        """Whenever it is looked at, however often on one day, and whatever holds it in between."""
        debtor, day = Debtor(policy), 0
        for wait, hold in looks:
            day += wait
            before = debtor.situation.taken
            assert (debtor.look(day, hold=hold) is None) >= (hold is not None)
            assert len(debtor.situation.taken) - len(before) <= 1
        planned = {step.kind: step.days_past_due for step in policy.steps}
        kinds = [kind for kind, _ in debtor.days]
        assert kinds == [step.kind for step in policy.steps][: len(kinds)]
        assert all(taken >= planned[kind] for kind, taken in debtor.days)
        for (kind, taken), (following, then) in zip(debtor.days, debtor.days[1:], strict=False):
            assert then - taken >= planned[following] - planned[kind] >= 1

    @given(policies(), policies(), st.integers(0, 100), st.integers(0, 100))
    def test_a_changed_policy_repeats_nothing_and_never_takes_two_steps_on_a_day(
        self, first: Policy, second: Policy, begin: int, change: int
    ) -> None:
        debtor = Debtor(first)
        for day in range(begin, begin + change):
            debtor.look(day)
        debtor.policy = second
        for day in range(begin + change, begin + change + 150):
            debtor.look(day)
            assert debtor.look(day) is None
        ranks = [ORDER.index(kind) for kind, _ in debtor.days]
        assert ranks == sorted(set(ranks))

    @given(policies(), st.integers(-100, 999), st.integers(0, LONG_AGO))
    def test_what_is_small_or_paid_is_left_alone(self, policy: Policy, owed: int, day: int) -> None:
        situation = Situation(DUE, owed)
        assert due_step(situation, policy, today=DUE + timedelta(days=day)) is None
        assert hold_on(situation, policy) is (Hold.SETTLED if owed <= 0 else Hold.SMALL_AMOUNT)

    @given(policies(), st.integers(0, 100))
    def test_the_day_of_suspension_that_letters_name_is_the_one_that_comes(self, policy: Policy, begin: int) -> None:
        debtor = Debtor(policy)
        named = set()
        for day in range(begin, begin + 200):
            if debtor.look(day) not in (None, StepKind.SUSPENSION):
                named.add(suspension_day(debtor.situation, policy))
        came: list[date | None] = [each.taken_on for each in debtor.situation.taken if each.kind is StepKind.SUSPENSION]
        assert named <= set(came or [None])


class TestPolicies:
    def test_the_one_that_comes_with_the_service_is_one(self) -> None:
        assert faults_of(DEFAULT_POLICY.steps) == {}

    @given(policies())
    def test_so_is_every_other_with_rising_days(self, policy: Policy) -> None:
        assert faults_of(policy.steps) == {}

    @pytest.mark.parametrize(
        ("steps", "place"),
        [
            ((PolicyStep(StepKind.FIRST_DUNNING, 3), PolicyStep(StepKind.REMINDER, 10)), 1),
            ((PolicyStep(StepKind.REMINDER, 3), PolicyStep(StepKind.REMINDER, 10)), 1),
            ((PolicyStep(StepKind.REMINDER, 3), PolicyStep(StepKind.FIRST_DUNNING, 3)), 1),
            ((PolicyStep(StepKind.REMINDER, 3, fee_cents=1),), 0),
            ((PolicyStep(StepKind.SUSPENSION, 3, fee_cents=1),), 0),
        ],
    )
    def test_what_is_none_is_named_by_its_place(self, steps: tuple[PolicyStep, ...], place: int) -> None:
        assert list(faults_of(steps)) == [place]

    def test_no_steps_are_a_policy_too(self) -> None:
        policy = Policy((), 0)
        assert faults_of(policy.steps) == {}
        assert next_step(Situation(DUE, 1), policy) is None
