"""The `postfachwerk` command."""

import asyncio
from functools import partial
from typing import Annotated

import typer
import uvicorn
from pydantic import ValidationError
from rich.console import Console

from api import backends, composition
from api.commands import cell, dunning, exports, invoice_numbers, invoices, keys, payments
from api.demo.run import demo
from api.main import create_app
from api.worker import Schedules, create_jobs, run_worker, worker_beside
from provisioning.core.embedded import EmbeddedPostgres, EmbeddedPostgresError
from provisioning.core.errors import AppError
from provisioning.core.log import configure_logging
from provisioning.core.migrations import migrate as migrate_database
from provisioning.core.settings import SETTINGS_PREFIX, ConfigurationError, Settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Order mailboxes, share, pin data to a data centre, bill the month.\n\n"
    "New here? `postfachwerk demo` needs nothing but itself. In production: `migrate`, then `serve --no-worker` and "
    "as many `work` as you like, with POSTFACHWERK_DATABASE_URL set. Every setting stands in the README.",
)
app.add_typer(keys.app, name="key")
invoices.app.command("numbers")(invoice_numbers.numbers)
app.add_typer(invoices.app, name="invoice")
payments.app.command("dunning")(dunning.dun)
app.add_typer(payments.app, name="payments")
app.add_typer(exports.app, name="export")
app.add_typer(cell.app, name="cell")
app.command()(demo)


def main() -> None:
    """Run the command; what the user can mend is said in one line, without a traceback."""
    try:
        app()
    except ValidationError as error:
        for each in error.errors():
            _complain(f"{SETTINGS_PREFIX}{str(each['loc'][0]).upper()}: {each['msg']}")
        raise SystemExit(1) from None
    except (cell.CellError, ConfigurationError, EmbeddedPostgresError, AppError) as error:
        _complain(str(error))
        raise SystemExit(1) from None


def _complain(message: str) -> None:
    Console(stderr=True).print(message, style="red", soft_wrap=True, highlight=False, markup=False)


@app.callback()
def configure(context: typer.Context) -> None:
    # What a person reads on the screen is not mixed with what a machine collects.
    settings = Settings()
    level = settings.log_level if context.invoked_subcommand in ("serve", "work") else "ERROR"
    configure_logging(json=settings.log_format == "json", level=level)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    worker: Annotated[bool, typer.Option(help="Run a worker in this process, for a single machine.")] = True,
) -> None:
    """Serve the API, with a worker beside it unless told otherwise.

    Without POSTFACHWERK_DATABASE_URL it starts its own PostgreSQL. Docs explorer: /docs.
    """
    settings = Settings()
    asyncio.run(_serve(settings, host=host, port=port, worker=worker))


async def _serve(settings: Settings, *, host: str, port: int, worker: bool) -> None:
    async with (
        composition.open_context(settings) as context,
        backends.open_drivers(context.database, cells_file=settings.cells) as drivers,
    ):
        stalled = settings.worker_stalled_seconds
        jobs = create_jobs(context, drivers, schedules=Schedules(), stalled_seconds=stalled)
        beside = partial(worker_beside, jobs, concurrency=settings.worker_concurrency, stalled_seconds=stalled)
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(context, background=beside if worker else None),
                host=host,
                port=port,
                log_config=None,
                access_log=False,
                proxy_headers=True,
                timeout_graceful_shutdown=10,
            )
        )
        await server.serve()


@app.command()
def work() -> None:
    """Run a worker: reconciles mailboxes, sweeps, and bills the month. Start as many as you like, anywhere."""
    asyncio.run(_work(Settings()))


async def _work(settings: Settings) -> None:
    async with (
        composition.open_context(settings) as context,
        backends.open_drivers(context.database, cells_file=settings.cells) as drivers,
    ):
        stalled = settings.worker_stalled_seconds
        jobs = create_jobs(context, drivers, schedules=Schedules(), stalled_seconds=stalled)
        await run_worker(jobs, concurrency=settings.worker_concurrency, signals=True, stalled_seconds=stalled)


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema. Safe to run twice, and while the old version still serves."""
    settings = Settings()
    console = Console(stderr=True)
    with console.status("Migrating …"):
        if settings.database_url is not None:
            migrate_database(settings.database_url)
        else:
            with EmbeddedPostgres(settings.state_directory) as embedded:
                migrate_database(embedded.url("postfachwerk"))
    console.print("[green]The database is at the newest schema.[/]")


if __name__ == "__main__":
    main()
