"""What every test stands on: a real PostgreSQL, one migrated database cloned per worker, and a clock set by hand."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from argon2 import PasswordHasher
from sqlalchemy import URL, make_url

from provisioning import passwords
from provisioning.core.clock import TestClock
from provisioning.core.database import APP_ROLE, SYSTEM_ROLE, Database
from provisioning.core.embedded import EmbeddedPostgres
from provisioning.core.log import configure_logging
from provisioning.core.migrations import migrate
from tests import cells
from tests.spares import Spares

NOW = datetime(2026, 11, 17, 10, 0, tzinfo=UTC)

# Nothing in a test outlives it, so neither durability across power loss nor tidying up is worth waiting for.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "200",
}


# Owns every database of the tests, as in production: a superuser would pass row-level security by. The two roles stand
# before it migrates, because it may create none.
LOGIN = "postfachwerk_tests"
_MAKE_LOGIN = f"""
    select pg_advisory_xact_lock(1);
    do $$ begin
        if not exists (select from pg_roles where rolname = '{LOGIN}') then
            create role {APP_ROLE} nologin;
            create role {SYSTEM_ROLE} nologin;
            create role {LOGIN} login;
            grant {APP_ROLE}, {SYSTEM_ROLE} to {LOGIN};
        end if;
    end $$
"""  # noqa: S608  # the names are ours


def as_superuser(url: URL | str) -> str:
    """The same database for psycopg, for what no login of the service may do or see."""
    superuser = make_url(url).set(drivername="postgresql", username="postfachwerk")
    return superuser.render_as_string(hide_password=False)


class Server:
    """One PostgreSQL for the whole run, shared by the workers, with a migrated template to clone from."""

    def __init__(self, embedded: EmbeddedPostgres) -> None:
        self.embedded = embedded
        self.admin = embedded.start()
        self.execute(_MAKE_LOGIN)

    def execute(self, sql: str) -> None:
        with psycopg.connect(self.admin.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(sql.encode())

    def create(self, name: str, *, template: str) -> str:
        """The URL of a new database for the login that owns it."""
        self.execute(f'create database "{name}" template "{template}" owner {LOGIN}')
        return make_url(self.embedded.url(name)).set(username=LOGIN).render_as_string(hide_password=False)

    def superuser_url(self, name: str) -> str:
        return as_superuser(self.embedded.url(name))

    def drop(self, name: str) -> None:
        self.execute(f'drop database if exists "{name}" with (force)')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files of slow tests first, so that no process begins one when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server lives in the run's common folder; each worker holds it and the last one to leave stops it."""
    embedded = EmbeddedPostgres(_run_folder(tmp_path_factory) / "postgresql", fsync=False, settings=FAST)
    yield Server(embedded)
    embedded.stop()


def _run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of one run share and that `nobody`, who runs PostgreSQL for root, can enter."""
    common = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent
    folder = Path(tempfile.gettempdir()) / f"postfachwerk-tests-{sha256(str(common).encode()).hexdigest()[:12]}"
    folder.mkdir(mode=0o711, exist_ok=True)
    return folder


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The last to leave, which is the run itself and not one of its workers, takes the server's data away."""
    cells.let_go()
    if not hasattr(session.config, "workerinput"):
        shutil.rmtree(_run_folder(session.config._tmp_path_factory), ignore_errors=True)  # type: ignore[attr-defined]  # pytest offers no public way to it here


@pytest.fixture(scope="session")
def template(server: Server) -> Iterator[str]:
    """A migrated database of this worker's own, so that workers do not wait for each other's clones."""
    name = f"template_{uuid4().hex[:8]}"
    migrate(server.create(name, template="template0"))
    yield name
    server.drop(name)


@pytest.fixture(scope="session")
def worker_url(server: Server, template: str) -> Iterator[str]:
    name = f"worker_{uuid4().hex[:8]}"
    yield server.create(name, template=template)
    server.drop(name)


@pytest.fixture(scope="session")
def spares(server: Server, template: str) -> Iterator[Spares]:
    spares = Spares(server, template)
    yield spares
    spares.drop()


@pytest.fixture
def fresh_url(spares: Spares) -> Iterator[str]:
    """A database that only this test sees, for tests that look at everything at once."""
    with spares.taken() as url:
        yield url


@pytest.fixture
async def database(worker_url: str) -> AsyncIterator[Database]:
    """The worker's database. A test that makes its own reseller (factories) needs no other isolation."""
    database = Database(worker_url, pool_size=20)
    yield database
    await database.close()


@pytest.fixture
async def fresh_database(fresh_url: str) -> AsyncIterator[Database]:
    database = Database(fresh_url, pool_size=20)
    yield database
    await database.close()


@pytest.fixture(scope="session", autouse=True)
def _logged_as_in_production() -> None:
    """Else structlog paints every traceback with its source and its variables, which takes seconds."""
    configure_logging(json=True, level="INFO")


@pytest.fixture(scope="session", autouse=True)
def _quick_to_hash() -> Iterator[None]:
    """Passwords cost a tenth of a second each on purpose; a hash made for less is the same to who keeps it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "HASHER", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        yield


@pytest.fixture
def clock() -> TestClock:
    return TestClock(NOW)


@pytest.fixture
def now(clock: TestClock) -> datetime:
    return clock.now()


@pytest.fixture
def root() -> Path:
    return Path(__file__).parent.parent
