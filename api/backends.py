"""The drivers of all kinds of backend there are: opened here, handed to whoever reconciles."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from provisioning.core.database import Database
from provisioning.drivers.base import Driver
from provisioning.drivers.open_cell.driver import OpenCellDriver
from provisioning.drivers.sandbox.driver import SandboxDriver


@asynccontextmanager
async def open_drivers(
    database: Database, *, cells_file: Path | None = None, lag: int = 0, retry_seconds: float = 1.0
) -> AsyncIterator[dict[str, Driver]]:
    """One driver for each kind of backend that a data centre can name."""
    cells = OpenCellDriver(cells_file)
    try:
        yield {"sandbox": SandboxDriver(database, lag=lag, retry_seconds=retry_seconds), "open_cell": cells}
    finally:
        await cells.close()
