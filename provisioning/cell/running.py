"""Bringing a whole cell up and down, and saying how it is."""

import fcntl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from provisioning.cell import daemons, database, mail
from provisioning.cell.certificates import ensure_certificates
from provisioning.cell.layout import Cell, Tls, alone, make_cell, write_registry
from provisioning.cell.packages import require_packages
from provisioning.cell.processes import await_ready, is_running, start, stop

# In the order in which they end: what customers reach first, what others need last.
DAEMONS = ("gateway", "postfix", "agent", "groupware", "dovecot", "memcached", "postgresql")


def up(
    directory: Path,
    name: str,
    *,
    address: str | None = None,
    tls: Tls | None = None,
    relay: str = "",
    durable: bool = True,
) -> Cell:
    """Make the cell when there is none and start what does not run; returns when everything serves.

    `relay` is where mail to other domains goes, as [host]:port; to whom their DNS names when empty.
    `durable=False` is for tests: a power cut may then lose everything, a kill still nothing. Raises CellError.
    """
    require_packages()
    with _making(directory):
        cell = make_cell(directory, name, address=address, tls=tls)
        ensure_certificates(cell)
        write_registry(cell)
    with alone(cell), ThreadPoolExecutor() as threads:
        database.initialise(cell)
        start(cell, daemons.memcached(cell))
        server = daemons.postgresql(cell, durable=durable)
        if not is_running(cell, server.name):
            database.clear_traces(cell)
        start(cell, server)
        await_ready(cell, server)
        database.prepare(cell)
        with_postfix = mail.why_not(cell) is None
        if with_postfix:
            mail.prepare_sockets(cell)
        waiting = [
            daemons.dovecot(cell, postfix=with_postfix),
            daemons.groupware(cell),
            daemons.agent(cell),
            daemons.gateway(cell),
        ]
        if with_postfix:
            waiting.append(mail.postfix(cell, relay=relay))
        for each in waiting:
            start(cell, each)
        for _ in threads.map(lambda each: await_ready(cell, each), waiting):
            pass
    return cell


def down(cell: Cell) -> None:
    """End everything that runs of the cell; what lies on disk stays."""
    with alone(cell):
        for name in DAEMONS:
            stop(cell, name)


def services(cell: Cell) -> dict[str, bool]:
    """Which daemon of the cell runs."""
    return {
        name: is_running(cell, name) for name in reversed(DAEMONS) if name != "postfix" or mail.why_not(cell) is None
    }


@contextmanager
def _making(directory: Path) -> Iterator[None]:
    """Alone in the directory: cells share an authority and the password for each other."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "making.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
