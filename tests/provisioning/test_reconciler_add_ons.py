"""Add-ons come true at the backend, and are on the bill from then until they are given up."""

from datetime import date, timedelta

import pytest

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.drivers.sandbox.tables import Fault
from provisioning.ledger import AddOnPeriod
from provisioning.planner import Seen
from provisioning.recording import Ending
from provisioning.terms import AddOn, MailboxState, OperationState, Scope, ServiceClass
from tests.conftest import NOW
from tests.provisioning import intents
from tests.provisioning.world import World, make_world

TODAY = date(2026, 11, 17)
DAY = timedelta(days=1)


@pytest.fixture
async def world(database: Database, clock: TestClock) -> World:
    return await make_world(database, clock)


async def see(world: World, mailbox_id: str) -> Seen:
    seen = await world.driver.observe_mailbox(mailbox_id)
    assert seen is not None
    return seen


async def only_period(world: World, mailbox_id: str) -> AddOnPeriod:
    [period] = await world.add_on_periods(mailbox_id)
    return period


async def test_an_archive_is_a_step_of_its_own_and_seen_before_it_is_billed(world: World) -> None:
    mailbox_id = await world.ordered()
    await world.wish(intents.put_add_on, mailbox_id, AddOn.ARCHIVE)
    assert not (await see(world, mailbox_id)).archive
    assert await world.add_on_periods(mailbox_id) == []
    await world.run_jobs()
    assert (await see(world, mailbox_id)).archive
    operation = (await world.operations(mailbox_id))[-1]
    assert (operation.action, operation.state) == ("mailbox.put_add_on", OperationState.SUCCEEDED)
    assert [step["name"] for step in operation.steps] == ["ensure mailbox: quota_mib", "ensure archive: on"]
    period = await only_period(world, mailbox_id)
    assert (period.add_on, period.quantity, period.starts_on) == (AddOn.ARCHIVE, 1, TODAY)


async def test_a_mailbox_ordered_with_add_ons_is_given_them_at_once(world: World) -> None:
    mailbox_id = await world.ordered(archive=True, extra_storage_units=2)
    assert (await see(world, mailbox_id)).archive
    periods = await world.add_on_periods(mailbox_id)
    assert {period.add_on: period.quantity for period in periods} == {AddOn.ARCHIVE: 1, AddOn.EXTRA_STORAGE: 2}


async def test_extra_storage_is_a_larger_quota(world: World) -> None:
    mailbox_id = await world.ordered()
    await world.wish(intents.put_add_on, mailbox_id, AddOn.EXTRA_STORAGE, quantity=3)
    await world.run_jobs()
    assert (await see(world, mailbox_id)).spec.quota_mib == 1000 + 3 * 10240
    period = await only_period(world, mailbox_id)
    assert (period.add_on, period.quantity) == (AddOn.EXTRA_STORAGE, 3)


@pytest.mark.parametrize("fault", [Fault.SLOW, Fault.BLOCK, Fault.AWAY, Fault.FAIL])
async def test_an_archive_that_keeps_waiting_is_not_billed_and_says_why(world: World, fault: Fault) -> None:
    mailbox_id = await world.ordered()
    await world.wish(intents.put_add_on, mailbox_id, AddOn.ARCHIVE)
    await world.driver.script(await world.address(mailbox_id), "ensure_archive", fault)
    assert await world.reconcile(mailbox_id) is Ending.PENDING
    mailbox = await world.mailbox(mailbox_id)
    assert (mailbox.state, bool(mailbox.reason)) == (MailboxState.UPDATING, True)
    assert await world.add_on_periods(mailbox_id) == []
    world.clock.advance(NOW + 2 * DAY)
    assert await world.reconcile(mailbox_id) is Ending.CONFIRMED
    assert (await only_period(world, mailbox_id)).starts_on == TODAY + 2 * DAY


async def test_an_archive_that_waits_holds_up_no_share(world: World) -> None:
    owner, colleague = await world.ordered(), await world.ordered()
    await world.wish(intents.put_add_on, owner, AddOn.ARCHIVE)
    await world.wish(intents.grant, owner, colleague, Scope.SEND_AS, None)
    await world.driver.script(await world.address(owner), "ensure_archive", Fault.SLOW)
    assert await world.reconcile(owner) is Ending.PENDING
    assert len((await see(world, owner)).grants) == 1


