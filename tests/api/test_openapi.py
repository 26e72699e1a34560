"""The OpenAPI document: complete, true, and of use to whoever generates a client from it or reads it offline."""

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis

from api.main import create_app
from tests.api.example_calls import CALLS, ExampleCall, client_of, path_of, prepare
from tests.api.route_table import (
    DISCOVERY,
    Endpoint,
    Json,
    described,
    documented_codes,
    endpoints,
    operations,
    request_examples,
)
from tests.api.stage import Stage, empty_stage

pytest_plugins = ["tests.api.stage_fixtures"]
pytestmark = pytest.mark.anyio

STAGE = empty_stage()
DOCUMENT = STAGE.document
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]
SHAPES = list(DOCUMENT["components"]["schemas"])
WITH_BODY = [
    each for each in endpoints(STAGE.app) if each.requires is not None and "requestBody" in described(DOCUMENT, each)
]

# Codes of no answer of an endpoint's.
INNER_CODES = {
    # Of exports, which have no endpoint.
    *(f"datev_{what}" for what in ("account", "accounts", "amount", "debtor", "fee_account", "file", "fiscal_year")),
    *(f"datev_{what}" for what in ("no_account", "number", "period", "rate", "tax_key", "too_many", "vat_id")),
    "duplicate_in_call",  # one line's, within `verdicts` of a refused batch
    "link_not_valid",  # the password page's, which is HTML
    "internal_error",  # a fault of ours, which no endpoint means to have
}
# Families of refusals: each that is raised has a code of its own.
FAMILIES = {"Conflict": "conflict", "Forbidden": "forbidden"}

every = pytest.mark.parametrize


def test_the_document_is_openapi_3_1_and_loads_as_such() -> None:
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1.")
    schema.validate()
    assert len(operations(schema)) == len(OPERATIONS)


def test_every_endpoint_has_an_operation_id_of_its_own_in_camel_case() -> None:
    ids = [operation["operationId"] for _, operation in OPERATIONS]
    assert len(set(ids)) == len(ids)
    assert [each for each in ids if not re.fullmatch("[a-z]+([A-Z][a-z]+)*", each)] == []


@every(("name", "operation"), OPERATIONS)
def test_every_endpoint_says_what_it_is_for(name: str, operation: Json) -> None:
    assert operation["summary"].strip(), name
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    assert operation["tags"], name
    assert set(operation["tags"]) <= tags
    assert all(tag["description"] for tag in DOCUMENT["tags"])


@every(("name", "operation"), OPERATIONS)
def test_every_refusal_has_codes_and_an_example_that_is_one(name: str, operation: Json) -> None:
    for status, codes in documented_codes(operation).items():
        if status < 400 or (status < 500 and "discovery" in operation["tags"]):
            continue  # what other people's programs ask is refused in their own words
        assert codes, f"{name}: {status} names no code"
        example = operation["responses"][str(status)]["content"]["application/problem+json"]["example"]
        assert (example["status"], example["code"] in codes) == (status, True)
        _validate(example, DOCUMENT["components"]["schemas"]["Problem"])


def test_everything_but_health_needs_the_key_that_the_explorer_asks_for() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {name: (each["type"], each["scheme"]) for name, each in schemes.items()} == {"ApiKey": ("http", "bearer")}
    without = {operation["operationId"] for _, operation in OPERATIONS if operation.get("security") != [{"ApiKey": []}]}
    discovery = {operation["operationId"] for _, operation in OPERATIONS if operation["tags"] == ["discovery"]}
    assert without == {"health", "readiness", "metrics", "receiveStripeEvent"} | discovery
    keyless = {str(each) for each in endpoints(STAGE.app) if each.operation_id in discovery}
    assert keyless == {name for name in DISCOVERY if not name.startswith("PROPFIND")}


def test_there_is_no_shape_that_is_never_answered() -> None:
    used = set(re.findall(r"#/components/schemas/(\w+)", repr(DOCUMENT)))
    assert set(DOCUMENT["components"]["schemas"]) == used
    assert "HTTPValidationError" not in used


