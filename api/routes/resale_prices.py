"""What a reseller charges its customers: prices by class and day, for all of them or for one."""

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page, PageDep
from api.routing import Day, Route
from billing import resale_prices
from billing.export_models import ResalePrice
from billing.resale_prices import PRICE_CENTS_MAX
from billing.terms import Product
from provisioning.core.ids import ID_PATTERN

router = APIRouter(prefix="/v1", tags=["billing"], route_class=Route)

Read = Annotated[Call, Depends(Requires("billing:read"), scope="function")]
Write = Annotated[Call, Depends(Requires("resale_prices:write"), scope="function")]
ResalePriceId = Annotated[str, Path(pattern=f"^rsp_{ID_PATTERN}$", description="rsp_…")]
PriceCents = Annotated[
    int, Field(ge=0, le=PRICE_CENTS_MAX, strict=True, description="A mailbox or unit and month, net.")
]

_EXAMPLE: dict[str, Any] = {
    "service_class": "exchange",
    "price_cents": 1190,
    "valid_from": "2027-01-01",
    "customer_id": None,
}


class NewResalePrice(BaseModel):
    """The price that holds on a month's first day prices the whole month."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    service_class: Product = Field(description="A class of service, or an add-on.")
    price_cents: PriceCents
    valid_from: Day
    customer_id: str | None = Field(
        None, pattern=f"^cus_{ID_PATTERN}$", description="Whom it is for; null for all. A customer's own price wins."
    )


class ResalePriceChange(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"price_cents": 1290}]})

    price_cents: PriceCents


class ResalePriceView(BaseModel):
    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "rsp_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    **_EXAMPLE,
                    "created_at": "2026-11-17T10:00:00Z",
                    "version": 1,
                }
            ]
        },
    )

    id: str
    service_class: Product
    price_cents: int
    valid_from: date
    customer_id: str | None = Field(description="null: for all customers.")
    created_at: datetime
    version: int = Field(description="Counts the changes; it is the ETag.")


@router.post(
    "/resale-prices",
    operation_id="createResalePrice",
    summary="Set what you charge for a class",
    status_code=201,
    response_model=ResalePriceView,
    responses=refusals("resale_price_exists"),
)
async def create(new: NewResalePrice, call: Write) -> Response:
    """From a day on, for all your customers or for one."""
    price = await resale_prices.create_resale_price(
        call.session,
        call.reseller_id,
        service_class=new.service_class,
        price_cents=new.price_cents,
        valid_from=new.valid_from,
        customer_id=new.customer_id,
        now=call.now,
    )
    await call.record("resale_price.create", [price.id], **new.model_dump(mode="json"))
    return await call.answer(_view(price), status=201, location=f"/v1/resale-prices/{price.id}", version=price.version)


@router.get(
    "/resale-prices",
    operation_id="listResalePrices",
    summary="List your resale prices",
    response_model=Page[ResalePriceView],
)
async def list_(call: Read, page: PageDep) -> Response:
    """Newest first."""
    rows = await resale_prices.list_resale_prices(call.session, call.reseller_id, limit=page.fetch, before=page.after)
    return await call.answer(page.page(rows, _view, lambda row: row.id))


@router.get(
    "/resale-prices/{resale_price_id}",
    operation_id="getResalePrice",
    summary="Read a resale price",
    response_model=ResalePriceView,
)
async def read(resale_price_id: ResalePriceId, call: Read) -> Response:
    price = await resale_prices.get_resale_price(call.session, call.reseller_id, resale_price_id)
    return await call.answer(_view(price), version=price.version)


@router.patch(
    "/resale-prices/{resale_price_id}",
    operation_id="changeResalePrice",
    summary="Correct a resale price",
    response_model=ResalePriceView,
)
async def change(resale_price_id: ResalePriceId, change: ResalePriceChange, call: Write) -> Response:
    """Also for months that are over. To charge more from a day on, add a price that begins then."""
    price = await resale_prices.get_resale_price(call.session, call.reseller_id, resale_price_id, lock=True)
    call.check_if_match(price.version)
    before, price.price_cents = price.price_cents, change.price_cents
    await call.session.flush()  # the answer shows the version as stored
    await call.record("resale_price.change", [price.id], price_cents=change.price_cents, before=before)
    return await call.answer(_view(price), version=price.version)


@router.delete(
    "/resale-prices/{resale_price_id}",
    operation_id="deleteResalePrice",
    summary="Remove a resale price",
    status_code=204,
)
async def delete(resale_price_id: ResalePriceId, call: Write) -> Response:
    """The one before it holds again."""
    price = await resale_prices.get_resale_price(call.session, call.reseller_id, resale_price_id, lock=True)
    call.check_if_match(price.version)
    await call.session.delete(price)
    await call.session.flush()
    await call.record("resale_price.delete", [price.id], **_view(price).model_dump(mode="json"))
    return await call.answer(None, status=204)


def _view(price: ResalePrice) -> ResalePriceView:
    return ResalePriceView.model_validate(price)
