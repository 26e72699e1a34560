"""Sweeps find what was lost, what drifted and what is over, once, however many run at the same time."""

from datetime import timedelta

import pytest
from anyio import create_task_group
from sqlalchemy import func, select
from sqlmodel import col

from provisioning.audit import list_events
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.drivers.sandbox.tables import Fault
from provisioning.recording import Ending
from provisioning.sweeps import (
    expire_shares,
    forget_idempotency_keys,
    purge_deleted,
    sweep_drift,
    sweep_unfinished,
)
from provisioning.tenants import IdempotencyKey
from provisioning.terms import Intent, MailboxState, ShareState
from tests.provisioning import intents
from tests.provisioning.world import World, make_world

HOUR = timedelta(hours=1)


@pytest.fixture
async def world(fresh_database: Database, clock: TestClock) -> World:
    """Sweeps look at everything there is, so nothing else may be."""
    return await make_world(fresh_database, clock)


class TestUnfinished:
    async def test_an_order_whose_job_is_lost_is_enqueued_again(self, world: World) -> None:
        mailbox_id = await world.order()
        await world.take_jobs()
        assert await world.wish(sweep_unfinished) == 1
        assert await world.job(mailbox_id) is not None
        assert await world.wish(sweep_unfinished) == 0
        await world.run_jobs()
        assert (await world.mailbox(mailbox_id)).state is MailboxState.ACTIVE
        assert await world.wish(sweep_unfinished) == 0

    async def test_one_that_waits_runs_or_failed_is_left_alone(self, world: World) -> None:
        waiting = await world.order()
        failed = await world.order()
        await world.driver.script(await world.address(failed), "ensure_mailbox", Fault.REFUSE)
        assert await world.reconcile(failed) is Ending.FAILED
        assert await world.wish(sweep_unfinished) == 0
        await world.take_jobs()
        await world.start_job(waiting)
        assert await world.wish(sweep_unfinished) == 0

    async def test_a_mailbox_that_is_lost_again_and_again_comes_back_later_each_time(self, world: World) -> None:
        mailbox_id = await world.order()
        delays = []
        for _ in range(6):
            await world.take_jobs()
            assert await world.wish(sweep_unfinished) == 1
            job = await world.job(mailbox_id)
            assert job is not None
            delays.append(job.scheduled_at)
        assert delays[0] is None
        assert delays[1:] == sorted(delays[1:])
        assert delays[-1] - delays[1] > timedelta(seconds=8)

    async def test_a_round_is_bounded_and_several_workers_share_the_work(self, world: World) -> None:
        for _ in range(9):
            await world.order()
        await world.take_jobs()
        counts: list[int] = []

        async def sweep() -> None:
            counts.append(await world.wish(sweep_unfinished, limit=4))

        async with create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(sweep)
        while await world.wish(sweep_unfinished, limit=4):
            counts.append(4)
        assert max(counts) <= 4
        assert len(await world.take_jobs()) == 9


class TestDrift:
    async def test_those_looked_at_longest_ago_are_looked_at_again(self, world: World) -> None:
        old = await world.ordered()
        world.clock.advance(world.clock.now() + 2 * HOUR)
        await world.ordered()
        options = {"now": world.clock.now(), "older_than": HOUR}
        assert await world.wish(sweep_drift, **options) == 1
        assert await world.take_jobs() == [old]
        assert await world.reconcile(old) is Ending.UNCHANGED
        assert await world.wish(sweep_drift, **options) == 0

    async def test_drift_is_found_by_the_sweep_alone(self, world: World) -> None:
        mailbox_id = await world.ordered()
        await world.driver.admin_changes_quota(await world.address(mailbox_id), 5)
        world.clock.advance(world.clock.now() + 2 * HOUR)
        await world.wish(sweep_drift, now=world.clock.now(), older_than=HOUR)
        await world.run_jobs()
        seen = await world.driver.observe_mailbox(mailbox_id)
        assert seen is not None
        assert seen.spec.quota_mib == 51200

    async def test_purged_and_failed_mailboxes_are_not_looked_at(self, world: World) -> None:
        purged, failed = await world.ordered(), await world.ordered()
        await world.wish(intents.purge, purged)
        await world.run_jobs()
        await world.driver.admin_deletes(await world.address(failed), purge=True)
        assert await world.reconcile(failed) is Ending.FAILED
        later = world.clock.now() + 2 * HOUR
        assert await world.wish(sweep_drift, now=later, older_than=HOUR) == 0


