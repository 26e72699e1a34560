"""A spare database is as good as a clone: whatever a test did to it, the next one finds what the template holds."""

from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest

from tests.conftest import Server, as_superuser
from tests.spares import Spares

Contents = dict[str, list[tuple[Any, ...]]]

A_JOB = "insert into procrastinate_jobs (queue_name, task_name, args) values ('default', 'nothing', '{}')"


@pytest.fixture(scope="module")
def own(server: Server, template: str) -> Iterator[Spares]:
    spares = Spares(server, template)
    yield spares
    spares.drop()


def read(url: str) -> Contents:
    """All rows of all tables, and where each sequence stands."""
    with psycopg.connect(as_superuser(url)) as connection:
        relations = connection.execute(
            "select relname from pg_class where relkind in ('r', 'S') and relnamespace = 'public'::regnamespace"
        ).fetchall()
        return {
            name: sorted(connection.execute(f'select * from "{name}"'.encode()), key=repr)  # noqa: S608  # the names are the catalogue's
            for (name,) in relations
        }


def write(url: str, *statements: LiteralString) -> None:
    with psycopg.connect(as_superuser(url)) as connection:
        connection.execute("set session_replication_role = replica")
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param([A_JOB], id="inserted"),
        pytest.param(["update data_centre set name = 'elsewhere'"], id="updated"),
        pytest.param(["delete from data_centre"], id="deleted"),
        pytest.param(["delete from alembic_version", "insert into alembic_version values ('none')"], id="replaced"),
        pytest.param([A_JOB, "delete from procrastinate_jobs"], id="only a sequence"),
        pytest.param(["create temporary table passing (id int)", A_JOB], id="beside a temporary table"),
    ],
)
def test_what_one_wrote_the_next_does_not_find(own: Spares, statements: list[LiteralString]) -> None:
    with own.taken() as url:
        before = read(url)
        write(url, *statements)
        assert read(url) != before
    for _ in range(2):
        with own.taken() as again:
            assert again == url
            assert read(again) == before
            write(again, *statements)


@pytest.mark.parametrize(
    "statement",
    [
        "alter table reseller add column forgotten text",
        "alter table reseller disable trigger all",
        "create index on reseller (name)",
        "create function forgotten() returns int language sql as 'select 1'",
        "alter table reseller no force row level security",
        "revoke select on reseller from postfachwerk_app",
        "truncate audit_event",  # which puts another file in the place of the table's
    ],
)
def test_a_database_with_another_schema_is_given_to_nobody(own: Spares, statement: LiteralString) -> None:
    with own.taken() as url:
        write(url, statement)
    with own.taken() as another:
        assert another != url
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(as_superuser(url))


def test_two_have_two_and_a_transaction_left_open_ends_with_the_taking(own: Spares) -> None:
    with own.taken() as first, own.taken() as second:
        assert first != second
        left = psycopg.connect(as_superuser(first))
        left.execute(A_JOB)
    with pytest.raises(psycopg.OperationalError), left:
        left.execute("select 1")
