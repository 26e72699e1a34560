"""Whose VAT id is to be asked for, and who is billed now that the answer has come; from what stands in the tables.

An answer is wanted when there is none for the id a reseller has now, when the last yes has expired, and when the last
question got no answer; then with growing pauses. All of that is read from the evidence itself, so nothing is lost
with a job.
"""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from billing.periods import BillingMonth
from billing.runs import retry_parked
from billing.vat import TREATMENT_CODES
from billing.vat_sql import TERRITORIES, treatment_parameters, treatments_sql
from billing.vat_territory import HOME
from provisioning.core.errors import Conflict
from provisioning.core.jobs import VAT_CHECK, enqueue

SWEEP_MAX = 100
"""How many questions one sweep enqueues; the next one takes the rest."""

# After the n-th question in a row without an answer: 1, 2, 4, ... minutes, an hour at most. Nobody is asked for twice
# because VIES takes longer to answer than the next sweep to come.
_WANTED = text(
    """
    select reseller.id from reseller
    join unnest(cast(:vat_countries as text[]), cast(:vat_patterns as text[])) as territory (country, pattern)
        on territory.country = reseller.country and reseller.vat_id ~ territory.pattern
    left join lateral (
        select asked_at, answer, expires_at from vat_check
        where vat_check.reseller_id = reseller.id and vat_check.vat_id = reseller.vat_id
        order by asked_at desc, id desc limit 1
    ) last on true
    left join lateral (
        select count(*) as failures from vat_check
        where vat_check.reseller_id = reseller.id and vat_check.vat_id = reseller.vat_id
            and answer = 'unavailable' and last.answer = 'unavailable'
            and asked_at > coalesce((
                select max(definite.asked_at) from vat_check definite
                where definite.reseller_id = reseller.id and definite.vat_id = reseller.vat_id
                    and definite.answer <> 'unavailable'
            ), '-infinity')
    ) tries on true
    where reseller.country <> :home and not exists (
            select from procrastinate_jobs job where job.lock = :task || ':' || reseller.id and job.status = 'doing'
        ) and not exists (
            select from unnest(cast(:vat_area_countries as text[]), cast(:vat_area_patterns as text[]))
                as area (country, pattern)
            where area.country = reseller.country and upper(replace(reseller.postcode, ' ', '')) ~ area.pattern
        ) and (last.answer is null
        or (last.answer = 'valid' and last.expires_at <= :now)
        or (last.answer = 'unavailable' and last.asked_at
            + least(interval '1 hour', interval '1 minute' * power(2, least(tries.failures, 10) - 1)) <= :now))
    order by last.asked_at nulls first, reseller.id limit :limit
    """
)

_WAITING_RUNS = text(
    """
    select distinct run.id, run.month from invoice_run_item item join invoice_run run on run.id = item.run_id
    where item.state = 'parked' and item.code = any(cast(:codes as text[])) and run.state = 'succeeded'
    order by run.month
    """
)

_CHANGED = text(
    f"""
    select count(*) from invoice_run_item item
    join ({
        treatments_sql("reseller.id in (select reseller_id from invoice_run_item where run_id = :run_id)")
    }) vat on vat.reseller_id = item.reseller_id
    where item.run_id = :run_id and item.state = 'parked' and item.code = any(cast(:codes as text[]))
        and item.code is distinct from vat.code
    """  # noqa: S608 - made of constants only
)


async def sweep_checks(session: AsyncSession, *, now: datetime) -> int:
    """Enqueue a question for every reseller of whose VAT id an answer is wanted; how many."""
    wanted = (
        await session.scalars(_WANTED, {**TERRITORIES, "home": HOME, "task": VAT_CHECK, "now": now, "limit": SWEEP_MAX})
    ).all()
    await enqueue(session, VAT_CHECK, list(wanted))
    return len(wanted)


async def retry_changed(session: AsyncSession, *, now: datetime) -> list[str]:
    """Retry every finished run in which the reason has changed why somebody is parked for its VAT; their ids."""
    codes = {"codes": sorted(TREATMENT_CODES)}
    retried = []
    for run in (await session.execute(_WAITING_RUNS, codes)).all():
        of_month = await treatment_parameters(session, BillingMonth.containing(run.month), now=now)
        if not await session.scalar(_CHANGED, {**of_month, **codes, "run_id": run.id}):
            continue
        try:
            await retry_parked(session, run.id)
        except Conflict:
            continue  # somebody else was faster, and the run is under way
        retried.append(str(run.id))
    return retried
