"""Payments: what is owed on each invoice, what was tried to collect it, what came in, and what went back."""

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page, PageDep
from api.routing import Day, Route
from billing import credit_notes, payments
from billing.payment_models import (
    AttemptKind,
    AttemptState,
    EntryKind,
    MethodKind,
    Payment,
    PaymentStatus,
)
from billing.payments import Standing
from billing.settlement import lock_payment
from provisioning.core.ids import ID_PATTERN

router = APIRouter(prefix="/v1/payments", route_class=Route)

Read = Annotated[Call, Depends(Requires("billing:read", anyone=True), scope="function")]
Write = Annotated[Call, Depends(Requires("payments:write"), scope="function")]
Settle = Annotated[Call, Depends(Requires("payments:settle", operator=True), scope="function")]
PaymentId = Annotated[str, Path(pattern=f"^pay_{ID_PATTERN}$", description="pay_…")]

AMOUNT_MAX = 99_999_999_999

_PAYMENT: dict[str, Any] = {
    "id": "pay_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "reseller_id": "res_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "invoice_id": "inv_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "invoice_number": "PF-2026-000042",
    "due_on": "2026-12-15",
    "amount_cents": 1786,
    "settled_cents": 0,
    "due_cents": 1786,
    "method": "sepa_debit",
    "status": "processing",
    "next_attempt_at": None,
    "action_url": None,
    "error_code": None,
    "opened_at": "2026-12-01T00:00:02Z",
}
_ATTEMPT: dict[str, Any] = {
    "id": "att_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "kind": "charge",
    "number": 1,
    "state": "processing",
    "amount_cents": 1786,
    "error_code": None,
    "decline_code": None,
    "created_at": "2026-12-01T00:01:00Z",
    "finished_at": None,
}
_ENTRY: dict[str, Any] = {
    "id": "ent_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "kind": "receipt",
    "amount_cents": 1786,
    "booked_on": "2026-12-07",
    "source": "py_3PqRs",
}


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(from_attributes=True, json_schema_extra={"examples": [example]})


class AttemptView(BaseModel):
    """One try to collect or to give back."""

    model_config = _example(_ATTEMPT)

    id: str
    kind: AttemptKind
    number: int
    state: AttemptState
    amount_cents: int
    error_code: str | None
    decline_code: str | None = Field(description="The bank's word.")
    created_at: datetime
    finished_at: datetime | None


class EntryView(BaseModel):
    """Money that moved; negative took away from what is settled."""

    model_config = _example(_ENTRY)

    id: str
    kind: EntryKind
    amount_cents: int
    booked_on: date
    source: str = Field(description="What it is known by where it moved.")


class PaymentView(BaseModel):
    """What one invoice is owed. `settled_cents` is the sum of its entries, always."""

    model_config = _example({**_PAYMENT, "attempts": [_ATTEMPT], "entries": [_ENTRY]})

    id: str
    reseller_id: str
    invoice_id: str
    invoice_number: str | None
    due_on: date | None
    amount_cents: int
    settled_cents: int
    due_cents: int = Field(description="Still owed; negative is credit.")
    method: MethodKind
    status: PaymentStatus
    next_attempt_at: datetime | None = Field(description="When it is looked at again.")
    action_url: str | None = Field(description="Where the card's holder has to confirm.")
    error_code: str | None = Field(description="Why the last attempt failed.")
    opened_at: datetime
    attempts: list[AttemptView] | None = Field(None, description="null in lists.")
    entries: list[EntryView] | None = Field(None, description="null in lists.")


class NewReceipt(BaseModel):
    """Money that came in by another way than Stripe and bank statement."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"amount_cents": 500, "received_on": "2026-11-16", "reference": "Kasse 2026-117"}]
        },
    )

    amount_cents: int = Field(gt=0, le=AMOUNT_MAX, strict=True)
    received_on: Day
    reference: str = Field(min_length=1, max_length=100, description="Tells this receipt from every other.")


class NewRefund(BaseModel):
    """Goes back the way it came: what a credit note took off an invoice that was paid already."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"amount_cents": 500, "credit_note_id": "crn_01k9z3f6m2w5t8y1c4e7h0j3n6"}]},
    )

    amount_cents: int = Field(gt=0, le=AMOUNT_MAX, strict=True)
    credit_note_id: str = Field(
        pattern=f"^crn_{ID_PATTERN}$", description="One of this payment's invoice. Each is refunded once."
    )


@router.get(
    "", operation_id="listPayments", summary="List payments", response_model=Page[PaymentView], tags=["billing"]
)
async def list_(
    call: Read,
    page: PageDep,
    status: Annotated[PaymentStatus | None, Query(description="Only those that stand so.")] = None,
    invoice_id: Annotated[str | None, Query(pattern=f"^inv_{ID_PATTERN}$", description="inv_…")] = None,
) -> Response:
    """Newest first. An operator that acts for nobody sees everybody's."""
    rows = await payments.list_payments(
        call.session,
        call.principal.reseller_id,
        status=status,
        invoice_id=invoice_id,
        limit=page.fetch,
        before=page.after,
    )
    return await call.answer(page.page(rows, _view, lambda row: row.payment.id))


