"""Who is asked about, and who asks; a test file asks for them by `pytest_plugins`."""

import httpx
import pytest

from provisioning.core.database import Database
from provisioning.models import Domain
from tests import factories
from tests.api.conftest import MakeClient
from tests.api.discovery_world import add_centre


@pytest.fixture
async def centre(database: Database) -> str:
    return await add_centre(database, host="de.example")


@pytest.fixture
async def domain(database: Database) -> Domain:
    async with database.as_system() as session:
        return await factories.make_tenant(session)


@pytest.fixture
def stranger(make_client: MakeClient) -> httpx.AsyncClient:
    return make_client(None)
