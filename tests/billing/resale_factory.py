"""Prices at which resellers sell on."""

from datetime import date

from sqlalchemy.ext.asyncio import AsyncSession

from billing.resale_prices import create_resale_price
from tests.billing.ledger_factory import IN_DECEMBER


async def add_resale_price(
    session: AsyncSession,
    reseller_id: str,
    *,
    service_class: str = "exchange",
    price_cents: int = 1190,
    valid_from: date = date(2026, 1, 1),
    customer_id: str | None = None,
) -> str:
    price = await create_resale_price(
        session,
        reseller_id,
        service_class=service_class,
        price_cents=price_cents,
        valid_from=valid_from,
        customer_id=customer_id,
        now=IN_DECEMBER,
    )
    return price.id
