"""The sandbox's moods: writes that show late, throttling, and faults scripted from anywhere."""

from collections.abc import AsyncIterator

import pytest

from provisioning.core.database import Database
from provisioning.drivers.base import DriverError, Progress, TryAgain
from provisioning.drivers.sandbox.driver import SandboxDriver
from provisioning.drivers.sandbox.tables import Call, Fault
from provisioning.planner import FolderType
from provisioning.roles import Role
from provisioning.terms import Scope
from tests.provisioning.driver_harness import (
    SandboxHarness,
    World,
    converge,
    folder,
    mask_of,
    share,
    shared,
)


@pytest.fixture
def driver(database: Database) -> SandboxDriver:
    return SandboxDriver(database, retry_seconds=2)


@pytest.fixture
def world(driver: SandboxDriver) -> World:
    return World(SandboxHarness(driver))


@pytest.fixture
async def elsewhere(database: Database) -> AsyncIterator[SandboxDriver]:
    """The driver of another process: it shares nothing with the first but the database server."""
    own = Database(database.url.render_as_string(hide_password=False), pool_size=1)
    yield SandboxDriver(own)
    await own.close()


class TestLag:
    @pytest.mark.parametrize("lag", [0, 1, 3])
    async def test_a_write_shows_after_so_many_more_observations(self, database: Database, lag: int) -> None:
        driver = SandboxDriver(database, lag=lag)
        world = World(SandboxHarness(driver, reads=lag + 1))
        wanted = world.order()
        await driver.ensure_mailbox(wanted.mailbox_id, wanted.spec, location=world.here, password_hash=None)
        assert [await driver.observe_mailbox(wanted.mailbox_id) for _ in range(lag)] == [None] * lag
        seen, grantee = await world.see(wanted), await world.grantee()
        inbox = folder(seen, FolderType.INBOX).id
        await driver.ensure_folder_rights(seen.backend_id, folder_id=inbox, grantee=grantee, mask=0x401)
        await driver.ensure_folder_rights(seen.backend_id, folder_id=inbox, grantee=grantee, mask=0x47B)
        masks = []
        for _ in range(lag + 1):
            observed = await driver.observe_mailbox(wanted.mailbox_id)
            assert observed is not None
            masks.append(mask_of(observed, FolderType.INBOX, grantee))
        assert masks == [0] * lag + [0x47B]

    async def test_repeating_a_write_that_does_not_show_yet_does_not_delay_it(self, database: Database) -> None:
        driver = SandboxDriver(database, lag=1)
        world = World(SandboxHarness(driver, reads=2))
        wanted = world.order()
        assert await converge(driver, wanted) == 2
        assert (await driver.counted(wanted.mailbox_id)).writes == 1


class TestThrottling:
    async def test_every_third_call_is_turned_away_and_does_nothing(self, database: Database) -> None:
        driver = SandboxDriver(database, throttle_every=3, retry_seconds=7)
        world = World(SandboxHarness(driver))
        wanted, waits = world.order(), []
        for _ in range(9):
            try:
                await driver.observe_mailbox(wanted.mailbox_id)
                waits.append(0.0)
            except TryAgain as busy:
                waits.append(busy.seconds)
        assert waits == [0, 0, 7] * 3


