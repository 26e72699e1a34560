"""The life of a mailbox: wishes that overtake each other, and every intent from the order to the purge."""

from datetime import UTC, datetime, timedelta

import pytest
from anyio import create_task_group
from sqlalchemy import text

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.drivers.sandbox.driver import SandboxDriver
from provisioning.drivers.sandbox.tables import Fault
from provisioning.recording import Ending
from provisioning.terms import Intent, MailboxState, OperationState, ServiceClass
from tests.factories import unique
from tests.provisioning import intents
from tests.provisioning.world import World, interpose, make_world

OTHER_KIND = text(
    """
    insert into data_centre select (jsonb_populate_record(data_centre, jsonb_build_object(
        'code', cast(:code as text), 'driver', 'open_cell', 'accepts_orders', false))).*
    from data_centre where code = 'de-fra-1'
    """
)


@pytest.fixture
async def world(database: Database, clock: TestClock) -> World:
    return await make_world(database, clock)


class TestGeneration:
    async def test_a_result_that_a_newer_wish_overtook_is_dropped(self, world: World) -> None:
        mailbox_id = await world.order()
        await world.take_jobs()
        overtaken = False

        async def overtake(call: str) -> None:
            nonlocal overtaken
            if call == "ensure_mailbox" and not overtaken:
                overtaken = True
                await world.wish(intents.change, mailbox_id, quota_mib=777)

        assert await world.reconcile(mailbox_id, driver=interpose(world.driver, overtake)) is Ending.STALE
        mailbox = await world.mailbox(mailbox_id)
        assert (mailbox.confirmed_generation, mailbox.state) == (0, MailboxState.PROVISIONING)
        assert await world.job(mailbox_id) is not None
        assert await world.periods(mailbox_id) == []
        await world.run_jobs()
        seen = await world.driver.observe_mailbox(mailbox_id)
        assert seen is not None
        assert seen.spec.quota_mib == 777
        assert {each.state for each in await world.operations(mailbox_id)} == {OperationState.SUCCEEDED}

    async def test_a_refusal_of_what_is_no_longer_wanted_fails_nothing(self, world: World) -> None:
        mailbox_id = await world.order()
        await world.driver.script(await world.address(mailbox_id), "ensure_mailbox", Fault.REFUSE)

        async def overtake(call: str) -> None:
            if call == "ensure_mailbox":
                await world.wish(intents.change, mailbox_id, quota_mib=777)

        assert await world.reconcile(mailbox_id, driver=interpose(world.driver, overtake)) is Ending.STALE
        await world.run_jobs()
        assert (await world.mailbox(mailbox_id)).state is MailboxState.ACTIVE

    async def test_wanting_the_old_state_back_is_not_taken_for_done_while_the_backend_shows_late(
        self, database: Database, clock: TestClock
    ) -> None:
        world = await make_world(database, clock, driver=SandboxDriver(database, lag=1))
        mailbox_id = await world.ordered(quota_mib=1000)
        address = await world.address(mailbox_id)
        await world.wish(intents.change, mailbox_id, quota_mib=2000)
        await world.driver.script(address, "ensure_mailbox", Fault.LOST_ANSWER)
        assert await world.reconcile(mailbox_id) is Ending.PENDING
        await world.wish(intents.change, mailbox_id, quota_mib=1000)
        assert await world.reconcile(mailbox_id) is Ending.CONFIRMED
        seen = await world.driver.observe_mailbox(mailbox_id)
        assert seen is not None
        assert seen.spec.quota_mib == 1000

    async def test_nor_is_a_deletion_taken_back_and_wanted_again(self, database: Database, clock: TestClock) -> None:
        world = await make_world(database, clock, driver=SandboxDriver(database, lag=1))
        mailbox_id = await world.ordered()
        await world.wish(intents.delete_mailbox, mailbox_id)
        await world.run_jobs()
        await world.wish(intents.restore, mailbox_id)
        await world.driver.script(await world.address(mailbox_id), "ensure_mailbox", Fault.LOST_ANSWER)
        assert await world.reconcile(mailbox_id) is Ending.PENDING
        await world.wish(intents.delete_mailbox, mailbox_id)
        assert await world.reconcile(mailbox_id) is Ending.CONFIRMED
        seen = await world.driver.observe_mailbox(mailbox_id)
        assert seen is not None
        assert seen.presence == "deleted"

    async def test_what_was_superseded_is_looked_at_a_second_time_later(self, world: World) -> None:
        mailbox_id = await world.ordered()
        for quota_mib in (1000, 2000):
            await world.wish(intents.change, mailbox_id, quota_mib=quota_mib)
        await world.take_jobs()
        assert await world.reconcile(mailbox_id) is Ending.CONFIRMED
        job = await world.job(mailbox_id)
        assert job is not None
        assert job.scheduled_at > datetime.now(UTC) + timedelta(seconds=30)

    async def test_a_wish_being_committed_is_waited_for_and_not_missed(self, world: World) -> None:
        mailbox_id = await world.ordered()
        async with create_task_group() as tasks, world.database.as_system() as wishing:
            await intents.change(wishing, mailbox_id, quota_mib=777)
            await wishing.flush()
            tasks.start_soon(world.reconcile, mailbox_id)
            await world.until_somebody_waits()
        mailbox = await world.mailbox(mailbox_id)
        assert mailbox.confirmed_generation == mailbox.generation == 2

    async def test_a_mailbox_given_up_before_it_ever_was_needs_no_backend(self, world: World) -> None:
        mailbox_id = await world.order()
        await world.take_jobs()
        await world.wish(intents.delete_mailbox, mailbox_id)
        await world.run_jobs()
        assert (await world.mailbox(mailbox_id)).state is MailboxState.DELETED
        assert await world.reconcile(mailbox_id) is Ending.UNCHANGED
        assert await world.periods(mailbox_id) == []

    async def test_a_creation_that_shows_late_is_not_left_behind_by_a_quick_purge(
        self, database: Database, clock: TestClock
    ) -> None:
        world = await make_world(database, clock, driver=SandboxDriver(database, lag=1))
        mailbox_id = await world.order()
        await world.driver.script(await world.address(mailbox_id), "ensure_mailbox", Fault.LOST_ANSWER)
        assert await world.reconcile(mailbox_id) is Ending.PENDING
        await world.wish(intents.purge, mailbox_id)
        await world.run_jobs()
        assert (await world.mailbox(mailbox_id)).state is MailboxState.PURGED
        assert await SandboxDriver(database).observe_mailbox(mailbox_id) is None


