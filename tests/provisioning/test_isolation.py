"""Row-level security: what the query layer forgets, the database refuses.

No statement here filters by reseller. The database belongs to an ordinary login, as in production: a superuser would
pass every policy by. Every owned table is asked, by what the metadata says there is, so a new one cannot dodge it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb
from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    CursorResult,
    Date,
    DateTime,
    Enum,
    Integer,
    LargeBinary,
    Table,
    make_url,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

import api.main  # noqa: F401  # with it all tables join the metadata
import provisioning.ledger
import provisioning.models
from provisioning.core import tables
from provisioning.core.database import APP_ROLE, SYSTEM_ROLE, Database
from provisioning.core.migrations import migrate
from tests.conftest import Server, as_superuser

pytestmark = pytest.mark.anyio

MINE, THEIRS = "res_mine", "res_theirs"
REFUSED = "42501"  # insufficient_privilege: a missing grant, or a row that a policy does not let in
IMMUTABLE = "23000"  # integrity constraint violation, as the triggers say it

OWNERS = {"reseller": "id", "idempotency_key": "principal_id"} | {
    name: "reseller_id" for name, table in tables.Table.metadata.tables.items() if "reseller_id" in table.columns
}
# Authentication reads these before it knows who calls.
READ_BEFORE_ROLE = {"api_key", "reseller"}

every_owned_table = pytest.mark.parametrize("table", sorted(OWNERS))


def some_value(column: Column[Any], owner: str) -> Any:
    """Anything that fits the column's type; texts differ from owner to owner, as unique keys want it."""
    if column.name == OWNERS[column.table.name]:
        return owner
    if column.nullable:
        return None
    kind = column.type
    if isinstance(kind, Enum):
        return kind.enums[0]
    values: dict[type, Any] = {
        ARRAY: [],
        JSONB: Jsonb({}),
        LargeBinary: owner.encode(),
        Boolean: False,
        Integer: len(owner),
        DateTime: datetime(2026, 11, 17, tzinfo=UTC),
        Date: date(2026, 11, 1),
    }
    return next((value for type_, value in values.items() if isinstance(kind, type_)), f"{column.name} {owner}")


def insert_row(connection: psycopg.Connection[Any], table: Table, owner: str) -> None:
    row = {column.name: some_value(column, owner) for column in table.columns}
    connection.execute(
        sql.SQL("insert into {} ({}) values ({})").format(
            sql.Identifier(table.name),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(map(sql.Placeholder, row)),
        ),
        row,
    )


def fill(connection: psycopg.Connection[Any]) -> None:
    """One row of each reseller in every owned table, whatever their keys, checks and triggers would say."""
    connection.execute("set session_replication_role = replica")
    checks = connection.execute(
        "select conrelid::regclass::text, conname from pg_constraint "
        "where contype = 'c' and connamespace = 'public'::regnamespace and conrelid <> 0"
    ).fetchall()
    for table, name in checks:
        connection.execute(sql.SQL("alter table {} drop constraint {}").format(sql.SQL(table), sql.Identifier(name)))
    for name in OWNERS:
        for owner in (MINE, THEIRS):
            insert_row(connection, tables.Table.metadata.tables[name], owner)


class World:
    """A database of an ordinary login with both resellers' rows; `admin` is the superuser's way in."""

    def __init__(self, admin: str, login: str) -> None:
        self.admin = admin
        self.login = login

    def rows(self, table: str, owner: str) -> list[tuple[Any, ...]]:
        query = sql.SQL("select * from {} where {} = %s").format(sql.Identifier(table), sql.Identifier(OWNERS[table]))
        with psycopg.connect(self.admin) as connection:
            return connection.execute(query, [owner]).fetchall()


@contextmanager
def migrated_by_a_login(server: Server, *, granted: str) -> Iterator[World]:
    """A database of a login of its own, to which the two roles were granted with these options."""
    name = f"isolation_{uuid4().hex[:8]}"
    server.execute(f"create role {name} login")
    server.execute(f"grant {APP_ROLE}, {SYSTEM_ROLE} to {name} {granted}")
    admin = as_superuser(server.create(name, template="template0"))
    server.execute(f"alter database {name} owner to {name}")
    login = make_url(admin).set(drivername="postgresql+psycopg", username=name).render_as_string(hide_password=False)
    migrate(login)
    yield World(admin, login)
    server.drop(name)
    server.execute(f"drop owned by {name} cascade")  # what it granted of the roles, to itself
    server.execute(f"drop role {name}")


@pytest.fixture(scope="module")
def world(server: Server, template: str) -> Iterator[World]:
    assert template, "migrated by the superuser before, so the two roles are there"
    with migrated_by_a_login(server, granted="") as world:
        with psycopg.connect(world.admin) as connection:
            fill(connection)
        yield world


