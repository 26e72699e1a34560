"""What was billed: final invoices, as JSON and as a page to print."""

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, computed_field

from api.deps import Call, Requires
from api.downloads import send_page
from api.paging import Page, PageDep
from api.routing import Route
from billing import invoices, vat
from billing.pages import invoice_page
from billing.periods import BillingMonth
from billing.terms import AllowanceKind
from provisioning.core.ids import ID_PATTERN

router = APIRouter(prefix="/v1", tags=["billing"], route_class=Route)

Read = Annotated[Call, Depends(Requires("billing:read"), scope="function")]
InvoiceId = Annotated[str, Path(pattern=f"^inv_{ID_PATTERN}$", description="inv_…")]

PERIOD_PATTERN = "^(20[2-9][0-9]|2100)-(0[1-9]|1[0-2])$"
NUMBER_PATTERN = "^[A-Z0-9]{1,8}-[0-9]{4}-[0-9]{6,10}$"

SUMS_EXAMPLE: dict[str, Any] = {
    "currency": "EUR",
    "allowances_cents": 0,
    "net_cents": 1501,
    "tax_cents": 285,
    "gross_cents": 1786,
    "tax_category": "S",
    "rate_basis_points": 1900,
}
CUSTOMER_EXAMPLE: dict[str, Any] = {
    "customer_id": "cus_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "customer_name": "Kanzlei Lindenhof",
    "mailbox_days": 57,
    "net_cents": 1501,
}
LINE_EXAMPLE: dict[str, Any] = {
    **CUSTOMER_EXAMPLE,
    "service_class": "exchange",
    "kind": "usage",
    "base_days": 30,
    "price_cents": 790,
}
_INVOICE: dict[str, Any] = {
    "id": "inv_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "number": "PF-2026-000042",
    "status": "final",
    "period": "2026-11",
    "issued_on": "2026-12-01",
    "due_on": "2026-12-15",
    **SUMS_EXAMPLE,
}
_STAY: dict[str, Any] = {
    "customer_id": "cus_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "address": "anna.krueger@kanzlei-lindenhof.example",
    "service_class": "exchange",
    "location": "de-fra-1",
    "starts_on": "2026-11-17",
    "ends_on": "2026-12-01",
    "mailbox_days": 14,
    "quantity": 1,
    "start_reason": "ordered",
    "end_reason": "continues",
}
_ADDRESS = {"name": "IT-Haus Goslar", "street": "Marktstraße 5", "postcode": "38640", "city": "Goslar", "country": "DE"}
_BANK = {"tax_number": "14/123/45678", "iban": "DE02120300000000202051", "bic": "BYLADEM1001"}


def example(**fields: Any) -> ConfigDict:
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
    allowances_cents: int = Field(description="What was taken off the sum of the lines.")
    net_cents: int = Field(description="The sum of the lines less allowances.")
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
    """One customer's units of one product at a price: net = mailbox_days × price_cents / base_days, rounded half up."""

    service_class: str = Field(description="A class of service, or an add-on.")
    kind: str = Field(
        description="usage: days in service; trial: free ones; minimum_term: days after it was given up too early."
    )
    base_days: int = Field(description="The days of the whole period.")
    price_cents: int = Field(description="A unit and month.")


class AllowanceView(BaseModel):
    """Taken off the invoice as a whole, before tax, and never more than there is."""

    model_config = ConfigDict(from_attributes=True)

    kind: AllowanceKind = Field(description="discount by a coupon, or credit used up.")
    reason: str
    percent_basis_points: int | None
    base_cents: int
    amount_cents: int


def _month_of(value: object) -> object:
    return str(BillingMonth.containing(value)) if isinstance(value, date) else value


class InvoiceSummary(Sums):
    model_config = ConfigDict(**example(**_INVOICE), validate_by_name=True)

    id: str
    number: str
    status: Literal["final"] = Field(description="Always final: drafts are not shown.")
    period: Annotated[str, BeforeValidator(_month_of)] = Field(
        validation_alias="period_starts_on", description="The month the billing period begins in."
    )
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

    model_config = example(
        **_INVOICE,
        seller={**_ADDRESS, **_BANK, "vat_id": "DE123456788", "email": "rechnung@postfachwerk.example"},
        buyer={"id": "res_01k9z3f6m2w5t8y1c4e7h0j3n6", **_ADDRESS, "vat_id": None, "email": "office@it-haus.example"},
        vat_check_id=None,
        lines=[{"position": 1, **LINE_EXAMPLE}],
        allowances=[],
        customers=[CUSTOMER_EXAMPLE],
    )

    seller: Seller
    buyer: Buyer
    vat_check_id: str | None = Field(description="The answer of VIES that a reverse charge rests on.")
    lines: list[InvoiceLineView]
    allowances: list[AllowanceView]
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
    mailbox_days: int = Field(description="Times the units, for an add-on.")
    quantity: int
    start_reason: str = Field(description="`carried_over`: it was there before the month.")
    end_reason: str = Field(description="`continues`: it is still there after the month.")


class AnnexEntryView(BaseModel):
    """One mailbox of an invoice; over all pages the days of a customer and class are the quantity of their lines,
    where the class is charged by the day."""

    model_config = example(mailbox_id="mbx_01k9z3f6m2w5t8y1c4e7h0j3n6", stays=[_STAY])

    mailbox_id: str
    stays: list[StayView]


@router.get("/invoices", operation_id="listInvoices", summary="List invoices", response_model=Page[InvoiceSummary])
async def list_(
    call: Read,
    page: PageDep,
    period: Annotated[
        str | None, Query(pattern=PERIOD_PATTERN, description="The month the billing period begins in.")
    ] = None,
    year: Annotated[int | None, Query(ge=2020, le=2100, description="The year of issue, as in the number.")] = None,
    number: Annotated[str | None, Query(pattern=NUMBER_PATTERN, description="Exactly, such as PF-2026-000042.")] = None,
) -> Response:
    """Newest first."""
    rows = await invoices.list_invoices(
        call.session,
        call.reseller_id,
        number=number,
        year=year,
        month=None if period is None else BillingMonth.parse(period),
        limit=page.fetch,
        before=page.after,
    )
    return await call.answer(page.page(rows, InvoiceSummary.model_validate, lambda row: row.id))


@router.get("/invoices/{invoice_id}", operation_id="getInvoice", summary="Read an invoice", response_model=InvoiceView)
async def read(invoice_id: InvoiceId, call: Read) -> Response:
    """With its lines, and their sums by customer to bill on."""
    invoice = await invoices.get_invoice(call.session, call.reseller_id, invoice_id)
    lines = await invoices.lines_of(call.session, invoice)
    taken = await invoices.allowances_of(call.session, invoice)
    view = InvoiceView(
        **InvoiceSummary.model_validate(invoice).model_dump(),
        seller=Seller.model_validate(invoice.seller),
        buyer=Buyer.model_validate(invoice.buyer),
        vat_check_id=invoice.vat_check_id,
        lines=[InvoiceLineView.model_validate(line) for line in lines],
        allowances=[AllowanceView.model_validate(each) for each in taken],
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
    invoice_id: InvoiceId,
    call: Read,
    language: Annotated[
        Literal["de", "en"] | None, Query(description="de or en; that of your invoices when left out.")
    ] = None,
) -> Response:
    """What its PDF says, as one file without anything from elsewhere, for screen and A4 paper."""
    invoice = await invoices.get_invoice(call.session, call.reseller_id, invoice_id)
    page, shown_in = await invoice_page(
        call.session, invoice, language=language, issuer=call.context.issuer, today=call.today
    )
    return send_page(page, shown_in)


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
