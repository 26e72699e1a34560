"""`postfachwerk invoice`: preview a month, bill it to the end, read invoices, retry those that were parked."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncSession

from api.commands.invoice_reading import SHOWN_MAX, parked_table, read_invoice, stop
from api.composition import open_context
from billing import differences, invoices, rating, runs, terms
from billing.models import UNFINISHED, Invoice, InvoiceLine, InvoiceRun, RunState
from billing.money import format_eur
from billing.periods import BillingMonth, BillingPeriod, berlin_day, periods_closing
from billing.preview import PreviewLine
from billing.preview import preview as preview_of
from provisioning.audit import record_events
from provisioning.core.settings import Settings

ACTOR = "command line"
PARKED = 3
"""Exit code of a run that is finished, but not for everybody."""

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


def _closing(text: str) -> BillingPeriod:
    try:
        closes_on = date.fromisoformat(text)
        return periods_closing(closes_on)[closes_on.day]
    except ValueError as error:
        raise typer.BadParameter(f"a day is written YYYY-MM-DD, such as 2026-11-15, not {text!r}.") from error


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
    table, reasons = asyncio.run(_preview(reseller, month))
    console = _console()
    console.print(table)
    for line in reasons:
        console.print(line, markup=False, highlight=False)


async def _preview(reseller_id: str, month: BillingMonth | None) -> tuple[Table, list[str]]:
    """The lines, and in words what sets them apart from the period before."""
    async with open_context(Settings()) as context, context.database.as_system() as session:
        now = context.clock.now()
        made = await preview_of(session, reseller_id, month, now=now)
        found = await differences.difference(session, made, now=now)
    estimate = ", an estimate until the month is over" if made.is_estimate else ""
    sums = _sums(made.total)
    title = f"Preview of {_period_name(made.period)} for {reseller_id}{estimate}"
    return _lines_table(title, made.lines, sums), _reasons(found)


def _reasons(found: differences.Difference | None) -> list[str]:
    if found is None:
        return []
    change = format_eur(found.net_difference_cents, "en")
    lines = [f"{change} net beside {_period_name(found.before)}:"]
    lines += [f"  {differences.explain_reason(each, 'en')}" for each in found.reasons]
    return [*lines, f"  and {found.more_reasons} more"] if found.more_reasons else lines


# Billing a month ----------------------------------------------------------------------------------------


@app.command()
def run(
    month: Annotated[
        BillingMonth | None,
        typer.Option(parser=_month, metavar="YYYY-MM", help="The month to bill; last month when left out."),
    ] = None,
    closes_on: Annotated[
        BillingPeriod | None,
        typer.Option(parser=_closing, metavar="YYYY-MM-DD", help="Another day on which billing periods close."),
    ] = None,
    due: Annotated[bool, typer.Option("--due", help="Bill all that is over and not billed, in order.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Bill to the end and undo it: show the sums, write nothing.")
    ] = False,
) -> None:
    """Bill a month to the end, here and now, and go on with a run that was interrupted.

    Earlier months that are not finished come first. A month is billed once, however often this is called.

    Exit code 0: finished. 3: finished, but some resellers are parked, with the reason and what mends it.

    Example: postfachwerk invoice run --month 2026-10
    """
    if sum((due, month is not None, closes_on is not None)) > 1:
        raise typer.BadParameter("choose one of --month, --closes-on and --due")
    begin = _start_due if due else partial(_start, period=month or closes_on)
    asyncio.run(_rehearse(begin) if dry_run else _bill(begin))


@app.command()
def retry(
    month: Annotated[
        BillingMonth | None,
        typer.Option(parser=_month, metavar="YYYY-MM", help="The month whose run it is; last month when left out."),
    ] = None,
    closes_on: Annotated[
        BillingPeriod | None,
        typer.Option(parser=_closing, metavar="YYYY-MM-DD", help="Instead, the day on which its periods closed."),
    ] = None,
) -> None:
    """Bill the parked resellers of a finished month again, once their data is mended.

    What is final stays as it is. Exit code 3 when some are still parked.

    Example: postfachwerk invoice retry --month 2026-10
    """
    if month is not None and closes_on is not None:
        raise typer.BadParameter("choose one of --month and --closes-on")
    asyncio.run(_bill(partial(_retry, period=month or closes_on)))


async def _start(session: AsyncSession, now: datetime, period: BillingPeriod | None) -> str:
    period = period or _last_month(now)
    before = await runs.find_run(session, period)
    begins = before is None or before.state is RunState.CANCELLED
    started = await runs.start_run(session, period, actor=ACTOR, now=now)
    if begins:
        await _record_start(session, started, now=now)
    return started.id


async def _start_due(session: AsyncSession, now: datetime) -> str | None:
    """Create what is due. The run it returns is the last unfinished one, which brings all before it along."""
    for run_id in await runs.due_runs(session, now):
        await _record_start(session, await runs.get_run(session, run_id), now=now)
    unfinished: list[InvoiceRun] = []
    last: str | None = None
    while page := await runs.list_runs(session, before=last):
        unfinished += [each for each in page if each.state in UNFINISHED]
        last = page[-1].id
    return max(unfinished, key=lambda each: each.closes_on).id if unfinished else None


async def _retry(session: AsyncSession, now: datetime, period: BillingPeriod | None) -> str:
    period = period or _last_month(now)
    found = await runs.find_run(session, period)
    if found is None:
        begin = f"postfachwerk invoice run {_option(period.named, period.ends_on)}"
        stop(f"{_period_name(period)} has no invoice run yet. Begin it: {begin}")
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
            console.print("Nothing is due: all that is over is billed.")
            return
        with _bar(driven) as show_progress:
            await runs.continue_run(database, run_id, now=now, issuer=context.issuer, on_progress=show_progress)
        async with database.as_system() as session:
            finished = [await runs.get_run(session, each) for each in dict.fromkeys([*driven, run_id])]
            parked = [await parked_table(session, each, _option_of(each)) for each in finished if each.parked]
    for each in finished:
        console.print(f"{runs.run_name(each)}: {each.state}, {each.finalised} invoices, {each.parked} parked.")
    for table in parked:
        console.print(table)
    if parked:
        raise typer.Exit(PARKED)


async def _rehearse(begin: Begin) -> None:
    """Show what a run would bill, by running it in a transaction that is rolled back."""
    console = _console()
    async with open_context(Settings()) as context, context.database.as_system() as session:
        now = context.clock.now()
        run_id = await begin(session, now)
        if run_id is None:
            console.print("Nothing is due: all that is over is billed.")
            return
        await session.flush()
        for each in await runs.rehearse(session, run_id, now=now, issuer=context.issuer):
            sums = await runs.sums_of(session, each.id)
            amounts = [format_eur(cents, "en") for cents in (sums.net_cents, sums.tax_cents, sums.gross_cents)]
            console.print(
                f"{runs.run_name(each)}: {sums.invoices} invoices, {each.parked} parked, net {amounts[0]}, "
                f"VAT {amounts[1]}, total {amounts[2]}.",
                highlight=False,
            )
        await session.rollback()
    console.print("This was a dry run: nothing was written.")


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
                tasks[at.run_id] = progress.add_task("", total=None)
                driven.append(at.run_id)
            progress.update(
                tasks[at.run_id],
                description=f"{at.closes_on} {at.state}",
                total=at.resellers,
                completed=at.parked + (at.documents if at.state is RunState.DOCUMENTS else at.finalised),
            )

        yield show_progress


# Reading invoices ---------------------------------------------------------------------------------------


@app.command()
def show(
    invoice: Annotated[
        str | None, typer.Argument(metavar="[NUMBER|INV_ID]", help="Its number or id; the newest when left out.")
    ] = None,
    of_run: Annotated[str | None, typer.Option("--run", help="List those of one run (run_…).")] = None,
    html: Annotated[bool, typer.Option("--html", help="Write its page to standard output.")] = False,
    pdf: Annotated[Path | None, typer.Option("--pdf", metavar="FILE", help="Write its PDF to a file.")] = None,
    xml: Annotated[Path | None, typer.Option("--xml", metavar="FILE", help="Write its XRechnung to a file.")] = None,
) -> None:
    """Show an invoice with its lines, or list the newest ones, drafts included.

    Example: postfachwerk invoice show PF-2026-000001 --pdf invoice.pdf --xml invoice.xml
    """
    if invoice is None and (html or pdf or xml):
        raise typer.BadParameter("name the invoice whose document you want, such as PF-2026-000001")
    if invoice is not None and of_run is not None:
        raise typer.BadParameter("name one invoice, or list those of a run with --run")
    if invoice is None:
        _console().print(asyncio.run(_list(of_run)))
        return
    wanted = {"pdf": pdf, "xrechnung": xml}
    found, lines, files, page = asyncio.run(
        read_invoice(invoice, [kind for kind, path in wanted.items() if path], with_page=html)
    )
    for kind, path in wanted.items():
        if path:
            path.write_bytes(files[kind])
    if pdf or xml:
        return
    if html:
        typer.echo(page)
        return
    issued = f"issued {found.issued_on}, due {found.due_on}" if found.number else "draft"
    title = f"Invoice {found.number or found.id}, {found.period_starts_on:%Y-%m}, {issued}"
    _console().print(_lines_table(title, lines, _sums(found)))


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


def _sums(of: Invoice | rating.Total) -> dict[str, int]:
    """Each sum with its name; what was taken off only where something was."""
    taken = {"Allowances": -of.allowances_cents} if of.allowances_cents else {}
    return {**taken, "Net": of.net_cents, "VAT": of.tax_cents, "[bold]Total[/]": of.gross_cents}


def _lines_table(title: str, lines: Iterable[InvoiceLine | PreviewLine], sums: Mapping[str, int]) -> Table:
    table = Table(title=escape(title), title_justify="left", show_footer=True)
    table.add_column("Customer", footer="\n".join(sums), overflow="fold")
    table.add_column("Class")
    for name in ("Mailbox-days", "Days of month", "Price"):
        table.add_column(name, justify="right")
    table.add_column("Net", justify="right", footer="\n".join(format_eur(cents, "en") for cents in sums.values()))
    for line in lines:
        price, net = format_eur(line.price_cents, "en"), format_eur(line.net_cents, "en")
        days = str(line.mailbox_days), str(line.base_days)
        kind = "" if line.kind == terms.LineKind.USAGE else f" ({line.kind})"
        table.add_row(escape(line.customer_name), f"{line.service_class}{kind}", *days, price, net)
    return table


def _console() -> Console:
    # A pipe has no width of its own; at the usual 80 columns ids and reasons would be torn apart.
    return Console(width=None if sys.stdout.isatty() else 200)


def _last_month(now: datetime) -> BillingMonth:
    return BillingMonth.containing(berlin_day(now)).previous()


def _period_name(period: BillingPeriod) -> str:
    """ "2026-11", or the days of a period that is no calendar month."""
    return str(period.named if period.starts_on.day == 1 else period)


def _option(month: BillingMonth, closes_on: date) -> str:
    return f"--month {month}" if closes_on == month.ends_on else f"--closes-on {closes_on}"


async def _record_start(session: AsyncSession, started: InvoiceRun, *, now: datetime) -> None:
    days = {"month": f"{started.month:%Y-%m}", "closes_on": started.closes_on.isoformat()}
    await _record(session, "invoice_run.start", started.id, now=now, **days)


async def _record(session: AsyncSession, action: str, run_id: str, *, now: datetime, **detail: object) -> None:
    await record_events(session, None, actor=ACTOR, action=action, resource_ids=[run_id], now=now, detail=detail)


def _option_of(run: InvoiceRun) -> str:
    """How the command line names a run."""
    return _option(BillingMonth.containing(run.month), run.closes_on)
