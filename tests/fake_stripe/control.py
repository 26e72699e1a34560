"""The hand of the test: the clock, the customer, the banks, the network, and a look at everything."""

import inspect
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.fake_stripe import attempts, checkout, disputes, faults, methods, refunds, sepa, webhooks, world
from tests.fake_stripe.errors import Refusal
from tests.fake_stripe.stage import Stage
from tests.fake_stripe.world import World, get, of_kind


def advance(stage: Stage, *, seconds: int) -> int:
    world.advance(stage.world, seconds)
    return stage.world.now


def set_clock(stage: Stage, *, iso: str) -> int:
    """The moment it is now. Later is an `advance`; earlier only while nothing has happened."""
    wanted = int(datetime.fromisoformat(iso).timestamp())
    if not stage.world.objects:
        stage.world.now = wanted
    return advance(stage, seconds=wanted - stage.world.now)


def reset(stage: Stage, *, seed: int | None = None, rate: float | None = None) -> None:
    stage.world = World(seed=stage.world.seed if seed is None else seed)
    stage.keys.clear()
    stage.faults.clear()
    stage.buckets.clear()
    stage.rate = stage.first_rate if rate is None else rate


def snapshot(stage: Stage) -> dict[str, Any]:
    """Every object by kind, oldest first, and what has been noticed on the way."""
    result: dict[str, Any] = {
        "now": stage.world.now,
        "live_keys_refused": stage.world.live_keys_refused,
        "shape_faults": stage.world.shape_faults,
        "deliveries": [
            {"event": each.event, "url": each.endpoint.url, "state": each.state, "attempts": each.attempts}
            for each in stage.world.deliveries
        ],
    }
    for body in stage.world.objects.values():
        result.setdefault(body["object"], []).append(body)
    return result


def charges_of(stage: Stage, *, invoice_id: str) -> list[dict[str, Any]]:
    return [each for each in of_kind(stage.world, "charge") if each["metadata"].get("invoice_id") == invoice_id]


def set_card(stage: Stage, *, payment_method: str, outcome: str) -> None:
    """What the issuer of a saved card says from now on: an outcome of cards.py, or `authentication_required`."""
    if outcome not in attempts.OUTCOMES:
        raise Refusal(400, "control", f"no card does {outcome}")
    get(stage.world, "payment_method", payment_method)
    stage.world.instruments[payment_method].outcome = outcome


def set_mandate(stage: Stage, *, mandate: str, status: str) -> None:
    methods.set_mandate(stage.world, get(stage.world, "mandate", mandate), status)


def fault(stage: Stage, *, kind: str, match: str, times: int = 1, probability: float = 1.0) -> None:
    faults.add(stage.faults, kind=kind, match=match, times=times, probability=probability)


def on_world(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda stage, *args, **named: function(stage.world, *args, **named)


CONTROLS: dict[str, Callable[..., Any]] = {
    "advance": advance,
    "authenticate": on_world(attempts.authenticate),
    "charges_of": charges_of,
    "close_dispute": on_world(disputes.close),
    "complete_checkout": on_world(checkout.complete),
    "deliver_webhooks": on_world(webhooks.deliver),
    "dispute": on_world(disputes.open_by_hand),
    "fail_refund": on_world(refunds.fail_by_hand),
    "fail_sepa": on_world(sepa.fail_by_hand),
    "fault": fault,
    "reset": reset,
    "set_card": set_card,
    "set_clock": set_clock,
    "set_mandate": set_mandate,
    "settle_sepa": on_world(sepa.settle),
    "snapshot": snapshot,
    "webhook_endpoint": on_world(webhooks.register),
}


async def run(stage: Stage, name: str, arguments: dict[str, Any]) -> Any:
    if name not in CONTROLS:
        raise Refusal(404, "control", f"no control is called {name}")
    # What the customer and the banks do belongs to no request.
    stage.world.request = {"id": None, "idempotency_key": None}
    result = CONTROLS[name](stage, **arguments)
    return await result if inspect.isawaitable(result) else result
