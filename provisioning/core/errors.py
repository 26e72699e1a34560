"""Every refusal the service can give, each with a stable code; the API turns them into problem documents.

AppError
  +- NotFound            unknown, or another reseller's
  +- Conflict            the request is fine, the state of things is not
  |    +- LimitExceeded
  +- Invalid             a field's value cannot be, whatever the state
  +- PreconditionFailed  If-Match names a version that is gone
  +- Forbidden           the key lacks a scope, or its reseller is suspended
  +- Unauthorized        no key, or one that is not valid
  +- Unavailable         the database is away or overloaded; nothing was written
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: `pointer` is a JSON pointer into the body, or `?name` for a query parameter."""

    pointer: str
    code: str
    message: str


class AppError(Exception):
    """`code` is stable and for machines, `detail` is a sentence naming the fix, `extra` goes into the problem."""

    code = "internal_error"

    def __init__(self, detail: str, *, code: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.extra = extra


class NotFound(AppError):
    code = "not_found"


class Conflict(AppError):
    code = "conflict"


class LimitExceeded(Conflict):
    """A limit of one tier is reached; raised inside the transaction that would have passed it."""

    code = "limit_exceeded"

    def __init__(self, *, tier: str, name: str, maximum: int, used: int, wanted: int = 1) -> None:
        super().__init__(
            f"The {tier}'s limit of {maximum} {name} does not leave room for {wanted} more: {used} are in use. "
            f"Give up {name} or have the limit raised.",
            limit={"tier": tier, "name": name, "max": maximum, "used": used},
        )


class Invalid(AppError):
    code = "invalid"

    def __init__(self, detail: str, *, errors: list[FieldError] | None = None, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.errors = errors or []


class PreconditionFailed(AppError):
    code = "precondition_failed"


class Forbidden(AppError):
    code = "forbidden"


class Unauthorized(AppError):
    code = "unauthorized"


class Unavailable(AppError):
    code = "unavailable"
