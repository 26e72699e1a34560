"""The calculation of `billing.rating` as one SQL statement, for one reseller or for many at once.

Preview and invoice run execute the same text: a preview reads its rows, a run stores them. Of two texts with the
same meaning the short one is taken while nobody uses what only the long one can do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from billing.periods import BillingPeriod
from billing.prices import holding_sql, offers_sql, tiers_sql

LINE_ORDER = "customer_name, customer_id, service_class, kind desc, price_cents desc"
"""The order of an invoice's lines; kinds backwards stand as in `billing.terms.LineKind`."""


class Scope(StrEnum):
    """Whose lines: everybody's, of the resellers with :anchor_day, or of those in :reseller_ids.

    An SQL condition on `reseller_id`.
    """

    ALL = "true"
    ANCHOR = "reseller_id in (select id from reseller where billing_anchor_day = :anchor_day)"
    NAMED = "reseller_id = any(cast(:reseller_ids as text[]))"


@dataclass(frozen=True, slots=True)
class Features:
    """What is in use beside daily prices with volume tiers, in the tables that this transaction sees."""

    add_ons: bool = True
    terms: bool = True


_FEATURES = text("select exists (select from add_on_period) as add_ons, exists (select from price_terms) as terms")


async def features_in_use(session: AsyncSession) -> Features:
    row = (await session.execute(_FEATURES)).one()
    return Features(row.add_ons, row.terms)


def lines_sql(scope: Scope, features: Features = Features()) -> str:
    """SQL for the lines of a billing period.

    Parameters are those of `period_parameters`. The columns are those of `InvoiceLine`; `price_cents` and
    `net_cents` are null where no price list names the product. With `features` that are not all, what is not in
    use is left out.
    """
    lines = _with_terms(scope, add_ons=features.add_ons) if features.terms else _plain(scope, features.add_ons)
    return f"""
        {lines}
        select line.reseller_id, line.customer_id, customer.name as customer_name, line.service_class, line.kind,
            line.price_cents, line.mailbox_days, cast(:base_days as integer) as base_days,
            (2 * line.mailbox_days * line.price_cents + :base_days) / (2 * :base_days) as net_cents
        from line join customer on customer.id = line.customer_id
    """  # noqa: S608 - made of constants only


def _lists(scope: Scope) -> str:
    return "true" if scope == Scope.ALL else f"reseller_id is null or {scope}"


def _held(scope: Scope, condition: str, *, add_ons: bool) -> str:
    """SQL for all that mailboxes had on the days that the condition names."""
    services = f"""
        select reseller_id, customer_id, mailbox_id, service_class, '' as add_on, 1 as quantity, starts_on, ends_on
        from service_period where {condition} and {scope}
    """  # noqa: S608 - made of constants only
    if not add_ons:
        return services
    return f"""
        {services} union all
        select reseller_id, customer_id, mailbox_id, add_on, add_on, quantity, starts_on, ends_on
        from add_on_period where {condition} and {scope}
    """  # noqa: S608 - made of constants only


def _plain(scope: Scope, add_ons: bool) -> str:
    """CTEs up to `line` for daily prices and volume tiers."""
    in_period = "starts_on < :ends_on and (ends_on is null or ends_on > :starts_on)"
    held = (
        f"({_held(scope, in_period, add_ons=True)}) held"
        if add_ons
        else f"service_period where {in_period} and {scope}"
    )
    quantity = "quantity * " if add_ons else ""
    alive = "sum(quantity)" if add_ons else "count(*)"
    # LEAST ignores nulls, so a period that is still open counts to the month's end.
    return f"""
        with usage as materialized (
            select * from (
                select reseller_id, customer_id, service_class,
                    sum({quantity}(least(ends_on, :ends_on) - greatest(starts_on, :starts_on))) as mailbox_days,
                    {alive} filter (where ends_on is null or ends_on >= :ends_on) as alive
                from {held}
                group by reseller_id, customer_id, service_class
            ) counted
            where mailbox_days > 0
        ), demand as (
            select reseller_id, service_class, coalesce(cast(sum(alive) as bigint), 0) as quantity from usage
            group by reseller_id, service_class
        ), tier as materialized (
            {tiers_sql(_lists(scope))}
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
        ), line as (
            select usage.reseller_id, usage.customer_id, usage.service_class, 'usage' as kind, priced.price_cents,
                usage.mailbox_days
            from usage
            join priced on priced.reseller_id = usage.reseller_id
                and priced.service_class = usage.service_class
        )
    """  # noqa: S608 - made of constants only


_TODAY = {"product": "demand.service_class", "day": ":starts_on"}
_FIRST_DAY = {"product": "life.service_class", "day": "life.first_on"}


