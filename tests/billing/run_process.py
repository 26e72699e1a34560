"""A process of its own that drives an invoice run: to its end, or to be killed again and again on the way.

python -m tests.billing.run_process continue URL RUN_ID
python -m tests.billing.run_process killed URL RUN_ID
"""

import asyncio
import os
import signal
import sys
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.orm import configure_mappers

from billing import drafts, issuing, runs, validation
from provisioning.core.database import Database
from tests.billing.ledger_factory import IN_DECEMBER, ISSUER

# Small enough for several blocks in each phase, so that some are done and some are not when a process dies.
drafts.BLOCK = issuing.BLOCK = validation.BLOCK = 2


class Doom:
    """Kills this process, as the kernel would, before its n-th statement or commit."""

    def __init__(self, database: Database, n: int) -> None:
        self.left = n
        engine = database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", self.step)
        event.listen(engine, "commit", self.step)

    def step(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


async def drive(url: str, run_id: str, *, killed_at: int | None = None) -> None:
    database = Database(url, pool_size=2)
    if killed_at is not None:
        Doom(database, killed_at)
    await runs.continue_run(database, run_id, now=IN_DECEMBER, issuer=ISSUER)
    await database.close()


def progress(url: str, run_id: str) -> tuple[Any, ...] | None:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("set role postfachwerk_system")
        query = """
            select state, finalised, (select count(validated_hash) from invoice_run_item),
                (select count(*) from invoice_document)
            from invoice_run where id = %s
            """
        return connection.execute(query, (run_id,)).fetchone()


def drive_killed(url: str, run_id: str) -> int:
    """Let one child after the other continue the run, each killed a step later than the last; how many died.

    When one of them got something done, the next is killed at its first step again: so every statement and
    every commit of every phase and block has its death.
    """
    configure_mappers()  # once, and not by every child
    kills, killed_at = 0, 1
    while True:
        before = progress(url, run_id)
        child = os.fork()
        if child == 0:
            asyncio.run(drive(url, run_id, killed_at=killed_at))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            return kills
        kills += 1
        killed_at = killed_at + 1 if progress(url, run_id) == before else 1


if __name__ == "__main__":
    mode, database_url, run = sys.argv[1:]
    if mode == "killed":
        sys.stdout.write(f"{drive_killed(database_url, run)}\n")
    else:
        asyncio.run(drive(database_url, run))
