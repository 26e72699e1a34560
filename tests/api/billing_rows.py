"""Rows that billing's documented examples speak of: a coupon, a discount, a credit note."""

from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from billing.corrections import credit_invoice
from billing.discount_models import Coupon, Discount
from billing.issuing import issue_credit_note
from billing.models import InvoiceRun
from billing.periods import BillingMonth
from billing.runs import start_run
from billing.terms import CouponDuration
from provisioning.core.ids import new_id
from tests.billing.ledger_factory import ISSUER, NOVEMBER
from tests.conftest import NOW


async def add_coupon(session: AsyncSession, coupon_id: str) -> None:
    """A tenth off for ever, which nobody has had."""
    coupon = Coupon(
        id=coupon_id,
        name="Treue",
        percent_basis_points=1_000,
        duration=CouponDuration.FOREVER,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    session.add(coupon)
    await session.flush()


async def add_discount(session: AsyncSession, reseller_id: str) -> str:
    """A coupon of its own for a reseller, from November on."""
    coupon_id = new_id("cou")
    await add_coupon(session, coupon_id)
    discount = Discount(
        id=new_id("dis"),
        reseller_id=reseller_id,
        coupon_id=coupon_id,
        name="Treue",
        percent_basis_points=1_000,
        starts_on=NOVEMBER.starts_on,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    session.add(discount)
    await session.flush()
    return discount.id


async def credit_net(session: AsyncSession, invoice_id: str, cents: int) -> str:
    """Give an invoice a credit note with its documents, over a part of its first line."""
    note = await credit_invoice(
        session, invoice_id, amounts={1: cents}, reason="Kulanz", actor="operator", issuer=ISSUER, now=NOW
    )
    assert await issue_credit_note(session, note.id, now=NOW) is None
    return note.id


async def begin_run(session: AsyncSession, month: BillingMonth) -> InvoiceRun:
    """Ask for a run that nobody drives."""
    return await start_run(session, month, actor="operator", now=NOW)
