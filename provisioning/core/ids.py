"""Prefixed, time-ordered, opaque ids: `mbx_` and 26 letters of Crockford's base 32, as in a ULID."""

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]

ID_PATTERN = "[0-9a-hjkmnp-tv-z]{26}"


def new_id(prefix: str) -> str:
    """A fresh id: 48 bits of milliseconds, then 80 random bits; sorts by the time it was made.

    The wall clock is right here even under a test clock: an id orders rows, it does not date them.
    """
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return prefix + "_" + "".join([_PAIRS[value >> shift & 0x3FF] for shift in range(120, -1, -10)])
