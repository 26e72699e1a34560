"""Rows a test begins with, written directly: a reseller, its customers, their domains and mailboxes.

Everything gets a name of its own, so that tests share a database without seeing each other. The session must
see all rows (`database.as_system()`) or those of the reseller concerned.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from provisioning.core.ids import new_id
from provisioning.models import DkimKey, Domain, Mailbox, MailboxAddress, Share
from provisioning.operations import begin_operation
from provisioning.roles import ROLES, Role
from provisioning.tenants import Customer, Reseller, TenantUsage, count_usage
from provisioning.terms import PROTOCOLS, Access, DomainState, Scope, ServiceClass
from tests.conftest import NOW


def unique(word: str) -> str:
    """A name nobody else has, for example anna-4f1c09ab."""
    return f"{word}-{uuid4().hex[:8]}"


async def make_reseller(session: AsyncSession, **overrides: Any) -> Reseller:
    name = unique("systemhaus")
    details: dict[str, Any] = {
        "id": new_id("res"),
        "name": name,
        "street": "Lindenallee 4",
        "postcode": "90402",
        "city": "Nürnberg",
        "vat_id": "DE123456789",
        "billing_email": f"rechnung@{name}.example",
        "created_at": NOW,
    }
    reseller = Reseller(**details | overrides)
    session.add(reseller)
    await session.flush()  # the usage row refers to it, and no relationship tells the order
    session.add(TenantUsage(tenant_id=reseller.id, reseller_id=reseller.id))
    await session.flush()
    return reseller


async def make_customer(session: AsyncSession, reseller: Reseller, **overrides: Any) -> Customer:
    details: dict[str, Any] = {
        "id": new_id("cus"),
        "reseller_id": reseller.id,
        "name": unique("kanzlei"),
        "created_at": NOW,
    }
    customer = Customer(**details | overrides)
    session.add(customer)
    await session.flush()  # as above
    session.add(TenantUsage(tenant_id=customer.id, reseller_id=reseller.id))
    await session.flush()
    await count_usage(session, [reseller.id], customers=1)
    return customer


async def make_domain(session: AsyncSession, customer: Customer, **overrides: Any) -> Domain:
    """A verified domain."""
    name = f"{unique('lindenhof')}.example"
    details: dict[str, Any] = {
        "id": new_id("dom"),
        "reseller_id": customer.reseller_id,
        "customer_id": customer.id,
        "name": name,
        "unicode_name": overrides.get("name", name),
        "state": DomainState.VERIFIED,
        "verification_token": uuid4().hex,
        "verified_at": NOW,
        "created_at": NOW,
    }
    domain = Domain(**details | overrides)
    session.add(domain)
    await session.flush()
    return domain


async def make_dkim_key(session: AsyncSession, domain: Domain, **overrides: Any) -> DkimKey:
    """A key that waits for its record, without a private half that anybody could open."""
    details: dict[str, Any] = {
        "id": new_id("dkm"),
        "reseller_id": domain.reseller_id,
        "domain_id": domain.id,
        "selector": "pf1",
        "public_key": "MIIB",
        "private_key": "-----BEGIN ENCRYPTED PRIVATE KEY-----",
        "created_at": NOW,
    }
    key = DkimKey(**details | overrides)
    session.add(key)
    await session.flush()
    return key


async def make_mailbox(
    session: AsyncSession, domain: Domain, *, aliases: Sequence[str] = (), **overrides: Any
) -> Mailbox:
    """A mailbox as ordered and not yet confirmed, with its addresses, and without a job or an operation."""
    service_class = overrides.get("service_class", ServiceClass.EXCHANGE)
    name = unique("anna")
    details: dict[str, Any] = {
        "id": new_id("mbx"),
        "reseller_id": domain.reseller_id,
        "customer_id": domain.customer_id,
        "domain_id": domain.id,
        "address": f"{name}@{domain.name}",
        "display_name": name.title(),
        "kind": "user",
        "service_class": service_class,
        "protocols": sorted(PROTOCOLS[service_class]),
        "quota_mib": 51200,
        "location": "de-fra-1",
        "created_at": NOW,
    }
    mailbox = Mailbox(**details | overrides)
    session.add(mailbox)
    await session.flush()
    for address in (mailbox.address, *aliases):
        session.add(
            MailboxAddress(
                address=address,
                reseller_id=domain.reseller_id,
                mailbox_id=mailbox.id,
                domain_id=domain.id,
                is_primary=address == mailbox.address,
            )
        )
    await session.flush()
    await count_usage(session, [domain.reseller_id, domain.customer_id], mailboxes=1)
    return mailbox


async def order_mailbox(session: AsyncSession, domain: Domain, *, now: datetime = NOW, **overrides: Any) -> Mailbox:
    """As `make_mailbox`, with the operation and the job that an order begins."""
    mailbox = await make_mailbox(session, domain, generation=0, **overrides)
    await begin_operation(session, mailbox, "mailbox.order", now=now)
    await session.flush()
    return mailbox


async def make_share(
    session: AsyncSession,
    owner: Mailbox,
    grantee: Mailbox,
    *,
    scope: Scope = Scope.CALENDAR,
    access: Access | None = Access.READ,
    **overrides: Any,
) -> Share:
    """The row only; the owner hears of it with its next operation. `access` is None for the two rights to
    send.
    """
    role = {Scope.SEND_AS: Role.SEND_AS, Scope.SEND_ON_BEHALF: Role.SEND_ON_BEHALF}.get(scope)
    if role is None:
        assert access is not None, "a folder is opened this far or that far"
        role = ROLES[scope][access]
    details: dict[str, Any] = {
        "id": new_id("shr"),
        "reseller_id": owner.reseller_id,
        "mailbox_id": owner.id,
        "grantee_id": grantee.id,
        "scope": scope,
        "access": access,
        "role": role,
        "created_at": NOW,
    }
    share = Share(**details | overrides)
    session.add(share)
    await session.flush()
    return share


async def make_tenant(session: AsyncSession) -> Domain:
    """A reseller with a customer with a verified domain, which is where most tests begin."""
    reseller = await make_reseller(session)
    customer = await make_customer(session, reseller)
    return await make_domain(session, customer)
