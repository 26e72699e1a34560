"""What the agent works with: the database, Dovecot, SOGo's memory, and one lock a mailbox."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from provisioning.cell import cache
from provisioning.cell.directory import ROW, Connection
from provisioning.cell.dovecot import Dovecot
from provisioning.cell.layout import Cell, Peer, find_peer
from provisioning.cell.refusals import Busy

_POOL_SIZE = 8
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Copy:
    """A pass of copying mail under way; `frozen` if no new mail could come after it began."""

    task: asyncio.Task[bool]
    to: str
    frozen: bool


class House:
    """Opened by `async with`. `copies` are the passes of moves under way, by backend id."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.dovecot = Dovecot(cell)
        self.copies: dict[str, Copy] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            cell.database("cell", cell.secrets.owner),
            kwargs={"row_factory": ROW},
            min_size=1,
            max_size=_POOL_SIZE,
            timeout=_TIMEOUT_SECONDS,
            open=False,
            check=AsyncConnectionPool.check_connection,
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        for copy in self.copies.values():
            copy.task.cancel()
        await self.dovecot.close()
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Commits at the end. Raises Busy when the database is away."""
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise Busy(f"the directory does not answer: {type(error).__name__}") from error

    @asynccontextmanager
    async def alone_with(self, backend_id: str) -> AsyncIterator[None]:
        """One change of a mailbox at a time: what is kept and what is set must not part."""
        async with self._locks[backend_id]:
            yield

    def peer(self, name: str) -> Peer | None:
        """Where another cell is reached; None for one that is not known here."""
        return find_peer(self.cell, name)

    async def forget(self, keys: Iterable[str]) -> None:
        await cache.forget(self.cell.run / "memcached.sock", keys)