async def test_an_archive_refused_for_good_leaves_the_mailbox_in_service(world: World) -> None:
    mailbox_id = await world.ordered()
    await world.wish(intents.put_add_on, mailbox_id, AddOn.ARCHIVE)
    await world.driver.script(await world.address(mailbox_id), "ensure_archive", Fault.REFUSE)
    await world.run_jobs()
    assert (await world.operations(mailbox_id))[-1].state is OperationState.FAILED
    assert await world.add_on_periods(mailbox_id) == []
    assert [period.ends_on for period in await world.periods(mailbox_id)] == [None]


async def test_what_is_taken_away_is_billed_to_the_day_it_was_asked_for(world: World) -> None:
    mailbox_id = await world.ordered(archive=True, extra_storage_units=2)
    for add_on, later in ((AddOn.ARCHIVE, 1), (AddOn.EXTRA_STORAGE, 3)):
        await world.wish(intents.remove_add_on, mailbox_id, add_on, now=NOW + later * DAY)
    world.clock.advance(NOW + 5 * DAY)
    await world.run_jobs()
    assert not (await see(world, mailbox_id)).archive
    ends = {period.add_on: period.ends_on for period in await world.add_on_periods(mailbox_id)}
    assert ends == {AddOn.ARCHIVE: TODAY + DAY, AddOn.EXTRA_STORAGE: TODAY + 3 * DAY}


async def test_what_is_taken_away_before_the_mailbox_goes_is_billed_to_its_own_day(world: World) -> None:
    mailbox_id = await world.ordered(archive=True, extra_storage_units=2)
    await world.wish(intents.remove_add_on, mailbox_id, AddOn.ARCHIVE, now=NOW + DAY)
    for wish in (intents.remove_add_on, intents.put_add_on):
        await world.wish(wish, mailbox_id, AddOn.EXTRA_STORAGE, now=NOW + DAY)
    await world.wish(intents.delete_mailbox, mailbox_id, now=NOW + 3 * DAY)
    world.clock.advance(NOW + 5 * DAY)
    await world.run_jobs()
    ends = {period.add_on: period.ends_on for period in await world.add_on_periods(mailbox_id)}
    assert ends == {AddOn.ARCHIVE: TODAY + DAY, AddOn.EXTRA_STORAGE: TODAY + 3 * DAY}


async def test_taken_away_and_put_back_before_anybody_worked_it_has_never_been_gone(world: World) -> None:
    mailbox_id = await world.ordered(archive=True)
    await world.wish(intents.remove_add_on, mailbox_id, AddOn.ARCHIVE)
    await world.wish(intents.put_add_on, mailbox_id, AddOn.ARCHIVE)
    await world.run_jobs()
    assert (await only_period(world, mailbox_id)).ends_on is None
    assert (await see(world, mailbox_id)).archive


async def test_an_archive_ends_with_the_class_that_could_have_it(world: World) -> None:
    mailbox_id = await world.ordered(archive=True)
    world.clock.advance(NOW + DAY)
    await world.wish(intents.change, mailbox_id, service_class=ServiceClass.IMAP)
    await world.run_jobs()
    assert not (await see(world, mailbox_id)).archive
    period = await only_period(world, mailbox_id)
    assert (period.ends_on, period.end_reason) == (TODAY + DAY, "class_changed")


@pytest.mark.parametrize("wanted", [True, False])
async def test_an_archive_that_others_gave_or_took_is_put_right(world: World, wanted: bool) -> None:
    mailbox_id = await world.ordered(archive=wanted)
    await world.driver.admin_turns_archive(await world.address(mailbox_id), on=not wanted)
    periods = await world.add_on_periods(mailbox_id)
    assert await world.reconcile(mailbox_id) is Ending.CONFIRMED
    assert (await see(world, mailbox_id)).archive is wanted
    assert await world.add_on_periods(mailbox_id) == periods
    assert await world.reconcile(mailbox_id) is Ending.UNCHANGED
