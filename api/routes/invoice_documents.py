"""The stored documents of invoices and corrections: the same bytes each time, with their digest."""

import base64
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api.deps import Call, Requires
from api.openapi import refusals
from api.routing import Route
from billing import credit_notes, invoices
from billing.document_models import CreditNote, DocumentKind
from billing.models import Invoice
from billing.stored_documents import get_document
from provisioning.core.ids import ID_PATTERN

router = APIRouter(prefix="/v1", tags=["billing"], route_class=Route)

Read = Annotated[Call, Depends(Requires("billing:read"), scope="function")]
InvoiceId = Annotated[str, Path(pattern=f"^inv_{ID_PATTERN}$", description="inv_…")]
CreditNoteId = Annotated[str, Path(pattern=f"^crn_{ID_PATTERN}$", description="crn_…")]
Profile = Annotated[
    Literal["xrechnung", "zugferd"],
    Query(description="xrechnung for authorities and portals; zugferd is what the PDF carries inside."),
]

MEDIA_TYPES = {
    DocumentKind.PDF: ("application/pdf", "pdf"),
    DocumentKind.XRECHNUNG: ("application/xml", "xml"),
    DocumentKind.ZUGFERD: ("application/xml", "xml"),
    DocumentKind.REPORT: ("application/json", "json"),
}


_VERDICT: dict[str, JsonValue] = {
    "valid": True,
    "profile": "urn:cen.eu:en16931:2017",
    "tools": {"lxml": "6.1.0"},
    "findings": [],
}


class GateVerdict(BaseModel):
    """On one XML: what does not hold, and which versions of the rules said so."""

    valid: bool
    profile: str = Field(description="BT-24")
    tools: dict[str, str]
    findings: list[dict[str, JsonValue]] = Field(description="Rule, severity, terms, and the message in two languages.")


class ReportView(BaseModel):
    """The verdicts on the XML of both profiles, as they were stored."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"xrechnung": _VERDICT, "zugferd": _VERDICT}]})

    xrechnung: GateVerdict
    zugferd: GateVerdict


class PdfResponse(Response):
    media_type = "application/pdf"


class XmlResponse(Response):
    media_type = "application/xml"


@router.get(
    "/invoices/{invoice_id}/pdf",
    operation_id="getInvoicePdf",
    summary="An invoice as PDF/A-3 with its XML inside (ZUGFeRD)",
    response_class=PdfResponse,
    responses=refusals("document_not_ready"),
)
async def invoice_pdf(invoice_id: InvoiceId, call: Read) -> Response:
    """As it was issued: the ETag is the SHA-256 of the file."""
    return await _file(call, await _invoice(call, invoice_id), DocumentKind.PDF)


@router.get(
    "/invoices/{invoice_id}/xml",
    operation_id="getInvoiceXml",
    summary="An invoice as e-invoice (EN 16931, CII)",
    response_class=XmlResponse,
    responses=refusals("document_not_ready"),
)
async def invoice_xml(invoice_id: InvoiceId, call: Read, profile: Profile = "xrechnung") -> Response:
    """As it was issued: the ETag is the SHA-256 of the file."""
    return await _file(call, await _invoice(call, invoice_id), DocumentKind(profile))


@router.get(
    "/invoices/{invoice_id}/report",
    operation_id="getInvoiceReport",
    summary="What the rules said of an invoice when it was issued",
    response_model=ReportView,
    responses=refusals("document_not_ready"),
)
async def invoice_report(invoice_id: InvoiceId, call: Read) -> Response:
    """Schema, EN 16931, XRechnung and Peppol rules."""
    return await _file(call, await _invoice(call, invoice_id), DocumentKind.REPORT)


@router.get(
    "/credit-notes/{credit_note_id}/pdf",
    operation_id="getCreditNotePdf",
    summary="A correction as PDF/A-3 with its XML inside",
    response_class=PdfResponse,
    responses=refusals("document_not_ready"),
)
async def credit_note_pdf(credit_note_id: CreditNoteId, call: Read) -> Response:
    """As it was issued: the ETag is the SHA-256 of the file."""
    return await _file(call, await _credit_note(call, credit_note_id), DocumentKind.PDF)


@router.get(
    "/credit-notes/{credit_note_id}/xml",
    operation_id="getCreditNoteXml",
    summary="A correction as e-invoice (EN 16931, CII)",
    response_class=XmlResponse,
    responses=refusals("document_not_ready"),
)
async def credit_note_xml(credit_note_id: CreditNoteId, call: Read, profile: Profile = "xrechnung") -> Response:
    """As it was issued: the ETag is the SHA-256 of the file."""
    return await _file(call, await _credit_note(call, credit_note_id), DocumentKind(profile))


async def _invoice(call: Call, invoice_id: str) -> Invoice:
    return await invoices.get_invoice(call.session, call.reseller_id, invoice_id)


async def _credit_note(call: Call, credit_note_id: str) -> CreditNote:
    return await credit_notes.get_credit_note(call.session, call.reseller_id, credit_note_id)


async def _file(call: Call, of: Invoice | CreditNote, kind: DocumentKind) -> Response:
    document = await get_document(call.session, of, kind)
    media_type, suffix = MEDIA_TYPES[kind]
    digest = base64.b64encode(bytes.fromhex(document.sha256)).decode()
    headers = {
        "ETag": f'"{document.sha256}"',
        # RFC 3230 as tools know it, and RFC 9530, which took its place.
        "Digest": f"sha-256={digest}",
        "Repr-Digest": f"sha-256=:{digest}:",
        "Content-Disposition": f'inline; filename="{of.number}.{suffix}"',
        "X-Content-Type-Options": "nosniff",
    }
    if headers["ETag"] in call.request.headers.get("if-none-match", ""):
        return Response(None, 304, headers=headers)
    return Response(document.content, media_type=media_type, headers=headers)
