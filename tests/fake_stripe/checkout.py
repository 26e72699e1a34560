"""Checkout in setup mode: the session, its SetupIntent, and what the customer does in the hosted page."""

from functools import partial
from typing import Any

from tests.fake_stripe import methods
from tests.fake_stripe.cards import card_outcome, decline, declined_when_saved, iban_outcome
from tests.fake_stripe.errors import Refusal, card_error, invalid_parameter, invalid_request, not_here
from tests.fake_stripe.events import change, emit
from tests.fake_stripe.paging import page
from tests.fake_stripe.world import Object, World, get, keep, later, merged_metadata, new_id, of_kind

OFFERED = ("card", "sepa_debit")
OPEN_SECONDS = 24 * 3600
OPEN_SECONDS_MIN = 30 * 60
SESSION_PARAMS = (
    *("allowed_payment_method_types", "cancel_url", "client_reference_id", "currency", "customer", "expires_at"),
    *("locale", "metadata", "mode", "payment_method_options", "setup_intent_data", "success_url", "ui_mode"),
    *("customer_creation", "billing_address_collection", "redirect_on_completion"),
)


def offered(params: dict[str, Any]) -> list[str]:
    """The types that are left of those allowed; an allowed list that leaves none is refused."""
    types = [kind for kind in OFFERED if kind in params.get("allowed_payment_method_types", OFFERED)]
    if not types:
        message = "None of the allowed payment method types can be used here."
        raise invalid_parameter(message, param="allowed_payment_method_types")
    return types


def create(world: World, params: dict[str, Any]) -> Object:
    if params.get("mode") != "setup":
        raise not_here(f"Checkout in mode {params.get('mode')}")
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise not_here("a ui_mode other than hosted_page")
    for name in ("success_url", "currency"):
        if name not in params:
            raise invalid_parameter(f"Missing required param: {name}.", param=name, code="parameter_missing")
    types = offered(params)
    expires_at = params.get("expires_at", world.now + OPEN_SECONDS)
    if not OPEN_SECONDS_MIN <= expires_at - world.now <= OPEN_SECONDS:
        message = "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation."
        raise invalid_parameter(message, param="expires_at")
    customer = params.get("customer")
    if customer is not None:
        get(world, "customer", customer, param="customer")
    setup = create_setup_intent(world, params, types)
    identifier = new_id(world, "cs_test")
    session = keep(world, session_body(world, params, identifier, types, expires_at) | {"setup_intent": setup["id"]})
    later(world, expires_at, partial(expire_when_open, world, session))
    return session


def session_body(world: World, params: dict[str, Any], identifier: str, types: list[str], expires_at: int) -> Object:
    options = params.get("payment_method_options") or {}
    return {
        "id": identifier,
        "object": "checkout.session",
        "allowed_payment_method_types": params.get("allowed_payment_method_types"),
        "amount_subtotal": None,
        "amount_total": None,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": params.get("billing_address_collection"),
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "client_secret": None,
        "consent": None,
        "consent_collection": None,
        "created": world.now,
        "currency": params["currency"],
        "custom_fields": [],
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        },
        "customer": params.get("customer"),
        "customer_creation": None if params.get("customer") else params.get("customer_creation", "if_required"),
        "customer_details": None,
        "customer_email": None,
        "expires_at": expires_at,
        "invoice": None,
        "livemode": False,
        "locale": params.get("locale"),
        "metadata": merged_metadata({}, params.get("metadata")),
        "mode": "setup",
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": "always",
        "payment_method_options": {kind: value for kind, value in options.items() if kind in types},
        "payment_method_types": types,
        "payment_status": "no_payment_required",
        "redirect_on_completion": None,
        "setup_intent": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": None,
        "subscription": None,
        "success_url": params["success_url"],
        "ui_mode": "hosted_page",
        "url": f"https://checkout.stripe.com/c/pay/{identifier}",
    }


