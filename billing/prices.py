"""Price lists: what a unit of a product costs a reseller in a month, on which terms, and how lists come and go.

A reseller's own list wins for every product it names, with its terms; the list for all fills in the rest. Of
several, the one that began last on or before a billing period's first day holds for the whole period.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime

from sqlalchemy import delete, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import Select
from sqlmodel import col

from billing.models import Price, PriceList, PriceTerms
from billing.rating import PriceTable, Tier, tier_for
from billing.terms import Product, Proration, Terms, TermsHistory, TiersMode
from provisioning.core.errors import Conflict, FieldError, Invalid, NotFound
from provisioning.core.ids import new_id
from provisioning.tenants import get_reseller

PRICE_CENTS_MAX = 100_000_000
QUANTITY_MAX = 100_000_000
MINIMUM_TERM_MONTHS_MAX = 60
DAYS_MAX = 366


def tiers_sql(lists: str = "true") -> str:
    """SQL for the tiers that hold on :starts_on, of all price lists or those for which `lists` holds.

    Its columns are (reseller_id or null, service_class, min_quantity, price_cents, quantity_from,
    quantity_below): a tier prices every quantity in `[quantity_from, quantity_below)`, the first one also
    those below its min_quantity.
    """
    return f"""
        select price_list.reseller_id, service_class, min_quantity, price_cents,
            case when row_number() over tiers = 1 then 0 else min_quantity end as quantity_from,
            coalesce(lead(min_quantity) over tiers, 2147483647) as quantity_below
        from (
            select distinct on (reseller_id) id, reseller_id from price_list
            where valid_from <= :starts_on and ({lists})
            order by reseller_id, valid_from desc
        ) price_list
        join price on price.price_list_id = price_list.id
        window tiers as (partition by price_list.id, service_class order by min_quantity)
    """  # noqa: S608 - made of constants only


def offers_sql(lists: str = "true") -> str:
    """SQL for what every price list says of each product it names, of all lists or those for which `lists` holds.

    Its columns are (reseller_id or null, service_class, valid_from, valid_below and those of `billing.terms.Terms`):
    the list is the one of its owner that holds on the days `[valid_from, valid_below)`.
    """
    return f"""
        select list.reseller_id, named.service_class, list.valid_from, list.valid_below,
            coalesce(tiers_mode, 'volume') as tiers_mode, coalesce(proration, 'daily') as proration,
            coalesce(minimum_term_months, 0) as minimum_term_months, coalesce(notice_days, 0) as notice_days,
            coalesce(trial_days, 0) as trial_days
        from (
            select id, reseller_id, valid_from,
                coalesce(lead(valid_from) over (partition by reseller_id order by valid_from), 'infinity')
                    as valid_below
            from price_list where {lists}
        ) list
        join (select distinct price_list_id, service_class from price) named on named.price_list_id = list.id
        left join price_terms terms on terms.price_list_id = list.id and terms.service_class = named.service_class
    """  # noqa: S608 - made of constants only


_TIERS_OF_ONE = text(tiers_sql("reseller_id is null or reseller_id = :reseller_id"))


async def create_price_list(
    session: AsyncSession,
    reseller_id: str | None,
    *,
    name: str,
    valid_from: date,
    prices: Mapping[str, Sequence[Tier]],
    terms: Mapping[str, Terms] | None = None,
    now: datetime,
) -> PriceList:
    """Create a list for one reseller, or for all when `reseller_id` is None; it never changes afterwards.

    Products that `terms` leaves out are sold on the usual ones. Raises Invalid with a pointer into `/prices` for a
    product, a tier or terms that cannot be, NotFound for an unknown
    reseller, Conflict `price_list_exists` when a list of the same owner begins on the same day.
    """
    terms = terms or {}
    check_price_list(name, prices, terms)
    if reseller_id is not None:
        await get_reseller(session, reseller_id)
    price_list = PriceList(
        id=new_id("pl"), reseller_id=reseller_id, name=name.strip(), valid_from=valid_from, created_at=now
    )
    # Inserted at once and not with the session's flush, so that the conflict is answered here.
    created = await session.scalar(
        upsert(PriceList)
        .values(price_list.model_dump())
        .on_conflict_do_nothing(constraint="uq_price_list_reseller_id_valid_from")
        .returning(col(PriceList.id))
    )
    if created is None:
        raise Conflict(
            f"A price list of this owner begins on {valid_from}. Choose another day or withdraw that one.",
            code="price_list_exists",
        )
    rows = [
        {
            "price_list_id": price_list.id,
            "reseller_id": reseller_id,
            "service_class": service_class,
            "min_quantity": tier.min_quantity,
            "price_cents": tier.price_cents,
        }
        for service_class, tiers in prices.items()
        for tier in tiers
    ]
    await session.execute(insert(Price), rows)
    of_list = {"price_list_id": price_list.id, "reseller_id": reseller_id}
    unusual = [
        {**of_list, "service_class": product, **asdict(each)} for product, each in terms.items() if each != Terms()
    ]
    if unusual:
        await session.execute(insert(PriceTerms), unusual)
    return price_list


async def withdraw_price_list(session: AsyncSession, price_list_id: str) -> None:
    """Delete a list with its prices, as long as no final invoice can have used it.

    Raises NotFound, or Conflict `price_list_used` when a period that begins on or after its first day has been
    invoiced, or where there are terms any of its days, on which a mailbox may have agreed to them, which the database
    refuses too; or when one is being invoiced: its drafts are made by the list.
    """
    # No run is in the middle of a phase from here on, so none can have rated by what is about to go.
    await session.execute(_HOLD_RUNS)
    price_list = await get_price_list(session, None, price_list_id)
    used = await session.scalar(_USED, {"id": price_list.id})
    if used:
        raise Conflict(
            f"{price_list.name} holds for months that are invoiced already. Replace it by a newer list.",
            code="price_list_used",
        )
    await session.execute(delete(PriceList).where(col(PriceList.id) == price_list.id))


_HOLD_RUNS = text("lock table invoice_run in exclusive mode")

_USED = text(
    """
    select exists (
        select from invoice join price_list on price_list.id = :id
        where invoice.status = 'final'
            and (invoice.period_starts_on >= price_list.valid_from
                or (invoice.period_ends_on > price_list.valid_from and exists (select from price_terms)))
            and (price_list.reseller_id is null or price_list.reseller_id = invoice.reseller_id)
    ) or exists (
        select from invoice_run join price_list on price_list.id = :id
        where invoice_run.state in ('checking', 'finalising') and invoice_run.closes_on > price_list.valid_from
    )
    """
)


async def get_price_list(session: AsyncSession, reseller_id: str | None, price_list_id: str) -> PriceList:
    """Return one price list; an unknown one and, unless `reseller_id` is None, another's raise NotFound."""
    price_list = (await session.scalars(_of(reseller_id).where(col(PriceList.id) == price_list_id))).first()
    if price_list is None:
        raise NotFound(f"There is no price list {price_list_id}.")
    return price_list


