"""Resellers, for the operator: admit, change, suspend, resume, and hand out the first key."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page, PageDep
from api.routes.account import ApiKeyCreated, ApiKeyOrder, make_key
from api.routing import Route
from billing.vat_checks import want_check
from provisioning import policies, tenants
from provisioning.core.ids import ID_PATTERN
from provisioning.orders import PolicyShape
from provisioning.terms import Standing

router = APIRouter(prefix="/v1", tags=["operator"], route_class=Route)

Read = Annotated[Call, Depends(Requires("resellers:read", operator=True), scope="function")]
Write = Annotated[Call, Depends(Requires("resellers:write", operator=True), scope="function")]
ResellerId = Annotated[str, Path(pattern=f"^res_{ID_PATTERN}$", description="res_…")]

Line = Annotated[str, Field(min_length=1, max_length=256)]
Postcode = Annotated[str, Field(min_length=1, max_length=16)]
Country = Annotated[str, Field(pattern="^[A-Z]{2}$", description="ISO 3166 alpha-2.")]
VatId = Annotated[str, Field(pattern="^[A-Z]{2}[0-9A-Z+*]{2,12}$", description="For example DE123456788.")]
Email = Annotated[str, Field(max_length=320, pattern=r"^[^@\s]+@[^@\s]+$")]
Language = Annotated[Literal["de", "en"], Field(description="Of its invoices.")]
Contact = Annotated[str, Field(min_length=1, max_length=256, description="To whose attention invoices go.")]
BuyerReference = Annotated[
    str, Field(min_length=1, max_length=64, description="Stands on its invoices (BT-10): an authority's Leitweg-ID.")
]
ElectronicAddress = Annotated[
    str, Field(min_length=1, max_length=320, description="Where e-invoices go (BT-49), when not to billing_email.")
]
AddressScheme = Annotated[
    str, Field(pattern="^[0-9A-Z]{2,4}$", description="EAS code of that address: EM is e-mail, 0204 a Leitweg-ID.")
]
Limit = Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)]
AnchorDay = Annotated[
    int,
    Field(
        ge=1,
        le=31,
        strict=True,
        description="On this day of each month its billing periods begin, or on the last day of a shorter month. "
        "1 is the calendar month. Fixed once a mailbox has been in service.",
    ),
]
ExternalId = Annotated[str, Field(min_length=1, max_length=128)]

EXAMPLE: dict[str, JsonValue] = {
    "name": "IT-Haus Goslar GmbH",
    "external_id": "R-17",
    "street": "Marktstraße 5",
    "postcode": "38640",
    "city": "Goslar",
    "country": "DE",
    "vat_id": "DE123456788",
    "billing_email": "buchhaltung@it-haus.example",
    "language": "de",
    "contact_name": "Frau Lindner",
    "buyer_reference": "KST-4711",
    "electronic_address": None,
    "electronic_address_scheme": None,
    "mailboxes_max": 500,
    "customers_max": None,
    "billing_anchor_day": 1,
    "allowed_countries": ["DE"],
}


class ResellerOrder(PolicyShape):
    """A new reseller; name and address stand on its invoices."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    name: Line
    street: Line
    postcode: Postcode
    city: Line
    country: Country = "DE"
    vat_id: VatId | None = None
    billing_email: Email
    language: Language = "de"
    contact_name: Contact | None = None
    buyer_reference: BuyerReference | None = None
    electronic_address: ElectronicAddress | None = None
    electronic_address_scheme: AddressScheme | None = None
    external_id: ExternalId | None = None
    mailboxes_max: Limit | None = None
    customers_max: Limit | None = None
    billing_anchor_day: AnchorDay = 1


