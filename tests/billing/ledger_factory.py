"""Worlds to bill: resellers, customers, periods and prices, as rows and as the pure module sees them."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from billing import runs
from billing.models import InvoiceRun, Issuer
from billing.periods import BillingMonth
from billing.prices import create_price_list
from billing.rating import Period, PriceTable, Tier
from billing.resale_prices import create_resale_price
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from provisioning.ledger import ServicePeriod
from provisioning.tenants import Customer, Reseller

NOVEMBER = BillingMonth(2026, 11)
IN_DECEMBER = datetime(2026, 12, 1, 6, 0, tzinfo=UTC)
CLASSES = ("exchange", "imap", "pop3")
PRICES: Mapping[str, tuple[Tier, ...]] = {
    "exchange": (Tier(1, 790), Tier(10, 690)),
    "imap": (Tier(1, 290),),
    "pop3": (Tier(0, 100),),
}
ISSUER = Issuer(
    name="Postfachwerk Betrieb GmbH",
    street="Gerberau 12",
    postcode="79098",
    city="Freiburg im Breisgau",
    country="DE",
    vat_id="DE136695976",
    tax_number="06123/45678",
    email="rechnung@postfachwerk.example",
    iban="DE02120300000000202051",
    bic="BYLADEM1001",
)


@dataclass(frozen=True)
class PriceListFacts:
    reseller_id: str | None
    valid_from: date
    prices: Mapping[str, tuple[Tier, ...]]


@dataclass
class World:
    """What was put into the database, for the pure module to rate."""

    periods: dict[str, list[Period]] = field(default_factory=dict)
    lists: list[PriceListFacts] = field(default_factory=list)

    def table(self, reseller_id: str, month: BillingMonth) -> PriceTable:
        """The prices of a month by the plainest reading of the rule."""

        def latest(owner: str | None) -> Mapping[str, tuple[Tier, ...]]:
            holding = [each for each in self.lists if each.reseller_id == owner and each.valid_from <= month.starts_on]
            return max(holding, key=lambda each: each.valid_from).prices if holding else {}

        return {**latest(None), **latest(reseller_id)}


async def add_reseller(session: AsyncSession, **details: Any) -> str:
    reseller_id = new_id("res")
    address = {
        "name": "Müller & Söhne IT <GmbH>",
        "street": "Straße des 17. Juni 1",
        "postcode": "10623",
        "city": "Berlin",
        "billing_email": "rechnung@mueller.example",
    }
    session.add(Reseller(id=reseller_id, created_at=datetime(2026, 1, 1, tzinfo=UTC), **{**address, **details}))
    await session.flush()
    return reseller_id


async def add_customer(session: AsyncSession, reseller_id: str, name: str = "Kanzlei Grün") -> str:
    customer = Customer(
        id=new_id("cus"), reseller_id=reseller_id, name=name, created_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    session.add(customer)
    await session.flush()
    return customer.id


async def add_periods(session: AsyncSession, reseller_id: str, periods: Iterable[Period]) -> None:
    rows = [
        {
            "id": new_id("per"),
            "reseller_id": reseller_id,
            "customer_id": period.customer_id,
            "mailbox_id": period.mailbox_id,
            "address": f"{period.mailbox_id}@kanzlei.example",
            "service_class": period.service_class,
            "location": period.location,
            "starts_on": period.starts_on,
            "ends_on": period.ends_on,
            "start_reason": "ordered",
            "end_reason": None if period.ends_on is None else "deleted",
        }
        for period in periods
    ]
    if rows:
        await session.execute(insert(ServicePeriod), rows)


async def add_mailboxes(
    session: AsyncSession,
    reseller_id: str,
    customer_id: str,
    *,
    count: int = 1,
    service_class: str = "exchange",
    starts_on: date = date(2026, 11, 1),
    ends_on: date | None = None,
) -> list[str]:
    ids = [new_id("mbx") for _ in range(count)]
    periods = [Period(each, customer_id, service_class, "de-fra-1", starts_on, ends_on) for each in ids]
    await add_periods(session, reseller_id, periods)
    return ids


async def add_prices(
    session: AsyncSession,
    reseller_id: str | None = None,
    *,
    valid_from: date = date(2026, 1, 1),
    prices: Mapping[str, Sequence[Tier]] = PRICES,
) -> str:
    price_list = await create_price_list(
        session, reseller_id, name="Preise 2026", valid_from=valid_from, prices=prices, now=IN_DECEMBER
    )
    return price_list.id


async def add_resale_price(
    session: AsyncSession,
    reseller_id: str,
    *,
    service_class: str = "exchange",
    price_cents: int = 1190,
    valid_from: date = date(2026, 1, 1),
    customer_id: str | None = None,
) -> str:
    price = await create_resale_price(
        session,
        reseller_id,
        service_class=service_class,
        price_cents=price_cents,
        valid_from=valid_from,
        customer_id=customer_id,
        now=IN_DECEMBER,
    )
    return price.id


async def add_billable_resellers(database: Database, count: int, **details: Any) -> list[str]:
    """Resellers of one customer and two mailboxes each, under one price list for all."""
    async with database.as_system() as session:
        await add_prices(session)
        resellers = []
        for _ in range(count):
            reseller_id = await add_reseller(session, **details)
            customer_id = await add_customer(session, reseller_id)
            await add_mailboxes(session, reseller_id, customer_id, count=2, starts_on=date(2026, 11, 17))
            resellers.append(reseller_id)
    return resellers


async def bill(database: Database, month: BillingMonth = NOVEMBER, *, now: datetime = IN_DECEMBER) -> InvoiceRun:
    async with database.as_system() as session:
        run = await runs.start_run(session, month, actor="operator", now=now)
    return await runs.continue_run(database, run.id, now=now, issuer=ISSUER)


async def read(database: Database, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
    async with database.as_system() as session:
        return [tuple(row) for row in await session.execute(text(sql), parameters)]


async def random_world(session: AsyncSession, seed: int, *, months: Sequence[BillingMonth]) -> World:
    """A few resellers whose mailboxes come, change class, go and return on any day of these months."""
    random_source = random.Random(seed)
    world = World()
    for number in range(5):
        reseller_id = await add_reseller(session, name=f"Systemhaus Ö{number}")
        customers = [
            await add_customer(session, reseller_id, f"Kundin {place}") for place in range(random_source.randint(1, 3))
        ]
        world.periods[reseller_id] = [
            period
            for _ in range(random_source.randint(0, 25))
            for period in _life(random_source, random_source.choice(customers), months)
        ]
        await add_periods(session, reseller_id, world.periods[reseller_id])
    owners = [None, *random_source.sample(sorted(world.periods), 3)]
    first, last = months[0].starts_on, months[-1].ends_on
    for owner in owners:
        days = {_day(random_source, first, last) for _ in range(2)}
        # Everybody has a price from the first day on; the days of later lists are any.
        for valid_from in sorted(days | ({first - timedelta(days=20)} if owner is None else set())):
            named = CLASSES if owner is None else random_source.sample(CLASSES, random_source.randint(1, 3))
            prices = {service_class: _tiers(random_source) for service_class in named}
            world.lists.append(PriceListFacts(owner, valid_from, prices))
            await add_prices(session, owner, valid_from=valid_from, prices=prices)
    return world


def _life(random_source: random.Random, customer_id: str, months: Sequence[BillingMonth]) -> Iterable[Period]:
    mailbox_id = new_id("mbx")
    day = _day(random_source, months[0].starts_on - timedelta(days=30), months[-1].ends_on)
    for _ in range(random_source.randint(1, 4)):
        service_class = random_source.choice(CLASSES)
        # Nought is a class changed again on its first day, one an order given up on the same day.
        length = random_source.choice((None, 0, 1, random_source.randint(2, 90)))
        ends_on = None if length is None else day + timedelta(days=length)
        yield Period(mailbox_id, customer_id, service_class, "de-fra-1", day, ends_on)
        if ends_on is None:
            return
        day = ends_on + timedelta(days=random_source.choice((0, 0, 1, 40)))


def _tiers(random_source: random.Random) -> tuple[Tier, ...]:
    first = random_source.randint(0, 1)
    steps = sorted(random_source.sample(range(2, 15), random_source.randint(0, 3)))
    return tuple(Tier(quantity, random_source.randint(0, 1999)) for quantity in (first, *steps))


def _day(random_source: random.Random, first: date, last: date) -> date:
    return first + timedelta(days=random_source.randrange((last - first).days))
