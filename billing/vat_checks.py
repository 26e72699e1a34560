"""Asking VIES for the VAT ids of EU buyers, and keeping its answers as evidence."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.gateways.vies import Vies
from billing.models import VatAnswer, VatCheck
from billing.vat_territory import can_be_checked
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from provisioning.core.jobs import VAT_CHECK, enqueue
from provisioning.core.queries import owned
from provisioning.tenants import Reseller, get_reseller

VALID_DAYS = 90
"""How long a yes counts."""


async def want_check(session: AsyncSession, reseller: Reseller) -> bool:
    """Enqueue a question for a reseller's VAT id; False where its invoices need none, or the id is none to ask for."""
    if not can_be_checked(reseller.country, reseller.postcode, reseller.vat_id):
        return False
    await enqueue(session, VAT_CHECK, [reseller.id])
    return True


async def check_vat_id(
    database: Database, vies: Vies | None, reseller_id: str, *, now: datetime, valid_days: int = VALID_DAYS
) -> VatCheck | None:
    """Ask VIES for a reseller's VAT id and keep the answer; None where there is nothing, or nobody, to ask.

    Between the two short transactions no connection is held. Raises NotFound.
    """
    async with database.as_system() as session:
        reseller = await get_reseller(session, reseller_id)
    vat_id = reseller.vat_id
    if vies is None or vat_id is None or not can_be_checked(reseller.country, reseller.postcode, vat_id):
        return None
    told = await vies.check(vat_id)
    check = VatCheck(
        id=new_id("vck"),
        reseller_id=reseller_id,
        vat_id=vat_id,
        asked_at=now,
        answer=told.answer,
        error=told.error,
        name=told.name,
        address=told.address,
        consultation_number=told.consultation_number,
        raw=told.raw,
        expires_at=now + timedelta(days=valid_days) if told.answer == VatAnswer.VALID else None,
    )
    async with database.as_system() as session:
        session.add(check)
    return check


async def list_checks(
    session: AsyncSession, reseller_id: str, *, limit: int = 50, before: str | None = None
) -> Sequence[VatCheck]:
    """Return what VIES was asked for a reseller, newest first; `before` is the last id of the page before."""
    query = owned(VatCheck, reseller_id).order_by(col(VatCheck.id).desc()).limit(limit)
    if before is not None:
        query = query.where(col(VatCheck.id) < before)
    return (await session.scalars(query)).all()
