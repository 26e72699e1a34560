"""`postfachwerk export`: files for the tax adviser."""

import asyncio
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from api.composition import open_context
from billing.booking_export import Booked, books_for, exported_days, write_bookings
from billing.models import ChartName
from billing.money import format_eur
from billing.periods import berlin_day
from provisioning.core.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Exports: bookings for the tax adviser.")


# Without a callback Typer would make the only command the group itself.
@app.callback()
def _group() -> None:
    pass


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter("a day is written YYYY-MM-DD, such as 2026-11-01") from error


@app.command()
def datev(
    *,
    from_: Annotated[
        date | None,
        typer.Option("--from", parser=_day, metavar="DAY", help="First day; that of last month when left out."),
    ] = None,
    to: Annotated[
        date | None,
        typer.Option(parser=_day, metavar="DAY", help="First day left out; the 1st after --from when not given."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The ZIP archive; datev-FROM-TO.zip when left out.")] = None,
    consultant: Annotated[int | None, typer.Option(min=1001, max=9_999_999, help="Berater; as set.")] = None,
    client: Annotated[int | None, typer.Option(min=1, max=99_999, help="Mandant; as set.")] = None,
    chart: Annotated[ChartName | None, typer.Option(help="SKR03 or SKR04; as set.")] = None,
) -> None:
    """Write invoices, payments, fees and bad debts as DATEV batches (EXTF), one a month, with the debtors they name.

    Every batch is read back; its accounts come to what invoices and payments say, or there is no file.

    Example: postfachwerk export datev --from 2026-11-01 --to 2026-12-01
    """
    given = {"consultant": consultant, "client": client, "chart": chart}
    path, booked = asyncio.run(
        _datev(from_, to, output, {name: value for name, value in given.items() if value is not None})
    )
    sums = booked.sums
    amounts = {
        "invoices": sums.invoice_cents,
        "payments": sums.payment_cents,
        "fees": sums.fee_cents,
        "bad debts": sums.write_off_cents,
    }
    said = ", ".join(f"{format_eur(cents, 'en')} of {name}" for name, cents in amounts.items())
    typer.echo(f"{path}: {sums.bookings} bookings, {said}.")


async def _datev(
    from_: date | None, to: date | None, output: Path | None, given: dict[str, Any]
) -> tuple[Path, Booked]:
    async with open_context(Settings()) as context, context.database.as_system() as session:
        now = context.clock.now()
        starts_on, ends_on = exported_days(from_, to, today=berlin_day(now))
        path = output or Path(f"datev-{starts_on}-{ends_on}.zip")
        books = books_for(context.books, given)
        # Only a file that adds up gets its name.
        unchecked = path.with_name(f"{path.name}.unchecked")
        try:
            with unchecked.open("wb") as file:
                booked = await write_bookings(session, file, books=books, starts_on=starts_on, ends_on=ends_on, now=now)
            unchecked.replace(path)
        finally:
            unchecked.unlink(missing_ok=True)
        return path, booked
