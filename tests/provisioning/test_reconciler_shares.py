"""Shares: granted when both mailboxes are in service, and gone with whoever is gone."""

from datetime import timedelta

import pytest
from anyio import create_task_group

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.drivers.sandbox.tables import Fault
from provisioning.ledger import close_period, open_period
from provisioning.planner import FolderType
from provisioning.recording import Ending
from provisioning.roles import Role
from provisioning.terms import Access, MailboxState, OperationState, Scope, ShareState
from tests.provisioning import intents
from tests.provisioning.world import World, interpose, make_world


@pytest.fixture
async def world(database: Database, clock: TestClock) -> World:
    return await make_world(database, clock)


async def rights(world: World, owner_id: str, grantee_id: str) -> dict[FolderType, int]:
    """What the grantee may in the owner's folders, as the backend has it; `other` stands for all without a
    type.
    """
    seen, grantee = await world.driver.observe_mailbox(owner_id), await world.mailbox(grantee_id)
    assert seen is not None
    held = {folder.type: dict(folder.rights).get(grantee.backend_id or "", 0) for folder in seen.folders}
    return {type_: mask for type_, mask in held.items() if mask}


async def states(world: World, owner_id: str) -> list[ShareState]:
    return [share.state for share in await world.shares(owner_id)]


class TestGrant:
    async def test_a_share_is_active_once_its_rights_are_read_back(self, world: World) -> None:
        boss, secretary = await world.ordered(), await world.ordered()
        await world.wish(intents.grant, boss, secretary, Scope.CALENDAR, Access.READ_WRITE)
        assert await world.reconcile(boss) is Ending.CONFIRMED
        assert await rights(world, boss, secretary) == {FolderType.CALENDAR: 0x1C7B}
        assert await states(world, boss) == [ShareState.ACTIVE]
        before = await world.writes(boss)
        assert await world.reconcile(boss) is Ending.UNCHANGED
        assert await world.writes(boss) == before

    async def test_reading_a_whole_mailbox_reaches_every_folder_also_one_made_later(self, world: World) -> None:
        boss, trainee = await world.ordered(), await world.ordered()
        await world.wish(intents.grant, boss, trainee, Scope.MAILBOX, Access.READ)
        await world.run_jobs()
        assert set(await rights(world, boss, trainee)) == set(FolderType)
        before = await world.writes(boss)
        await world.driver.client_creates_folder(await world.address(boss), "Mandanten")
        assert await world.reconcile(boss) is Ending.UNCHANGED
        assert await world.writes(boss) == before

    async def test_the_two_rights_to_send_and_full_access_are_grants_of_their_own(self, world: World) -> None:
        boss, secretary = await world.ordered(), await world.ordered()
        await world.wish(intents.grant, boss, secretary, Scope.SEND_ON_BEHALF, None)
        await world.wish(intents.grant, boss, secretary, Scope.MAILBOX, Access.READ_WRITE)
        await world.run_jobs()
        seen, grantee = await world.driver.observe_mailbox(boss), (await world.mailbox(secretary)).backend_id
        assert seen is not None
        assert seen.grants == {(Role.SEND_ON_BEHALF, grantee), (Role.FULL_ACCESS, grantee)}

    async def test_a_revoked_share_goes_with_its_rights(self, world: World) -> None:
        boss, secretary = await world.ordered(), await world.ordered()
        await world.wish(intents.grant, boss, secretary)
        await world.run_jobs()
        await world.wish(intents.revoke, boss, secretary)
        await world.run_jobs()
        assert await rights(world, boss, secretary) == {}
        assert await world.shares(boss) == []

    async def test_a_share_past_its_end_opens_nothing_even_before_it_is_swept(self, world: World) -> None:
        boss, secretary = await world.ordered(), await world.ordered()
        ends = world.clock.now() + timedelta(days=1)
        await world.wish(intents.grant, boss, secretary, expires_at=ends)
        await world.run_jobs()
        assert await rights(world, boss, secretary) != {}
        world.clock.advance(ends)
        await world.reconcile(boss)
        assert await rights(world, boss, secretary) == {}

    async def test_a_grant_that_has_to_wait_does_not_hold_up_the_others(self, world: World) -> None:
        boss, one, other = await world.ordered(), await world.ordered(), await world.ordered()
        await world.wish(intents.grant, boss, one)
        await world.wish(intents.grant, boss, other)
        await world.driver.script(await world.address(boss), "ensure_folder_rights", Fault.BLOCK)
        assert await world.reconcile(boss) is Ending.PENDING
        granted = [await rights(world, boss, each) for each in (one, other)]
        assert sorted(map(len, granted)) == [0, 1]
        operation = (await world.operations(boss))[-1]
        assert operation.reason == "waits for: the sandbox waits for somebody, as scripted"
        await world.run_jobs()
        assert await states(world, boss) == [ShareState.ACTIVE, ShareState.ACTIVE]


