"""Every object that is sent, held against what the SDK's resource classes declare."""

import functools
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin

from stripe._list_object import ListObject
from stripe._stripe_object import StripeObject, UntypedStripeObject

from tests.fake_stripe.contract import alternatives
from tests.fake_stripe.sdk import RESOURCES, attributes_of, resource


def faults_of(body: dict[str, Any]) -> list[str]:
    """What is wrong with an object, a list of objects or an error; nothing when it has the official shape."""
    if body.get("object") == "list":
        return [fault for item in body["data"] for fault in faults_of(item)]
    if "error" in body:
        inner = [value for value in body["error"].values() if isinstance(value, dict)]
        return [fault for value in inner for fault in faults_of(value)]
    name = body.get("object", "")
    if name not in RESOURCES:
        return [f"no object is called {name!r}"]
    found = list(parts(resource(name), body, name))
    return found + (faults_of(body["data"]["object"]) if name == "event" else [])


def parts(declared: type, value: dict[str, Any], path: str) -> Iterator[str]:
    attributes = accepted(declared)
    for name in value.keys() - attributes.keys():
        yield f"{path}.{name}: not declared"
    for name, hints in attributes.items():
        if name in value:
            yield from mismatches(hints, value[name], f"{path}.{name}")
        elif type(None) not in hints:
            yield f"{path}.{name}: missing"


@functools.cache
def accepted(declared: type) -> dict[str, list[Any]]:
    return {name: closed(hint) for name, hint in attributes_of(declared).items()}


def closed(hint: Any) -> list[Any]:
    """The alternatives of a type. Enums are declared open with `| str`; the words are known all the same."""
    hints = alternatives(hint)
    has_words = any(get_origin(each) is Literal for each in hints)
    return [each for each in hints if not (has_words and each is str)]


def mismatches(hints: list[Any], value: Any, path: str) -> Iterator[str]:
    """Nothing when one of the declared types takes the value, else what the likeliest of them says."""
    if type(value) in hints or Any in hints:
        return
    tried = [list(one(each, value, path)) for each in hints]
    if all(tried):
        yield from min(tried, key=lambda found: (found[0].startswith(f"{path}: "), len(found)))


def one(hint: Any, value: Any, path: str) -> Iterator[str]:
    origin = get_origin(hint)
    inner = get_args(hint)
    if origin is Literal:
        right = value in inner
    elif isinstance(value, list):
        right = origin is list
        for n, item in enumerate(value if right else []):
            yield from mismatches(closed(inner[0]), item, f"{path}[{n}]")
    elif isinstance(value, dict):
        right = origin in {dict, UntypedStripeObject, ListObject} or is_declared(hint, value)
        yield from within(hint, value, path)
    else:
        # Amounts with fractions travel as text or as numbers.
        right = type(value) is hint or (hint in {float, Decimal} and type(value) in {int, float, str})
    if not right:
        yield f"{path}: {value!r} is no {getattr(hint, '__name__', hint)}"


def within(hint: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    if is_declared(hint, value):
        yield from parts(hint, value, path)
    elif get_origin(hint) in {dict, UntypedStripeObject}:
        for key, item in value.items():
            yield from mismatches(closed(get_args(hint)[-1]), item, f"{path}.{key}")
    elif get_origin(hint) is ListObject:
        yield from faults_of(value)


def is_declared(hint: Any, value: dict[str, Any]) -> bool:
    """Whether the class declares this kind of object, or parts that have no name of their own."""
    if not isinstance(hint, type) or not issubclass(hint, StripeObject):
        return False
    name = getattr(hint, "OBJECT_NAME", None)
    return name is None or name == value.get("object")
