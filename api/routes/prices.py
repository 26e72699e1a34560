"""Price lists for the operator, and for a reseller the prices that hold on a day and where each comes from."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import LIMIT_MAX, Page, PageDep
from api.routing import Day, Route
from billing import price_changes, prices
from billing.models import PriceList
from billing.rating import Tier
from billing.terms import Product, Proration, Terms, TiersMode
from provisioning.core.errors import FieldError, Invalid
from provisioning.core.ids import ID_PATTERN

router = APIRouter(prefix="/v1", route_class=Route)

Write = Annotated[Call, Depends(Requires("prices:write", operator=True), scope="function")]
Read = Annotated[Call, Depends(Requires("billing:read"), scope="function")]
PriceListId = Annotated[str, Path(pattern=f"^pl_{ID_PATTERN}$", description="pl_…")]

# Printable, and not only blanks.
NAME_PATTERN = r"^[^\x00-\x1f]*[^\x00-\x20][^\x00-\x1f]*$"

PRICE_EXAMPLE: dict[str, Any] = {
    "service_class": "exchange",
    "tiers": [{"min_quantity": 1, "price_cents": 790}, {"min_quantity": 50, "price_cents": 690}],
    "tiers_mode": "volume",
    "proration": "daily",
    "minimum_term_months": 0,
    "notice_days": 0,
    "trial_days": 14,
}


class PriceTier(BaseModel):
    """From `min_quantity` units on, each costs `price_cents` a month, net: all of them (volume) or those above."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    min_quantity: int = Field(
        ge=0, le=prices.QUANTITY_MAX, strict=True, description="The first tier begins with 0 or 1."
    )
    price_cents: int = Field(ge=0, le=prices.PRICE_CENTS_MAX, strict=True)


class ClassPrices(BaseModel):
    """What a unit of one product costs, and the terms of it."""

    model_config = ConfigDict(extra="forbid")

    service_class: Product = Field(description="A class of service, or an add-on; extra storage is sold by 10 GiB.")
    tiers: list[PriceTier] = Field(min_length=1, max_length=50, description="`min_quantity` rises.")
    tiers_mode: TiersMode = Field(
        TiersMode.VOLUME,
        description="volume: how many there are on the period's last day picks one price for all. graduated: each "
        "tier is filled before the next, by days, in the order of customer ids.",
    )
    proration: Proration = Field(
        Proration.DAILY,
        description="daily: by the day. full_month: any day pays the whole period. none: a period it begins in after "
        "the first day is free, the next one is whole.",
    )
    minimum_term_months: int = Field(
        0,
        ge=0,
        le=prices.MINIMUM_TERM_MONTHS_MAX,
        strict=True,
        description="Given up earlier, it is billed on until then.",
    )
    notice_days: int = Field(0, ge=0, le=prices.DAYS_MAX, strict=True, description="Billed on after it was given up.")
    trial_days: int = Field(
        0, ge=0, le=prices.DAYS_MAX, strict=True, description="The first days of a mailbox are free."
    )


