"""VAT: what VIES said of a reseller's VAT id, and how the issuer itself is taxed."""

from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page, PageDep
from api.routing import Day, Route
from billing import tax_regimes, vat_checks
from billing.models import VatAnswer
from billing.vat import Regime
from provisioning.core.errors import Conflict
from provisioning.core.ids import ID_PATTERN
from provisioning.tenants import get_reseller

router = APIRouter(prefix="/v1", route_class=Route)

Own = Annotated[Call, Depends(Requires("billing:read"), scope="function")]
Read = Annotated[Call, Depends(Requires("resellers:read", operator=True), scope="function")]
Write = Annotated[Call, Depends(Requires("resellers:write", operator=True), scope="function")]
Run = Annotated[Call, Depends(Requires("invoices:run", operator=True), scope="function")]
ResellerId = Annotated[str, Path(pattern=f"^res_{ID_PATTERN}$", description="res_…")]

CHECK_EXAMPLE: dict[str, JsonValue] = {
    "id": "vck_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "vat_id": "ATU12345675",
    "asked_at": "2026-11-17T10:00:00Z",
    "answer": "valid",
    "error": None,
    "name": "Alpen IT GmbH",
    "address": "Getreidegasse 1, 5020 Salzburg",
    "consultation_number": "WAPIAAAAZ8Cq1x2b",
    "expires_at": "2027-02-15T10:00:00Z",
}


class VatCheckView(BaseModel):
    """One question to VIES and its answer. It never changes."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [CHECK_EXAMPLE]})

    id: str
    vat_id: str
    asked_at: datetime
    answer: VatAnswer = Field(description="`unavailable` says nothing of the id: it is asked for again by itself.")
    error: str | None = Field(description="Why there was no answer: VIES's own code, or ours in lower case.")
    name: str | None = Field(description="As VIES has it; some countries keep it to themselves.")
    address: str | None
    consultation_number: str | None = Field(description="Proves to the tax office that it was asked.")
    expires_at: datetime | None = Field(description="Until when a yes is not asked for again.")


class VatCheckAsked(BaseModel):
    """The question is on its way."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"vat_id": "ATU12345675"}]})

    vat_id: str


class TaxRegimeOrder(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"valid_from": "2027-01-01", "regime": "small_business"}]}
    )

    valid_from: Day = Field(description="A month goes by the regime of its last day.")
    regime: Regime = Field(description="`small_business` is § 19 UStG.")


class TaxRegimeView(BaseModel):
    """How the issuer is taxed from a day on."""

    model_config = ConfigDict(
        from_attributes=True, json_schema_extra={"examples": [{"valid_from": "2027-01-01", "regime": "small_business"}]}
    )

    valid_from: date
    regime: Regime


class TaxRegimes(BaseModel):
    items: list[TaxRegimeView] = Field(description="The latest first; before the first it is `standard`.")


async def _answer_checks(call: Call, page: PageDep, reseller_id: str) -> Response:
    rows = await vat_checks.list_checks(call.session, reseller_id, before=page.after, limit=page.fetch)
    return await call.answer(page.page(rows, VatCheckView.model_validate, lambda row: row.id))


@router.get(
    "/vat-checks",
    tags=["billing"],
    operation_id="listVatChecks",
    summary="What VIES said of your VAT id",
    response_model=Page[VatCheckView],
)
async def list_own(call: Own, page: PageDep) -> Response:
    """Newest first."""
    return await _answer_checks(call, page, call.reseller_id)


@router.get(
    "/resellers/{reseller_id}/vat-checks",
    tags=["operator"],
    operation_id="listResellerVatChecks",
    summary="What VIES said of a reseller's VAT id",
    response_model=Page[VatCheckView],
)
async def list_of_reseller(reseller_id: ResellerId, call: Read, page: PageDep) -> Response:
    """Newest first. A reverse charge rests on the last yes; the invoice names it."""
    await get_reseller(call.session, reseller_id)
    return await _answer_checks(call, page, reseller_id)


@router.post(
    "/resellers/{reseller_id}/vat-checks",
    tags=["operator"],
    operation_id="askVatCheck",
    summary="Ask VIES anew for a reseller's VAT id",
    status_code=202,
    response_model=VatCheckAsked,
    responses=refusals("vat_id_not_checkable"),
)
async def ask(reseller_id: ResellerId, call: Write) -> Response:
    """A worker asks; the answer appears in the list. It is done by itself when the VAT id changes or a yes expires."""
    reseller = await get_reseller(call.session, reseller_id)
    if reseller.vat_id is None or not await vat_checks.want_check(call.session, reseller):
        raise Conflict(
            "Only a VAT id of another EU country, in which the reseller's address lies too, is checked. "
            "Correct VAT id or country first.",
            code="vat_id_not_checkable",
        )
    await call.record("reseller.vat_check", [reseller_id], vat_id=reseller.vat_id)
    return await call.answer(VatCheckAsked(vat_id=reseller.vat_id), status=202)


@router.get(
    "/tax-regimes",
    tags=["operator"],
    operation_id="listTaxRegimes",
    summary="How the issuer is taxed, by date",
    response_model=TaxRegimes,
)
async def regimes(call: Run) -> Response:
    rows = await tax_regimes.list_tax_regimes(call.session)
    return await call.answer(TaxRegimes(items=[TaxRegimeView.model_validate(row) for row in rows]))


@router.post(
    "/tax-regimes",
    tags=["operator"],
    operation_id="setTaxRegime",
    summary="Let the issuer be taxed in another way from a day on",
    status_code=201,
    response_model=TaxRegimeView,
    responses=refusals("tax_regime_in_use"),
)
async def set_regime(order: TaxRegimeOrder, call: Run) -> Response:
    """In place of another regime of the same day. Refused where an invoice that it would change is final."""
    row = await tax_regimes.set_tax_regime(call.session, order.valid_from, order.regime, now=call.now)
    await call.record("tax_regime.set", [order.valid_from.isoformat()], regime=order.regime.value)
    return await call.answer(TaxRegimeView.model_validate(row), status=201)
