"""Domains while their customer goes."""

from asyncio import create_task

import pytest

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.core.errors import NotFound
from provisioning.domains import add_domain
from provisioning.tenants import delete_customer, get_reseller
from tests import factories
from tests.provisioning.world import make_world

pytestmark = pytest.mark.anyio


async def test_a_customer_that_is_removed_meanwhile_is_not_there(database: Database, clock: TestClock) -> None:
    world = await make_world(database, clock)
    reseller_id = world.domain.reseller_id
    async with database.as_system() as session:
        customer = await factories.make_customer(session, await get_reseller(session, reseller_id))

    async def add() -> None:
        async with database.as_tenant(reseller_id) as session:
            name = f"{factories.unique('praxis')}.example"
            await add_domain(session, reseller_id, name=name, customer_id=customer.id, now=clock.now())

    async with database.as_tenant(reseller_id) as session:
        await delete_customer(session, reseller_id, customer.id)
        adding = create_task(add())
        await world.until_somebody_waits()
    with pytest.raises(NotFound, match=customer.id):
        await adding
