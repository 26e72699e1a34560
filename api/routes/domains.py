"""Domains: claimed, proven by a TXT record, and told which records they need."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.auth import ActingForDep, BearerDep
from api.context import Context
from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page, PageDep
from api.routing import Route
from provisioning import discovery, dkim, dns_records, domains
from provisioning.core.ids import ID_PATTERN
from provisioning.models import Domain
from provisioning.terms import DomainState

router = APIRouter(prefix="/v1", tags=["domains"], route_class=Route)

READ, WRITE = Requires("domains:read"), Requires("domains:write")
Read = Annotated[Call, Depends(READ, scope="function")]
Write = Annotated[Call, Depends(WRITE, scope="function")]
DomainId = Annotated[str, Path(pattern=f"^dom_{ID_PATTERN}$", description="dom_…")]

_ID = "dom_01k9z3f6m2w5t8y1c4e7h0j3n6"
_PROOF: dict[str, Any] = {
    "kind": "TXT",
    "name": "_postfachwerk.xn--strae-oqa.example",
    "expected": "postfachwerk-verification=6f1c0d7a9b3e42588d1f7c2a4e9b0d31",
}


class NewDomain(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "straße.example", "customer_id": "cus_01k9z3f6m2w5t8y1c4e7h0j3n6"}]},
    )

    name: str = Field(
        min_length=1, max_length=253, description="As people write it, or its A-label. straße.de is not strasse.de."
    )
    customer_id: str = Field(min_length=1, max_length=64)


class Proof(BaseModel):
    """The record that proves the domain to be the customer's."""

    model_config = ConfigDict(from_attributes=True)

    kind: str
    name: str
    expected: str


class DomainView(BaseModel):
    """A domain; mailboxes can be ordered in it once it is verified."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": _ID,
                    "customer_id": "cus_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "name": "xn--strae-oqa.example",
                    "unicode_name": "straße.example",
                    "state": "pending_verification",
                    "verification": _PROOF,
                    "verified_at": None,
                    "version": 1,
                    "created_at": "2026-11-17T10:00:00Z",
                }
            ]
        },
    )

    id: str
    customer_id: str
    name: str = Field(description="The A-label form, in which it is compared.")
    unicode_name: str = Field(description="As people read it.")
    state: DomainState
    verification: Proof
    verified_at: datetime | None
    version: int = Field(description="The ETag.")
    created_at: datetime


class RecordView(BaseModel):
    """One DNS record: what it should be and what was found just now."""

    model_config = ConfigDict(from_attributes=True)

    purpose: str
    kind: str
    name: str
    expected: str
    found: list[str]
    status: Literal["ok", "missing", "differs", "unknown"] = Field(
        description="`unknown` when DNS did not answer; `hint` then says so."
    )
    required: bool
    hint: str = Field(description="What it is for.")
    fix: str | None = Field(description="What to do at the DNS host; null where nothing is to be done or known.")


class DnsView(BaseModel):
    """What the domain's DNS should hold and holds."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "domain_id": _ID,
                    "name": "xn--strae-oqa.example",
                    "unicode_name": "straße.example",
                    "ready": False,
                    "records": [
                        {
                            "purpose": "mail",
                            "kind": "MX",
                            "name": "xn--strae-oqa.example",
                            "expected": "10 mx.postfachwerk.example",
                            "found": ["10 mail.old-host.example"],
                            "status": "differs",
                            "required": True,
                            "hint": "Mail arrives here; remove MX of other hosts.",
                            "fix": "Replace MX xn--strae-oqa.example 10 mail.old-host.example "
                            "by 10 mx.postfachwerk.example",
                        }
                    ],
                    "zone": "xn--strae-oqa.example. 3600 IN MX 10 mx.postfachwerk.example.\n",
                }
            ]
        }
    )

    domain_id: str
    name: str
    unicode_name: str
    ready: bool = Field(description="Whether every required record is as it should be.")
    records: list[RecordView]
    zone: str = Field(description="All expected records as zone file text, to paste at the DNS host.")


@dataclass(frozen=True, slots=True)
class AskDns:
    """Asks DNS before the call's own transaction opens, so that none is held open by a slow name server."""

    requires: Requires
    proof_only: bool = False

    async def __call__(
        self,
        request: Request,
        domain_id: DomainId,
        _credentials: Annotated[Any, BearerDep],
        acting_for: ActingForDep = None,
    ) -> Sequence[dns_records.DnsRecord]:
        """The domain's records as found, the ownership record first."""
        context: Context = request.app.state.context
        async with self.requires.before(request, acting_for) as (session, reseller_id):
            domain = await domains.get_domain(session, reseller_id, domain_id)
            records = [] if self.proof_only else await self._expected(context, session, domain)
        if not self.proof_only:
            return await dns_records.observe_records(context.resolver, records)
        proof = [dns_records.verification_record(domain)]
        if domain.state is DomainState.VERIFIED:
            return proof  # proven for good: the record may be gone
        return await dns_records.observe_records(context.resolver, proof)

    async def _expected(
        self, context: Context, session: AsyncSession, domain: Domain
    ) -> Sequence[dns_records.DnsRecord]:
        now = context.clock.now()
        return dns_records.expected_records(
            domain,
            service_domain=context.service_domain,
            keys=await dkim.list_visible_keys(session, domain.reseller_id, domain.id, now=now),
            offers=await discovery.list_offers(session, domain.name),
        )


