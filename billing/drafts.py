"""The statements of an invoice run: rate and draft, check, number and finalise; none loops over mailboxes.

Each function works inside the caller's transaction, which holds the lock on the run.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from billing.allowances import CREDIT_HOLDS, allowances_in_use, allowances_sql
from billing.models import InvoiceRun, Issuer
from billing.periods import BillingPeriod, berlin_day, periods_closing
from billing.rating_sql import LINE_ORDER, Features, Scope, features_in_use, lines_sql, period_parameters
from billing.snapshots import BUYER_SQL, CANCELLED_SQL, number_sql, seller_json, validated_hash_sql
from billing.vat_sql import TAX_SQL, treatment_parameters, treatments_sql
from provisioning.core.ids import new_id

BLOCK = 1_000
"""How many invoices get their numbers in one transaction."""

_DROP_DRAFTS = text("delete from invoice where run_id = :run_id and status = 'draft'")
_ANCHORS = text("select billing_anchor_day, array[]::text[] from reseller group by 1")
_ANCHORS_OF_OPEN = text(
    """
    select billing_anchor_day, array_agg(reseller_id)
    from invoice_run_item item join reseller on reseller.id = item.reseller_id
    where run_id = :run_id and state <> 'finalised' group by 1
    """
)
_DROP_ITEMS = text("delete from invoice_run_item where run_id = :run_id and state <> 'finalised'")

# Left from another run in the same transaction, which only a rehearsal has.
_FORGET = text("drop table if exists rated, total, treatment, allowance")

_TOTALS = text(
    """
    create temporary table total on commit drop as
    select reseller_id, min(period_starts_on) as period_starts_on, cast(sum(net_cents) as bigint) as net_cents,
        cast(0 as bigint) as allowances_cents, unpriced
    from rated
    left join (
        select reseller_id, string_agg(distinct service_class, ', ' order by service_class) as unpriced
        from rated where price_cents is null group by reseller_id
    ) lacking using (reseller_id)
    group by reseller_id, unpriced
    """
)

_RATED_TOTALS = "select reseller_id, period_starts_on, net_cents from total where net_cents is not null"
_ALLOWANCES = text(f"create temporary table allowance on commit drop as {allowances_sql(_RATED_TOTALS)}")

_DEDUCT = text(
    """
    update total set allowances_cents = taken.cents, net_cents = net_cents - taken.cents
    from (select reseller_id, cast(sum(amount_cents) as bigint) as cents from allowance group by reseller_id) taken
    where taken.reseller_id = total.reseller_id
    """
)

_ALLOWANCE_ROWS = text(
    """
    insert into invoice_allowance (invoice_id, position, reseller_id, kind, discount_id, reason,
        percent_basis_points, base_cents, amount_cents)
    select invoice.id, row_number() over (partition by invoice.id order by kind desc), allowance.reseller_id, kind,
        discount_id, reason, percent_basis_points, base_cents, amount_cents
    from allowance
    join invoice on invoice.run_id = :run_id and invoice.status = 'draft'
        and invoice.reseller_id = allowance.reseller_id
    """
)

_OF_TOTALS = treatments_sql("reseller.id in (select reseller_id from total)")
_TREATMENTS = text(f"create temporary table treatment on commit drop as {_OF_TOTALS}")

# What cannot be rated gets no draft; what can be is drafted with the tax of its reseller.
_ITEMS = text(
    """
    insert into invoice_run_item (run_id, reseller_id, state, code, reason)
    select :run_id, total.reseller_id, case when why.code is null then 'drafted' else 'parked' end,
        why.code, why.reason
    from total
    join treatment on treatment.reseller_id = total.reseller_id
    cross join lateral (
        select 'no_price' as code,
            format('No price list that holds on %s names %s.', period_starts_on, unpriced) as reason
        where unpriced is not null
        union all
        select treatment.code, treatment.reason where unpriced is null
    ) why
    """
)

_DRAFTED = text("select count(*) from invoice_run_item where run_id = :run_id and state = 'drafted'")

_INVOICES = text(
    f"""
    insert into invoice (id, reseller_id, run_id, replaces_id, status, period_starts_on, period_ends_on, currency,
        allowances_cents, net_cents, tax_cents, gross_cents, tax_category, rate_basis_points, vat_check_id, created_at)
    select ids.id, drafted.reseller_id, :run_id, cancelled.id, 'draft', period_starts_on, :closes_on, 'EUR',
        allowances_cents, net_cents, tax_cents, net_cents + tax_cents, tax_category, rate_basis_points, vat_check_id,
        :now
    from (
        select total.reseller_id, period_starts_on, allowances_cents, net_cents, tax_category, rate_basis_points,
            vat_check_id, {TAX_SQL} as tax_cents, row_number() over (order by total.reseller_id) as place
        from total
        join invoice_run_item item on item.run_id = :run_id and item.reseller_id = total.reseller_id
            and item.state = 'drafted'
        join treatment on treatment.reseller_id = total.reseller_id
    ) drafted
    join unnest(cast(:ids as text[])) with ordinality as ids (id, place) using (place)
    left join ({CANCELLED_SQL}) cancelled on cancelled.reseller_id = drafted.reseller_id
    """  # noqa: S608 - made of constants only
)

_LINES = text(
    f"""
    insert into invoice_line (invoice_id, position, reseller_id, customer_id, customer_name, service_class, kind,
        price_cents, mailbox_days, base_days, net_cents)
    select invoice.id, row_number() over (partition by invoice.id order by {LINE_ORDER}),
        rated.reseller_id, customer_id, customer_name, service_class, kind, price_cents, mailbox_days, base_days,
        rated.net_cents
    from rated
    join invoice on invoice.run_id = :run_id and invoice.status = 'draft'
        and invoice.reseller_id = rated.reseller_id
    """  # noqa: S608 - made of constants only
)

_DRAFTS = "select reseller_id from invoice where run_id = :run_id and status = 'draft'"

# What stands between a draft and its number, of the reseller as it is now: it may have moved since. `vat` are the
# treatments of the resellers concerned.
_PROBLEM = """
    join vat on vat.reseller_id = invoice.reseller_id
    cross join lateral (
        select vat.code, vat.reason where vat.code is not null
        union all
        select 'vat_treatment_changed', 'Its VAT has changed since the draft. It is drafted anew.'
        where (vat.tax_category, vat.rate_basis_points) <> (invoice.tax_category, invoice.rate_basis_points)
        union all
        select 'address_incomplete', format('The reseller''s address lacks: %s.', missing)
        from (
            select concat_ws(', ',
                case when btrim(reseller.name) = '' then 'name' end,
                case when btrim(reseller.street) = '' then 'street' end,
                case when btrim(reseller.postcode) = '' then 'postcode' end,
                case when btrim(reseller.city) = '' then 'city' end) as missing
        ) address
        where missing <> ''
        union all
        select null, null
        limit 1
    ) why
