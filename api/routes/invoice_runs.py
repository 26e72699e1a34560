"""Invoice runs as resources: start a month, see how far it is and who is parked why, retry, cancel; and all numbers."""

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page, PageDep
from api.routing import Day, Route
from billing import runs
from billing.models import UNFINISHED, InvoiceRun, InvoiceRunItem, ItemState, RunState
from billing.numbers import Became, all_series, number_report
from billing.periods import BillingMonth, BillingPeriod, periods_closing
from provisioning.core.errors import FieldError, Invalid
from provisioning.core.ids import ID_PATTERN

router = APIRouter(prefix="/v1", tags=["operator"], route_class=Route)

Operate = Annotated[Call, Depends(Requires("invoices:run", operator=True), scope="function")]
RunId = Annotated[str, Path(pattern=f"^run_{ID_PATTERN}$", description="run_…")]

MONTH_PATTERN = "^(20[2-9][0-9]|2100)-(0[1-9]|1[0-2])$"
FIRST_CLOSING_DAY, LAST_CLOSING_DAY = date(2020, 1, 1), date(2100, 12, 31)
PARKED_SHOWN = 20
INT4_MAX = 2_147_483_647

_ITEM: dict[str, Any] = {
    "reseller_id": "res_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "state": "parked",
    "code": "address_incomplete",
    "reason": "The reseller's address lacks: city.",
    "report": None,
    "alarm": None,
}
_RUN: dict[str, Any] = {
    "id": "run_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "month": "2026-11",
    "closes_on": "2026-12-01",
    "state": "succeeded",
    "resellers": 120,
    "parked": 1,
    "finalised": 119,
    "documents": 119,
    "alarms": 0,
    "invoices": 119,
    "net_cents": 2380000,
    "tax_cents": 452200,
    "gross_cents": 2832200,
    "actor": "schedule",
    "started_at": "2026-12-01T00:00:00Z",
    "finished_at": "2026-12-01T00:00:02Z",
    "parked_resellers": [_ITEM],
}


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(from_attributes=True, json_schema_extra={"examples": [example]})


