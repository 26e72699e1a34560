"""kill -9 in the middle of a reconcile: another process finishes it, nothing lost and nothing double."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from anyio.to_thread import run_sync

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.sweeps import sweep_unfinished
from provisioning.terms import Access, MailboxState, OperationState, Scope, ShareState
from tests.provisioning import intents
from tests.provisioning.world import World, make_world

# observe, ensure mailbox, observe, then rights on the calendar and send-as, then read back.
CALLS = 6


@pytest.fixture
async def world(fresh_database: Database, clock: TestClock) -> World:
    return await make_world(fresh_database, clock)


def run_workers(url: str, mailbox_ids: Sequence[str], root: Path) -> list[int]:
    """How the workers ended, each a process of its own."""
    command = [sys.executable, "-m", "tests.provisioning.killed_worker", url, *mailbox_ids]
    environment = os.environ | {"PYTHONPATH": str(root)}
    result = subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, text=True, timeout=120)
    return [int(line) for line in result.stdout.split()]


class TestKill:
    async def test_at_any_call_nothing_is_lost_and_nothing_is_double(self, world: World, root: Path) -> None:
        secretary = await world.ordered()
        mailbox_ids = [await order_with_shares(world, secretary) for _ in range(CALLS + 1)]
        await world.take_jobs()
        url = world.database.url.render_as_string(hide_password=False)
        statuses = await run_sync(run_workers, url, mailbox_ids, root)
        assert statuses == [-signal.SIGKILL] * CALLS + [0]
        # The dead workers' jobs are gone with them; what they left is found by looking at the mailboxes.
        assert await world.wish(sweep_unfinished) == CALLS
        await world.run_jobs()
        for mailbox_id in mailbox_ids:
            await check_whole(world, mailbox_id)


async def order_with_shares(world: World, grantee_id: str) -> str:
    owner_id = await world.order()
    await world.wish(intents.grant, owner_id, grantee_id, Scope.CALENDAR, Access.READ_WRITE)
    await world.wish(intents.grant, owner_id, grantee_id, Scope.SEND_AS, None)
    return owner_id


async def check_whole(world: World, mailbox_id: str) -> None:
    mailbox, seen = await world.mailbox(mailbox_id), await world.driver.observe_mailbox(mailbox_id)
    assert mailbox.state is MailboxState.ACTIVE
    assert seen is not None
    assert seen.backend_id == mailbox.backend_id
    assert sum(len(folder.rights) for folder in seen.folders) + len(seen.grants) == 2
    assert [share.state for share in await world.shares(mailbox_id)] == [ShareState.ACTIVE] * 2
    assert {operation.state for operation in await world.operations(mailbox_id)} == {OperationState.SUCCEEDED}
    assert [period.ends_on for period in await world.periods(mailbox_id)] == [None]
    # Created once, one right and one grant, however often it was tried.
    assert (await world.driver.counted(mailbox_id)).writes == 3
