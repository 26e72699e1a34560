"""What a month will cost and what was billed: previews and final invoices, as JSON and as a page to print."""

import base64
from dataclasses import asdict
from datetime import date
from hashlib import sha256
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, computed_field

from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page, PageDep
from api.routing import Route
from billing import invoices, vat
from billing.documents.html import render_invoice
from billing.periods import BillingMonth
from billing.preview import preview
from billing.rating import explain
from provisioning.core.ids import ID_PATTERN

router = APIRouter(prefix="/v1", tags=["billing"], route_class=Route)

Read = Annotated[Call, Depends(Requires("billing:read"), scope="function")]
InvoiceId = Annotated[str, Path(pattern=f"^inv_{ID_PATTERN}$", description="inv_…")]

PERIOD_PATTERN = "^(20[2-9][0-9]|2100)-(0[1-9]|1[0-2])$"
NUMBER_PATTERN = "^[A-Z0-9]{1,8}-[0-9]{4}-[0-9]{6,10}$"

_SUMS: dict[str, Any] = {
    "currency": "EUR",
    "net_cents": 1501,
    "tax_cents": 285,
    "gross_cents": 1786,
    "tax_category": "S",
    "rate_basis_points": 1900,
}
_CUSTOMER: dict[str, Any] = {
    "customer_id": "cus_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "customer_name": "Kanzlei Lindenhof",
    "mailbox_days": 57,
    "net_cents": 1501,
}
_LINE: dict[str, Any] = {**_CUSTOMER, "service_class": "exchange", "base_days": 30, "price_cents": 790}
_WORDS = {
    "de": "57 Postfachtage × 7,90 € / 30 Tage = 15,01 €",
    "en": "57 mailbox-days × €7.90 / 30 days = €15.01",
}
_INVOICE: dict[str, Any] = {
    "id": "inv_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "number": "PF-2026-000042",
    "status": "final",
    "period": "2026-11",
    "issued_on": "2026-12-01",
    "due_on": "2026-12-15",
    **_SUMS,
}
_STAY: dict[str, Any] = {
    "customer_id": "cus_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "address": "anna.krueger@kanzlei-lindenhof.example",
    "service_class": "exchange",
    "location": "de-fra-1",
    "starts_on": "2026-11-17",
    "ends_on": "2026-12-01",
    "mailbox_days": 14,
    "start_reason": "ordered",
    "end_reason": "continues",
}
_ADDRESS = {"name": "IT-Haus Goslar", "street": "Marktstraße 5", "postcode": "38640", "city": "Goslar", "country": "DE"}
_BANK = {"tax_number": "14/123/45678", "iban": "DE02120300000000202051", "bic": "BYLADEM1001"}


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(from_attributes=True, json_schema_extra={"examples": [fields]})


class TaxExemption(BaseModel):
    """Why there is no tax, as it must stand on the invoice."""

    model_config = ConfigDict(from_attributes=True)

    code: str | None = Field(description="BT-121, from the VATEX list; null where that has none.")
    de: str
    en: str


class Sums(BaseModel):
    """The tax is taken once, on the net total. 1900 basis points are 19 %."""

    currency: str = "EUR"
    net_cents: int
    tax_cents: int
    gross_cents: int
    tax_category: str = Field(
        description="EN 16931: S is the standard rate, E a small business, AE a reverse charge, O out of scope."
    )
    rate_basis_points: int

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented way
    @property
    def tax_exemption(self) -> TaxExemption | None:
        exemption = vat.EXEMPTIONS.get(self.tax_category)
        return None if exemption is None else TaxExemption.model_validate(exemption)


