"""Databases given out as new again and again: to take back what a test wrote costs a fraction of another clone."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString, Protocol
from uuid import uuid4

import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]
# For each table how many rows it has and the last transaction that wrote one: nothing written leaves both as they were.
Marks = dict[str, tuple[int, int | None]]

# What no change of the schema passes by. (Statistics and the rows of a temporary table that is gone are none.)
_CATALOGS = [
    f"pg_catalog.pg_{name}"
    for name in (
        *("attrdef", "attribute", "class", "constraint", "default_acl", "enum", "event_trigger", "extension", "index"),
        *("inherits", "largeobject_metadata", "policy", "proc", "publication", "rewrite", "sequence", "statistic_ext"),
        *("trigger", "type"),
    )
]
_EMPTY = (0, None)
_OTHERS = """
    select pg_terminate_backend(pid, 5000) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
"""
_SETTINGS = """
    select count(*) from pg_db_role_setting where setdatabase in
    (select oid from pg_database where datname = current_database())
"""
# As of a table never looked at: from what it held before, the planner would draw conclusions.
_FORGET = (
    "delete from pg_statistic where starelid = any(%(tables)s::regclass[])",
    "update pg_class set reltuples = -1, relpages = 0 where oid = any(%(tables)s::regclass[])",
)


class Cluster(Protocol):
    """The server that the databases lie on, `tests.conftest.Server`."""

    def create(self, name: str, *, template: str) -> str: ...

    def drop(self, name: str) -> None: ...

    def superuser_url(self, name: str) -> str: ...


@dataclass
class Spare:
    """A database as it was given out: its name, its owner's URL, and the marks of its catalogues and tables."""

    name: str
    url: str
    schema: Marks
    rows: Marks


class Spares:
    """Databases that are equal to one template. Whoever takes one finds in it what the template holds and no more."""

    def __init__(self, cluster: Cluster, template: str) -> None:
        self._cluster = cluster
        self._template = template
        self._free: list[Spare] = []
        self._contents: dict[str, bytes] = {}
        self._sequences: dict[str, tuple[int, bool]] = {}

    @contextmanager
    def taken(self) -> Iterator[str]:
        """The owner's URL of a database that nobody else sees; whoever is still in it at the end is thrown out."""
        spare = self._free.pop() if self._free else self._create()
        try:
            yield spare.url
        finally:
            if self._is_restored(spare):
                self._free.append(spare)
            else:
                self._cluster.drop(spare.name)

    def drop(self) -> None:
        while self._free:
            self._cluster.drop(self._free.pop().name)

    def _create(self) -> Spare:
        name = f"spare_{uuid4().hex[:8]}"
        url = self._cluster.create(name, template=self._template)
        with self._opened(name) as connection:
            spare = Spare(name, url, _marks(connection, _CATALOGS), _marks(connection, _with_pages(connection)))
            if not self._sequences:
                self._contents = {table: _read(connection, table) for table, (count, _) in spare.rows.items() if count}
                self._sequences = _positions(connection)
        return spare

    @contextmanager
    def _opened(self, name: str) -> Iterator[Connection]:
        with psycopg.connect(self._cluster.superuser_url(name), autocommit=True) as connection:
            yield connection

    def _is_restored(self, spare: Spare) -> bool:
        """False where more than rows has changed, or where nobody can get in any more."""
        try:
            with self._opened(spare.name) as connection:
                connection.execute(_OTHERS)
                if _marks(connection, _CATALOGS) != spare.schema or connection.execute(_SETTINGS).fetchone() != (0,):
                    return False
                rows = _marks(connection, spare.rows.keys() | _with_pages(connection))
                written = [table for table, mark in rows.items() if mark != spare.rows.get(table, _EMPTY)]
                self._restore(connection, written)
                # What restoring has written itself.
                spare.schema |= _marks(connection, ["pg_catalog.pg_class"])
                spare.rows |= _marks(connection, self._contents.keys() & set(written))
        except psycopg.Error:
            return False
        return True

    def _restore(self, connection: Connection, tables: Sequence[str]) -> None:
        if tables:
            # No trigger, foreign key or policy has a say in it.
            connection.execute("set session_replication_role = replica")
            connection.execute("; ".join(f"delete from {each}" for each in tables).encode())  # noqa: S608  # the names are the catalogue's
            connection.execute(f"vacuum {', '.join(tables)}".encode())
            for statement in _FORGET:
                connection.execute(statement, {"tables": list(tables)})
        for table in tables:
            if table in self._contents:
                with connection.cursor().copy(f"copy {table} from stdin (format binary)".encode()) as copy:
                    copy.write(self._contents[table])
        for name, (value, is_called) in _positions(connection).items():
            if (value, is_called) != self._sequences[name]:
                connection.execute("select setval(%s, %s, %s)", (name, *self._sequences[name]))


def _with_pages(connection: Connection) -> set[str]:
    """The tables that may have rows: one without a page has none."""
    return _names(
        connection,
        "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace "
        "and pg_relation_size(oid) > 0",
    )


def _names(connection: Connection, statement: LiteralString) -> set[str]:
    """Quoted and with their schema, ready to stand in a statement."""
    return {f'public."{name}"' for (name,) in connection.execute(statement)}


def _marks(connection: Connection, tables: Collection[str]) -> Marks:
    if not tables:
        return {}
    each = (f"select '{table}', count(*), max(xmin::text::bigint) from {table}" for table in tables)  # noqa: S608  # the names are the catalogue's
    return {name: (count, last) for name, count, last in connection.execute(" union all ".join(each).encode())}


def _read(connection: Connection, table: str) -> bytes:
    with connection.cursor().copy(f"copy {table} to stdout (format binary)".encode()) as copied:
        return b"".join(bytes(block) for block in copied)


def _positions(connection: Connection) -> dict[str, tuple[int, bool]]:
    names = _names(connection, "select sequencename from pg_sequences where schemaname = 'public'")
    each = (f"select '{name}', last_value, is_called from {name}" for name in names)  # noqa: S608  # the names are the catalogue's
    return {name: (value, called) for name, value, called in connection.execute(" union all ".join(each).encode())}
