"""Statements: what each customer owes the reseller at its own prices, and the margin that leaves."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call, Requires
from api.downloads import FileFormat, Period, export_responses, month_of, send_export
from api.openapi import refusals
from api.routing import Route
from billing.statements import Statement, get_statement, margins, statement_lines
from provisioning.core.ids import ID_PATTERN

router = APIRouter(prefix="/v1", tags=["billing"], route_class=Route)

Read = Annotated[Call, Depends(Requires("billing:read"), scope="function")]
CustomerId = Annotated[str, Path(pattern=f"^cus_{ID_PATTERN}$", description="cus_…")]

_CUSTOMER: dict[str, Any] = {
    "customer_id": "cus_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "customer_external_id": "K-4711",
    "customer_name": "Kanzlei Lindenhof",
}
_SUMS: dict[str, Any] = {"wholesale_net_cents": 1501, "resale_net_cents": 2261, "margin_cents": 760, "unpriced_days": 0}
_ADDRESS: dict[str, Any] = {
    "name": "IT-Haus Goslar",
    "street": "Marktstraße 5",
    "postcode": "38640",
    "city": "Goslar",
    "country": "DE",
}


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(from_attributes=True, json_schema_extra={"examples": [fields]})


class MarginRow(BaseModel):
    """One customer's month: what it costs you, what it brings you."""

    period: str
    customer_id: str
    customer_external_id: str | None
    customer_name: str
    mailbox_days: int
    unpriced_days: int = Field(description="Days of classes that have no resale price; then the sums are null.")
    wholesale_net_cents: int = Field(description="As on your invoice.")
    resale_net_cents: int | None = Field(description="At your prices, by the invoice's own formula.")
    margin_cents: int | None
    margin_basis_points: int | None = Field(description="Of the resale price: 2500 is 25 %.")


class MarginTotals(BaseModel):
    """Customers with `unpriced_days` are in the wholesale total only."""

    wholesale_net_cents: int
    resale_net_cents: int
    margin_cents: int
    unpriced_days: int


class MarginsView(BaseModel):
    model_config = _example(
        period="2026-11",
        is_estimate=False,
        totals=_SUMS,
        items=[{"period": "2026-11", **_CUSTOMER, "mailbox_days": 57, **_SUMS, "margin_basis_points": 3361}],
    )

    period: str
    is_estimate: bool = Field(description="The month is not invoiced yet: from its preview.")
    totals: MarginTotals
    items: list[MarginRow]


class StatementLineView(BaseModel):
    """Mailboxes of one class: net = mailbox_days × price_cents / base_days, rounded half up."""

    model_config = ConfigDict(from_attributes=True)

    service_class: str
    mailbox_days: int
    base_days: int = Field(description="The days of the month.")
    price_cents: int = Field(description="Yours, a mailbox and month.")
    net_cents: int


class StatementSeller(BaseModel):
    """You, as you stand in your account."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    street: str
    postcode: str
    city: str
    country: str
    vat_id: str | None
    email: str


class StatementBuyer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    external_id: str | None
    name: str


class StatementView(BaseModel):
    """What a customer owes you. Nothing in it tells what you pay, so that it can be handed on."""

    model_config = _example(
        period="2026-11",
        is_estimate=False,
        currency="EUR",
        seller={
            "id": "res_01k9z3f6m2w5t8y1c4e7h0j3n6",
            **_ADDRESS,
            "vat_id": None,
            "email": "office@it-haus.example",
        },
        buyer={"id": _CUSTOMER["customer_id"], "external_id": "K-4711", "name": "Kanzlei Lindenhof"},
        lines=[
            {
                "service_class": "exchange",
                "mailbox_days": 57,
                "base_days": 30,
                "price_cents": 1190,
                "net_cents": 2261,
            }
        ],
        net_cents=2261,
    )

    period: str
    is_estimate: bool = Field(description="The month is not invoiced yet: from its preview.")
    currency: str = "EUR"
    seller: StatementSeller
    buyer: StatementBuyer
    lines: list[StatementLineView]
    net_cents: int


@router.get(
    "/statements",
    operation_id="listStatements",
    summary="What each customer brings and what it costs you",
    response_model=MarginsView,
    responses={**export_responses(MarginsView), **refusals("no_price", "tax_regime_unsupported")},
)
async def list_(
    call: Read,
    period: Period = None,
    format: FileFormat = "json",  # noqa: A002 - the name of the query parameter
) -> Response:
    """By name, with your margin. For your eyes: what a customer may see is its statement."""
    month = month_of(call.now, period)
    export = await margins(call.session, call.reseller_id, month, now=call.now)
    return await send_export(call, export, format, name=f"statements-{month}")


@router.get(
    "/statements/{customer_id}",
    operation_id="getStatement",
    summary="What a customer owes you for a month",
    response_model=StatementView,
    responses={
        **export_responses(StatementView),
        **refusals("no_price", "no_resale_price", "tax_regime_unsupported"),
    },
)
async def read(
    customer_id: CustomerId,
    call: Read,
    period: Period = None,
    format: FileFormat = "json",  # noqa: A002 - the name of the query parameter
) -> Response:
    """At your resale prices, ready to be billed on."""
    month = month_of(call.now, period)
    if format == "csv":
        lines = await statement_lines(call.session, call.reseller_id, customer_id, month, now=call.now)
        return await send_export(call, lines, "csv", name=f"statement-{month}-{customer_id}")
    made = await get_statement(call.session, call.reseller_id, customer_id, month, now=call.now)
    return await call.answer(_view(made), version=1, derived=True)


def _view(made: Statement) -> StatementView:
    return StatementView(
        period=str(made.month),
        is_estimate=made.is_estimate,
        seller=StatementSeller.model_validate(made.seller),
        buyer=StatementBuyer.model_validate(made.buyer),
        lines=[StatementLineView.model_validate(line) for line in made.lines],
        net_cents=made.net_cents,
    )
