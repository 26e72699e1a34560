"""Price lists: what a mailbox of a class costs a reseller in a month, and how lists come and go.

A reseller's own list wins for every class it names; the list for all fills in the rest. Of several, the one
that began last on or before the month's first day holds for the whole month.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import cast

from sqlalchemy import Enum, delete, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import Select
from sqlmodel import col

from billing.models import Price, PriceList
from billing.rating import PriceTable, Tier, tier_for
from provisioning.core.errors import Conflict, FieldError, Invalid, NotFound
from provisioning.core.ids import new_id
from provisioning.ledger import ServicePeriod
from provisioning.tenants import get_reseller

PRICE_CENTS_MAX = 100_000_000
QUANTITY_MAX = 100_000_000

# The classes a period can have are the classes that can have a price.
SERVICE_CLASSES: frozenset[str] = frozenset(
    cast("Enum", ServicePeriod.metadata.tables["service_period"].c.service_class.type).enums
)


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


_TIERS_OF_ONE = text(tiers_sql("reseller_id is null or reseller_id = :reseller_id"))


async def create_price_list(
    session: AsyncSession,
    reseller_id: str | None,
    *,
    name: str,
    valid_from: date,
    prices: Mapping[str, Sequence[Tier]],
    now: datetime,
) -> PriceList:
    """Create a list for one reseller, or for all when `reseller_id` is None; it never changes afterwards.

    Raises Invalid with a pointer into `/prices` for a class or a tier that cannot be, NotFound for an unknown
    reseller, Conflict `price_list_exists` when a list of the same owner begins on the same day.
    """
    _check(name, prices)
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
    return price_list


async def withdraw_price_list(session: AsyncSession, price_list_id: str) -> None:
    """Delete a list with its prices, as long as no final invoice can have used it.

    Raises NotFound, or Conflict `price_list_used` when a month that begins on or after its first day has been
    invoiced, which the database refuses too, or is being invoiced: its drafts are made by the list.
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
        where invoice.status = 'final' and invoice.period_starts_on >= price_list.valid_from
            and (price_list.reseller_id is null or price_list.reseller_id = invoice.reseller_id)
    ) or exists (
        select from invoice_run join price_list on price_list.id = :id
        where invoice_run.state in ('checking', 'finalising') and invoice_run.month >= price_list.valid_from
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


def _of(reseller_id: str | None) -> Select[PriceList]:
    owner = col(PriceList.reseller_id)
    query = select(PriceList)
    return query if reseller_id is None else query.where(owner.is_(None) | (owner == reseller_id))


def _table(rows: Iterable[tuple[str, int, int]]) -> dict[str, tuple[Tier, ...]]:
    table: dict[str, tuple[Tier, ...]] = {}
    for service_class, min_quantity, price_cents in rows:
        table[service_class] = (*table.get(service_class, ()), Tier(min_quantity, price_cents))
    return table


def _check(name: str, prices: Mapping[str, Sequence[Tier]]) -> None:
    errors = []
    if not name.strip():
        errors.append(FieldError("/name", "blank", "A price list needs a name."))
    if not prices:
        errors.append(FieldError("/prices", "missing", "A price list needs at least one price."))
    for service_class, tiers in prices.items():
        message = _tier_problem(service_class, tiers)
        if message is not None:
            errors.append(FieldError(f"/prices/{service_class}", "invalid_price", message))
    if errors:
        raise Invalid("The price list cannot be created.", errors=errors)


def _tier_problem(service_class: str, tiers: Sequence[Tier]) -> str | None:
    if service_class not in SERVICE_CLASSES:
        return f"There is no service class {service_class!r}; there are {', '.join(sorted(SERVICE_CLASSES))}."
    try:
        tier_for(tuple(tiers), 0)
    except ValueError:
        return "Tiers begin with a min_quantity of 0 or 1 and rise from there."
    if any(tier.price_cents > PRICE_CENTS_MAX or tier.min_quantity > QUANTITY_MAX for tier in tiers):
        return f"A price goes up to {PRICE_CENTS_MAX} cents, a min_quantity up to {QUANTITY_MAX}."
    return None
