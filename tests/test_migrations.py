"""Migrations: each one goes up, down and up again, and together they are what the models say."""

from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine

from provisioning.core.migrations import configuration, migrate, newest_revision, scripts
from tests.conftest import Server


@pytest.fixture
def empty_url(server: Server) -> str:
    return server.create(f"empty_{uuid4().hex[:8]}", template="template0")


def test_every_migration_goes_up_down_and_up_again(empty_url: str) -> None:
    config = configuration()
    engine = create_engine(empty_url)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        for revision, before in _oldest_first(config):
            command.upgrade(config, revision)
            command.downgrade(config, before)
            command.upgrade(config, revision)
    engine.dispose()


def test_going_all_the_way_down_leaves_nothing(empty_url: str) -> None:
    config = configuration()
    engine = create_engine(empty_url)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        command.downgrade(config, "base")
        assert _left_behind(connection) == ["alembic_version"]
    engine.dispose()


def test_models_and_migrations_agree(empty_url: str) -> None:
    migrate(empty_url)
    config = configuration()
    engine = create_engine(empty_url)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.check(config)
    engine.dispose()


def test_migrating_twice_changes_nothing(empty_url: str) -> None:
    migrate(empty_url)
    migrate(empty_url)
    engine = create_engine(empty_url)
    with engine.connect() as connection:
        found = connection.exec_driver_sql("select version_num from alembic_version").scalars().all()
    engine.dispose()
    assert found == [newest_revision()]


def test_there_is_one_line_of_migrations_with_dated_names() -> None:
    directory = ScriptDirectory.from_config(configuration())
    assert len(directory.get_heads()) == 1
    for path in (scripts() / "versions").glob("*.py"):
        assert path.name[:11].replace("-", "").rstrip("_").isdigit(), f"{path.name} must begin with its date"


def _oldest_first(config: Config) -> list[tuple[str, str]]:
    """(revision, the one before it or base)."""
    walked = list(ScriptDirectory.from_config(config).walk_revisions())
    return [(script.revision, str(script.down_revision or "base")) for script in reversed(walked)]


def _left_behind(connection: Connection) -> list[str]:
    """Tables, functions and types that belong to no extension."""
    query = """
        select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'S', 'c')
        union select proname from pg_proc where pronamespace = 'public'::regnamespace
            and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e')
        union select typname from pg_type where typnamespace = 'public'::regnamespace and typtype in ('e', 'd')
        order by name
    """
    return [str(name) for name in connection.exec_driver_sql(query).scalars()]
