"""The next step towards an unpaid invoice: (what is owed, steps taken, policy, day) -> step and day (pure).

Steps come in one order, each once for an invoice, and keep the distance to the one before that the policy puts between
them: after an outage a customer gets the step that is due next and never a bundle of letters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

DAYS_MAX = 365
FEE_CENTS_MAX = 4_000
"""The flat sum of section 288 (5) BGB: a fee above it would have to be proven as damage each time."""


class StepKind(StrEnum):
    """In the order they are taken."""

    REMINDER = "reminder"
    FIRST_DUNNING = "first_dunning"
    SECOND_DUNNING = "second_dunning"
    SUSPENSION = "suspension"


ORDER = tuple(StepKind)
# The reminder itself may be what puts a debtor in default, and costs that came before the default are nobody's damage.
WITH_FEE = (StepKind.FIRST_DUNNING, StepKind.SECOND_DUNNING)


class Hold(StrEnum):
    """Why no step is taken. `small_amount` is not worth one, `collecting` has a debit or an answer under way."""

    SETTLED = "settled"
    DISPUTED = "disputed"
    COLLECTING = "collecting"
    PAUSED = "paused"
    SMALL_AMOUNT = "small_amount"


@dataclass(frozen=True, slots=True)
class PolicyStep:
    """A step is due `days_past_due` days after the invoice was."""

    kind: StepKind
    days_past_due: int
    fee_cents: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """`steps` are in order, their days rise. Less than `small_amount_cents` owed is left alone."""

    steps: tuple[PolicyStep, ...]
    small_amount_cents: int


DEFAULT_POLICY = Policy(
    steps=(
        PolicyStep(StepKind.REMINDER, 3),
        PolicyStep(StepKind.FIRST_DUNNING, 10),
        PolicyStep(StepKind.SECOND_DUNNING, 20, fee_cents=500),
        PolicyStep(StepKind.SUSPENSION, 30),
    ),
    small_amount_cents=1_000,
)


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that was taken; `days_past_due` is when the policy of that day wanted it."""

    kind: StepKind
    taken_on: date
    days_past_due: int


@dataclass(frozen=True, slots=True)
class Situation:
    """One invoice. `owed_cents` is what is left of the invoice itself, without fees: nobody is dunned for a fee."""

    due_on: date
    owed_cents: int
    taken: tuple[Taken, ...] = ()
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class Next:
    """The step that comes next and the first day it may be taken on, as long as nothing holds it."""

    step: PolicyStep
    on: date


def hold_on(situation: Situation, policy: Policy) -> Hold | None:
    """Why nothing is done about this invoice now; None when something may be."""
    if situation.owed_cents <= 0:
        return Hold.SETTLED
    if situation.hold is not None:
        return situation.hold
    return Hold.SMALL_AMOUNT if situation.owed_cents < policy.small_amount_cents else None


def next_step(situation: Situation, policy: Policy) -> Next | None:
    """The step after those taken; None when there is none left."""
    last = max(situation.taken, key=lambda each: ORDER.index(each.kind), default=None)
    rank = -1 if last is None else ORDER.index(last.kind)
    step = next((each for each in policy.steps if ORDER.index(each.kind) > rank), None)
    if step is None:
        return None
    on = situation.due_on + timedelta(days=step.days_past_due)
    if last is not None:
        on = max(on, last.taken_on + timedelta(days=_distance(last, step, policy)))
    return Next(step, on)


def suspension_day(situation: Situation, policy: Policy) -> date | None:
    """The first day on which service may be suspended if every step is taken as early as it can be; None for never."""
    taken = situation.taken
    while (coming := next_step(Situation(situation.due_on, situation.owed_cents, taken), policy)) is not None:
        if coming.step.kind is StepKind.SUSPENSION:
            return coming.on
        taken = (*taken, Taken(coming.step.kind, coming.on, coming.step.days_past_due))
    return None


def due_step(situation: Situation, policy: Policy, *, today: date) -> PolicyStep | None:
    """The one step to take today, if any."""
    if hold_on(situation, policy) is not None:
        return None
    coming = next_step(situation, policy)
    return coming.step if coming is not None and coming.on <= today else None


def faults_of(steps: Sequence[PolicyStep]) -> dict[int, str]:
    """What is wrong with the steps of a policy, by their places; empty when they are one."""
    faults = {}
    for place, step in enumerate(steps):
        before = steps[place - 1] if place else None
        if before is not None and ORDER.index(step.kind) <= ORDER.index(before.kind):
            faults[place] = f"steps come in the order {', '.join(ORDER)}, each once at most"
        elif before is not None and step.days_past_due <= before.days_past_due:
            faults[place] = f"it has to come later than the {before.kind} after {before.days_past_due} days"
        elif step.fee_cents and step.kind not in WITH_FEE:
            faults[place] = f"a {step.kind} costs nothing; a fee is for {' and '.join(WITH_FEE)}"
    return faults


def _distance(last: Taken, step: PolicyStep, policy: Policy) -> int:
    """Days between the two, a day at least where the policy has changed in between."""
    planned = next((each.days_past_due for each in policy.steps if each.kind is last.kind), last.days_past_due)
    return max(1, step.days_past_due - planned)
