"""Problem documents (RFC 9457): the only place that decides which status an error has."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.exceptions import HTTPException

from provisioning.core.errors import (
    AppError,
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    Unauthorized,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2

STATUSES: dict[type[AppError], int] = {
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    PreconditionFailed: 412,
    Invalid: 422,
    Unavailable: 503,
    AppError: 500,
}

TITLES = {
    400: "The request could not be read",
    401: "A valid API key is needed",
    403: "The key may not do this",
    404: "There is no such thing",
    405: "The method does not exist here",
    409: "The state of things does not allow this",
    412: "It has changed since you read it",
    413: "The body is too large",
    415: "The body must be JSON",
    422: "The request is not well formed",
    500: "Something broke on our side",
    503: "Out of service for a moment",
}

log = structlog.get_logger()


class FieldProblem(BaseModel):
    """One wrong field; `pointer` is a JSON pointer into the body, or ?name for a query parameter."""

    pointer: str
    code: str
    message: str


class Problem(BaseModel):
    """What every error answers with. `code` is stable; `detail` names the fix."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": []})

    type: str = Field(description="A URI made of the code.")
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None = None
    errors: list[FieldProblem] = Field(default_factory=list)


_JSON = TypeAdapter(dict[str, Any])


def status_of(error: AppError) -> int:
    """The status of the nearest class of the error that has one."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def problem_of(error: AppError) -> dict[str, Any]:
    """The document of an error, without the request's id; also each verdict of a refused batch is one."""
    document: dict[str, Any] = {
        "type": f"urn:postfachwerk:problem:{error.code}",
        "title": TITLES[status_of(error)],
        "status": status_of(error),
        "detail": error.detail,
        "code": error.code,
        **error.extra,
    }
    if isinstance(error, Invalid):
        document["errors"] = [field_problem(each) for each in error.errors]
    return document


def field_problem(error: FieldError) -> dict[str, str]:
    return {"pointer": error.pointer, "code": error.code, "message": error.message}


def respond(request: Request, error: AppError, *, headers: Mapping[str, str] | None = None) -> Response:
    status = status_of(error)
    extra = dict(headers or {})
    if status == 401:
        extra["WWW-Authenticate"] = "Bearer"
    if status == 503:
        extra["Retry-After"] = str(RETRY_AFTER_SECONDS)
    document = {**problem_of(error), "request_id": request.scope.get("request_id")}
    return Response(_JSON.dump_json(document), status, media_type=MEDIA_TYPE, headers=extra)


async def _on_app_error(request: Request, error: Exception) -> Response:
    refusal = cast(AppError, error)
    verdicts = getattr(refusal, "verdicts", None)
    if verdicts is not None:
        refusal.extra["verdicts"] = [None if each is None else problem_of(each) for each in verdicts]
    return respond(request, refusal)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    errors = [
        FieldError(_pointer(each["loc"]), str(each["type"]), str(each["msg"]))
        for each in cast(RequestValidationError, error).errors()
    ]
    where = ", ".join(each.pointer or "the body" for each in errors[:5])
    return respond(request, Invalid(f"Mend what is wrong at {where}.", errors=errors))


def _pointer(location: Sequence[str | int]) -> str:
    """/name for the body, ?name for the query, and the path's or header's name in plain words."""
    place, *path = location
    if place == "body" and len(path) == 1 and isinstance(path[0], int):
        return ""  # no JSON at all; FastAPI puts the position of the first wrong character here
    if place == "body":
        return "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in path)
    if place == "query":
        return "?" + ".".join(str(part) for part in path)
    return f"{place} {'.'.join(str(part) for part in path)}"


async def _on_http_exception(request: Request, error: Exception) -> Response:
    refusal = cast(HTTPException, error)
    headers = dict(refusal.headers or {})
    if refusal.status_code == 405:
        headers["Allow"] = ", ".join(_methods_at(request)) or headers.get("Allow", "")
    document = {
        "type": f"urn:postfachwerk:problem:http_{refusal.status_code}",
        "title": TITLES.get(refusal.status_code, "The request failed"),
        "status": refusal.status_code,
        "detail": str(refusal.detail),
        "code": f"http_{refusal.status_code}",
        "request_id": request.scope.get("request_id"),
    }
    return Response(_JSON.dump_json(document), refusal.status_code, media_type=MEDIA_TYPE, headers=headers)


def _methods_at(request: Request) -> list[str]:
    """All methods of this path: the route that refused knows its own only."""
    return sorted(
        {
            method
            for route in iter_route_contexts(request.app.routes)
            if isinstance(route.original_route, APIRoute) and route.path_regex.match(request.scope["path"])
            for method in route.methods or ()
        }
    )


async def _on_unexpected(request: Request, error: Exception) -> Response:
    log.error("unexpected error", path=request.scope.get("shown_path"), exc_info=error)
    # This answer is made outside of the middleware that puts the id on all others.
    headers = {"Request-Id": request.scope.get("request_id", "")}
    fault = AppError("This is our fault. It has been logged; name the request id when you ask about it.")
    return respond(request, fault, headers=headers)


def install(app: FastAPI) -> None:
    """Make every error of the application answer with a problem document."""
    app.add_exception_handler(AppError, _on_app_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_unexpected)
