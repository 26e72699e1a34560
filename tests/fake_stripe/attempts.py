"""One attempt to be paid: what is looked at before, what the bank says, and what becomes of the PaymentIntent."""

from typing import Any

from tests.fake_stripe import charges, methods, sepa
from tests.fake_stripe.cards import DECLINES, decline
from tests.fake_stripe.disputes import open_dispute
from tests.fake_stripe.errors import Refusal, card_error, invalid_request
from tests.fake_stripe.events import change, emit
from tests.fake_stripe.world import Object, World, find, get

SEPA_AMOUNT_MAX = 1_000_000
AUTHENTICATION = "authentication_required"
ASKING = {"authenticate", "authenticate_unless_set_up", AUTHENTICATION}
# Everything a saved card may be told to do.
OUTCOMES = {"ok", "disputed", "refund_pending", "refund_fails", *ASKING, *DECLINES}


def ready(world: World, intent: Object, params: dict[str, Any]) -> Object:
    """The payment method to charge, when nothing of what Stripe knows beforehand speaks against it."""
    if not intent["payment_method"]:
        message = "You cannot confirm this PaymentIntent because it's missing a payment method."
        raise invalid_request(message, code="payment_intent_unexpected_state")
    method = get(world, "payment_method", intent["payment_method"], param="payment_method")
    methods.usable(world, method["id"], intent["customer"])
    kind = method["type"]
    if kind not in intent["payment_method_types"]:
        allowed = ", ".join(intent["payment_method_types"])
        message = f"The PaymentMethod provided ({kind}) is not allowed for this PaymentIntent. Allowed are: {allowed}."
        raise invalid_request(message, param="payment_method")
    if kind == "sepa_debit":
        check_debit(world, intent, method, params)
    return method


def check_debit(world: World, intent: Object, method: Object, params: dict[str, Any]) -> None:
    if intent["currency"] != "eur":
        raise invalid_request("SEPA debits are in eur only.", param="currency", code="payment_method_currency_mismatch")
    if intent["amount"] > SEPA_AMOUNT_MAX:
        raise invalid_request("A SEPA debit is limited to 10,000.00 eur.", param="amount", code="amount_too_large")
    mandate_id = params.get("mandate", world.instruments[method["id"]].mandate)
    mandate = find(world, "mandate", mandate_id)
    if mandate is None or mandate["status"] != "active" or mandate["payment_method"] != method["id"]:
        message = "The provided mandate is invalid and can not be used for the payment intent."
        raise invalid_request(message, param="mandate", code="payment_intent_mandate_invalid")


def attempt(world: World, intent: Object, method: Object, params: dict[str, Any]) -> None:
    """Charges. A declined card raises the card error after everything that happened has been kept."""
    change(intent, next_action=None, last_payment_error=None)
    if method["type"] == "sepa_debit":
        sepa.start(world, intent, method)
        return
    outcome = world.instruments[method["id"]].outcome
    off_session = bool(params.get("off_session"))
    if outcome in ASKING:
        if off_session or params.get("error_on_requires_action"):
            fields = {"code": AUTHENTICATION, "decline_code": AUTHENTICATION}
            message = "Your card was declined. This transaction requires authentication."
            raise refused(world, intent, method, fields, message)
        ask_holder(world, intent, params)
    elif outcome in DECLINES:
        fields = decline(outcome)
        raise refused(world, intent, method, fields, fields.pop("message"))
    else:
        pay(world, intent, method, outcome)


def pay(world: World, intent: Object, method: Object, outcome: str) -> None:
    charge = charges.create(world, intent, method, status="succeeded")
    charges.succeed(world, charge)
    succeed(world, intent)
    if outcome == "disputed":
        open_dispute(world, charge, "fraudulent")


def succeed(world: World, intent: Object) -> None:
    change(intent, status="succeeded", amount_received=intent["amount"])
    emit(world, "payment_intent.succeeded", intent)


def refused(world: World, intent: Object, method: Object, fields: dict[str, str], message: str) -> Refusal:
    """The issuer's no: the charge failed and the PaymentIntent waits for another payment method."""
    charge = charges.create(world, intent, method, status="failed")
    charges.fail(world, charge, code=fields["code"], message=message, reason=fields["decline_code"])
    error = {"type": "card_error", "message": message, "charge": charge["id"], "payment_method": method, **fields}
    change(intent, status="requires_payment_method", payment_method=None, last_payment_error=error)
    emit(world, "payment_intent.payment_failed", intent)
    return card_error(message, charge=charge["id"], payment_intent=dict(intent), payment_method=method, **fields)


def ask_holder(world: World, intent: Object, params: dict[str, Any]) -> None:
    url = f"https://hooks.stripe.com/3d_secure_2/hosted?payment_intent={intent['id']}"
    if "return_url" in params:
        action: dict[str, Any] = {
            "type": "redirect_to_url",
            "redirect_to_url": {"return_url": params["return_url"], "url": url},
        }
    else:
        action = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": url}}
    change(intent, status="requires_action", next_action=action)
    emit(world, "payment_intent.requires_action", intent)


def authenticate(world: World, intent_id: str, *, succeeded: bool = True) -> Object:
    """What the holder of the card does when 3-D Secure asks."""
    intent = get(world, "payment_intent", intent_id)
    if intent["status"] != "requires_action":
        raise Refusal(400, "control", f"the PaymentIntent is {intent['status']}")
    method = get(world, "payment_method", intent["payment_method"])
    change(intent, next_action=None)
    if succeeded:
        pay(world, intent, method, "ok")
        return intent
    message = "We are unable to authenticate your payment method."
    error = {
        "type": "invalid_request_error",
        "code": "payment_intent_authentication_failure",
        "message": message,
        "payment_method": method,
    }
    change(intent, status="requires_payment_method", payment_method=None, last_payment_error=error)
    emit(world, "payment_intent.payment_failed", intent)
    return intent