class TestExpireShares:
    async def test_shares_past_their_end_are_revoked_by_one_operation(self, world: World) -> None:
        boss, one, other = await world.ordered(), await world.ordered(), await world.ordered()
        ends = world.clock.now() + HOUR
        for grantee in (one, other):
            await world.wish(intents.grant, boss, grantee, expires_at=ends)
        await world.run_jobs()
        assert await world.wish(expire_shares, now=ends - timedelta(seconds=1)) == 0
        assert await world.wish(expire_shares, now=ends) == 2
        assert [share.state for share in await world.shares(boss)] == [ShareState.REVOKING] * 2
        assert await world.wish(expire_shares, now=ends) == 0
        assert (await world.operations(boss))[-1].action == "share.expire"
        await world.run_jobs()
        assert await world.shares(boss) == []

    async def test_a_share_of_a_deleted_mailbox_waits_for_its_restoration(self, world: World) -> None:
        boss, secretary = await world.ordered(), await world.ordered()
        await world.wish(intents.grant, boss, secretary, expires_at=world.clock.now() + HOUR)
        await world.wish(intents.delete_mailbox, boss)
        await world.run_jobs()
        world.clock.advance(world.clock.now() + 2 * HOUR)
        assert await world.wish(expire_shares, now=world.clock.now()) == 0
        await world.wish(intents.restore, boss)
        await world.run_jobs()
        assert await world.wish(expire_shares, now=world.clock.now()) == 1


class TestPurgeDeleted:
    async def test_a_deleted_mailbox_is_erased_when_it_can_no_longer_be_restored(self, world: World) -> None:
        mailbox_id = await world.ordered()
        ends = world.clock.now() + 30 * 24 * HOUR
        await world.wish(intents.delete_mailbox, mailbox_id, now=ends)
        await world.run_jobs()
        assert await world.wish(purge_deleted, now=ends - HOUR) == 0
        assert await world.wish(purge_deleted, now=ends) == 1
        assert await world.wish(purge_deleted, now=ends) == 0
        assert (await world.mailbox(mailbox_id)).intent is Intent.PURGED
        await world.run_jobs()
        assert (await world.mailbox(mailbox_id)).state is MailboxState.PURGED
        assert await world.driver.observe_mailbox(mailbox_id) is None

    async def test_what_a_sweep_decides_is_in_the_audit_log(self, world: World) -> None:
        mailbox_id = await world.ordered()
        await world.wish(intents.delete_mailbox, mailbox_id)
        await world.wish(purge_deleted, now=world.clock.now())
        chain = world.domain.reseller_id
        events = await world.wish(list_events, chain, resource_id=mailbox_id, before=None, limit=10)
        assert [(event.action, event.actor) for event in events] == [("mailbox.purge", "system")]


class TestForgetIdempotencyKeys:
    async def test_answers_are_forgotten_after_a_day_in_bounded_rounds(self, world: World) -> None:
        now = world.clock.now()
        async with world.database.as_system() as session:
            for hours in (1, 23, 25, 26, 27):
                key = IdempotencyKey(
                    principal_id=world.domain.reseller_id,
                    idempotency_key=f"k{hours}",
                    fingerprint=b"",
                    created_at=now - hours * HOUR,
                )
                session.add(key)
        assert await world.wish(forget_idempotency_keys, now=now, limit=2) == 2
        assert await world.wish(forget_idempotency_keys, now=now, limit=2) == 1
        async with world.database.as_system() as session:
            left = await session.scalar(select(func.count()).select_from(IdempotencyKey))
            kept = await session.scalars(select(col(IdempotencyKey.idempotency_key)))
            assert (left, set(kept)) == (2, {"k1", "k23"})
