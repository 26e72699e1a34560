"""`postfachwerk invoice numbers`: every number of a year, invoices' and corrections', and what became of it."""

import asyncio
import csv
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncSession

from api.composition import open_context
from billing.credit_notes import SERIES_SUFFIX
from billing.money import format_eur
from billing.numbers import NumberReport, number_report
from billing.periods import berlin_day
from provisioning.core.settings import Settings

GAPS = 4
"""Exit code when a number was given to nothing."""

BLOCK = 1_000
COLUMNS = ("number", "issued_on", "gross_cents", "became", "related", "reason", "reseller_id", "invoice_id")


def numbers(
    year: Annotated[
        int | None, typer.Option(min=2020, max=2100, help="The year of issue; this one when left out.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="One series only, such as PF or PFK for its corrections.")] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write them as CSV instead.")] = None,
) -> None:
    """Show every number of a year, of invoices and of corrections, and that there is no gap: for the tax office.

    Exit code 4: there is a gap, which is named.

    Example: postfachwerk invoice numbers --year 2026 --output numbers-2026.csv
    """
    reports = asyncio.run(_read(year, series))
    if output is None:
        # A pipe has no width of its own; at the usual 80 columns numbers and reasons would be torn apart.
        console = Console(width=None if sys.stdout.isatty() else 200)
        for report in reports:
            console.print(_table(report))
    else:
        _write(output, reports)
    for report in reports:
        typer.echo(f"{report.series} {report.year}: {report.last_number} numbers, {_gaps(report)}.")
    if any(report.gaps for report in reports):
        raise typer.Exit(GAPS)


async def _read(year: int | None, series: str | None) -> list[NumberReport]:
    async with open_context(Settings()) as context, context.database.as_system() as session:
        own = context.issuer.series
        wanted = [series] if series else [own, own + SERIES_SUFFIX]
        of_year = year or berlin_day(context.clock.now()).year
        return [await _whole(session, each, of_year) for each in wanted]


async def _whole(session: AsyncSession, series: str, year: int) -> NumberReport:
    page = report = await number_report(session, series=series, year=year, limit=BLOCK)
    while len(page.entries) == BLOCK:
        after = page.entries[-1].sequence
        page = await number_report(session, series=series, year=year, limit=BLOCK, after=after)
        report = replace(report, entries=report.entries + page.entries)
    return report


def _gaps(report: NumberReport) -> str:
    return f"gaps at {', '.join(map(str, report.gaps))}" if report.gaps else "no gaps"


def _table(report: NumberReport) -> Table:
    table = Table(title=f"{report.series} {report.year}", title_justify="left")
    for name in ("Number", "Issued", "Total", "Became", "See", "Why", "Reseller"):
        table.add_column(name, justify="right" if name == "Total" else "left", overflow="fold")
    for each in report.entries:
        total, related = format_eur(each.gross_cents, "en"), ", ".join(each.related)
        words = (str(each.issued_on), total, each.became, related, escape(each.reason or ""), each.reseller_id)
        table.add_row(each.number, *words)
    return table


def _write(path: Path, reports: Iterable[NumberReport]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for report in reports:
            for each in report.entries:
                texts = {"related": " ".join(each.related), "reason": _no_formula(each.reason or "")}
                writer.writerow({**asdict(each), **texts})


def _no_formula(text: str) -> str:
    """A spreadsheet would calculate what begins so."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
