"""Statements to hand on: as PDF and as page, in the reseller's name and language, without its margin."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from api.auth import ActingForDep, BearerDep
from api.deps import Call, Requires
from api.downloads import Period, month_of, send_bytes, send_page
from api.openapi import refusals
from api.routing import Route
from billing.money import Language
from billing.resale_billing import find_logo
from billing.resale_documents import render_aside, statement_page, statement_pdf
from billing.statements import Statement, get_statement
from provisioning.core.ids import ID_PATTERN

router = APIRouter(prefix="/v1", tags=["billing"], route_class=Route)

READ = Requires("billing:read")
Read = Annotated[Call, Depends(READ, scope="function")]
CustomerId = Annotated[str, Path(pattern=f"^cus_{ID_PATTERN}$", description="cus_…")]
Language_ = Annotated[Literal["de", "en"] | None, Query(description="de or en; yours when left out.")]

File = TypeVar("File", bytes, str)


@dataclass(frozen=True, slots=True)
class Rendered(Generic[File]):
    """A statement as it is sent."""

    content: File
    month: str
    language: Language


@dataclass(frozen=True, slots=True)
class Render(Generic[File]):
    """Lays a statement out before the call's own transaction opens: none is held open by the layout."""

    render: Callable[[Statement, Language, bytes | None], File]

    async def __call__(
        self,
        request: Request,
        customer_id: CustomerId,
        _credentials: Annotated[Any, BearerDep],
        acting_for: ActingForDep = None,
        period: Period = None,
        language: Language_ = None,
    ) -> Rendered[File]:
        now = request.app.state.context.clock.now()
        month = month_of(now, period)
        async with READ.before(request, acting_for) as (session, reseller_id):
            statement = await get_statement(session, reseller_id, customer_id, month, now=now)
            logo = await find_logo(session, reseller_id)
        chosen = language or statement.language
        content = await render_aside(lambda: self.render(statement, chosen, logo.content if logo else None))
        return Rendered(content, str(month), chosen)


class PdfResponse(Response):
    media_type = "application/pdf"


@router.get(
    "/statements/{customer_id}/pdf",
    operation_id="getStatementPdf",
    summary="What a customer owes you for a month, as PDF to hand on",
    response_class=PdfResponse,
    responses=refusals("no_price", "no_resale_price", "tax_regime_unsupported"),
)
async def as_pdf(
    customer_id: CustomerId, made: Annotated[Rendered[bytes], Depends(Render(statement_pdf))], _call: Read
) -> Response:
    """In your name, at your resale prices and without your margin. Net, and no invoice."""
    return send_bytes(made.content, f"statement-{made.month}-{customer_id}.pdf", "application/pdf")


@router.get(
    "/statements/{customer_id}/html",
    operation_id="getStatementPage",
    summary="What a customer owes you for a month, as a page",
    response_class=HTMLResponse,
    responses=refusals("no_price", "no_resale_price", "tax_regime_unsupported"),
)
async def as_page(made: Annotated[Rendered[str], Depends(Render(statement_page))], _call: Read) -> Response:
    """What its PDF says, as one file without anything from elsewhere."""
    return send_page(made.content, made.language)
