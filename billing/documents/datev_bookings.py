"""From invoices, cancellations and payments to bookings; the accounts are data, of SKR03 or SKR04 or one's own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from types import MappingProxyType
from typing import Final
from uuid import UUID

from billing.documents.datev import Booking, document_number
from provisioning.core.errors import Invalid


@dataclass(frozen=True, slots=True)
class ChartOfAccounts:
    """The accounts that bookings use, by VAT category code (BT-118); the tax adviser may want others.

    `standard` maps a rate in basis points to its revenue account (category S). `automatic` are accounts that carry
    their tax by themselves, on which a tax key is an error. `transit` takes what a payment provider holds until
    it pays out, `fees` what banks and providers charge for payments. Debtors are `[first_debtor, last_debtor]`,
    both included, one digit longer than the others.
    """

    chart: str
    standard: Mapping[int, int]
    reverse_charge: int
    third_country: int
    small_business: int
    bank: int
    transit: int
    fees: int
    automatic: frozenset[int]
    account_length: int = 4
    first_debtor: int = 10_000
    last_debtor: int = 69_999

    def revenue_account(self, tax_category: str, rate_basis_points: int) -> int:
        """Return the revenue account of a VAT category code and rate; one not in the chart raises Invalid."""
        others = {"AE": self.reverse_charge, "E": self.small_business, "G": self.third_country, "O": self.third_country}
        account = self.standard.get(rate_basis_points) if tax_category == "S" else others.get(tax_category)
        if account is None:
            raise Invalid(
                f"The chart of accounts has no revenue account for VAT category {tax_category} at "
                f"{rate_basis_points} basis points: add one.",
                code="datev_no_account",
            )
        return account

    def lengthened(self, account_length: int) -> "ChartOfAccounts":
        """Return the chart for books with longer accounts, 5 to 8 digits: DATEV appends zeros, 8400 is 84000."""
        factor = 10 ** (account_length - self.account_length)
        return replace(
            self,
            standard=MappingProxyType({rate: account * factor for rate, account in self.standard.items()}),
            reverse_charge=self.reverse_charge * factor,
            third_country=self.third_country * factor,
            small_business=self.small_business * factor,
            bank=self.bank * factor,
            transit=self.transit * factor,
            fees=self.fees * factor,
            automatic=frozenset(account * factor for account in self.automatic),
            account_length=account_length,
            first_debtor=self.first_debtor * factor,
            last_debtor=(self.last_debtor + 1) * factor - 1,
        )


SKR03: Final = ChartOfAccounts(
    chart="03",
    standard=MappingProxyType({1900: 8400}),
    reverse_charge=8336,
    third_country=8338,
    small_business=8195,
    bank=1200,
    transit=1360,
    fees=4970,
    automatic=frozenset({8400, 8336, 8338, 8195}),
)

SKR04: Final = ChartOfAccounts(
    chart="04",
    standard=MappingProxyType({1900: 4400}),
    reverse_charge=4336,
    third_country=4338,
    small_business=4185,
    bank=1800,
    transit=1460,
    fees=6855,
    automatic=frozenset({4400, 4336, 4338, 4185}),
)


@dataclass(frozen=True, slots=True)
class TaxedAmount:
    """The part of an invoice with one VAT category (BT-118) and rate: its net and tax together, in cents.

    Negative on a credit note.
    """

    gross_cents: int
    tax_category: str
    rate_basis_points: int


def invoice_bookings(
    chart: ChartOfAccounts,
    amounts: Iterable[TaxedAmount],
    *,
    number: str,
    debtor: int,
    buyer: str,
    issued_on: date,
    due_on: date | None = None,
    service_on: date | None = None,
    vat_id: str = "",
    document_id: UUID | None = None,
) -> list[Booking]:
    """Return one booking for each amount but zero, debtor against revenue; a negative one credits the debtor.

    `service_on` is the last day of the period of service. Reverse charge (AE) without the buyer's VAT id raises
    Invalid: the recapitulative statement is made from it.
    """
    if not chart.first_debtor <= debtor <= chart.last_debtor:
        raise Invalid(
            f"Account {debtor} is no debtor: those are {chart.first_debtor} to {chart.last_debtor}.",
            code="datev_debtor",
        )
    bookings = []
    for amount in amounts:
        if amount.tax_category == "AE" and not vat_id:
            raise Invalid(f"{number} is reverse charge and needs the buyer's VAT id.", code="datev_vat_id")
        if amount.gross_cents != 0:
            bookings.append(
                Booking(
                    abs(amount.gross_cents),
                    "S" if amount.gross_cents > 0 else "H",
                    account=debtor,
                    contra_account=chart.revenue_account(amount.tax_category, amount.rate_basis_points),
                    document_on=issued_on,
                    number=document_number(number),
                    text=f"{number} {buyer}",
                    due_on=due_on,
                    service_on=service_on,
                    vat_id=vat_id if amount.tax_category == "AE" else "",
                    document_id=document_id,
                )
            )
    return bookings


def cancellation_bookings(bookings: Iterable[Booking], *, number: str, issued_on: date) -> list[Booking]:
    """Return what takes an invoice's bookings back by a cancellation `number`: Generalumkehr, the side turned.

    Belegfeld 1 stays that of the cancelled invoice, so that DATEV settles its open item.
    """
    return [
        replace(
            booking,
            side="H" if booking.side == "S" else "S",
            document_on=issued_on,
            text=f"Storno {number} zu {booking.number}",
            due_on=None,
            is_reversal=True,
        )
        for booking in bookings
    ]


def payment_booking(
    chart: ChartOfAccounts, *, number: str, debtor: int, payer: str, booked_on: date, amount_cents: int, to: int = 0
) -> Booking:
    """Return a payment of an invoice, bank against debtor; a negative one is a return or a refund.

    `number` is the invoice's. `to` is the account that took the money, `chart.bank` where it is not given.
    """
    return Booking(
        abs(amount_cents),
        "S" if amount_cents > 0 else "H",
        account=to or chart.bank,
        contra_account=debtor,
        document_on=booked_on,
        number=document_number(number),
        text=f"{'Zahlung' if amount_cents > 0 else 'Rückzahlung'} {number} {payer}",
    )


def bank_booking(
    chart: ChartOfAccounts, *, number: str, contra_account: int, booked_on: date, amount_cents: int, text: str
) -> Booking:
    """Return what came onto the bank account (positive) or left it, against an account that is no debtor's.

    A provider's payout is against `chart.transit`, a return's fee against `chart.fees`. `number` is the statement's.
    """
    return Booking(
        abs(amount_cents),
        "S" if amount_cents > 0 else "H",
        account=chart.bank,
        contra_account=contra_account,
        document_on=booked_on,
        number=document_number(number),
        text=text,
    )


def check_tax_keys(chart: ChartOfAccounts, bookings: Iterable[Booking]) -> Iterable[Booking]:
    """Yield the bookings; one with a tax key on an account that carries its tax by itself raises Invalid."""
    for booking in bookings:
        if booking.tax_key and {booking.account, booking.contra_account} & chart.automatic:
            raise Invalid(
                f"{booking.number} has tax key {booking.tax_key} on an account that computes the tax by itself: "
                "DATEV would compute it twice. Leave the key empty.",
                code="datev_tax_key",
            )
        yield booking
