"""Payment methods and the mandates behind direct debits."""

from hashlib import sha256
from typing import Any

from tests.fake_stripe.cards import NAMED_CARDS, card_outcome
from tests.fake_stripe.errors import invalid_parameter, invalid_request, missing
from tests.fake_stripe.events import change, emit
from tests.fake_stripe.paging import page
from tests.fake_stripe.world import Instrument, Object, World, find, get, keep, new_id, of_kind

BRANDS = {"4": "visa", "5": "mastercard"}
EXPIRES = (12, 2034)


def body(world: World, kind: str, details: dict[str, Any], *, name: str | None, email: str | None) -> Object:
    return {
        "id": new_id(world, "pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {
            "address": dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state")),
            "email": email,
            "name": name,
            "phone": None,
            "tax_id": None,
        },
        "created": world.now,
        "customer": None,
        "livemode": False,
        "metadata": {},
        "type": kind,
        kind: details,
    }


def card_body(world: World, number: str, *, name: str | None, email: str | None) -> Object:
    brand = BRANDS[number[0]]
    details = {
        "brand": brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "DE",
        "display_brand": brand,
        "exp_month": EXPIRES[0],
        "exp_year": EXPIRES[1],
        "fingerprint": fingerprint(number),
        "funding": "credit",
        "generated_from": None,
        "last4": number[-4:],
        "networks": {"available": [brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }
    return body(world, "card", details, name=name, email=email)


def fingerprint(number: str) -> str:
    return sha256(number.encode()).hexdigest()[:16]


def create_card(
    world: World, number: str, outcome: str, *, name: str | None = None, email: str | None = None
) -> Object:
    method = keep(world, card_body(world, number, name=name, email=email))
    world.instruments[method["id"]] = Instrument(outcome)
    return method


def create_sepa(world: World, iban: str, outcome: str, *, name: str, email: str) -> Object:
    compact = iban.replace(" ", "").upper()
    details = {
        "bank_code": compact[4:12],
        "branch_code": "",
        "country": compact[:2],
        "fingerprint": fingerprint(compact),
        "generated_from": {"charge": None, "setup_attempt": None},
        "last4": compact[-4:],
    }
    method = keep(world, body(world, "sepa_debit", details, name=name, email=email))
    world.instruments[method["id"]] = Instrument(outcome)
    return method


def create_mandate(world: World, method: Object, prefix: str) -> Object:
    reference = prefix + "".join(world.random.choices("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ", k=16))
    mandate = keep(
        world,
        {
            "id": new_id(world, "mandate"),
            "object": "mandate",
            "customer_acceptance": {
                "accepted_at": world.now,
                "online": {"ip_address": "192.0.2.1", "user_agent": "Mozilla/5.0"},
                "type": "online",
            },
            "livemode": False,
            "multi_use": {},
            "payment_method": method["id"],
            "payment_method_details": {
                "sepa_debit": {
                    "reference": reference,
                    "url": f"https://hooks.stripe.com/adapter/sepa_debit/file/{new_id(world, 'src')}",
                },
                "type": "sepa_debit",
            },
            "status": "active",
            "type": "multi_use",
        },
    )
    world.instruments[method["id"]].mandate = mandate["id"]
    return mandate


def set_mandate(world: World, mandate: Object, status: str) -> None:
    previous = change(mandate, status=status)
    if previous:
        emit(world, "mandate.updated", mandate, previous=previous)


def deactivate_mandate(world: World, payment_method: str) -> None:
    mandate = find(world, "mandate", world.instruments[payment_method].mandate)
    if mandate:
        set_mandate(world, mandate, "inactive")


def attach(world: World, method: Object, customer: str) -> None:
    method["customer"] = customer
    emit(world, "payment_method.attached", method)


def detach(world: World, _: dict[str, Any], identifier: str) -> Object:
    method = get(world, "payment_method", identifier)
    if method["customer"] is None:
        raise invalid_request(
            "The payment method you provided is not attached to a customer so detachment is impossible."
        )
    previous = change(method, customer=None)
    world.instruments[identifier].detached = True
    emit(world, "payment_method.detached", method, previous=previous)
    return method


def retrieve(world: World, _: dict[str, Any], identifier: str) -> Object:
    return get(world, "payment_method", identifier)


def list_methods(world: World, params: dict[str, Any]) -> Object:
    if "customer" not in params:
        raise invalid_parameter("Missing required param: customer.", param="customer", code="parameter_missing")
    get(world, "customer", params["customer"], param="customer")
    found = [
        method
        for method in of_kind(world, "payment_method")
        if method["customer"] == params["customer"] and method["type"] == params.get("type", method["type"])
    ]
    return page(world, found, params, url="/v1/payment_methods")


def retrieve_mandate(world: World, _: dict[str, Any], identifier: str) -> Object:
    return get(world, "mandate", identifier)


def usable(world: World, identifier: str, customer: str | None) -> Object:
    """The payment method when this customer can be charged with it. `pm_card_...` are made when first named."""
    if identifier in NAMED_CARDS:
        number = NAMED_CARDS[identifier]
        return create_card(world, number, card_outcome(number))
    method = find(world, "payment_method", identifier)
    if method is None:
        raise missing("PaymentMethod", identifier, param="payment_method")
    if world.instruments[identifier].detached:
        message = (
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, "
            "shared with a connected account without Customer attachment, or was detached from a Customer. "
            "It may not be used again. To use a PaymentMethod multiple times, attach it to a Customer first."
        )
        raise invalid_request(message, param="payment_method")
    if method["customer"] and customer is None:
        message = f"The payment method {identifier} belongs to a customer. Please include it in `customer`."
        raise invalid_request(message, param="payment_method")
    if method["customer"] != customer:
        message = f"The customer does not have a payment method with the ID {identifier}."
        raise invalid_request(message, param="payment_method", code="resource_missing")
    return method
