"""The audit log: who did what to what, and whether anybody has altered it since."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call, Requires
from api.paging import Page, PageDep
from api.routing import Route
from provisioning import audit
from provisioning.tenants import AuditEvent

router = APIRouter(prefix="/v1", tags=["audit"], route_class=Route)

Read = Annotated[Call, Depends(Requires("audit:read", anyone=True), scope="function")]


class AuditEventView(BaseModel):
    """One change. `hash` covers the event and the hash of the one before it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "evt_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "sequence": 2,
                    "at": "2026-11-17T10:00:00Z",
                    "actor": "key_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "action": "customer.create",
                    "resource_id": "cus_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "detail": {"name": "Kanzlei Lindenhof"},
                    "previous_hash": "a3" * 32,
                    "hash": "5f" * 32,
                }
            ]
        },
    )

    id: str
    sequence: int = Field(description="Counts from 1 without a gap.")
    at: datetime
    actor: str = Field(description="The id of the API key, or `system`.")
    action: str
    resource_id: str
    detail: dict[str, Any]
    previous_hash: str = Field(description="SHA-256 as hex; empty for the first event.")
    hash: str


class ChainView(BaseModel):
    """Keep `last_hash` and `events` somewhere else, and a chain cut short will show too."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"whole": True, "events": 2, "first_broken": None, "last_hash": "5f" * 32}],
        }
    )

    whole: bool
    events: int
    first_broken: int | None = Field(description="The sequence of the first event that does not fit.")
    last_hash: str | None = Field(description="The hash of the newest event; null where there is none.")


def _view(event: AuditEvent) -> AuditEventView:
    return AuditEventView(
        id=event.id,
        sequence=event.sequence,
        at=event.at,
        actor=event.actor,
        action=event.action,
        resource_id=event.resource_id,
        detail=event.detail,
        previous_hash=event.previous_hash.hex(),
        hash=event.hash.hex(),
    )


def _chain(call: Call) -> str:
    return call.principal.reseller_id or audit.OPERATOR_CHAIN


@router.get(
    "/audit-events",
    operation_id="listAuditEvents",
    summary="Read the audit log",
    response_model=Page[AuditEventView],
)
async def list_(
    call: Read,
    page: PageDep,
    resource_id: Annotated[str | None, Query(max_length=64, description="Only what was done to this.")] = None,
) -> Response:
    """Newest first. An operator that acts for nobody reads the operator's own log."""
    events = await audit.list_events(
        call.session, _chain(call), resource_id=resource_id, before=page.after_number(), limit=page.fetch
    )
    return await call.answer(page.page(events, _view, lambda event: event.sequence))


@router.get(
    "/audit-events/verify",
    operation_id="verifyAuditEvents",
    summary="Recompute the whole chain of hashes",
    response_model=ChainView,
)
async def verify(call: Read) -> Response:
    check = await audit.check_chain(call.session, _chain(call))
    return await call.answer(
        ChainView(
            whole=check.first_broken is None,
            events=check.events,
            first_broken=check.first_broken,
            last_hash=None if check.last_hash is None else check.last_hash.hex(),
        )
    )
