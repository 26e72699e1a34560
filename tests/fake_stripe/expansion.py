"""Which properties can be expanded, by the SDK's own declarations, looked at before anything is executed."""

from typing import Any, get_args, get_origin

from stripe._list_object import ListObject
from stripe._stripe_object import StripeObject

from tests.fake_stripe.contract import alternatives
from tests.fake_stripe.errors import invalid_parameter
from tests.fake_stripe.sdk import attributes_of, resource

DEPTH_MAX = 4


def check_expand(kind: str, paths: list[str], *, is_list: bool) -> None:
    for path in paths:
        parts = path.split(".")
        if len(parts) > DEPTH_MAX:
            message = f"You cannot expand more than {DEPTH_MAX} levels of a property. Property: {path}"
            raise invalid_parameter(message, param="expand", code="property_expansion_max_depth")
        if is_list:
            first, *parts = parts
            if first != "data":
                raise impossible(path)
        declared: type = resource(kind)
        is_expandable = False
        for name in parts:
            declared, is_expandable = step(declared, name, path)
        if not is_expandable:
            raise impossible(path)


def step(declared: type, name: str, path: str) -> tuple[type, bool]:
    """What stands at a property, and whether its id can be replaced by the object."""
    hints = alternatives(attributes_of(declared).get(name))
    objects = [each for hint in hints for each in [element(hint)] if each is not None]
    if not objects:
        raise impossible(path)
    return objects[0], str in hints


def element(hint: Any) -> type[StripeObject] | None:
    if get_origin(hint) in {list, ListObject}:
        return element(get_args(hint)[0])
    return hint if isinstance(hint, type) and issubclass(hint, StripeObject) else None


def impossible(path: str) -> Exception:
    return invalid_parameter(f"This property cannot be expanded ({path}).", param="expand")