@pytest.fixture
async def database(world: World) -> AsyncIterator[Database]:
    database = Database(world.login, pool_size=2)
    yield database
    await database.close()


async def try_to(session: AsyncSession, statement: str, **values: Any) -> int | None:
    """How many rows a statement touched; None when it was refused."""
    try:
        result = await session.execute(text(statement), values)
    except (IntegrityError, ProgrammingError) as error:
        # What is immutable refuses before anybody has looked whose rows there are.
        if getattr(error.orig, "sqlstate", None) not in (REFUSED, IMMUTABLE):
            raise
        await session.rollback()
        return None
    assert isinstance(result, CursorResult)
    return result.rowcount


async def count(session: AsyncSession, table: str) -> int:
    counted = await session.scalar(text(f"select count(*) from {table}"))  # noqa: S608  # a table of ours
    return int(counted)


class TestEveryOwnedTable:
    @every_owned_table
    async def test_a_select_without_filter_sees_own_rows_only(self, database: Database, table: str) -> None:
        async with database.as_tenant(MINE) as session:
            owners = await session.scalars(text(f"select {OWNERS[table]} from {table}"))  # noqa: S608  # as above
            assert owners.all() == [MINE]

    @every_owned_table
    async def test_the_system_sees_both(self, database: Database, table: str) -> None:
        async with database.as_system() as session:
            assert await count(session, table) == 2

    @every_owned_table
    async def test_an_update_without_filter_touches_own_rows_only(
        self, world: World, database: Database, table: str
    ) -> None:
        before = world.rows(table, THEIRS)
        async with database.as_tenant(MINE) as session:
            column = OWNERS[table]
            assert await try_to(session, f"update {table} set {column} = {column}") in (1, None)  # noqa: S608  # as above
        assert world.rows(table, THEIRS) == before

    @every_owned_table
    async def test_a_row_is_not_given_away(self, world: World, database: Database, table: str) -> None:
        before = world.rows(table, THEIRS), world.rows(table, MINE)
        async with database.as_tenant(MINE) as session:
            given = await try_to(session, f"update {table} set {OWNERS[table]} = :theirs", theirs=THEIRS)  # noqa: S608  # as above
        assert given is None
        assert (world.rows(table, THEIRS), world.rows(table, MINE)) == before

    @every_owned_table
    async def test_a_delete_without_filter_takes_own_rows_only(
        self, world: World, database: Database, table: str
    ) -> None:
        async with database.as_tenant(MINE) as session:
            assert await try_to(session, f"delete from {table}") in (1, None)  # noqa: S608  # as above
            await session.rollback()
        async with database.as_tenant(MINE) as session:
            gone = await try_to(session, f"delete from {table} where {OWNERS[table]} = :theirs", theirs=THEIRS)  # noqa: S608  # as above
        assert gone in (0, None)
        assert len(world.rows(table, THEIRS)) == 1

    @every_owned_table
    async def test_no_row_is_inserted_in_anothers_name(self, world: World, database: Database, table: str) -> None:
        with psycopg.connect(world.admin) as connection:
            query = sql.SQL("select to_jsonb(x)::text from {} as x where {} = %s")
            found = connection.execute(
                query.format(sql.Identifier(table), sql.Identifier(OWNERS[table])), [THEIRS]
            ).fetchone()
        assert found is not None
        copy = f"insert into {table} select * from jsonb_populate_record(null::{table}, cast(:row as jsonb))"  # noqa: S608  # as above
        async with database.as_tenant(MINE) as session:
            assert await try_to(session, copy, row=found[0]) is None
        assert len(world.rows(table, THEIRS)) == 1

    @every_owned_table
    async def test_without_a_tenant_nothing_is_there(self, database: Database, table: str) -> None:
        async with database.transaction() as session:
            await session.execute(text(f"set local role {APP_ROLE}"))
            assert await count(session, table) == 0
        async with database.as_tenant("") as session:
            assert await count(session, table) == 0

    @every_owned_table
    async def test_the_login_itself_changes_nothing_and_reads_only_what_it_must(
        self, world: World, database: Database, table: str
    ) -> None:
        before = world.rows(table, MINE), world.rows(table, THEIRS)
        async with database.transaction() as session:
            assert await count(session, table) == (2 if table in READ_BEFORE_ROLE else 0)
            column = OWNERS[table]
            assert await try_to(session, f"update {table} set {column} = {column}") in (0, None)  # noqa: S608  # as above
        async with database.transaction() as session:
            assert await try_to(session, f"delete from {table}") in (0, None)  # noqa: S608  # as above
        assert (world.rows(table, MINE), world.rows(table, THEIRS)) == before


