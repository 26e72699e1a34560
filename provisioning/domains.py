"""Mail domains: claimed, proven by a TXT record, and told which records they need."""

import secrets
from asyncio import gather
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.core.database import violated_constraint
from provisioning.core.errors import Conflict, FieldError, Invalid, NotFound, Unavailable
from provisioning.core.ids import new_id
from provisioning.core.queries import owned
from provisioning.models import Domain, Mailbox, MailboxAddress
from provisioning.names import DOMAIN_MAX, domain_to_ascii, domain_to_unicode
from provisioning.resolver import Resolver, ResolverUnavailable
from provisioning.tenants import get_customer
from provisioning.terms import DomainState, Intent

# How a TXT record of each sort begins; the space ends the version, so that v=spf10 is none.
_STARTS = {"ownership": "postfachwerk-verification=", "spf": "v=spf1 ", "dmarc": "v=dmarc1"}

# The longest of what stands before a domain in the names of its records, which have to be names too.
_LONGEST_PREFIX = "_autodiscover._tcp."


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """One record a domain needs: what is expected, what was found, and what to do about the difference.

    `status` is ok, missing, differs, or unknown when DNS did not answer.
    """

    purpose: str
    kind: str
    name: str
    expected: str
    required: bool
    hint: str
    found: tuple[str, ...] = ()
    status: str = "unknown"


async def add_domain(session: AsyncSession, reseller_id: str, *, name: str, customer_id: str, now: datetime) -> Domain:
    """Claim a domain for a customer.

    Raises Invalid for no domain name, NotFound for the customer, Conflict for a name this reseller has already.
    """
    try:
        ascii_name = domain_to_ascii(name)
    except ValueError as error:
        raise Invalid(f"{error}.", errors=[FieldError("/name", "invalid_domain", str(error))]) from error
    longest = DOMAIN_MAX - len(_LONGEST_PREFIX)
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


def verification_record(domain: Domain) -> DnsRecord:
    return DnsRecord(
        purpose="ownership",
        kind="TXT",
        name=f"_postfachwerk.{domain.name}",
        expected=f"postfachwerk-verification={domain.verification_token}",
        required=domain.state is not DomainState.VERIFIED,
        hint="Proves that the domain is yours. It may be removed once the domain is verified.",
    )


def expected_records(domain: Domain, *, service_domain: str) -> list[DnsRecord]:
    """Every record the domain should have, the ownership token first."""
    autodiscover = f"autodiscover.{service_domain}"
    return [
        verification_record(domain),
        DnsRecord(
            "mail", "MX", domain.name, f"10 mx.{service_domain}", True, "Mail arrives here; remove MX of other hosts."
        ),
        DnsRecord(
            "spf",
            "TXT",
            domain.name,
            f"v=spf1 include:spf.{service_domain} -all",
            True,
            "Says who may send for the domain. There must be one v=spf1 record only: merge others into it.",
        ),
        DnsRecord(
            "dmarc",
            "TXT",
            f"_dmarc.{domain.name}",
            f"v=DMARC1; p=quarantine; rua=mailto:dmarc@{service_domain}",
            False,
            "Tells receivers what to do with forgeries.",
        ),
        DnsRecord(
            "autodiscover",
            "CNAME",
            f"autodiscover.{domain.name}",
            autodiscover,
            True,
            "Outlook and phones find their settings here; without it Outlook may try Microsoft 365.",
        ),
        DnsRecord(
            "autodiscover_srv",
            "SRV",
            f"{_LONGEST_PREFIX}{domain.name}",
            f"0 0 443 {autodiscover}",
            False,
            "For clients that cannot follow the CNAME.",
        ),
        DnsRecord(
            "autoconfig",
            "CNAME",
            f"autoconfig.{domain.name}",
            f"autoconfig.{service_domain}",
            False,
            "Thunderbird finds its settings here.",
        ),
    ]


async def observe_records(resolver: Resolver, records: Sequence[DnsRecord]) -> list[DnsRecord]:
    """Ask DNS for each record, all at once. Goes out to the network: never call it inside a transaction."""
    return list(await gather(*(_observe(resolver, record) for record in records)))


async def _observe(resolver: Resolver, record: DnsRecord) -> DnsRecord:
    try:
        found = await resolver.query(record.name, record.kind)
    except ResolverUnavailable as error:
        return replace(record, status="unknown", hint=f"{error}. Try again later.")
    # One name carries TXT records of many owners: only those of the same sort are compared.
    start = _STARTS.get(record.purpose, "")
    rivals = tuple(value for value in found if f"{value} ".lower().startswith(start))
    return replace(record, found=rivals, status=_compare(record, rivals))


def _compare(record: DnsRecord, rivals: Sequence[str]) -> str:
    if not rivals:
        return "missing"
    if record.purpose == "ownership":
        return "ok" if record.expected in rivals else "differs"
    if len(rivals) > 1:
        return "differs"  # a second MX takes mail away, and a second SPF record makes both void (RFC 7208 4.5)
    if record.purpose == "spf":
        # Merged with what others need it is as good.
        ours = next(term for term in record.expected.split() if term.startswith("include:"))
        return "ok" if ours in rivals[0].lower().split() else "differs"
    if record.purpose == "dmarc":
        return "ok"  # a policy of their own serves as well
    return "ok" if rivals[0] == record.expected else "differs"


def zone_text(records: Sequence[DnsRecord]) -> str:
    """The records in the form of a zone file (RFC 1035 5), to paste at the DNS host."""
    lines = []
    for record in records:
        value = f'"{record.expected}"' if record.kind == "TXT" else f"{record.expected}."
        lines.append(f"{record.name}. 3600 IN {record.kind} {value}\n")
    return "".join(lines)


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
    await session.delete(domain)