async def list_price_lists(
    session: AsyncSession, reseller_id: str | None, *, limit: int = 50, before: str | None = None
) -> Sequence[PriceList]:
    """Return price lists, newest first: all of them, or what counts for one reseller.

    `before` is the id of the last list of the page before.
    """
    query = _of(reseller_id).order_by(col(PriceList.id).desc()).limit(limit)
    if before is not None:
        query = query.where(col(PriceList.id) < before)
    return (await session.scalars(query)).all()


async def prices_of(session: AsyncSession, price_list_id: str) -> dict[str, tuple[Tier, ...]]:
    """Return the tiers of each class of one list, `min_quantity` rising."""
    rows = await session.execute(
        text(
            "select service_class, min_quantity, price_cents from price where price_list_id = :id "
            "order by service_class, min_quantity"
        ),
        {"id": price_list_id},
    )
    return _table((row.service_class, row.min_quantity, row.price_cents) for row in rows)


async def price_table(session: AsyncSession, reseller_id: str, on: date) -> PriceTable:
    """Return what holds for one reseller on a day, ready for `rating.rate`: give the month's first day."""
    rows = (await session.execute(_TIERS_OF_ONE, {"starts_on": on, "reseller_id": reseller_id})).all()
    own = {row.service_class for row in rows if row.reseller_id is not None}
    return _table(
        sorted(
            (row.service_class, row.min_quantity, row.price_cents)
            for row in rows
            if row.reseller_id is not None or row.service_class not in own
        )
    )


async def terms_of(session: AsyncSession, price_list_id: str) -> dict[str, Terms]:
    """Return the terms of one list, without products on the usual ones."""
    query = select(PriceTerms).where(col(PriceTerms.price_list_id) == price_list_id)
    return {
        row.service_class: Terms(
            row.tiers_mode,
            row.proration,
            minimum_term_months=row.minimum_term_months,
            notice_days=row.notice_days,
            trial_days=row.trial_days,
        )
        for row in await session.scalars(query)
    }


