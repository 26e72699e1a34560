"""Customers: a reseller's clients, each with its own limit and policy."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response
from pydantic import ConfigDict, Field

from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page, PageDep
from api.routing import Route
from provisioning import policies, tenants
from provisioning.core.ids import ID_PATTERN
from provisioning.orders import PolicyShape
from provisioning.tenants import Customer, TenantUsage

router = APIRouter(prefix="/v1", tags=["customers"], route_class=Route)

Read = Annotated[Call, Depends(Requires("customers:read"), scope="function")]
Write = Annotated[Call, Depends(Requires("customers:write"), scope="function")]
CustomerId = Annotated[str, Path(pattern=f"^cus_{ID_PATTERN}$", description="cus_…")]

Limit = Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)]


class CustomerOrder(PolicyShape):
    """A new customer. Its policy may only tighten yours."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "Kanzlei Lindenhof",
                    "external_id": "K-10023",
                    "mailboxes_max": 25,
                    "allowed_countries": ["DE"],
                }
            ]
        },
    )

    name: str = Field(min_length=1, max_length=256)
    external_id: str | None = Field(None, min_length=1, max_length=128, description="Your own id, unique for you.")
    mailboxes_max: Limit | None = Field(None, description="null sets no limit of its own.")


class CustomerChange(PolicyShape):
    """What is left out stays as it is; null takes a limit or a rule away."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"mailboxes_max": 40, "required_certificates": ["C5"]}]}
    )

    name: str | None = Field(None, min_length=1, max_length=256)
    external_id: str | None = Field(None, min_length=1, max_length=128)
    mailboxes_max: Limit | None = None


class CustomerView(PolicyShape):
    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "cus_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "external_id": "K-10023",
                    "name": "Kanzlei Lindenhof",
                    "mailboxes_max": 25,
                    "mailboxes_used": 12,
                    "allowed_locations": None,
                    "allowed_countries": ["DE"],
                    "required_certificates": None,
                    "created_at": "2026-11-17T10:00:00Z",
                    "version": 1,
                }
            ]
        },
    )

    id: str
    external_id: str | None
    name: str
    mailboxes_max: int | None
    mailboxes_used: int = Field(0, description="Those in service or on their way; deleted ones do not count.")
    created_at: datetime
    version: int = Field(description="Counts the changes; the ETag begins with it.")


def _view(customer: Customer, usage: Mapping[str, TenantUsage]) -> CustomerView:
    view = CustomerView.model_validate(customer)
    view.mailboxes_used = usage[customer.id].mailboxes
    return view


async def _answer(call: Call, customer: Customer, *, status: int = 200) -> Response:
    usage = await tenants.usage_of(call.session, [call.reseller_id], [customer.id])
    view = _view(customer, usage)
    location = f"/v1/customers/{customer.id}" if status == 201 else None
    return await call.answer(view, status=status, location=location, version=view.version, derived=True)


@router.post(
    "/customers",
    operation_id="createCustomer",
    summary="Add a customer",
    status_code=201,
    response_model=CustomerView,
    responses=refusals("external_id_taken", "limit_exceeded", "policy_widens"),
)
async def create(order: CustomerOrder, call: Write) -> Response:
    customer = await policies.add_customer(
        call.session, call.reseller_id, now=call.now, **order.model_dump(exclude_unset=True)
    )
    await call.record("customer.create", [customer.id], **order.model_dump(mode="json", exclude_unset=True))
    return await _answer(call, customer, status=201)


@router.get("/customers", operation_id="listCustomers", summary="List customers", response_model=Page[CustomerView])
async def list_(
    call: Read,
    page: PageDep,
    external_id: Annotated[str | None, Query(max_length=128, description="Your own id, exactly.")] = None,
    q: Annotated[str | None, Query(min_length=1, max_length=100, description="In the name.")] = None,
) -> Response:
    """Newest first."""
    rows = await tenants.list_customers(
        call.session, call.reseller_id, external_id=external_id, q=q, before=page.after, limit=page.fetch
    )
    usage = await tenants.usage_of(call.session, [call.reseller_id], [row.id for row in rows])
    return await call.answer(page.page(rows, lambda row: _view(row, usage), lambda row: row.id))


@router.get(
    "/customers/{customer_id}", operation_id="getCustomer", summary="Read a customer", response_model=CustomerView
)
async def read(customer_id: CustomerId, call: Read) -> Response:
    return await _answer(call, await tenants.get_customer(call.session, call.reseller_id, customer_id))


@router.patch(
    "/customers/{customer_id}",
    operation_id="changeCustomer",
    summary="Change name, limit or policy",
    response_model=CustomerView,
    responses=refusals("external_id_taken", "limit_below_use", "policy_violated_by_existing", "policy_widens"),
)
async def change(customer_id: CustomerId, change: CustomerChange, call: Write) -> Response:
    """A policy that mailboxes in service would break is refused, naming them; move them first."""
    customer = await policies.lock_customer(call.session, call.reseller_id, customer_id)
    call.check_if_match(customer.version)
    await policies.change_customer(call.session, customer, change.model_dump(exclude_unset=True), on=call.today)
    await call.record("customer.change", [customer_id], **change.model_dump(mode="json", exclude_unset=True))
    return await _answer(call, customer)


@router.delete(
    "/customers/{customer_id}",
    operation_id="deleteCustomer",
    summary="Remove a customer that was never served",
    status_code=204,
    responses=refusals("customer_in_use"),
)
async def delete(customer_id: CustomerId, call: Write) -> Response:
    """One with domains, or that ever had a mailbox, is kept: invoices name it."""
    customer = await policies.lock_customer(call.session, call.reseller_id, customer_id)
    call.check_if_match(customer.version)
    await tenants.delete_customer(call.session, call.reseller_id, customer_id)
    await call.record("customer.delete", [customer_id], name=customer.name, external_id=customer.external_id)
    return await call.answer(None, status=204)
