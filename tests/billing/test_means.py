"""By what means an invoice is paid follows from what collection will do with it."""

from dataclasses import asdict, replace
from datetime import date, timedelta
from typing import Any

import pytest

from billing.documents.payment_means import Card, OnlineDebit, SepaDirectDebit, SepaTransfer
from billing.documents.sepa import collection_day
from billing.means import means_of
from tests.billing.ledger_factory import ISSUER

TUESDAY = date(2026, 12, 1)
CREDITOR_ID = "DE98ZZZ09999999999"
SELLER = asdict(replace(ISSUER, creditor_id=CREDITOR_ID, has_gateway=True))
TRANSFER = SepaTransfer(ISSUER.iban, ISSUER.name, ISSUER.bic)
CARD = {"method": "card", "last4": "4242"}
AT_STRIPE = {"method": "sepa_debit", "last4": "3000", "mandate_reference": "PXKQ1"}
DEBIT = {
    "method": "direct_debit",
    "iban": "DE89370400440532013000",
    "holder": "Müller & Söhne",
    "last4": "3000",
    "mandate_reference": "PFW-1",
    "mandate_signed_on": "2026-11-01",
}


def payment(kept: dict[str, Any] | None, *, gross: int = 1786, days: int = 14, **seller: Any) -> Any:
    buyer = {} if kept is None else {"means": kept}
    found = means_of(buyer, SELLER | seller, gross_cents=gross, issued_on=TUESDAY, due_on=TUESDAY + timedelta(days))
    return found.payment


@pytest.mark.parametrize("kept", [None, {}, {"method": "transfer"}])
def test_who_has_nothing_to_collect_from_transfers(kept: dict[str, Any] | None) -> None:
    assert payment(kept) == TRANSFER


def test_a_card_is_charged_and_may_be_a_credit_or_a_debit_card() -> None:
    assert payment(CARD) == Card("4242", code="48")


def test_of_an_account_at_stripe_only_what_is_known_is_said() -> None:
    assert payment(AT_STRIPE) == OnlineDebit("Stripe", "3000", "PXKQ1", date(2026, 12, 15))


@pytest.mark.parametrize(("days", "day"), [(2, None), (3, 4), (4, 7), (14, 15), (15, 16), (16, None)])
def test_stripe_is_told_a_day_only_where_it_takes_one_and_banks_settle_on_it(days: int, day: int | None) -> None:
    assert payment(AT_STRIPE, days=days).collected_on == (None if day is None else date(2026, 12, day))


@pytest.mark.parametrize("kept", [CARD, AT_STRIPE])
def test_without_a_gateway_nothing_at_stripe_is_charged(kept: dict[str, Any]) -> None:
    assert payment(kept, has_gateway=False) == TRANSFER


def test_a_card_without_digits_is_charged_all_the_same() -> None:
    assert payment({"method": "card"}) == OnlineDebit("Stripe")


@pytest.mark.parametrize(
    ("gross", "carried", "deferred"), [(49, 0, True), (50, 0, False), (49, 1, False), (30, 19, True), (1786, 30, False)]
)
@pytest.mark.parametrize("kept", [CARD, AT_STRIPE])
def test_what_stripe_does_not_charge_alone_waits(
    kept: dict[str, Any], gross: int, carried: int, deferred: bool
) -> None:
    found = payment(kept | {"carried_cents": carried}, gross=gross)
    assert (found.is_deferred, found.carried_cents) == (deferred, carried)


def test_a_debit_of_our_own_names_mandate_creditor_account_and_day() -> None:
    day = collection_day(TUESDAY + timedelta(14), notified_on=TUESDAY, submitted_on=TUESDAY)
    assert payment(DEBIT) == SepaDirectDebit("PFW-1", CREDITOR_ID, "DE89370400440532013000", day)


def test_it_is_never_before_the_notice_is_over() -> None:
    assert payment(DEBIT, days=0).collected_on == date(2026, 12, 15)


@pytest.mark.parametrize(
    ("change", "seller"),
    [
        ({}, {"creditor_id": None}),
        ({}, {"creditor_id": "DE97ZZZ09999999999"}),
        ({"mandate_signed_on": "2023-12-01"}, {}),
        ({"mandate_signed_on": "2020-01-01", "mandate_last_used_on": "2023-12-15"}, {}),
        ({"mandate_signed_on": "2026-12-24"}, {}),
        ({"mandate_reference": "PFW_1"}, {}),
        ({"iban": "DE89370400440532013001"}, {}),
    ],
)
def test_what_the_file_for_the_bank_would_leave_out_is_transferred(
    change: dict[str, Any], seller: dict[str, Any]
) -> None:
    assert payment(DEBIT | change, **seller) == TRANSFER


def test_a_mandate_in_use_does_not_lapse() -> None:
    used = {"mandate_signed_on": "2020-01-01", "mandate_last_used_on": "2026-11-15"}
    assert isinstance(payment(DEBIT | used), SepaDirectDebit)


@pytest.mark.parametrize("kept", [CARD, AT_STRIPE, DEBIT])
def test_where_nothing_is_owed_nothing_is_collected(kept: dict[str, Any]) -> None:
    assert payment(kept, gross=0) == TRANSFER
    assert payment(kept | {"balance_cents": 1786}) == TRANSFER


@pytest.mark.parametrize(("gross", "balance", "prepaid"), [(1786, 1000, 1000), (1786, 5000, 1786), (0, 5000, 0)])
def test_a_balance_pays_as_much_as_there_is_to_pay(gross: int, balance: int, prepaid: int) -> None:
    buyer = {"means": {"balance_cents": balance}}
    found = means_of(buyer, SELLER, gross_cents=gross, issued_on=TUESDAY, due_on=TUESDAY)
    assert found.prepaid_cents == prepaid


def test_what_a_balance_leaves_may_be_too_little() -> None:
    assert payment(CARD | {"balance_cents": 1750}).is_deferred
