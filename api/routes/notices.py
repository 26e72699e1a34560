"""Notices: what a reseller is told about invoices it has not paid, as it stands here and in its mail."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call, Requires
from api.paging import Page, PageDep
from api.routing import Route
from billing import notices
from billing.dunning_models import Delivery, Notice
from billing.notice_texts import NoticeKind
from provisioning.core.ids import ID_PATTERN

router = APIRouter(prefix="/v1/notices", tags=["billing"], route_class=Route)

Read = Annotated[Call, Depends(Requires("billing:read", anyone=True), scope="function")]
NoticeId = Annotated[str, Path(pattern=f"^ntc_{ID_PATTERN}$", description="ntc_…")]

_EXAMPLE: dict[str, Any] = {
    "id": "ntc_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "reseller_id": "res_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "invoice_id": "inv_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "kind": "reminder",
    "language": "de",
    "recipient": "buchhaltung@it-haus.example",
    "de": {
        "subject": "Zahlungserinnerung zur Rechnung PF-2026-000042",
        "body": "Guten Tag,\n\nvielleicht ist es im Alltag untergegangen: …",
    },
    "en": {
        "subject": "Payment reminder for invoice PF-2026-000042",
        "body": "Good day,\n\nthis may have slipped your mind: …",
    },
    "created_at": "2026-12-18T00:00:12Z",
    "delivery": "sent",
    "problem": None,
}


class LetterView(BaseModel):
    subject: str
    body: str = Field(description="Plain text.")


class NoticeView(BaseModel):
    """One letter, in both languages."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    reseller_id: str
    invoice_id: str | None = Field(description="null where it is about no single invoice.")
    kind: NoticeKind
    language: str = Field(description="The one that is mailed: de or en.")
    recipient: str
    de: LetterView
    en: LetterView
    created_at: datetime
    delivery: Delivery = Field(
        description="`listed`: stands here only. `unknown`: it may have been mailed, and is not mailed again."
    )
    problem: str | None = Field(description="What the mail server said.")


@router.get("", operation_id="listNotices", summary="List notices", response_model=Page[NoticeView])
async def list_(
    call: Read,
    page: PageDep,
    invoice_id: Annotated[str | None, Query(pattern=f"^inv_{ID_PATTERN}$", description="inv_…")] = None,
) -> Response:
    """Newest first: reminders, dunning notices, suspensions and their end. An operator for itself sees all."""
    rows = await notices.list_notices(
        call.session, call.principal.reseller_id, invoice_id=invoice_id, limit=page.fetch, before=page.after
    )
    return await call.answer(page.page(rows, _view, lambda row: row.id))


@router.get("/{notice_id}", operation_id="getNotice", summary="Read a notice", response_model=NoticeView)
async def read(notice_id: NoticeId, call: Read) -> Response:
    notice = await notices.get_notice(call.session, call.principal.reseller_id, notice_id)
    return await call.answer(_view(notice), version=1, derived=True)


def _view(notice: Notice) -> NoticeView:
    return NoticeView(
        **notice.model_dump(include=set(NoticeView.model_fields)),
        de=LetterView(subject=notice.subject_de, body=notice.body_de),
        en=LetterView(subject=notice.subject_en, body=notice.body_en),
    )
