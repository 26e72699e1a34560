"""Corrections of final invoices: the operator cancels and credits, resellers read."""

from collections import Counter
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page, PageDep
from api.routing import Route
from billing import corrections, credit_notes
from billing.document_models import CreditNote, CreditNoteKind, DocumentKind
from billing.stored_documents import kinds_of
from provisioning.core.errors import FieldError, Invalid
from provisioning.core.ids import ID_PATTERN

router = APIRouter(prefix="/v1", tags=["billing"], route_class=Route)

Read = Annotated[Call, Depends(Requires("billing:read"), scope="function")]
Operate = Annotated[Call, Depends(Requires("invoices:run", operator=True), scope="function")]
InvoiceId = Annotated[str, Path(pattern=f"^inv_{ID_PATTERN}$", description="inv_…")]
CreditNoteId = Annotated[str, Path(pattern=f"^crn_{ID_PATTERN}$", description="crn_…")]
Reason = Annotated[str, Field(min_length=1, max_length=500, description="It stands on the document.")]

_CREDIT_NOTE: dict[str, Any] = {
    "id": "crn_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "invoice_id": "inv_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "kind": "credit_note",
    "number": "PFK-2026-000001",
    "issued_on": "2026-12-03",
    "reason": "Ausfall vom 17. bis 19. November",
    "currency": "EUR",
    "net_cents": 158,
    "tax_cents": 30,
    "gross_cents": 188,
    "tax_category": "S",
    "rate_basis_points": 1900,
    "created_at": "2026-12-03T09:00:00Z",
}
_LINE: dict[str, Any] = {"position": 1, "net_cents": 158}


class Cancellation(BaseModel):
    """Why an invoice is taken back, and whether its month is billed anew."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "Falscher Empfänger", "reissue": False}]}
    )

    reason: Reason
    reissue: bool = Field(False, description="Bill the period anew under a new number, by what holds now.")


class CreditedLine(BaseModel):
    """What of one line of the invoice is taken back."""

    model_config = ConfigDict(extra="forbid")

    position: int = Field(ge=1, le=2**31 - 1, strict=True, description="The line's position on the invoice.")
    net_cents: int = Field(gt=0, le=2**53, strict=True, description="Net; the tax is that of the invoice's rate.")


class CreditedLineView(BaseModel):
    """What of one line of the invoice was taken back, before allowances on the document."""

    position: int = Field(description="The line's position on the invoice.")
    net_cents: int


class NewCreditNote(BaseModel):
    """Amounts for each line, or nothing but a reason to take back all that is left of the invoice."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": _CREDIT_NOTE["reason"], "lines": [_LINE]}]}
    )

    reason: Reason
    lines: list[CreditedLine] | None = Field(None, min_length=1, max_length=1_000)


class CreditNoteSummary(BaseModel):
    """A correction; amounts are positive and taken off what the invoice charged."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [_CREDIT_NOTE]})

    id: str
    invoice_id: str
    kind: CreditNoteKind = Field(description="A cancellation takes back all of the invoice.")
    number: str
    issued_on: date
    reason: str
    currency: str
    net_cents: int
    tax_cents: int
    gross_cents: int
    tax_category: str
    rate_basis_points: int
    created_at: datetime


class CreditNoteView(CreditNoteSummary):
    """With its lines, and which of its documents are stored by now."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{**_CREDIT_NOTE, "lines": [_LINE], "documents": ["pdf", "report", "xrechnung", "zugferd"]}]
        }
    )

    lines: list[CreditedLineView]
    documents: list[DocumentKind] = Field(description="A worker stores them within seconds.")


@router.post(
    "/invoices/{invoice_id}/cancel",
    operation_id="cancelInvoice",
    summary="Cancel a final invoice",
    tags=["operator"],
    status_code=201,
    response_model=CreditNoteView,
    responses=refusals(
        "already_cancelled",
        "already_credited",
        "credit_exceeds_invoice",
        "document_invalid",
        "invoice_not_final",
        "run_not_finished",
    ),
)
async def cancel(invoice_id: InvoiceId, cancellation: Cancellation, call: Operate) -> Response:
    """Issues a cancellation document over all of it. The invoice stays as it is and keeps its number."""
    note = await corrections.cancel_invoice(
        call.session,
        invoice_id,
        reason=cancellation.reason,
        reissue=cancellation.reissue,
        actor=call.principal.key_id,
        issuer=call.context.issuer,
        now=call.now,
    )
    await call.record("invoice.cancel", [invoice_id], credit_note=note.number, reissue=cancellation.reissue)
    return await _answer(call, note)


@router.post(
    "/invoices/{invoice_id}/credit-notes",
    operation_id="createCreditNote",
    summary="Credit a part of a final invoice",
    tags=["operator"],
    status_code=201,
    response_model=CreditNoteView,
    responses=refusals(
        "already_cancelled", "credit_exceeds_invoice", "document_invalid", "invoice_not_final", "nothing_to_credit"
    ),
)
async def credit(invoice_id: InvoiceId, new: NewCreditNote, call: Operate) -> Response:
    """All corrections of an invoice together never take back more than it charged."""
    note = await corrections.credit_invoice(
        call.session,
        invoice_id,
        amounts=None if new.lines is None else _by_position(new.lines),
        reason=new.reason,
        actor=call.principal.key_id,
        issuer=call.context.issuer,
        now=call.now,
    )
    await call.record("invoice.credit", [invoice_id], credit_note=note.number, gross_cents=note.gross_cents)
    return await _answer(call, note)


@router.get(
    "/credit-notes",
    operation_id="listCreditNotes",
    summary="List corrections",
    response_model=Page[CreditNoteSummary],
)
async def list_(
    call: Read,
    page: PageDep,
    invoice: Annotated[str | None, Query(pattern=f"^inv_{ID_PATTERN}$", description="Only those of one.")] = None,
) -> Response:
    """Newest first."""
    rows = await credit_notes.list_credit_notes(
        call.session, call.reseller_id, invoice_id=invoice, limit=page.fetch, before=page.after
    )
    return await call.answer(page.page(rows, CreditNoteSummary.model_validate, lambda row: row.id))


@router.get(
    "/credit-notes/{credit_note_id}",
    operation_id="getCreditNote",
    summary="Read a correction",
    response_model=CreditNoteView,
)
async def read(credit_note_id: CreditNoteId, call: Read) -> Response:
    note = await credit_notes.get_credit_note(call.session, call.reseller_id, credit_note_id)
    return await call.answer(await _view(call, note), version=1, derived=True)


def _by_position(lines: list[CreditedLine]) -> dict[int, int]:
    """Raises Invalid for a line that is named twice."""
    named = Counter(each.position for each in lines)
    errors = [
        FieldError(f"/lines/{index}/position", "given_twice", "Name each line once, with all that is taken back.")
        for index, each in enumerate(lines)
        if named[each.position] > 1
    ]
    if errors:
        raise Invalid("The credit note cannot be created.", errors=errors)
    return {each.position: each.net_cents for each in lines}


async def _answer(call: Call, note: CreditNote) -> Response:
    return await call.answer(await _view(call, note), status=201, location=f"/v1/credit-notes/{note.id}", version=1)


async def _view(call: Call, note: CreditNote) -> CreditNoteView:
    lines = [
        CreditedLineView(position=line.invoice_position, net_cents=line.net_cents)
        for line in await credit_notes.lines_of(call.session, note)
    ]
    documents = await kinds_of(call.session, note)
    return CreditNoteView(**CreditNoteSummary.model_validate(note).model_dump(), lines=lines, documents=list(documents))
