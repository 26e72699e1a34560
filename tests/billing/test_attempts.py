"""What a refusal means for the next attempt, and what a request is when it is sent again."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.attempts import (
    REPLAY_WINDOW,
    CollectionPolicy,
    Verdict,
    body_of,
    charge_of,
    hash_of,
    must_look,
    next_attempt_at,
    refund_of,
    verdict_on,
)
from billing.gateways.base import KEY_REUSED, METHOD_UNUSABLE, ChargeRequest, RefundRequest
from billing.payment_models import AttemptKind, PaymentAttempt

NOW = datetime(2026, 12, 1, 6, 0, tzinfo=UTC)


def attempt_of(request: ChargeRequest | RefundRequest, **fields: object) -> PaymentAttempt:
    body = body_of(request)
    attempt = PaymentAttempt(
        id="att_1",
        reseller_id="res_1",
        payment_id="pay_1",
        kind=AttemptKind.CHARGE,
        number=1,
        idempotency_key="key",
        amount_cents=1,
        request=body,
        request_hash=hash_of(body),
        created_at=NOW,
    )
    for name, value in fields.items():
        setattr(attempt, name, value)
    return attempt


@pytest.mark.parametrize(
    ("code", "decline_code", "verdict"),
    [
        ("card_declined", "insufficient_funds", Verdict.SOFT),
        ("card_declined", "generic_decline", Verdict.SOFT),
        ("processing_error", None, Verdict.SOFT),
        ("card_declined", "lost_card", Verdict.HARD),
        ("card_declined", "stolen_card", Verdict.HARD),
        ("expired_card", None, Verdict.HARD),
        ("nobody_knows_this", "nor_that", Verdict.HARD),
        (None, None, Verdict.HARD),
        ("authentication_required", None, Verdict.NEEDS_CUSTOMER),
        ("card_declined", "authentication_required", Verdict.NEEDS_CUSTOMER),
        ("amount_too_small", None, Verdict.TOO_SMALL),
        (METHOD_UNUSABLE, None, Verdict.METHOD_GONE),
        ("payment_intent_mandate_invalid", None, Verdict.METHOD_GONE),
        ("payment_intent_payment_attempt_failed", "debit_not_authorized", Verdict.METHOD_GONE),
    ],
)
def test_each_refusal_asks_for_something(code: str | None, decline_code: str | None, verdict: Verdict) -> None:
    assert verdict_on(code, decline_code) is verdict


def test_soft_declines_are_tried_again_on_other_days_until_the_days_are_used_up() -> None:
    policy = CollectionPolicy(retry_days=(3, 5))
    days = [next_attempt_at(number, now=NOW, policy=policy) for number in (1, 2, 3)]
    assert days == [NOW + timedelta(days=3), NOW + timedelta(days=5), None]


@given(
    amount=st.integers(1, 10**9),
    number=st.text(min_size=1, max_size=40),
    debit_on=st.none() | st.dates(),
    intent=st.none() | st.just("pi_1"),
    off_session=st.booleans(),
)
def test_a_request_that_is_sent_again_is_the_same(
    amount: int, number: str, debit_on: date | None, intent: str | None, off_session: bool
) -> None:
    request = ChargeRequest(
        payment_id="pay_1",
        attempt_id="att_1",
        invoice_id="inv_1",
        number=number,
        amount_cents=amount,
        customer_id="cus_1",
        method_id="pm_1",
        kind="card",
        intent_id=intent,
        off_session=off_session,
        debit_on=debit_on,
    )
    assert charge_of(attempt_of(request)) == request


def test_a_request_that_is_not_what_was_sent_first_is_not_sent_at_all() -> None:
    attempt = attempt_of(RefundRequest("pi_1", 500, "att_1", "inv_2"))
    assert refund_of(attempt).amount_cents == 500
    attempt.request = {**attempt.request, "amount_cents": 501}
    with pytest.raises(ValueError, match="not what was sent first"):
        refund_of(attempt)


def test_an_attempt_is_only_looked_for_once_its_key_may_be_forgotten_or_says_nothing() -> None:
    request = RefundRequest("pi_1", 500, "att_1", "inv_2")
    assert not must_look(attempt_of(request), now=NOW + REPLAY_WINDOW - timedelta(seconds=1))
    assert must_look(attempt_of(request), now=NOW + REPLAY_WINDOW)
    assert must_look(attempt_of(request, stored_errors=3), now=NOW)
    assert must_look(attempt_of(request, error_code=KEY_REUSED), now=NOW)
