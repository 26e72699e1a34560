"""Disputes: of a card they are won or lost, of a SEPA debit they are lost when they begin."""

from typing import Any

from tests.fake_stripe import charges, methods
from tests.fake_stripe.errors import Refusal
from tests.fake_stripe.events import change, emit
from tests.fake_stripe.paging import page
from tests.fake_stripe.world import Object, World, find, get, keep, new_id, of_kind

FEES = {"card": 2000, "sepa_debit": 750}
ANSWER_SECONDS = 14 * 86400
EVIDENCE = (
    *("access_activity_log", "billing_address", "cancellation_policy", "cancellation_policy_disclosure"),
    *("cancellation_rebuttal", "customer_communication", "customer_email_address", "customer_name"),
    *("customer_purchase_ip", "customer_signature", "duplicate_charge_documentation", "duplicate_charge_explanation"),
    *("duplicate_charge_id", "product_description", "receipt", "refund_policy", "refund_policy_disclosure"),
    *("refund_refusal_explanation", "service_date", "service_documentation", "shipping_address", "shipping_carrier"),
    *("shipping_date", "shipping_documentation", "shipping_tracking_number", "uncategorized_file"),
    "uncategorized_text",
)


def open_dispute(world: World, charge: Object, reason: str) -> Object:
    """The holder wants the money back: it is withdrawn at once, with the bank's fee."""
    if charge["status"] != "succeeded":
        raise Refusal(400, "control", f"the charge is {charge['status']}")
    if charge["disputed"]:
        raise Refusal(400, "control", "the charge has been disputed already")
    kind = charge["payment_method_details"]["type"]
    dispute = keep(world, body(world, charge, reason, final=kind == "sepa_debit"))
    withdrawn = charges.move(world, dispute, -charge["amount"], fee=FEES[kind], kind="adjustment", category="dispute")
    dispute["balance_transactions"].append(withdrawn)
    previous = change(charge, disputed=True)
    emit(world, "charge.dispute.created", dispute)
    emit(world, "charge.updated", charge, previous=previous)
    emit(world, "charge.dispute.funds_withdrawn", dispute)
    if kind == "sepa_debit":
        emit(world, "charge.dispute.closed", dispute)
        methods.deactivate_mandate(world, charge["payment_method"])
    return dispute


def body(world: World, charge: Object, reason: str, *, final: bool) -> Object:
    network = {"brand": "visa", "case_type": "chargeback", "network": "visa", "network_reason_code": "10.4"}
    return {
        "id": new_id(world, "du"),
        "object": "dispute",
        "amount": charge["amount"],
        "balance_transactions": [],
        "charge": charge["id"],
        "created": world.now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": None if final else world.now + ANSWER_SECONDS,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": None if final else {"card": network, "type": "card"},
        "reason": reason,
        "status": "lost" if final else "needs_response",
    }


def open_by_hand(world: World, *, charge_or_pi: str, reason: str) -> Object:
    intent = find(world, "payment_intent", charge_or_pi)
    charge = get(world, "charge", intent["latest_charge"] if intent else charge_or_pi)
    return open_dispute(world, charge, reason)


def close(world: World, *, dispute_id: str, outcome: str) -> Object:
    """The issuer decides: `won` gives the money back, `lost` keeps it."""
    dispute = get(world, "dispute", dispute_id)
    if outcome not in {"won", "lost"} or dispute["status"] != "needs_response":
        raise Refusal(400, "control", f"a dispute that is {dispute['status']} does not become {outcome}")
    change(dispute, status=outcome)
    if outcome == "won":
        returned = charges.move(world, dispute, dispute["amount"], kind="adjustment", category="dispute_reversal")
        dispute["balance_transactions"].append(returned)
        emit(world, "charge.dispute.funds_reinstated", dispute)
    emit(world, "charge.dispute.closed", dispute)
    return dispute


def retrieve(world: World, _: dict[str, Any], identifier: str) -> Object:
    return get(world, "dispute", identifier)


def list_disputes(world: World, params: dict[str, Any]) -> Object:
    found = [
        dispute
        for dispute in of_kind(world, "dispute")
        if all(dispute[name] == params[name] for name in ("charge", "payment_intent") if name in params)
    ]
    return page(world, found, params, url="/v1/disputes")
