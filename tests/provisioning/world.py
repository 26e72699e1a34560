"""A tenant with an imitation backend, and the worker's loop without a worker."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from anyio import fail_after
from sqlalchemy import Row, select, text
from sqlmodel import col

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.drivers.base import Driver
from provisioning.drivers.sandbox.driver import SandboxDriver
from provisioning.ledger import AddOnPeriod, ServicePeriod
from provisioning.models import Mailbox, Operation, Share
from provisioning.reconciler import reconcile_mailbox
from provisioning.recording import Ending
from tests import factories

_TAKE = text(
    """
    update procrastinate_jobs set status = 'succeeded' where id in (
        select id from procrastinate_jobs
        where status = 'todo' and task_name = 'reconcile_mailbox'
            and args ->> 'key' in (select id from mailbox where reseller_id = :reseller_id)
        order by id limit :limit)
    returning args ->> 'key'
    """
)
_START = text(
    """
    insert into procrastinate_jobs (task_name, queue_name, lock, status)
    values ('reconcile_mailbox', 'default', 'reconcile_mailbox:' || :id, 'doing')
    """
)
_WAITING = text(
    "select * from procrastinate_jobs where status = 'todo' and queueing_lock = 'reconcile_mailbox:' || :id"
)
_SOMEBODY_WAITS = text("select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()")


class Interposed:
    """A driver that first calls `before` with the name of the call, which may do or raise anything."""

    def __init__(self, driver: Driver, before: Callable[[str], Awaitable[None]]) -> None:
        self._driver = driver
        self._before = before

    def __getattr__(self, call: str) -> Callable[..., Awaitable[Any]]:
        async def interposed(*arguments: Any, **options: Any) -> Any:
            await self._before(call)
            return await getattr(self._driver, call)(*arguments, **options)

        return interposed


def interpose(driver: Driver, before: Callable[[str], Awaitable[None]]) -> Driver:
    return cast(Driver, Interposed(driver, before))


@dataclass
class World:
    """One tenant's mailboxes, the imitation backend they lie in, and a worker that runs when told."""

    database: Database
    driver: SandboxDriver
    clock: TestClock
    domain: Any

    async def reconcile(self, mailbox_id: str, *, driver: Driver | None = None) -> Ending:
        drivers: Mapping[str, Driver] = {"sandbox": driver or self.driver}
        return await reconcile_mailbox(self.database, drivers, mailbox_id, now=self.clock)

    async def run_jobs(self, *, rounds_max: int = 60) -> int:
        """Run what waits, at once whatever its back-off, until nothing does; how many jobs that were."""
        done = 0
        for _ in range(rounds_max):
            keys = await self.take_jobs()
            if not keys:
                return done
            for key in keys:
                await self.reconcile(key)
            done += len(keys)
        raise AssertionError(f"still not quiet after {rounds_max} rounds")

    async def take_jobs(self, *, limit: int = 1000) -> list[str]:
        """Take what waits off the queue, as a worker does before it runs it."""
        async with self.database.as_system() as session:
            taken = await session.scalars(_TAKE, {"reseller_id": self.domain.reseller_id, "limit": limit})
            return sorted(taken)

    async def start_job(self, mailbox_id: str) -> None:
        """Let a worker run a job for this mailbox for ever."""
        async with self.database.transaction() as session:
            await session.execute(_START, {"id": mailbox_id})

    async def order(self, **overrides: Any) -> str:
        async with self.database.as_system() as session:
            return (await factories.order_mailbox(session, self.domain, **overrides)).id

    async def ordered(self, **overrides: Any) -> str:
        """The id of a mailbox that is ordered and confirmed."""
        mailbox_id = await self.order(**overrides)
        await self.run_jobs()
        return mailbox_id

    async def wish(self, wish: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any) -> Any:
        """Write one wish in a transaction of its own."""
        async with self.database.as_system() as session:
            return await wish(session, *arguments, **options)

    async def mailbox(self, mailbox_id: str) -> Mailbox:
        async with self.database.as_system() as session:
            return await session.get_one(Mailbox, mailbox_id)

    async def mailboxes(self) -> list[Mailbox]:
        return await self._all(Mailbox, Mailbox.reseller_id, self.domain.reseller_id)

    async def address(self, mailbox_id: str) -> str:
        return (await self.mailbox(mailbox_id)).address

    async def operations(self, mailbox_id: str) -> list[Operation]:
        """Newest last."""
        return await self._all(Operation, Operation.mailbox_id, mailbox_id)

    async def shares(self, mailbox_id: str) -> list[Share]:
        return await self._all(Share, Share.mailbox_id, mailbox_id)

    async def periods(self, mailbox_id: str) -> list[ServicePeriod]:
        return await self._all(ServicePeriod, ServicePeriod.mailbox_id, mailbox_id)

    async def add_on_periods(self, mailbox_id: str) -> list[AddOnPeriod]:
        return await self._all(AddOnPeriod, AddOnPeriod.mailbox_id, mailbox_id)

    async def _all(self, table: Any, column: Any, value: str) -> list[Any]:
        async with self.database.as_system() as session:
            return list(await session.scalars(select(table).where(col(column) == value).order_by(table.id)))

    async def job(self, mailbox_id: str) -> Row[Any] | None:
        """The job that waits for this mailbox."""
        async with self.database.as_system() as session:
            return (await session.execute(_WAITING, {"id": mailbox_id})).one_or_none()

    async def writes(self, mailbox_id: str) -> int:
        """How often the driver was asked to write to this mailbox, whether or not it changed anything."""
        return (await self.driver.counted(mailbox_id)).calls

    async def until_somebody_waits(self) -> None:
        await until_somebody_waits(self.database)


async def until_somebody_waits(database: Database) -> None:
    """Returns when a transaction of this database waits for a lock."""
    with fail_after(20):
        async with database.engine.connect() as connection:
            while (await connection.execute(_SOMEBODY_WAITS)).first() is None:
                await connection.commit()


async def make_world(database: Database, clock: TestClock, *, driver: SandboxDriver | None = None) -> World:
    async with database.as_system() as session:
        domain = await factories.make_tenant(session)
    return World(database, driver or SandboxDriver(database), clock, domain)
