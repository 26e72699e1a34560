"""PaymentIntents: made, changed, confirmed and cancelled, and never paid twice."""

from datetime import UTC, date, datetime
from typing import Any

from tests.fake_stripe import attempts, methods
from tests.fake_stripe.checkout import offered
from tests.fake_stripe.errors import Refusal, invalid_parameter, invalid_request
from tests.fake_stripe.events import change, emit
from tests.fake_stripe.paging import page
from tests.fake_stripe.world import Object, World, get, keep, merged_metadata, new_id, of_kind

# Smallest amounts by currency; the fake knows no others.
MINIMA = {"eur": 50, "usd": 50, "chf": 50, "gbp": 30}
AMOUNT_MAX = 99_999_999
TARGET_DAYS = (3, 15)
WAITING = ("requires_payment_method", "requires_confirmation", "requires_action")
# Only these may still change when money is on its way or has arrived.
ALWAYS_CHANGEABLE = {"description", "metadata", "receipt_email"}
CONFIRM_ONLY = ("error_on_requires_action", "mandate", "off_session", "return_url", "use_stripe_sdk")
FIELDS = (
    *("amount", "currency", "customer", "description", "payment_method", "receipt_email", "setup_future_usage"),
    *("statement_descriptor", "statement_descriptor_suffix"),
)
UPDATE_PARAMS = (*FIELDS, "allowed_payment_method_types", "metadata", "payment_method_options")
CREATE_PARAMS = (*UPDATE_PARAMS, *CONFIRM_ONLY, "automatic_payment_methods", "confirm")
CONFIRM_PARAMS = (
    *("allowed_payment_method_types", "payment_method", "payment_method_options", "receipt_email"),
    *("setup_future_usage", *CONFIRM_ONLY),
)


def create(world: World, params: dict[str, Any]) -> Object:
    if not params.get("confirm"):
        for name in CONFIRM_ONLY:
            if name in params:
                message = f"The parameter {name} can only be used when `confirm` is true."
                raise invalid_parameter(message, param=name)
    if "automatic_payment_methods" in params and "allowed_payment_method_types" in params:
        message = "You may only specify one of allowed_payment_method_types and automatic_payment_methods."
        raise invalid_parameter(message, param="automatic_payment_methods", code="parameters_exclusive")
    check_amount(params["amount"], params["currency"])
    intent = blank(world, params)
    apply(world, intent, params)
    method = attempts.ready(world, intent, params) if params.get("confirm") else None
    keep(world, intent)
    emit(world, "payment_intent.created", intent)
    if method:
        attempts.attempt(world, intent, method, params)
    return intent


