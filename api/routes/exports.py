"""For bookkeeping: DATEV batches, revenue, and what is still to be paid."""

from contextlib import ExitStack
from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call, Requires
from api.downloads import FileFormat, export_responses, open_file, send_export, send_file
from api.openapi import refusals
from api.routing import Day, Route
from billing.booking_export import books_for, exported_days, write_bookings
from billing.models import ChartName
from billing.open_items import Age, open_items
from billing.revenue import revenue

router = APIRouter(prefix="/v1", route_class=Route)

Operate = Annotated[Call, Depends(Requires("exports:read", operator=True), scope="function")]
Read = Annotated[Call, Depends(Requires("billing:read", anyone=True), scope="function")]

REVENUE_DAYS = 365


def _given(
    consultant: Annotated[
        int | None, Query(ge=1001, le=9_999_999, description="Berater; as set when left out.")
    ] = None,
    client: Annotated[int | None, Query(ge=1, le=99_999, description="Mandant; as set when left out.")] = None,
    chart: Annotated[ChartName | None, Query(description="SKR03 or SKR04; as set when left out.")] = None,
) -> dict[str, Any]:
    """What the caller says of the books, for this export only."""
    given = {"consultant": consultant, "client": client, "chart": chart}
    return {name: value for name, value in given.items() if value is not None}


Given = Annotated[dict[str, Any], Depends(_given)]

_ITEM: dict[str, Any] = {
    "reseller_id": "res_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "reseller_name": "IT-Haus Goslar",
    "invoice_id": "inv_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "number": "PF-2026-000042",
    "period": "2026-11",
    "issued_on": "2026-12-01",
    "due_on": "2026-12-15",
    "currency": "EUR",
    "gross_cents": 1786,
    "settled_cents": 0,
    "open_cents": 1786,
    "days_overdue": 17,
    "age": "days_0_30",
}
_TOTALS: dict[str, Any] = {
    "items": 1,
    "open_cents": 1786,
    "not_due_cents": 0,
    "days_0_30_cents": 1786,
    "days_31_60_cents": 0,
    "days_61_90_cents": 0,
    "days_over_90_cents": 0,
}
_REVENUE: dict[str, Any] = {
    "period": "2026-11",
    "service_class": "exchange",
    "currency": "EUR",
    "resellers": 120,
    "customers": 340,
    "mailbox_days": 102000,
    "net_cents": 2686000,
}


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [fields]})


class OpenItem(BaseModel):
    """A final invoice that is not settled."""

    reseller_id: str
    reseller_name: str = Field(description="As on the invoice.")
    invoice_id: str
    number: str
    period: str
    issued_on: date
    due_on: date
    currency: str
    gross_cents: int
    settled_cents: int
    open_cents: int = Field(description="Negative: it was overpaid.")
    days_overdue: int | None = Field(description="0 on the day it is due; null before.")
    age: Age


class Ages(BaseModel):
    """What is open, by how long it has been due."""

    items: int
    open_cents: int
    not_due_cents: int
    days_0_30_cents: int
    days_31_60_cents: int
    days_61_90_cents: int
    days_over_90_cents: int


class OpenItemsView(BaseModel):
    model_config = _example(on="2027-01-01", totals=_TOTALS, items=[_ITEM])

    on: date
    totals: Ages
    items: list[OpenItem]


class RevenueRow(BaseModel):
    """One class in one month of service."""

    period: str
    service_class: str
    currency: str
    resellers: int
    customers: int
    mailbox_days: int
    net_cents: int


class RevenueView(BaseModel):
    model_config = _example(net_cents=2686000, items=[_REVENUE])

    net_cents: int = Field(description="Of all rows: the net total of the invoices.")
    items: list[RevenueRow]


