"""The sandbox's tables: nothing is left of a purged mailbox, and no reseller comes near them."""

from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from provisioning.core.database import Database
from provisioning.drivers.sandbox.driver import SandboxDriver
from provisioning.planner import Presence
from provisioning.roles import Role
from provisioning.terms import Scope
from tests.provisioning.driver_harness import (
    WHOLE_MAILBOX_READ,
    SandboxHarness,
    World,
    converge,
    share,
    shared,
)

TABLES = (
    "sandbox_mailbox",
    "sandbox_address",
    "sandbox_folder",
    "sandbox_right",
    "sandbox_grant",
    "sandbox_fault",
)


@pytest.fixture
def world(database: Database) -> World:
    return World(SandboxHarness(SandboxDriver(database)))


async def test_a_purge_leaves_nothing_in_any_table(world: World, database: Database) -> None:
    leaver, owner = await world.mailbox(), await world.mailbox()
    backend_id = (await world.see(leaver)).backend_id
    await world.become(
        shared(
            owner,
            share(*WHOLE_MAILBOX_READ, backend_id),
            share(Scope.SEND_AS, Role.SEND_AS, backend_id),
        )
    )
    folder_ids = [each.id for each in (await world.see(leaver)).folders]
    await converge(world.driver, replace(leaver, presence=Presence.PURGED))
    async with database.as_system() as session:
        for table in TABLES:
            rows = await session.scalars(text(f"select to_jsonb(t)::text from {table} t"))  # noqa: S608  # names from above
            for row in rows:
                assert not any(name in row for name in (backend_id, leaver.mailbox_id, *folder_ids))


@pytest.mark.parametrize("table", TABLES)
async def test_a_reseller_cannot_touch_the_backend(database: Database, table: str) -> None:
    with pytest.raises(DBAPIError, match="permission denied"):
        async with database.as_tenant("res_1") as session:
            await session.execute(text(f"select from {table}"))


async def test_of_a_password_the_backend_keeps_the_hash_and_tells_the_version(world: World, database: Database) -> None:
    wanted = world.order()
    spec = replace(wanted.spec, password_version=1)
    seen = await world.become(replace(wanted, spec=spec, password_hash="$6$salt$hash"))
    assert "salt" not in repr(seen)
    async with database.as_system() as session:
        kept = await session.scalar(
            text("select password_hash from sandbox_mailbox where mailbox_id = :id"),
            {"id": wanted.mailbox_id},
        )
    assert kept == "$6$salt$hash"
