"""Everything the fake knows: its clock, its objects, and what the clock will bring."""

import heapq
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Any

from tests.fake_stripe.errors import Refusal, missing

START = int(datetime(2026, 11, 17, 10, 0, tzinfo=UTC).timestamp())
ALPHABET = string.ascii_letters + string.digits
Object = dict[str, Any]


@dataclass
class Instrument:
    """What the bank behind a payment method will say. Never part of an answer."""

    outcome: str
    detached: bool = False
    mandate: str | None = None


@dataclass
class Endpoint:
    """A registered webhook address."""

    url: str
    secret: str
    # Signatures carry the virtual time, or this machine's for a receiver that looks at its own clock.
    real_time: bool = False


@dataclass
class Delivery:
    """One event on its way to one address."""

    event: str
    endpoint: Endpoint
    due: int
    attempts: int = 0
    is_late: bool = False
    state: str = "pending"


@dataclass
class World:
    """`now` in seconds since 1970; objects by id, in the order they were made."""

    seed: int = 0
    now: int = START
    objects: dict[str, Object] = field(default_factory=dict)
    instruments: dict[str, Instrument] = field(default_factory=dict)
    endpoints: list[Endpoint] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    request: dict[str, str | None] = field(default_factory=lambda: {"id": None, "idempotency_key": None})
    shape_faults: list[str] = field(default_factory=list)
    live_keys_refused: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.numbers = count()
        self.due: list[tuple[int, int, Callable[[], None]]] = []


def new_id(world: World, prefix: str) -> str:
    return f"{prefix}_{''.join(world.random.choices(ALPHABET, k=24))}"


def keep(world: World, body: Object) -> Object:
    world.objects[body["id"]] = body
    return body


def of_kind(world: World, kind: str) -> Iterator[Object]:
    return (body for body in world.objects.values() if body["object"] == kind)


def find(world: World, kind: str, identifier: Any) -> Object | None:
    body = world.objects.get(identifier)
    return body if body and body["object"] == kind else None


def get(world: World, kind: str, identifier: Any, *, param: str = "id") -> Object:
    body = find(world, kind, identifier)
    if body is None:
        raise missing(kind, str(identifier), param=param)
    return body


def later(world: World, at: int, action: Callable[[], None]) -> None:
    """Lets the clock do something when it comes to that moment."""
    heapq.heappush(world.due, (at, next(world.numbers), action))


def advance(world: World, seconds: int) -> None:
    """Moves the clock, and does what is due on the way in order and at its own time."""
    if seconds < 0:
        raise Refusal(400, "control", "the clock does not go back")
    end = world.now + seconds
    world.request = {"id": None, "idempotency_key": None}
    while world.due and world.due[0][0] <= end:
        at, _, action = heapq.heappop(world.due)
        world.now = max(world.now, at)
        action()
    world.now = end


def merged_metadata(old: dict[str, str], new: Any) -> dict[str, str]:
    """An empty value takes its key away; an empty string instead of a hash takes them all."""
    if new == "":
        return {}
    return {key: value for key, value in (old | (new or {})).items() if value != ""}
