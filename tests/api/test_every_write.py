"""What holds for every endpoint that writes: audited, tried out, replayed, guarded. Generated from the route table."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.example_calls import CALLS, body_of, path_of, prepare, send
from tests.api.route_table import Endpoint, endpoints
from tests.api.stage import Stage, empty_stage

pytest_plugins = ["tests.api.stage_fixtures"]
pytestmark = pytest.mark.anyio

WRITES = [each for each in endpoints(empty_stage().app) if each.is_write and each.requires is not None]
POSTS = [each for each in WRITES if each.method == "POST"]
GUARDED = [each for each in WRITES if each.method != "POST"]

every = pytest.mark.parametrize


def test_every_endpoint_that_writes_has_an_example_call() -> None:
    assert {each.operation_id for each in WRITES} == set(CALLS)


@every("endpoint", WRITES, ids=str)
async def test_a_write_changes_nothing_when_tried_out_and_is_audited_when_done(
    stage: Stage, endpoint: Endpoint
) -> None:
    await prepare(stage, endpoint)
    before, events = await _everything(stage), await stage.events()
    answer = await send(stage, endpoint, query="?dry_run=true", Idempotency_Key="tried-out")
    assert answer.status_code == 200, answer.text
    assert answer.json()["dry_run"] is True
    assert await _everything(stage) == before
    # Nor does trying out use the key up.
    done = await send(stage, endpoint, Idempotency_Key="tried-out")
    assert done.is_success, done.text
    assert "idempotency-replayed" not in done.headers
    assert await _everything(stage) != before
    assert await stage.events() - events == CALLS[str(endpoint.operation_id)].events


@every("endpoint", POSTS, ids=str)
async def test_a_post_with_one_key_is_done_once_even_when_sent_twice_at_once(stage: Stage, endpoint: Endpoint) -> None:
    await prepare(stage, endpoint)
    events = await stage.events()
    both = await asyncio.gather(*(send(stage, endpoint, Idempotency_Key="the-key") for _ in range(2)))
    first, second = sorted(both, key=lambda answer: "idempotency-replayed" in answer.headers)
    assert first.is_success, first.text
    assert "idempotency-replayed" not in first.headers
    _check_replayed(endpoint, second, of=first)
    assert await stage.events() - events == CALLS[str(endpoint.operation_id)].events
    after = await _everything(stage)
    _check_replayed(endpoint, await send(stage, endpoint, Idempotency_Key="the-key"), of=first)
    for changed in ({"query": "?dry_run=false"}, {"body": {**(body_of(stage, endpoint) or {}), "": 1}}):
        refused = await send(stage, endpoint, Idempotency_Key="the-key", **changed)
        # A body the endpoint cannot read is refused for that.
        codes = {"idempotency_key_reused", *(["invalid"] if "body" in changed else [])}
        assert refused.status_code == 422, refused.text
        assert refused.json()["code"] in codes
    assert await _everything(stage) == after


@every("endpoint", GUARDED, ids=str)
async def test_a_write_to_a_version_that_is_gone_changes_nothing(stage: Stage, endpoint: Endpoint) -> None:
    await prepare(stage, endpoint)
    before = await _everything(stage)
    answer = await send(stage, endpoint, If_Match='"999999"')
    assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed")
    assert await _everything(stage) == before
    malformed = await send(stage, endpoint, If_Match="yesterday's")
    assert (malformed.status_code, malformed.json()["errors"][0]["pointer"]) == (422, "header If-Match")
    assert await _everything(stage) == before
    assert (await send(stage, endpoint, If_Match="*")).is_success


REFUSED_WHILE_SUSPENDED = [
    each
    for each in WRITES
    if not each.is_for_operator and not each.is_paying and not (each.requires and each.requires.while_suspended)
]


@every("endpoint", REFUSED_WHILE_SUSPENDED, ids=str)
async def test_a_suspended_reseller_writes_nothing_but_can_pay(shared_stage: Stage, endpoint: Endpoint) -> None:
    suspended = shared_stage.client(shared_stage.facts.secrets["suspended"])
    answer = await suspended.request(
        endpoint.method, path_of(shared_stage, endpoint), json=body_of(shared_stage, endpoint)
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "reseller_suspended")
    assert (await suspended.get("/v1/me")).status_code == 200
    method = await suspended.post("/v1/payment-methods?dry_run=true", json={"kind": "transfer"})
    assert method.status_code == 200, method.text


def _check_replayed(endpoint: Endpoint, answer: httpx.Response, *, of: httpx.Response) -> None:
    assert answer.headers["idempotency-replayed"] == "true"
    assert answer.status_code == of.status_code
    assert [answer.headers.get(name) for name in ("location", "etag")] == [
        of.headers.get(name) for name in ("location", "etag")
    ]
    shown, once = of.json(), CALLS[str(endpoint.operation_id)].once
    if once is not None:
        assert shown[once], "a secret is shown to the first caller"
        shown[once] = None
    assert answer.json() == shown


async def _everything(stage: Stage) -> dict[str, Any]:
    """All that is kept, the test clock and the sandbox's zone included."""
    zone = stage.context.sandbox_zone
    assert zone is not None
    records = {str(place): sorted(values) for place, values in zone._records.items()}
    return {**await stage.fingerprint(), "clock": stage.context.clock.now(), "zone": records}
