"""Invoices and what was booked on their payments, as rows of the database and as the bookings they become.

A row is an invoice, or one entry of its payment: receipts, fees, what is given up, corrections, and credit that is
carried over. All of them touch the debtor, so that its account holds what the open items say.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from billing import open_items
from billing.documents.datev import Booking
from billing.documents.datev_bookings import (
    ChartOfAccounts,
    TaxedAmount,
    bad_debt_booking,
    cancellation_bookings,
    carry_over_booking,
    fee_booking,
    invoice_bookings,
    payment_booking,
)
from billing.documents.datev_check import BatchSums


@dataclass(slots=True)
class Sums:
    """What bookings come to, in cents and pieces: invoices less their corrections, fees less what was waived of them,
    what was given up as lost, and what of the debtors' credit has paid invoices; a refund is a negative payment.
    """

    invoice_cents: int = 0
    payment_cents: int = 0
    fee_cents: int = 0
    write_off_cents: int = 0
    carried_cents: int = 0
    bookings: int = 0

    @property
    def open_cents(self) -> int:
        """By how much more is open afterwards."""
        return self.invoice_cents + self.fee_cents - self.payment_cents - self.write_off_cents - self.carried_cents

    @classmethod
    def of_row(cls, row: Any) -> Self:
        """What the database says of all rows of the statement this one belongs to."""
        return cls(*(getattr(row, f"all_{each.name}") for each in fields(cls)))

    @classmethod
    def of_batch(cls, batch: BatchSums, chart: ChartOfAccounts) -> Self:
        """What the accounts of a batch say; revenue accounts carry their tax, so they hold the invoices' gross."""
        return cls(
            -batch.balance_of(chart.revenue),
            batch.balance_of((chart.bank, chart.transit)),
            -batch.balance_of((chart.fee_income,)),
            batch.balance_of(chart.losses),
            batch.balance_of((chart.credit_balance,)),
            batch.bookings,
        )

    def add(self, other: "Sums") -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


INVOICED: Final = "status = 'final' and issued_on >= :starts_on and issued_on < :ends_on and gross_cents <> 0"

MOVED: Final = f"""
    select * from ({open_items.PAYMENTS_SQL}) payment where booked_on >= :starts_on and booked_on < :ends_on
"""  # noqa: S608 - made of constants only

_MONEY_CAME_IN: Final = ("bank", "manual")
_OTHERS_HAVE_NO_TAX: Final = ("O", 0)

BOOKINGS_SQL: Final = f"""
    with booking as (
        select 'invoice' as kind, id as invoice_id, cast(null as text) as entry_id, issued_on as document_on,
            gross_cents as amount_cents, cast(null as text) as source
        from invoice where {INVOICED}
        union all
        select case when kind in ('receipt', 'refund', 'chargeback') then 'payment'
                when kind = 'fee' and left(source, 9) = 'write-off' then 'lost_fee' else kind end,
            invoice_id, entry_id, booked_on, amount_cents, source
        from ({MOVED}) moved
    )
    select sums.*, named.*
    from (
        select
            cast(coalesce(sum(amount_cents) filter (where kind = 'invoice'), 0)
                - coalesce(sum(amount_cents) filter (where kind = 'credit_note'), 0) as bigint) as all_invoice_cents,
            cast(coalesce(sum(amount_cents) filter (where kind = 'payment'), 0) as bigint) as all_payment_cents,
            cast(coalesce(-sum(amount_cents) filter (where kind = 'fee'), 0) as bigint) as all_fee_cents,
            cast(coalesce(sum(amount_cents) filter (where kind in ('write_off', 'lost_fee')), 0) as bigint)
                as all_write_off_cents,
            cast(coalesce(sum(amount_cents) filter (where kind = 'carry_over'), 0) as bigint) as all_carried_cents,
            count(*) as all_bookings
        from booking
    ) sums
    left join (
        select booking.*, invoice.number, invoice.tax_category, invoice.rate_basis_points, invoice.due_on,
            invoice.period_ends_on - 1 as service_on, invoice.buyer ->> 'name' as buyer,
            invoice.buyer ->> 'vat_id' as vat_id, debtor_account.number as debtor,
            note.number as note_number, note.kind as note_kind
        from booking
        join invoice on invoice.id = booking.invoice_id
        join debtor_account on debtor_account.reseller_id = invoice.reseller_id
        left join credit_note note on booking.kind = 'credit_note' and note.id = substr(booking.source, 4)
            and note.reseller_id = invoice.reseller_id
    ) named on true
    order by document_on, number, entry_id nulls first
"""  # noqa: S608 - made of constants only
"""Each booking to be, and beside it what all of them must come to, counted before anything is joined.

Where there is none there is still a row with the sums, without a `kind`. A credit note's entry is known by its id, and
one that was given to a refund without our having issued it has no number.
"""

