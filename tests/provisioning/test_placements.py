"""Placing mailboxes and changing data centres never pass each other: the later one finds what the earlier one did."""

from asyncio import create_task
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from provisioning.core.clock import TestClock, berlin_day
from provisioning.core.database import Database
from provisioning.core.errors import Conflict
from provisioning.data_centres import get_data_centre, put_certificate, put_data_centre
from provisioning.mailboxes import lock_mailbox, move_mailbox
from provisioning.orders import MailboxOrder, OrdersRefused, order_mailboxes
from provisioning.policies import check_stays
from provisioning.terms import ServiceClass
from tests.provisioning.world import World, make_world

pytestmark = pytest.mark.anyio

HERE = "de-fra-1"


@pytest.fixture
async def world(fresh_database: Database, clock: TestClock) -> World:
    """Data centres are everybody's."""
    return await make_world(fresh_database, clock)


async def place(world: World, **details: object) -> None:
    """One order of a mailbox in Frankfurt, in a transaction of its own."""
    async with world.database.as_tenant(world.domain.reseller_id) as session:
        await order_mailboxes(session, world.domain.reseller_id, [order(world, **details)], **today(world))


def order(world: World, **details: object) -> MailboxOrder:
    body = {"display_name": "Anna", "service_class": ServiceClass.IMAP, "location": HERE, **details}
    return MailboxOrder.model_validate({"address": f"anna@{world.domain.name}", **body})


def today(world: World) -> dict[str, Any]:
    return {"now": world.clock.now(), "on": berlin_day(world.clock.now())}


async def change(session: AsyncSession, **changes: object) -> None:
    centre, _ = await get_data_centre(session, HERE)
    await put_data_centre(session, HERE, **{**centre.model_dump(exclude={"code", "version"}), **changes})


async def test_an_order_that_waits_for_a_data_centre_to_close_finds_it_closed(world: World) -> None:
    async with world.database.as_system() as session:
        await change(session, accepts_orders=False)
        ordering = create_task(place(world))
        await world.until_somebody_waits()
    with pytest.raises(OrdersRefused) as refused:
        await ordering
    assert [verdict and verdict.code for verdict in refused.value.verdicts] == ["data_centre_closed"]


async def test_a_move_that_waits_for_a_data_centre_to_close_finds_it_closed(world: World) -> None:
    mailbox_id = await world.order(location="de-nbg-1")

    async def move() -> None:
        async with world.database.as_tenant(world.domain.reseller_id) as session:
            mailbox = await lock_mailbox(session, world.domain.reseller_id, mailbox_id)
            await move_mailbox(session, mailbox, to=HERE, **today(world))

    async with world.database.as_system() as session:
        await change(session, accepts_orders=False)
        moving = create_task(move())
        await world.until_somebody_waits()
    with pytest.raises(Conflict) as refused:
        await moving
    assert refused.value.code == "data_centre_closed"


async def test_an_order_that_waits_for_a_certificate_to_be_withdrawn_finds_it_lapsed(world: World) -> None:
    async with world.database.as_system() as session:
        _, certificates = await get_data_centre(session, HERE)
        [c5] = [each for each in certificates if each.scheme == "C5"]
        details = c5.model_dump(exclude={"data_centre"})
        await put_certificate(session, HERE, **{**details, "valid_until": berlin_day(world.clock.now())})
        ordering = create_task(place(world, required_certificates=["C5"]))
        await world.until_somebody_waits()
    with pytest.raises(OrdersRefused) as refused:
        await ordering
    assert [verdict and verdict.code for verdict in refused.value.verdicts] == ["placement_refused"]


async def test_a_change_of_country_that_waits_for_an_order_finds_its_mailbox(world: World) -> None:
    async def emigrate() -> None:
        async with world.database.as_system() as session:
            centre, _ = await get_data_centre(session, HERE, lock=True)
            await check_stays(session, centre, country="US", driver=centre.driver)
            await change(session, country="US")

    async with world.database.as_tenant(world.domain.reseller_id) as session:
        reseller_id = world.domain.reseller_id
        await order_mailboxes(session, reseller_id, [order(world, allowed_countries=["DE"])], **today(world))
        emigrating = create_task(emigrate())
        await world.until_somebody_waits()
    with pytest.raises(Conflict) as refused:
        await emigrating
    assert refused.value.code == "data_centre_in_use"
