"""What was in service in a month, mailbox by mailbox: for tools that bill by contract and want stable ids."""

from datetime import datetime

from billing.exports import Export
from billing.invoices import CARRIED_OVER, CONTINUES
from billing.periods import BillingMonth, berlin_day
from provisioning.ledger import EXTERNAL_IDS_SQL

COLUMNS = (
    *("period", "reseller_id", "customer_id", "customer_external_id", "customer_name"),
    *("mailbox_id", "mailbox_external_id", "address", "service_class", "location", "starts_on", "ends_on"),
    *("mailbox_days", "base_days", "quantity", "start_reason", "end_reason"),
)
TEXTS = frozenset({"customer_external_id", "customer_name", "mailbox_external_id", "address", "location"})

# A period that is still open counts to the month's end, as in a preview; LEAST passes over its null.
_STAYS = f"""
    select to_char(%(starts_on)s::date, 'YYYY-MM') as period,
        service_period.reseller_id, service_period.customer_id,
        customer.external_id as customer_external_id, customer.name as customer_name,
        service_period.mailbox_id, named.external_id as mailbox_external_id, service_period.address,
        service_period.service_class, service_period.location,
        greatest(starts_on, %(starts_on)s) as starts_on, least(ends_on, %(ends_on)s) as ends_on,
        least(ends_on, %(ends_on)s) - greatest(starts_on, %(starts_on)s) as mailbox_days,
        %(base_days)s::integer as base_days, 1 as quantity,
        case when starts_on < %(starts_on)s then '{CARRIED_OVER}' else start_reason end as start_reason,
        case when ends_on <= %(ends_on)s then coalesce(end_reason, '') else '{CONTINUES}' end as end_reason
    from service_period
    join customer on customer.id = service_period.customer_id
    left join ({EXTERNAL_IDS_SQL}) named on named.mailbox_id = service_period.mailbox_id
    where starts_on < %(ends_on)s and (ends_on is null or (ends_on > %(starts_on)s and ends_on > starts_on))
        and (%(reseller_id)s::text is null or service_period.reseller_id = %(reseller_id)s)
        and (%(customer_id)s::text is null or service_period.customer_id = %(customer_id)s)
"""  # noqa: S608 - made of constants only


def usage(reseller_id: str | None, month: BillingMonth, *, customer_id: str | None = None, now: datetime) -> Export:
    """One row for each mailbox and stay: days `[starts_on, ends_on)` in one class and place, clipped to the month.

    `reseller_id` None is the operator, who reads everybody's. Reasons are those of an invoice's annex. `quantity` is
    how many of the class a row is, 1 for a mailbox. Over a month that is billed, the days of a customer and class are
    those of their invoice line.
    """
    return Export(
        _STAYS,
        COLUMNS,
        order="reseller_id, customer_id, mailbox_id, starts_on",
        parameters={
            "reseller_id": reseller_id,
            "customer_id": customer_id,
            "starts_on": month.starts_on,
            "ends_on": month.ends_on,
            "base_days": month.days,
            "is_estimate": berlin_day(now) < month.ends_on,
        },
        texts=TEXTS,
        head={
            "period": "to_char(%(starts_on)s::date, 'YYYY-MM')",
            "is_estimate": "%(is_estimate)s::boolean",
        },
    )