def _with_terms(scope: Scope, *, add_ons: bool) -> str:
    """CTEs up to `line` for all that terms can say; it looks at every mailbox since its first day.

    `charge` are the parts of `billing.rating`, `unit` its unit-days, and `placed` says up to which unit-day of the
    reseller's a row reaches when graduated tiers are filled in order.
    """
    return f"""
        with held as materialized (
            {_held(scope, "starts_on < :ends_on and ends_on is distinct from starts_on", add_ons=add_ons)}
        ), offer as materialized (
            {offers_sql(_lists(scope))}
        ), tier as materialized (
            {tiers_sql(_lists(scope))}
        ), demand as (
            select reseller_id, service_class,
                coalesce(sum(quantity) filter (where ends_on is null or ends_on >= :ends_on), 0) as alive
            from held group by reseller_id, service_class
        ), rule as materialized (
            select demand.*, coalesce(own.tiers_mode, common.tiers_mode, 'volume') as tiers_mode,
                coalesce(own.proration, common.proration, 'daily') as proration
            from demand
            left join offer own on {holding_sql("own", "demand.reseller_id", **_TODAY)}
            left join offer common on {holding_sql("common", "null", **_TODAY)}
        ), ladder as materialized (
            select rule.reseller_id, rule.service_class, tier.price_cents, tier.quantity_from, tier.quantity_below
            from rule join tier on tier.reseller_id = rule.reseller_id and tier.service_class = rule.service_class
            union all
            select rule.reseller_id, rule.service_class, tier.price_cents, tier.quantity_from, tier.quantity_below
            from rule join tier on tier.reseller_id is null and tier.service_class = rule.service_class
            where not exists (
                select from tier own
                where own.reseller_id = rule.reseller_id and own.service_class = rule.service_class
            )
        ), {_CHARGES}, {_UNITS}, {_LINES}
    """  # noqa: S608 - made of constants only


_CHARGES = f"""
    life as (
        select held.*, min(starts_on) over mailbox as first_on,
            lead(starts_on) over (mailbox order by starts_on) as next_on
        from held window mailbox as (partition by reseller_id, mailbox_id, add_on)
    ), contract as (
        select life.*, first_on + coalesce(own.trial_days, common.trial_days, 0) as trial_ends_on,
            greatest(
                cast(first_on + make_interval(
                    months => coalesce(own.minimum_term_months, common.minimum_term_months, 0)) as date),
                ends_on + coalesce(own.notice_days, common.notice_days, 0)
            ) as owed_until
        from life
        left join offer own on {holding_sql("own", "life.reseller_id", **_FIRST_DAY)}
        left join offer common on {holding_sql("common", "null", **_FIRST_DAY)}
    ), charge as (
        select reseller_id, customer_id, service_class, mailbox_id, quantity, kind, first_day, end_day
        from contract
        cross join lateral (values
            ('usage', greatest(starts_on, trial_ends_on, :starts_on), least(ends_on, :ends_on)),
            ('trial', greatest(starts_on, :starts_on), least(ends_on, trial_ends_on, :ends_on)),
            ('minimum_term', case when ends_on > trial_ends_on then greatest(ends_on, :starts_on) end,
                least(owed_until, next_on, :ends_on))
        ) part (kind, first_day, end_day)
        where first_day < end_day
    )
"""  # noqa: S608 - made of constants only

_UNITS = """
    unit as (
        select reseller_id, customer_id, service_class, kind, cast(sum(days) as bigint) as mailbox_days
        from (
            select reseller_id, customer_id, service_class, kind,
                case
                    when kind = 'trial' or proration = 'daily' then sum(quantity * (end_day - first_day))
                    when proration = 'none'
                        then coalesce(sum(quantity) filter (where first_day = :starts_on), 0) * :base_days
                    when kind = 'usage' or not bool_or(kind = 'usage') over (
                        partition by reseller_id, customer_id, service_class, mailbox_id
                    ) then max(quantity) * :base_days
                    else 0
                end as days
            from charge join rule using (reseller_id, service_class)
            group by reseller_id, customer_id, service_class, mailbox_id, kind, proration
        ) mailbox
        group by reseller_id, customer_id, service_class, kind
        having sum(days) > 0
    )
"""

# Kinds stand in the order of `billing.terms.LineKind`, which is their order backwards.
_LINES = """
    placed as (
        select unit.*, rule.tiers_mode, rule.alive,
            cast(sum(case when kind = 'trial' then 0 else mailbox_days end) over (
                partition by reseller_id, service_class order by customer_id, kind desc
                rows unbounded preceding
            ) as bigint) as ends
        from unit join rule using (reseller_id, service_class)
    ), line as (
        select reseller_id, customer_id, service_class, kind, price_cents, cast(sum(days) as bigint) as mailbox_days
        from (
            select placed.reseller_id, customer_id, placed.service_class, kind,
                case when kind = 'trial' then 0 * price_cents else price_cents end as price_cents,
                case when kind <> 'trial' and tiers_mode = 'graduated' and price_cents is not null
                    then least(ends, (cast(quantity_below as bigint) - 1) * :base_days)
                        - greatest(ends - mailbox_days, (greatest(quantity_from, 1) - 1) * cast(:base_days as bigint))
                    else mailbox_days
                end as days
            from placed
            left join ladder on ladder.reseller_id = placed.reseller_id
                and ladder.service_class = placed.service_class
                and case
                    when kind = 'trial' then quantity_from = 0
                    when tiers_mode = 'volume' then alive >= quantity_from and alive < quantity_below
                    else least(ends, (cast(quantity_below as bigint) - 1) * :base_days)
                        > greatest(ends - mailbox_days, (greatest(quantity_from, 1) - 1) * cast(:base_days as bigint))
                end
        ) spread
        group by reseller_id, customer_id, service_class, kind, price_cents
    )
"""


def period_parameters(period: BillingPeriod) -> Mapping[str, date | int]:
    return {"starts_on": period.starts_on, "ends_on": period.ends_on, "base_days": period.days}
