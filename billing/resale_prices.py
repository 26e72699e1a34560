"""What a reseller charges its own customers: prices by class and day, for all of them or for one."""

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.export_models import ResalePrice
from provisioning.core.errors import Conflict, NotFound
from provisioning.core.ids import new_id
from provisioning.core.queries import owned
from provisioning.tenants import get_customer

PRICE_CENTS_MAX = 100_000_000


async def create_resale_price(
    session: AsyncSession,
    reseller_id: str,
    *,
    service_class: str,
    price_cents: int,
    valid_from: date,
    customer_id: str | None,
    now: datetime,
) -> ResalePrice:
    """Set what a class costs from a day on, for one customer or for all when `customer_id` is None.

    Raises NotFound for an unknown customer, Conflict `resale_price_exists` when the same begins on the same day.
    """
    if customer_id is not None:
        await get_customer(session, reseller_id, customer_id)
    price = ResalePrice(
        id=new_id("rsp"),
        reseller_id=reseller_id,
        customer_id=customer_id,
        service_class=service_class,
        price_cents=price_cents,
        valid_from=valid_from,
        created_at=now,
    )
    # Inserted at once and not with the session's flush, so that the conflict is answered here.
    created = await session.scalar(
        insert(ResalePrice).values(price.model_dump()).on_conflict_do_nothing().returning(col(ResalePrice.id))
    )
    if created is None:
        raise Conflict(
            f"A resale price of {service_class} begins on {valid_from} already. Change that one.",
            code="resale_price_exists",
        )
    return price


async def get_resale_price(
    session: AsyncSession, reseller_id: str, resale_price_id: str, *, lock: bool = False
) -> ResalePrice:
    """Raises NotFound for an unknown one and for another reseller's. `lock` holds the row until the end."""
    query = owned(ResalePrice, reseller_id).where(col(ResalePrice.id) == resale_price_id)
    price = await session.scalar(query.with_for_update() if lock else query)
    if price is None:
        raise NotFound(f"There is no resale price {resale_price_id}.")
    return price


async def list_resale_prices(
    session: AsyncSession, reseller_id: str, *, limit: int, before: str | None = None
) -> Sequence[ResalePrice]:
    """Newest first; `before` is the id of the last one of the page before."""
    query = owned(ResalePrice, reseller_id).order_by(col(ResalePrice.id).desc()).limit(limit)
    if before is not None:
        query = query.where(col(ResalePrice.id) < before)
    return (await session.scalars(query)).all()
