"""Data centres: where mailboxes can lie, under whose law, certified by whom and until when."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api.deps import Call, Requires
from api.endpoint_views import EndpointsShape
from api.openapi import refusals
from api.paging import Page
from api.routing import Day, Route
from provisioning import data_centres, policies
from provisioning.core.errors import FieldError, Invalid, NotFound
from provisioning.data_centres import Certificate, DataCentre
from provisioning.terms import DriftPolicy

router = APIRouter(prefix="/v1", tags=["data centres"], route_class=Route)

Read = Annotated[Call, Depends(Requires("mailboxes:read", anyone=True), scope="function")]
Write = Annotated[Call, Depends(Requires("data_centres:write", operator=True), scope="function")]
Code = Annotated[str, Path(pattern="^[a-z0-9][a-z0-9-]{0,63}$", description="For example de-fra-1.")]
Scheme = Annotated[str, Path(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="For example ISO27001.")]

Line = Annotated[str, Field(min_length=1, max_length=256)]
Country = Annotated[str, Field(pattern="^[A-Z]{2}$", description="ISO 3166 alpha-2.")]

SANDBOX = "sandbox"
IMITATION = "An imitation: no mail flows. For trying things out."

EXAMPLE: dict[str, JsonValue] = {
    "name": "Frankfurt 1",
    "city": "Frankfurt am Main",
    "country": "DE",
    "jurisdiction": "DE",
    "operator": "Rechenzentrum Main GmbH",
    "parent_country": "DE",
    "driver": "sandbox",
    "accepts_orders": True,
    "on_drift": "repair",
}
CERTIFICATE_EXAMPLE: dict[str, JsonValue] = {
    "number": "44 121 160302",
    "issuer": "TÜV Nord Cert",
    "valid_from": "2026-01-01",
    "valid_until": "2029-01-01",
}


class DataCentreWish(BaseModel):
    """All there is to say about a data centre, beside its certificates."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    name: Line
    city: Line
    country: Country
    jurisdiction: Country
    operator: Line = Field(description="The company that runs it.")
    parent_country: Country = Field(description="Where the operator's parent company sits, whose law may reach it.")
    driver: str = Field(pattern="^[a-z][a-z0-9_]{0,31}$", description="The backend that serves it.")
    accepts_orders: bool = Field(True, strict=True)
    on_drift: DriftPolicy = Field(
        DriftPolicy.REPAIR,
        description="Whether what others change at its backend is put right, or left as it is and shown as the "
        "mailbox's `drift`. Where a mailbox lies, that it is there and that it is suspended is always put right.",
    )
    endpoints: EndpointsShape | None = Field(
        None, description="Where its servers are. A sandbox has none: there is nothing to connect to."
    )


