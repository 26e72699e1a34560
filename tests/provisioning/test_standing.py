"""Suspended service: login and sending stop, mail keeps arriving, and afterwards all is as the reseller had it."""

import pytest

from provisioning import mailboxes, standing, tenants
from provisioning.audit import list_events
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.drivers.sandbox.tables import Fault
from provisioning.planner import Presence, Seen
from provisioning.terms import Intent, MailboxState, OperationState
from tests.provisioning import intents
from tests.provisioning.world import World, make_world

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(fresh_database: Database, clock: TestClock) -> World:
    """Sweeps look at everything there is, so nothing else may be."""
    return await make_world(fresh_database, clock)


async def suspend(world: World, *, follow: bool = True) -> None:
    async with world.database.as_system() as session:
        reseller = await tenants.get_reseller(session, world.domain.reseller_id, lock=True)
        await tenants.suspend_service(session, reseller, reason="unpaid", now=world.clock.now())
    if follow:
        await follow_all(world)


async def resume(world: World) -> None:
    async with world.database.as_system() as session:
        await tenants.resume_service(session, await tenants.get_reseller(session, world.domain.reseller_id, lock=True))
    await follow_all(world)


async def follow_all(world: World) -> None:
    while await world.wish(standing.follow_standing, world.domain.reseller_id, now=world.clock.now()):
        pass
    await world.run_jobs()


async def seen(world: World, mailbox_id: str) -> Seen:
    found = await world.driver.observe_mailbox(mailbox_id)
    assert found is not None
    return found


class TestSuspension:
    async def test_login_and_sending_stop_and_mail_keeps_arriving(self, world: World) -> None:
        mailbox_id = await world.ordered()
        [period] = await world.periods(mailbox_id)
        await suspend(world)
        mailbox, at_backend = await world.mailbox(mailbox_id), await seen(world, mailbox_id)
        assert (mailbox.state, mailbox.intent, mailbox.service_suspended) == (
            MailboxState.SUSPENDED,
            Intent.PRESENT,
            True,
        )
        assert at_backend.spec.suspended
        assert at_backend.presence is Presence.PRESENT, "what is present takes mail in"
        assert await world.periods(mailbox_id) == [period], "it is in service, and on the bill"

    async def test_each_mailbox_has_an_operation_of_its_own_and_an_audit_event(self, world: World) -> None:
        mailbox_id = await world.ordered()
        await suspend(world)
        await resume(world)
        operations = [(each.action, each.state) for each in await world.operations(mailbox_id)]
        assert operations == [
            ("mailbox.order", OperationState.SUCCEEDED),
            ("mailbox.suspend_service", OperationState.SUCCEEDED),
            ("mailbox.resume_service", OperationState.SUCCEEDED),
        ]
        events = await world.wish(list_events, world.domain.reseller_id, resource_id=mailbox_id, before=None, limit=9)
        assert [each.action for each in events] == ["mailbox.resume_service", "mailbox.suspend_service"]

    async def test_a_second_pass_changes_nothing(self, world: World) -> None:
        mailbox_id = await world.ordered()
        await suspend(world)
        writes = await world.writes(mailbox_id)
        assert await world.wish(standing.follow_standing, world.domain.reseller_id, now=world.clock.now()) == 0
        await world.reconcile(mailbox_id)
        assert await world.writes(mailbox_id) == writes

    async def test_more_mailboxes_than_one_transaction_takes_are_all_turned(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(standing, "BLOCK", 2)
        mailbox_ids = [await world.order() for _ in range(5)]
        await world.run_jobs()
        await suspend(world)
        states = [(await world.mailbox(each)).state for each in mailbox_ids]
        assert states == [MailboxState.SUSPENDED] * 5

    async def test_a_mailbox_that_is_not_there_yet_arrives_suspended(self, world: World) -> None:
        mailbox_id = await world.order()
        await suspend(world)
        assert (await world.mailbox(mailbox_id)).state is MailboxState.SUSPENDED
        assert (await seen(world, mailbox_id)).spec.suspended

    async def test_one_that_had_failed_is_tried_again(self, world: World) -> None:
        mailbox_id = await world.order()
        await world.driver.script(await world.address(mailbox_id), "ensure_mailbox", Fault.REFUSE)
        await world.run_jobs()
        assert (await world.mailbox(mailbox_id)).state is MailboxState.FAILED
        await suspend(world)
        mailbox = await world.mailbox(mailbox_id)
        assert not mailbox.failed
        assert mailbox.service_suspended


class TestResumption:
    async def test_what_was_suspended_for_this_comes_back(self, world: World) -> None:
        mailbox_id = await world.ordered()
        before = await seen(world, mailbox_id)
        await suspend(world)
        await resume(world)
        mailbox = await world.mailbox(mailbox_id)
        assert (mailbox.state, mailbox.service_suspended) == (MailboxState.ACTIVE, False)
        assert await seen(world, mailbox_id) == before

    async def test_what_the_reseller_had_suspended_itself_stays_suspended(self, world: World) -> None:
        mailbox_id = await world.ordered()
        async with world.database.as_system() as session:
            await mailboxes.suspend_mailbox(session, await intents.lock(session, mailbox_id), now=world.clock.now())
        await world.run_jobs()
        await suspend(world)
        await resume(world)
        mailbox = await world.mailbox(mailbox_id)
        assert (mailbox.state, mailbox.service_suspended) == (MailboxState.SUSPENDED, False)
        assert (await seen(world, mailbox_id)).spec.suspended
        actions = [each.action for each in await world.operations(mailbox_id)]
        assert actions == ["mailbox.order", "mailbox.suspend"], "nothing had to change at the backend"

    async def test_a_deleted_one_stays_deleted_and_is_free_when_restored(self, world: World) -> None:
        mailbox_id = await world.ordered()
        await suspend(world)
        await world.wish(intents.delete_mailbox, mailbox_id)
        await world.run_jobs()
        await resume(world)
        assert (await world.mailbox(mailbox_id)).state is MailboxState.DELETED
        await world.wish(intents.restore, mailbox_id)
        await world.run_jobs()
        assert (await world.mailbox(mailbox_id)).state is MailboxState.ACTIVE
        assert not (await seen(world, mailbox_id)).spec.suspended


class TestSweep:
    async def test_a_mailbox_ordered_for_a_suspended_reseller_follows(self, world: World) -> None:
        await suspend(world)
        mailbox_id = await world.ordered()
        assert (await world.mailbox(mailbox_id)).state is MailboxState.ACTIVE
        assert await world.wish(standing.sweep_standing) == 1
        await follow_all(world)
        assert (await world.mailbox(mailbox_id)).state is MailboxState.SUSPENDED
        assert await world.wish(standing.sweep_standing) == 0

    async def test_a_job_that_was_lost_is_enqueued_again(self, world: World) -> None:
        mailbox_id = await world.ordered()
        await suspend(world)
        async with world.database.as_system() as session:
            await tenants.resume_service(
                session, await tenants.get_reseller(session, world.domain.reseller_id, lock=True)
            )
        assert await world.wish(standing.sweep_standing) == 1
        await follow_all(world)
        assert (await world.mailbox(mailbox_id)).state is MailboxState.ACTIVE
        assert await world.wish(standing.sweep_standing) == 0
