"""Dunning: the operator's policy and pauses, and for a reseller what is open and what happens next."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call, Requires
from api.openapi import refusals
from api.routing import Day, Route
from billing import dunning_cases
from billing.dunning_cases import Case
from billing.dunning_models import DunningPolicy
from billing.dunning_plan import DAYS_MAX, FEE_CENTS_MAX, Hold, Policy, PolicyStep, StepKind
from billing.payment_models import PaymentStatus
from provisioning.core.errors import FieldError, Invalid, NotFound
from provisioning.core.ids import ID_PATTERN
from provisioning.tenants import get_reseller

router = APIRouter(prefix="/v1", route_class=Route)

Read = Annotated[Call, Depends(Requires("billing:read"), scope="function")]
Settle = Annotated[Call, Depends(Requires("payments:settle", operator=True), scope="function")]
ResellerId = Annotated[str, Path(pattern=f"^res_{ID_PATTERN}$", description="res_…")]

# Printable, and not only blanks.
REASON_PATTERN = r"^[^\x00-\x1f]*[^\x00-\x20][^\x00-\x1f]*$"

_STEPS: Any = [
    {"kind": "reminder", "days_past_due": 3, "fee_cents": 0},
    {"kind": "first_dunning", "days_past_due": 10, "fee_cents": 0},
    {"kind": "second_dunning", "days_past_due": 20, "fee_cents": 500},
    {"kind": "suspension", "days_past_due": 30, "fee_cents": 0},
]
_ITEM: dict[str, Any] = {
    "payment_id": "pay_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "invoice_id": "inv_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "invoice_number": "PF-2026-000042",
    "issued_on": "2026-12-01",
    "due_on": "2026-12-15",
    "days_past_due": 5,
    "status": "open",
    "amount_cents": 1786,
    "owed_cents": 1786,
    "fees_cents": 0,
    "steps": [{"kind": "reminder", "taken_on": "2026-12-18", "fee_cents": 0}],
    "hold": None,
    "next_step": "first_dunning",
    "next_on": "2026-12-25",
}


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(from_attributes=True, json_schema_extra={"examples": [example]})


class PolicyStepShape(BaseModel):
    """A step and how many days after the invoice was due it is taken."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    kind: StepKind
    days_past_due: int = Field(ge=1, le=DAYS_MAX, strict=True)
    fee_cents: int = Field(
        0, ge=0, le=FEE_CENTS_MAX, strict=True, description="Damages beside the invoice, without VAT; dunning only."
    )


class NewPolicy(BaseModel):
    """Steps may be left out, but not come in another order. It holds for the next step of every invoice."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"small_amount_cents": 1500, "steps": _STEPS}]}
    )

    small_amount_cents: int = Field(ge=0, le=100_000, strict=True, description="Less than this owed is left alone.")
    steps: list[PolicyStepShape] = Field(max_length=len(StepKind), description="Their days rise.")


class PolicyView(BaseModel):
    model_config = _example({"small_amount_cents": 1000, "steps": _STEPS, "changed_at": None, "version": 0})

    small_amount_cents: int
    steps: list[PolicyStepShape]
    changed_at: datetime | None = Field(description="null while the one that came with the service holds.")
    version: int = Field(description="The ETag.")


class NewPause(BaseModel):
    """No step is taken before the day, and service goes on until then."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"until_on": "2027-01-15", "reason": "Instalments agreed"}]}
    )

    until_on: Day = Field(description="The first day on which steps are taken again.")
    reason: str = Field(min_length=1, max_length=500, pattern=REASON_PATTERN)


class PauseView(BaseModel):
    model_config = _example(
        {"until_on": "2027-01-15", "reason": "Instalments agreed", "created_at": "2026-12-20T09:00:00Z", "version": 1}
    )

    until_on: date
    reason: str
    created_at: datetime
    version: int = Field(description="The ETag.")


class StepTakenView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    kind: StepKind
    taken_on: date
    fee_cents: int


class OpenItemView(BaseModel):
    """An invoice that is not paid. To be paid is `owed_cents`, of the invoice itself, and `fees_cents`."""

    payment_id: str
    invoice_id: str
    invoice_number: str
    issued_on: date
    due_on: date
    days_past_due: int = Field(description="Negative until it is due.")
    status: PaymentStatus
    amount_cents: int
    owed_cents: int
    fees_cents: int
    steps: list[StepTakenView]
    hold: Hold | None = Field(description="Why no step is taken at present.")
    next_step: StepKind | None
    next_on: date | None = Field(description="The earliest day of the next step.")


class DunningView(BaseModel):
    """Where a reseller stands: what it has not paid, longest due first, and what that has led to."""

    model_config = _example(
        {
            "reseller_id": "res_01k9z3f6m2w5t8y1c4e7h0j3n6",
            "service_suspended_at": None,
            "paused_until": None,
            "owed_cents": 1786,
            "fees_cents": 0,
            "open_items": [_ITEM],
        }
    )

    reseller_id: str
    service_suspended_at: datetime | None = Field(description="Since when login and sending are stopped.")
    paused_until: date | None
    owed_cents: int
    fees_cents: int
    open_items: list[OpenItemView]


@router.get(
    "/dunning-policy",
    operation_id="getDunningPolicy",
    summary="Read the dunning policy",
    response_model=PolicyView,
    tags=["operator"],
)
async def read_policy(call: Settle) -> Response:
    row = await dunning_cases.find_policy(call.session)
    return await _answer_policy(call, row)


