"""How a reseller's dashboard begins, over HTTP: a customer, a verified domain, mailboxes in it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.drivers.base import Driver
from provisioning.reconciler import reconcile_mailbox
from provisioning.recording import Ending
from provisioning.resolver import SandboxZone
from provisioning.tenants import create_customer
from tests.conftest import NOW

if TYPE_CHECKING:  # conftest makes its fixtures of what stands here
    from tests.api.conftest import Tenant

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Home:
    """A tenant's customer with a verified domain."""

    tenant: "Tenant"
    customer_id: str
    domain_id: str
    domain: str

    @property
    def client(self) -> httpx.AsyncClient:
        return self.tenant.client

    def address(self, local: str) -> str:
        return f"{local}@{self.domain}"

    def order(self, local: str, **details: Any) -> Json:
        """The body of an order; an Exchange mailbox unless told otherwise."""
        body = {"address": self.address(local), "display_name": local.title(), "service_class": "exchange"}
        return {**body, **details}


def check(answer: httpx.Response, status: int) -> Json:
    """The body of an answer that has this status."""
    assert answer.status_code == status, f"{answer.status_code} instead of {status}: {answer.text}"
    body: Json = answer.json() if answer.content else {}
    return body


def refused(answer: httpx.Response, status: int, code: str) -> Json:
    """The problem of a refusal with this status and code."""
    problem = check(answer, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == code, problem
    return problem


def unique_name(word: str = "lindenhof") -> str:
    return f"{word}-{uuid4().hex[:10]}.example"


async def add_customer(database: Database, tenant: "Tenant", **details: Any) -> str:
    async with database.as_tenant(tenant.reseller_id) as session:
        customer = await create_customer(session, tenant.reseller_id, now=NOW, **{"name": "Kanzlei", **details})
    return customer.id


async def add_domain(tenant: "Tenant", customer_id: str, name: str) -> Json:
    return check(await tenant.client.post("/v1/domains", json={"name": name, "customer_id": customer_id}), 201)


def set_proof(zone: SandboxZone, domain: Json) -> None:
    """As the customer does at its DNS host."""
    proof = domain["verification"]
    zone.set(proof["name"], proof["kind"], [proof["expected"]])


async def verify(tenant: "Tenant", domain: Json) -> Json:
    return check(await tenant.client.post(f"/v1/domains/{domain['id']}/verify"), 200)


async def onboard(database: Database, zone: SandboxZone, tenant: "Tenant", **customer: Any) -> Home:
    customer_id = await add_customer(database, tenant, **customer)
    domain = await add_domain(tenant, customer_id, unique_name())
    set_proof(zone, domain)
    await verify(tenant, domain)
    return Home(tenant, customer_id, domain["id"], domain["name"])


async def another_home(database: Database, zone: SandboxZone, home: Home) -> Home:
    """A second customer of the same reseller."""
    return await onboard(database, zone, home.tenant)


async def order(home: Home, local: str, **details: Any) -> Json:
    return check(await home.client.post("/v1/mailboxes", json=home.order(local, **details)), 202)


async def confirm(database: Database, driver: Driver, mailbox_id: str, clock: TestClock) -> None:
    """Do what a worker does until the backend has confirmed all that is wanted."""
    for _ in range(20):
        ending = await reconcile_mailbox(database, {"sandbox": driver}, mailbox_id, now=clock)
        if ending is not Ending.PENDING:
            return
    raise AssertionError(f"{mailbox_id} is still pending")


async def active(home: Home, database: Database, driver: Driver, clock: TestClock, local: str, **details: Any) -> Json:
    """An ordered mailbox that its backend has confirmed."""
    mailbox = await order(home, local, **details)
    await confirm(database, driver, mailbox["id"], clock)
    return check(await home.client.get(f"/v1/mailboxes/{mailbox['id']}"), 200)