class TestScriptedFaults:
    @pytest.mark.parametrize(("fault", "seconds"), [(Fault.THROTTLE, 2), (Fault.AWAY, 20)], ids=["throttle", "away"])
    async def test_a_busy_backend_does_nothing_and_says_when_to_come_back(
        self, world: World, driver: SandboxDriver, fault: Fault, seconds: float
    ) -> None:
        wanted = world.order()
        await driver.script(wanted.spec.addresses[0], Call.ENSURE_MAILBOX, fault, times=2)
        for _ in range(2):
            with pytest.raises(TryAgain) as busy:
                await driver.ensure_mailbox(wanted.mailbox_id, wanted.spec, location=world.here, password_hash=None)
            assert busy.value.seconds == seconds
            assert await world.look(wanted) is None
        await world.become(wanted)

    async def test_a_lost_answer_leaves_the_work_done(self, world: World, driver: SandboxDriver) -> None:
        wanted = world.order()
        await driver.script(wanted.spec.addresses[0], "ensure_mailbox", Fault.LOST_ANSWER)
        with pytest.raises(TryAgain):
            await driver.ensure_mailbox(wanted.mailbox_id, wanted.spec, location=world.here, password_hash=None)
        assert (await world.see(wanted)).spec == wanted.spec
        assert await converge(driver, wanted) == 0

    @pytest.mark.parametrize(
        ("fault", "permanent"), [(Fault.REFUSE, True), (Fault.FAIL, False)], ids=["refuse", "fail"]
    )
    async def test_a_refusal_says_whether_asking_again_can_help(
        self, world: World, driver: SandboxDriver, fault: Fault, permanent: bool
    ) -> None:
        wanted = await world.mailbox()
        await driver.script(wanted.spec.addresses[0], Call.REMOVE_MAILBOX, fault)
        backend_id = (await world.see(wanted)).backend_id
        with pytest.raises(DriverError) as refusal:
            await driver.remove_mailbox(backend_id)
        assert refusal.value.permanent is permanent
        assert (await world.see(wanted)).spec == wanted.spec

    @pytest.mark.parametrize(
        ("fault", "progress"),
        [(Fault.SLOW, Progress.PENDING), (Fault.BLOCK, Progress.BLOCKED)],
        ids=["slow", "block"],
    )
    async def test_a_slow_move_holds_the_mailbox_where_it_is(
        self, world: World, driver: SandboxDriver, fault: Fault, progress: Progress
    ) -> None:
        wanted = await world.mailbox()
        await driver.script(wanted.spec.addresses[0], Call.MOVE_MAILBOX, fault, times=5)
        backend_id = (await world.see(wanted)).backend_id
        for _ in range(5):
            outcome = await driver.move_mailbox(backend_id, to=world.elsewhere)
            assert outcome.progress is progress
            assert outcome.reason
            assert (await world.see(wanted)).location == world.here
        assert (await driver.move_mailbox(backend_id, to=world.elsewhere)).progress is Progress.PENDING
        assert [(await world.see(wanted)).location for _ in range(2)] == [world.here, world.elsewhere]

    async def test_faults_happen_in_their_order_to_their_call_and_their_mailbox_only(
        self, world: World, driver: SandboxDriver
    ) -> None:
        wanted, other = await world.mailbox(), await world.mailbox()
        address = wanted.spec.addresses[0]
        await driver.script(address, Call.OBSERVE_MAILBOX, Fault.AWAY)
        await driver.script(address, "*", Fault.FAIL)
        await world.see(other)
        with pytest.raises(TryAgain):
            await driver.observe_mailbox(wanted.mailbox_id)
        with pytest.raises(DriverError):
            await driver.observe_mailbox(wanted.mailbox_id)
        await world.see(wanted)

    async def test_a_fault_for_any_mailbox_meets_the_first_that_comes(self, fresh_database: Database) -> None:
        driver = SandboxDriver(fresh_database)
        world = World(SandboxHarness(driver))
        await driver.script("*", "*", Fault.AWAY)
        with pytest.raises(TryAgain):
            await driver.observe_mailbox(world.order().mailbox_id)
        assert await driver.observe_mailbox(world.order().mailbox_id) is None

    async def test_faults_can_be_forgotten(self, world: World, driver: SandboxDriver) -> None:
        wanted = await world.mailbox()
        address = wanted.spec.addresses[0]
        await driver.script(address, "*", Fault.REFUSE, times=100)
        await driver.forget_faults(address)
        await world.see(wanted)

    async def test_a_fault_that_cannot_be_is_refused_when_scripted(self, driver: SandboxDriver) -> None:
        for call, fault, times in (
            ("ensure_mailboxes", Fault.AWAY, 1),
            ("observe_mailbox", Fault.SLOW, 1),
            ("*", Fault.AWAY, 0),
        ):
            with pytest.raises(ValueError):  # noqa: PT011  # three sentences, one meaning
                await driver.script("kaethe@muster.example", call, fault, times)


class TestOtherProcesses:
    async def test_a_fault_scripted_elsewhere_happens_here_once(
        self, world: World, driver: SandboxDriver, elsewhere: SandboxDriver
    ) -> None:
        wanted = await world.mailbox()
        await elsewhere.script(wanted.spec.addresses[0], "*", Fault.THROTTLE)
        with pytest.raises(TryAgain):
            await driver.observe_mailbox(wanted.mailbox_id)
        await world.see(wanted)

    async def test_a_second_pass_from_another_process_writes_nothing(
        self, world: World, driver: SandboxDriver, elsewhere: SandboxDriver
    ) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        wanted = shared(
            wanted,
            share(Scope.MAILBOX, Role.REVIEWER, grantee),
            share(Scope.CALENDAR, Role.OWNER, grantee),
        )
        await world.become(wanted)
        before = await driver.counted(wanted.mailbox_id)
        assert before.writes > 1
        assert await converge(elsewhere, wanted) == 0
        assert await driver.counted(wanted.mailbox_id) == before

    async def test_a_repeated_call_counts_as_a_call_and_not_as_a_write(
        self, world: World, driver: SandboxDriver
    ) -> None:
        wanted = await world.mailbox()
        before = await driver.counted(wanted.mailbox_id)
        await driver.ensure_mailbox(wanted.mailbox_id, wanted.spec, location=world.here, password_hash=None)
        after = await driver.counted(wanted.mailbox_id)
        assert (after.calls - before.calls, after.writes - before.writes) == (1, 0)

    async def test_all_mailboxes_are_counted_together(self, fresh_database: Database) -> None:
        driver = SandboxDriver(fresh_database)
        world = World(SandboxHarness(driver))
        await world.mailbox()
        await world.mailbox()
        assert (await driver.counted()).writes == 2

    async def test_a_database_that_is_away_is_a_backend_that_is_away(self) -> None:
        driver = SandboxDriver(Database("postgresql://nobody@127.0.0.1:1/nothing"))
        with pytest.raises(TryAgain):
            await driver.observe_mailbox("mbx_1")