class TestPooledConnections:
    async def test_tenants_that_take_turns_on_few_connections_never_meet(self, database: Database) -> None:
        async def look(owner: str) -> set[str]:
            async with database.as_tenant(owner) as session:
                first = await session.scalars(text("select reseller_id from customer"))
                second = await session.scalars(text("select reseller_id from mailbox"))
                return {*first, *second}

        turns = [MINE, THEIRS] * 50
        assert await asyncio.gather(*map(look, turns)) == [{owner} for owner in turns]

    async def test_neither_commit_nor_error_nor_cancellation_leaves_a_tenant_behind(self, database: Database) -> None:
        async def fail(owner: str) -> None:
            async with database.as_tenant(owner) as session:
                await session.execute(text("select 1 / 0 from customer"))

        async def hang(owner: str) -> None:
            async with asyncio.timeout(0.05), database.as_tenant(owner) as session:
                await session.execute(text("select pg_sleep(60) from customer"))

        async def look_without_tenant() -> int:
            async with database.transaction() as session:
                as_login = await count(session, "customer")
                await session.execute(text(f"set local role {APP_ROLE}"))
                return as_login + await count(session, "customer")

        for _ in range(3):
            ends = await asyncio.gather(fail(MINE), hang(THEIRS), fail(THEIRS), hang(MINE), return_exceptions=True)
            assert all(isinstance(end, Exception) for end in ends)
            looks = [look_without_tenant() for _ in range(6)]
            assert await asyncio.gather(*looks) == [0] * 6

    async def test_a_statement_prepared_for_one_tenant_answers_the_next_one_with_its_own_rows(
        self, world: World
    ) -> None:
        database = Database(world.login, pool_size=1)
        try:
            for owner in [MINE, THEIRS] * 6:  # a plan is prepared at the second use, and generic after five
                async with database.as_tenant(owner) as session:
                    rows = await session.scalars(text("select reseller_id from domain"))
                    assert rows.all() == [owner]
            async with database.as_system() as session:
                assert len((await session.scalars(text("select reseller_id from domain"))).all()) == 2
        finally:
            await database.close()


class TestCatalogue:
    def test_every_table_with_an_owner_is_secured_for_both_roles(self, world: World) -> None:
        with psycopg.connect(world.admin) as connection:
            owned = connection.execute(
                "select c.relname, c.relrowsecurity and c.relforcerowsecurity from pg_class c "
                "join pg_attribute a on a.attrelid = c.oid and a.attname = 'reseller_id' and not a.attisdropped "
                "where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')"
            ).fetchall()
            policies = connection.execute(
                "select tablename, policyname, roles::text[], coalesce(qual, '') from pg_policies "
                "where schemaname = 'public'"
            ).fetchall()
        assert {name for name, _ in owned} | {"reseller", "idempotency_key"} == set(OWNERS)
        assert [name for name, forced in owned if not forced] == []
        for name in OWNERS:
            mine = {policy: (roles, qual) for table, policy, roles, qual in policies if table == name}
            roles, qual = mine["tenant"]
            assert roles == [APP_ROLE]
            assert qual.startswith((f"((({OWNERS[name]})", f"(({OWNERS[name]})")), qual
            only_itself = f"(array_position(ARRAY['{SYSTEM_ROLE}'::text], (CURRENT_USER)::text) IS NOT NULL)"
            assert mine["system"] == ([SYSTEM_ROLE], only_itself)

    def test_the_roles_own_nothing_and_bypass_nothing(self, world: World) -> None:
        with psycopg.connect(world.admin) as connection:
            powers = connection.execute(
                "select rolname from pg_roles where rolname = any(%s) and (rolsuper or rolbypassrls or rolcanlogin)",
                [[APP_ROLE, SYSTEM_ROLE]],
            ).fetchall()
            owned = connection.execute(
                "select relname from pg_class where relowner::regrole::text = any(%s)", [[APP_ROLE, SYSTEM_ROLE]]
            ).fetchall()
        assert (powers, owned) == ([], [])

    async def test_a_login_that_made_the_roles_itself_takes_them_on(self, server: Server, template: str) -> None:
        assert template, "as above"
        as_maker = "with admin true, set false, inherit false"  # what CREATE ROLE leaves its maker with
        with migrated_by_a_login(server, granted=as_maker) as world:
            database = Database(world.login, pool_size=1)
            async with database.as_system() as session:
                assert await count(session, "customer") == 0
            async with database.as_tenant(MINE) as session:
                assert await count(session, "customer") == 0
            await database.close()

    def test_models_of_both_halves_were_looked_at(self) -> None:
        assert {"service_period", "mailbox", "invoice"} <= set(OWNERS)
        assert provisioning.models.Mailbox.__tablename__ in OWNERS
        assert provisioning.ledger.ServicePeriod.__tablename__ in OWNERS