class NewPriceList(BaseModel):
    """A list never changes; a newer one replaces it from its day on."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "Preise 2027",
                    "valid_from": "2027-01-01",
                    "reseller_id": None,
                    "prices": [PRICE_EXAMPLE],
                }
            ]
        },
    )

    name: str = Field(min_length=1, max_length=200, pattern=NAME_PATTERN)
    valid_from: Day = Field(description="A list holds for every month that begins on this day or later.")
    reseller_id: str | None = Field(
        None, pattern=f"^res_{ID_PATTERN}$", description="Whom it is for; null for all. An own list wins per class."
    )
    prices: list[ClassPrices] = Field(min_length=1, max_length=len(Product))


class PriceListView(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "pl_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "name": "Preise 2027",
                    "valid_from": "2027-01-01",
                    "reseller_id": None,
                    "currency": "EUR",
                    "created_at": "2026-11-17T10:00:00Z",
                    "prices": [PRICE_EXAMPLE],
                }
            ]
        }
    )

    id: str
    name: str
    valid_from: date
    reseller_id: str | None = Field(description="null: for all resellers.")
    currency: str
    created_at: datetime
    prices: list[ClassPrices] | None = Field(None, description="null in lists.")


class EffectivePrices(ClassPrices):
    """What one class costs, and the list that says so."""

    price_list_id: str
    price_list_name: str
    valid_from: date
    is_own: bool = Field(description="From a list made for this reseller, not from the one for all.")


class PricesView(BaseModel):
    """A class that is missing has no price: mailboxes of it cannot be billed yet."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "on": "2026-11-01",
                    "currency": "EUR",
                    "prices": [
                        {
                            **PRICE_EXAMPLE,
                            "price_list_id": "pl_01k9z3f6m2w5t8y1c4e7h0j3n6",
                            "price_list_name": "Preise 2026",
                            "valid_from": "2026-01-01",
                            "is_own": False,
                        }
                    ],
                }
            ]
        }
    )

    on: date
    currency: str = "EUR"
    prices: list[EffectivePrices]


@router.post(
    "/price-lists",
    operation_id="createPriceList",
    summary="Create a price list, for one reseller or for all",
    tags=["operator"],
    status_code=201,
    response_model=PriceListView,
    responses={**refusals("price_list_exists", "notice_too_short"), **refusals("not_found", status=404)},
)
async def create(new: NewPriceList, call: Write) -> Response:
    """The list that holds on a period's first day prices the whole period; a class it leaves out keeps its price from
    the list for all. What makes something dearer for those who have it must be announced in time."""
    tiers = _by_class(new.prices)
    terms: dict[str, Terms] = {each.service_class: _terms_of(each) for each in new.prices}
    try:
        prices.check_price_list(new.name, tiers, terms)
        await price_changes.check_notice(
            call.session,
            new.reseller_id,
            valid_from=new.valid_from,
            prices=tiers,
            terms=terms,
            notice_days=call.context.price_notice_days,
            today=call.today,
        )
        price_list = await prices.create_price_list(
            call.session,
            new.reseller_id,
            name=new.name,
            valid_from=new.valid_from,
            prices=tiers,
            terms=terms,
            now=call.now,
        )
    except Invalid as refused:
        raise _at_its_line(refused, new.prices) from None
    await call.record(
        "price_list.create", [price_list.id], reseller=new.reseller_id, valid_from=new.valid_from.isoformat()
    )
    view = await _whole(call, price_list)
    return await call.answer(view, status=201, location=f"/v1/price-lists/{price_list.id}", version=1)


@router.get(
    "/price-lists",
    operation_id="listPriceLists",
    summary="List price lists",
    tags=["operator"],
    response_model=Page[PriceListView],
)
async def list_(
    call: Write,
    page: PageDep,
    reseller: Annotated[
        str | None, Query(pattern=f"^res_{ID_PATTERN}$", description="Only what counts for this reseller.")
    ] = None,
) -> Response:
    """Newest first."""
    rows = await prices.list_price_lists(call.session, reseller, limit=page.fetch, before=page.after)
    return await call.answer(page.page(rows, _view, lambda row: row.id))


@router.get(
    "/price-lists/{price_list_id}",
    operation_id="getPriceList",
    summary="Read a price list",
    tags=["operator"],
    response_model=PriceListView,
)
async def read(price_list_id: PriceListId, call: Write) -> Response:
    price_list = await prices.get_price_list(call.session, None, price_list_id)
    return await call.answer(await _whole(call, price_list), version=1)


@router.delete(
    "/price-lists/{price_list_id}",
    operation_id="withdrawPriceList",
    summary="Withdraw a price list nobody has been billed by",
    tags=["operator"],
    status_code=204,
    responses=refusals("price_list_used"),
)
async def withdraw(price_list_id: PriceListId, call: Write) -> Response:
    """Refused once a final invoice can have used it: replace it by a newer list instead."""
    call.check_if_match(1)
    await prices.withdraw_price_list(call.session, price_list_id)
    await call.record("price_list.withdraw", [price_list_id])
    return await call.answer(None, status=204)