def create_setup_intent(world: World, params: dict[str, Any], types: list[str]) -> Object:
    data = params.get("setup_intent_data") or {}
    for name in data.keys() - {"description", "metadata"}:
        raise not_here(f"setup_intent_data[{name}]")
    identifier = new_id(world, "seti")
    setup = keep(
        world,
        {
            "id": identifier,
            "object": "setup_intent",
            "allowed_payment_method_types": params.get("allowed_payment_method_types"),
            "application": None,
            "automatic_payment_methods": None,
            "cancellation_reason": None,
            "client_secret": f"{identifier}_secret_{new_id(world, 's')[2:]}",
            "created": world.now,
            "customer": params.get("customer"),
            "description": data.get("description"),
            "flow_directions": None,
            "last_setup_error": None,
            "latest_attempt": None,
            "livemode": False,
            "mandate": None,
            "metadata": merged_metadata({}, data.get("metadata")),
            "next_action": None,
            "on_behalf_of": None,
            "payment_method": None,
            "payment_method_options": {},
            "payment_method_types": types,
            "single_use_mandate": None,
            "status": "requires_payment_method",
            "usage": "off_session",
        },
    )
    emit(world, "setup_intent.created", setup)
    return setup


def retrieve(world: World, _: dict[str, Any], identifier: str) -> Object:
    return get(world, "checkout.session", identifier)


def expire(world: World, _: dict[str, Any], identifier: str) -> Object:
    session = get(world, "checkout.session", identifier)
    if session["status"] != "open":
        message = f'Only Checkout Sessions with a status in ["open"] can be expired. This one is {session["status"]}.'
        raise invalid_request(message)
    expire_when_open(world, session)
    return session


def expire_when_open(world: World, session: Object) -> None:
    if session["status"] == "open":
        change(session, status="expired", url=None)
        setup = get(world, "setup_intent", session["setup_intent"])
        change(setup, status="canceled", cancellation_reason="abandoned")
        emit(world, "setup_intent.canceled", setup)
        emit(world, "checkout.session.expired", session)


def complete(
    world: World,
    session_id: str,
    *,
    card: str | None = None,
    iban: str | None = None,
    name: str = "Beispiel GmbH",
    email: str = "rechnung@example.test",
) -> Object:
    """What the customer does in the hosted page: a card with any authentication it asks for, or a mandate."""
    session = get(world, "checkout.session", session_id)
    if session["status"] != "open":
        raise Refusal(400, "control", f"the session is {session['status']}")
    kind = "card" if iban is None else "sepa_debit"
    if kind not in session["payment_method_types"]:
        raise Refusal(400, "control", f"the session does not offer {kind}")
    setup = get(world, "setup_intent", session["setup_intent"])
    if kind == "card":
        number = card or "4242424242424242"
        refuse_card(world, setup, number, name=name, email=email)
        # The page asked the holder, so only a card that wants it every time asks again.
        outcome = card_outcome(number).replace("authenticate_unless_set_up", "ok")
        method = methods.create_card(world, number, outcome, name=name, email=email)
    else:
        method = methods.create_sepa(world, str(iban), iban_outcome(str(iban)), name=name, email=email)
        prefix = (session["payment_method_options"].get("sepa_debit") or {}).get("mandate_options") or {}
        setup["mandate"] = methods.create_mandate(world, method, prefix.get("reference_prefix", ""))["id"]
    if session["customer"]:
        methods.attach(world, method, session["customer"])
    change(setup, payment_method=method["id"], status="succeeded", last_setup_error=None)
    emit(world, "setup_intent.succeeded", setup)
    details: dict[str, Any] = {
        "address": None,
        "email": email,
        "name": name,
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [],
    }
    change(session, status="complete", url=None, customer_details=details)
    emit(world, "checkout.session.completed", session)
    return session


def refuse_card(world: World, setup: Object, number: str, *, name: str, email: str) -> None:
    """The page shows the error and stays open for another card."""
    outcome = declined_when_saved(number)
    if outcome:
        fields = decline(outcome)
        method = methods.card_body(world, number, name=name, email=email)
        setup["last_setup_error"] = {"type": "card_error", **fields, "payment_method": method}
        emit(world, "setup_intent.setup_failed", setup)
        raise card_error(fields.pop("message"), **fields, setup_intent=setup)


def retrieve_setup_intent(world: World, _: dict[str, Any], identifier: str) -> Object:
    return get(world, "setup_intent", identifier)


def list_setup_intents(world: World, params: dict[str, Any]) -> Object:
    found = [
        setup
        for setup in of_kind(world, "setup_intent")
        if all(setup[name] == params[name] for name in ("customer", "payment_method") if name in params)
    ]
    return page(world, found, params, url="/v1/setup_intents")
