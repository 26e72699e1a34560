"""Which calls are answered, by whom, and which of the official parameters mean something here."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fake_stripe import charges, checkout, customers, disputes, events, intents, methods, refunds
from tests.fake_stripe.errors import Refusal, not_here
from tests.fake_stripe.sdk import Route, routes
from tests.fake_stripe.world import Object

Handler = Callable[..., Object]
PAGE = ("created", "ending_before", "limit", "starting_after")
ENDPOINTS: dict[str, tuple[Handler, tuple[str, ...]]] = {
    "GET /v1/account": (customers.account, ()),
    "POST /v1/customers": (customers.create, customers.CUSTOMER_PARAMS),
    "GET /v1/customers/{customer}": (customers.retrieve, ()),
    "POST /v1/customers/{customer}": (customers.update, customers.CUSTOMER_PARAMS),
    "POST /v1/checkout/sessions": (checkout.create, checkout.SESSION_PARAMS),
    "GET /v1/checkout/sessions/{session}": (checkout.retrieve, ()),
    "POST /v1/checkout/sessions/{session}/expire": (checkout.expire, ()),
    "GET /v1/setup_intents": (checkout.list_setup_intents, (*PAGE, "customer", "payment_method")),
    "GET /v1/setup_intents/{intent}": (checkout.retrieve_setup_intent, ()),
    "GET /v1/payment_methods": (methods.list_methods, (*PAGE, "customer", "type")),
    "GET /v1/payment_methods/{payment_method}": (methods.retrieve, ()),
    "POST /v1/payment_methods/{payment_method}/detach": (methods.detach, ()),
    "GET /v1/mandates/{mandate}": (methods.retrieve_mandate, ()),
    "POST /v1/payment_intents": (intents.create, intents.CREATE_PARAMS),
    "GET /v1/payment_intents": (intents.list_intents, (*PAGE, "customer")),
    "GET /v1/payment_intents/{intent}": (intents.retrieve, ("client_secret",)),
    "POST /v1/payment_intents/{intent}": (intents.update, intents.UPDATE_PARAMS),
    "POST /v1/payment_intents/{intent}/confirm": (intents.confirm, intents.CONFIRM_PARAMS),
    "POST /v1/payment_intents/{intent}/cancel": (intents.cancel, ("cancellation_reason",)),
    "GET /v1/charges": (charges.list_charges, (*PAGE, "customer", "payment_intent")),
    "GET /v1/charges/{charge}": (charges.retrieve, ()),
    "POST /v1/refunds": (refunds.create, ("amount", "charge", "metadata", "payment_intent", "reason")),
    "GET /v1/refunds": (refunds.list_refunds, (*PAGE, "charge", "payment_intent")),
    "GET /v1/refunds/{refund}": (refunds.retrieve, ()),
    "GET /v1/disputes": (disputes.list_disputes, (*PAGE, "charge", "payment_intent")),
    "GET /v1/disputes/{dispute}": (disputes.retrieve, ()),
    "GET /v1/events": (events.list_events, (*PAGE, "delivery_success", "type", "types")),
    "GET /v1/events/{id}": (events.retrieve, ()),
    "GET /v1/balance_transactions": (charges.list_movements, (*PAGE, "currency", "source", "type")),
}


# What is answered, by the words of the path.
KINDS = {
    "account": "account",
    "balance_transactions": "balance_transaction",
    "charges": "charge",
    "checkout": "checkout.session",
    "customers": "customer",
    "disputes": "dispute",
    "events": "event",
    "mandates": "mandate",
    "payment_intents": "payment_intent",
    "payment_methods": "payment_method",
    "refunds": "refund",
    "setup_intents": "setup_intent",
}


@dataclass(frozen=True)
class Endpoint:
    route: Route
    handler: Handler
    known: frozenset[str]
    pattern: re.Pattern[str]
    kind: str
    is_list: bool


def endpoint(name: str) -> Endpoint:
    handler, known = ENDPOINTS[name]
    route = routes()[name]
    pattern = re.compile(re.sub(r"\{\w+\}", r"([^/]+)", route.template))
    kind = KINDS[route.template.split("/")[2]]
    is_list = route.verb == "GET" and "{" not in route.template and kind != "account"
    return Endpoint(route, handler, frozenset((*known, "expand")), pattern, kind, is_list)


ALL = [endpoint(name) for name in ENDPOINTS]


def match(verb: str, path: str) -> tuple[Endpoint, list[str]]:
    """The endpoint and the ids in its path; raises what Stripe says to an unknown address."""
    for each in ALL:
        found = each.pattern.fullmatch(path)
        if found and each.route.verb == verb:
            return each, list(found.groups())
    if any(
        route.verb == verb and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route.template), path)
        for route in routes().values()
    ):
        raise not_here(f"{verb} {path}")
    raise Refusal(404, "invalid_request_error", f"Unrecognized request URL ({verb}: {path}).", stored=False)


def refuse_unused(used: Endpoint, params: dict[str, Any]) -> None:
    """An official parameter that would be ignored here must not look as if it worked."""
    for name in params.keys() - used.known:
        raise not_here(f"the parameter {name} of {used.route.name}")
