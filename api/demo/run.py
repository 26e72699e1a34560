"""`postfachwerk demo`: a law office from its staff list to its invoice, over REST, on a clock that is set by hand."""

import asyncio
import os
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from rich.console import Console

from api import backends, composition
from api.demo.cells import make_real, running_cells, show_settings
from api.demo.dashboard import Dashboard, DemoError
from api.demo.roster import Entry, RosterError, read_roster
from api.demo.story import Story, first_key, last_month, make_reseller, morning, work_through
from api.main import create_app
from api.worker import Schedules, create_jobs, worker_beside
from provisioning.cell.layout import Cell
from provisioning.core.clock import TestClock
from provisioning.core.settings import Settings

ROSTER = "kanzlei.csv"

# The demo's month passes in seconds, so its schedules come round every second.
SCHEDULES = Schedules(sweep="* * * * * *", billing="* * * * * *", dunning="* * * * * *", housekeeping="*/15 * * * *")


def demo(
    once: Annotated[
        bool, typer.Option("--once", envvar="POSTFACHWERK_DEMO_ONCE", help="Stop after the job, with exit code 0.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; a free one when taken.")] = 8000,
    cell: Annotated[
        bool,
        typer.Option(
            "--cell",
            help="On real data centres of Dovecot and SOGo on this machine, where mailboxes can be opened; needs "
            "`postfachwerk cell install`, as root, before.",
        ),
    ] = False,
    file: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Another staff list (CSV).")] = None,
) -> None:
    """Onboard a law office of 12 people and bill its month, from nothing to the invoice.

    Starts its own PostgreSQL in a temporary folder, the API and a worker; orders mailboxes during last month over
    REST, shares calendars, lets the month end on a test clock, and waits for the scheduled invoice. Then it keeps
    serving, so that you can look around in the docs explorer. Nothing is left behind when it stops.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    # Asked to end is as good as Ctrl-C: data centres that were brought up go down again.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        entries = read_roster(file or _roster())
        asyncio.run(_demo(Story(console), entries, once=once, cell=cell, port=_free_port(port)))
    except (DemoError, RosterError) as error:
        console.print(f"[red]{error}[/]", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print("Stopped; nothing is left behind.")


def _roster() -> Path:
    """Beside the packages in a checkout, inside this one in a wheel."""
    here = Path(__file__).parent
    return next(path for path in (here / ROSTER, here.parent.parent / "examples" / ROSTER) if path.exists())


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            free: int = probe.getsockname()[1]
            return free
    raise DemoError("No port of 127.0.0.1 can be listened on.")


async def _demo(story: Story, entries: Sequence[Entry], *, once: bool, cell: bool, port: int) -> None:
    clock = TestClock(morning(last_month(), day=1), running=True)
    with tempfile.TemporaryDirectory(prefix="postfachwerk-demo-") as folder:
        # As root, PostgreSQL runs as nobody and has to get in.
        os.chmod(folder, 0o711)  # noqa: S103  # nobody may pass through, not look around
        # Never a real database nor the tax offices' service, whatever the environment says.
        settings = Settings(
            _env_file=None,
            database_url=None,
            secret_key=None,
            state_directory=Path(folder) / "postgresql",
            public_url=f"http://127.0.0.1:{port}",
            vies_url="",
            cells=Path(folder) / "cells" / "cells.json" if cell else None,
        )
        directory = Path(folder) / "cells"
        with ExitStack() as stack:
            cells = stack.enter_context(running_cells(story, directory, entries)) if cell else []
            async with _serving(story, settings, clock, port=port) as key:
                secret = await _tell(story, settings.public_url, key, entries, cells=cells)
                if not once:
                    story.console.print(
                        f"\nLook around: [bold]{settings.public_url}/docs[/], press Authorize and paste this key:\n"
                        f"[bold]{secret}[/]\nCtrl-C stops it.",
                        soft_wrap=True,
                    )
                    await asyncio.Event().wait()


async def _tell(story: Story, url: str, key: str, entries: Sequence[Entry], *, cells: Sequence[Cell]) -> str:
    """All of the story; the secret of the reseller's key."""
    month = last_month()
    async with Dashboard(url, key) as operator:
        await make_real(operator, cells)
        secret = await make_reseller(operator, month)
    async with Dashboard(url, secret) as dashboard:
        await work_through(story, dashboard, entries, month)
        if cells:
            await show_settings(story, dashboard, cells)
    return secret


@asynccontextmanager
async def _serving(story: Story, settings: Settings, clock: TestClock, *, port: int) -> AsyncIterator[str]:
    """PostgreSQL, API and worker, running until the block ends, and the operator's key."""
    started = time.perf_counter()
    with story.console.status("Starting PostgreSQL, API and worker …"):
        async with (
            composition.open_context(settings, test_clock=clock) as context,
            backends.open_drivers(context.database, cells_file=settings.cells, lag=1, retry_seconds=0.05) as drivers,
        ):
            jobs = create_jobs(context, drivers, schedules=SCHEDULES)
            app = create_app(context, background=lambda: worker_beside(jobs, concurrency=settings.worker_concurrency))
            server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False))
            serving = asyncio.create_task(server.serve())
            while not server.started and not serving.done():  # noqa: ASYNC110  # uvicorn has no event for it
                await asyncio.sleep(0.01)
            story.times.append(("Start PostgreSQL, migrate, start API and worker", time.perf_counter() - started))
            try:
                yield await first_key(context)
            finally:
                server.should_exit = True
                await serving