@router.put(
    "/dunning-policy",
    operation_id="setDunningPolicy",
    summary="Set the dunning policy",
    response_model=PolicyView,
    tags=["operator"],
)
async def set_policy(new: NewPolicy, call: Settle) -> Response:
    """Steps that were taken stay taken; those to come follow the new days from the next day on."""
    row = await dunning_cases.find_policy(call.session)
    call.check_if_match(0 if row is None else row.version)
    steps = tuple(PolicyStep(each.kind, each.days_past_due, each.fee_cents) for each in new.steps)
    row = await dunning_cases.set_policy(call.session, Policy(steps, new.small_amount_cents), now=call.now)
    await call.record("dunning.policy", [row.id], **new.model_dump(mode="json"))
    return await _answer_policy(call, row)


@router.get(
    "/dunning",
    operation_id="getDunning",
    summary="Your open items, and what happens next",
    response_model=DunningView,
    tags=["billing"],
)
async def read(call: Read) -> Response:
    """The letters themselves are in GET /v1/notices."""
    return await call.answer(await _state(call, call.reseller_id))


@router.get(
    "/resellers/{reseller_id}/dunning",
    operation_id="getResellerDunning",
    summary="A reseller's open items, and what happens next",
    response_model=DunningView,
    tags=["operator"],
)
async def read_for_operator(reseller_id: ResellerId, call: Settle) -> Response:
    return await call.answer(await _state(call, reseller_id))


@router.put(
    "/resellers/{reseller_id}/dunning-pause",
    operation_id="pauseDunning",
    summary="Pause dunning of a reseller until a day",
    response_model=PauseView,
    responses=refusals("not_found", status=404),
    tags=["operator"],
)
async def pause(reseller_id: ResellerId, new: NewPause, call: Settle) -> Response:
    """Service that was suspended for unpaid invoices is resumed within a minute; when the pause is over without
    payment, it is suspended again."""
    await get_reseller(call.session, reseller_id, lock=True)
    before = await dunning_cases.find_pause(call.session, reseller_id)
    call.check_if_match(0 if before is None else before.version)
    if new.until_on <= call.today:
        raise Invalid(
            "A pause ends on a later day than today.",
            errors=[FieldError("/until_on", "in_past", f"must be later than {call.today}")],
        )
    row = await dunning_cases.pause(call.session, reseller_id, until_on=new.until_on, reason=new.reason, now=call.now)
    await call.record("dunning.pause", [reseller_id], **new.model_dump(mode="json"))
    view = PauseView(**row.model_dump(include=set(PauseView.model_fields)))
    return await call.answer(view, version=row.version)


@router.delete(
    "/resellers/{reseller_id}/dunning-pause",
    operation_id="endDunningPause",
    summary="End a pause of dunning now",
    status_code=204,
    responses=refusals("not_found", status=404),
    tags=["operator"],
)
async def end_pause(reseller_id: ResellerId, call: Settle) -> Response:
    await get_reseller(call.session, reseller_id, lock=True)
    row = await dunning_cases.find_pause(call.session, reseller_id)
    if row is None:
        raise NotFound(f"Dunning of {reseller_id} is not paused.")
    call.check_if_match(row.version)
    await call.session.delete(row)
    await call.record("dunning.end_pause", [reseller_id])
    await call.session.flush()
    return await call.answer(None, status=204)


async def _answer_policy(call: Call, row: DunningPolicy | None) -> Response:
    policy = dunning_cases.policy_of(row)
    view = PolicyView(
        small_amount_cents=policy.small_amount_cents,
        steps=[PolicyStepShape.model_validate(each) for each in policy.steps],
        changed_at=None if row is None else row.changed_at,
        version=0 if row is None else row.version,
    )
    return await call.answer(view, version=view.version)


async def _state(call: Call, reseller_id: str) -> DunningView:
    reseller = await get_reseller(call.session, reseller_id)
    pause = await dunning_cases.find_pause(call.session, reseller_id)
    policy = await dunning_cases.read_policy(call.session)
    cases = await dunning_cases.cases_of(call.session, reseller_id, today=call.today)
    return DunningView(
        reseller_id=reseller_id,
        service_suspended_at=reseller.service_suspended_at,
        paused_until=pause.until_on if pause is not None and pause.until_on > call.today else None,
        owed_cents=sum(case.owed_cents for case in cases),
        fees_cents=sum(case.fees_cents for case in cases),
        open_items=_items(cases, policy, today=call.today),
    )


def _items(cases: Sequence[Case], policy: Policy, *, today: date) -> list[OpenItemView]:
    items = []
    for case in cases:
        outlook = dunning_cases.outlook(case, policy)
        coming = outlook.coming
        items.append(
            OpenItemView(
                payment_id=case.payment_id,
                invoice_id=case.invoice_id,
                invoice_number=case.number,
                issued_on=case.issued_on,
                due_on=case.due_on,
                days_past_due=(today - case.due_on).days,
                status=case.status,
                amount_cents=case.amount_cents,
                owed_cents=case.owed_cents,
                fees_cents=case.fees_cents,
                steps=[StepTakenView.model_validate(each) for each in case.steps],
                hold=outlook.hold,
                next_step=None if coming is None else coming.step.kind,
                next_on=None if coming is None else max(coming.on, today),
            )
        )
    return items
