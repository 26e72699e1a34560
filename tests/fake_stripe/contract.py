"""Every request body, decoded from the form and held against the SDK's own typed parameters."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

from stripe._stripe_object import UntypedStripeObject
from typing_extensions import is_typeddict

from tests.fake_stripe.errors import Refusal, invalid_parameter
from tests.fake_stripe.sdk import Route, fields_of

KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
LENGTHS = {
    "description": 1000,
    "email": 512,
    "name": 256,
    "phone": 20,
    "reference_prefix": 12,
    "statement_descriptor": 22,
    "statement_descriptor_suffix": 22,
}
METADATA_KEYS, METADATA_KEY_LENGTH, METADATA_VALUE_LENGTH = 50, 40, 500
NOT_ON_STATEMENTS = set("<>\\'\"*")
LAST_LATIN = "\u024f"
DESCRIPTOR_LENGTH_MIN = 5
Tree = dict[str, Any]


def decode(pairs: Iterable[tuple[str, str]]) -> Tree:
    """`a[b][0]=c` becomes `{"a": {"b": {"0": "c"}}}`; what is a list only the types can tell."""
    tree: Tree = {}
    for key, value in pairs:
        match = KEY.fullmatch(key)
        if not match:
            raise invalid_parameter(f"Invalid parameter name: {key}", param=key)
        node = tree
        *outer, last = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        for part in outer:
            node = node.setdefault(part or str(len(node)), {})
            if not isinstance(node, dict):
                raise invalid_parameter(f"Invalid hash: {key}", param=match[1])
        last = last or str(len(node))
        if last in node:
            raise invalid_parameter(f"Parameter given twice: {key}", param=key)
        node[last] = value
    return tree


def check(route: Route, tree: Tree) -> Tree:
    """The typed parameters of a request; raises `Refusal` naming the parameter at the first fault."""
    if route.verb == "POST" and "payment_method_types" in tree:
        raise invalid_parameter(
            "payment_method_types is no longer supported. Use allowed_payment_method_types instead.",
            param="payment_method_types",
            code="payment_method_types_no_longer_supported",
        )
    if route.params is None:
        if tree:
            raise unknown(next(iter(tree)))
        return {}
    checked: Tree = structure(route.params, tree, "")
    return checked


def structure(declared: type, tree: Mapping[str, Any], path: str) -> Tree:
    fields = fields_of(declared)
    for name in tree:
        if name not in fields:
            raise unknown(below(path, name))
    for name, hint in fields.items():
        if name not in tree and get_origin(hint) is not NotRequired:
            param = below(path, name)
            raise invalid_parameter(f"Missing required param: {param}.", param=param, code="parameter_missing")
    return {name: typed(fields[name], value, below(path, name)) for name, value in tree.items()}


def typed(hint: Any, value: Any, path: str) -> Any:
    """The value as its type says; of several types the first that takes it."""
    hints = alternatives(hint)
    if isinstance(value, dict):
        return composite(hints, value, path)
    if any(value in get_args(each) for each in hints if get_origin(each) is Literal):
        return value
    words = [word for each in hints if get_origin(each) is Literal for word in get_args(each) if word]
    # The SDK's types leave enums open with `| str`; Stripe itself does not.
    scalars = [each for each in hints if isinstance(each, type) and not (words and each is str)]
    faults: list[Refusal] = []
    for each in scalars:
        try:
            return scalar(each, value, path)
        except Refusal as fault:
            faults.append(fault)
    if words and not faults:
        listed = ", ".join(words)
        raise invalid_parameter(f"Invalid {path}: must be one of {listed}", param=path)
    raise faults[0] if faults else invalid_parameter(f"Invalid object: {value}", param=path)


def alternatives(hint: Any) -> list[Any]:
    origin = get_origin(hint)
    if origin in {NotRequired, Required, Annotated}:
        return alternatives(get_args(hint)[0])
    if origin in {Union, UnionType}:
        return [inner for each in get_args(hint) for inner in alternatives(each)]
    return [hint]


def composite(hints: list[Any], value: dict[str, Any], path: str) -> Any:
    for each in hints:
        if is_typeddict(each):
            return structure(each, value, path)
        origin = get_origin(each)
        if origin is list:
            return sequence(get_args(each)[0], value, path)
        if origin in {dict, UntypedStripeObject}:
            inner = get_args(each)[-1]
            mapping = {key: typed_or_empty(inner, item, below(path, key)) for key, item in value.items()}
            if path.rpartition("[")[2].rstrip("]") == "metadata":
                check_metadata(mapping, path)
            return mapping
    raise invalid_parameter(f"Invalid value for {path}: not a hash or array", param=path)


def typed_or_empty(hint: Any, value: Any, path: str) -> Any:
    # An empty string takes a key of the metadata away.
    return "" if value == "" else typed(hint, value, path)


def sequence(hint: Any, value: dict[str, Any], path: str) -> list[Any]:
    if sorted(value, key=len) != [str(n) for n in range(len(value))] and set(value) != set(map(str, range(len(value)))):
        raise invalid_parameter(f"Invalid array: {path}", param=path)
    return [typed(hint, value[str(n)], f"{path}[{n}]") for n in range(len(value))]


def scalar(kind: type, value: str, path: str) -> Any:
    if kind is str:
        return text(value, path)
    if value == "":
        raise invalid_parameter(f"Invalid {path}: empty", param=path, code="parameter_invalid_empty")
    if kind is bool:
        if value not in {"true", "false"}:
            raise invalid_parameter(f"Invalid boolean: {value}", param=path)
        return value == "true"
    if kind is int:
        if not re.fullmatch(r"-?\d{1,15}", value):
            raise invalid_parameter(f"Invalid integer: {value}", param=path, code="parameter_invalid_integer")
        return int(value)
    if kind in {float, Decimal} and re.fullmatch(r"-?\d+(\.\d+)?", value):
        return value
    raise invalid_parameter(f"Invalid value: {value}", param=path)


def text(value: str, path: str) -> str:
    name = path.rpartition("[")[2].rstrip("]")
    if value == "":
        message = f"You passed an empty string for '{path}'. Leave the parameter out to keep it as it is."
        raise invalid_parameter(message, param=path, code="parameter_invalid_empty")
    limit = LENGTHS.get(name, 5000)
    if len(value) > limit:
        raise invalid_parameter(f"Invalid string: {path} must be at most {limit} characters", param=path)
    if name.startswith("statement_descriptor"):
        check_descriptor(value, path)
    return value


def check_descriptor(value: str, path: str) -> None:
    """https://docs.stripe.com/get-started/account/statement-descriptors: an invoice number alone is none."""
    if NOT_ON_STATEMENTS & set(value) or max(value) > LAST_LATIN:
        raise invalid_parameter(f"Invalid characters in {path}", param=path, code="invalid_characters")
    if not re.search("[A-Za-z]", value):
        raise invalid_parameter(f"{path} must contain at least one alphabetic character", param=path)
    if not path.endswith("suffix") and len(value) < DESCRIPTOR_LENGTH_MIN:
        raise invalid_parameter(f"{path} must have at least {DESCRIPTOR_LENGTH_MIN} characters", param=path)


def check_metadata(metadata: Mapping[str, str], path: str) -> None:
    if len(metadata) > METADATA_KEYS:
        raise invalid_parameter(f"Metadata can have up to {METADATA_KEYS} keys.", param=path)
    for key, value in metadata.items():
        if len(key) > METADATA_KEY_LENGTH:
            raise invalid_parameter(f"Metadata key {key} is too long.", param=path)
        if len(value) > METADATA_VALUE_LENGTH:
            raise invalid_parameter(f"Metadata values can have up to {METADATA_VALUE_LENGTH} characters.", param=path)


def unknown(param: str) -> Refusal:
    return invalid_parameter(f"Received unknown parameter: {param}", param=param, code="parameter_unknown")


def below(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name