@every("name", SHAPES)
def test_every_example_of_a_shape_fits_it(name: str) -> None:
    shape = DOCUMENT["components"]["schemas"][name]
    for example in shape.get("examples", ()):
        _validate(example, shape)


@every(("name", "operation"), OPERATIONS)
def test_every_success_has_a_shape(name: str, operation: Json) -> None:
    for status, response in operation["responses"].items():
        if status < "300" and "application/json" in response.get("content", {}):
            assert response["content"]["application/json"]["schema"], f"{name} {status}"


@every("endpoint", WITH_BODY, ids=str)
def test_every_body_has_examples_that_fit_its_shape(endpoint: Endpoint) -> None:
    operation = described(DOCUMENT, endpoint)
    examples = request_examples(DOCUMENT, operation)
    assert examples
    for example in examples:
        _validate(example, operation["requestBody"]["content"]["application/json"]["schema"])


@every("endpoint", WITH_BODY, ids=str)
async def test_every_example_works_as_it_is(stage: Stage, endpoint: Endpoint) -> None:
    """Pasted from the explorer, against a tenant that has what the examples speak of."""
    await prepare(stage, endpoint)
    for example in request_examples(DOCUMENT, described(DOCUMENT, endpoint)):
        call = CALLS.get(str(endpoint.operation_id), ExampleCall())
        given = {name: value.format_map(stage.facts.own) for name, value in call.path.items()}
        path = path_of(stage, endpoint, given) + "?dry_run=true"
        answer = await client_of(stage, endpoint).request(endpoint.method, path, json=example)
        assert answer.status_code == 200, answer.text


def test_every_code_the_service_can_refuse_with_is_documented_somewhere(root: Path) -> None:
    known = INNER_CODES.union(*(codes for _, operation in OPERATIONS for codes in documented_codes(operation).values()))
    raised: dict[str, str] = {}
    for package in ("api", "billing", "provisioning"):
        for path in sorted((root / package).rglob("*.py")):
            if "cell" in path.relative_to(root).parts:
                continue  # the agent's words are for the driver, which makes them the service's own
            raised |= {
                code: f"{path.relative_to(root)}:{line}" for code, line in _codes_raised(ast.parse(path.read_text()))
            }
    assert {code: place for code, place in raised.items() if code not in known} == {}
    assert set(raised) >= INNER_CODES


def test_the_document_is_the_same_from_every_instance() -> None:
    fresh = create_app(STAGE.context)
    assert fresh.openapi() == DOCUMENT
    assert list(fresh.openapi()["paths"]) == list(DOCUMENT["paths"])


async def test_the_explorer_loads_nothing_from_elsewhere(shared_stage: Stage) -> None:
    browser = shared_stage.client(None)
    page = await browser.get("/docs")
    assert page.status_code == 200
    assert re.findall(r"(?:https?:)?//[^\s\"'<>]+", re.sub(r"//\s.*", "", page.text)) == []
    links = _Links()
    links.feed(page.text)
    assert links.found, "the page has scripts and styles"
    for link in (*links.found, "/openapi.json"):
        assert link.startswith("/")
        asset = await browser.get(link)
        assert (asset.status_code, bool(asset.content)) == (200, True), link
    assert (await browser.get("/openapi.json")).json() == DOCUMENT


class _Links(HTMLParser):
    """What a browser loads with the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe"):
            self.found += [value for name, value in attrs if name in ("src", "href") and value]


def _codes_raised(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """`code="..."` of calls and of classes of errors; a family's own where it is raised without one."""
    for node in ast.walk(tree):
        values: list[ast.expr] = []
        if isinstance(node, ast.ClassDef) and node.name not in FAMILIES:
            values = [each.value for each in node.body if isinstance(each, ast.Assign) and _names_code(each)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id != "Caution":
            values = [each.value for each in node.keywords if each.arg == "code"]
            if not values and node.func.id in FAMILIES:
                yield FAMILIES[node.func.id], node.lineno
        for value in values:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value, value.lineno


def _names_code(assignment: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "code" for target in assignment.targets)


def _validate(instance: Any, schema: Json) -> None:
    """With formats, against a schema of the document."""
    whole = {**schema, "components": DOCUMENT["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    errors = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(instance)]
    assert not errors