async def terms_history(session: AsyncSession, reseller_id: str) -> TermsHistory:
    """Return on which terms one reseller has been and will be sold each product, ready for `rating.rate`."""
    history: dict[str, tuple[tuple[date, Terms], ...]] = {}
    for service_class, valid_from, *terms in await session.execute(_TERMS_OF_ONE, {"reseller_id": reseller_id}):
        mode, proration, months, notice, trial = terms
        of_day = Terms(TiersMode(mode), Proration(proration), months, notice_days=notice, trial_days=trial)
        history[service_class] = (*history.get(service_class, ()), (valid_from, of_day))
    return history


def holding_sql(alias: str, owner: str, *, product: str, day: str) -> str:
    """The condition that `alias`, of `offers_sql`, is the offer of `owner` for a product that holds on a day."""
    whose = f"{alias}.reseller_id is null" if owner == "null" else f"{alias}.reseller_id = {owner}"
    return (
        f"{whose} and {alias}.service_class = {product} and {day} >= {alias}.valid_from and {day} < {alias}.valid_below"
    )


_CHANGE = {"product": "change.service_class", "day": "change.valid_from"}

_TERMS_OF_ONE = text(
    f"""
    with offer as materialized ({offers_sql("reseller_id is null or reseller_id = :reseller_id")})
    select change.service_class, change.valid_from,
        coalesce(own.tiers_mode, common.tiers_mode, 'volume'), coalesce(own.proration, common.proration, 'daily'),
        coalesce(own.minimum_term_months, common.minimum_term_months, 0),
        coalesce(own.notice_days, common.notice_days, 0), coalesce(own.trial_days, common.trial_days, 0)
    from (
        select distinct product.service_class, list.valid_from from offer product cross join offer list
    ) change
    left join offer own on {holding_sql("own", ":reseller_id", **_CHANGE)}
    left join offer common on {holding_sql("common", "null", **_CHANGE)}
    order by change.service_class, change.valid_from desc
    """  # noqa: S608 - made of constants only
)


def _of(reseller_id: str | None) -> Select[PriceList]:
    owner = col(PriceList.reseller_id)
    query = select(PriceList)
    return query if reseller_id is None else query.where(owner.is_(None) | (owner == reseller_id))


def _table(rows: Iterable[tuple[str, int, int]]) -> dict[str, tuple[Tier, ...]]:
    table: dict[str, tuple[Tier, ...]] = {}
    for service_class, min_quantity, price_cents in rows:
        table[service_class] = (*table.get(service_class, ()), Tier(min_quantity, price_cents))
    return table


def check_price_list(name: str, prices: Mapping[str, Sequence[Tier]], terms: Mapping[str, Terms]) -> None:
    """Raises Invalid, with pointers into `/prices`, for a list that cannot be."""
    errors = []
    if not name.strip():
        errors.append(FieldError("/name", "blank", "A price list needs a name."))
    if not prices:
        errors.append(FieldError("/prices", "missing", "A price list needs at least one price."))
    for product in (*prices, *(terms.keys() - prices.keys())):
        message = _tier_problem(product, prices.get(product, ())) or _terms_problem(terms.get(product, Terms()))
        if message is not None:
            errors.append(FieldError(f"/prices/{product}", "invalid_price", message))
    if errors:
        raise Invalid("The price list cannot be created.", errors=errors)


def _tier_problem(product: str, tiers: Sequence[Tier]) -> str | None:
    if product not in set(Product):
        return f"There is no product {product!r}; there are {', '.join(sorted(Product))}."
    try:
        tier_for(tuple(tiers), 0)
    except ValueError:
        return "Tiers begin with a min_quantity of 0 or 1 and rise from there."
    if any(tier.price_cents > PRICE_CENTS_MAX or tier.min_quantity > QUANTITY_MAX for tier in tiers):
        return f"A price goes up to {PRICE_CENTS_MAX} cents, a min_quantity up to {QUANTITY_MAX}."
    return None


def _terms_problem(terms: Terms) -> str | None:
    if terms.minimum_term_months > MINIMUM_TERM_MONTHS_MAX or max(terms.notice_days, terms.trial_days) > DAYS_MAX:
        return f"A minimum term goes up to {MINIMUM_TERM_MONTHS_MAX} months, notice and trial up to {DAYS_MAX} days."
    return None
