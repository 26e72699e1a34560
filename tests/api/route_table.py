"""Every endpoint as the application itself lists it, so that a new one is tested without being named here."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import schemathesis
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from schemathesis.core.result import Err, Ok

from api.deps import PAYING, Requires

Json = dict[str, Any]

# What the programs of mailbox users ask: written by others, answered in their own words.
DISCOVERY = frozenset(
    {
        "GET /autodiscover/autodiscover.json",
        "GET /autodiscover/autodiscover.json/v1.0/{email}",
        "GET /autodiscover/autodiscover.xml",
        "POST /autodiscover/autodiscover.xml",
        "GET /mail/config-v1.1.xml",
        "GET /.well-known/autoconfig/mail/config-v1.1.xml",
        "GET /mobileconfig",
        "GET /.well-known/mta-sts.txt",
        *(f"{method} /.well-known/{name}" for method in ("GET", "PROPFIND") for name in ("caldav", "carddav")),
    }
)
# For load balancers, monitoring and browsers, and the document that says how to get a key.
PUBLIC = frozenset(
    {
        *DISCOVERY,
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /docs",
        "GET /docs/oauth2-redirect",
        "GET /set-password/{token}",
        "POST /set-password/{token}",
        "POST /v1/webhooks/stripe",
    }
)

# What stands in the paths of public endpoints.
PUBLIC_PLACES = {"token": "nobodys", "email": "chef@kanzlei-lindenhof.example"}
# Path parameters that name an object of one reseller, and the word an unknown one of its kind begins with.
OWNED = {
    "credit_note_id": "crn",
    "customer_id": "cus",
    "dkim_key_id": "dkm",
    "domain_id": "dom",
    "grantee": "mbx",
    "invoice_id": "inv",
    "key_id": "key",
    "mailbox_id": "mbx",
    "notice_id": "ntc",
    "operation_id": "op",
    "payment_id": "pay",
    "payment_method_id": "pmt",
    "resale_price_id": "rsp",
}
# Path parameters that are the same for everybody, the operator's, or mean something only beside an owned one.
UNOWNED = frozenset(
    {
        *("add_on", "address", "bank_entry_id", "code", "coupon_id", "direct_debit_id", "discount_id", "kind", "name"),
        *("price_list_id", "reseller_id", "run_id", "scheme", "scope"),
    }
)

WRITES = ("POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Endpoint:
    method: str
    path: str
    operation_id: str | None
    requires: Requires | None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_write(self) -> bool:
        return self.method in WRITES

    @property
    def is_for_operator(self) -> bool:
        return self.requires is not None and self.requires.operator

    @property
    def is_paying(self) -> bool:
        return self.requires is not None and self.requires.scope == PAYING

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)

    @property
    def reads_one_object(self) -> bool:
        return self.method == "GET" and self.path.endswith("}") and self.requires is not None


def endpoints(app: FastAPI) -> list[Endpoint]:
    """All of them, the public ones included, by method and path."""
    found = [
        Endpoint(method, str(each.path_format), each.original_route.operation_id, _requirement(each.dependant))
        for each in iter_route_contexts(app.routes)
        if isinstance(each.original_route, APIRoute)
        for method in sorted(each.methods or ())
    ]
    return sorted(found, key=lambda endpoint: (endpoint.path, endpoint.method))


def _requirement(dependant: Dependant) -> Requires | None:
    """What the call itself requires; whatever stands before it asks for no less."""
    for each in dependant.dependencies:
        if isinstance(each.call, Requires):
            return each.call
    return next((found for each in dependant.dependencies if (found := _requirement(each)) is not None), None)


def described(document: Json, endpoint: Endpoint) -> Json:
    """What the OpenAPI document says of an endpoint; paths there are as in the route table."""
    operation: Json = document["paths"][endpoint.path][endpoint.method.lower()]
    return operation


def operations(schema: schemathesis.BaseSchema) -> list[schemathesis.APIOperation[Any, Any, Any, Any]]:
    """What Schemathesis makes of a document. Fails where it can make nothing of a part."""
    found = list(schema.get_all_operations())
    broken = [str(each.err()) for each in found if isinstance(each, Err)]
    assert not broken, broken
    return [each.ok() for each in found if isinstance(each, Ok)]


def request_examples(document: Json, operation: Json) -> list[Any]:
    """The examples of an endpoint's body, those of its schema included."""
    content = operation.get("requestBody", {}).get("content", {})
    return [example for media in content.values() for example in _examples(document, media)]


def _examples(document: Json, node: Mapping[str, Any]) -> Iterator[Any]:
    if "example" in node:
        yield node["example"]
    examples = node.get("examples", ())
    yield from (each["value"] for each in examples.values()) if isinstance(examples, dict) else examples
    if "$ref" in node:
        yield from _examples(document, resolved(document, node["$ref"]))
    if "schema" in node:
        yield from _examples(document, node["schema"])
    for each in node.get("anyOf", ()):
        yield from _examples(document, each)


def resolved(document: Json, reference: str) -> Json:
    """The part of the document that `#/…` points to."""
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    found: Json = node
    return found


def documented_codes(operation: Json) -> dict[int, set[str]]:
    """The problem codes an endpoint says it can refuse with, by status."""
    return {
        int(status): set(re.findall(r"`(\w+)`", response.get("description", "").partition("Codes:")[2]))
        for status, response in operation["responses"].items()
    }


def problem_complaint(document: Json, method: str, path: str, status: int, problem: Json) -> str | None:
    """Why an endpoint may not answer with this problem; None where its documentation says it may."""
    for template, operations in document["paths"].items():
        pattern = re.sub(r"\\{\w+\\}", lambda found: ".+" if "address" in found[0] else "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path) and method.lower() in operations:
            known = documented_codes(operations[method.lower()]).get(status, set())
            code = problem.get("code")
            return None if code in known else f"{method} {template}: {status} {code} is not documented, only {known}"
    return None  # no endpoint of the document
