"""What a month will cost, by the invoice run's own calculation, and what a change would do to it."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cache

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from billing.allowances import allowances_sql
from billing.invoices import CustomerSum, per_customer
from billing.periods import BillingMonth, BillingPeriod, berlin_day, period_beginning, period_containing
from billing.prices import price_table, terms_history
from billing.rating import Allowance, Line, NoPrice, Period, Total, rate, total
from billing.rating_sql import LINE_ORDER, Features, Scope, features_in_use, lines_sql, period_parameters
from billing.terms import AllowanceKind, LineKind
from billing.vat_sql import get_vat_rate
from provisioning.core.errors import Conflict
from provisioning.tenants import get_reseller

# Terms look at a mailbox since its first day, so all its periods are read while there are any.
_PERIODS = text(
    """
    select mailbox_id, customer_id, service_class, location, starts_on, ends_on, 1, false from service_period
    where reseller_id = :reseller_id and starts_on < :ends_on
        and (:terms or ends_on is null or ends_on >= :starts_on)
    union all
    select mailbox_id, customer_id, add_on, location, starts_on, ends_on, quantity, true from add_on_period
    where reseller_id = :reseller_id and starts_on < :ends_on
        and (:terms or ends_on is null or ends_on >= :starts_on)
    """
)


@dataclass(frozen=True, slots=True)
class PreviewLine(Line):
    """A line as it will stand on the invoice, with the customer's name."""

    customer_name: str = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class Preview:
    """The invoice a run would make now; while the month lasts an estimate, as if nothing changes any more."""

    reseller_id: str
    period: BillingPeriod
    is_estimate: bool
    lines: tuple[PreviewLine, ...]
    customers: tuple[CustomerSum, ...]
    allowances: tuple[Allowance, ...]
    total: Total


@dataclass(frozen=True, slots=True)
class CostChange:
    """A reseller's month without and with a change."""

    before: Total
    after: Total


async def running_periods(session: AsyncSession, reseller_id: str, on: date) -> tuple[BillingPeriod, BillingPeriod]:
    """Return a reseller's billing period of a day, and the next one. Raises NotFound."""
    anchor_day = (await get_reseller(session, reseller_id)).billing_anchor_day
    period = period_containing(on, anchor_day)
    return period, period_beginning(period.named.next(), anchor_day)


async def preview(session: AsyncSession, reseller_id: str, month: BillingMonth | None, *, now: datetime) -> Preview:
    """Return what a run would bill a reseller for the period that begins in a month, or for the running one, to the
    cent; open periods count to its end.

    Raises NotFound for an unknown reseller, Conflict where the run would park it: `no_price`, or one of
    `billing.vat.TREATMENT_CODES`.
    """
    anchor_day = (await get_reseller(session, reseller_id)).billing_anchor_day
    period = period_containing(berlin_day(now), anchor_day) if month is None else period_beginning(month, anchor_day)
    vat = await get_vat_rate(session, reseller_id, period, now=now)
    of_reseller = {**period_parameters(period), "reseller_ids": [reseller_id]}
    rows = await session.execute(_lines(await features_in_use(session)), of_reseller)
    lines = []
    for row in rows:
        if row.price_cents is None:
            raise _no_price(NoPrice(row.service_class))
        lines.append(
            PreviewLine(
                row.customer_id,
                row.service_class,
                price_cents=row.price_cents,
                mailbox_days=row.mailbox_days,
                base_days=row.base_days,
                net_cents=row.net_cents,
                kind=LineKind(row.kind),
                customer_name=row.customer_name,
            )
        )
    taken = await _allowances(session, reseller_id, period, lines)
    return Preview(
        reseller_id,
        period,
        is_estimate=berlin_day(now) < period.ends_on,
        lines=tuple(lines),
        customers=tuple(per_customer(lines)),
        allowances=tuple(taken),
        total=total(lines, vat, taken),
    )


async def _allowances(
    session: AsyncSession, reseller_id: str, period: BillingPeriod, lines: Sequence[Line]
) -> list[Allowance]:
    of_total = {
        "reseller_id": reseller_id,
        "period_starts_on": period.starts_on,
        "net_cents": sum(line.net_cents for line in lines),
    }
    return [
        Allowance(
            AllowanceKind(row.kind),
            row.reason,
            base_cents=row.base_cents,
            amount_cents=row.amount_cents,
            percent_basis_points=row.percent_basis_points,
        )
        for row in await session.execute(_ALLOWANCES, of_total)
    ]


_ALLOWANCES = text(
    allowances_sql(
        "select cast(:reseller_id as text) as reseller_id, cast(:period_starts_on as date) as period_starts_on, "
        "cast(:net_cents as bigint) as net_cents"
    )
    + " order by kind desc"
)


@cache
def _lines(features: Features) -> TextClause:
    return text(f"{lines_sql(Scope.NAMED, features)} order by {LINE_ORDER}")


async def cost_of(
    session: AsyncSession,
    reseller_id: str,
    period: BillingPeriod,
    *,
    extra: Sequence[Period] = (),
    ended: Mapping[str, date] | None = None,
    now: datetime,
) -> CostChange:
    """Return a reseller's billing period as it is and as it would be: with `extra` periods, and with others given up.

    `ended` has the day on which a mailbox's open period would end, no longer counted. A change of class is
    both: the old period ended, one of the new class extra. The tier may change for all, which is why the
    whole period is rated twice. Raises as `preview` does.
    """
    vat = await get_vat_rate(session, reseller_id, period, now=now)
    prices = await price_table(session, reseller_id, period.starts_on)
    terms = await terms_history(session, reseller_id)
    of_period = {"reseller_id": reseller_id, "starts_on": period.starts_on, "ends_on": period.ends_on}
    rows = await session.execute(_PERIODS, {**of_period, "terms": (await features_in_use(session)).terms})
    periods = [Period(*row) for row in rows]
    changed = _end(periods, ended or {}, continued={each.mailbox_id for each in extra})
    try:
        return CostChange(
            before=total(rate(periods, prices, period, terms), vat),
            after=total(rate([*changed, *extra], prices, period, terms), vat),
        )
    except NoPrice as error:
        raise _no_price(error) from error


def _end(periods: Sequence[Period], ended: Mapping[str, date], *, continued: Set[str]) -> list[Period]:
    """End open periods as the ledger does: given up on its first day, a mailbox pays for that day once."""
    counted_up_to = {(p.mailbox_id, p.ends_on) for p in periods if p.ends_on is not None and p.starts_on < p.ends_on}
    changed = []
    for period in periods:
        stays = period.mailbox_id not in ended or (period.is_add_on and period.mailbox_id in continued)
        if period.ends_on is not None or stays:
            changed.append(period)
            continue
        ends_on = max(period.starts_on, ended[period.mailbox_id])
        is_counted = period.mailbox_id in continued or (period.mailbox_id, ends_on) in counted_up_to
        if ends_on == period.starts_on and not is_counted:
            ends_on += timedelta(days=1)
        changed.append(replace(period, ends_on=ends_on))
    return changed


def _no_price(error: NoPrice) -> Conflict:
    return Conflict(
        f"No price list names {error.service_class}. Have the operator add a price.",
        code="no_price",
        service_class=error.service_class,
    )
