"""The application over the worker's database, and clients with keys of their own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from api.context import Context
from api.main import create_app
from billing.models import Books, Issuer
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.drivers.sandbox.driver import SandboxDriver
from provisioning.keys import OPERATOR_SCOPES, RESELLER_SCOPES, create_key
from provisioning.resolver import SandboxZone
from provisioning.tenants import create_reseller
from tests.api.onboarding import Home, onboard

PEPPER = b"a pepper for tests, long enough to be one"
ISSUER = Issuer(
    name="Postfachwerk GmbH",
    street="Fachwerkgasse 1",
    postcode="38100",
    city="Braunschweig",
    country="DE",
    vat_id="DE123456788",
    tax_number="14/123/45678",
    email="rechnung@postfachwerk.example",
    iban="DE02120300000000202051",
    bic="BYLADEM1001",
    contact_name="Rechnungsstelle",
    phone="+49 531 1234560",
)
BOOKS = Books(consultant=29098, client=55003)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A reseller with a client that carries its key."""

    reseller_id: str
    client: httpx.AsyncClient


MakeTenant = Callable[..., Awaitable[Tenant]]
MakeClient = Callable[[str | None], httpx.AsyncClient]


@pytest.fixture
def zone() -> SandboxZone:
    return SandboxZone()


@pytest.fixture
def context(database: Database, clock: TestClock, zone: SandboxZone) -> Context:
    return Context(
        database=database,
        clock=clock,
        pepper=PEPPER,
        resolver=zone,
        issuer=ISSUER,
        books=BOOKS,
        test_clock=clock,
        sandbox_zone=zone,
    )


@pytest.fixture
def app(context: Context) -> FastAPI:
    return create_app(context)


@pytest.fixture
async def make_client(app: FastAPI) -> AsyncIterator[MakeClient]:
    """Clients of the application without a network; `secret` None sends no key."""
    opened: list[httpx.AsyncClient] = []

    def make(secret: str | None) -> httpx.AsyncClient:
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url="http://postfachwerk.test", headers=headers)
        opened.append(client)
        return client

    yield make
    for client in opened:
        await client.aclose()


@pytest.fixture
async def make_tenant(database: Database, clock: TestClock, make_client: MakeClient) -> MakeTenant:
    """A fresh reseller with a key of these scopes (all of a reseller's by default)."""

    async def make(*, scopes: frozenset[str] = RESELLER_SCOPES, **details: object) -> Tenant:
        async with database.as_system() as session:
            reseller = await create_reseller(
                session,
                now=clock.now(),
                **{
                    "name": f"IT-Haus {uuid4().hex[:6]}",
                    "street": "Marktstraße 5",
                    "postcode": "38640",
                    "city": "Goslar",
                    "billing_email": "buchhaltung@it-haus.example",
                    **details,
                },
            )
            new = await create_key(
                session,
                reseller.id,
                name="test",
                scopes=scopes,
                expires_at=None,
                pepper=PEPPER,
                now=clock.now(),
            )
        return Tenant(reseller.id, make_client(new.secret))

    return make


@pytest.fixture
async def tenant(make_tenant: MakeTenant) -> Tenant:
    return await make_tenant()


@pytest.fixture
async def operator(database: Database, clock: TestClock, make_client: MakeClient) -> httpx.AsyncClient:
    async with database.as_system() as session:
        new = await create_key(
            session, None, name="test", scopes=OPERATOR_SCOPES, expires_at=None, pepper=PEPPER, now=clock.now()
        )
    return make_client(new.secret)


@pytest.fixture
def driver(database: Database) -> SandboxDriver:
    return SandboxDriver(database)


@pytest.fixture
async def home(database: Database, zone: SandboxZone, tenant: Tenant) -> Home:
    return await onboard(database, zone, tenant)