@router.get(
    "/exports/datev",
    operation_id="exportDatev",
    summary="Invoices, payments and bad debts as DATEV batches",
    tags=["operator"],
    response_class=Response,
    responses={
        200: {
            "description": "A ZIP archive.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            "headers": {
                "Postfachwerk-Invoice-Cents": {
                    "description": "The gross of the invoices less their corrections, summed from the batches' bytes.",
                    "schema": {"type": "integer"},
                },
                "Postfachwerk-Payment-Cents": {
                    "description": "What was paid, summed in the same way.",
                    "schema": {"type": "integer"},
                },
                "Postfachwerk-Fee-Cents": {
                    "description": "Fees beside the invoices, less what was waived of them.",
                    "schema": {"type": "integer"},
                },
                "Postfachwerk-Write-Off-Cents": {
                    "description": "What was given up as lost, of invoices and fees.",
                    "schema": {"type": "integer"},
                },
                "Postfachwerk-Bookings": {"description": "How many bookings.", "schema": {"type": "integer"}},
            },
        },
        **refusals("datev_not_configured", "export_sums_differ"),
        **refusals(
            *("datev_account", "datev_accounts", "datev_amount", "datev_debtor", "datev_fee_account", "datev_file"),
            *("datev_fiscal_year", "datev_no_account", "datev_number", "datev_period", "datev_rate"),
            *("datev_tax_key", "datev_too_many", "datev_vat_id", "invalid"),
            status=422,
        ),
    },
)
async def datev(
    call: Operate,
    given: Given,
    from_: Annotated[
        Day | None, Query(alias="from", description="The first day; that of last month when left out.")
    ] = None,
    to: Annotated[
        Day | None, Query(description="The first day that is left out; the 1st after `from` when not given.")
    ] = None,
) -> Response:
    """One batch (EXTF Buchungsstapel) a month by the day of the document, and the debtors. Each batch was read back,
    and its accounts come to what the invoices and their payments say; the debtors' to the open items."""
    starts_on, ends_on = exported_days(from_, to, today=call.today)
    books = books_for(call.context.books, given)
    with ExitStack() as opened:
        file = opened.enter_context(open_file())
        booked = await write_bookings(
            call.session, file, books=books, starts_on=starts_on, ends_on=ends_on, now=call.now
        )
        opened.pop_all()  # the answer closes it
    headers = {
        "Postfachwerk-Invoice-Cents": str(booked.sums.invoice_cents),
        "Postfachwerk-Payment-Cents": str(booked.sums.payment_cents),
        "Postfachwerk-Fee-Cents": str(booked.sums.fee_cents),
        "Postfachwerk-Write-Off-Cents": str(booked.sums.write_off_cents),
        "Postfachwerk-Bookings": str(booked.sums.bookings),
    }
    return send_file(file, f"datev-{starts_on}-{ends_on}.zip", "application/octet-stream", headers=headers)


@router.get(
    "/exports/revenue",
    operation_id="exportRevenue",
    summary="Revenue per class and month",
    tags=["operator"],
    response_model=RevenueView,
    responses=export_responses(RevenueView),
)
async def revenue_(
    call: Operate,
    from_: Annotated[
        Day | None, Query(alias="from", description="The first month's first day; a year ago when left out.")
    ] = None,
    to: Annotated[Day | None, Query(description="The first day that is left out; today when not given.")] = None,
    format: FileFormat = "json",  # noqa: A002 - the name of the query parameter
) -> Response:
    """By month of service, from final invoices."""
    ends_on = to or call.today
    starts_on = from_ or call.today - timedelta(days=REVENUE_DAYS)
    return await send_export(call, revenue(starts_on, ends_on), format, name=f"revenue-{starts_on}-{ends_on}")


@router.get(
    "/open-items",
    operation_id="getOpenItems",
    summary="What is still to be paid, and for how long",
    tags=["billing"],
    response_model=OpenItemsView,
    responses=export_responses(OpenItemsView),
)
async def open_items_(
    call: Read,
    on: Annotated[Day | None, Query(description="As of the evening of this day; today when left out.")] = None,
    format: FileFormat = "json",  # noqa: A002 - the name of the query parameter
) -> Response:
    """Final invoices, the oldest due first. An operator that acts for nobody gets all resellers'."""
    day = on or call.today
    return await send_export(call, open_items(call.principal.reseller_id, on=day), format, name=f"open-items-{day}")