class TestGrantee:
    async def test_a_share_waits_for_its_grantee_and_its_operation_says_so(self, world: World) -> None:
        boss = await world.ordered()
        late = await world.order()
        await world.driver.script(await world.address(late), "ensure_mailbox", Fault.AWAY)
        await world.wish(intents.grant, boss, late)
        assert await world.reconcile(boss) is Ending.CONFIRMED
        operation = (await world.operations(boss))[-1]
        assert (operation.state, await states(world, boss)) == (OperationState.RUNNING, [ShareState.PENDING])
        assert operation.reason == f"waits for: {await world.address(late)}"
        assert (await world.mailbox(boss)).state is MailboxState.ACTIVE

    async def test_it_is_granted_as_soon_as_the_grantee_is_confirmed(self, world: World) -> None:
        boss = await world.ordered()
        late = await world.order()
        await world.take_jobs()
        await world.wish(intents.grant, boss, late)
        await world.run_jobs()
        assert await states(world, boss) == [ShareState.PENDING]
        await world.reconcile(late)
        await world.run_jobs()
        assert await rights(world, boss, late) != {}
        assert await states(world, boss) == [ShareState.ACTIVE]
        assert (await world.operations(boss))[-1].state is OperationState.SUCCEEDED

    async def test_two_that_open_each_other_do_not_wait_for_ever(self, world: World) -> None:
        one, other = await world.order(), await world.order()
        await world.wish(intents.grant, one, other)
        await world.wish(intents.grant, other, one)
        await world.run_jobs()
        assert await states(world, one) == await states(world, other) == [ShareState.ACTIVE]

    async def test_rights_of_a_deleted_grantee_are_withdrawn_and_come_back_with_it(self, world: World) -> None:
        boss, secretary = await world.ordered(), await world.ordered()
        await world.wish(intents.grant, boss, secretary)
        await world.run_jobs()
        await world.wish(intents.delete_mailbox, secretary)
        await world.run_jobs()
        assert await rights(world, boss, secretary) == {}
        assert await states(world, boss) == [ShareState.PENDING]
        await world.wish(intents.restore, secretary)
        await world.run_jobs()
        assert await rights(world, boss, secretary) != {}
        assert await states(world, boss) == [ShareState.ACTIVE]

    async def test_a_purged_grantee_takes_its_shares_along_and_ends_what_waited_for_it(self, world: World) -> None:
        boss, gone = await world.ordered(), await world.order()
        await world.take_jobs()
        await world.wish(intents.grant, boss, gone)
        await world.run_jobs()
        await world.wish(intents.purge, gone)
        await world.run_jobs()
        assert await world.shares(boss) == []
        assert (await world.operations(boss))[-1].state is OperationState.SUCCEEDED

    async def test_a_grantee_purged_under_the_owners_hands_fails_nobody(self, world: World) -> None:
        boss, gone = await world.ordered(), await world.ordered()
        await world.wish(intents.grant, boss, gone)
        await world.take_jobs()

        async def purge(call: str) -> None:
            if call == "ensure_folder_rights":
                await world.wish(intents.purge, gone)
                await world.reconcile(gone)

        assert await world.reconcile(boss, driver=interpose(world.driver, purge)) is Ending.PENDING
        await world.run_jobs()
        assert (await world.mailbox(boss)).state is MailboxState.ACTIVE

    async def test_a_confirmation_being_committed_is_waited_for_and_not_missed(self, world: World) -> None:
        boss, late = await world.ordered(), await world.ordered()
        grantee, day = await world.mailbox(late), world.clock.now().date()
        await world.wish(close_period, late, on=day, reason="deleted")
        await world.wish(intents.grant, boss, late)
        async with create_task_group() as tasks, world.database.as_system() as confirming:
            await intents.lock(confirming, late)
            await open_period(confirming, grantee, on=day, reason="restored")
            tasks.start_soon(world.reconcile, boss)
            await world.until_somebody_waits()
        assert await states(world, boss) == [ShareState.ACTIVE]
