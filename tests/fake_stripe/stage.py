"""What one process of the fake holds beside the world itself."""

import asyncio
import time
from dataclasses import dataclass, field

from tests.fake_stripe.faults import Fault
from tests.fake_stripe.idempotency import Keys
from tests.fake_stripe.world import World


@dataclass
class Bucket:
    left: float
    at: float


@dataclass
class Stage:
    """`rate` in requests a second for each endpoint, of this machine's time; 0 sets no limit."""

    world: World
    rate: float
    keys: Keys = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    buckets: dict[str, Bucket] = field(default_factory=dict)
    # By the address of the client, to close one without an answer.
    connections: dict[tuple[str, int], asyncio.Transport] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.first_rate = self.rate


def admitted(stage: Stage, name: str) -> bool:
    """Takes a place in the endpoint's bucket, which holds one second's worth and fills all the time."""
    if not stage.rate:
        return True
    now = time.monotonic()
    bucket = stage.buckets.setdefault(name, Bucket(stage.rate, now))
    bucket.left = min(stage.rate, bucket.left + (now - bucket.at) * stage.rate)
    bucket.at = now
    if bucket.left < 1:
        return False
    bucket.left -= 1
    return True
