"""The OpenAPI document: tags, stable operation ids, the manners every endpoint shares, and its problem codes."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from api.previews import CostView, Preview
from api.problems import MEDIA_TYPE, TITLES, Problem

VERSION = "1.0.0"

DESCRIPTION = """
Order mailboxes (POP3, IMAP, Exchange) for your customers, share calendars, pin data to a data centre, and see what the
month costs.

**Start here:** press *Authorize* and paste your key. Add a customer, add a domain, set its TXT record, verify it,
order a mailbox, and watch its operation.

**Long work** answers 202 with `Location: /v1/operations/…`; the object can be read at once and says in `state` how far
it is. Send `Prefer: wait=10` to have the answer held until it is done.

**Safe to repeat:** send an `Idempotency-Key` with every POST; the same call with the same key is done once.

**Try before you buy:** `?dry_run=true` on any write answers what would change, and what it would cost.

**Errors** are `application/problem+json` with a stable `code` and a sentence that names the fix.
"""

TAGS = [
    {"name": "account", "description": "Who you are, what your key may do, how much of your limits is used."},
    {"name": "customers", "description": "Your clients."},
    {"name": "domains", "description": "Mail domains, proven by a TXT record."},
    {"name": "mailboxes", "description": "Order, change, move, suspend, delete, restore."},
    {"name": "shares", "description": "Who may open what of whose mailbox."},
    {"name": "operations", "description": "Long work and how far it is."},
    {"name": "data centres", "description": "Where mailboxes can lie, and who certifies it."},
    {"name": "billing", "description": "Prices, previews, invoices."},
    {"name": "audit", "description": "Who did what, in a chain that shows tampering."},
    {"name": "operator", "description": "For the operator of the platform."},
    {"name": "discovery", "description": "Where the programs of a mailbox find their servers; without a key."},
    {"name": "service", "description": "Health and metrics."},
    {"name": "test clock", "description": "Demo and tests only: let time pass."},
]

IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A key of your own, for example a UUID. The same call with it is done once and replayed for 24 h.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The ETag you read; answers 412 when the object has changed since.",
    "schema": {"type": "string", "pattern": '^(\\*|"[0-9]{1,18}(-[0-9a-f]{8})?")$'},
}
PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`wait=10` holds the answer until the operation has ended, 30 seconds at most.",
    # Preferences that are not understood are ignored (RFC 7240), so that no text is wrong.
    "schema": {"type": "string"},
}
DRY_RUN = {
    "name": "dry_run",
    "in": "query",
    "required": False,
    "description": "Answer 200 with what would change and what it would cost, and change nothing.",
    "schema": {"type": "boolean", "default": False},
}

WRITES = ("post", "put", "patch", "delete")


def refusals(*codes: str, status: int = 409) -> dict[int | str, dict[str, Any]]:
    """For `responses=`: the stable codes this endpoint can refuse with."""
    return {status: {"model": Problem, "description": "", "x-problem-codes": sorted(codes)}}


def problem_response(status: int, codes: list[str]) -> dict[str, Any]:
    example = {
        "type": f"urn:postfachwerk:problem:{codes[0]}",
        "title": TITLES[status],
        "status": status,
        "detail": "A sentence that names the fix.",
        "code": codes[0],
        "request_id": "req_01k9z3f6m2w5t8y1c4e7h0j3n6",
        "errors": [],
    }
    return {
        "description": f"{TITLES[status]}. Codes: {', '.join(f'`{code}`' for code in codes)}.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
    }


def describe(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            openapi_version="3.1.0",
            summary="Hosted mailboxes for IT resellers",
            description=DESCRIPTION,
            routes=app.routes,
            tags=TAGS,
        )
        document["components"]["schemas"]["Problem"] = _schema_of(Problem)
        document["components"]["schemas"]["Preview"] = _schema_of(Preview)
        document["components"]["schemas"]["CostView"] = _schema_of(CostView)
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                _complete(path, method, operation)
        _drop_unused_schemas(document)
        schemas = document["components"]["schemas"]
        for schema in schemas.values():
            for example in schema.get("examples", ()):
                _put_nulls_back(schemas, schema, example)
        app.openapi_schema = document
    return app.openapi_schema


def _schema_of(shape: type[BaseModel]) -> dict[str, Any]:
    schema = shape.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
    schema.pop("$defs", None)
    return schema


def _add_preview(responses: dict[str, Any]) -> None:
    """A dry run answers 200 with a preview, beside whatever 200 means here otherwise."""
    preview = {"$ref": "#/components/schemas/Preview"}
    content = responses.setdefault("200", {"description": "Dry run: nothing was changed."}).setdefault("content", {})
    body = content.setdefault("application/json", {"schema": preview})
    if body["schema"] != preview:
        body["schema"] = {"anyOf": [body["schema"], preview]}


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    """Add what every endpoint of its sort has: shared headers, dry run, and its problem answers."""
    responses = operation["responses"]
    declared = {int(status): response.pop("x-problem-codes", None) for status, response in responses.items()}
    # What other people's programs ask is answered in their own words, and never called malformed.
    is_lenient = "discovery" in operation.get("tags", [])
    if is_lenient:
        responses.pop("422", None)
    codes: dict[int, list[str]] = {} if is_lenient else {422: ["invalid"]}
    if operation.get("security"):
        if method in WRITES:
            _add_manners(method, operation)
        codes |= _codes_of_secured(path, method, operation)
    for status, named in declared.items():
        if named:
            codes[status] = [*named, *(code for code in codes.get(status, ()) if code not in named)]
    for status, named in sorted(codes.items()):
        responses[str(status)] = problem_response(status, named)


def _add_manners(method: str, operation: dict[str, Any]) -> None:
    """What every write understands."""
    parameters = operation.setdefault("parameters", [])
    parameters += [DRY_RUN, IDEMPOTENCY_KEY if method == "post" else IF_MATCH]
    # An invoice run is no operation of a mailbox: nothing waits for it.
    if "202" in operation["responses"] and "operator" not in operation.get("tags", []):
        parameters.append(PREFER)
    _add_preview(operation["responses"])


def _codes_of_secured(path: str, method: str, operation: dict[str, Any]) -> dict[int, list[str]]:
    forbidden = ["missing_scope", "reseller_needed", "reseller_suspended"]
    for_operator = "operator" in operation.get("tags", [])
    if for_operator:
        forbidden = ["missing_scope", "operator_only"]
    codes: dict[int, list[str]] = {401: ["unauthorized"], 403: forbidden, 503: ["unavailable"]}
    if "{" in path or not for_operator:  # a reseller to act for may be unknown too
        codes[404] = ["not_found"]
    if method == "post":
        codes[422] = ["invalid", "idempotency_key_reused"]
    elif method in WRITES:
        codes[412] = ["precondition_failed"]
    return codes


def _drop_unused_schemas(document: dict[str, Any]) -> None:
    """FastAPI's own validation error shapes are never answered."""
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _put_nulls_back(schemas: Mapping[str, Any], schema: Mapping[str, Any], example: Any) -> None:
    """FastAPI drops null from examples, also of fields that are always there."""
    if "$ref" in schema:
        _put_nulls_back(schemas, schemas[schema["$ref"].rpartition("/")[2]], example)
    for choice in schema.get("anyOf", ()):
        _put_nulls_back(schemas, choice, example)
    if isinstance(example, list):
        for each in example:
            _put_nulls_back(schemas, schema.get("items", {}), each)
    elif isinstance(example, dict):
        for name, field in schema.get("properties", {}).items():
            if name in example:
                _put_nulls_back(schemas, field, example[name])
            elif name in schema.get("required", ()):
                example[name] = None
