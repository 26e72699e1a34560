"""Announced changes of a reseller's prices."""

from datetime import date, datetime

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.routes.prices import PRICE_EXAMPLE, ClassPrices, Read, shape_of
from api.routing import Route
from billing.preview import running_periods
from billing.price_changes import Offer, PriceChange, price_changes

router = APIRouter(prefix="/v1", route_class=Route)


class PriceChangeView(BaseModel):
    """What a product costs from the billing period on that begins on `effective_on`, and what it costs before."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "service_class": "exchange",
                    "effective_on": "2027-01-01",
                    "announced_at": "2026-11-17T10:00:00Z",
                    "price_list_id": "pl_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "old": {**PRICE_EXAMPLE, "tiers": [{"min_quantity": 1, "price_cents": 690}]},
                    "new": PRICE_EXAMPLE,
                }
            ]
        }
    )

    service_class: str
    effective_on: date
    announced_at: datetime
    price_list_id: str
    old: ClassPrices | None = Field(description="null: it was not sold.")
    new: ClassPrices | None = Field(description="null: it is sold no more.")


class PriceChangesView(BaseModel):
    """Oldest first."""

    price_changes: list[PriceChangeView]


@router.get(
    "/price-changes",
    operation_id="listPriceChanges",
    summary="Which of your prices change, and when",
    tags=["billing"],
    response_model=PriceChangesView,
)
async def changes(call: Read) -> Response:
    """In billing periods that have not begun yet: cents before and after."""
    _, following = await running_periods(call.session, call.reseller_id, call.today)
    found = await price_changes(call.session, call.reseller_id, since=following.starts_on)
    return await call.answer(PriceChangesView(price_changes=[change_view(each) for each in found]))


def change_view(change: PriceChange) -> PriceChangeView:
    def shape(offer: Offer | None) -> ClassPrices | None:
        return None if offer is None else shape_of(change.service_class, offer.tiers, offer.terms)

    return PriceChangeView(
        service_class=change.service_class,
        effective_on=change.effective_on,
        announced_at=change.announced_at,
        price_list_id=change.price_list_id,
        old=shape(change.old),
        new=shape(change.new),
    )
