"""Workers that reconcile one mailbox each and die by SIGKILL just before a given call to the backend.

Run as `python -m tests.provisioning.killed_worker URL MAILBOX...`: the worker of the n-th mailbox, a process
of its own, dies before its n-th call, and ends well when it has no such call. Prints how each ended, as exit
statuses, negative for a signal.
"""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Sequence

from sqlalchemy.orm import configure_mappers

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.drivers.sandbox.driver import SandboxDriver
from provisioning.reconciler import reconcile_mailbox
from tests.conftest import NOW
from tests.provisioning.world import interpose


async def work(url: str, mailbox_id: str, deadly_call: int) -> None:
    database, calls = Database(url, pool_size=2), itertools.count(1)

    async def die(_call: str) -> None:
        if next(calls) == deadly_call:
            os.kill(os.getpid(), signal.SIGKILL)

    driver = interpose(SandboxDriver(database), die)
    await reconcile_mailbox(database, {"sandbox": driver}, mailbox_id, now=TestClock(NOW))
    await database.close()


def main(url: str, mailbox_ids: Sequence[str]) -> None:
    configure_mappers()  # once, and not by every child
    for deadly_call, mailbox_id in enumerate(mailbox_ids, start=1):
        # Forked before any loop or connection exists: the imports are paid for once.
        if not (child := os.fork()):
            asyncio.run(work(url, mailbox_id, deadly_call))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status))  # noqa: T201  # the answer to whoever started it


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
