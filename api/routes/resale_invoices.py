"""Your own invoice to a customer: as XRechnung and as PDF with ZUGFeRD inside, judged before you get it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from api.auth import ActingForDep, BearerDep
from api.downloads import Period, month_of, send_bytes
from api.openapi import refusals
from api.routes.statement_documents import READ, CustomerId, Language_, PdfResponse, Read
from api.routing import Day, Route
from billing.documents.document import Document
from billing.resale_documents import judged_pdf, judged_xml, render_aside
from billing.resale_invoices import compose_resale_invoice, resale_facts
from provisioning.core.errors import FieldError, Invalid

router = APIRouter(prefix="/v1", tags=["billing"], route_class=Route)

LAST_DAY = date(2100, 12, 31)
Number = Annotated[
    str,
    Query(
        pattern="^[A-Za-z0-9][A-Za-z0-9./_-]{0,20}$",
        description="Of your own numbering, which has to be without gaps; customers pay by it.",
    ),
]
IssuedOn = Annotated[Day, Query(description="The invoice's date, from the day after the period on.")]
CODES = (
    *("billing_data_incomplete", "document_invalid", "no_price", "no_resale_price", "nothing_to_bill"),
    *("statement_not_final", "tax_regime_unsupported", "vat_id_foreign"),
)


class XmlResponse(Response):
    media_type = "application/xml"


@dataclass(frozen=True, slots=True)
class Asked:
    """Which invoice, in which words."""

    number: Number
    issued_on: IssuedOn
    period: Period = None
    language: Language_ = None


@dataclass(frozen=True, slots=True)
class Issue:
    """Makes and judges an invoice before the call's own transaction opens: none is held open by rules and layout."""

    make: Callable[[Document], bytes]

    async def __call__(
        self,
        request: Request,
        customer_id: CustomerId,
        asked: Annotated[Asked, Depends()],
        _credentials: Annotated[Any, BearerDep],
        acting_for: ActingForDep = None,
    ) -> tuple[bytes, str]:
        """The file, and its month."""
        now = request.app.state.context.clock.now()
        month = month_of(now, asked.period)
        async with READ.before(request, acting_for) as (session, reseller_id):
            facts = await resale_facts(
                session, reseller_id, customer_id, month, number=asked.number, issued_on=asked.issued_on, now=now
            )
        if not facts.statement.period.ends_on <= asked.issued_on <= LAST_DAY:
            message = f"from {facts.statement.period.ends_on}, when the period is over, to {LAST_DAY}"
            raise Invalid("It cannot be issued then.", errors=[FieldError("?issued_on", "day_out_of_range", message)])
        document = compose_resale_invoice(facts, asked.language or facts.statement.language)
        return await render_aside(lambda: self.make(document)), str(month)


@router.get(
    "/statements/{customer_id}/xrechnung",
    operation_id="getResaleXrechnung",
    summary="Your invoice to a customer as XRechnung",
    response_class=XmlResponse,
    responses=refusals(*CODES),
)
async def as_xml(
    customer_id: CustomerId, made: Annotated[tuple[bytes, str], Depends(Issue(judged_xml))], _call: Read
) -> Response:
    """In your name and at your resale prices, valid by the rules of XRechnung or refused with what does not hold.

    Nothing of it is kept here: you issue it, number it and keep it.
    """
    content, month = made
    return send_bytes(content, f"invoice-{month}-{customer_id}.xml", "application/xml")


@router.get(
    "/statements/{customer_id}/zugferd",
    operation_id="getResaleZugferd",
    summary="Your invoice to a customer as PDF with its XML inside",
    response_class=PdfResponse,
    responses=refusals(*CODES),
)
async def as_pdf(
    customer_id: CustomerId, made: Annotated[tuple[bytes, str], Depends(Issue(judged_pdf))], _call: Read
) -> Response:
    """The same invoice for people to read, with the code to pay it by. Nothing of it is kept here."""
    content, month = made
    return send_bytes(content, f"invoice-{month}-{customer_id}.pdf", "application/pdf")
