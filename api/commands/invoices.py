"""`postfachwerk invoice`: preview a month, bill it to the end, read invoices, retry those that were parked."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncSession

from api.composition import open_context
from billing import invoices, runs
from billing.documents.html import render_invoice
from billing.models import Invoice, InvoiceLine, InvoiceRun, ItemState, RunState
from billing.money import format_eur
from billing.periods import BillingMonth, berlin_day
from billing.preview import PreviewLine
from billing.preview import preview as preview_of
from provisioning.audit import record_events
from provisioning.core.settings import Settings

ACTOR = "command line"
SHOWN_MAX = 50
PARKED = 3
"""Exit code of a run that is finished, but not for everybody."""

FIXES = {
    "address_incomplete": "Complete it: PATCH /v1/resellers/{reseller_id}",
    "no_price": "Price the class: POST /v1/price-lists, valid_from on or before the month's first day",
    "tax_regime_unsupported": "Correct the address: PATCH /v1/resellers/{reseller_id}, or bill it by hand",
    "vat_check_pending": "Nothing: it is billed once VIES has answered; GET /v1/resellers/{reseller_id}/vat-checks",
    "vat_id_foreign": "Correct country or VAT id: PATCH /v1/resellers/{reseller_id}",
    "vat_id_invalid": "Correct the VAT id: PATCH /v1/resellers/{reseller_id}, or ask anew: "
    "POST /v1/resellers/{reseller_id}/vat-checks",
    "vat_id_missing": "Add the VAT id: PATCH /v1/resellers/{reseller_id}",
    "vat_treatment_changed": "Nothing: it is drafted anew by itself",
}

Begin = Callable[[AsyncSession, datetime], Awaitable[str | None]]
"""Finds or creates the run to drive; None when there is nothing to do."""

app = typer.Typer(
    no_args_is_help=True,
    help="Invoices: preview a month, run it, show what came out, retry what was parked.\n\n"
    "Workers bill each month by themselves once it is over in Berlin; `run` does the same by hand, at once. Whatever "
    "is killed on the way goes on where it stopped: every command here can be given again.",
)


def _month(text: str) -> BillingMonth:
    try:
        return BillingMonth.parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from error


# What a month will cost ---------------------------------------------------------------------------------


@app.command()
def preview(
    reseller: Annotated[str, typer.Option(help="Id of the reseller (res_…).")],
    month: Annotated[
        BillingMonth | None,
        typer.Option(parser=_month, metavar="YYYY-MM", help="The month; the running one when left out."),
    ] = None,
) -> None:
    """Show what a month will cost a reseller, by the very calculation that bills it. Writes nothing.

    Example: postfachwerk invoice preview --reseller res_… --month 2026-11
    """
    _console().print(asyncio.run(_preview(reseller, month)))


async def _preview(reseller_id: str, month: BillingMonth | None) -> Table:
    async with open_context(Settings()) as context, context.database.as_system() as session:
        now = context.clock.now()
        month = month or BillingMonth.containing(berlin_day(now))
        made = await preview_of(session, reseller_id, month, now=now)
    estimate = ", an estimate until the month is over" if made.is_estimate else ""
    sums = (made.total.net_cents, made.total.tax_cents, made.total.gross_cents)
    return _lines_table(f"Preview of {month} for {reseller_id}{estimate}", made.lines, sums)


# Billing a month ----------------------------------------------------------------------------------------


@app.command()
def run(
    month: Annotated[
        BillingMonth | None,
        typer.Option(parser=_month, metavar="YYYY-MM", help="The month to bill; last month when left out."),
    ] = None,
    due: Annotated[bool, typer.Option("--due", help="Bill every month that is over and not billed, in order.")] = False,
) -> None:
    """Bill a month to the end, here and now, and go on with a run that was interrupted.

    Earlier months that are not finished come first. A month is billed once, however often this is called.

    Exit code 0: finished. 3: finished, but some resellers are parked, with the reason and what mends it.

    Example: postfachwerk invoice run --month 2026-10
    """
    if due and month is not None:
        raise typer.BadParameter("choose one month with --month, or all that are due with --due")
    asyncio.run(_bill(_start_due if due else partial(_start, month=month)))


@app.command()
def retry(
    month: Annotated[
        BillingMonth | None,
        typer.Option(parser=_month, metavar="YYYY-MM", help="The month whose run it is; last month when left out."),
    ] = None,
) -> None:
    """Bill the parked resellers of a finished month again, once their data is mended.

    What is final stays as it is. Exit code 3 when some are still parked.

    Example: postfachwerk invoice retry --month 2026-10
    """
    asyncio.run(_bill(partial(_retry, month=month)))


async def _start(session: AsyncSession, now: datetime, month: BillingMonth | None) -> str:
    month = month or _last_month(now)
    before = await runs.find_run(session, month)
    begins = before is None or before.state is RunState.CANCELLED
    started = await runs.start_run(session, month, actor=ACTOR, now=now)
    if begins:
        await _record(session, "invoice_run.start", started.id, now=now, month=str(month))
    return started.id


async def _start_due(session: AsyncSession, now: datetime) -> str | None:
    """Create what is due. The run it returns is the last unfinished one, which brings all before it along."""
    for run_id in await runs.due_runs(session, now):
        created = await runs.get_run(session, run_id)
        await _record(session, "invoice_run.start", run_id, now=now, month=f"{created.month:%Y-%m}")
    unfinished: list[InvoiceRun] = []
    last: str | None = None
    while page := await runs.list_runs(session, before=last):
        unfinished += [each for each in page if each.state in runs.UNFINISHED]
        last = page[-1].id
    return max(unfinished, key=lambda each: each.month).id if unfinished else None


async def _retry(session: AsyncSession, now: datetime, month: BillingMonth | None) -> str:
    month = month or _last_month(now)
    found = await runs.find_run(session, month)
    if found is None:
        _stop(f"{month} has no invoice run yet. Begin it: postfachwerk invoice run --month {month}")
    retried = await runs.retry_parked(session, found.id)
    if retried.parked:
        await _record(session, "invoice_run.retry", retried.id, now=now, parked=retried.parked)
    return retried.id


async def _bill(begin: Begin) -> None:
    """Drive a run and those before it, and report on all of them. Raises Exit 3 when resellers are parked."""
    driven: list[str] = []
    console = _console()
    async with open_context(Settings()) as context:
        database, now = context.database, context.clock.now()
        async with database.as_system() as session:
            run_id = await begin(session, now)
        if run_id is None:
            console.print("Nothing is due: every month that is over is billed.")
            return
        with _bar(driven) as show_progress:
            await runs.continue_run(database, run_id, now=now, issuer=context.issuer, on_progress=show_progress)
        async with database.as_system() as session:
            finished = [await runs.get_run(session, each) for each in dict.fromkeys([*driven, run_id])]
            parked = [await _parked_table(session, each) for each in finished if each.parked]
    for each in finished:
        console.print(f"{each.month:%Y-%m}: {each.state}, {each.finalised} invoices, {each.parked} parked.")
    for table in parked:
        console.print(table)
    if parked:
        raise typer.Exit(PARKED)


@contextmanager
def _bar(driven: list[str]) -> Iterator[runs.OnProgress]:
    """A bar for each month on standard error, full when all its resellers are billed or parked; `driven` collects
    the runs it saw.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def show_progress(at: runs.Progress) -> None:
            if at.run_id not in tasks:
                tasks[at.run_id] = progress.add_task(str(at.month), total=None)
                driven.append(at.run_id)
            progress.update(
                tasks[at.run_id],
                description=f"{at.month} {at.state}",
                total=at.resellers,
                completed=at.parked + at.finalised,
            )

        yield show_progress


