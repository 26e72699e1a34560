"""Prices at which resellers sell on, and the data of their own invoices."""

from collections.abc import Iterable
from datetime import date
from hashlib import sha256

from sqlalchemy.ext.asyncio import AsyncSession

from billing.export_models import CustomerBilling, ResellerLogo, SellerProfile
from billing.resale_prices import create_resale_price
from tests.billing.documents.corpus import png
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


async def add_billing_data(session: AsyncSession, reseller_id: str, customer_ids: Iterable[str]) -> None:
    """Profile and logo of a reseller, and where the invoices of these customers go."""
    session.add(
        SellerProfile(
            reseller_id=reseller_id,
            contact_name="Rechnungsstelle",
            phone="+49 5321 999",
            email="rechnung@it-haus.example",
            iban="DE02120300000000202051",
            tax_number="21/123/45678",
        )
    )
    logo = png()
    session.add(
        ResellerLogo(reseller_id=reseller_id, media_type="image/png", content=logo, sha256=sha256(logo).hexdigest())
    )
    for customer_id in customer_ids:
        session.add(
            CustomerBilling(
                customer_id=customer_id,
                reseller_id=reseller_id,
                street="Marktplatz 1",
                postcode="38100",
                city="Braunschweig",
                country="DE",
                email="buchhaltung@kanzlei.example",
            )
        )
    await session.flush()
