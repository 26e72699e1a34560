"""The one place where a test looks at another process again and again: bounded, and never longer than it must."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], seconds: float = 15) -> None:
    """Returns as soon as the condition holds; fails when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def next_second() -> None:
    """For programs that note in whole seconds when something changed."""
    then = int(time.time())
    until(lambda: int(time.time()) > then)
