"""Why the agent does not do what it is asked; each becomes one status and one stable code."""

from typing import Any


class Refusal(Exception):
    """`code` is for machines, `detail` for whoever reads the operation, `extra` goes along."""

    status = 409
    code = "refused"

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class NotFound(Refusal):
    status = 404
    code = "not_found"


class AddressTaken(Refusal):
    code = "address_taken"


class UnknownGrantee(Refusal):
    code = "unknown_grantee"


class ClassCannot(Refusal):
    code = "class_cannot"


class WrongState(Refusal):
    code = "wrong_state"


class Busy(Refusal):
    """Something inside the cell is away: whether it was done is unknown."""

    status = 503
    code = "busy"