def blank(world: World, params: dict[str, Any]) -> Object:
    identifier = new_id(world, "pi")
    automatic = params.get("automatic_payment_methods")
    if automatic is None and "allowed_payment_method_types" not in params:
        automatic = {"enabled": True}
    return {
        "id": identifier,
        "object": "payment_intent",
        "allowed_payment_method_types": None,
        "amount": params["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": {"allow_redirects": "always", **automatic} if automatic else None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{identifier}_secret_{new_id(world, 's')[2:]}",
        "confirmation_method": "automatic",
        "created": world.now,
        "currency": params["currency"],
        "customer": None,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": offered(params),
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }


def check_amount(amount: int, currency: str) -> None:
    if currency not in MINIMA:
        raise invalid_parameter(f"Invalid currency: {currency}", param="currency")
    if amount < MINIMA[currency]:
        message = f"Amount must be at least {MINIMA[currency] / 100:.2f} {currency}."
        raise invalid_parameter(message, param="amount", code="amount_too_small")
    if amount > AMOUNT_MAX:
        message = f"Amount must be no more than {AMOUNT_MAX / 100:.2f} {currency}."
        raise invalid_parameter(message, param="amount", code="amount_too_large")


def apply(world: World, intent: Object, params: dict[str, Any]) -> dict[str, Any]:
    """Sets what a request names, after looking at all of it; what it was before."""
    fields: dict[str, Any] = {name: params[name] if params[name] != "" else None for name in FIELDS if name in params}
    if "metadata" in params:
        fields["metadata"] = merged_metadata(intent["metadata"], params["metadata"])
    if "allowed_payment_method_types" in params:
        allowed = params["allowed_payment_method_types"]
        fields |= {"allowed_payment_method_types": allowed, "payment_method_types": offered(params)}
    if fields.get("customer"):
        get(world, "customer", fields["customer"], param="customer")
    if "payment_method_options" in params:
        fields["payment_method_options"] = options(world, params["payment_method_options"])
    if fields.get("payment_method"):
        method = methods.usable(world, fields["payment_method"], fields.get("customer", intent["customer"]))
        if method["type"] == "sepa_debit" and params.get("statement_descriptor_suffix"):
            message = "statement_descriptor_suffix is for card charges. Use statement_descriptor instead."
            raise invalid_request(message, param="statement_descriptor_suffix")
        fields["payment_method"] = method["id"]
        if intent["status"] == "requires_payment_method":
            fields["status"] = "requires_confirmation"
    check_descriptor(intent | fields)
    return change(intent, **fields)


def check_descriptor(intent: Object) -> None:
    """https://support.stripe.com: refused as soon as a card is among the types, whatever is charged in the end."""
    if intent["statement_descriptor"] and "card" in intent["payment_method_types"]:
        message = "statement_descriptor is not supported with the type card. Use statement_descriptor_suffix instead."
        raise invalid_request(message, param="statement_descriptor")


def options(world: World, wanted: dict[str, Any]) -> dict[str, Any]:
    target = (wanted.get("sepa_debit") or {}).get("target_date")
    if target is not None:
        param = "payment_method_options[sepa_debit][target_date]"
        try:
            days = (date.fromisoformat(target) - datetime.fromtimestamp(world.now, UTC).date()).days
        except ValueError:
            raise invalid_parameter(f"Invalid date: {target}", param=param) from None
        if not TARGET_DAYS[0] <= days <= TARGET_DAYS[1]:
            message = f"The date must be between {TARGET_DAYS[0]} and {TARGET_DAYS[1]} calendar days from now."
            raise invalid_parameter(message, param=param)
    return {kind: value for kind, value in wanted.items() if value}


def update(world: World, params: dict[str, Any], identifier: str) -> Object:
    intent = get(world, "payment_intent", identifier)
    if intent["status"] not in WAITING and params.keys() - ALWAYS_CHANGEABLE:
        names = ", ".join(sorted(params.keys() - ALWAYS_CHANGEABLE))
        raise unexpected_state(intent, f"could not be updated ({names})")
    if "amount" in params or "currency" in params:
        wanted = intent | params
        check_amount(wanted["amount"], wanted["currency"])
    apply(world, intent, params)
    return intent


def confirm(world: World, params: dict[str, Any], identifier: str) -> Object:
    intent = get(world, "payment_intent", identifier)
    if intent["status"] not in WAITING:
        raise unexpected_state(intent, "could not be confirmed")
    draft = dict(intent)
    apply(world, draft, params)
    method = attempts.ready(world, draft, params)
    intent.update(draft)
    attempts.attempt(world, intent, method, params)
    return intent


def cancel(world: World, params: dict[str, Any], identifier: str) -> Object:
    intent = get(world, "payment_intent", identifier)
    if intent["status"] not in WAITING:
        raise unexpected_state(intent, "could not be canceled")
    change(
        intent,
        status="canceled",
        canceled_at=world.now,
        cancellation_reason=params.get("cancellation_reason"),
        next_action=None,
    )
    emit(world, "payment_intent.canceled", intent)
    return intent


def unexpected_state(intent: Object, what: str) -> Refusal:
    message = f"This PaymentIntent {what} because it has a status of {intent['status']}."
    return invalid_request(message, code="payment_intent_unexpected_state", payment_intent=dict(intent))


def retrieve(world: World, params: dict[str, Any], identifier: str) -> Object:
    intent = get(world, "payment_intent", identifier)
    if params.get("client_secret", intent["client_secret"]) != intent["client_secret"]:
        raise invalid_request("The client_secret provided does not match.", param="client_secret")
    return intent


def list_intents(world: World, params: dict[str, Any]) -> Object:
    found = [
        intent
        for intent in of_kind(world, "payment_intent")
        if intent["customer"] == params.get("customer", intent["customer"])
    ]
    return page(world, found, params, url="/v1/payment_intents")
