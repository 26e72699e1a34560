"""Worlds to bill: resellers, customers, periods and prices, as rows and as the pure module sees them."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from billing import phases, runs
from billing.models import InvoiceRun, Issuer, RunState
from billing.periods import BillingMonth, BillingPeriod
from billing.prices import create_price_list
from billing.rating import Period, PriceTable, Tier
from billing.terms import Proration, Terms, TermsHistory, TiersMode
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from provisioning.ledger import AddOnPeriod, ServicePeriod
from provisioning.tenants import Customer, Reseller

NOVEMBER = BillingMonth(2026, 11)
IN_DECEMBER = datetime(2026, 12, 1, 6, 0, tzinfo=UTC)
CLASSES = ("exchange", "imap", "pop3")
ADD_ONS = ("archive", "extra_storage")
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
    contact_name="Rechnungsstelle",
    phone="+49 761 1234560",
)


@dataclass(frozen=True)
class PriceListFacts:
    reseller_id: str | None
    valid_from: date
    prices: Mapping[str, tuple[Tier, ...]]
    terms: Mapping[str, Terms] = field(default_factory=dict)


@dataclass
class World:
    """What was put into the database, for the pure module to rate."""

    periods: dict[str, list[Period]] = field(default_factory=dict)
    lists: list[PriceListFacts] = field(default_factory=list)
    anchors: dict[str, int] = field(default_factory=dict)

    def table(self, reseller_id: str, period: BillingPeriod) -> PriceTable:
        """The prices of a period by the plainest reading of the rule."""

        def latest(owner: str | None) -> Mapping[str, tuple[Tier, ...]]:
            holding = [each for each in self.lists if each.reseller_id == owner and each.valid_from <= period.starts_on]
            return max(holding, key=lambda each: each.valid_from).prices if holding else {}

        return {**latest(None), **latest(reseller_id)}

    def history(self, reseller_id: str) -> TermsHistory:
        """The terms of each day on which some list begins, as plainly."""

        def holding(owner: str | None, on: date, product: str) -> Terms | None:
            begun = [each for each in self.lists if each.reseller_id == owner and each.valid_from <= on]
            latest = max(begun, key=lambda each: each.valid_from, default=None)
            named = latest is not None and product in latest.prices
            return latest.terms.get(product, Terms()) if latest is not None and named else None

        days = sorted({each.valid_from for each in self.lists}, reverse=True)
        return {
            product: tuple(
                (day, holding(reseller_id, day, product) or holding(None, day, product) or Terms()) for day in days
            )
            for product in (*CLASSES, *ADD_ONS)
        }


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
    """Periods of mailboxes and of add-ons, to their tables."""
    services: list[dict[str, Any]] = []
    add_ons: list[dict[str, Any]] = []
    for period in periods:
        row = {
            "id": new_id("per"),
            "reseller_id": reseller_id,
            "customer_id": period.customer_id,
            "mailbox_id": period.mailbox_id,
            "address": f"{period.mailbox_id}@kanzlei.example",
            "location": period.location,
            "starts_on": period.starts_on,
            "ends_on": period.ends_on,
            "start_reason": "ordered",
            "end_reason": None if period.ends_on is None else "deleted",
        }
        if period.is_add_on:
            add_ons.append({**row, "add_on": period.service_class, "quantity": period.quantity})
        else:
            services.append({**row, "service_class": period.service_class})
    for table, rows in ((ServicePeriod, services), (AddOnPeriod, add_ons)):
        if rows:
            await session.execute(insert(table), rows)


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
    terms: Mapping[str, Terms] | None = None,
) -> str:
    price_list = await create_price_list(
        session, reseller_id, name="Preise 2026", valid_from=valid_from, prices=prices, terms=terms, now=IN_DECEMBER
    )
    return price_list.id


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


async def bill(
    database: Database, period: BillingPeriod = NOVEMBER, *, now: datetime = IN_DECEMBER, issuer: Issuer = ISSUER
) -> InvoiceRun:
    async with database.as_system() as session:
        run = await runs.start_run(session, period, actor="operator", now=now)
    return await runs.continue_run(database, run.id, now=now, issuer=issuer)


async def number(database: Database, period: BillingPeriod, *, now: datetime) -> None:
    """As `bill`, as far as the numbers: the invoices are final, and nobody has rendered them, which changes no sum."""
    async with database.as_system() as session:
        run = await runs.start_run(session, period, actor="operator", now=now)
    await number_run(database, run.id, now=now)


async def number_run(database: Database, run_id: str, *, now: datetime) -> None:
    """Drive one run as far as the numbers."""
    while (run := await runs.advance_run(database, run_id, now=now, issuer=ISSUER)).state != RunState.DOCUMENTS:
        if run.state == RunState.VALIDATING:
            await phases.share(database, run, now=now, issuer=ISSUER)


async def read(database: Database, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
    async with database.as_system() as session:
        return [tuple(row) for row in await session.execute(text(sql), parameters)]


async def random_world(
    session: AsyncSession,
    seed: int,
    *,
    months: Sequence[BillingMonth],
    add_ons: bool = False,
    terms: bool = False,
    anchors: Sequence[int] = (1,),
) -> World:
    """A few resellers whose mailboxes come, change class, go and return on any day of these months.

    With `add_ons` some of them have some, with `terms` prices have all terms there are; `anchors` are the anchor days
    of the first resellers, one after the other.
    """
    random_source = random.Random(seed)
    world = World()
    for number in range(5):
        anchor_day = anchors[number % len(anchors)]
        reseller_id = await add_reseller(session, name=f"Systemhaus Ö{number}", billing_anchor_day=anchor_day)
        world.anchors[reseller_id] = anchor_day
        customers = [
            await add_customer(session, reseller_id, f"Kundin {place}") for place in range(random_source.randint(1, 3))
        ]
        held = [
            period
            for _ in range(random_source.randint(0, 25))
            for period in _life(random_source, random_source.choice(customers), months)
        ]
        if add_ons:
            held += [extra for period in held[::3] for extra in _extras(random_source, period)]
        world.periods[reseller_id] = held
        await add_periods(session, reseller_id, held)
    owners = [None, *random_source.sample(sorted(world.periods), 3)]
    first, last = months[0].starts_on, months[-1].ends_on
    products = (*CLASSES, *ADD_ONS) if add_ons else CLASSES
    for owner in owners:
        days = {_day(random_source, first, last) for _ in range(2)}
        # Everybody has a price from the first day on; the days of later lists are any.
        for valid_from in sorted(days | ({first - timedelta(days=20)} if owner is None else set())):
            named = products if owner is None else random_source.sample(products, random_source.randint(1, 3))
            prices = {product: _tiers(random_source) for product in named}
            of_list = {product: _terms(random_source) for product in named} if terms else {}
            world.lists.append(PriceListFacts(owner, valid_from, prices, of_list))
            await add_prices(session, owner, valid_from=valid_from, prices=prices, terms=of_list)
    return world


def _extras(random_source: random.Random, period: Period) -> Iterable[Period]:
    """Add-ons of a mailbox, whose quantity may change, and which may end before it does."""
    add_on, day = random_source.choice(ADD_ONS), period.starts_on
    for _ in range(random_source.randint(1, 3)):
        ends_on = day + timedelta(days=random_source.randint(0, 50))
        last_on = period.ends_on or ends_on
        quantity = 1 if add_on == "archive" else random_source.randint(1, 5)
        held = replace(period, service_class=add_on, quantity=quantity, is_add_on=True, starts_on=day)
        if ends_on >= last_on:
            yield replace(held, ends_on=period.ends_on)
            return
        yield replace(held, ends_on=ends_on)
        day = ends_on + timedelta(days=random_source.choice((0, 0, 3)))
        if day >= last_on:
            return


def _terms(random_source: random.Random) -> Terms:
    return Terms(
        random_source.choice(tuple(TiersMode)),
        random_source.choice(tuple(Proration)),
        minimum_term_months=random_source.choice((0, 0, 1, 2, 12)),
        notice_days=random_source.choice((0, 0, 14, 40)),
        trial_days=random_source.choice((0, 0, 7, 35)),
    )


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
