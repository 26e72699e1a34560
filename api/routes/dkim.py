"""Keys that sign a domain's mail: made, activated once their record has been seen, rotated."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from api.auth import ActingForDep, BearerDep
from api.context import Context
from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page
from api.routes.domains import DomainId, Proof
from api.routing import Route
from provisioning import dkim, dns_records, domains, keypairs
from provisioning.core.ids import ID_PATTERN
from provisioning.terms import DkimState

router = APIRouter(prefix="/v1", tags=["domains"], route_class=Route)

WRITE = Requires("domains:write")
Read = Annotated[Call, Depends(Requires("domains:read"), scope="function")]
Write = Annotated[Call, Depends(WRITE, scope="function")]
DkimKeyId = Annotated[str, Path(pattern=f"^dkm_{ID_PATTERN}$", description="dkm_…")]


class DkimKeyView(BaseModel):
    """A key pair. Its private half is never shown."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "dkm_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "domain_id": "dom_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "selector": "pf1",
                    "state": "published",
                    "record": {
                        "kind": "TXT",
                        "name": "pf1._domainkey.kanzlei-lindenhof.example",
                        "expected": "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A…",
                    },
                    "created_at": "2026-11-17T10:00:00Z",
                    "activated_at": None,
                    "retired_at": None,
                }
            ]
        },
    )

    id: str
    domain_id: str
    selector: str
    state: DkimState
    record: Proof
    created_at: datetime
    activated_at: datetime | None
    retired_at: datetime | None


async def made(
    request: Request, domain_id: DomainId, _credentials: Annotated[Any, BearerDep], acting_for: ActingForDep = None
) -> keypairs.KeyPair:
    """The pair, made before the call's own transaction opens: it takes about 0.3 s."""
    context: Context = request.app.state.context
    async with WRITE.before(request, acting_for) as (session, reseller_id):
        domain = await domains.get_domain(session, reseller_id, domain_id)
        if "idempotency-key" not in request.headers:  # else an answer may wait to be replayed
            dkim.check_can_rotate(domain, await dkim.list_keys(session, reseller_id, domain_id))
    return await keypairs.make_key_pair(dkim.passphrase_of(context.pepper))


async def seen(
    request: Request, dkim_key_id: DkimKeyId, _credentials: Annotated[Any, BearerDep], acting_for: ActingForDep = None
) -> dns_records.DnsRecord:
    """The key's record as found, asked for before the call's own transaction opens."""
    context: Context = request.app.state.context
    async with WRITE.before(request, acting_for) as (session, reseller_id):
        held = await dkim.get_key(session, reseller_id, dkim_key_id)
    if held.key.state is not DkimState.PUBLISHED:
        return held.record
    [found] = await dns_records.observe_records(context.resolver, [held.record])
    return found


def _shown(held: dkim.Held) -> DkimKeyView:
    return DkimKeyView.model_validate({**held.key.model_dump(), "record": Proof.model_validate(held.record)})


@router.post(
    "/domains/{domain_id}/dkim-keys",
    operation_id="createDkimKey",
    summary="Make a key that will sign the domain's mail",
    status_code=201,
    response_model=DkimKeyView,
    responses=refusals("dkim_key_waiting", "domain_not_verified"),
)
async def create(domain_id: DomainId, pair: Annotated[keypairs.KeyPair, Depends(made)], call: Write) -> Response:
    """Also to rotate: the key in use signs on until the new one's record has been set and the new one activated."""
    domain = await domains.get_domain(call.session, call.reseller_id, domain_id, lock=True)
    key = await dkim.add_key(call.session, domain, pair, now=call.now)
    await call.record("dkim_key.create", [key.id], domain_id=domain_id, selector=key.selector)
    return await call.answer(_shown(dkim.Held(key, domain)), status=201)


@router.get(
    "/domains/{domain_id}/dkim-keys",
    operation_id="listDkimKeys",
    summary="List the keys that sign a domain's mail",
    response_model=Page[DkimKeyView],
)
async def list_(domain_id: DomainId, call: Read) -> Response:
    """Newest first, all of them."""
    domain = await domains.get_domain(call.session, call.reseller_id, domain_id)
    keys = await dkim.list_keys(call.session, call.reseller_id, domain_id)
    items = [_shown(dkim.Held(key, domain)) for key in keys]
    return await call.answer(Page[DkimKeyView](items=items, next_cursor=None))


@router.post(
    "/dkim-keys/{dkim_key_id}/activate",
    operation_id="activateDkimKey",
    summary="Sign with a key once its record is seen",
    response_model=DkimKeyView,
    responses=refusals("dkim_key_not_seen", "dkim_key_retired"),
)
async def activate(
    dkim_key_id: DkimKeyId, found: Annotated[dns_records.DnsRecord, Depends(seen)], call: Write
) -> Response:
    """Looks the record up now; the key before it is retired. 503 when DNS does not answer, and nothing is changed."""
    held = await dkim.get_key(call.session, call.reseller_id, dkim_key_id)
    await domains.get_domain(call.session, call.reseller_id, held.domain.id, lock=True)
    await call.session.refresh(held.key)  # as it is now that nobody else changes it
    if held.key.state is not DkimState.ACTIVE:
        await dkim.activate_key(call.session, held, seen=found, now=call.now)
        await call.record("dkim_key.activate", [dkim_key_id], domain_id=held.domain.id, selector=held.key.selector)
    return await call.answer(_shown(held))
