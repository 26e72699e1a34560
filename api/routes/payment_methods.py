"""How a reseller pays: by transfer, with a card or an account at Stripe, or by debits under a mandate of ours."""

from datetime import date, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page, PageDep
from api.routing import Day, Route
from billing import methods
from billing.iban import compact, is_iban
from billing.payment_models import MethodKind, PaymentMethod
from provisioning.core.errors import FieldError, Invalid
from provisioning.core.ids import ID_PATTERN, new_id

router = APIRouter(prefix="/v1", tags=["billing"], route_class=Route)

Read = Annotated[Call, Depends(Requires("billing:read"), scope="function")]
Write = Annotated[Call, Depends(Requires("payments:write"), scope="function")]
MethodId = Annotated[str, Path(pattern=f"^pmt_{ID_PATTERN}$", description="pmt_…")]

# The characters that banks take in a mandate reference (EPC 217-08), without spaces.
REFERENCE_PATTERN = "^[A-Za-z0-9+?:().,'-]{1,35}$"
NAME_PATTERN = r"^[^\x00-\x1f]*[^\x00-\x20][^\x00-\x1f]*$"


class NewMethod(BaseModel):
    """What needs no account: cards and accounts come by a setup link, debits of ours with a mandate."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"kind": "transfer"}]})

    kind: Literal[MethodKind.TRANSFER]


class NewMandate(BaseModel):
    """A signed SEPA Core mandate."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"iban": "DE02120300000000202051", "holder": "IT-Haus Goslar GmbH", "signed_on": "2026-11-01"}]
        },
    )

    iban: str = Field(min_length=15, max_length=42, description="Spaces are fine.")
    bic: str | None = Field(None, pattern="^[A-Z]{6}[A-Z0-9]{2}([A-Z0-9]{3})?$")
    holder: str = Field(min_length=1, max_length=70, pattern=NAME_PATTERN)
    mandate_reference: str | None = Field(None, pattern=REFERENCE_PATTERN, description="One is made when left out.")
    signed_on: Day = Field(description="Not in the future.")


class MethodView(BaseModel):
    """A way to pay. One that is disabled is kept, because payments were made with it."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "pmt_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "kind": "sepa_debit",
                    "last4": "3000",
                    "mandate_reference": "NXDSYREGC9PSMKWY",
                    "mandate_url": "https://hooks.stripe.com/adapter/sepa_debit/file/src_18",
                    "mandate_status": "active",
                    "mandate_signed_on": None,
                    "is_default": True,
                    "disabled_at": None,
                    "disabled_reason": None,
                    "created_at": "2026-11-17T10:00:00Z",
                    "version": 1,
                }
            ]
        },
    )

    id: str
    kind: MethodKind
    last4: str | None = Field(description="Of the card or account.")
    mandate_reference: str | None
    mandate_url: str | None = Field(description="Where the mandate can be read, at Stripe.")
    mandate_status: str | None
    mandate_signed_on: date | None
    is_default: bool = Field(description="Invoices are collected with this one.")
    disabled_at: datetime | None
    disabled_reason: str | None = Field(description="Why it cannot be used any more.")
    created_at: datetime
    version: int = Field(description="The ETag.")


@router.get(
    "/payment-methods",
    operation_id="listPaymentMethods",
    summary="List payment methods",
    response_model=Page[MethodView],
)
async def list_(call: Read, page: PageDep) -> Response:
    """Newest first, disabled ones too."""
    rows = await methods.list_methods(call.session, call.reseller_id, limit=page.fetch, before=page.after)
    return await call.answer(page.page(rows, MethodView.model_validate, lambda row: row.id))


@router.post(
    "/payment-methods",
    operation_id="createPaymentMethod",
    summary="Pay by transfer",
    status_code=201,
    response_model=MethodView,
)
async def create(new: NewMethod, call: Write) -> Response:
    """Invoices are no longer collected but wait for the transfer."""
    method = await methods.add_transfer(call.session, call.reseller_id, now=call.now)
    await call.record("payment_method.create", [method.id], kind=new.kind.value)
    return await _shown(call, method, status=201)


@router.post(
    "/mandates",
    operation_id="createMandate",
    summary="Pay by direct debit under a mandate",
    status_code=201,
    response_model=MethodView,
    responses=refusals("mandate_reference_taken"),
)
async def create_mandate(new: NewMandate, call: Write) -> Response:
    """Makes a payment method, which invoices are collected with from now on."""
    _check_mandate(new, call)
    method = await methods.add_direct_debit(
        call.session,
        call.reseller_id,
        iban=compact(new.iban),
        bic=new.bic,
        holder=new.holder,
        mandate_reference=new.mandate_reference or new_id("PFW").replace("_", "-").upper(),
        signed_on=new.signed_on,
        now=call.now,
    )
    await call.record("payment_method.create", [method.id], kind=method.kind.value)
    return await _shown(call, method, status=201)


@router.get(
    "/payment-methods/{payment_method_id}",
    operation_id="getPaymentMethod",
    summary="Read a payment method",
    response_model=MethodView,
)
async def read(payment_method_id: MethodId, call: Read) -> Response:
    """As it stands."""
    return await _shown(call, await methods.get_method(call.session, call.reseller_id, payment_method_id))


@router.post(
    "/payment-methods/{payment_method_id}/default",
    operation_id="setDefaultPaymentMethod",
    summary="Collect invoices with this method",
    response_model=MethodView,
    responses=refusals("method_disabled"),
)
async def make_default(payment_method_id: MethodId, call: Write) -> Response:
    """Also what could not be collected with another one."""
    method = await methods.get_method(call.session, call.reseller_id, payment_method_id, lock=True)
    await methods.make_default(call.session, method, now=call.now)
    await call.record("payment_method.default", [method.id])
    return await _shown(call, method)


@router.delete(
    "/payment-methods/{payment_method_id}",
    operation_id="detachPaymentMethod",
    summary="Stop using a payment method",
    response_model=MethodView,
)
async def detach(payment_method_id: MethodId, call: Write) -> Response:
    """For good. Without a default, invoices are paid by transfer; what is under way goes on."""
    method = await methods.get_method(call.session, call.reseller_id, payment_method_id, lock=True)
    call.check_if_match(method.version)
    await methods.request_detach(call.session, call.reseller_id, method.id, now=call.now)
    await call.record("payment_method.detach", [method.id])
    return await _shown(call, method)


def _check_mandate(new: NewMandate, call: Call) -> None:
    """Raises Invalid."""
    errors = []
    if not is_iban(new.iban):
        errors.append(FieldError("/iban", "invalid_iban", "the IBAN of an account in the SEPA, with its check digits"))
    if new.signed_on > call.today:
        errors.append(FieldError("/signed_on", "too_late", "the day the mandate was signed, today or before"))
    if errors:
        raise Invalid("This is no mandate that a bank would take.", errors=errors)


async def _shown(call: Call, method: PaymentMethod, *, status: int = 200) -> Response:
    await call.session.flush()
    view = MethodView.model_validate(method)
    location = f"/v1/payment-methods/{method.id}" if status == 201 else None
    return await call.answer(view, status=status, version=method.version, location=location)
