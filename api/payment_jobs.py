"""The worker's jobs of collection: one payment, one event, one method to let go of; and when they come round."""

from datetime import timedelta

import structlog
from procrastinate import App

from api.context import Context
from billing.collection import collect
from billing.gateways.base import Gateway, TryAgain
from billing.inbox import HANDLE_EVENT, due_events, handle_event, poll_events
from billing.methods import DETACH, detach
from billing.payments import COLLECT, due_payments
from provisioning.core.clock import SystemClock
from provisioning.core.jobs import enqueue

log = structlog.get_logger()


def add_payment_jobs(jobs: App, context: Context, gateway: Gateway, *, collection: str, events: str) -> None:
    """Add the jobs to the worker's; `collection` and `events` are cron lines."""
    database, clock, policy = context.database, context.clock, context.policy

    @jobs.task(name=COLLECT)
    async def collect_payment(key: str) -> None:
        await collect(database, gateway, key, now=clock.now(), policy=policy)

    @jobs.task(name=HANDLE_EVENT)
    async def handle_stripe_event(key: str) -> None:
        handled = await handle_event(database, gateway, key, now=clock.now(), policy=policy)
        log.info("event of Stripe", stripe_event=key, handled=handled)

    @jobs.task(name=DETACH)
    async def detach_payment_method(key: str) -> None:
        try:
            await detach(database, gateway, key)
        except TryAgain as error:
            async with database.as_system() as session:
                later = SystemClock().now() + timedelta(seconds=error.seconds)
                await enqueue(session, DETACH, [key], run_at=later)

    @jobs.periodic(cron=collection)
    @jobs.task(name="collect_due", queueing_lock="collect_due")
    async def collect_due(timestamp: int) -> None:
        """What is due, and what a killed worker left: jobs may be lost, rows are not."""
        async with database.as_system() as session:
            due = await due_payments(session, now=clock.now())
            await enqueue(session, COLLECT, sorted(due))
            waiting = await due_events(session, now=clock.now())
            await enqueue(session, HANDLE_EVENT, sorted(waiting))
        if due or waiting:
            log.info("collecting", due=len(due), events=len(waiting), tick=timestamp)

    @jobs.periodic(cron=events)
    @jobs.task(name="poll_stripe", queueing_lock="poll_stripe")
    async def poll_stripe(timestamp: int) -> None:
        try:
            found = await poll_events(database, gateway, now=clock.now())
        except TryAgain as error:
            log.warning("the poll of Stripe's events failed", error=str(error), tick=timestamp)
            return
        if found:
            log.info("events that no webhook had brought", found=found, tick=timestamp)
