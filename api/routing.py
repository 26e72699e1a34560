"""The route class of the whole API: a misspelt parameter and text that nobody can store are refused before all else."""

import json
import re
from collections.abc import Callable, Coroutine, Iterator
from datetime import date
from typing import Annotated, Any

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Cookie, Header, Path
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import AwareDatetime, BeforeValidator
from starlette.exceptions import HTTPException

from provisioning.core.errors import FieldError, Invalid

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

# PostgreSQL keeps no NUL in text, and half of a surrogate pair is no character in any encoding.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_ESCAPED = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_REFUSED = "holds NUL or half of a surrogate pair"


def _written(pattern: str, form: str) -> BeforeValidator:
    """Left to itself, pydantic takes 20261101 and "20261101" for seconds since 1970."""

    def check(value: object) -> object:
        if not isinstance(value, str) or re.match(pattern, value) is None:
            raise ValueError(f"it is written {form}")
        return value

    return BeforeValidator(check)


Day = Annotated[date, _written("[0-9]{4}-[0-9]{2}-[0-9]{2}$", "YYYY-MM-DD")]
Moment = Annotated[AwareDatetime, _written("[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]", "as in RFC 3339, 2026-12-31T23:00:00Z")]


class Route(APIRoute):
    """Knows its query parameters; `dry_run` belongs to every write."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        fields = get_flat_params(self.dependant)
        # The fields of a filter model are query parameters too, and carry no mark of it.
        known = {field.alias for field in fields if not isinstance(field.field_info, Path | Header | Cookie)}
        if WRITES & set(self.methods or ()):
            known.add("dry_run")

        has_body = self.body_field is not None

        async def handle_checked(request: Request) -> Response:
            if request.query_params:
                check_parameters(request, known)
            if request.path_params:
                check_path(request)
            if has_body:
                check_body(await request.body())
            try:
                return await handle(request)
            except HTTPException as error:
                if error.status_code != 400:
                    raise
                raise _unreadable("is nested too deeply or holds a number nobody can read") from error

        return handle_checked


def check_parameters(request: Request, known: set[str]) -> None:
    """Raises Invalid for query parameters the endpoint does not have, and for one that is given twice."""
    errors = [
        FieldError(f"?{name}", "unknown_parameter", f"known here: {', '.join(sorted(known)) or 'none'}")
        for name in request.query_params
        if name not in known
    ]
    errors += [
        FieldError(f"?{name}", "given_twice", "give it once")
        for name in request.query_params
        if name in known and len(request.query_params.getlist(name)) > 1
    ]
    errors += [
        FieldError(f"?{name}", "invalid_character", _REFUSED)
        for name, value in request.query_params.items()
        if _UNSTORABLE.search(value)
    ]
    dry_run = request.query_params.get("dry_run")
    if dry_run is not None and dry_run not in ("true", "false"):
        errors.append(FieldError("?dry_run", "invalid_value", "true or false"))
    if errors:
        raise Invalid("There is a query parameter this endpoint does not understand.", errors=errors)


def check_path(request: Request) -> None:
    """Raises Invalid for a path that names something no id or code can hold."""
    errors = [
        FieldError(f"path {name}", "invalid_character", _REFUSED)
        for name, value in request.path_params.items()
        if _UNSTORABLE.search(value)
    ]
    if errors:
        raise Invalid("The path names nothing there can be.", errors=errors)


def check_body(body: bytes) -> None:
    """Raises Invalid for a body that is no UTF-8, and for one with text in it that the database cannot keep."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise _unreadable("is not UTF-8") from error
    if "\0" in text:
        raise _unreadable("holds NUL, as UTF-16 does")
    if not _ESCAPED.search(text):
        return
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return  # read once more, and refused, by the endpoint itself
    errors = [FieldError(pointer, "invalid_character", _REFUSED) for pointer in _unstorable(document)]
    if errors:
        raise Invalid("There is text that cannot be kept. Take out what is no character.", errors=errors)


def _unstorable(document: Any) -> Iterator[str]:
    """Pointers to each text that cannot be kept, to the object itself where that is one of its names."""
    todo = [("", document)]
    while todo:
        pointer, value = todo.pop()
        if isinstance(value, str) and _UNSTORABLE.search(value):
            yield pointer
        elif isinstance(value, list):
            todo += [(f"{pointer}/{index}", each) for index, each in enumerate(value)]
        elif isinstance(value, dict):
            if _UNSTORABLE.search("".join(value)):
                yield pointer
                continue
            todo += [(f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}", each) for name, each in value.items()]


def _unreadable(what: str) -> Invalid:
    return Invalid(f"The body {what}. Send JSON in UTF-8.", errors=[FieldError("", "json_invalid", f"the body {what}")])
