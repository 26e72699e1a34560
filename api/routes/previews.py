"""What a billing period will cost, by the calculation that bills it."""

from dataclasses import asdict
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.openapi import refusals
from api.routes.billing import (
    CUSTOMER_EXAMPLE,
    LINE_EXAMPLE,
    PERIOD_PATTERN,
    SUMS_EXAMPLE,
    AllowanceView,
    CustomerSum,
    Line,
    Read,
    Sums,
    example,
)
from api.routes.price_changes import PriceChangeView, change_view
from api.routing import Route
from billing.differences import REASONS_MAX, Difference, ReasonKind, difference, explain_reason
from billing.periods import BillingMonth
from billing.preview import preview
from billing.rating import explain

router = APIRouter(prefix="/v1", tags=["billing"], route_class=Route)

_WORDS = {
    "de": "57 Postfachtage × 7,90 € / 30 Tage = 15,01 €",
    "en": "57 mailbox-days × €7.90 / 30 days = €15.01",
}
_REASON = {
    "kind": "begun",
    "service_class": "exchange",
    "mailbox_id": "mbx_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "address": "anna@kanzlei-lindenhof.example",
    "quantity": 1,
    "on": "2026-11-17",
    "explanation": {
        "de": "+1 Exchange ab 17. Nov.: anna@kanzlei-lindenhof.example",
        "en": "+1 Exchange from 17 Nov: anna@kanzlei-lindenhof.example",
    },
}


class Explanation(BaseModel):
    de: str
    en: str


class PreviewLine(Line):
    explanation: Explanation = Field(description="Its arithmetic in words.")


class ReasonView(BaseModel):
    """One mailbox has more or less of a product than in the period before."""

    model_config = ConfigDict(from_attributes=True)

    kind: ReasonKind = Field(
        description="begun or ended in this period or in the one before; changed: other days or units."
    )
    service_class: str
    mailbox_id: str
    address: str
    quantity: int
    on: date
    explanation: Explanation = Field(description="In words.")


class DifferenceView(BaseModel):
    """What sets this period apart from the one before."""

    period_before: str
    net_cents_before: int
    net_difference_cents: int
    reasons: list[ReasonView] = Field(description=f"The newest {REASONS_MAX}.")
    more_reasons: int = Field(description="How many there are beside these.")
    price_changes: list[PriceChangeView] = Field(description="Of this period and of later ones.")


class PreviewView(Sums):
    """The invoice as a run would make it now."""

    model_config = example(
        period="2026-11",
        period_starts_on="2026-11-01",
        period_ends_on="2026-12-01",
        is_estimate=True,
        lines=[{**LINE_EXAMPLE, "explanation": _WORDS}],
        allowances=[],
        customers=[CUSTOMER_EXAMPLE],
        difference={
            "period_before": "2026-10",
            "net_cents_before": 1132,
            "net_difference_cents": 369,
            "reasons": [_REASON],
            "more_reasons": 0,
            "price_changes": [],
        },
        **SUMS_EXAMPLE,
    )

    period: str = Field(description="The month it begins in.")
    period_starts_on: date
    period_ends_on: date = Field(description="The first day that is no longer billed.")
    is_estimate: bool = Field(description="The month still runs; computed as if nothing changed until its end.")
    lines: list[PreviewLine]
    allowances: list[AllowanceView]
    customers: list[CustomerSum]
    difference: DifferenceView | None = Field(description="null where the period before could not be billed.")


@router.get(
    "/billing/preview",
    operation_id="previewInvoice",
    summary="What a month will cost",
    response_model=PreviewView,
    responses=refusals("no_price", "tax_regime_unsupported"),
)
async def preview_(
    call: Read,
    period: Annotated[
        str | None,
        Query(
            pattern=PERIOD_PATTERN,
            description="The month it begins in, for example 2026-11; the running one when left out.",
        ),
    ] = None,
) -> Response:
    """By the calculation that bills: once the month is over, the invoice says the same to the cent."""
    month = None if period is None else BillingMonth.parse(period)
    made = await preview(call.session, call.reseller_id, month, now=call.now)
    sums = asdict(made.total)
    vat = sums.pop("rate")
    view = PreviewView(
        **sums,
        tax_category=vat["category"],
        rate_basis_points=vat["rate_basis_points"],
        period=str(made.period.named),
        period_starts_on=made.period.starts_on,
        period_ends_on=made.period.ends_on,
        is_estimate=made.is_estimate,
        lines=[
            PreviewLine(**asdict(line), explanation=Explanation(de=explain(line, "de"), en=explain(line, "en")))
            for line in made.lines
        ],
        allowances=[AllowanceView.model_validate(each) for each in made.allowances],
        customers=[CustomerSum.model_validate(each) for each in made.customers],
        difference=_difference(await difference(call.session, made, now=call.now)),
    )
    return await call.answer(view)


def _difference(found: Difference | None) -> DifferenceView | None:
    if found is None:
        return None
    return DifferenceView(
        period_before=str(found.before.named),
        net_cents_before=found.net_cents_before,
        net_difference_cents=found.net_difference_cents,
        reasons=[
            ReasonView(
                **asdict(each),
                explanation=Explanation(de=explain_reason(each, "de"), en=explain_reason(each, "en")),
            )
            for each in found.reasons
        ],
        more_reasons=found.more_reasons,
        price_changes=[change_view(each) for each in found.price_changes],
    )