class CustomerSum(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    customer_id: str
    customer_name: str
    mailbox_days: int
    net_cents: int


class Line(CustomerSum):
    """One customer's mailboxes of one class: net = mailbox_days × price_cents / base_days, rounded half up."""

    service_class: str
    base_days: int = Field(description="The days of the month.")
    price_cents: int = Field(description="A mailbox and month.")


class Explanation(BaseModel):
    de: str
    en: str


class PreviewLine(Line):
    explanation: Explanation = Field(description="Its arithmetic in words.")


class PreviewView(Sums):
    """The invoice as a run would make it now."""

    model_config = _example(
        period="2026-11", is_estimate=True, lines=[{**_LINE, "explanation": _WORDS}], customers=[_CUSTOMER], **_SUMS
    )

    period: str
    is_estimate: bool = Field(description="The month still runs; computed as if nothing changed until its end.")
    lines: list[PreviewLine]
    customers: list[CustomerSum]


def _month_of(value: object) -> object:
    return str(BillingMonth.containing(value)) if isinstance(value, date) else value


class InvoiceSummary(Sums):
    model_config = ConfigDict(**_example(**_INVOICE), validate_by_name=True)

    id: str
    number: str
    status: Literal["final"] = Field(description="Always final: drafts are not shown.")
    period: Annotated[str, BeforeValidator(_month_of)] = Field(validation_alias="period_starts_on")
    issued_on: date
    due_on: date


class Party(BaseModel):
    name: str
    street: str
    postcode: str
    city: str
    country: str
    email: str


class Buyer(Party):
    """You, as you were when the invoice was issued."""

    id: str
    vat_id: str | None


class Seller(Party):
    """Who issued it, and where to pay."""

    vat_id: str
    tax_number: str
    iban: str
    bic: str


class InvoiceLineView(Line):
    position: int


class InvoiceView(InvoiceSummary):
    """A final invoice. It never changes."""

    model_config = _example(
        **_INVOICE,
        seller={**_ADDRESS, **_BANK, "vat_id": "DE123456788", "email": "rechnung@postfachwerk.example"},
        buyer={"id": "res_01k9z3f6m2w5t8y1c4e7h0j3n6", **_ADDRESS, "vat_id": None, "email": "office@it-haus.example"},
        vat_check_id=None,
        lines=[{"position": 1, **_LINE}],
        customers=[_CUSTOMER],
    )

    seller: Seller
    buyer: Buyer
    vat_check_id: str | None = Field(description="The answer of VIES that a reverse charge rests on.")
    lines: list[InvoiceLineView]
    customers: list[CustomerSum]


class StayView(BaseModel):
    """Days `[starts_on, ends_on)` in one class, clipped to the month, and why they begin and end there."""

    model_config = ConfigDict(from_attributes=True)

    customer_id: str
    address: str
    service_class: str
    location: str
    starts_on: date
    ends_on: date = Field(description="The first day that is no longer counted.")
    mailbox_days: int
    start_reason: str = Field(description="`carried_over`: it was there before the month.")
    end_reason: str = Field(description="`continues`: it is still there after the month.")


class AnnexEntryView(BaseModel):
    """One mailbox of an invoice; over all pages the days of a customer and class are the quantity of their line."""

    model_config = _example(mailbox_id="mbx_01k9z3f6m2w5t8y1c4e7h0j3n6", stays=[_STAY])

    mailbox_id: str
    stays: list[StayView]


@router.get(
    "/billing/preview",
    operation_id="previewInvoice",
    summary="What a month will cost",
    response_model=PreviewView,
    responses=refusals("no_price", *vat.TREATMENT_CODES),
)
async def preview_(
    call: Read,
    period: Annotated[
        str | None, Query(pattern=PERIOD_PATTERN, description="For example 2026-11; the running month when left out.")
    ] = None,
) -> Response:
    """By the calculation that bills: once the month is over, the invoice says the same to the cent."""
    month = BillingMonth.containing(call.today) if period is None else BillingMonth.parse(period)
    made = await preview(call.session, call.reseller_id, month, now=call.now)
    sums = asdict(made.total)
    rate = sums.pop("rate")
    view = PreviewView(
        **sums,
        tax_category=rate["category"],
        rate_basis_points=rate["rate_basis_points"],
        period=str(month),
        is_estimate=made.is_estimate,
        lines=[
            PreviewLine(**asdict(line), explanation=Explanation(de=explain(line, "de"), en=explain(line, "en")))
            for line in made.lines
        ],
        customers=[CustomerSum.model_validate(each) for each in made.customers],
    )
    return await call.answer(view)


@router.get("/invoices", operation_id="listInvoices", summary="List invoices", response_model=Page[InvoiceSummary])
async def list_(
    call: Read,
    page: PageDep,
    period: Annotated[str | None, Query(pattern=PERIOD_PATTERN, description="The month billed.")] = None,
    year: Annotated[int | None, Query(ge=2020, le=2100, description="The year of issue, as in the number.")] = None,
    number: Annotated[str | None, Query(pattern=NUMBER_PATTERN, description="Exactly, such as PF-2026-000042.")] = None,
) -> Response:
    """Newest first."""
    rows = await invoices.list_invoices(
        call.session,
        call.reseller_id,
        number=number,
        year=year,
        period_starts_on=None if period is None else BillingMonth.parse(period).starts_on,
        limit=page.fetch,
        before=page.after,
    )
    return await call.answer(page.page(rows, InvoiceSummary.model_validate, lambda row: row.id))


@router.get("/invoices/{invoice_id}", operation_id="getInvoice", summary="Read an invoice", response_model=InvoiceView)
async def read(invoice_id: InvoiceId, call: Read) -> Response:
    """With its lines, and their sums by customer to bill on."""
    invoice = await invoices.get_invoice(call.session, call.reseller_id, invoice_id)
    lines = await invoices.lines_of(call.session, invoice)
    view = InvoiceView(
        **InvoiceSummary.model_validate(invoice).model_dump(),
        seller=Seller.model_validate(invoice.seller),
        buyer=Buyer.model_validate(invoice.buyer),
        vat_check_id=invoice.vat_check_id,
        lines=[InvoiceLineView.model_validate(line) for line in lines],
        customers=[CustomerSum.model_validate(each) for each in invoices.per_customer(lines)],
    )
    return await call.answer(view, version=1, derived=True)


@router.get(
    "/invoices/{invoice_id}/html",
    operation_id="getInvoicePage",
    summary="An invoice as a page to read and print",
    response_class=HTMLResponse,
)
async def page_of(
    invoice_id: InvoiceId, call: Read, language: Annotated[Literal["de", "en"], Query(description="de or en")] = "de"
) -> Response:
    """One file without anything from elsewhere, for screen and A4 paper."""
    invoice = await invoices.get_invoice(call.session, call.reseller_id, invoice_id)
    page = render_invoice(invoice, await invoices.lines_of(call.session, invoice), language)
    headers = {
        "Content-Language": language,
        "Content-Security-Policy": _policy(page),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return HTMLResponse(page, headers=headers)


@router.get(
    "/invoices/{invoice_id}/mailboxes",
    operation_id="listInvoiceMailboxes",
    summary="The annex: each mailbox with its days",
    response_model=Page[AnnexEntryView],
)
async def annex(invoice_id: InvoiceId, call: Read, page: PageDep) -> Response:
    """By mailbox id."""
    invoice = await invoices.get_invoice(call.session, call.reseller_id, invoice_id)
    rows = await invoices.annex(call.session, invoice, limit=page.fetch, after=page.after)
    return await call.answer(page.page(rows, AnnexEntryView.model_validate, lambda row: row.mailbox_id))


def _policy(page: str) -> str:
    """Nothing may be loaded, run or sent; of styles only the page's own, which comes before any text from outside."""
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