class ResellerChange(PolicyShape):
    """What is left out stays as it is; null takes a limit or a rule away."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"mailboxes_max": 1000, "allowed_countries": ["DE"]}]}
    )

    name: Line | None = None
    street: Line | None = None
    postcode: Postcode | None = None
    city: Line | None = None
    country: Country | None = None
    vat_id: VatId | None = None
    billing_email: Email | None = None
    language: Language | None = None
    contact_name: Contact | None = None
    buyer_reference: BuyerReference | None = None
    electronic_address: ElectronicAddress | None = None
    electronic_address_scheme: AddressScheme | None = None
    external_id: ExternalId | None = None
    mailboxes_max: Limit | None = None
    customers_max: Limit | None = None
    billing_anchor_day: AnchorDay | None = None


class Suspension(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "Invoice overdue"}]})

    reason: str = Field(min_length=1, max_length=500, description="The reseller reads it in GET /v1/me.")


class ResellerView(PolicyShape):
    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "res_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    **EXAMPLE,
                    "allowed_locations": None,
                    "required_certificates": None,
                    "standing": "good",
                    "standing_reason": None,
                    "service_suspended_at": None,
                    "service_suspended_reason": None,
                    "mailboxes_used": 120,
                    "customers_used": 9,
                    "created_at": "2026-11-17T10:00:00Z",
                    "version": 1,
                }
            ]
        },
    )

    id: str
    external_id: str | None
    name: str
    street: str
    postcode: str
    city: str
    country: str
    vat_id: str | None
    billing_email: str
    language: str
    contact_name: str | None
    buyer_reference: str | None
    electronic_address: str | None
    electronic_address_scheme: str | None
    standing: Standing
    standing_reason: str | None
    service_suspended_at: datetime | None = Field(description="Set and ended by dunning; standing is yours.")
    service_suspended_reason: str | None
    mailboxes_max: int | None
    mailboxes_used: int = 0
    customers_max: int | None
    customers_used: int = 0
    billing_anchor_day: int
    created_at: datetime
    version: int = Field(description="Counts the changes; the ETag begins with it.")


def _view(reseller: tenants.Reseller, usage: Mapping[str, tenants.TenantUsage]) -> ResellerView:
    view = ResellerView.model_validate(reseller)
    view.mailboxes_used, view.customers_used = usage[reseller.id].mailboxes, usage[reseller.id].customers
    return view


async def _answer(call: Call, reseller: tenants.Reseller, *, status: int = 200) -> Response:
    await call.session.flush()  # the version that is shown is the one stored
    view = _view(reseller, await tenants.usage_of(call.session, [reseller.id], [reseller.id]))
    location = f"/v1/resellers/{reseller.id}" if status == 201 else None
    return await call.answer(view, status=status, location=location, version=view.version, derived=True)


@router.post(
    "/resellers",
    operation_id="createReseller",
    summary="Admit a reseller",
    status_code=201,
    response_model=ResellerView,
    responses=refusals("external_id_taken"),
)
async def create(order: ResellerOrder, call: Write) -> Response:
    reseller = await policies.add_reseller(call.session, now=call.now, **order.model_dump())
    await call.record("reseller.create", [reseller.id], **order.model_dump(mode="json", exclude_unset=True))
    await want_check(call.session, reseller)
    return await _answer(call, reseller, status=201)


@router.get("/resellers", operation_id="listResellers", summary="List resellers", response_model=Page[ResellerView])
async def list_(call: Read, page: PageDep) -> Response:
    """Newest first."""
    rows = await tenants.list_resellers(call.session, before=page.after, limit=page.fetch)
    ids = [row.id for row in rows]
    usage = await tenants.usage_of(call.session, ids, ids)
    return await call.answer(page.page(rows, lambda row: _view(row, usage), lambda row: row.id))


@router.get(
    "/resellers/{reseller_id}", operation_id="getReseller", summary="Read a reseller", response_model=ResellerView
)
async def read(reseller_id: ResellerId, call: Read) -> Response:
    return await _answer(call, await tenants.get_reseller(call.session, reseller_id))


@router.patch(
    "/resellers/{reseller_id}",
    operation_id="changeReseller",
    summary="Change address, limits or policy",
    response_model=ResellerView,
    responses=refusals("external_id_taken", "limit_below_use", "policy_violated_by_existing", "billing_anchor_fixed"),
)
async def change(reseller_id: ResellerId, change: ResellerChange, call: Write) -> Response:
    """A policy that mailboxes in service would break is refused. Invoices that are final keep the old address."""
    reseller = await _locked(call, reseller_id)
    await policies.change_reseller(call.session, reseller, change.model_dump(exclude_unset=True), on=call.today)
    await call.record("reseller.change", [reseller_id], **change.model_dump(mode="json", exclude_unset=True))
    if change.model_fields_set & {"country", "postcode", "vat_id"}:
        await want_check(call.session, reseller)
    return await _answer(call, reseller)


@router.post(
    "/resellers/{reseller_id}/suspend",
    operation_id="suspendReseller",
    summary="Let a reseller read, but order and change nothing",
    response_model=ResellerView,
)
async def suspend(reseller_id: ResellerId, suspension: Suspension, call: Write) -> Response:
    """Its mailboxes work on."""
    reseller = await _locked(call, reseller_id)
    tenants.suspend(reseller, reason=suspension.reason)
    await call.record("reseller.suspend", [reseller_id], reason=suspension.reason)
    return await _answer(call, reseller)


@router.post(
    "/resellers/{reseller_id}/resume",
    operation_id="resumeReseller",
    summary="End a reseller's suspension",
    response_model=ResellerView,
)
async def resume(reseller_id: ResellerId, call: Write) -> Response:
    reseller = await _locked(call, reseller_id)
    tenants.resume(reseller)
    await call.record("reseller.resume", [reseller_id])
    return await _answer(call, reseller)


@router.post(
    "/resellers/{reseller_id}/api-keys",
    operation_id="createResellerApiKey",
    summary="Make an API key for a reseller; its secret is shown once",
    status_code=201,
    response_model=ApiKeyCreated,
    responses=refusals("scope_escalation", status=403),
)
async def create_key(reseller_id: ResellerId, order: ApiKeyOrder, call: Write) -> Response:
    """The first key of a reseller; with it, the reseller makes and revokes its own."""
    await tenants.get_reseller(call.session, reseller_id)
    return await make_key(call, reseller_id, order)


async def _locked(call: Call, reseller_id: str) -> tenants.Reseller:
    reseller = await policies.lock_reseller(call.session, reseller_id)
    call.check_if_match(reseller.version)
    return reseller
