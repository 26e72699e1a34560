"""The data that a reseller's own invoices need: its own as seller, and its customers' as buyers; as rows."""

from typing import TypeVar

from sqlalchemy import literal
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.export_models import CustomerBilling, ResellerLogo, SellerProfile
from billing.iban import compact, is_iban
from provisioning.core.errors import FieldError, Invalid
from provisioning.core.queries import owned

Row = TypeVar("Row", SellerProfile, CustomerBilling, ResellerLogo)


async def find_profile(session: AsyncSession, reseller_id: str, *, lock: bool = False) -> SellerProfile | None:
    query = owned(SellerProfile, reseller_id)
    return await session.scalar(query.with_for_update() if lock else query)


async def find_billing(
    session: AsyncSession, reseller_id: str, customer_id: str, *, lock: bool = False
) -> CustomerBilling | None:
    query = owned(CustomerBilling, reseller_id).where(col(CustomerBilling.customer_id) == customer_id)
    return await session.scalar(query.with_for_update() if lock else query)


async def find_logo(session: AsyncSession, reseller_id: str, *, lock: bool = False) -> ResellerLogo | None:
    query = owned(ResellerLogo, reseller_id)
    return await session.scalar(query.with_for_update() if lock else query)


def check_account(iban: str) -> str:
    """Return the IBAN without blanks. Raises Invalid for one that cannot be."""
    if not is_iban(iban):
        message = "the IBAN of an account in the SEPA, with its check digits"
        raise Invalid("No customer could pay there.", errors=[FieldError("/iban", "invalid_iban", message)])
    return compact(iban)


async def put_profile(session: AsyncSession, wanted: SellerProfile) -> tuple[SellerProfile, bool]:
    """Return the reseller's profile as it is now, and whether that changed it."""
    if await _is_new(session, wanted):
        return wanted, True
    stands = await find_profile(session, wanted.reseller_id, lock=True)
    return await _made_like(session, stands or wanted, wanted)


async def put_logo(session: AsyncSession, wanted: ResellerLogo) -> tuple[ResellerLogo, bool]:
    """Return the reseller's logo as it is now, and whether that changed it."""
    if await _is_new(session, wanted):
        return wanted, True
    stands = await find_logo(session, wanted.reseller_id, lock=True)
    return await _made_like(session, stands or wanted, wanted)


async def put_billing(session: AsyncSession, wanted: CustomerBilling) -> tuple[CustomerBilling, bool]:
    """Return the customer's billing data as they are now, and whether that changed them."""
    if await _is_new(session, wanted):
        return wanted, True
    stands = await find_billing(session, wanted.reseller_id, wanted.customer_id, lock=True)
    return await _made_like(session, stands or wanted, wanted)


async def _is_new(session: AsyncSession, row: Row) -> bool:
    """Insert a row unless there is one; who comes at the same time waits here for the other's commit."""
    created = insert(type(row)).values(row.model_dump()).on_conflict_do_nothing().returning(literal(True))
    return bool(await session.scalar(created))


async def _made_like(session: AsyncSession, stands: Row, wanted: Row) -> tuple[Row, bool]:
    for name, value in wanted.model_dump(exclude={"version"}).items():
        setattr(stands, name, value)
    changed = session.is_modified(stands)
    await session.flush()
    return stands, changed