async def _parked_table(session: AsyncSession, of_run: InvoiceRun) -> Table:
    month = f"{of_run.month:%Y-%m}"
    more = f"The first {SHOWN_MAX}; all: GET /v1/invoice-runs/{of_run.id}/items?state=parked. "
    table = Table(
        "Reseller",
        "Why",
        "What mends it",
        title=f"Parked in {month}",
        caption=f"{more if of_run.parked > SHOWN_MAX else ''}Then: postfachwerk invoice retry --month {month}",
        title_justify="left",
        caption_justify="left",
    )
    for item in await runs.list_items(session, of_run.id, state=ItemState.PARKED, limit=SHOWN_MAX):
        fix = FIXES.get(item.code or "", "Mend the data.").format(reseller_id=item.reseller_id)
        table.add_row(item.reseller_id, escape(item.reason or ""), fix)
    return table


# Reading invoices ---------------------------------------------------------------------------------------


@app.command()
def show(
    invoice: Annotated[
        str | None, typer.Argument(metavar="[NUMBER|INV_ID]", help="Its number or id; the newest when left out.")
    ] = None,
    of_run: Annotated[str | None, typer.Option("--run", help="List those of one run (run_…).")] = None,
    html: Annotated[bool, typer.Option("--html", help="Write its page to standard output.")] = False,
) -> None:
    """Show an invoice with its lines, or list the newest ones, drafts included.

    Example: postfachwerk invoice show PF-2026-000001 --html > invoice.html
    """
    if invoice is None and html:
        raise typer.BadParameter("name the invoice whose page you want, such as PF-2026-000001")
    if invoice is not None and of_run is not None:
        raise typer.BadParameter("name one invoice, or list those of a run with --run")
    if invoice is None:
        _console().print(asyncio.run(_list(of_run)))
        return
    found, lines = asyncio.run(_read(invoice))
    if html:
        typer.echo(render_invoice(found, lines))
        return
    issued = f"issued {found.issued_on}, due {found.due_on}" if found.number else "draft"
    title = f"Invoice {found.number or found.id}, {found.period_starts_on:%Y-%m}, {issued}"
    _console().print(_lines_table(title, lines, (found.net_cents, found.tax_cents, found.gross_cents)))


