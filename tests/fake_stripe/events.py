"""Events: one for every change, newest first when listed, kept for 30 days."""

import copy
from typing import Any

from tests.fake_stripe.errors import invalid_parameter
from tests.fake_stripe.paging import page
from tests.fake_stripe.sdk import API_VERSION
from tests.fake_stripe.shapes import faults_of
from tests.fake_stripe.world import Delivery, Object, World, get, keep, new_id, of_kind

KEPT_SECONDS = 30 * 86400
TYPES_MAX = 20


def emit(world: World, kind: str, subject: Object, *, previous: dict[str, Any] | None = None) -> Object:
    """Tells of a change, with the object as it is now, to the list and to every registered address."""
    data: dict[str, Any] = {"object": copy.deepcopy(subject)}
    if previous:
        data["previous_attributes"] = copy.deepcopy(previous)
    event = keep(
        world,
        {
            "id": new_id(world, "evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": world.now,
            "data": data,
            "livemode": False,
            "pending_webhooks": len(world.endpoints),
            "request": dict(world.request),
            "type": kind,
        },
    )
    world.deliveries += [Delivery(event["id"], endpoint, due=world.now) for endpoint in world.endpoints]
    world.shape_faults += faults_of(event)
    return event


def change(body: Object, **fields: Any) -> dict[str, Any]:
    """Sets the fields; what they were before, as far as they differ."""
    previous = {name: body.get(name) for name, value in fields.items() if body.get(name) != value}
    body.update(fields)
    return previous


def retrieve(world: World, _: dict[str, Any], identifier: str) -> Object:
    return get(world, "event", identifier)


def list_events(world: World, params: dict[str, Any]) -> Object:
    if "type" in params and "types" in params:
        message = "You may only specify one of these parameters: type, types."
        raise invalid_parameter(message, param="types", code="parameters_exclusive")
    types = params.get("types") or ([params["type"]] if "type" in params else None)
    if types and len(types) > TYPES_MAX:
        raise invalid_parameter(f"At most {TYPES_MAX} types can be given.", param="types")
    events = [event for event in of_kind(world, "event") if event["created"] > world.now - KEPT_SECONDS]
    if types:
        events = [event for event in events if any(matches(event["type"], wanted) for wanted in types)]
    if "delivery_success" in params:
        undelivered = {delivery.event for delivery in world.deliveries if delivery.state != "delivered"}
        events = [event for event in events if (event["id"] not in undelivered) == params["delivery_success"]]
    return page(world, events, params, url="/v1/events")


def matches(kind: str, wanted: str) -> bool:
    return kind.startswith(wanted[:-1]) if wanted.endswith(".*") else kind == wanted
