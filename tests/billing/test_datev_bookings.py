"""Bookings of invoices, cancellations and payments: the batch adds up to the invoices, accounts are the adviser's."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.documents.datev import BatchHeader, Booking, write_batch
from billing.documents.datev_bookings import (
    SKR03,
    SKR04,
    ChartOfAccounts,
    TaxedAmount,
    bank_booking,
    cancellation_bookings,
    check_tax_keys,
    invoice_bookings,
    payment_booking,
)
from billing.documents.datev_check import check_batch
from provisioning.core.errors import Invalid
from tests.billing.test_datev import HEADER

ISSUED_ON = date(2026, 11, 5)


def invoiced(chart: ChartOfAccounts = SKR03, *amounts: TaxedAmount, vat_id: str = "", count: int = 1) -> list[Booking]:
    return invoice_bookings(
        chart,
        amounts or (TaxedAmount(11_900, "S", 1900),),
        number=f"PF-2026-{count:06d}",
        debtor=chart.first_debtor + count,
        buyer="Bäckerei Groß GmbH",
        issued_on=ISSUED_ON,
        due_on=date(2026, 11, 19),
        service_on=date(2026, 10, 31),
        vat_id=vat_id,
    )


def sums_of(*bookings: Booking, header: BatchHeader = HEADER) -> dict[int, int]:
    return dict(check_batch(b"".join(write_batch(header, bookings))).balance_cents)


@pytest.mark.parametrize(
    ("category", "rate", "skr03", "skr04"),
    [
        ("S", 1900, 8400, 4400),
        ("AE", 0, 8336, 4336),
        ("O", 0, 8338, 4338),
        ("G", 0, 8338, 4338),
        ("E", 0, 8195, 4185),
    ],
)
def test_each_kind_of_tax_has_its_revenue_account(category: str, rate: int, skr03: int, skr04: int) -> None:
    assert SKR03.revenue_account(category, rate) == skr03
    assert SKR04.revenue_account(category, rate) == skr04


def test_a_rate_without_an_account_is_refused_and_not_guessed() -> None:
    with pytest.raises(Invalid, match="700 basis points"):
        SKR03.revenue_account("S", 700)


@pytest.mark.parametrize(
    ("category", "rate", "skr03", "skr04"), [("S", 1900, 2406, 6936), ("AE", 0, 2400, 6930), ("E", 0, 2400, 6930)]
)
def test_a_bad_debt_is_booked_where_its_tax_is_corrected(category: str, rate: int, skr03: int, skr04: int) -> None:
    assert SKR03.bad_debt_account(category, rate) == skr03
    assert SKR04.bad_debt_account(category, rate) == skr04
    with pytest.raises(Invalid, match="700 basis points"):
        SKR03.bad_debt_account("S", 700)


def test_fees_and_credit_have_accounts_without_tax() -> None:
    assert [(chart.fee_income, chart.credit_balance) for chart in (SKR03, SKR04)] == [(8600, 1700), (4830, 3500)]
    for chart in (SKR03, SKR04):
        assert not {chart.fee_income, chart.credit_balance, chart.bad_debts_untaxed} & chart.automatic


def test_an_invoice_debits_the_debtor_gross_without_a_tax_key() -> None:
    [booking] = invoiced()
    assert (booking.amount_cents, booking.side, booking.account, booking.contra_account) == (11_900, "S", 10_001, 8400)
    assert booking.tax_key == ""
    assert (booking.due_on, booking.service_on) == (date(2026, 11, 19), date(2026, 10, 31))
    assert sums_of(booking) == {10_001: 11_900, 8400: -11_900}


def test_a_credit_note_turns_the_side_and_a_zero_invoice_books_nothing() -> None:
    [credit] = invoiced(SKR03, TaxedAmount(-500, "S", 1900))
    assert (credit.amount_cents, credit.side) == (500, "H")
    assert invoiced(SKR03, TaxedAmount(0, "S", 1900)) == []


def test_reverse_charge_carries_the_vat_id_and_needs_it() -> None:
    [booking] = invoiced(SKR04, TaxedAmount(10_000, "AE", 0), vat_id="ATU12345678")
    assert (booking.contra_account, booking.vat_id) == (4336, "ATU12345678")
    with pytest.raises(Invalid, match="needs the buyer's VAT id"):
        invoiced(SKR04, TaxedAmount(10_000, "AE", 0))


def test_a_domestic_invoice_does_not_name_the_vat_id() -> None:
    [booking] = invoiced(SKR03, TaxedAmount(11_900, "S", 1900), vat_id="DE136695976")
    assert booking.vat_id == ""


@pytest.mark.parametrize("debtor", [9_999, 70_000])
def test_a_creditor_or_general_account_is_no_debtor(debtor: int) -> None:
    with pytest.raises(Invalid, match="10000 to 69999"):
        invoice_bookings(SKR03, [], number="PF-1", debtor=debtor, buyer="", issued_on=ISSUED_ON)


def test_a_cancellation_takes_everything_back_on_the_open_item_of_its_invoice() -> None:
    original = invoiced(SKR03, TaxedAmount(11_900, "S", 1900), TaxedAmount(500, "E", 0))
    taken_back = cancellation_bookings(original, number="PF-2026-000009", issued_on=date(2026, 11, 20))
    assert [(line.side, line.is_reversal, line.number) for line in taken_back] == [("H", True, "PF-2026-000001")] * 2
    assert taken_back[0].text == "Storno PF-2026-000009 zu PF-2026-000001"
    assert set(sums_of(*original, *taken_back).values()) == {0}


def test_a_payment_and_its_return_settle_the_invoice_and_open_it_again() -> None:
    def paid(cents: int) -> Booking:
        return payment_booking(
            SKR04,
            number="PF-2026-000001",
            debtor=10_001,
            payer="Groß",
            booked_on=date(2026, 11, 20),
            amount_cents=cents,
        )

    assert sums_of(*invoiced(SKR04), paid(11_900)) == {10_001: 0, 4400: -11_900, 1800: 11_900}
    assert sums_of(*invoiced(SKR04), paid(11_900), paid(-11_900)) == {10_001: 11_900, 4400: -11_900, 1800: 0}


def test_what_a_provider_collects_goes_through_its_transit_account() -> None:
    booking = payment_booking(
        SKR03, number="PF-1", debtor=10_001, payer="Groß", booked_on=ISSUED_ON, amount_cents=1, to=SKR03.transit
    )
    assert (booking.account, booking.side) == (1360, "S")


def test_a_payout_and_a_fee_go_over_the_bank_account() -> None:
    def booked(contra_account: int, cents: int) -> Booking:
        return bank_booking(
            SKR04,
            number="2026-226",
            contra_account=contra_account,
            booked_on=ISSUED_ON,
            amount_cents=cents,
            text="Bank",
        )

    assert sums_of(booked(SKR04.transit, 20_000), booked(SKR04.fees, -350)) == {1800: 19_650, 1460: -20_000, 6855: 350}


def test_longer_accounts_get_zeros_appended() -> None:
    chart = SKR03.lengthened(6)
    assert (chart.revenue_account("S", 1900), chart.bank) == (840_000, 120_000)
    assert (chart.bad_debt_account("S", 1900), chart.bad_debts_untaxed) == (240_600, 240_000)
    assert (chart.fee_income, chart.credit_balance) == (860_000, 170_000)
    assert (chart.first_debtor, chart.last_debtor) == (1_000_000, 6_999_999)
    bookings = invoiced(chart)
    assert sums_of(*bookings, header=replace(HEADER, account_length=6)) == {1_000_001: 11_900, 840_000: -11_900}


def test_a_tax_key_on_an_account_that_carries_its_tax_is_refused() -> None:
    [booking] = invoiced()
    with pytest.raises(Invalid, match="compute it twice"):
        list(check_tax_keys(SKR03, [booking, replace(booking, tax_key="3")]))
    elsewhere = replace(booking, contra_account=8200, tax_key="3")
    assert list(check_tax_keys(SKR03, [booking, elsewhere])) == [booking, elsewhere]


amounts = st.builds(
    TaxedAmount,
    gross_cents=st.integers(-(10**9), 10**9),
    tax_category=st.just("S"),
    rate_basis_points=st.just(1900),
) | st.builds(
    TaxedAmount,
    gross_cents=st.integers(-(10**9), 10**9),
    tax_category=st.sampled_from(["AE", "E", "O", "G"]),
    rate_basis_points=st.just(0),
)


@given(st.lists(st.lists(amounts, max_size=3), max_size=8), st.sampled_from([SKR03, SKR04]))
@settings(deadline=None, max_examples=50)
def test_the_file_of_any_invoices_adds_up_to_the_invoices(
    invoices: list[list[TaxedAmount]], chart: ChartOfAccounts
) -> None:
    bookings = [
        booking
        for count, parts in enumerate(invoices)
        if parts
        for booking in invoiced(chart, *parts, vat_id="ATU12345678", count=count)
    ]
    sums = check_batch(b"".join(write_batch(replace(HEADER, chart=chart.chart), bookings)))
    total = sum(part.gross_cents for parts in invoices for part in parts)
    assert sums.balance_of(range(chart.first_debtor, chart.last_debtor + 1)) == total
    assert sums.balance_of(chart.revenue) == -total
    assert sums.bookings == sum(part.gross_cents != 0 for parts in invoices for part in parts)