class TestLife:
    async def test_a_suspended_mailbox_stays_on_the_bill(self, world: World) -> None:
        mailbox_id = await world.ordered()
        await world.wish(intents.change, mailbox_id, intent=Intent.SUSPENDED)
        await world.run_jobs()
        seen = await world.driver.observe_mailbox(mailbox_id)
        assert seen is not None
        assert seen.spec.suspended
        assert (await world.mailbox(mailbox_id)).state is MailboxState.SUSPENDED
        assert [period.ends_on for period in await world.periods(mailbox_id)] == [None]

    async def test_a_deleted_mailbox_leaves_the_bill_and_comes_back_with_its_data(self, world: World) -> None:
        mailbox_id = await world.ordered()
        before = await world.mailbox(mailbox_id)
        await world.wish(intents.delete_mailbox, mailbox_id, now=world.clock.now())
        await world.run_jobs()
        deleted, [period] = await world.mailbox(mailbox_id), await world.periods(mailbox_id)
        assert (deleted.state, period.end_reason) == (MailboxState.DELETED, "deleted")
        assert period.ends_on is not None
        await world.wish(intents.restore, mailbox_id)
        await world.run_jobs()
        restored, periods = await world.mailbox(mailbox_id), await world.periods(mailbox_id)
        assert (restored.state, restored.backend_id) == (MailboxState.ACTIVE, before.backend_id)
        assert [(each.start_reason, each.ends_on is None) for each in periods] == [
            ("ordered", False),
            ("restored", True),
        ]

    async def test_a_purged_mailbox_leaves_only_its_row(self, world: World) -> None:
        mailbox_id = await world.ordered(external_id=unique("crm"))
        await world.wish(intents.purge, mailbox_id)
        await world.run_jobs()
        mailbox = await world.mailbox(mailbox_id)
        assert (mailbox.state, mailbox.external_id, mailbox.placed_in) == (MailboxState.PURGED, None, None)
        assert await world.driver.observe_mailbox(mailbox_id) is None
        assert [period.end_reason for period in await world.periods(mailbox_id)] == ["purged"]
        async with world.database.as_system() as session:
            query = text("select from mailbox_address where address = :address")
            assert (await session.execute(query, {"address": mailbox.address})).first() is None

    async def test_a_new_class_and_a_move_reach_the_ledger_when_they_are_confirmed(self, world: World) -> None:
        mailbox_id = await world.ordered(service_class=ServiceClass.IMAP)
        world.clock.advance(world.clock.now() + timedelta(days=2))
        await world.wish(intents.change, mailbox_id, service_class=ServiceClass.EXCHANGE)
        await world.run_jobs()
        await world.wish(intents.change, mailbox_id, location="de-nbg-1")
        assert await world.reconcile(mailbox_id) is Ending.PENDING
        moving = await world.mailbox(mailbox_id)
        assert (moving.state, moving.placed_in) == (MailboxState.MOVING, "de-fra-1")
        await world.run_jobs()
        assert (await world.mailbox(mailbox_id)).placed_in == "de-nbg-1"
        periods = await world.periods(mailbox_id)
        assert [(each.start_reason, each.service_class, each.location) for each in periods] == [
            ("ordered", ServiceClass.IMAP, "de-fra-1"),
            ("class_changed", ServiceClass.EXCHANGE, "de-fra-1"),
            ("moved", ServiceClass.EXCHANGE, "de-nbg-1"),
        ]

    async def test_a_move_to_another_kind_of_backend_is_refused(self, world: World) -> None:
        mailbox_id = await world.ordered()
        code = unique("cell")
        async with world.database.transaction() as session:
            await session.execute(OTHER_KIND, {"code": code})
        await world.wish(intents.change, mailbox_id, location=code)
        await world.run_jobs()
        mailbox = await world.mailbox(mailbox_id)
        assert mailbox.failed
        assert "cannot move from a backend of kind sandbox to one of kind open_cell" in (mailbox.reason or "")
