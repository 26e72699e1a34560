"""Charges and the movements of the balance they cause."""

from typing import Any

from tests.fake_stripe.events import change, emit
from tests.fake_stripe.paging import page
from tests.fake_stripe.world import Object, World, get, keep, later, new_id, of_kind

DAY = 86400
AVAILABLE_AFTER = 7 * DAY
# Per mille of the amount and whole cents, by type of payment method.
FEES = {"card": (15, 25), "sepa_debit": (0, 35)}
FAILED_OUTCOME = {"network_status": "declined_by_network", "type": "issuer_declined", "risk_level": "normal"}
GOOD_OUTCOME = {
    "network_status": "approved_by_network",
    "reason": None,
    "risk_level": "normal",
    "seller_message": "Payment complete.",
    "type": "authorized",
}


def create(world: World, intent: Object, method: Object, *, status: str) -> Object:
    charge = keep(
        world,
        {
            "id": new_id(world, "ch" if method["type"] == "card" else "py"),
            "object": "charge",
            "amount": intent["amount"],
            "amount_captured": 0 if status == "failed" else intent["amount"],
            "amount_refunded": 0,
            "application": None,
            "application_fee": None,
            "application_fee_amount": None,
            "balance_transaction": None,
            "billing_details": method["billing_details"],
            "calculated_statement_descriptor": descriptor(intent),
            "captured": status != "failed",
            "created": world.now,
            "currency": intent["currency"],
            "customer": intent["customer"],
            "description": intent["description"],
            "disputed": False,
            "failure_balance_transaction": None,
            "failure_code": None,
            "failure_message": None,
            "fraud_details": {},
            "livemode": False,
            "metadata": dict(intent["metadata"]),
            "on_behalf_of": None,
            "outcome": dict(GOOD_OUTCOME),
            "paid": status == "succeeded",
            "payment_intent": intent["id"],
            "payment_method": method["id"],
            "payment_method_details": details(world, method),
            "receipt_email": intent["receipt_email"],
            "receipt_number": None,
            "receipt_url": None,
            "refunded": False,
            "review": None,
            "shipping": None,
            "source": None,
            "source_transfer": None,
            "statement_descriptor": intent["statement_descriptor"],
            "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
            "status": status,
            "transfer_data": None,
            "transfer_group": None,
        },
    )
    intent["latest_charge"] = charge["id"]
    return charge


def descriptor(intent: Object) -> str:
    if intent["statement_descriptor"]:
        return str(intent["statement_descriptor"])
    suffix = intent["statement_descriptor_suffix"]
    return f"POSTFACHWERK* {suffix}"[:22] if suffix else "POSTFACHWERK"


def details(world: World, method: Object) -> dict[str, Any]:
    if method["type"] == "card":
        same = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4", "wallet")
        card = {name: method["card"][name] for name in same}
        card |= {"installments": None, "mandate": None, "network": method["card"]["brand"], "three_d_secure": None}
        card |= {"regulated_status": "unregulated"}
        return {"card": card, "type": "card"}
    parts = ("bank_code", "branch_code", "country", "fingerprint", "last4")
    debit = {name: method["sepa_debit"][name] for name in parts}
    return {"sepa_debit": debit | {"mandate": world.instruments[method["id"]].mandate}, "type": "sepa_debit"}


def succeed(world: World, charge: Object) -> None:
    kind = charge["payment_method_details"]["type"]
    per_mille, cents = FEES[kind]
    fee = (charge["amount"] * per_mille + 500) // 1000 + cents
    movement = move(
        world, charge, charge["amount"], fee=fee, kind="charge" if kind == "card" else "payment", category="charge"
    )
    change(charge, status="succeeded", paid=True, balance_transaction=movement["id"])
    emit(world, "charge.succeeded", charge)


def fail(world: World, charge: Object, *, code: str, message: str, reason: str) -> None:
    change(
        charge,
        status="failed",
        paid=False,
        captured=False,
        amount_captured=0,
        failure_code=code,
        failure_message=message,
        outcome={**FAILED_OUTCOME, "reason": reason, "seller_message": message},
    )
    emit(world, "charge.failed", charge)


def move(world: World, source: Object, amount: int, *, fee: int = 0, kind: str, category: str) -> Object:
    """A balance transaction; `amount` is negative when money leaves."""
    fees = [
        {"amount": fee, "application": None, "currency": source["currency"], "description": "Stripe processing fees"}
    ]
    movement = keep(
        world,
        {
            "id": new_id(world, "txn"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": world.now + AVAILABLE_AFTER if amount > 0 else world.now,
            "balance_type": "payments",
            "created": world.now,
            "currency": source["currency"],
            "description": source.get("description"),
            "exchange_rate": None,
            "fee": fee,
            "fee_details": [each | {"type": "stripe_fee"} for each in fees] if fee else [],
            "net": amount - fee,
            "reporting_category": category,
            "source": source["id"],
            "status": "pending" if amount > 0 else "available",
            "type": kind,
        },
    )
    later(world, movement["available_on"], lambda: movement.update(status="available"))
    return movement


def retrieve(world: World, _: dict[str, Any], identifier: str) -> Object:
    return get(world, "charge", identifier)


def list_charges(world: World, params: dict[str, Any]) -> Object:
    found = [
        charge
        for charge in of_kind(world, "charge")
        if all(charge[name] == params[name] for name in ("customer", "payment_intent") if name in params)
    ]
    return page(world, found, params, url="/v1/charges")


def list_movements(world: World, params: dict[str, Any]) -> Object:
    found = [
        movement
        for movement in of_kind(world, "balance_transaction")
        if all(movement[name] == params[name] for name in ("source", "type", "currency") if name in params)
    ]
    return page(world, found, params, url="/v1/balance_transactions")
