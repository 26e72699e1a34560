"""What others did behind the service's back is put right and written down, and never made worse."""

import pytest
from sqlalchemy import select
from sqlmodel import col

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.planner import FolderType, Presence
from provisioning.recording import Ending
from provisioning.tenants import AuditEvent
from provisioning.terms import Intent, OperationState
from tests.provisioning import intents
from tests.provisioning.world import World, make_world


@pytest.fixture
async def world(database: Database, clock: TestClock) -> World:
    return await make_world(database, clock)


async def audited(world: World, mailbox_id: str) -> list[AuditEvent]:
    async with world.database.as_system() as session:
        query = select(AuditEvent).where(col(AuditEvent.resource_id) == mailbox_id)
        return list(await session.scalars(query.order_by(col(AuditEvent.sequence))))


class TestDrift:
    async def test_what_others_changed_is_put_right_and_written_down(self, world: World) -> None:
        mailbox_id = await world.ordered()
        await world.driver.admin_changes_quota(await world.address(mailbox_id), 5)
        assert await world.reconcile(mailbox_id) is Ending.CONFIRMED
        seen = await world.driver.observe_mailbox(mailbox_id)
        [event] = await audited(world, mailbox_id)
        assert seen is not None
        assert seen.spec.quota_mib == 51200
        assert (event.action, event.actor) == ("mailbox.drift_repaired", "system")
        assert event.detail == {"steps": ["ensure mailbox: quota_mib"]}
        assert await world.reconcile(mailbox_id) is Ending.UNCHANGED

    async def test_rights_nobody_ordered_are_taken_away(self, world: World) -> None:
        mailbox_id, intruder = await world.ordered(), await world.ordered()
        await world.driver.admin_sets_rights(
            await world.address(mailbox_id),
            folder=FolderType.INBOX,
            grantee=await world.address(intruder),
            mask=0x401,
        )
        await world.reconcile(mailbox_id)
        seen = await world.driver.observe_mailbox(mailbox_id)
        assert seen is not None
        assert not any(folder.rights for folder in seen.folders)
        assert [event.action for event in await audited(world, mailbox_id)] == ["mailbox.drift_repaired"]

    async def test_a_mailbox_in_the_wrong_country_is_brought_home(self, world: World) -> None:
        mailbox_id = await world.ordered()
        await world.driver.admin_moves(await world.address(mailbox_id), to="fi-hel-1")
        await world.reconcile(mailbox_id)
        await world.run_jobs()
        seen = await world.driver.observe_mailbox(mailbox_id)
        assert seen is not None
        assert seen.location == "de-fra-1"

    @pytest.mark.parametrize("intent", [Intent.PRESENT, Intent.SUSPENDED])
    async def test_a_mailbox_gone_at_the_backend_is_never_made_again_empty(self, world: World, intent: Intent) -> None:
        mailbox_id = await world.ordered()
        await world.wish(intents.change, mailbox_id, intent=intent)
        await world.run_jobs()
        await world.driver.admin_deletes(await world.address(mailbox_id), purge=True)
        assert await world.reconcile(mailbox_id) is Ending.FAILED
        mailbox = await world.mailbox(mailbox_id)
        assert mailbox.failed
        assert (mailbox.reason or "").startswith("missing_at_backend")
        assert await world.driver.observe_mailbox(mailbox_id) is None
        assert [event.action for event in await audited(world, mailbox_id)] == ["mailbox.failed"]

    async def test_nor_is_one_that_cannot_be_restored_because_it_is_gone(self, world: World) -> None:
        mailbox_id = await world.ordered()
        await world.wish(intents.delete_mailbox, mailbox_id)
        await world.run_jobs()
        await world.driver.admin_deletes(await world.address(mailbox_id), purge=True)
        await world.wish(intents.restore, mailbox_id)
        await world.run_jobs()
        assert ((await world.mailbox(mailbox_id)).reason or "").startswith("missing_at_backend")
        assert (await world.operations(mailbox_id))[-1].state is OperationState.FAILED

    async def test_one_deleted_by_others_is_brought_back(self, world: World) -> None:
        mailbox_id = await world.ordered()
        await world.driver.admin_deletes(await world.address(mailbox_id))
        await world.reconcile(mailbox_id)
        seen = await world.driver.observe_mailbox(mailbox_id)
        assert seen is not None
        assert seen.presence is Presence.PRESENT
