"""What every endpoint refuses, shows and survives: generated from the route table, so that no new one can dodge it."""

import json
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from api.problems import MEDIA_TYPE
from provisioning.core.ids import new_id
from tests.api.example_calls import READS as EXAMPLE_READS
from tests.api.example_calls import body_of, client_of, path_of
from tests.api.route_table import (
    DISCOVERY,
    OWNED,
    PUBLIC,
    PUBLIC_PLACES,
    UNOWNED,
    Endpoint,
    Json,
    described,
    endpoints,
    request_examples,
)
from tests.api.stage import Facts, Stage, empty_stage, on_stage

pytest_plugins = ["tests.api.stage_fixtures"]
pytestmark = pytest.mark.anyio

AWAY = empty_stage()
TABLE = endpoints(AWAY.app)
KEYED = [each for each in TABLE if str(each) not in PUBLIC]
TENANTS = [each for each in KEYED if not each.is_for_operator]
OPERATORS = [each for each in KEYED if each.is_for_operator]
SCOPED = [each for each in KEYED if each.requires is not None and each.requires.scope is not None]
READS = [each for each in KEYED if not each.is_write]
SINGLE = [each for each in READS if each.reads_one_object]
OWNED_PLACES = [(each, name) for each in TENANTS for name in each.parameters if name in OWNED]
# Pages for people, which forgive what mail programs append to links, and what those programs ask themselves; they have
# tests of their own.
STRICT = [
    each for each in TABLE if not each.path.startswith(("/set-password/", "/docs")) and str(each) not in DISCOVERY
]

# NUL, half of a surrogate pair, what is no UTF-8; and a slash where one name is expected.
UNSTORABLE = ("%00", "a%00b", "%ED%A0%80", "%FF", "%2F")
UNREADABLE = (
    b'"\\u0000"',
    b'{"name": "\\u0000"}',
    b'{"name": "\\ud800"}',
    b'{"\\udfff": 1}',
    b'{"name": 1e999, "limit": NaN}',
    b"\xff",
    b"\0",
    b"{",
    b"[" * 9999,
)

every = pytest.mark.parametrize


async def ask(stage: Stage, endpoint: Endpoint, client: httpx.AsyncClient, **given: str) -> httpx.Response:
    """A well-formed call with the stage's own ids, those `given` excepted."""
    _, query = EXAMPLE_READS.get(str(endpoint.operation_id), ({}, ""))
    path = path_of(stage, endpoint, given) + query
    return await client.request(endpoint.method, path, json=body_of(stage, endpoint))


def refusal(answer: httpx.Response, status: int, code: str) -> Json:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    problem: Json = answer.json()
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["request-id"]
    return problem


def test_every_endpoint_is_public_on_purpose_or_requires_a_key() -> None:
    assert {str(each) for each in TABLE if each.requires is None} == PUBLIC


def test_every_path_parameter_is_known_to_be_owned_or_not() -> None:
    """A new one belongs into one of the two lists: the foreign objects below are made from the first."""
    assert {name for each in KEYED for name in each.parameters} == set(OWNED) | UNOWNED


