"""Refunds: at most what was charged, not while the bank takes the money back, and not always at once."""

from functools import partial
from typing import Any

from tests.fake_stripe import charges
from tests.fake_stripe.errors import invalid_parameter, invalid_request
from tests.fake_stripe.events import change, emit
from tests.fake_stripe.paging import page
from tests.fake_stripe.world import Object, World, find, get, keep, later, merged_metadata, new_id, of_kind

SETTLED_AFTER = 3 * 86400


def create(world: World, params: dict[str, Any]) -> Object:
    charge = charge_of(world, params)
    left = charge["amount"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    if charge["status"] != "succeeded":
        raise invalid_request(f"Charge {charge['id']} is {charge['status']}.", code="charge_not_refundable")
    if charge["disputed"] and not is_won(world, charge):
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise invalid_request(message, code="charge_disputed")
    if left == 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise invalid_request(message, code="charge_already_refunded")
    if amount < 1:
        raise invalid_parameter("Invalid positive integer", param="amount", code="parameter_invalid_integer")
    if amount > left:
        message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        raise invalid_request(message, param="amount")
    return start(world, charge, amount, params)


def charge_of(world: World, params: dict[str, Any]) -> Object:
    if ("charge" in params) == ("payment_intent" in params):
        message = "One of the following params should be provided for this request: payment_intent or charge."
        raise invalid_parameter(message, param="payment_intent", code="parameter_missing")
    if "charge" in params:
        return get(world, "charge", params["charge"], param="charge")
    intent = get(world, "payment_intent", params["payment_intent"], param="payment_intent")
    charge = find(world, "charge", intent["latest_charge"])
    if charge is None or intent["status"] != "succeeded":
        message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
        raise invalid_request(message, code="payment_intent_unexpected_state", payment_intent=dict(intent))
    return charge


def is_won(world: World, charge: Object) -> bool:
    return any(dispute["status"] == "won" for dispute in of_kind(world, "dispute") if dispute["charge"] == charge["id"])


def start(world: World, charge: Object, amount: int, params: dict[str, Any]) -> Object:
    kind = charge["payment_method_details"]["type"]
    outcome = world.instruments[charge["payment_method"]].outcome
    is_pending = kind == "sepa_debit" or outcome == "refund_pending"
    details: dict[str, Any] = {"type": kind}
    if kind == "card":
        details["card"] = {
            "reference_status": "pending",
            "reference_type": "acquirer_reference_number",
            "type": "refund",
        }
    refund = keep(
        world,
        {
            "id": new_id(world, "re" if kind == "card" else "pyr"),
            "object": "refund",
            "amount": amount,
            "balance_transaction": None,
            "charge": charge["id"],
            "created": world.now,
            "currency": charge["currency"],
            "destination_details": details,
            "metadata": merged_metadata({}, params.get("metadata")),
            "payment_intent": charge["payment_intent"],
            "reason": params.get("reason"),
            "receipt_number": None,
            "source_transfer_reversal": None,
            "status": "pending" if is_pending else "succeeded",
            "transfer_reversal": None,
        },
    )
    movement = charges.move(
        world, refund, -amount, kind="refund" if kind == "card" else "payment_refund", category="refund"
    )
    refund["balance_transaction"] = movement["id"]
    if is_pending:
        refund["pending_reason"] = "processing"
    previous = count(charge, amount)
    emit(world, "refund.created", refund)
    emit(world, "charge.refunded", charge, previous=previous)
    if is_pending:
        later(world, world.now + SETTLED_AFTER, partial(settle, world, refund))
    elif outcome == "refund_fails":
        later(world, world.now + SETTLED_AFTER, partial(fail, world, refund, "declined"))
    return refund


def count(charge: Object, amount: int) -> dict[str, Any]:
    refunded = charge["amount_refunded"] + amount
    return change(charge, amount_refunded=refunded, refunded=refunded == charge["amount"])


def settle(world: World, refund: Object) -> None:
    if refund["status"] == "pending":
        tell(world, refund, change(refund, status="succeeded", pending_reason=None))


def fail(world: World, refund: Object, reason: str) -> None:
    """The money comes back to the account, because the customer's bank would not take it."""
    if refund["status"] == "failed":
        return
    charge = get(world, "charge", refund["charge"])
    returned = charges.move(world, refund, refund["amount"], kind="refund_failure", category="refund_failure")
    previous = change(refund, status="failed", failure_reason=reason, failure_balance_transaction=returned["id"])
    count(charge, -refund["amount"])
    tell(world, refund, previous)
    emit(world, "refund.failed", refund)


def tell(world: World, refund: Object, previous: dict[str, Any]) -> None:
    emit(world, "refund.updated", refund, previous=previous)
    emit(world, "charge.refund.updated", refund, previous=previous)


def fail_by_hand(world: World, *, refund_id: str, reason: str = "unknown") -> Object:
    refund = get(world, "refund", refund_id)
    fail(world, refund, reason)
    return refund


def retrieve(world: World, _: dict[str, Any], identifier: str) -> Object:
    return get(world, "refund", identifier)


def list_refunds(world: World, params: dict[str, Any]) -> Object:
    found = [
        refund
        for refund in of_kind(world, "refund")
        if all(refund[name] == params[name] for name in ("charge", "payment_intent") if name in params)
    ]
    return page(world, found, params, url="/v1/refunds")
