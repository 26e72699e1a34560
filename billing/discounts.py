"""Coupons, the discounts they give resellers, and credit: what the operator takes off invoices."""

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import delete, exists, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.discount_models import Coupon, Credit, Discount
from billing.money import BASIS_POINTS
from billing.periods import BillingMonth, add_months
from billing.terms import CouponDuration
from provisioning.core.database import violated_constraint
from provisioning.core.errors import Conflict, FieldError, Invalid, NotFound
from provisioning.core.ids import new_id
from provisioning.core.queries import owned
from provisioning.tenants import get_reseller

DURATION_MONTHS_MAX = 120
AMOUNT_CENTS_MAX = 100_000_000


async def create_coupon(
    session: AsyncSession,
    *,
    name: str,
    duration: CouponDuration,
    percent_basis_points: int | None = None,
    amount_cents: int | None = None,
    duration_in_months: int | None = None,
    now: datetime,
) -> Coupon:
    """Create a coupon of either a share or an amount; it never changes. Raises Invalid."""
    errors = []
    if (percent_basis_points is None) == (amount_cents is None):
        errors.append(FieldError("/amount_cents", "share_or_amount", "Give either a percentage or an amount."))
    if not 0 < (percent_basis_points or 1) <= BASIS_POINTS:
        errors.append(FieldError("/percent_basis_points", "out_of_range", "A percentage lies between 1 and 10000."))
    if not 0 < (amount_cents or 1) <= AMOUNT_CENTS_MAX:
        errors.append(FieldError("/amount_cents", "out_of_range", f"An amount goes up to {AMOUNT_CENTS_MAX} cents."))
    if (duration is CouponDuration.REPEATING) != (duration_in_months is not None):
        message = "A repeating coupon counts for a number of months, and only such a one."
        errors.append(FieldError("/duration_in_months", "repeating_only", message))
    if not 0 < (duration_in_months or 1) <= DURATION_MONTHS_MAX:
        message = f"A coupon repeats for up to {DURATION_MONTHS_MAX} months."
        errors.append(FieldError("/duration_in_months", "out_of_range", message))
    if errors:
        raise Invalid("The coupon cannot be created.", errors=errors)
    coupon = Coupon(
        id=new_id("cou"),
        name=name.strip(),
        percent_basis_points=percent_basis_points,
        amount_cents=amount_cents,
        duration=duration,
        duration_in_months=duration_in_months,
        created_at=now,
    )
    session.add(coupon)
    await session.flush()
    return coupon


async def get_coupon(session: AsyncSession, coupon_id: str) -> Coupon:
    """Return one coupon; an unknown one raises NotFound."""
    coupon = await session.get(Coupon, coupon_id)
    if coupon is None:
        raise NotFound(f"There is no coupon {coupon_id}.")
    return coupon


async def list_coupons(session: AsyncSession, *, limit: int = 50, before: str | None = None) -> Sequence[Coupon]:
    """Return coupons, newest first; `before` is the id of the last one of the page before."""
    query = select(Coupon).order_by(col(Coupon.id).desc()).limit(limit)
    if before is not None:
        query = query.where(col(Coupon.id) < before)
    return (await session.scalars(query)).all()


async def delete_coupon(session: AsyncSession, coupon_id: str) -> None:
    """Take a coupon away that nobody has had. Raises NotFound, or Conflict `coupon_used`."""
    await get_coupon(session, coupon_id)
    if await session.scalar(select(exists().where(col(Discount.coupon_id) == coupon_id))):
        raise Conflict("Resellers have had this coupon; end their discounts instead.", code="coupon_used")
    await session.execute(delete(Coupon).where(col(Coupon.id) == coupon_id))


async def grant_discount(
    session: AsyncSession, reseller_id: str, *, coupon_id: str, first: BillingMonth, now: datetime
) -> Discount:
    """Give a reseller a coupon for its billing periods from the one on that begins in a month.

    Its months are counted whether or not there is an invoice in them. Raises NotFound, Conflict `discount_overlaps`
    when the reseller has a discount in one of these months already.
    """
    await get_reseller(session, reseller_id)
    coupon = await get_coupon(session, coupon_id)
    months = {CouponDuration.ONCE: 1, CouponDuration.REPEATING: coupon.duration_in_months}.get(coupon.duration)
    discount = Discount(
        id=new_id("dis"),
        reseller_id=reseller_id,
        coupon_id=coupon.id,
        name=coupon.name,
        percent_basis_points=coupon.percent_basis_points,
        amount_cents=coupon.amount_cents,
        starts_on=first.starts_on,
        ends_on=None if months is None else add_months(first.starts_on, months),
        created_at=now,
    )
    session.add(discount)
    try:
        await session.flush()
    except IntegrityError as error:
        if violated_constraint(error) != "ex_discount_overlap":
            raise
        raise Conflict(
            "This reseller has a discount in these months already. End that one first or begin later.",
            code="discount_overlaps",
        ) from error
    return discount


async def end_discount(session: AsyncSession, discount_id: str, *, today: date) -> Discount:
    """Let a discount count for no period that begins after this month; one that has not begun never counts.

    Ending it again changes nothing. Raises NotFound.
    """
    query = select(Discount).where(col(Discount.id) == discount_id).with_for_update()
    discount = (await session.scalars(query)).one_or_none()
    if discount is None:
        raise NotFound(f"There is no discount {discount_id}.")
    until = max(discount.starts_on, BillingMonth.containing(today).ends_on)
    if discount.starts_on > today:
        until = discount.starts_on
    if discount.ends_on is None or discount.ends_on > until:
        discount.ends_on = until
    await session.flush()
    return discount


async def list_discounts(
    session: AsyncSession, reseller_id: str, *, limit: int = 50, before: str | None = None
) -> Sequence[Discount]:
    """Return a reseller's discounts, newest first."""
    query = owned(Discount, reseller_id).order_by(col(Discount.id).desc()).limit(limit)
    if before is not None:
        query = query.where(col(Discount.id) < before)
    return (await session.scalars(query)).all()


async def grant_credit(
    session: AsyncSession, reseller_id: str, *, amount_cents: int, reason: str, actor: str, now: datetime
) -> Credit:
    """Grant a reseller an amount, which its next invoices use up. Raises NotFound, Invalid."""
    if not 0 < amount_cents <= AMOUNT_CENTS_MAX:
        message = f"A credit lies between 1 and {AMOUNT_CENTS_MAX} cents."
        raise Invalid("This cannot be granted.", errors=[FieldError("/amount_cents", "out_of_range", message)])
    await get_reseller(session, reseller_id)
    credit = Credit(
        id=new_id("crd"),
        reseller_id=reseller_id,
        amount_cents=amount_cents,
        reason=reason.strip(),
        actor=actor,
        created_at=now,
    )
    session.add(credit)
    await session.flush()
    return credit


async def credit_balance(session: AsyncSession, reseller_id: str) -> int:
    """Return what is left of a reseller's credit, in cents."""
    left = select(func.sum(col(Credit.amount_cents))).where(col(Credit.reseller_id) == reseller_id)
    return int(await session.scalar(left) or 0)


async def list_credits(
    session: AsyncSession, reseller_id: str, *, limit: int = 50, before: str | None = None
) -> Sequence[Credit]:
    """Return the grants and uses of a reseller's credit, by id, newest grants first.

    The id of a use is that of its invoice's draft, so a use stands where its invoice was drafted.
    """
    query = owned(Credit, reseller_id).order_by(col(Credit.id).desc()).limit(limit)
    if before is not None:
        query = query.where(col(Credit.id) < before)
    return (await session.scalars(query)).all()
