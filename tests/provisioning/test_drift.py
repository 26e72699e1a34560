"""What others did behind the service's back is put right and written down, and never made worse."""

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.data_centres import get_data_centre
from provisioning.planner import FolderType, Presence
from provisioning.recording import Ending
from provisioning.tenants import AuditEvent
from provisioning.terms import DriftPolicy, Intent, OperationState
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


@pytest.fixture
async def lenient(fresh_database: Database, clock: TestClock) -> World:
    """Where what others change may stay."""
    world = await make_world(fresh_database, clock)
    await world.wish(_accept_drift)
    return world


async def _accept_drift(session: AsyncSession) -> None:
    centre, _ = await get_data_centre(session, "de-fra-1")
    centre.on_drift = DriftPolicy.ACCEPT


class TestAcceptedDrift:
    async def test_what_others_changed_stays_and_is_shown(self, lenient: World) -> None:
        mailbox_id = await lenient.ordered()
        writes = await lenient.writes(mailbox_id)
        await lenient.driver.admin_changes_quota(await lenient.address(mailbox_id), 5)
        assert await lenient.reconcile(mailbox_id) is Ending.CONFIRMED
        assert (await lenient.mailbox(mailbox_id)).drift == ["ensure mailbox: quota_mib"]
        assert await lenient.reconcile(mailbox_id) is Ending.UNCHANGED
        assert await lenient.writes(mailbox_id) == writes
        [event] = await audited(lenient, mailbox_id)
        assert (event.action, event.detail) == ("mailbox.drift_accepted", {"steps": ["ensure mailbox: quota_mib"]})

    async def test_the_next_change_of_the_mailbox_puts_all_of_it_right(self, lenient: World) -> None:
        mailbox_id, intruder = await lenient.ordered(), await lenient.ordered()
        address = await lenient.address(mailbox_id)
        await lenient.driver.admin_sets_rights(
            address, folder=FolderType.INBOX, grantee=await lenient.address(intruder), mask=0x401
        )
        await lenient.reconcile(mailbox_id)
        assert len((await lenient.mailbox(mailbox_id)).drift) == 1
        await lenient.wish(intents.change, mailbox_id, display_name="Neu")
        await lenient.run_jobs()
        seen = await lenient.driver.observe_mailbox(mailbox_id)
        assert seen is not None
        assert not any(folder.rights for folder in seen.folders)
        assert (await lenient.mailbox(mailbox_id)).drift == []

    async def test_what_was_put_right_by_hand_is_shown_no_longer(self, lenient: World) -> None:
        mailbox_id = await lenient.ordered()
        address = await lenient.address(mailbox_id)
        await lenient.driver.admin_changes_quota(address, 5)
        await lenient.reconcile(mailbox_id)
        await lenient.driver.admin_changes_quota(address, 51200)
        await lenient.reconcile(mailbox_id)
        assert (await lenient.mailbox(mailbox_id)).drift == []

    async def test_neither_another_country_nor_a_deletion_is_accepted(self, lenient: World) -> None:
        moved, deleted = await lenient.ordered(), await lenient.ordered()
        await lenient.driver.admin_moves(await lenient.address(moved), to="fi-hel-1")
        await lenient.driver.admin_deletes(await lenient.address(deleted))
        for mailbox_id in (moved, deleted):
            await lenient.reconcile(mailbox_id)
        await lenient.run_jobs()
        for mailbox_id in (moved, deleted):
            seen = await lenient.driver.observe_mailbox(mailbox_id)
            assert seen is not None
            assert (seen.location, seen.presence) == ("de-fra-1", Presence.PRESENT)
            assert (await lenient.mailbox(mailbox_id)).drift == []

    async def test_nor_is_a_login_that_the_operator_has_stopped(self, lenient: World) -> None:
        mailbox_id = await lenient.ordered()
        await lenient.wish(intents.change, mailbox_id, intent=Intent.SUSPENDED)
        await lenient.run_jobs()
        await lenient.driver.admin_resumes(await lenient.address(mailbox_id))
        await lenient.reconcile(mailbox_id)
        seen = await lenient.driver.observe_mailbox(mailbox_id)
        assert seen is not None
        assert seen.spec.suspended
