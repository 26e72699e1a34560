"""What a document says of the money: who moves how much by when, and nothing that will not happen."""

from typing import Any

import pytest

from billing.documents.demand import day_of, demand_of, note_of, particulars_of, sentence_of
from billing.documents.payment_means import Card, OnlineDebit
from tests.billing.documents.corpus import CORPUS, DEBIT, ONLINE, document

CARD = Card("4242", code="48")

SENTENCES = {
    ("debit", "de"): "Wir ziehen 17,86 € am 15.12.2026 per SEPA-Lastschrift von Ihrem Konto ein. Dieses Dokument ist "
    "zugleich die Vorabankündigung (Pre-Notification).",
    ("debit", "en"): "We collect €17.86 on 2026-12-15 by SEPA direct debit from your account. This document is the "
    "pre-notification as well.",
    ("card", "de"): "Wir belasten Ihre Karte mit den Endziffern 4242 mit 17,86 €. Sie müssen nichts überweisen.",
    ("card", "en"): "We charge €17.86 to your card ending in 4242. No transfer is needed.",
    (
        "service",
        "de",
    ): "17,86 € zieht Stripe am 15.12.2026 per SEPA-Lastschrift von Ihrem Konto mit den Endziffern "
    "3000 ein. Sie müssen nichts überweisen.",
    ("service", "en"): "Stripe collects €17.86 on 2026-12-15 by SEPA direct debit from your account ending in 3000. "
    "No transfer is needed.",
}
PAYMENTS: dict[str, Any] = {"debit": DEBIT, "card": CARD, "service": ONLINE}


@pytest.mark.parametrize(("means", "language"), SENTENCES)
def test_who_collects_is_said_with_amount_and_day(means: str, language: Any) -> None:
    demand = demand_of(document(payment=PAYMENTS[means], language=language))
    assert sentence_of(demand) == SENTENCES[means, language]


def test_small_amounts_of_before_are_charged_with_it_and_said() -> None:
    card = sentence_of(demand_of(CORPUS["card with small ones before it"]))
    assert "mit 18,23 €. Darin sind 0,37 € aus früheren Rechnungen" in card


@pytest.mark.parametrize("payment", [Card("4242", is_deferred=True), OnlineDebit("Stripe", "3000", is_deferred=True)])
def test_what_is_too_little_waits_for_the_next_invoice(payment: Any) -> None:
    said = sentence_of(demand_of(document(payment=payment)))
    assert said == (
        "17,86 € sind für einen eigenen Einzug zu wenig und werden mit der nächsten Rechnung eingezogen. "
        "Sie müssen nichts überweisen."
    )


@pytest.mark.parametrize("payment", [DEBIT, CARD, ONLINE])
def test_where_nothing_is_left_to_pay_nothing_is_announced(payment: Any) -> None:
    demand = demand_of(document(payment=payment, prepaid_cents=1786))
    assert sentence_of(demand) == "Es ist nichts zu zahlen."
    assert (list(particulars_of(demand)), day_of(demand), note_of(demand)) == ([], None, None)


@pytest.mark.parametrize(
    "name",
    [
        *("cancellation of a debit", "cancellation of a debit by a service", "cancellation of a card payment"),
        *("correction in English", "cancellation as credit note"),
    ],
)
def test_a_correction_gives_back_and_collects_nothing(name: str) -> None:
    demand = demand_of(CORPUS[name])
    assert sentence_of(demand).startswith(("Wir erstatten Ihnen", "We refund"))
    assert (list(particulars_of(demand)), day_of(demand), note_of(demand)) == ([], None, None)


def test_the_day_is_called_what_it_is() -> None:
    days = {name: day_of(demand_of(document(payment=each))) for name, each in PAYMENTS.items()}
    assert days == {
        "debit": ("Einzug am", "15.12.2026"),
        "card": ("Fällig am", "15.12.2026"),
        "service": ("Einzug am", "15.12.2026"),
    }
    assert day_of(demand_of(document())) == ("Zahlbar bis", "15.12.2026")
    assert day_of(demand_of(CORPUS["due by terms only"])) is None
