"""Mail domains: claimed, proven by a TXT record, removed; `dns_records` says what else they need."""

import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.core.database import violated_constraint
from provisioning.core.errors import Conflict, FieldError, Invalid, NotFound, Unavailable
from provisioning.core.ids import new_id
from provisioning.core.queries import owned
from provisioning.dns_records import LONGEST_PREFIX, DnsRecord
from provisioning.models import DkimKey, Domain, Mailbox, MailboxAddress
from provisioning.names import DOMAIN_MAX, domain_to_ascii, domain_to_unicode
from provisioning.tenants import get_customer
from provisioning.terms import DomainState, Intent


async def add_domain(session: AsyncSession, reseller_id: str, *, name: str, customer_id: str, now: datetime) -> Domain:
    """Claim a domain for a customer.

    Raises Invalid for no domain name, NotFound for the customer, Conflict for a name this reseller has already.
    """
    try:
        ascii_name = domain_to_ascii(name)
    except ValueError as error:
        raise Invalid(f"{error}.", errors=[FieldError("/name", "invalid_domain", str(error))]) from error
    longest = DOMAIN_MAX - len(LONGEST_PREFIX)
    if len(ascii_name) > longest:
        message = f"{name!r} is longer than {longest} characters, so that its DNS records would have no names"
        raise Invalid(f"{message}.", errors=[FieldError("/name", "invalid_domain", message)])
    await get_customer(session, reseller_id, customer_id)
    domain = Domain(
        id=new_id("dom"),
        reseller_id=reseller_id,
        customer_id=customer_id,
        name=ascii_name,
        unicode_name=domain_to_unicode(ascii_name),
        verification_token=secrets.token_hex(16),
        created_at=now,
    )
    session.add(domain)
    try:
        await session.flush()  # the unique key decides between two claims at the same moment
    except IntegrityError as error:
        if violated_constraint(error) == "fk_domain_customer_id_customer":
            raise NotFound(f"There is no customer {customer_id}.") from error  # removed a moment ago
        if violated_constraint(error) != "uq_domain_reseller_id_name":
            raise
        raise Conflict(f"You have the domain {domain.unicode_name} already.", code="domain_taken") from error
    return domain


async def get_domain(session: AsyncSession, reseller_id: str, domain_id: str, *, lock: bool = False) -> Domain:
    """Raises NotFound for an unknown one and for another reseller's."""
    query = owned(Domain, reseller_id).where(col(Domain.id) == domain_id)
    domain: Domain | None = await session.scalar(query.with_for_update() if lock else query)
    if domain is None:
        raise NotFound(f"There is no domain {domain_id}.")
    return domain


async def list_domains(
    session: AsyncSession,
    reseller_id: str,
    *,
    customer: str | None,
    state: DomainState | None,
    name: str | None,
    before: str | None,
    limit: int,
) -> Sequence[Domain]:
    """Newest first. `name` may be given in either form."""
    query = owned(Domain, reseller_id)
    if customer is not None:
        query = query.where(col(Domain.customer_id) == customer)
    if state is not None:
        query = query.where(col(Domain.state) == state)
    if name is not None:
        try:
            query = query.where(col(Domain.name) == domain_to_ascii(name))
        except ValueError:
            return []
    if before is not None:
        query = query.where(col(Domain.id) < before)
    return (await session.scalars(query.order_by(col(Domain.id).desc()).limit(limit))).all()


async def verify_domain(session: AsyncSession, domain: Domain, *, seen: DnsRecord, now: datetime) -> None:
    """Mark a held domain verified when its ownership record was seen.

    Raises Conflict naming the record while it is missing, Conflict `domain_taken` when somebody else has proven the
    name before, Unavailable when DNS did not answer.
    """
    if domain.state is DomainState.VERIFIED:
        return
    if seen.status == "unknown":
        raise Unavailable(seen.hint)
    if seen.status != "ok":
        raise Conflict(
            f'The TXT record {seen.name} must hold "{seen.expected}"; found {", ".join(seen.found) or "nothing"}. '
            "DNS changes can take an hour to be seen everywhere.",
            code="domain_not_verified",
            record={"kind": seen.kind, "name": seen.name, "expected": seen.expected, "found": list(seen.found)},
        )
    name = domain.unicode_name  # a failed flush leaves nothing to read it from
    domain.state, domain.verified_at = DomainState.VERIFIED, now
    try:
        await session.flush()  # only one reseller can have proven a name
    except IntegrityError as error:
        if violated_constraint(error) != "uq_domain_verified_name":
            raise
        raise Conflict(
            f"{name} is verified for another reseller. It has to be removed there first.",
            code="domain_taken",
        ) from error


async def delete_domain(session: AsyncSession, domain: Domain) -> None:
    """Raises Conflict while mailboxes have addresses in it; purged ones only lose the mention of it."""
    used = await session.scalar(
        select(col(MailboxAddress.address))
        .where(col(MailboxAddress.reseller_id) == domain.reseller_id, col(MailboxAddress.domain_id) == domain.id)
        .limit(1)
    )
    if used is not None:
        raise Conflict(
            f"There are addresses in this domain, for example {used}. Purge their mailboxes or remove them first.",
            code="domain_in_use",
        )
    await session.execute(
        update(Mailbox)
        .where(
            col(Mailbox.reseller_id) == domain.reseller_id,
            col(Mailbox.domain_id) == domain.id,
            col(Mailbox.intent) == Intent.PURGED,
        )
        .values(domain_id=None)
    )
    await session.execute(
        delete(DkimKey).where(col(DkimKey.reseller_id) == domain.reseller_id, col(DkimKey.domain_id) == domain.id)
    )
    await session.delete(domain)
