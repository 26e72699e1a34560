"""Revenue per month of service and class, from the lines of final invoices."""

from datetime import date

from billing.exports import Export

COLUMNS = ("period", "service_class", "currency", "resellers", "customers", "mailbox_days", "net_cents")

_REVENUE = """
    select to_char(invoice.period_starts_on, 'YYYY-MM') as period, line.service_class, invoice.currency,
        count(distinct line.reseller_id) as resellers, count(distinct line.customer_id) as customers,
        sum(line.mailbox_days) as mailbox_days, sum(line.net_cents) as net_cents
    from invoice
    join invoice_line line on line.invoice_id = invoice.id
    where invoice.status = 'final'
        and invoice.period_starts_on >= %(starts_on)s and invoice.period_starts_on < %(ends_on)s
    group by 1, 2, 3
"""


def revenue(starts_on: date, ends_on: date) -> Export:
    """What the months that begin in `[starts_on, ends_on)` have earned, of all resellers: for the operator.

    The head has the net total, which is that of the invoices.
    """
    return Export(
        _REVENUE,
        COLUMNS,
        order="period, service_class, currency",
        parameters={"starts_on": starts_on, "ends_on": ends_on},
        head={"net_cents": "(select coalesce(sum(net_cents), 0) from item)"},
    )
