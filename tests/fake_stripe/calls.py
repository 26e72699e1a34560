"""One call from its parameters to its answer, with its idempotency key and what was asked to go wrong."""

import asyncio
import copy
from dataclasses import dataclass

from tests.fake_stripe import idempotency
from tests.fake_stripe.contract import check, decode
from tests.fake_stripe.endpoints import Endpoint, refuse_unused
from tests.fake_stripe.errors import Refusal
from tests.fake_stripe.expansion import check_expand
from tests.fake_stripe.idempotency import Answer, Kept
from tests.fake_stripe.paging import expanded
from tests.fake_stripe.stage import Stage

# How long a slow call waits for the one that collides with it.
COLLISION_SECONDS = 10


@dataclass(frozen=True)
class Call:
    """`form` is sorted, so that the same parameters in another order are the same call."""

    endpoint: Endpoint
    ids: list[str]
    path: str
    form: tuple[tuple[str, str], ...]
    key: str | None
    request_id: str


async def run(stage: Stage, call: Call, trouble: str | None) -> Answer | None:
    """The answer this key has had already, or the call's own, kept under the key from now on."""
    if trouble == "timeout_before_write":
        return None
    if call.key is not None:
        idempotency.check_key(call.key)
        earlier = idempotency.find(stage.keys, call.key, path=call.path, form=call.form, now=stage.world.now)
        if earlier and earlier.answer:
            replayed = {"Idempotent-Replayed": "true", "Original-Request": earlier.request_id}
            return Answer(earlier.answer.status, earlier.answer.body, earlier.answer.headers | replayed)
    params = check(call.endpoint.route, decode(call.form))
    refuse_unused(call.endpoint, params)
    check_expand(call.endpoint.kind, params.get("expand", []), is_list=call.endpoint.is_list)
    kept = Kept(call.path, call.form, call.request_id, stage.world.now)
    if call.key is not None:
        stage.keys[call.key] = kept
    if trouble == "slow_in_flight":
        await collision(kept)
    stage.world.request = {"id": call.request_id, "idempotency_key": call.key}
    try:
        kept.answer = execute(stage, call, params, trouble)
    finally:
        if kept.answer is None:
            stage.keys.pop(call.key or "", None)
    return None if trouble == "timeout_after_write" else kept.answer


async def collision(kept: Kept) -> None:
    try:
        async with asyncio.timeout(COLLISION_SECONDS):
            await kept.collided.wait()
    except TimeoutError:
        return


def execute(stage: Stage, call: Call, params: dict[str, object], trouble: str | None) -> Answer:
    """Raises only the refusals that no key keeps."""
    paths = params.pop("expand", [])
    assert isinstance(paths, list)
    if trouble == "error_500_before":
        return broken()
    try:
        body = call.endpoint.handler(stage.world, params, *call.ids)
        answer = Answer(200, expanded(stage.world, body, paths))
    except Refusal as refusal:
        if not refusal.stored:
            raise
        answer = Answer(refusal.status, copy.deepcopy(refusal.body()))
    return broken() if trouble == "error_500_after" else answer


def broken() -> Answer:
    """Another try with the same key would only get this again, and the header says so."""
    message = "An unknown error occurred."
    return Answer(500, Refusal(500, "api_error", message).body(), {"Stripe-Should-Retry": "false"})
