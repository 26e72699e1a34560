"""The database: one engine, and transactions that run as one of two roles under row-level security.

The login role owns the tables and, because security is forced, sees nothing by itself. `postfachwerk_app` sees the
rows of one reseller, named for this transaction only; `postfachwerk_system` sees all rows, for the operator, the
worker's sweeps and the invoice run. Both roles are taken on with SET LOCAL semantics: commit, rollback and a
connection that goes back to the pool in any state all drop them.
"""

from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import asynccontextmanager
from typing import Any, LiteralString, cast

from psycopg import AsyncConnection
from psycopg.errors import Error as PsycopgError
from psycopg.rows import namedtuple_row
from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from provisioning.core.errors import Unavailable

APP_ROLE = "postfachwerk_app"
SYSTEM_ROLE = "postfachwerk_system"

_BE_TENANT = text(f"select set_config('role', '{APP_ROLE}', true), set_config('app.reseller_id', :reseller_id, true)")
_BE_SYSTEM = text(f"select set_config('role', '{SYSTEM_ROLE}', true)")

# Serialization failure, deadlock, and the classes "connection exception", "insufficient resources" and
# "operator intervention": the transaction is gone, the same request may well succeed a moment later.
_PASSING_STATES = ("40", "08", "53", "57")


class Database:
    """Opens transactions. Close it with `await database.close()` when the process ends."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self.url: URL = make_url(url).set(drivername="postgresql+psycopg")
        self.engine: AsyncEngine = create_async_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            # What a statement carried belongs in no log.
            hide_parameters=True,
            connect_args={"prepare_threshold": 2, "connect_timeout": 5},
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A transaction of the login role, which sees no owned row until a role is taken on.

        Commits at the end of the block, rolls back when it raises. Raises Unavailable when the database is away.
        """
        try:
            async with AsyncSession(self.engine, expire_on_commit=False, autoflush=False) as session:
                yield session
                await session.commit()
        except (OperationalError, InterfaceError, PoolTimeoutError) as error:
            raise Unavailable("The database does not answer; nothing was written. Try again.") from error
        except DBAPIError as error:
            if is_passing(error):
                raise Unavailable("The database could not finish this; nothing was written. Try again.") from error
            raise

    @asynccontextmanager
    async def as_tenant(self, reseller_id: str) -> AsyncIterator[AsyncSession]:
        """A transaction that sees this reseller's rows only."""
        async with self.transaction() as session:
            await session.execute(_BE_TENANT, {"reseller_id": reseller_id})
            yield session

    @asynccontextmanager
    async def as_system(self) -> AsyncIterator[AsyncSession]:
        """A transaction that sees all rows."""
        async with self.transaction() as session:
            await session.execute(_BE_SYSTEM)
            yield session

    async def close(self) -> None:
        await self.engine.dispose()


async def fetch(session: AsyncSession, statement: LiteralString, parameters: Mapping[str, Any]) -> list[Any]:
    """The rows of one statement, as named tuples, straight from the driver in the session's own transaction.

    For what every request or order runs: there SQLAlchemy's layers cost several times what the statement does.
    Parameters stand in it as %(name)s. What is pending in the session is not flushed. Raises as session.execute does.
    """
    driver = await _driver_of(session)
    try:
        async with driver.cursor(row_factory=namedtuple_row) as cursor:
            await cursor.execute(statement, parameters)
            return await cursor.fetchall() if cursor.pgresult is not None and cursor.pgresult.nfields else []
    except PsycopgError as error:
        raise DBAPIError.instance(statement, None, error, PsycopgError, hide_parameters=True) from error


async def copy_out(
    session: AsyncSession, statement: LiteralString, parameters: Mapping[str, Any]
) -> AsyncIterator[bytes]:
    """What COPY … TO STDOUT writes, block by block, in the session's own transaction; it is never all in memory.

    Parameters stand in it as %(name)s and are put in on this side, because COPY takes none; so a percent sign is
    written twice. Raises as session.execute does.
    """
    driver = await _driver_of(session)
    try:
        async with driver.cursor() as cursor, cursor.copy(statement, parameters) as copied:
            async for block in copied:
                yield bytes(block)
    except PsycopgError as error:
        raise DBAPIError.instance(statement, None, error, PsycopgError, hide_parameters=True) from error


async def _driver_of(session: AsyncSession) -> AsyncConnection[Any]:
    """The driver's connection that the session's transaction runs on."""
    driver = recall(session, _driver_of)
    if driver is None:
        raw = await (await session.connection()).get_raw_connection()
        driver = raw.driver_connection
        remember(session, _driver_of, driver)
    return cast("AsyncConnection[Any]", driver)


def remember(session: AsyncSession, what: Hashable, value: object) -> None:
    """Note something of the transaction that the session is in, for as long as that lasts."""
    session.info[what] = (session.sync_session.get_transaction(), value)


def recall(session: AsyncSession, what: Hashable) -> Any:
    """What was noted in this transaction; None where nothing was."""
    transaction, value = session.info.get(what, (None, None))
    return value if transaction is not None and transaction is session.sync_session.get_transaction() else None


def is_passing(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed when tried again."""
    state = error.orig.sqlstate if isinstance(error.orig, PsycopgError) else None
    return state is not None and state.startswith(_PASSING_STATES)


def violated_constraint(error: DBAPIError) -> str | None:
    """The name of the constraint an IntegrityError is about."""
    return error.orig.diag.constraint_name if isinstance(error.orig, PsycopgError) else None
