"""Which invoices a payment settles: found however it is written, never guessed."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.documents.camt import StatementEntry
from billing.documents.matching import Match, MatchReason, OpenItem, match, match_return
from billing.iban import creditor_reference


def item(count: int, open_cents: int = 11_900, **changes: Any) -> OpenItem:
    number = f"PF-2026-{count:06d}"
    return replace(OpenItem(f"inv_{count}", number, open_cents, reference=creditor_reference(number)), **changes)


def paid(text: str = "", amount_cents: int = 11_900, **changes: Any) -> StatementEntry:
    day = date(2026, 11, 24)
    entry = StatementEntry(
        account_iban="DE89370400440532013000",
        statement_id="1",
        key="k",
        amount_cents=amount_cents,
        currency="EUR",
        booked_on=day,
        value_on=day,
        counterparty="Bäckerei Groß",
        counterparty_iban="AT611904300234573201",
        remittance=text,
        references=(),
        end_to_end_id="",
        mandate_reference="",
        return_reason="",
        is_reversal=False,
        transactions=1,
        transaction_code="",
    )
    return replace(entry, **changes)


ONE, TWO, THREE = item(1), item(2), item(3, 5_000)


class TestFreeText:
    @pytest.mark.parametrize(
        "text",
        [
            "PF-2026-000001",
            "Rechnung PF-2026-000001 vom 05.11.2026, danke",
            "pf 2026 000001",
            "PF2026000001",
            "PF - 2026 - 000 001",
            "RE.NR.: pf/2026/000001",
            "PF-2O26-OOOOO1",
            "PF-2026-00000I",
            "Kd. 4711 PF-2026-\n000001",
            "EREF+NOTPROVIDED SVWZ+PF-2026-000001",
            "PF-2026-000001vom 5.11.",
            "RF88 PF20 2600 0001",
        ],
    )
    def test_a_number_is_found_however_it_is_written(self, text: str) -> None:
        assert match(paid(text), [ONE, TWO]) == Match((ONE,), MatchReason.NUMBER)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "Rechnung",
            "2026 000001",
            "PF-2026-0000012",
            "XPF-2026-000001",
            "PF-2026-00001",
            "PF-2026-000001O",
            "000001",
        ],
    )
    def test_another_number_that_holds_it_is_not_it(self, text: str) -> None:
        assert match(paid(text), [ONE]) == Match((), MatchReason.NOTHING_NAMED)

    def test_several_invoices_in_one_transfer_are_all_settled(self) -> None:
        text = "PF-2026-000001, PF-2026-000002 und PF 2026 000003"
        assert match(paid(text, 28_800), [ONE, TWO, THREE]) == Match((ONE, TWO, THREE), MatchReason.NUMBER)

    def test_one_that_is_paid_already_does_not_disturb(self) -> None:
        text = "PF-2026-000001 PF-2026-000002"
        assert match(paid(text), [replace(ONE, open_cents=0), TWO]).items == (TWO,)

    def test_the_amount_is_a_second_factor(self) -> None:
        assert match(paid("PF-2026-000001", 11_899), [ONE]) == Match((), MatchReason.AMOUNT_DIFFERS, (ONE,), -1)

    def test_several_that_do_not_add_up_wait_for_a_person(self) -> None:
        found = match(paid("PF-2026-000001 PF-2026-000002", 11_900), [ONE, TWO])
        assert found == Match((), MatchReason.AMBIGUOUS, (ONE, TWO), -11_900)

    def test_the_amount_alone_settles_nothing(self) -> None:
        assert match(paid("Danke!"), [ONE]).items == ()

    def test_a_short_number_is_not_looked_for_in_free_text(self) -> None:
        assert match(paid("Rechnung 2026"), [replace(ONE, number="2026", reference="")]).items == ()

    def test_another_currency_settles_nothing(self) -> None:
        assert match(paid("PF-2026-000001"), [replace(ONE, currency="CHF")]).items == ()

    def test_one_number_on_two_items_is_ambiguous(self) -> None:
        twin = replace(ONE, id="inv_9")
        assert match(paid("PF-2026-000001", 23_800), [ONE, twin]) == Match((), MatchReason.AMBIGUOUS, (ONE, twin))


class TestReferences:
    def test_a_structured_reference_is_settled_by_any_amount(self) -> None:
        references = (ONE.reference,)
        assert match(paid(references=references), [ONE, TWO]) == Match((ONE,), MatchReason.REFERENCE)
        partly = match(paid(amount_cents=5_000, references=references), [ONE, TWO])
        assert partly == Match((ONE,), MatchReason.REFERENCE, difference_cents=-6_900)
        assert not partly.is_exact

    def test_an_end_to_end_id_is_settled_by_any_amount(self) -> None:
        debit = replace(ONE, end_to_end_id="E2E-1")
        found = match(paid(end_to_end_id="E2E-1", amount_cents=12_000), [debit, TWO])
        assert found == Match((debit,), MatchReason.END_TO_END_ID, difference_cents=100)

    def test_a_payer_may_put_the_number_into_the_end_to_end_id(self) -> None:
        assert match(paid(end_to_end_id="PF-2026-000001"), [ONE]) == Match((ONE,), MatchReason.NUMBER)

    def test_a_reference_and_a_number_that_disagree_wait_for_a_person(self) -> None:
        found = match(paid("PF-2026-000002", references=(ONE.reference,)), [ONE, TWO])
        assert found == Match((), MatchReason.AMBIGUOUS, (ONE, TWO), -11_900)

    def test_a_reference_and_a_number_that_add_up_are_both_settled(self) -> None:
        found = match(paid("PF-2026-000002", 23_800, references=(ONE.reference,)), [ONE, TWO])
        assert found == Match((ONE, TWO), MatchReason.REFERENCE)


class TestReturns:
    DEBIT = replace(ONE, end_to_end_id="E2E-1")

    def returned(self, amount_cents: int = -11_900, **changes: Any) -> StatementEntry:
        return replace(paid(amount_cents=amount_cents, end_to_end_id="E2E-1", return_reason="MD06"), **changes)

    def test_a_returned_debit_is_found_by_its_end_to_end_id(self) -> None:
        assert match_return(self.returned(), [self.DEBIT, TWO]) == Match((self.DEBIT,), MatchReason.END_TO_END_ID)

    def test_the_fee_of_the_bank_is_told(self) -> None:
        found = match_return(self.returned(-12_250), [self.DEBIT])
        assert (found.items, found.difference_cents) == ((self.DEBIT,), -350)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"end_to_end_id": "E2E-2"}, MatchReason.NOTHING_NAMED),
            ({"end_to_end_id": ""}, MatchReason.NOTHING_NAMED),
            ({"amount_cents": -11_899}, MatchReason.AMOUNT_DIFFERS),
            ({"currency": "CHF"}, MatchReason.AMOUNT_DIFFERS),
            ({"transactions": 2}, MatchReason.NOT_ITEMISED),
            ({"return_reason": ""}, MatchReason.NOT_INCOMING),
            ({"amount_cents": 11_900}, MatchReason.NOT_INCOMING),
        ],
    )
    def test_anything_else_waits_for_a_person(self, changes: dict[str, Any], reason: MatchReason) -> None:
        found = match_return(self.returned(**changes), [self.DEBIT])
        assert (found.items, found.reason) == ((), reason)

    def test_one_id_on_two_debits_is_ambiguous(self) -> None:
        twin = replace(self.DEBIT, id="inv_9")
        assert match_return(self.returned(), [self.DEBIT, twin]).reason is MatchReason.AMBIGUOUS

    @pytest.mark.parametrize("changes", [{"amount_cents": -11_900}, {"amount_cents": 0}, {"return_reason": "AC04"}])
    def test_what_is_no_payment_to_us_settles_nothing(self, changes: dict[str, Any]) -> None:
        assert match(paid("PF-2026-000001", **changes), [ONE]) == Match((), MatchReason.NOT_INCOMING)

    def test_a_batch_that_is_not_itemised_settles_nothing(self) -> None:
        assert match(paid("PF-2026-000001", transactions=2), [ONE]) == Match((), MatchReason.NOT_ITEMISED)


@given(
    st.sets(st.integers(0, 999_999), min_size=1, max_size=30),
    st.data(),
    st.sampled_from(["", " ", "-", "/", ". ", "\n"]),
    st.booleans(),
)
@settings(deadline=None)
def test_of_many_open_items_exactly_the_named_ones_are_settled(
    counts: set[int], data: st.DataObject, separator: str, is_lower: bool
) -> None:
    items = [item(count, 100 + count) for count in sorted(counts)]
    named = data.draw(st.lists(st.sampled_from(items), min_size=1, unique=True))
    text = " und ".join(one.number.replace("-", separator) for one in named)
    entry = paid(text.lower() if is_lower else text, sum(one.open_cents for one in named))
    assert set(match(entry, items).items) == set(named)
    assert match(replace(entry, amount_cents=entry.amount_cents + 1), items).items == ()


@given(st.text(), st.integers(1, 10**6))
@settings(deadline=None)
def test_no_text_makes_it_fail(text: str, cents: int) -> None:
    found = match(paid(text, cents), [ONE, TWO])
    assert sum(one.open_cents for one in found.items) in {0, cents}
