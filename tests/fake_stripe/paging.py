"""Lists, newest first, with cursors; and related objects put in the place of their ids."""

import copy
from typing import Any

from tests.fake_stripe.errors import invalid_parameter, missing
from tests.fake_stripe.world import Object, World

LIMIT, LIMIT_MAX = 10, 100


def page(world: World, oldest_first: list[Object], params: dict[str, Any], *, url: str) -> Object:
    """One page of what the given objects, filtered by `created`, look like from the newest on."""
    items = [body for body in reversed(oldest_first) if in_range(body["created"], params.get("created"))]
    limit = params.get("limit", LIMIT)
    if not 1 <= limit <= LIMIT_MAX:
        raise invalid_parameter(f"Invalid limit: must be between 1 and {LIMIT_MAX}", param="limit")
    if "starting_after" in params and "ending_before" in params:
        message = "You may only specify one of these parameters: starting_after, ending_before."
        raise invalid_parameter(message, param="ending_before", code="parameters_exclusive")
    if "ending_before" in params:
        newer = items[: place(world, items, params["ending_before"], "ending_before")]
        found, has_more = newer[-limit:], len(newer) > limit
    else:
        cursor = params.get("starting_after")
        start = 0 if cursor is None else place(world, items, cursor, "starting_after") + 1
        found, has_more = items[start : start + limit], len(items) > start + limit
    return {"object": "list", "data": found, "has_more": has_more, "url": url}


def place(world: World, items: list[Object], cursor: str, param: str) -> int:
    for n, body in enumerate(items):
        if body["id"] == cursor:
            return n
    if cursor in world.objects:
        raise invalid_parameter(f"The cursor {cursor} is not part of this list.", param=param)
    raise missing("object", cursor, param=param)


def in_range(created: int, wanted: Any) -> bool:
    if isinstance(wanted, int):
        return created == wanted
    limits: dict[str, int] = wanted or {}
    return limits.get("gt", created - 1) < created < limits.get("lt", created + 1) and limits.get(
        "gte", created
    ) <= created <= limits.get("lte", created)


def expanded(world: World, body: Object, paths: list[str]) -> Object:
    """A copy in which the objects at these paths, known to be good, stand instead of their ids."""
    result = copy.deepcopy(body)
    for path in paths:
        expand(world, result, path.split("."))
    return result


def expand(world: World, node: Any, parts: list[str]) -> None:
    if isinstance(node, list):
        for item in node:
            expand(world, item, parts)
        return
    name, *rest = parts
    if isinstance(node.get(name), str):
        node[name] = copy.deepcopy(world.objects[node[name]])
    if rest and node.get(name) is not None:
        expand(world, node[name], rest)