class NewRun(BaseModel):
    """The month to bill, or the day on which other billing periods close. It has one run, however often it is asked
    for."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"month": "2026-11"}]})

    month: str | None = Field(None, pattern=MONTH_PATTERN, description="A calendar month that is over in Berlin.")
    closes_on: Day | None = Field(None, description="Instead of the month, which closes on the 1st.")


class RunItemView(BaseModel):
    """What has become of one reseller in a run."""

    model_config = _example(_ITEM)

    reseller_id: str
    state: ItemState
    code: str | None = Field(description="Why it is parked, for machines.")
    reason: str | None = Field(description="Why it is parked, for people: mend that, then retry the run.")
    report: dict[str, Any] | None = Field(description="What the rules found, where the document would not be valid.")
    alarm: str | None = Field(description="Why the documents of its final invoice are missing; retried by itself.")


class RunView(BaseModel):
    """The billing of all periods that close on one day."""

    model_config = _example(_RUN)

    id: str
    month: str = Field(description="The month the periods begin in.")
    closes_on: date
    state: RunState = Field(description="What it does next, or how it ended.")
    resellers: int = Field(description="Those with days in the month.")
    parked: int = Field(description="Those whose data is wrong; they got neither invoice nor number.")
    finalised: int = Field(description="Those with a final invoice.")
    documents: int = Field(description="Final invoices whose documents are stored.")
    alarms: int = Field(description="Final invoices whose documents could not be made; the items say why.")
    invoices: int | None = Field(None, description="Drafts included. null in lists, as the sums are.")
    net_cents: int | None = None
    tax_cents: int | None = None
    gross_cents: int | None = None
    actor: str
    started_at: datetime
    finished_at: datetime | None
    parked_resellers: list[RunItemView] | None = Field(
        None, description=f"The first {PARKED_SHOWN}, with reasons; `items?state=parked` has all. null in lists."
    )


class NumberView(BaseModel):
    """One number, the invoice or correction that has it, and what became of that."""

    model_config = ConfigDict(from_attributes=True)

    sequence: int
    number: str
    invoice_id: str = Field(description="The invoice, or the one that this correction is of.")
    credit_note_id: str | None
    reseller_id: str
    issued_on: date
    gross_cents: int
    became: Became = Field(description="A cancelled invoice keeps its number.")
    related: list[str] = Field(description="An invoice's corrections, or the invoice that a correction is of.")
    reason: str | None = Field(description="Why it was cancelled or credited.")


class SeriesView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    series: str
    year: int
    last_number: int


class NumbersView(BaseModel):
    """One page of a series and year; `gaps` is of all of it."""

    model_config = _example(
        {
            "series": "PF",
            "year": 2026,
            "last_number": 1,
            "gaps": [],
            "items": [
                {
                    "sequence": 1,
                    "number": "PF-2026-000001",
                    "invoice_id": "inv_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "credit_note_id": None,
                    "reseller_id": "res_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "issued_on": "2026-12-01",
                    "gross_cents": 1786,
                    "became": "cancelled",
                    "related": ["PFK-2026-000001"],
                    "reason": "Falscher Empfänger",
                }
            ],
            "next_cursor": None,
            "all_series": [
                {"series": "PF", "year": 2026, "last_number": 1},
                {"series": "PFK", "year": 2026, "last_number": 1},
            ],
        }
    )

    series: str
    year: int
    last_number: int = Field(description="The last one given; 0 before the first.")
    gaps: list[int] = Field(description="Numbers given to nothing: always empty.")
    items: list[NumberView]
    next_cursor: str | None = Field(description="null on the last page")
    all_series: list[SeriesView] = Field(description="Every series and year that numbers were given in.")


@router.post(
    "/invoice-runs",
    operation_id="startInvoiceRun",
    summary="Bill a month",
    status_code=202,
    response_model=RunView,
    responses={200: {"model": RunView, "description": "It has run already."}, **refusals("month_not_over")},
)
async def start(new: NewRun, call: Operate) -> Response:
    """Creates the run of a month or of a closing day, or returns the one there is; a worker drives it, earlier ones
    first. A cancelled one begins anew. With `dry_run` it is driven to the end and undone, and answers its sums."""
    period = _period_of(new)
    before = await runs.find_run(call.session, period)
    begins = before is None or before.state is RunState.CANCELLED
    run = await runs.start_run(call.session, period, actor=call.principal.key_id, now=call.now)
    # That was read without a lock: somebody else may have begun it in the meantime.
    if begins and (run.actor, run.started_at) == (call.principal.key_id, call.now):
        await call.record(
            "invoice_run.start", [run.id], month=f"{run.month:%Y-%m}", closes_on=run.closes_on.isoformat()
        )
    await _rehearse(call, run)
    return await _accepted(call, run)


@router.get("/invoice-runs", operation_id="listInvoiceRuns", summary="List invoice runs", response_model=Page[RunView])
async def list_(call: Operate, page: PageDep) -> Response:
    """Newest first."""
    rows = await runs.list_runs(call.session, limit=page.fetch, before=page.after)
    return await call.answer(page.page(rows, _view, lambda row: row.id))


@router.get("/invoice-runs/{run_id}", operation_id="getInvoiceRun", summary="Read a run", response_model=RunView)
async def read(run_id: RunId, call: Operate) -> Response:
    """How far it is, and whom it could not bill for which reason."""
    return await call.answer(await _shown(call, await runs.get_run(call.session, run_id)), version=1, derived=True)


@router.get(
    "/invoice-runs/{run_id}/items",
    operation_id="listInvoiceRunItems",
    summary="What has become of each reseller in a run",
    response_model=Page[RunItemView],
)
async def items(
    run_id: RunId,
    call: Operate,
    page: PageDep,
    state: Annotated[ItemState | None, Query(description="drafted, parked or finalised")] = None,
) -> Response:
    """By reseller id."""
    run = await runs.get_run(call.session, run_id)
    rows = await runs.list_items(call.session, run.id, state=state, limit=page.fetch, after=page.after)
    return await call.answer(page.page(rows, RunItemView.model_validate, lambda row: row.reseller_id))


@router.post(
    "/invoice-runs/{run_id}/retry",
    operation_id="retryInvoiceRun",
    summary="Bill the parked resellers again",
    status_code=202,
    response_model=RunView,
    responses={200: {"model": RunView, "description": "Nobody is parked."}, **refusals("run_not_finished")},
)
async def retry(run_id: RunId, call: Operate) -> Response:
    """Once their data is mended. Those whose data is still wrong are parked again; final invoices stay as they are."""
    run = await runs.retry_parked(call.session, run_id)
    if run.parked:
        await call.record("invoice_run.retry", [run.id], parked=run.parked)
    await _rehearse(call, run)
    return await _accepted(call, run)


@router.post(
    "/invoice-runs/{run_id}/cancel",
    operation_id="cancelInvoiceRun",
    summary="Drop a run that has not issued invoices yet",
    response_model=RunView,
    responses=refusals("run_not_cancellable"),
)
async def cancel(run_id: RunId, call: Operate) -> Response:
    """Its drafts go. Starting the month again begins anew."""
    run = await runs.cancel_run(call.session, run_id)
    if call.session.is_modified(run):
        await call.record("invoice_run.cancel", [run.id])
    return await call.answer(await _shown(call, run))


@router.get(
    "/invoice-numbers",
    operation_id="listInvoiceNumbers",
    summary="Every number of a year and what became of it",
    response_model=NumbersView,
)
async def numbers(
    call: Operate,
    page: PageDep,
    series: Annotated[
        str | None, Query(pattern="^[A-Z0-9]{1,9}$", description="Yours when left out; with a K behind, corrections.")
    ] = None,
    year: Annotated[int | None, Query(ge=2020, le=2100, description="This one when left out.")] = None,
) -> Response:
    """In order, with the gaps: for the tax office, which wants to see that there are none."""
    report = await number_report(
        call.session,
        series=series or call.context.issuer.series,
        year=year or call.today.year,
        limit=page.fetch,
        after=_sequence(page.after),
    )
    entries, cursor = page.split(report.entries, lambda entry: entry.sequence)
    view = NumbersView(
        series=report.series,
        year=report.year,
        last_number=report.last_number,
        gaps=list(report.gaps),
        items=[NumberView.model_validate(entry) for entry in entries],
        next_cursor=cursor,
        all_series=[SeriesView.model_validate(each) for each in await all_series(call.session)],
    )
    return await call.answer(view)


def _period_of(new: NewRun) -> BillingPeriod:
    """Raises Invalid unless either the month or the closing day is given, and in this century."""
    if (new.month is None) == (new.closes_on is None):
        message = "name a month, or another day on which periods close"
        raise Invalid("Name either month or closes_on.", errors=[FieldError("/month", "month_or_closing_day", message)])
    if new.closes_on is None:
        return BillingMonth.parse(new.month or "")
    if not FIRST_CLOSING_DAY <= new.closes_on <= LAST_CLOSING_DAY:
        message = f"a day from {FIRST_CLOSING_DAY} to {LAST_CLOSING_DAY}"
        raise Invalid("No period closes then.", errors=[FieldError("/closes_on", "day_out_of_range", message)])
    return periods_closing(new.closes_on)[new.closes_on.day]


def _sequence(cursor: str | None) -> int:
    """The number the page before ended with. Raises Invalid for a cursor of another list."""
    if cursor is None:
        return 0
    if not cursor.isdecimal() or not cursor.isascii() or int(cursor) > INT4_MAX:
        message = "pass next_cursor of the page before, unchanged"
        raise Invalid("This cursor is none of ours.", errors=[FieldError("?cursor", "invalid_cursor", message)])
    return int(cursor)


async def _rehearse(call: Call, run: InvoiceRun) -> None:
    """What is only tried out is driven to its end in this transaction, which is then rolled back."""
    if call.dry_run and run.state in UNFINISHED:
        await call.session.flush()
        await runs.rehearse(call.session, run.id, now=call.now, issuer=call.context.issuer)


async def _accepted(call: Call, run: InvoiceRun) -> Response:
    status = 202 if run.state in UNFINISHED else 200
    return await call.answer(await _shown(call, run), status=status, location=f"/v1/invoice-runs/{run.id}")


async def _shown(call: Call, run: InvoiceRun) -> RunView:
    view = _view(run)
    parked: list[InvoiceRunItem] = []
    if run.parked:
        parked += await runs.list_items(call.session, run.id, state=ItemState.PARKED, limit=PARKED_SHOWN)
    sums = await runs.sums_of(call.session, run.id)
    view.invoices, view.net_cents = sums.invoices, sums.net_cents
    view.tax_cents, view.gross_cents = sums.tax_cents, sums.gross_cents
    view.parked_resellers = [RunItemView.model_validate(item) for item in parked]
    return view


def _view(run: InvoiceRun) -> RunView:
    return RunView(**run.model_dump(exclude={"month"}), month=str(BillingMonth.containing(run.month)))
