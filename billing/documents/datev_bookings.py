"""From invoices, corrections, payments, fees and bad debts to bookings; the accounts are data, of SKR03 or SKR04.

Sources of the accounts: DATEV's 2406/6936 (bad debts at 19 % VAT) correct the VAT under section 17 (2) no. 1 UStG by
themselves, 2400/6930 have no tax (Haufe Finance Office, "Forderungsausfall"; NWB, "ABC der Umsatzsteuer-Kontierung").
Dunning fees are damages and bear no VAT (UStAE 1.3 (6)); they are other operating income, 8600/4830 without a tax key,
which advisers do not all agree on, so that `with_fee_income` takes another one. Money that belongs to a debtor is an
other liability, 1700/3500, and must not be set off against what others owe (section 246 (2) HGB).
"""

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
    fee_income: int
    bad_debts: Mapping[int, int]
    bad_debts_untaxed: int
    credit_balance: int
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

    @property
    def revenue(self) -> frozenset[int]:
        """All accounts that invoices are booked on."""
        untaxed = (self.reverse_charge, self.third_country, self.small_business)
        return frozenset((*self.standard.values(), *untaxed))

    @property
    def losses(self) -> frozenset[int]:
        """All accounts that bad debts are booked on."""
        return frozenset((*self.bad_debts.values(), self.bad_debts_untaxed))

    def bad_debt_account(self, tax_category: str, rate_basis_points: int) -> int:
        """Return the account of a bad debt from an invoice with this VAT; a rate not in the chart raises Invalid."""
        account = self.bad_debts.get(rate_basis_points) if tax_category == "S" else self.bad_debts_untaxed
        if account is None:
            raise Invalid(
                f"The chart of accounts has no account for bad debts at {rate_basis_points} basis points: add one.",
                code="datev_no_account",
            )
        return account

    def with_fee_income(self, account: int) -> "ChartOfAccounts":
        """Return the chart with another account for fees; one that is used for something else raises Invalid.

        On an account that carries its tax by itself, VAT would be taken out of the fees.
        """
        others = {self.bank, self.transit, self.fees, self.credit_balance, *self.revenue, *self.losses, *self.automatic}
        if account in others or len(str(account)) != self.account_length:
            raise Invalid(
                f"Account {account} cannot take fees: it needs {self.account_length} digits, no tax of its own, and "
                "nothing else on it.",
                code="datev_fee_account",
            )
        return replace(self, fee_income=account)

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
            fee_income=self.fee_income * factor,
            bad_debts=MappingProxyType({rate: account * factor for rate, account in self.bad_debts.items()}),
            bad_debts_untaxed=self.bad_debts_untaxed * factor,
            credit_balance=self.credit_balance * factor,
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
    fee_income=8600,
    bad_debts=MappingProxyType({1900: 2406}),
    bad_debts_untaxed=2400,
    credit_balance=1700,
    automatic=frozenset({8400, 8336, 8338, 8195, 2406}),
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
    fee_income=4830,
    bad_debts=MappingProxyType({1900: 6936}),
    bad_debts_untaxed=6930,
    credit_balance=3500,
    automatic=frozenset({4400, 4336, 4338, 4185, 6936}),
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

    Belegfeld 1 stays that of the cancelled invoice, so that DATEV settles its open item. The tax is corrected in the
    period of the cancellation (section 17 (1) sentence 8 UStG), so the day of service is left out.
    """
    return [
        replace(
            booking,
            side="H" if booking.side == "S" else "S",
            document_on=issued_on,
            text=f"Storno {number} zu {booking.number}",
            due_on=None,
            service_on=None,
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


def fee_booking(
    chart: ChartOfAccounts, *, number: str, debtor: int, payer: str, booked_on: date, amount_cents: int, name: str
) -> Booking:
    """Return a fee beside the invoice `number`, debtor against income without tax; a negative one is waived.

    What is waived takes the income back (Generalumkehr). `name` says what the fee is for.
    """
    is_waived = amount_cents < 0
    return Booking(
        abs(amount_cents),
        "H" if is_waived else "S",
        account=debtor,
        contra_account=chart.fee_income,
        document_on=booked_on,
        number=document_number(number),
        text=f"{name}{' erlassen' if is_waived else ''} {number} {payer}",
        is_reversal=is_waived,
    )


def bad_debt_booking(
    chart: ChartOfAccounts, lost: TaxedAmount, *, number: str, debtor: int, payer: str, booked_on: date
) -> Booking:
    """Return what is given up of the invoice `number`, or of a fee beside it (category O), bad debts against debtor.

    With VAT the account corrects it by itself, in the period of the booking (section 17 (2) no. 1 UStG).
    """
    return Booking(
        abs(lost.gross_cents),
        "S" if lost.gross_cents > 0 else "H",
        account=chart.bad_debt_account(lost.tax_category, lost.rate_basis_points),
        contra_account=debtor,
        document_on=booked_on,
        number=document_number(number),
        text=f"Forderungsverlust {number} {payer}",
    )


def carry_over_booking(
    chart: ChartOfAccounts, *, number: str, debtor: int, payer: str, booked_on: date, amount_cents: int
) -> Booking:
    """Return what a debtor's credit pays of the invoice `number`; negative is what was too much and becomes credit.

    From one invoice to another it is two bookings, so that DATEV settles both open items.
    """
    return Booking(
        abs(amount_cents),
        "S" if amount_cents > 0 else "H",
        account=chart.credit_balance,
        contra_account=debtor,
        document_on=booked_on,
        number=document_number(number),
        text=f"{'Guthaben verrechnet' if amount_cents > 0 else 'Überzahlung'} {number} {payer}",
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
