"""What the installed Stripe SDK says itself: its routes with their typed parameters, and the shape of each object."""

import ast
import functools
import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stripe
from stripe._request_options import RequestOptions
from stripe._stripe_object import StripeObject
from typing_extensions import get_type_hints

API_VERSION: str = stripe.api_version
SDK = Path(stripe.__file__).parent

SERVICES = (
    *("_account_service", "_balance_transaction_service", "_charge_service", "_customer_service", "_dispute_service"),
    *("_event_service", "_mandate_service", "_payment_intent_service", "_payment_method_service", "_refund_service"),
    *("_setup_intent_service", "checkout/_session_service"),
)
# Object name -> module that declares it.
RESOURCES = {
    "account": "stripe._account",
    "balance_transaction": "stripe._balance_transaction",
    "charge": "stripe._charge",
    "checkout.session": "stripe.checkout._session",
    "customer": "stripe._customer",
    "dispute": "stripe._dispute",
    "event": "stripe._event",
    "mandate": "stripe._mandate",
    "payment_intent": "stripe._payment_intent",
    "payment_method": "stripe._payment_method",
    "refund": "stripe._refund",
    "setup_intent": "stripe._setup_intent",
}


@dataclass(frozen=True)
class Route:
    verb: str
    template: str
    params: type | None

    @property
    def name(self) -> str:
        return f"{self.verb} {self.template}"


@functools.cache
def routes() -> Mapping[str, Route]:
    """`POST /v1/payment_intents/{intent}/confirm` -> its route, for every call of the services above."""
    found = [route for service in SERVICES for route in routes_of(service)]
    return {route.name: route for route in found}


def routes_of(service: str) -> Iterator[Route]:
    tree = ast.parse((SDK / f"{service}.py").read_text(encoding="utf-8"))
    modules = imported_names(tree)
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        call = next((node for node in ast.walk(function) if is_request(node)), None)
        if isinstance(call, ast.Call):
            verb, path = call.args[0], call.args[1]
            if isinstance(path, ast.Call) and isinstance(path.func, ast.Attribute):
                path = path.func.value
            assert isinstance(verb, ast.Constant), service
            assert isinstance(path, ast.Constant), service
            yield Route(str(verb.value).upper(), str(path.value), params_of(function, modules))


def is_request(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_request"


def params_of(function: ast.FunctionDef, modules: Mapping[str, tuple[str, str]]) -> type | None:
    annotation = next((arg.annotation for arg in function.args.args if arg.arg == "params"), None)
    found = annotation and re.search(r"\w+Params", ast.unparse(annotation))
    if not found:
        return None
    module, name = modules[found[0]]
    params: type = getattr(importlib.import_module(module), name)
    return params


def imported_names(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """The name used in the file -> module and name there; the SDK imports most of them for type checkers only."""
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


@functools.cache
def fields_of(params: type) -> dict[str, Any]:
    """The fields of a typed dictionary with their types; what belongs to the call and not to the body is left out."""
    options = set(RequestOptions.__annotations__)
    hints = get_type_hints(params, localns=names_in(RequestOptions.__module__), include_extras=True)
    if RequestOptions in getattr(params, "__orig_bases__", ()):
        hints = {name: hint for name, hint in hints.items() if name not in options}
    return hints


@functools.cache
def resource(name: str) -> type:
    """The class that declares an object, by the word in its field `object`."""
    module = importlib.import_module(RESOURCES[name])
    found = (value for value in vars(module).values() if isinstance(value, type))
    return next(value for value in found if getattr(value, "OBJECT_NAME", None) == name)


class Names(dict[str, Any]):
    """The names an annotation may use, imported when they are asked for."""

    def __init__(self, module: str) -> None:
        source = Path(importlib.import_module(module).__file__ or "")
        self.modules = imported_names(ast.parse(source.read_text(encoding="utf-8")))

    def __missing__(self, name: str) -> Any:
        if name not in self.modules:
            raise KeyError(name)
        module, original = self.modules[name]
        self[name] = getattr(importlib.import_module(module), original)
        return self[name]


@functools.cache
def names_in(module: str) -> Names:
    return Names(module)


@functools.cache
def attributes_of(declared: type) -> dict[str, Any]:
    """The declared attributes of an object or of a part of one, with their types."""
    # Some modules name classes they import nowhere.
    known = {"StripeObject": StripeObject, **vars(importlib.import_module(declared.__module__))}
    hints = get_type_hints(declared, globalns=known, localns=names_in(declared.__module__), include_extras=True)
    return {name: hint for name, hint in hints.items() if not name.startswith("_") and name != "OBJECT_NAME"}
