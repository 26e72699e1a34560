"""What runs in the measured processes: the service as it is deployed, its worker, and the floor."""

import asyncio
import sys
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from socket import socket
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI

from api.backends import open_drivers
from api.context import Context
from api.main import create_app
from api.worker import Schedules, create_jobs, run_worker
from bench.floor import create_floor
from bench.invoices import ISSUER
from provisioning.core.clock import SystemClock
from provisioning.core.database import Database
from provisioning.core.log import configure_logging
from provisioning.resolver import SandboxZone

PEPPER = b"the bench's own pepper, 32 characters or more"
POOL_SIZE = 10  # the default of POSTFACHWERK_DATABASE_POOL_SIZE
WORKER_CONCURRENCY = 10


def serve_api(listening: socket, url: str, log: Path) -> None:
    """`postfachwerk serve --no-worker`, logging every request as in production."""
    _log_to(log)
    uvloop.run(_with_context(url, lambda context: _serve(create_app(context), listening)))


def serve_floor(listening: socket, url: str, log: Path) -> None:
    _log_to(log)
    uvloop.run(_serve(create_floor(url, pool_size=POOL_SIZE), listening))


def work(url: str, log: Path, cells_file: Path | None = None) -> None:
    """`postfachwerk work`."""
    _log_to(log)
    asyncio.run(_with_context(url, partial(_work, cells_file=cells_file)))


async def _with_context(url: str, run: Any) -> None:
    database = Database(url, pool_size=POOL_SIZE)
    context = Context(database=database, clock=SystemClock(), pepper=PEPPER, resolver=SandboxZone(), issuer=ISSUER)
    try:
        await run(context)
    finally:
        await database.close()


async def _work(context: Context, *, cells_file: Path | None) -> None:
    async with open_drivers(context.database, cells_file=cells_file) as drivers:
        jobs = create_jobs(context, drivers, schedules=Schedules())
        await run_worker(jobs, concurrency=WORKER_CONCURRENCY, signals=True)


def _serve(app: FastAPI, listening: socket) -> Coroutine[Any, Any, None]:
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5)
    return uvicorn.Server(config).serve(sockets=[listening])


def _log_to(log: Path) -> None:
    sys.stderr = log.open("a")
    configure_logging(json=True, level="INFO")
