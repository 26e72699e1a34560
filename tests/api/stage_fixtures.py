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
from tests.spares import Spares


@pytest.fixture(scope="session")
def stage_template(server: Server, template: str) -> Iterator[tuple[str, Facts]]:
    name = f"stage_{uuid4().hex[:8]}"
    facts = asyncio.run(build(server.create(name, template=template)))
    yield name, facts
    server.drop(name)


@pytest.fixture(scope="session")
def stages(server: Server, stage_template: tuple[str, Facts]) -> Iterator[tuple[Spares, Facts]]:
    template, facts = stage_template
    spares = Spares(server, template)
    yield spares, facts
    spares.drop()


@pytest.fixture
async def stage(stages: tuple[Spares, Facts]) -> AsyncIterator[Stage]:
    """A database for this test alone."""
    async with _open(*stages) as opened:
        yield opened


@pytest.fixture(scope="module")
async def shared_stage(stages: tuple[Spares, Facts]) -> AsyncIterator[Stage]:
    """A database for the tests of this file that change nothing."""
    async with _open(*stages) as opened:
        before = await opened.fingerprint()
        yield opened
        assert await opened.fingerprint() == before, "a refused call, or one that reads, has changed something"


@asynccontextmanager
async def _open(spares: Spares, facts: Facts) -> AsyncIterator[Stage]:
    with spares.taken() as url:
        opened = on_stage(Database(url, pool_size=5), facts)
        try:
            yield opened
            assert not opened.undocumented, "\n".join(opened.undocumented)
        finally:
            await opened.close()