Proven = Annotated[Sequence[dns_records.DnsRecord], Depends(AskDns(WRITE, proof_only=True))]
Observed = Annotated[Sequence[dns_records.DnsRecord], Depends(AskDns(READ))]


def shown(domain: Domain) -> DomainView:
    proof = Proof.model_validate(dns_records.verification_record(domain))
    return DomainView.model_validate({**domain.model_dump(), "verification": proof})


@router.post(
    "/domains",
    operation_id="addDomain",
    summary="Add a domain to a customer",
    status_code=201,
    response_model=DomainView,
    responses={**refusals("domain_taken"), **refusals("not_found", status=404)},
)
async def add(new: NewDomain, call: Write) -> Response:
    """Set the record of `verification` at the domain's DNS host, then verify it."""
    domain = await domains.add_domain(
        call.session, call.reseller_id, name=new.name, customer_id=new.customer_id, now=call.now
    )
    await call.record("domain.add", [domain.id], name=domain.name)
    return await call.answer(shown(domain), status=201, location=f"/v1/domains/{domain.id}", version=domain.version)


@router.get("/domains", operation_id="listDomains", summary="List domains", response_model=Page[DomainView])
async def list_(
    call: Read,
    page: PageDep,
    customer: Annotated[str | None, Query(max_length=64, description="cus_…")] = None,
    state: Annotated[DomainState | None, Query()] = None,
    name: Annotated[str | None, Query(max_length=253, description="In either form.")] = None,
) -> Response:
    """Newest first."""
    rows = await domains.list_domains(
        call.session,
        call.reseller_id,
        customer=customer,
        state=state,
        name=name,
        before=page.after,
        limit=page.fetch,
    )
    return await call.answer(page.page(rows, shown, lambda domain: domain.id))


@router.get("/domains/{domain_id}", operation_id="getDomain", summary="Read a domain", response_model=DomainView)
async def read(domain_id: DomainId, call: Read) -> Response:
    domain = await domains.get_domain(call.session, call.reseller_id, domain_id)
    return await call.answer(shown(domain), version=domain.version)


@router.delete(
    "/domains/{domain_id}",
    operation_id="deleteDomain",
    summary="Remove a domain nobody has an address in",
    status_code=204,
    responses=refusals("domain_in_use"),
)
async def delete(domain_id: DomainId, call: Write) -> Response:
    domain = await domains.get_domain(call.session, call.reseller_id, domain_id, lock=True)
    call.check_if_match(domain.version)
    await domains.delete_domain(call.session, domain)
    await call.record("domain.delete", [domain_id], name=domain.name)
    return await call.answer(None, status=204)


@router.post(
    "/domains/{domain_id}/verify",
    operation_id="verifyDomain",
    summary="Verify a domain by its TXT record",
    response_model=DomainView,
    responses=refusals("domain_not_verified", "domain_taken"),
)
async def verify(domain_id: DomainId, proven: Proven, call: Write) -> Response:
    """Looks the record up now. A verified domain stays so; 503 when DNS does not answer, and nothing is changed."""
    domain = await domains.get_domain(call.session, call.reseller_id, domain_id, lock=True)
    if domain.state is not DomainState.VERIFIED:
        await domains.verify_domain(call.session, domain, seen=proven[0], now=call.now)
        await call.record("domain.verify", [domain_id], name=domain.name)
    return await call.answer(shown(domain), version=domain.version)


@router.get(
    "/domains/{domain_id}/dns",
    operation_id="getDomainDns",
    summary="What the domain's DNS should hold, and holds now",
    response_model=DnsView,
)
async def dns(domain_id: DomainId, observed: Observed, call: Read) -> Response:
    """SRV records name the servers where the domain's mailboxes lie, so there are none for several data centres.

    DKIM is among them once there is a key: POST /v1/domains/{id}/dkim-keys.
    """
    domain = await domains.get_domain(call.session, call.reseller_id, domain_id)
    view = DnsView(
        domain_id=domain.id,
        name=domain.name,
        unicode_name=domain.unicode_name,
        ready=all(record.status == "ok" for record in observed if record.required),
        records=[RecordView.model_validate(record) for record in observed],
        zone=dns_records.zone_text(observed),
    )
    return await call.answer(view)