DEBTORS_SQL: Final = f"""
    select debtor_account.number as debtor, reseller.*
    from debtor_account join reseller on reseller.id = debtor_account.reseller_id
    where reseller.id in (
        select reseller_id from invoice where {INVOICED}
        union
        select invoice.reseller_id from ({MOVED}) moved join invoice on invoice.id = moved.invoice_id
    )
    order by debtor_account.number
"""  # noqa: S608 - made of constants only


def bookings_of(chart: ChartOfAccounts, rows: Iterable[Any]) -> list[Booking]:
    """The bookings of rows of BOOKINGS_SQL, one each. Raises Invalid for what DATEV cannot hold."""
    return [booking for row in rows for booking in _BOOKED[row.kind](chart, row)]


def _invoice(chart: ChartOfAccounts, row: Any) -> list[Booking]:
    amount = TaxedAmount(row.amount_cents, row.tax_category, row.rate_basis_points)
    return invoice_bookings(
        chart,
        [amount],
        number=row.number,
        debtor=_debtor(chart, row),
        buyer=row.buyer,
        issued_on=row.document_on,
        due_on=row.due_on,
        service_on=row.service_on,
        vat_id=row.vat_id or "",
    )


def _credit_note(chart: ChartOfAccounts, row: Any) -> list[Booking]:
    is_cancellation = row.note_kind == "cancellation"
    gross = row.amount_cents if is_cancellation else -row.amount_cents
    amount = TaxedAmount(gross, row.tax_category, row.rate_basis_points)
    bookings = invoice_bookings(
        chart,
        [amount],
        number=row.number,
        debtor=_debtor(chart, row),
        buyer=f"Korrektur {row.note_number or ''}".rstrip(),
        issued_on=row.document_on,
        vat_id=row.vat_id or "",
    )
    if is_cancellation:
        bookings = cancellation_bookings(bookings, number=row.note_number, issued_on=row.document_on)
    return bookings


def _payment(chart: ChartOfAccounts, row: Any) -> list[Booking]:
    is_in_bank = row.source.startswith(_MONEY_CAME_IN)
    to = chart.bank if is_in_bank else chart.transit
    return [payment_booking(chart, **_moved(chart, row), amount_cents=row.amount_cents, to=to)]


def _fee(chart: ChartOfAccounts, row: Any) -> list[Booking]:
    name = "Mahngebühr" if row.source.startswith("dun_") else "Rücklastschriftgebühr"
    if row.amount_cents > 0:  # given back: nobody knows which of several
        name = "Gebühr"
    return [fee_booking(chart, **_moved(chart, row), amount_cents=-row.amount_cents, name=name)]


def _write_off(chart: ChartOfAccounts, row: Any) -> list[Booking]:
    lost = TaxedAmount(row.amount_cents, row.tax_category, row.rate_basis_points)
    return [bad_debt_booking(chart, lost, **_moved(chart, row))]


def _lost_fee(chart: ChartOfAccounts, row: Any) -> list[Booking]:
    return [bad_debt_booking(chart, TaxedAmount(row.amount_cents, *_OTHERS_HAVE_NO_TAX), **_moved(chart, row))]


def _carry_over(chart: ChartOfAccounts, row: Any) -> list[Booking]:
    return [carry_over_booking(chart, **_moved(chart, row), amount_cents=row.amount_cents)]


_BOOKED: Final[dict[str, Callable[[ChartOfAccounts, Any], list[Booking]]]] = {
    "invoice": _invoice,
    "credit_note": _credit_note,
    "payment": _payment,
    "fee": _fee,
    "write_off": _write_off,
    "lost_fee": _lost_fee,
    "carry_over": _carry_over,
}


def _moved(chart: ChartOfAccounts, row: Any) -> dict[str, Any]:
    return {
        "number": row.number,
        "debtor": _debtor(chart, row),
        "payer": row.buyer,
        "booked_on": row.document_on,
    }


def _debtor(chart: ChartOfAccounts, row: Any) -> int:
    return chart.first_debtor + int(row.debtor)
