"""The first answer of every key, for 24 hours of the virtual clock."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from tests.fake_stripe.errors import Refusal, invalid_parameter

KEY_LENGTH = 255
KEPT_SECONDS = 24 * 3600


@dataclass
class Answer:
    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Kept:
    """What a key stands for: a call that is under way until there is an answer."""

    path: str
    form: tuple[tuple[str, str], ...]
    request_id: str
    at: int
    answer: Answer | None = None
    collided: asyncio.Event = field(default_factory=asyncio.Event)


Keys = dict[str, Kept]


def check_key(key: str) -> None:
    if len(key) > KEY_LENGTH:
        message = f"The idempotency key is longer than {KEY_LENGTH} characters."
        raise invalid_parameter(message, param="Idempotency-Key")


def find(keys: Keys, key: str, *, path: str, form: tuple[tuple[str, str], ...], now: int) -> Kept | None:
    """The answered call behind this key; raises when it is another call, or not answered yet."""
    kept = keys.get(key)
    if kept is None:
        return None
    if kept.answer is None:
        kept.collided.set()
        message = (
            "There is currently another in-progress request using this Idempotent Key (that probably means you "
            f"submitted twice, and the other request is still going through): {key}. Please try again later."
        )
        raise Refusal(409, "idempotency_error", message, stored=False, code="idempotency_key_in_use")
    if now - kept.at >= KEPT_SECONDS:
        del keys[key]
        return None
    if (kept.path, kept.form) != (path, form):
        same = (
            "parameters they were first used with"
            if kept.path == path
            else f"endpoint they were first used for ('{path}' vs '{kept.path}')"
        )
        message = (
            f"Keys for idempotent requests can only be used with the same {same}. "
            f"Try using a key other than '{key}' if you meant to execute a different request."
        )
        raise Refusal(400, "idempotency_error", message, stored=False)
    return kept