async def _list(run_id: str | None) -> Table:
    table = Table("Id", "Number", "Month", "Reseller", "Status", "Issued", "Due")
    table.add_column("Total", justify="right")
    async with open_context(Settings()) as context, context.database.as_system() as session:
        if run_id is not None:
            await runs.get_run(session, run_id)
        for each in await invoices.list_invoices(session, None, run_id=run_id, limit=SHOWN_MAX):
            buyer = (each.buyer or {}).get("name", each.reseller_id)
            days = [str(day or "") for day in (each.issued_on, each.due_on)]
            month, total = f"{each.period_starts_on:%Y-%m}", format_eur(each.gross_cents, "en")
            table.add_row(each.id, each.number or "", month, escape(buyer), each.status, *days, total)
    return table


async def _read(name: str) -> tuple[Invoice, Sequence[InvoiceLine]]:
    async with open_context(Settings()) as context, context.database.as_system() as session:
        if name.startswith("inv_"):
            found = await invoices.get_invoice(session, None, name)
        else:
            by_number = await invoices.find_invoice_by_number(session, None, name)
            if by_number is None:
                _stop(f"There is no invoice {name}. `postfachwerk invoice show` lists the newest.")
            found = by_number
        return found, await invoices.lines_of(session, found)


def _lines_table(title: str, lines: Iterable[InvoiceLine | PreviewLine], sums: Sequence[int]) -> Table:
    """`sums` are net, tax and gross."""
    table = Table(title=escape(title), title_justify="left", show_footer=True)
    table.add_column("Customer", footer="Net\nVAT\n[bold]Total[/]", overflow="fold")
    table.add_column("Class")
    for name in ("Mailbox-days", "Days of month", "Price"):
        table.add_column(name, justify="right")
    table.add_column("Net", justify="right", footer="\n".join(format_eur(cents, "en") for cents in sums))
    for line in lines:
        price, net = format_eur(line.price_cents, "en"), format_eur(line.net_cents, "en")
        days = str(line.mailbox_days), str(line.base_days)
        table.add_row(escape(line.customer_name), line.service_class, *days, price, net)
    return table


def _console() -> Console:
    # A pipe has no width of its own; at the usual 80 columns ids and reasons would be torn apart.
    return Console(width=None if sys.stdout.isatty() else 200)


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


def _last_month(now: datetime) -> BillingMonth:
    return BillingMonth.containing(berlin_day(now)).previous()


async def _record(session: AsyncSession, action: str, run_id: str, *, now: datetime, **detail: object) -> None:
    await record_events(session, None, actor=ACTOR, action=action, resource_ids=[run_id], now=now, detail=detail)
