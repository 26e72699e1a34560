"""The month's mailboxes and stays as a file, for tools that bill by contract."""

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call, Requires
from api.downloads import FileFormat, Period, export_responses, month_of, send_export
from api.routing import Route
from billing.usage import usage
from provisioning.core.ids import ID_PATTERN

router = APIRouter(prefix="/v1", tags=["billing"], route_class=Route)

Read = Annotated[Call, Depends(Requires("billing:read", anyone=True), scope="function")]

_ROW: dict[str, Any] = {
    "period": "2026-11",
    "reseller_id": "res_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "customer_id": "cus_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "customer_external_id": "K-4711",
    "customer_name": "Kanzlei Lindenhof",
    "mailbox_id": "mbx_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "mailbox_external_id": "P-17",
    "address": "anna.krueger@kanzlei-lindenhof.example",
    "service_class": "exchange",
    "location": "de-fra-1",
    "starts_on": "2026-11-17",
    "ends_on": "2026-12-01",
    "mailbox_days": 14,
    "base_days": 30,
    "quantity": 1,
    "start_reason": "ordered",
    "end_reason": "continues",
}


class UsageRow(BaseModel):
    """Days `[starts_on, ends_on)` of one mailbox in one class and place, clipped to the month."""

    period: str
    reseller_id: str
    customer_id: str = Field(description="Never changes, whatever the customer is called.")
    customer_external_id: str | None = Field(description="Your own id of the customer.")
    customer_name: str
    mailbox_id: str = Field(description="Never changes, whatever the address.")
    mailbox_external_id: str | None = Field(description="Your own id of the mailbox.")
    address: str
    service_class: str
    location: str
    starts_on: date
    ends_on: date = Field(description="The first day that is no longer counted.")
    mailbox_days: int
    base_days: int = Field(description="The days of the month.")
    quantity: int = Field(description="How many of the class this row is: 1 for a mailbox.")
    start_reason: str = Field(description="`carried_over`: it was there before the month.")
    end_reason: str = Field(description="`continues`: it is still there after the month.")


class UsageView(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"period": "2026-11", "is_estimate": False, "items": [_ROW]}]}
    )

    period: str
    is_estimate: bool = Field(description="The month still runs; computed as if nothing changed until its end.")
    items: list[UsageRow]


@router.get(
    "/usage",
    operation_id="getUsage",
    summary="Every mailbox of a month, with its days and reasons",
    response_model=UsageView,
    responses=export_responses(UsageView),
)
async def read(
    call: Read,
    period: Period = None,
    customer: Annotated[
        str | None, Query(pattern=f"^cus_{ID_PATTERN}$", description="Only this customer's mailboxes.")
    ] = None,
    format: FileFormat = "json",  # noqa: A002 - the name of the query parameter
) -> Response:
    """Always in the same order. For a month that is billed, the days of a customer and class are those of its invoice
    line. An operator that acts for nobody gets all resellers'."""
    month = month_of(call.now, period)
    export = usage(call.principal.reseller_id, month, customer_id=customer, now=call.now)
    return await send_export(call, export, format, name=f"usage-{month}")