@router.get(
    "/{payment_id}", operation_id="getPayment", summary="Read a payment", response_model=PaymentView, tags=["billing"]
)
async def read(payment_id: PaymentId, call: Read) -> Response:
    """With every attempt and every entry."""
    return await call.answer(await _shown(call, payment_id), version=1, derived=True)


@router.post(
    "/{payment_id}/retry",
    operation_id="retryPayment",
    summary="Collect a payment now",
    status_code=202,
    response_model=PaymentView,
    responses=refusals("payment_not_open", "charge_spent"),
    tags=["billing"],
)
async def retry(payment_id: PaymentId, call: Write) -> Response:
    """With the default payment method, by a worker. Where that is a transfer, nothing is taken."""
    await payments.get_payment(call.session, call.reseller_id, payment_id)
    payment = await lock_payment(call.session, payment_id)
    await payments.retry(call.session, payment, now=call.now)
    await call.record("payment.retry", [payment_id])
    return await call.answer(await _shown(call, payment_id), status=202)


@router.post(
    "/{payment_id}/receipts",
    operation_id="recordReceipt",
    summary="Book money that came in otherwise",
    status_code=201,
    response_model=PaymentView,
    responses=refusals("receipt_booked"),
    tags=["operator"],
)
async def record_receipt(payment_id: PaymentId, new: NewReceipt, call: Settle) -> Response:
    """What is more than owed becomes the reseller's credit and pays what is open elsewhere."""
    payment = await _held(call, payment_id)
    await payments.record_receipt(
        call.session,
        payment,
        amount_cents=new.amount_cents,
        received_on=new.received_on,
        reference=new.reference,
        now=call.now,
    )
    await call.record("payment.receipt", [payment_id], amount_cents=new.amount_cents, reference=new.reference)
    return await call.answer(await _shown(call, payment_id), status=201)


@router.post(
    "/{payment_id}/refunds",
    operation_id="refundPayment",
    summary="Give money back through Stripe",
    status_code=202,
    response_model=PaymentView,
    responses=refusals(
        "credit_exceeds_invoice",
        "credit_note_booked",
        "credit_used_up",
        "payment_disputed",
        "refund_exceeds_receipts",
        "refund_requested",
        "unknown_credit_note",
    ),
    tags=["operator"],
)
async def refund(payment_id: PaymentId, new: NewRefund, call: Settle) -> Response:
    """A worker sends it. Never more than Stripe has received, and never while a bank decides on a dispute."""
    payment = await _held(call, payment_id)
    await credit_notes.check_corrects(
        call.session, payment.reseller_id, new.credit_note_id, invoice_id=payment.invoice_id
    )
    await payments.request_refund(
        call.session,
        payment,
        credit_note_id=new.credit_note_id,
        amount_cents=new.amount_cents,
        now=call.now,
    )
    await call.record("payment.refund", [payment_id], amount_cents=new.amount_cents, credit_note_id=new.credit_note_id)
    return await call.answer(await _shown(call, payment_id), status=202)


@router.post(
    "/{payment_id}/write-off",
    operation_id="writeOffPayment",
    summary="Give up what is still owed",
    response_model=PaymentView,
    responses=refusals("payment_not_open"),
    tags=["operator"],
)
async def write_off(payment_id: PaymentId, call: Settle) -> Response:
    """What is left of the invoice, and of the fees beside it; where the invoice is paid, the fees are waived.
    What comes in later all the same is booked, and becomes credit."""
    payment = await _held(call, payment_id)
    await payments.write_off(call.session, payment, now=call.now)
    await call.record("payment.write_off", [payment_id])
    return await call.answer(await _shown(call, payment_id))


async def _held(call: Call, payment_id: str) -> Payment:
    await payments.get_payment(call.session, None, payment_id)
    return await lock_payment(call.session, payment_id)


async def _shown(call: Call, payment_id: str) -> PaymentView:
    await call.session.flush()
    standing = await payments.get_payment(call.session, call.principal.reseller_id, payment_id)
    view = _view(standing)
    attempts = await payments.attempts_of(call.session, standing.payment)
    view.attempts = [AttemptView.model_validate(each) for each in attempts]
    entries = await payments.entries_of(call.session, standing.payment)
    view.entries = [EntryView.model_validate(each) for each in entries]
    return view


def _view(standing: Standing) -> PaymentView:
    payment = standing.payment
    return PaymentView(
        **payment.model_dump(include=set(PaymentView.model_fields)),
        invoice_number=standing.number,
        due_on=standing.due_on,
        settled_cents=standing.settled_cents,
        due_cents=payment.amount_cents - standing.settled_cents,
    )
