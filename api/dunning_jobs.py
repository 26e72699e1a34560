"""The worker's jobs of dunning: the day's steps, service that follows what is paid, and letters that leave."""

import structlog
from procrastinate import App

from api.context import Context
from billing.dunning import review_service, run_day
from billing.notices import SEND_NOTICE, Letterhead, due_notices, send_notice
from provisioning.core.jobs import FOLLOW_STANDING, enqueue
from provisioning.standing import BLOCK, follow_standing, sweep_standing

log = structlog.get_logger()


def letterhead_of(context: Context) -> Letterhead:
    return Letterhead(context.issuer, by_mail=context.mailer is not None)


def add_dunning_jobs(jobs: App, context: Context, *, cron: str) -> None:
    """Add the jobs to the worker's; `cron` is how often it is looked whether a new day has begun in Berlin."""
    database, clock = context.database, context.clock

    @jobs.task(name=FOLLOW_STANDING)
    async def follow(key: str) -> None:
        turned = BLOCK
        while turned == BLOCK:
            async with database.as_system() as session:
                turned = await follow_standing(session, key, now=clock.now())
            log.info("mailboxes follow their reseller", reseller=key, mailboxes=turned)

    @jobs.task(name=SEND_NOTICE)
    async def send(key: str) -> None:
        if context.mailer is not None:
            sender = context.issuer.email
            delivery = await send_notice(database, context.mailer, key, now=clock.now(), sender=sender)
            log.info("notice mailed", notice=key, delivery=None if delivery is None else str(delivery))

    @jobs.periodic(cron=cron)
    @jobs.task(name="dun", queueing_lock="dun")
    async def dun(timestamp: int) -> None:
        await dun_now(context, tick=timestamp)


async def dun_now(context: Context, *, tick: int = 0, again: bool = False) -> int:
    """All that dunning has to do at this moment; how many steps were taken. May be called at any time."""
    database, now, head = context.database, context.clock.now(), letterhead_of(context)
    taken = await run_day(database, head, now=now, again=again)
    async with database.as_system() as session:
        turned = await review_service(session, head, now=now)
        await sweep_standing(session)
        if context.mailer is not None:
            await enqueue(session, SEND_NOTICE, sorted(await due_notices(session, now=now)))
    if taken or turned.suspended or turned.resumed:
        log.info("dunning", steps=taken, suspended=turned.suspended, resumed=turned.resumed, tick=tick)
    return taken
