"""What is still to be paid, how long it has been due, and how that was found out from invoices and payments."""

from datetime import date
from enum import StrEnum

from billing.exports import Export

PAYMENTS_SQL = """
    select payment.invoice_id, entry.id as entry_id, entry.booked_on, entry.amount_cents, entry.kind, entry.source
    from payment_entry entry
    join payment on payment.id = entry.payment_id and payment.reseller_id = entry.reseller_id
"""
"""Every entry of an invoice's payment, what takes away negative: all that open items and bookings know of payments.

`booked_on` is the day on which the money moved; kind and source are those of PaymentEntry. Neither percent sign nor
colon may stand in it: it goes into statements with parameters of either kind.
"""

COLUMNS = (
    *("reseller_id", "reseller_name", "invoice_id", "number", "period", "issued_on", "due_on", "currency"),
    *("gross_cents", "settled_cents", "open_cents", "days_overdue", "age"),
)


class Age(StrEnum):
    """How long an item has been due; on the day that it is due it is 0 days."""

    NOT_DUE = "not_due"
    DAYS_0_30 = "days_0_30"
    DAYS_31_60 = "days_31_60"
    DAYS_61_90 = "days_61_90"
    DAYS_OVER_90 = "days_over_90"


def open_items(reseller_id: str | None, *, on: date) -> Export:
    """The final invoices issued up to a day that were not settled on its evening; the oldest due comes first.

    `reseller_id` None is the operator, who reads everybody's. An invoice that was overpaid is open with a negative
    amount. The head has the sum of each `Age` and of all.
    """
    sums = ", ".join(
        (
            "'items', count(*), 'open_cents', coalesce(sum(open_cents), 0)",
            *(f"'{age}_cents', coalesce(sum(open_cents) filter (where age = '{age}'), 0)" for age in Age),
        )
    )
    return Export(
        _query(),
        COLUMNS,
        order="due_on, number",
        parameters={"reseller_id": reseller_id, "on": on},
        texts=frozenset({"reseller_name"}),
        head={
            "on": "%(on)s::date",
            "totals": f"(select json_build_object({sums}) from item)",  # noqa: S608 - made of constants only
        },
    )


def _query() -> str:
    return f"""
        select item.*,
            case when days_overdue is null then '{Age.NOT_DUE}'
                when days_overdue <= 30 then '{Age.DAYS_0_30}'
                when days_overdue <= 60 then '{Age.DAYS_31_60}'
                when days_overdue <= 90 then '{Age.DAYS_61_90}'
                else '{Age.DAYS_OVER_90}' end as age
        from (
            select invoice.reseller_id, invoice.buyer ->> 'name' as reseller_name, invoice.id as invoice_id,
                invoice.number, to_char(invoice.period_starts_on, 'YYYY-MM') as period,
                invoice.issued_on, invoice.due_on, invoice.currency, invoice.gross_cents,
                coalesce(settled.settled_cents, 0) as settled_cents,
                invoice.gross_cents - coalesce(settled.settled_cents, 0) as open_cents,
                case when invoice.due_on <= %(on)s then %(on)s - invoice.due_on end as days_overdue
            from invoice
            left join (
                select invoice_id, cast(sum(amount_cents) as bigint) as settled_cents from ({PAYMENTS_SQL}) payment
                where booked_on <= %(on)s group by invoice_id
            ) settled on settled.invoice_id = invoice.id
            where invoice.status = 'final' and invoice.issued_on <= %(on)s
                and invoice.gross_cents <> coalesce(settled.settled_cents, 0)
                and (%(reseller_id)s::text is null or invoice.reseller_id = %(reseller_id)s)
        ) item
    """  # noqa: S608 - made of constants only
