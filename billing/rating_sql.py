"""The calculation of `billing.rating` as one SQL statement, for one reseller or for all of them at once.

Preview and invoice run execute the same text: a preview reads its rows, a run stores them.
"""

from collections.abc import Mapping
from datetime import date

from billing.periods import BillingMonth
from billing.prices import tiers_sql

_NAMED = "reseller_id = any(cast(:reseller_ids as text[]))"


def lines_sql(*, all_resellers: bool) -> str:
    """SQL for the lines of a month: all resellers', or those named in :reseller_ids.

    Parameters are those of `month_parameters`. The columns are those of `InvoiceLine`; `price_cents` and
    `net_cents` are null where no price list names the class.
    """
    named, lists = ("true", "true") if all_resellers else (_NAMED, f"reseller_id is null or {_NAMED}")
    # LEAST ignores nulls, so a period that is still open counts to the month's end.
    return f"""
        with usage as materialized (
            select counted.*, customer.name as customer_name
            from (
                select reseller_id, customer_id, service_class,
                    sum(least(ends_on, :ends_on) - greatest(starts_on, :starts_on)) as mailbox_days,
                    count(*) filter (where ends_on is null or ends_on >= :ends_on) as alive
                from service_period
                where starts_on < :ends_on and (ends_on is null or ends_on > :starts_on) and {named}
                group by reseller_id, customer_id, service_class
            ) counted
            join customer on customer.id = counted.customer_id
            where mailbox_days > 0
        ), demand as (
            select reseller_id, service_class, cast(sum(alive) as bigint) as quantity from usage
            group by reseller_id, service_class
        ), tier as materialized (
            {tiers_sql(lists)}
        ), priced as (
            select demand.reseller_id, demand.service_class,
                coalesce(own.price_cents, common.price_cents) as price_cents
            from demand
            left join tier own on own.reseller_id = demand.reseller_id
                and own.service_class = demand.service_class
                and demand.quantity >= own.quantity_from and demand.quantity < own.quantity_below
            left join tier common on common.reseller_id is null
                and common.service_class = demand.service_class
                and demand.quantity >= common.quantity_from and demand.quantity < common.quantity_below
        )
        select usage.reseller_id, usage.customer_id, usage.customer_name, usage.service_class,
            priced.price_cents, usage.mailbox_days, cast(:base_days as integer) as base_days,
            (2 * usage.mailbox_days * priced.price_cents + :base_days) / (2 * :base_days) as net_cents
        from usage
        join priced on priced.reseller_id = usage.reseller_id
            and priced.service_class = usage.service_class
    """  # noqa: S608 - made of constants only


def month_parameters(month: BillingMonth) -> Mapping[str, date | int]:
    return {"starts_on": month.starts_on, "ends_on": month.ends_on, "base_days": month.days}