"""

_PARK = text(
    f"""
    with vat as materialized ({treatments_sql(f"reseller.id in ({_DRAFTS})")})
    update invoice_run_item item set state = 'parked', code = problem.code, reason = problem.reason
    from (
        select invoice.reseller_id, why.code, why.reason
        from invoice join reseller on reseller.id = invoice.reseller_id {_PROBLEM}
        where invoice.run_id = :run_id and invoice.status = 'draft' and why.code is not null
    ) problem
    where item.run_id = :run_id and item.state = 'drafted' and item.reseller_id = problem.reseller_id
    """  # noqa: S608 - made of constants only
)

_PARK_CREDIT = text(
    """
    update invoice_run_item item set state = 'parked', code = 'credit_changed',
        reason = 'Its credit was used by another invoice meanwhile.'
    from invoice join invoice_allowance used on used.invoice_id = invoice.id and used.kind = 'credit'
    where item.run_id = :run_id and item.state = 'drafted' and item.reseller_id = invoice.reseller_id
        and invoice.run_id = :run_id and invoice.status = 'draft' and used.amount_cents > (
            select coalesce(sum(credit.amount_cents), 0) from credit where credit.reseller_id = invoice.reseller_id
        )
    """
)

_DROP_PARKED = text(
    """
    delete from invoice using invoice_run_item item
    where invoice.run_id = :run_id and invoice.status = 'draft'
        and item.run_id = :run_id and item.reseller_id = invoice.reseller_id and item.state = 'parked'
    """
)

_BLOCK = text(
    "select reseller_id from invoice_run_item where run_id = :run_id and state = 'drafted' "
    "order by reseller_id limit :block"
)

_SERIES = text(
    "insert into number_series (series, year, last_number) values (:series, :year, 0) on conflict do nothing"
)
_LAST_NUMBER = text("select last_number from number_series where series = :series and year = :year for update")
_TAKE_NUMBERS = text(
    "update number_series set last_number = last_number + :count where series = :series and year = :year"
)

# One statement, so that the check and the buyer's copy are of the same moment, and what is numbered is what was valid.
# In steps, because how many drafts pass cannot be estimated: whoever took it for one would look at all resellers anew
# for each draft.
_FINALISE = text(
    f"""
    with vat as materialized (
        {treatments_sql("reseller.id = any(cast(:reseller_ids as text[]))")}
    ), checked as materialized (
        select invoice.id, invoice.reseller_id, vat.vat_check_id, copied.buyer,
            item.validated_hash = {validated_hash_sql("copied.buyer")} and why.code is null and {CREDIT_HOLDS} as holds
        from invoice join reseller on reseller.id = invoice.reseller_id
        join invoice_run_item item on item.run_id = invoice.run_id and item.reseller_id = invoice.reseller_id
        cross join lateral (select {BUYER_SQL} as buyer offset 0) copied -- made once, and not wherever it is named
        {_PROBLEM}
        where invoice.run_id = :run_id and invoice.status = 'draft'
            and invoice.reseller_id = any(cast(:reseller_ids as text[]))
    ), ready as (
        select id, vat_check_id, buyer, :last_number + row_number() over (order by reseller_id) as sequence
        from checked where holds
    )
    update invoice set status = 'final', series = cast(:series as text), year = cast(:year as integer),
        sequence = ready.sequence,
        number = {number_sql("ready.sequence")},
        issued_on = :issued_on, due_on = :due_on, finalised_at = :now, buyer = ready.buyer,
        seller = cast(:seller as jsonb), vat_check_id = ready.vat_check_id
    from ready where invoice.id = ready.id
    returning invoice.reseller_id
    """  # noqa: S608 - made of constants only
)

# An invoice uses credit once, so its id makes that of the entry.
_USE_CREDIT = text(
    """
    insert into credit (id, reseller_id, amount_cents, reason, invoice_id, actor, created_at)
    select 'crd_' || substr(invoice.id, 5), invoice.reseller_id, -amount_cents, invoice.number, invoice.id,
        'invoice run', :now
    from invoice join invoice_allowance used on used.invoice_id = invoice.id and used.kind = 'credit'
    where invoice.run_id = :run_id and invoice.reseller_id = any(cast(:reseller_ids as text[]))
    """
)

_FINALISED = text(
    "update invoice_run_item set state = 'finalised' "
    "where run_id = :run_id and reseller_id = any(cast(:reseller_ids as text[]))"
)

# What is still drafted has changed since it was validated.
_VALIDATE_ANEW = text(
    "update invoice_run_item set validated_hash = null where run_id = :run_id and state = 'drafted' "
    "and reseller_id = any(cast(:reseller_ids as text[]))"
)

_COUNT = text(
    """
    select count(*), count(*) filter (where state = 'parked'), count(*) filter (where state = 'finalised')
    from invoice_run_item where run_id = :run_id
    """
)


async def rate_and_draft(session: AsyncSession, run: InvoiceRun, *, now: datetime) -> None:
    """Replace the run's drafts by new ones from the ledger, and park resellers that cannot be rated.

    A run that has finalised before rates those that are parked; what is final is not touched.
    """
    of_run: dict[str, Any] = {"run_id": run.id, "closes_on": run.closes_on, "now": now}
    found = await session.execute(_ANCHORS if run.finished_at is None else _ANCHORS_OF_OPEN, of_run)
    anchors = dict(tuple(row) for row in found)
    await discard(session, run)
    await session.execute(_FORGET)
    await _rate(session, run, anchors)
    await session.execute(_TOTALS)
    await session.execute(_TREATMENTS, await treatment_parameters(session, _last_period(run), now=now))
    lowered = await allowances_in_use(session)
    if lowered:
        await session.execute(_ALLOWANCES)
        await session.execute(_DEDUCT)
    await session.execute(_ITEMS, of_run)
    drafts = await session.scalar(_DRAFTED, of_run) or 0
    await session.execute(_INVOICES, {**of_run, "ids": sorted(new_id("inv") for _ in range(drafts))})
    await session.execute(_LINES, of_run)
    if lowered:
        await session.execute(_ALLOWANCE_ROWS, of_run)
    await count(session, run)


async def _rate(session: AsyncSession, run: InvoiceRun, anchors: Mapping[int, Sequence[str]]) -> None:
    """Make the table of rated lines, one anchor day that closes with this run after the other: four at most.

    `anchors` are the anchor days there are, each with the resellers to rate when the run is retried.
    """
    closing = periods_closing(run.closes_on)
    scope = Scope.ANCHOR
    if run.finished_at is not None:
        scope = Scope.NAMED
    elif len(anchors) == 1 and anchors.keys() <= closing.keys():
        scope = Scope.ALL
    features = await features_in_use(session)
    # Where nobody closes on this day, the table is made all the same and stays empty.
    days = sorted(closing.keys() & anchors.keys()) or list(closing)[:1]
    for anchor_day in days:
        of_anchor = {"anchor_day": anchor_day, "reseller_ids": list(anchors.get(anchor_day, ()))}
        statement = _rated(scope, features, more=anchor_day != days[0])
        await session.execute(statement, {**period_parameters(closing[anchor_day]), **of_anchor})


@cache
def _rated(scope: Scope, features: Features, *, more: bool) -> TextClause:
    target = "insert into rated" if more else "create temporary table rated on commit drop as"
    lines = lines_sql(scope, features)
    dated = "select line.*, cast(:starts_on as date) as period_starts_on"
    return text(f"{target} {dated} from ({lines}) line")


def _last_period(run: InvoiceRun) -> BillingPeriod:
    """One of those that the run closes: they end on one day, which decides the tax, whenever they began."""
    return next(iter(periods_closing(run.closes_on).values()))


async def check(session: AsyncSession, run: InvoiceRun, *, now: datetime) -> None:
    """Park the drafted resellers for whom no invoice may be issued; they keep no draft."""
    of_run = {"run_id": run.id}
    await session.execute(_PARK, {**of_run, **await treatment_parameters(session, _last_period(run), now=now)})
    if await allowances_in_use(session):
        await session.execute(_PARK_CREDIT, of_run)
    await drop_parked(session, run)


async def drop_parked(session: AsyncSession, run: InvoiceRun) -> None:
    """Delete the drafts of who has been parked."""
    await session.execute(_DROP_PARKED, {"run_id": run.id})
    await count(session, run)


async def finalise_block(session: AsyncSession, run: InvoiceRun, *, now: datetime, issuer: Issuer) -> bool:
    """Number the next drafts, gapless in series and year of issue; False when none is left.

    One that is no longer what was validated gets no number and is to be validated anew.
    """
    of_run = {"run_id": run.id}
    block = (await session.scalars(_BLOCK, {**of_run, "block": BLOCK})).all()
    if not block:
        return False
    issued_on = berlin_day(now)
    series = {"series": issuer.series, "year": issued_on.year}
    await session.execute(_SERIES, series)
    parameters = {
        **of_run,
        **series,
        **await treatment_parameters(session, _last_period(run), now=now),
        "last_number": await session.scalar(_LAST_NUMBER, series),
        "issued_on": issued_on,
        "due_on": issued_on + timedelta(days=issuer.payment_days),
        "now": now,
        "seller": seller_json(issuer),
        "reseller_ids": list(block),
    }
    finalised = (await session.scalars(_FINALISE, parameters)).all()
    await session.execute(_TAKE_NUMBERS, {**series, "count": len(finalised)})
    if await allowances_in_use(session):
        await session.execute(_USE_CREDIT, {**of_run, "reseller_ids": list(finalised), "now": now})
    await session.execute(_FINALISED, {**of_run, "reseller_ids": list(finalised)})
    if len(finalised) < len(block):
        await check(session, run, now=now)
        await session.execute(_VALIDATE_ANEW, {**of_run, "reseller_ids": list(block)})
    else:
        await count(session, run)
    return True


async def discard(session: AsyncSession, run: InvoiceRun) -> None:
    """Delete the run's drafts, and all it noted of resellers without a final invoice."""
    await session.execute(_DROP_DRAFTS, {"run_id": run.id})
    await session.execute(_DROP_ITEMS, {"run_id": run.id})


async def count(session: AsyncSession, run: InvoiceRun) -> None:
    """Bring the run's counters up to date."""
    run.resellers, run.parked, run.finalised = (await session.execute(_COUNT, {"run_id": run.id})).one()
