"""Coupons, discounts and credit: set by the operator, seen by the reseller whose invoices they lower."""

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page, PageDep
from api.routing import Route
from billing import discounts
from billing.discount_models import Coupon, Credit, Discount
from billing.discounts import AMOUNT_CENTS_MAX, DURATION_MONTHS_MAX
from billing.periods import BillingMonth
from billing.terms import CouponDuration
from provisioning.core.ids import ID_PATTERN

router = APIRouter(prefix="/v1", route_class=Route)

Write = Annotated[Call, Depends(Requires("prices:write", operator=True), scope="function")]
Read = Annotated[Call, Depends(Requires("billing:read"), scope="function")]
CouponId = Annotated[str, Path(pattern=f"^cou_{ID_PATTERN}$", description="cou_…")]
DiscountId = Annotated[str, Path(pattern=f"^dis_{ID_PATTERN}$", description="dis_…")]

MONTH_PATTERN = "^(20[2-9][0-9]|2100)-(0[1-9]|1[0-2])$"
TEXT_PATTERN = r"^[^\x00-\x1f]*[^\x00-\x20][^\x00-\x1f]*$"

Amount = Annotated[int, Field(ge=1, le=AMOUNT_CENTS_MAX, strict=True)]
BasisPoints = Annotated[int, Field(ge=1, le=10_000, strict=True, description="1500 is 15 %.")]

_COUPON: dict[str, Any] = {
    "name": "Neukunden 2027",
    "percent_basis_points": 1500,
    "amount_cents": None,
    "duration": "repeating",
    "duration_in_months": 3,
}
_DISCOUNT: dict[str, Any] = {
    "reseller_id": "res_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "coupon_id": "cou_01k9z3f6m2w5t8y1c4e7h0j3n6",
}
_CREDIT: dict[str, Any] = {
    "reseller_id": "res_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "amount_cents": 5000,
    "reason": "Ausfall am 3. November",
}


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(from_attributes=True, json_schema_extra={"examples": [fields]})


class NewCoupon(BaseModel):
    """Off a reseller's invoices: either a percentage or an amount. It never changes."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_COUPON]})

    name: str = Field(min_length=1, max_length=200, pattern=TEXT_PATTERN, description="Stands on the invoices.")
    percent_basis_points: BasisPoints | None = None
    amount_cents: Amount | None = Field(None, description="Off each invoice; what is left of it is lost.")
    duration: CouponDuration = Field(description="once: one month; repeating: duration_in_months; forever.")
    duration_in_months: int | None = Field(None, ge=1, le=DURATION_MONTHS_MAX, strict=True)


class CouponView(BaseModel):
    model_config = _example(
        id="cou_01k9z3f6m2w5t8y1c4e7h0j3n6", currency="EUR", created_at="2026-11-17T10:00:00Z", **_COUPON
    )

    id: str
    name: str
    percent_basis_points: int | None
    amount_cents: int | None
    currency: str
    duration: CouponDuration
    duration_in_months: int | None
    created_at: datetime


class NewDiscount(BaseModel):
    """A coupon for a reseller."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{**_DISCOUNT, "first_month": "2027-01"}]})

    reseller_id: str = Field(pattern=f"^res_{ID_PATTERN}$")
    coupon_id: str = Field(pattern=f"^cou_{ID_PATTERN}$")
    first_month: str = Field(
        pattern=MONTH_PATTERN, description="It counts for billing periods that begin in this month or later."
    )


class DiscountView(BaseModel):
    """It lowers the invoices of periods that begin on days `[starts_on, ends_on)`."""

    model_config = _example(
        id="dis_01k9z3f6m2w5t8y1c4e7h0j3n6",
        **_DISCOUNT,
        name="Neukunden 2027",
        percent_basis_points=1500,
        amount_cents=None,
        starts_on="2027-01-01",
        ends_on="2027-04-01",
        created_at="2026-11-17T10:00:00Z",
    )

    id: str
    reseller_id: str
    coupon_id: str
    name: str
    percent_basis_points: int | None
    amount_cents: int | None
    starts_on: date
    ends_on: date | None = Field(description="null: it goes on.")
    created_at: datetime


