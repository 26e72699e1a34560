"""What a month will cost, by the invoice run's own calculation, and what a change would do to it."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from billing.invoices import CustomerSum, per_customer
from billing.periods import BillingMonth, berlin_day
from billing.prices import price_table
from billing.rating import Line, NoPrice, Period, Total, rate, total
from billing.rating_sql import lines_sql, month_parameters
from billing.vat import VatRate
from billing.vat_sql import treatment_parameters, treatments_sql
from provisioning.core.errors import Conflict, NotFound

_LINES = text(f"{lines_sql(all_resellers=False)} order by customer_name, customer_id, service_class")

_TREATMENT = text(treatments_sql("reseller.id = :reseller_id"))

_PERIODS = text(
    """
    select mailbox_id, customer_id, service_class, location, starts_on, ends_on from service_period
    where reseller_id = :reseller_id and starts_on < :ends_on and (ends_on is null or ends_on >= :starts_on)
    """
)


@dataclass(frozen=True, slots=True)
class PreviewLine(Line):
    """A line as it will stand on the invoice, with the customer's name."""

    customer_name: str


@dataclass(frozen=True, slots=True)
class Preview:
    """The invoice a run would make now; while the month lasts an estimate, as if nothing changes any more."""

    reseller_id: str
    month: BillingMonth
    is_estimate: bool
    lines: tuple[PreviewLine, ...]
    customers: tuple[CustomerSum, ...]
    total: Total


@dataclass(frozen=True, slots=True)
class CostChange:
    """A reseller's month without and with a change."""

    before: Total
    after: Total


async def preview(session: AsyncSession, reseller_id: str, month: BillingMonth, *, now: datetime) -> Preview:
    """Return what the run of a month would bill a reseller, to the cent; open periods count to its end.

    Raises NotFound for an unknown reseller, Conflict where the run would park it: `no_price`, or one of
    `billing.vat.TREATMENT_CODES`.
    """
    vat = await _vat(session, reseller_id, month, now=now)
    rows = await session.execute(_LINES, {**month_parameters(month), "reseller_ids": [reseller_id]})
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
                customer_name=row.customer_name,
            )
        )
    return Preview(
        reseller_id,
        month,
        is_estimate=berlin_day(now) < month.ends_on,
        lines=tuple(lines),
        customers=tuple(per_customer(lines)),
        total=total(lines, vat),
    )


async def cost_of(
    session: AsyncSession,
    reseller_id: str,
    month: BillingMonth,
    *,
    extra: Sequence[Period] = (),
    ended: Mapping[str, date] | None = None,
    now: datetime,
) -> CostChange:
    """Return a reseller's month as it is and as it would be: with `extra` periods, and with others given up.

    `ended` has the day on which a mailbox's open period would end, no longer counted. A change of class is
    both: the old period ended, one of the new class extra. The tier may change for all, which is why the
    whole month is rated twice. Raises as `preview` does.
    """
    vat = await _vat(session, reseller_id, month, now=now)
    prices = await price_table(session, reseller_id, month.starts_on)
    of_month = {"reseller_id": reseller_id, "starts_on": month.starts_on, "ends_on": month.ends_on}
    periods = [Period(*row) for row in await session.execute(_PERIODS, of_month)]
    changed = _end(periods, ended or {}, continued={period.mailbox_id for period in extra})
    try:
        return CostChange(
            before=total(rate(periods, prices, month), vat),
            after=total(rate([*changed, *extra], prices, month), vat),
        )
    except NoPrice as error:
        raise _no_price(error) from error


def _end(periods: Sequence[Period], ended: Mapping[str, date], *, continued: Set[str]) -> list[Period]:
    """End open periods as the ledger does: given up on its first day, a mailbox pays for that day once."""
    counted_up_to = {(p.mailbox_id, p.ends_on) for p in periods if p.ends_on is not None and p.starts_on < p.ends_on}
    changed = []
    for period in periods:
        if period.ends_on is not None or period.mailbox_id not in ended:
            changed.append(period)
            continue
        ends_on = max(period.starts_on, ended[period.mailbox_id])
        is_counted = period.mailbox_id in continued or (period.mailbox_id, ends_on) in counted_up_to
        if ends_on == period.starts_on and not is_counted:
            ends_on += timedelta(days=1)
        changed.append(replace(period, ends_on=ends_on))
    return changed


async def _vat(session: AsyncSession, reseller_id: str, month: BillingMonth, *, now: datetime) -> VatRate:
    of_month = await treatment_parameters(session, month, now=now)
    found = (await session.execute(_TREATMENT, {**of_month, "reseller_id": reseller_id})).one_or_none()
    if found is None:
        raise NotFound(f"There is no reseller {reseller_id}.")
    if found.code is not None:
        raise Conflict(found.reason, code=found.code)
    return VatRate(found.tax_category, found.rate_basis_points)


def _no_price(error: NoPrice) -> Conflict:
    return Conflict(
        f"No price list names {error.service_class}. Have the operator add a price.",
        code="no_price",
        service_class=error.service_class,
    )