class CertificateWish(BaseModel):
    """Valid on the days from `valid_from` up to, not including, `valid_until`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [CERTIFICATE_EXAMPLE]})

    number: str = Field(min_length=1, max_length=128)
    issuer: Line
    valid_from: Day
    valid_until: Day


class CertificateView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    scheme: str
    number: str
    issuer: str
    valid_from: date
    valid_until: date = Field(description="The first day on which it is no longer valid.")
    valid: bool = Field(False, description="Whether it is valid today, by the calendar in Berlin.")


class DataCentreView(BaseModel):
    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "code": "de-fra-1",
                    **EXAMPLE,
                    "sandbox": True,
                    "note": IMITATION,
                    "endpoints": None,
                    "certificates": [{"scheme": "ISO27001", **CERTIFICATE_EXAMPLE, "valid": True}],
                    "version": 1,
                }
            ]
        },
    )

    code: str
    name: str
    city: str
    country: str
    jurisdiction: str
    operator: str
    parent_country: str
    driver: str
    accepts_orders: bool
    on_drift: DriftPolicy
    sandbox: bool = Field(description="true where no mail flows.")
    note: str | None = None
    endpoints: EndpointsShape | None = Field(
        None, description="Where its servers are; null for a sandbox, and until the operator has said so."
    )
    certificates: list[CertificateView] = Field(default_factory=list, description="Lapsed ones included.")
    version: int = Field(description="Counts the changes; the ETag begins with it.")


def _view(centre: DataCentre, certificates: Sequence[Certificate], *, on: date) -> DataCentreView:
    view = DataCentreView.model_validate(centre)
    view.note = IMITATION if centre.sandbox else None
    for certificate in certificates:
        shown = CertificateView.model_validate(certificate)
        shown.valid = certificate.valid_from <= on < certificate.valid_until
        view.certificates.append(shown)
    return view


async def _answer(call: Call, code: str, *, status: int = 200) -> Response:
    centre, certificates = await data_centres.get_data_centre(call.session, code)
    view = _view(centre, certificates, on=call.today)
    location = f"/v1/data-centres/{code}" if status == 201 else None
    return await call.answer(view, status=status, location=location, version=view.version, derived=True)


@router.get(
    "/data-centres",
    operation_id="listDataCentres",
    summary="List data centres with their certificates",
    response_model=Page[DataCentreView],
)
async def list_(call: Read) -> Response:
    """All of them, by code."""
    centres = await data_centres.list_data_centres(call.session)
    items = [_view(centre, certificates, on=call.today) for centre, certificates in centres]
    return await call.answer(Page[DataCentreView](items=items, next_cursor=None))


@router.get(
    "/data-centres/{code}",
    operation_id="getDataCentre",
    summary="Read a data centre",
    response_model=DataCentreView,
)
async def read(code: Code, call: Read) -> Response:
    return await _answer(call, code)


@router.put(
    "/data-centres/{code}",
    operation_id="putDataCentre",
    summary="Create or change a data centre",
    response_model=DataCentreView,
    responses={
        201: {"model": DataCentreView, "description": "It is new."},
        **refusals("data_centre_in_use"),
    },
    tags=["operator"],
)
async def put(code: Code, wish: DataCentreWish, call: Write) -> Response:
    """Country and driver are fixed once mailboxes lie there: they were placed by them."""
    if wish.driver == SANDBOX and wish.endpoints is not None:
        message = "a sandbox has no servers; leave it out"
        raise Invalid("No mail flows in a sandbox.", errors=[FieldError("/endpoints", "sandbox_has_none", message)])
    try:
        standing, _ = await data_centres.get_data_centre(call.session, code, lock=True)
    except NotFound:
        call.check_if_match(0)
        status = 201
    else:
        call.check_if_match(standing.version)
        await policies.check_stays(call.session, standing, country=wish.country, driver=wish.driver)
        status = 200
    details = wish.model_dump()
    await data_centres.put_data_centre(call.session, code, **details, sandbox=wish.driver == SANDBOX)
    await call.record("data_centre.put", [code], **details)
    return await _answer(call, code, status=status)


@router.put(
    "/data-centres/{code}/certificates/{scheme}",
    operation_id="putCertificate",
    summary="Add a certificate, or change the one of the same number",
    response_model=DataCentreView,
    tags=["operator"],
)
async def put_certificate(code: Code, scheme: Scheme, wish: CertificateWish, call: Write) -> Response:
    """Counts from now on for every placement that requires the scheme; mailboxes that lie there stay."""
    if wish.valid_until <= wish.valid_from:
        message = "must be later than valid_from"
        raise Invalid("The validity ends before it begins.", errors=[FieldError("/valid_until", "order", message)])
    centre, _ = await data_centres.get_data_centre(call.session, code, lock=True)
    call.check_if_match(centre.version)
    await data_centres.put_certificate(call.session, code, scheme=scheme, **wish.model_dump())
    await call.record("data_centre.certificate", [code], scheme=scheme, **wish.model_dump(mode="json"))
    return await _answer(call, code)
