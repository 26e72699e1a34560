"""The treatment of `billing.vat` as SQL, for all resellers at once: the pure module says it, as tables to join."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.models import TaxRegime
from billing.periods import BillingPeriod
from billing.vat import IdState, Regime, Untreatable, VatRate, treatment
from billing.vat_territory import (
    AREAS,
    ISO_COUNTRIES,
    SPECIAL_COUNTRIES,
    VAT_ID_PREFIXES,
    VAT_IDS,
    Place,
    country_place,
)
from provisioning.core.errors import Conflict, NotFound

TAX_SQL = "(2 * net_cents * rate_basis_points + 10000) / 20000"
"""The tax on `net_cents`, as `billing.money.tax_cents` rounds it; the net of a run is never negative."""


def treatments_sql(resellers: str) -> str:
    """SQL for what the invoices of a month carry, of the resellers for which `resellers` (a condition) holds.

    One row for each: reseller_id; tax_category, rate_basis_points and, where it rests on one, vat_check_id; or
    code and reason why there can be no invoice. Parameters are those of `treatment_parameters`.
    """
    return f"""
        select buyer.reseller_id, treatment.tax_category, treatment.rate_basis_points,
            case when treatment.place = 'eu' then buyer.vat_check_id end as vat_check_id, treatment.code,
            replace(replace(replace(treatment.reason, '{{country}}', buyer.country), '{{postcode}}', buyer.postcode),
                '{{vat_id}}', coalesce(buyer.vat_id, '')) as reason
        from (
            select reseller.id as reseller_id, reseller.country, reseller.postcode, reseller.vat_id,
                coalesce(area.place, territory.place, 'unknown') as place, last_check.id as vat_check_id,
                case
                    when coalesce(reseller.vat_id, '') = '' then 'missing'
                    when left(reseller.vat_id, 2) = any(cast(:vat_prefixes as text[]))
                        and left(reseller.vat_id, 2) <> coalesce(territory.prefix, '') then 'foreign'
                    when territory.pattern is null or reseller.vat_id !~ territory.pattern then 'malformed'
                    when last_check.id is null then 'pending'
                    when last_check.answer = 'invalid' then 'invalid'
                    when last_check.expires_at > :now then 'valid'
                    else 'pending'
                end as id_state
            from reseller
            left join unnest(cast(:vat_countries as text[]), cast(:vat_places as text[]),
                    cast(:vat_own_prefixes as text[]), cast(:vat_patterns as text[]))
                as territory (country, place, prefix, pattern) on territory.country = reseller.country
            left join unnest(cast(:vat_area_countries as text[]), cast(:vat_area_patterns as text[]),
                    cast(:vat_area_places as text[]))
                as area (country, pattern, place)
                on area.country = reseller.country and upper(replace(reseller.postcode, ' ', '')) ~ area.pattern
            left join lateral (
                select id, answer, expires_at from vat_check
                where vat_check.reseller_id = reseller.id and vat_check.vat_id = reseller.vat_id
                    and answer <> 'unavailable' and territory.pattern is not null
                order by asked_at desc, id desc limit 1
            ) last_check on true
            where {resellers}
        ) buyer
        join unnest(cast(:treated_places as text[]), cast(:treated_id_states as text[]),
                cast(:treated_categories as text[]), cast(:treated_rates as integer[]),
                cast(:treated_codes as text[]), cast(:treated_reasons as text[]))
            as treatment (place, id_state, tax_category, rate_basis_points, code, reason)
            on treatment.place = buyer.place and treatment.id_state = buyer.id_state
    """  # noqa: S608 - made of constants only


_TREATMENT = text(treatments_sql("reseller.id = :reseller_id"))


async def get_vat_rate(session: AsyncSession, reseller_id: str, period: BillingPeriod, *, now: datetime) -> VatRate:
    """Return what one reseller's invoice of a period carries.

    Raises NotFound, or Conflict with one of `billing.vat.TREATMENT_CODES` where there can be no invoice.
    """
    of_period = await treatment_parameters(session, period, now=now)
    found = (await session.execute(_TREATMENT, {**of_period, "reseller_id": reseller_id})).one_or_none()
    if found is None:
        raise NotFound(f"There is no reseller {reseller_id}.")
    if found.code is not None:
        raise Conflict(found.reason, code=found.code)
    return VatRate(found.tax_category, found.rate_basis_points)


async def treatment_parameters(session: AsyncSession, period: BillingPeriod, *, now: datetime) -> Mapping[str, Any]:
    """What holds for a billing period, by the law and the issuer's regime of its last day; checks must hold `now`."""
    regime = await regime_on(session, period.last_on)
    return {**TERRITORIES, **_treatments(regime, period.last_on), "now": now}


async def regime_on(session: AsyncSession, on: date) -> Regime:
    """Return how the issuer is taxed on a day: the regime that began last, the standard one before the first."""
    query = select(col(TaxRegime.regime)).where(col(TaxRegime.valid_from) <= on)
    return await session.scalar(query.order_by(col(TaxRegime.valid_from).desc()).limit(1)) or Regime.STANDARD


def _treatments(regime: Regime, on: date) -> dict[str, list[Any]]:
    rows: list[tuple[str, str, str | None, int | None, str | None, str | None]] = []
    for place in Place:
        for state in IdState:
            try:
                rate: VatRate = treatment(place, state, regime=regime, on=on)
            except Untreatable as error:
                rows.append((place, state, None, None, error.code, error.reason))
            else:
                rows.append((place, state, rate.category, rate.rate_basis_points, None, None))
    columns = ("places", "id_states", "categories", "rates", "codes", "reasons")
    return {f"treated_{name}": [row[place] for row in rows] for place, name in enumerate(columns)}


def _territories() -> dict[str, list[Any]]:
    countries = sorted(ISO_COUNTRIES | SPECIAL_COUNTRIES)
    ids = [VAT_IDS.get(country) for country in countries]
    return {
        "vat_prefixes": sorted(VAT_ID_PREFIXES),
        "vat_countries": countries,
        "vat_places": [country_place(country).value for country in countries],
        "vat_own_prefixes": [None if each is None else each[0] for each in ids],
        "vat_patterns": [None if each is None else f"^({each[0]}{each[1]})$" for each in ids],
        "vat_area_countries": [country for country, _, _ in AREAS],
        "vat_area_patterns": [f"^({pattern})$" for _, pattern, _ in AREAS],
        "vat_area_places": [place.value for _, _, place in AREAS],
    }


TERRITORIES: Mapping[str, list[Any]] = _territories()
"""The countries, areas and forms of VAT ids, as the parameters that name them."""
