"""What a banking app reads off the invoice."""

import pytest
import segno

from billing.documents.girocode import (
    girocode_of,
    girocode_payload,
    make_qr,
    qr_svg,
)
from billing.iban import creditor_reference
from tests.billing.documents.corpus import CORPUS, document


def test_the_payload_has_the_lines_of_the_standard() -> None:
    payload = girocode_of(document())
    assert payload is not None
    assert payload.split("\n") == [
        *("BCD", "002", "1", "SCT", "BYLADEM1001", "Fachwerk Postdienste GmbH", "DE02120300000000202051", "EUR17.86"),
        *("", creditor_reference("PF-2026-000042")),
    ]


@pytest.mark.parametrize("amount_cents", [0, -1, 100_000_000_000])
def test_an_amount_the_standard_does_not_know_is_refused(amount_cents: int) -> None:
    with pytest.raises(ValueError, match="cents"):
        girocode_payload(name="A", iban="DE02120300000000202051", amount_cents=amount_cents, reference="RF731")


def test_a_long_name_is_cut_and_still_fits_with_umlauts() -> None:
    payload = girocode_payload(
        name="Ä" * 100, iban="DE02120300000000202051", amount_cents=99_999_999_999, reference=f"RF00{'A' * 21}"
    )
    assert payload.split("\n")[5] == "Ä" * 70
    assert len(payload.encode()) <= 331
    assert int(make_qr(payload).version) <= 13


def test_the_symbol_has_the_error_correction_of_the_standard_and_says_the_payload() -> None:
    payload = girocode_of(document()) or ""
    code = make_qr(payload)
    assert code.error == "M"
    assert code.matrix == segno.make(payload, error="m", micro=False, boost_error=False, encoding="utf-8").matrix
    assert qr_svg(payload).startswith("<svg")


@pytest.mark.parametrize(
    "name",
    ["debit", "credit card", "transfer outside SEPA", "nothing to pay", "negative total", "all prepaid", "millions"],
)
def test_only_a_transfer_that_a_bank_can_make_has_a_code(name: str) -> None:
    assert girocode_of(CORPUS[name]) is None


def test_a_correction_has_no_code() -> None:
    assert girocode_of(CORPUS["cancellation as credit note"]) is None


def test_the_code_asks_for_what_is_left_to_pay() -> None:
    assert "EUR7.86" in (girocode_of(CORPUS["part prepaid"]) or "")