@every("endpoint", KEYED, ids=str)
async def test_without_a_key_the_answer_is_401(shared_stage: Stage, endpoint: Endpoint) -> None:
    for secret in (None, "pfw_rs_00000000_nobodys"):
        answer = await ask(shared_stage, endpoint, shared_stage.client(secret))
        refusal(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


@every("endpoint", SCOPED, ids=str)
async def test_a_key_without_the_scope_is_told_which(shared_stage: Stage, endpoint: Endpoint) -> None:
    assert endpoint.requires is not None
    assert endpoint.requires.scope is not None
    scope = endpoint.requires.scope
    lacking = shared_stage.client(shared_stage.facts.lacking[endpoint.is_for_operator, scope])
    problem = refusal(await ask(shared_stage, endpoint, lacking), 403, "missing_scope")
    assert problem["missing_scope"] == scope
    assert scope in problem["detail"]


@every("endpoint", OPERATORS, ids=str)
async def test_a_reseller_cannot_use_what_is_for_the_operator(shared_stage: Stage, endpoint: Endpoint) -> None:
    """Not even with a key that has the scope, which no reseller can make."""
    refusal(await ask(shared_stage, endpoint, shared_stage.tenant), 403, "operator_only")
    overreaching = shared_stage.client(shared_stage.facts.secrets["overreaching"])
    refusal(await ask(shared_stage, endpoint, overreaching), 403, "operator_only")
    acting = shared_stage.client(
        shared_stage.facts.secrets["operator"], **{"Postfachwerk-Reseller": shared_stage.facts.own["reseller_id"]}
    )
    refusal(await ask(shared_stage, endpoint, acting), 403, "operator_only")


@every(("endpoint", "name"), OWNED_PLACES, ids=str)
async def test_a_foreign_object_is_as_unknown_as_one_that_never_was(
    shared_stage: Stage, endpoint: Endpoint, name: str
) -> None:
    facts = shared_stage.facts
    foreign, unknown = facts.foreign[name], new_id(OWNED[name])
    acting = shared_stage.client(facts.secrets["operator"], **{"Postfachwerk-Reseller": facts.own["reseller_id"]})
    for client in (shared_stage.tenant, acting):
        found = refusal(await ask(shared_stage, endpoint, client, **{name: foreign}), 404, "not_found")
        expected = refusal(await ask(shared_stage, endpoint, client, **{name: unknown}), 404, "not_found")
        assert _without_id(found, foreign) == _without_id(expected, unknown)


@every("endpoint", [each for each in TENANTS if each.is_write], ids=str)
async def test_a_foreign_object_in_the_body_is_unknown_too(shared_stage: Stage, endpoint: Endpoint) -> None:
    """Every id in a documented body is tried; those without any have nothing to try."""
    client, path, body = shared_stage.tenant, path_of(shared_stage, endpoint), body_of(shared_stage, endpoint)
    facts = shared_stage.facts
    for own_name, prefix in OWNED.items():
        for field, value in (body or {}).items():
            if value != facts.own[own_name]:
                continue
            tried = (facts.foreign[own_name], new_id(prefix))
            answers = [await client.request(endpoint.method, path, json={**body, field: each}) for each in tried]
            found, expected = (
                _without_id(refusal(answer, 404, "not_found"), each)
                for answer, each in zip(answers, tried, strict=True)
            )
            assert found == expected


@every("endpoint", READS, ids=str)
async def test_filtering_by_a_foreign_object_finds_nothing(shared_stage: Stage, endpoint: Endpoint) -> None:
    """As filtering by an unknown one does; a filter that takes an id says so in its description."""
    parameters = described(shared_stage.document, endpoint).get("parameters", [])
    names = {f"{OWNED[name]}_…": name for name in OWNED if name != "grantee"}
    for filter_ in (each for each in parameters if each["in"] == "query" and each.get("description") in names):
        name = names[filter_["description"]]
        for value in (shared_stage.facts.foreign[name], new_id(OWNED[name])):
            path = path_of(shared_stage, endpoint)
            answer = await client_of(shared_stage, endpoint).get(path, params={filter_["name"]: value})
            assert answer.json() == {"items": [], "next_cursor": None}


@every("endpoint", READS, ids=str)
async def test_what_is_ones_own_can_be_read(shared_stage: Stage, endpoint: Endpoint) -> None:
    answer = await ask(shared_stage, endpoint, client_of(shared_stage, endpoint))
    assert answer.status_code == 200, answer.text
    assert answer.headers["request-id"]


@every("endpoint", SINGLE, ids=str)
async def test_an_object_that_is_known_is_not_sent_again(shared_stage: Stage, endpoint: Endpoint) -> None:
    client = client_of(shared_stage, endpoint)
    first = await ask(shared_stage, endpoint, client)
    etag = first.headers["etag"]
    for known in (etag, f"W/{etag}", f'"0", {etag}'):
        again = await client.get(path_of(shared_stage, endpoint), headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    other = await client.get(path_of(shared_stage, endpoint), headers={"If-None-Match": '"0"'})
    assert (other.status_code, other.content) == (200, first.content)


@every("endpoint", STRICT, ids=str)
async def test_a_misspelt_parameter_is_refused_by_name(shared_stage: Stage, endpoint: Endpoint) -> None:
    client = client_of(shared_stage, endpoint)
    path = path_of(shared_stage, endpoint) + "?dry_run=true&misspelt=1" * endpoint.is_write
    answer = await client.request(
        endpoint.method,
        path,
        params=None if endpoint.is_write else {"misspelt": "1"},
        json=_body(shared_stage, endpoint),
    )
    problem = refusal(answer, 422, "invalid")
    assert [(each["pointer"], each["code"]) for each in problem["errors"]] == [("?misspelt", "unknown_parameter")]


@every("endpoint", TABLE, ids=str)
async def test_text_that_nobody_can_store_breaks_nothing(shared_stage: Stage, endpoint: Endpoint) -> None:
    client = shared_stage.tenant if endpoint.requires is None else client_of(shared_stage, endpoint)
    given = {**PUBLIC_PLACES, **shared_stage.facts.own}
    path = endpoint.path.format_map(given)
    places = [endpoint.path.format_map({**given, name: text}) for name in endpoint.parameters for text in UNSTORABLE]
    queries = [f"{path}?{name}={text}" for name in ("q", "cursor", "dry_run") for text in UNSTORABLE]
    calls = [(target, b"") for target in (*places, *queries, f"{path}?%00=1")]
    # Tried out only: an endpoint without a body does not look at one.
    calls += [(f"{path}?dry_run=true", body) for body in UNREADABLE if endpoint.is_write]
    for target, body in calls:
        headers = {"Content-Type": "application/json"} if body else {}
        answer = await client.request(endpoint.method, target, content=body, headers=headers)
        assert answer.status_code < 500, f"{target} {body[:30]!r}: {answer.text}"
        assert answer.headers["request-id"]


@every("endpoint", TABLE, ids=str)
async def test_another_method_is_told_all_that_exist(shared_stage: Stage, endpoint: Endpoint) -> None:
    path = endpoint.path.format_map({**PUBLIC_PLACES, **shared_stage.facts.own})
    answer = await shared_stage.tenant.request("TRACE", path)
    expected = {each.method for each in TABLE if each.path == endpoint.path}
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == expected
    assert answer.headers["request-id"]


@every("endpoint", TABLE, ids=str)
async def test_while_the_database_is_away_the_answer_is_503(endpoint: Endpoint, shared_stage: Stage) -> None:
    client = AWAY.client(shared_stage.facts.secrets["tenant"])
    path = endpoint.path.format_map({**PUBLIC_PLACES, **shared_stage.facts.own})
    body: dict[str, Any] = {"json": _body(shared_stage, endpoint)}
    if endpoint.path.startswith("/set-password"):
        body = {"data": {"password": "x"}}
    elif str(endpoint) in DISCOVERY:
        body, path = _question(shared_stage, endpoint), f"{path}?email=anna@kanzlei.example"
    answer = await client.request(endpoint.method, path, **body)
    await client.aclose()
    assert not AWAY.undocumented
    if endpoint.operation_id == "redirectAutodiscover":
        assert answer.status_code == 302
        return
    if endpoint.path == "/healthz" or endpoint.path.startswith("/docs"):
        assert answer.status_code == 200
        return
    if endpoint.path.startswith("/v1/webhooks/"):  # a signature is looked at before the database is
        refusal(answer, 403, "forged_webhook")
        return
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    if not endpoint.path.startswith("/set-password"):
        refusal(answer, 503, "unavailable")


async def test_a_fault_of_ours_is_500_with_the_id_to_ask_about_and_nothing_else(shared_stage: Stage) -> None:
    broken = on_stage(shared_stage.context.database, Facts())
    router = APIRouter()

    @router.get("/broken")
    async def fail() -> None:
        raise RuntimeError("a secret of the house")

    broken.app.include_router(router)
    client = broken.client(None)
    answer = await client.get("/broken")
    await client.aclose()
    refusal(answer, 500, "internal_error")
    assert "secret" not in answer.text


async def test_a_path_that_does_not_exist_is_a_problem_too(shared_stage: Stage) -> None:
    refusal(await shared_stage.tenant.get("/v1/nothing"), 404, "http_404")


async def test_a_request_id_of_the_callers_own_comes_back(shared_stage: Stage) -> None:
    answer = await shared_stage.tenant.get("/v1/me", headers={"Request-Id": "dashboard-4711"})
    assert answer.headers["request-id"] == "dashboard-4711"


def _question(stage: Stage, endpoint: Endpoint) -> dict[str, Any]:
    """What a program asks, as documented."""
    examples = request_examples(stage.document, described(stage.document, endpoint)) if endpoint.is_write else []
    return {"content": examples[0]} if examples else {}


def _body(stage: Stage, endpoint: Endpoint) -> Any:
    return body_of(stage, endpoint) if endpoint.requires is not None else None


def _without_id(problem: Json, id_: str) -> str:
    """The problem as it would be of any other object."""
    return json.dumps({name: value for name, value in problem.items() if name != "request_id"}).replace(id_, "it")
