"""The answers that come instead of an object."""

from typing import Any


class Refusal(Exception):
    """An error answer. `stored`: whether an idempotency key keeps it, which a refused parameter does not do."""

    def __init__(self, status: int, kind: str, message: str, *, stored: bool = True, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.stored = stored
        self.fields = {name: value for name, value in fields.items() if value is not None}
        self.error = {"type": kind, "message": message, **self.fields}
        if "code" in self.fields:
            self.error["doc_url"] = f"https://stripe.com/docs/error-codes/{str(fields['code']).replace('_', '-')}"

    def body(self) -> dict[str, Any]:
        return {"error": self.error}


def invalid_parameter(message: str, *, param: str, code: str | None = None) -> Refusal:
    """Found before anything is executed."""
    return Refusal(400, "invalid_request_error", message, stored=False, param=param, code=code)


def invalid_request(message: str, **fields: Any) -> Refusal:
    """Found when the state of the objects was looked at."""
    return Refusal(400, "invalid_request_error", message, **fields)


def missing(noun: str, identifier: str, *, param: str = "id") -> Refusal:
    message = f"No such {noun}: '{identifier}'"
    return Refusal(
        404 if param == "id" else 400, "invalid_request_error", message, code="resource_missing", param=param
    )


def card_error(message: str, **fields: Any) -> Refusal:
    return Refusal(402, "card_error", message, **fields)


def not_here(what: str) -> Refusal:
    """Stripe can do it and this fake cannot: said loudly instead of ignored."""
    return Refusal(400, "invalid_request_error", f"The fake Stripe does not implement {what}.", stored=False)
