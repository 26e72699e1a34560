"""The stages of tests that are generated from the route table; a test file asks for them by `pytest_plugins`."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from provisioning.core.database import Database
from tests.api.stage import Facts, Stage, on_stage
from tests.api.stage_rows import build
from tests.conftest import Server


@pytest.fixture(scope="session")
def stage_template(server: Server, template: str) -> Iterator[tuple[str, Facts]]:
    name = f"stage_{uuid4().hex[:8]}"
    facts = asyncio.run(build(server.create(name, template=template)))
    yield name, facts
    server.drop(name)


@pytest.fixture
async def stage(server: Server, stage_template: tuple[str, Facts]) -> AsyncIterator[Stage]:
    """A clone for this test alone."""
    async with _open(server, stage_template) as opened:
        yield opened


@pytest.fixture(scope="module")
async def shared_stage(server: Server, stage_template: tuple[str, Facts]) -> AsyncIterator[Stage]:
    """A clone for the tests of this file that change nothing."""
    async with _open(server, stage_template) as opened:
        before = await opened.fingerprint()
        yield opened
        assert await opened.fingerprint() == before, "a refused call, or one that reads, has changed something"


@asynccontextmanager
async def _open(server: Server, stage_template: tuple[str, Facts]) -> AsyncIterator[Stage]:
    template, facts = stage_template
    name = f"clone_{uuid4().hex[:8]}"
    database = Database(server.create(name, template=template), pool_size=5)
    opened = on_stage(database, facts)
    try:
        yield opened
        assert not opened.undocumented, "\n".join(opened.undocumented)
    finally:
        for client in opened.clients:
            await client.aclose()
        await database.close()
        server.drop(name)
