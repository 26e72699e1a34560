"""One mailbox at a time: what is wanted comes true, is said only then, and outlives any mood of a backend."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.drivers.sandbox.driver import SandboxDriver
from provisioning.drivers.sandbox.tables import Fault
from provisioning.reconciler import reconcile_mailbox
from provisioning.recording import Ending, backoff_seconds
from provisioning.terms import MailboxState, OperationState
from tests.factories import unique
from tests.provisioning import intents
from tests.provisioning.world import World, interpose, make_world


@pytest.fixture
async def world(database: Database, clock: TestClock) -> World:
    return await make_world(database, clock)


class TestOrder:
    async def test_an_order_becomes_active_once_it_is_read_back(self, world: World) -> None:
        mailbox_id = await world.order(aliases=[f"{unique('kontakt')}@{world.domain.name}"])
        assert await world.reconcile(mailbox_id) is Ending.CONFIRMED
        mailbox, seen = await world.mailbox(mailbox_id), await world.driver.observe_mailbox(mailbox_id)
        assert seen is not None
        assert (mailbox.state, mailbox.confirmed_generation) == (MailboxState.ACTIVE, mailbox.generation)
        assert (mailbox.backend_id, mailbox.placed_in) == (seen.backend_id, "de-fra-1")
        assert mailbox.observed_at == world.clock.now()
        assert len(seen.spec.addresses) == 2

    async def test_the_operation_tells_its_steps_and_the_ledger_begins(self, world: World) -> None:
        mailbox_id = await world.ordered()
        [operation], [period] = await world.operations(mailbox_id), await world.periods(mailbox_id)
        assert operation.state is OperationState.SUCCEEDED
        assert operation.steps == [{"name": "ensure mailbox: created", "state": "done", "detail": ""}]
        assert (operation.attempts, operation.finished_at) == (1, world.clock.now())
        assert (period.start_reason, period.location, period.ends_on) == ("ordered", "de-fra-1", None)

    async def test_a_second_pass_writes_nothing(self, world: World) -> None:
        mailbox_id = await world.ordered()
        before, version = await world.writes(mailbox_id), (await world.mailbox(mailbox_id)).version
        world.clock.advance(world.clock.now() + timedelta(hours=1))
        assert await world.reconcile(mailbox_id) is Ending.UNCHANGED
        mailbox = await world.mailbox(mailbox_id)
        assert await world.writes(mailbox_id) == before
        assert (mailbox.observed_at, mailbox.version) == (world.clock.now(), version)

    async def test_a_mailbox_nobody_knows_is_no_work(self, world: World) -> None:
        assert await world.reconcile("mbx_unknown") is Ending.NOTHING_WANTED


class TestTrouble:
    async def test_a_creation_whose_answer_was_lost_is_found_and_not_done_twice(self, world: World) -> None:
        mailbox_id = await world.order()
        await world.driver.script(await world.address(mailbox_id), "ensure_mailbox", Fault.LOST_ANSWER)
        assert await world.reconcile(mailbox_id) is Ending.PENDING
        assert await world.reconcile(mailbox_id) is Ending.CONFIRMED
        assert (await world.driver.counted(mailbox_id)).writes == 1

    async def test_what_is_pending_says_why_and_is_not_billed(self, world: World) -> None:
        mailbox_id = await world.order()
        await world.driver.script(await world.address(mailbox_id), "ensure_mailbox", Fault.SLOW)
        assert await world.reconcile(mailbox_id) is Ending.PENDING
        mailbox, [operation] = await world.mailbox(mailbox_id), await world.operations(mailbox_id)
        assert mailbox.state is MailboxState.PROVISIONING
        assert mailbox.reason == operation.reason == "waits for: the sandbox takes its time, as scripted"
        assert operation.state is OperationState.RUNNING
        assert [step["state"] for step in operation.steps] == ["pending"]
        assert await world.periods(mailbox_id) == []

    async def test_a_throttled_call_comes_back_after_the_time_the_backend_names(
        self, database: Database, clock: TestClock
    ) -> None:
        world = await make_world(database, clock, driver=SandboxDriver(database, retry_seconds=600.0))
        mailbox_id = await world.order()
        await world.driver.script(await world.address(mailbox_id), "ensure_mailbox", Fault.THROTTLE)
        asked_at = datetime.now(UTC)
        await world.take_jobs()
        assert await world.reconcile(mailbox_id) is Ending.PENDING
        job = await world.job(mailbox_id)
        assert job is not None
        assert job.scheduled_at >= asked_at + timedelta(seconds=600)

    async def test_a_backend_that_stays_away_is_asked_for_ever(self, world: World) -> None:
        mailbox_id = await world.order()
        await world.driver.script(await world.address(mailbox_id), "*", Fault.AWAY, times=12)
        for _ in range(12):
            await world.take_jobs()
            assert await world.reconcile(mailbox_id) is Ending.PENDING
            assert await world.job(mailbox_id) is not None
        [operation] = await world.operations(mailbox_id)
        assert (operation.state, operation.attempts) == (OperationState.RUNNING, 12)
        assert await world.reconcile(mailbox_id) is Ending.CONFIRMED
        mailbox = await world.mailbox(mailbox_id)
        assert (mailbox.attempts, mailbox.reason) == (0, None)

    async def test_a_refusal_for_good_ends_the_operation_and_says_why(self, world: World) -> None:
        mailbox_id = await world.order()
        await world.driver.script(await world.address(mailbox_id), "ensure_mailbox", Fault.REFUSE)
        await world.take_jobs()
        assert await world.reconcile(mailbox_id) is Ending.FAILED
        mailbox, [operation] = await world.mailbox(mailbox_id), await world.operations(mailbox_id)
        assert (mailbox.state, mailbox.failed) == (MailboxState.FAILED, True)
        assert mailbox.reason == operation.reason == "the sandbox refuses this, as scripted"
        assert operation.state is OperationState.FAILED
        assert [step["state"] for step in operation.steps] == ["failed"]
        assert await world.job(mailbox_id) is None
        assert await world.periods(mailbox_id) == []
        assert await world.reconcile(mailbox_id) is Ending.NOTHING_WANTED

    async def test_a_new_wish_tries_a_failed_mailbox_again(self, world: World) -> None:
        mailbox_id = await world.order()
        await world.driver.script(await world.address(mailbox_id), "ensure_mailbox", Fault.REFUSE)
        await world.run_jobs()
        await world.wish(intents.change, mailbox_id, quota_mib=1000)
        await world.run_jobs()
        assert (await world.mailbox(mailbox_id)).state is MailboxState.ACTIVE

    async def test_a_failure_that_may_pass_is_tried_again(self, world: World) -> None:
        mailbox_id = await world.order()
        await world.driver.script(await world.address(mailbox_id), "ensure_mailbox", Fault.FAIL)
        assert await world.reconcile(mailbox_id) is Ending.PENDING
        assert await world.reconcile(mailbox_id) is Ending.CONFIRMED

    async def test_a_driver_that_breaks_leaves_the_order_standing(self, world: World) -> None:
        mailbox_id = await world.order()

        async def broken(call: str) -> None:
            if call == "ensure_mailbox":
                raise RuntimeError("a fault in the driver")

        with pytest.raises(RuntimeError):
            await world.reconcile(mailbox_id, driver=interpose(world.driver, broken))
        [operation] = await world.operations(mailbox_id)
        assert (operation.state, operation.attempts) == (OperationState.RUNNING, 1)
        assert await world.reconcile(mailbox_id) is Ending.CONFIRMED

    @pytest.mark.parametrize("lag", [1, 2, 5])
    async def test_a_backend_that_shows_late_is_believed_only_when_it_shows(
        self, database: Database, clock: TestClock, lag: int
    ) -> None:
        world = await make_world(database, clock, driver=SandboxDriver(database, lag=lag))
        mailbox_id = await world.ordered()
        assert (await world.mailbox(mailbox_id)).state is MailboxState.ACTIVE
        counted = await world.driver.counted(mailbox_id)
        assert (counted.calls, counted.writes) == (1 if lag < 3 else 2, 1)

    async def test_a_worker_without_the_driver_waits_for_one_that_has_it(self, world: World) -> None:
        mailbox_id = await world.order()
        ending = await reconcile_mailbox(world.database, {}, mailbox_id, now=world.clock)
        assert ending is Ending.PENDING
        assert "no driver sandbox" in ((await world.mailbox(mailbox_id)).reason or "")


class TestBackOff:
    def test_it_doubles_up_to_five_minutes_and_is_spread(self) -> None:
        waits = [backoff_seconds(n, at_least=1.0, jitter=Random(1)) for n in range(12)]
        assert waits == sorted(waits)
        assert 1.0 <= waits[0] <= 1.5
        assert waits[-1] == 300.0
        assert len({backoff_seconds(3, at_least=1.0, jitter=Random(seed)) for seed in range(5)}) == 5

    def test_a_backend_that_names_a_time_gets_at_least_that(self) -> None:
        assert backoff_seconds(0, at_least=3600.0, jitter=Random(1)) == 3600.0
        assert backoff_seconds(0, at_least=0.05, jitter=Random(1)) < 0.08
