"""SEPA debits: processing for days, then settled or failed; and paid is not final, for months."""

from datetime import UTC, date, datetime, timedelta
from functools import partial

from tests.fake_stripe import charges, methods
from tests.fake_stripe.disputes import open_dispute
from tests.fake_stripe.errors import Refusal
from tests.fake_stripe.events import change, emit
from tests.fake_stripe.world import Object, World, find, get, later, of_kind

SETTLED_AFTER_BUSINESS_DAYS = 5
# After these a bank will not take another debit under the same mandate.
ENDS_MANDATE = {"account_closed", "bank_account_restricted", "debit_not_authorized", "no_account"}
MESSAGES = {
    "account_closed": "The customer's bank account has been closed.",
    "debit_not_authorized": "The customer has notified their bank that this payment was unauthorized.",
    "insufficient_funds": "The customer's account has insufficient funds to cover this payment.",
    "no_account": "The customer's bank account could not be located.",
}
# Codes an error of a PaymentIntent has no word for.
ATTEMPT_FAILED = "payment_intent_payment_attempt_failed"
ERROR_CODES = {"account_closed", "bank_account_restricted", "debit_not_authorized", "insufficient_funds", "no_account"}


def start(world: World, intent: Object, method: Object) -> None:
    charge = charges.create(world, intent, method, status="pending")
    change(intent, status="processing")
    emit(world, "payment_intent.processing", intent)
    emit(world, "charge.pending", charge)
    outcome, _, delay = world.instruments[method["id"]].outcome.partition(":")
    at = world.now + int(delay) if delay else settlement(world, intent)
    target = intent["payment_method_options"].get("sepa_debit", {}).get("target_date")
    if target:
        charge["payment_method_details"]["sepa_debit"]["expected_debit_date"] = target
    later(world, at, partial(finish, world, charge, outcome))


def settlement(world: World, intent: Object) -> int:
    """Five business days from now, or the wanted date of the debit if that is later."""
    today = datetime.fromtimestamp(world.now, UTC)
    on = today.date()
    for _ in range(SETTLED_AFTER_BUSINESS_DAYS):
        on = next_business_day(on)
    target = intent["payment_method_options"].get("sepa_debit", {}).get("target_date")
    if target:
        on = max(on, date.fromisoformat(target))
    return world.now + int((on - today.date()).total_seconds())


def next_business_day(on: date) -> date:
    on += timedelta(days=1)
    while on.weekday() >= 5 or on in target_holidays(on.year):
        on += timedelta(days=1)
    return on


def target_holidays(year: int) -> set[date]:
    """The closing days of the European payment system T2."""
    easter = easter_sunday(year)
    fixed = {date(year, 1, 1), date(year, 5, 1), date(year, 12, 25), date(year, 12, 26)}
    return fixed | {easter - timedelta(days=2), easter + timedelta(days=1)}


def easter_sunday(year: int) -> date:
    """By the rule of Meeus, Jones and Butcher."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return date(year, month, day + 1)


def finish(world: World, charge: Object, outcome: str) -> None:
    """What the banks say, once; a charge that has been settled by hand stays as it is."""
    if charge["status"] != "pending":
        return
    intent = get(world, "payment_intent", charge["payment_intent"])
    if outcome not in {"ok", "disputed"}:
        fail(world, intent, charge, outcome)
        return
    charges.succeed(world, charge)
    change(intent, status="succeeded", amount_received=intent["amount"])
    emit(world, "payment_intent.succeeded", intent)
    if outcome == "disputed":
        open_dispute(world, charge, "debit_not_authorized")


def fail(world: World, intent: Object, charge: Object, code: str) -> None:
    message = MESSAGES.get(code, "The payment failed.")
    charges.fail(world, charge, code=code, message=message, reason=code)
    method = get(world, "payment_method", charge["payment_method"])
    error = {
        "type": "card_error",
        "charge": charge["id"],
        "code": code if code in ERROR_CODES else ATTEMPT_FAILED,
        "message": message,
        "payment_method": method,
    }
    change(intent, status="requires_payment_method", payment_method=None, last_payment_error=error)
    emit(world, "payment_intent.payment_failed", intent)
    if code in ENDS_MANDATE:
        methods.deactivate_mandate(world, method["id"])


def pending(world: World, intent_id: str | None) -> list[Object]:
    if intent_id is not None and find(world, "payment_intent", intent_id) is None:
        raise Refusal(404, "control", f"no PaymentIntent {intent_id}")
    found = [
        charge
        for charge in of_kind(world, "charge")
        if charge["status"] == "pending" and charge["payment_intent"] == (intent_id or charge["payment_intent"])
    ]
    if intent_id and not found:
        raise Refusal(400, "control", f"{intent_id} has no debit on its way")
    return found


def settle(world: World, *, pi: str | None = None) -> int:
    """The banks pay now: one debit, or all that are on their way; how many."""
    found = pending(world, pi)
    for charge in found:
        finish(world, charge, "ok")
    return len(found)


def fail_by_hand(world: World, *, pi: str, code: str) -> None:
    for charge in pending(world, pi):
        finish(world, charge, code)
