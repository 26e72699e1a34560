"""Trouble on request: for the next calls that match, in the order it was asked for."""

import re
from dataclasses import dataclass
from random import Random

from tests.fake_stripe.errors import Refusal

KINDS = frozenset(
    {
        # The connection is closed without an answer, before or after the effect.
        "timeout_before_write",
        "timeout_after_write",
        # A 500 that the idempotency key keeps, without or with the effect.
        "error_500_before",
        "error_500_after",
        "rate_limit",
        # Executed only after another call with the same key has been told that this one is under way.
        "slow_in_flight",
    }
)


@dataclass
class Fault:
    """Hits a call in whose `POST /v1/payment_intents` the pattern is found, with this probability, so many times."""

    kind: str
    match: str
    times: int
    probability: float = 1.0


def add(faults: list[Fault], *, kind: str, match: str, times: int = 1, probability: float = 1.0) -> None:
    if kind not in KINDS:
        raise Refusal(400, "control", f"no fault is called {kind}; there are {', '.join(sorted(KINDS))}")
    re.compile(match)
    faults.append(Fault(kind, match, times, probability))


def take(faults: list[Fault], random: Random, call: str) -> str | None:
    """The trouble for this call, if any, used up by asking."""
    for fault in faults:
        if fault.times > 0 and re.search(fault.match, call) and random.random() < fault.probability:
            fault.times -= 1
            return fault.kind
    return None