@router.get(
    "/prices",
    operation_id="getPrices",
    summary="Your prices on a day",
    tags=["billing"],
    response_model=PricesView,
)
async def effective(
    call: Read,
    on: Annotated[Day | None, Query(description="Today when left out; the 1st prices its whole month.")] = None,
) -> Response:
    """Per class and add-on, with tiers, terms and the price list they come from."""
    day = on or call.today
    rows = [
        EffectivePrices(
            **shape_of(product, tiers, terms).model_dump(),
            price_list_id=price_list.id,
            price_list_name=price_list.name,
            valid_from=price_list.valid_from,
            is_own=price_list.reseller_id is not None,
        )
        for product, (price_list, tiers, terms) in sorted((await _holding(call, day)).items())
    ]
    return await call.answer(PricesView(on=day, prices=rows))


async def _holding(call: Call, on: date) -> dict[str, tuple[PriceList, Sequence[Tier], Terms]]:
    """What `prices.price_table` says of this day, each product with its list: the own one wins where it names it."""
    begun: list[PriceList] = []
    last: str | None = None
    while rows := await prices.list_price_lists(call.session, call.reseller_id, limit=LIMIT_MAX, before=last):
        begun += [each for each in rows if each.valid_from <= on]
        last = rows[-1].id
    holding: dict[str, tuple[PriceList, Sequence[Tier], Terms]] = {}
    for owner in (None, call.reseller_id):
        of_owner = [each for each in begun if each.reseller_id == owner]
        if of_owner:
            newest = max(of_owner, key=lambda each: each.valid_from)
            terms = await prices.terms_of(call.session, newest.id)
            tiers = await prices.prices_of(call.session, newest.id)
            holding |= {product: (newest, of_it, terms.get(product, Terms())) for product, of_it in tiers.items()}
    return holding


def _by_class(given: Sequence[ClassPrices]) -> dict[str, list[Tier]]:
    """The prices as the service takes them. Raises Invalid for a class that is named twice."""
    named = Counter(each.service_class for each in given)
    errors = [
        FieldError(f"/prices/{index}/service_class", "given_twice", "Name each class once, with all its tiers.")
        for index, each in enumerate(given)
        if named[each.service_class] > 1
    ]
    if errors:
        raise Invalid("The price list cannot be created.", errors=errors)
    return {each.service_class: [Tier(tier.min_quantity, tier.price_cents) for tier in each.tiers] for each in given}


def _at_its_line(refused: Invalid, given: Sequence[ClassPrices]) -> Invalid:
    """The same refusal, pointing into the body: there the prices are a list, for the service they go by class."""
    places = {f"/prices/{each.service_class}": f"/prices/{index}/tiers" for index, each in enumerate(given)}
    errors = [replace(each, pointer=places.get(each.pointer, each.pointer)) for each in refused.errors]
    return Invalid(refused.detail, errors=errors)


async def _whole(call: Call, price_list: PriceList) -> PriceListView:
    terms = await prices.terms_of(call.session, price_list.id)
    shapes = [
        shape_of(product, tiers, terms.get(product, Terms()))
        for product, tiers in (await prices.prices_of(call.session, price_list.id)).items()
    ]
    return _view(price_list, shapes)


def _view(price_list: PriceList, shapes: list[ClassPrices] | None = None) -> PriceListView:
    return PriceListView(**price_list.model_dump(), prices=shapes)


def shape_of(product: str, tiers: Sequence[Tier], terms: Terms) -> ClassPrices:
    shapes = [PriceTier.model_validate(tier) for tier in tiers]
    return ClassPrices(service_class=Product(product), tiers=shapes, **asdict(terms))


def _terms_of(given: ClassPrices) -> Terms:
    return Terms(
        given.tiers_mode,
        given.proration,
        minimum_term_months=given.minimum_term_months,
        notice_days=given.notice_days,
        trial_days=given.trial_days,
    )
