"""By what means an invoice is paid: as its buyer's copy says that it pays, and as collection will really have it.

No database. What cannot be collected is asked for by transfer, as it stays open until somebody transfers it: a card or
an account at Stripe without a gateway, and a debit of our own that `billing.debits` would leave out of its file.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from billing.documents.payment_means import Card, Means, OnlineDebit, Payment, SepaDirectDebit, SepaTransfer
from billing.documents.sepa import Creditor, DirectDebit, Mandate, collection_day
from billing.gateways.base import DEBIT_DAYS, MINIMUM_CENTS
from billing.payment_models import AT_STRIPE, MethodKind
from billing.target_days import next_target_day
from provisioning.core.errors import Invalid

SERVICE: Final = "Stripe"
# Whether a card is a credit or a debit card, only Stripe knows: 48 is either.
_EITHER_CARD: Final = "48"
_ANY_END_TO_END_ID: Final = "NOTPROVIDED"


def means_of(
    buyer: Mapping[str, Any], seller: Mapping[str, Any], *, gross_cents: int, issued_on: date, due_on: date
) -> Means:
    """Return how an invoice is paid. `buyer` is `billing.snapshots.BUYER_SQL`, `seller` the fields of Issuer.

    A copy that is older than its `means` is of a time when every document asked for a transfer.
    """
    kept: Mapping[str, Any] = buyer.get("means") or {}
    prepaid = min(kept.get("balance_cents", 0), max(gross_cents, 0))
    payable, method, found = gross_cents - prepaid, kept.get("method"), None
    if payable > 0 and method in AT_STRIPE and seller.get("has_gateway"):
        found = _at_stripe(kept, payable, issued_on=issued_on, due_on=due_on)
    elif payable > 0 and method == MethodKind.DIRECT_DEBIT:
        found = _direct_debit(kept, seller, payable, issued_on=issued_on, due_on=due_on)
    return Means(found or SepaTransfer(seller["iban"], seller["name"], seller["bic"]), prepaid)


def _at_stripe(kept: Mapping[str, Any], payable_cents: int, *, issued_on: date, due_on: date) -> Payment:
    """As `billing.charges` does it: at once, or on the day that Stripe is told; what is too little waits."""
    last4, carried = kept.get("last4"), kept.get("carried_cents", 0)
    is_deferred = payable_cents + carried < MINIMUM_CENTS
    if kept["method"] == MethodKind.CARD:
        if last4:
            return Card(last4, code=_EITHER_CARD, carried_cents=carried, is_deferred=is_deferred)
        return OnlineDebit(SERVICE, carried_cents=carried, is_deferred=is_deferred)
    is_dated = not is_deferred and (due_on - issued_on).days in DEBIT_DAYS
    return OnlineDebit(
        SERVICE,
        last4,
        kept.get("mandate_reference"),
        # Banks settle on their days only, whatever day Stripe is told.
        collected_on=next_target_day(due_on) if is_dated else None,
        carried_cents=carried,
        is_deferred=is_deferred,
    )


def _direct_debit(
    kept: Mapping[str, Any], seller: Mapping[str, Any], payable_cents: int, *, issued_on: date, due_on: date
) -> Payment | None:
    """The debit in the file that is made in time, which is up to a settlement day before; None where none would be."""
    last_used_on = kept.get("mandate_last_used_on")
    try:
        creditor = Creditor(seller["name"], seller["iban"], seller.get("creditor_id") or "", seller["bic"])
        mandate = Mandate(
            reference=kept["mandate_reference"],
            signed_on=date.fromisoformat(kept["mandate_signed_on"]),
            debtor=kept["holder"],
            iban=kept["iban"],
            last_used_on=None if last_used_on is None else date.fromisoformat(last_used_on),
        )
        day = collection_day(due_on, notified_on=issued_on, submitted_on=issued_on)
        debit = DirectDebit(mandate, payable_cents, day, end_to_end_id=_ANY_END_TO_END_ID, description="")
    except Invalid:
        return None
    return SepaDirectDebit(mandate.reference, creditor.creditor_id, mandate.iban, debit.collection_on)