class NewCredit(BaseModel):
    """Goodwill, which the reseller's next invoices use up."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_CREDIT]})

    reseller_id: str = Field(pattern=f"^res_{ID_PATTERN}$")
    amount_cents: Amount
    reason: str = Field(min_length=1, max_length=500, pattern=TEXT_PATTERN)


class CreditView(BaseModel):
    """One entry: granted (above 0), or used by an invoice (below 0)."""

    model_config = _example(
        id="crd_01k9z3f6m2w5t8y1c4e7h0j3n6",
        **_CREDIT,
        invoice_id=None,
        created_at="2026-11-17T10:00:00Z",
    )

    id: str
    reseller_id: str
    amount_cents: int
    reason: str = Field(description="The invoice's number where one has used it.")
    invoice_id: str | None
    created_at: datetime


class CreditPage(Page[CreditView]):
    balance_cents: int = Field(description="What is left for the next invoices.")


@router.post(
    "/coupons",
    operation_id="createCoupon",
    summary="Create a coupon",
    tags=["operator"],
    status_code=201,
    response_model=CouponView,
)
async def create_coupon(new: NewCoupon, call: Write) -> Response:
    coupon = await discounts.create_coupon(call.session, **new.model_dump(), now=call.now)
    await call.record("coupon.create", [coupon.id], **new.model_dump(mode="json"))
    return await call.answer(_coupon(coupon), status=201, location=f"/v1/coupons/{coupon.id}", version=1)


@router.get(
    "/coupons",
    operation_id="listCoupons",
    summary="List coupons",
    tags=["operator"],
    response_model=Page[CouponView],
)
async def list_coupons(call: Write, page: PageDep) -> Response:
    """Newest first."""
    rows = await discounts.list_coupons(call.session, limit=page.fetch, before=page.after)
    return await call.answer(page.page(rows, _coupon, lambda row: row.id))


@router.get(
    "/coupons/{coupon_id}",
    operation_id="getCoupon",
    summary="Read a coupon",
    tags=["operator"],
    response_model=CouponView,
)
async def read_coupon(coupon_id: CouponId, call: Write) -> Response:
    return await call.answer(_coupon(await discounts.get_coupon(call.session, coupon_id)), version=1)


@router.delete(
    "/coupons/{coupon_id}",
    operation_id="deleteCoupon",
    summary="Take a coupon away that nobody has had",
    tags=["operator"],
    status_code=204,
    responses=refusals("coupon_used"),
)
async def delete_coupon(coupon_id: CouponId, call: Write) -> Response:
    """One that resellers have had stays, as the source of their discounts."""
    call.check_if_match(1)
    await discounts.delete_coupon(call.session, coupon_id)
    await call.record("coupon.delete", [coupon_id])
    return await call.answer(None, status=204)


@router.post(
    "/discounts",
    operation_id="createDiscount",
    summary="Give a reseller a coupon",
    tags=["operator"],
    status_code=201,
    response_model=DiscountView,
    responses={**refusals("discount_overlaps"), **refusals("not_found", status=404)},
)
async def create_discount(new: NewDiscount, call: Write) -> Response:
    """A reseller has one discount at a time. It is taken off before tax and never makes an invoice negative."""
    discount = await discounts.grant_discount(
        call.session,
        new.reseller_id,
        coupon_id=new.coupon_id,
        first=BillingMonth.parse(new.first_month),
        now=call.now,
    )
    await call.record("discount.create", [discount.id], **new.model_dump())
    return await call.answer(_discount(discount), status=201)


@router.get(
    "/discounts",
    operation_id="listDiscounts",
    summary="Your discounts",
    tags=["billing"],
    response_model=Page[DiscountView],
)
async def list_discounts(call: Read, page: PageDep) -> Response:
    """Newest first."""
    rows = await discounts.list_discounts(call.session, call.reseller_id, limit=page.fetch, before=page.after)
    return await call.answer(page.page(rows, _discount, lambda row: row.id))


@router.delete(
    "/discounts/{discount_id}",
    operation_id="endDiscount",
    summary="End a discount",
    tags=["operator"],
    response_model=DiscountView,
)
async def end_discount(discount_id: DiscountId, call: Write) -> Response:
    """Periods that begin this month keep it; one that has not begun never counts."""
    call.check_if_match(1)
    discount = await discounts.end_discount(call.session, discount_id, today=call.today)
    await call.record("discount.end", [discount_id])
    return await call.answer(_discount(discount))


@router.post(
    "/credits",
    operation_id="grantCredit",
    summary="Grant a reseller credit",
    tags=["operator"],
    status_code=201,
    response_model=CreditView,
    responses=refusals("not_found", status=404),
)
async def grant_credit(new: NewCredit, call: Write) -> Response:
    """Used up by its next invoices, after discounts and before tax; what is left is carried over."""
    credit = await discounts.grant_credit(
        call.session,
        new.reseller_id,
        amount_cents=new.amount_cents,
        reason=new.reason,
        actor=call.principal.key_id,
        now=call.now,
    )
    await call.record("credit.grant", [credit.id], **new.model_dump())
    return await call.answer(_credit(credit), status=201)


@router.get(
    "/credits",
    operation_id="listCredits",
    summary="Your credit and what has used it",
    tags=["billing"],
    response_model=CreditPage,
)
async def list_credits(call: Read, page: PageDep) -> Response:
    """Newest first."""
    rows = await discounts.list_credits(call.session, call.reseller_id, limit=page.fetch, before=page.after)
    balance_cents = await discounts.credit_balance(call.session, call.reseller_id)
    shown = page.page(rows, _credit, lambda row: row.id)
    return await call.answer(CreditPage(**shown.model_dump(), balance_cents=balance_cents))


def _coupon(row: Coupon) -> CouponView:
    return CouponView.model_validate(row)


def _discount(row: Discount) -> DiscountView:
    return DiscountView.model_validate(row)


def _credit(row: Credit) -> CreditView:
    return CreditView.model_validate(row)
