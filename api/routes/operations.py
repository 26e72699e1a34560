"""Operations: long work, how far it is, and why it waits."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.auth import check_scope
from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page, PageDep
from api.routing import Route
from provisioning import operations
from provisioning.core.ids import ID_PATTERN
from provisioning.models import Operation
from provisioning.terms import OperationState

router = APIRouter(prefix="/v1", tags=["operations"], route_class=Route)

Read = Annotated[Call, Depends(Requires("mailboxes:read"), scope="function")]
# Which scope it takes depends on the operation.
Retry = Annotated[Call, Depends(Requires(None), scope="function")]
OperationId = Annotated[str, Path(pattern=f"^op_{ID_PATTERN}$", description="op_…")]

# What a key must be able to ask for, to ask for it again.
_SCOPES = {
    "mailbox.delete": "mailboxes:delete",
    "mailbox.purge": "mailboxes:delete",
    "mailbox.password": "mailboxes:password",
    "share.grant": "shares:write",
    "share.revoke": "shares:write",
    "share.expire": "shares:write",
}

_EXAMPLE: dict[str, Any] = {
    "id": "op_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "action": "mailbox.order",
    "mailbox_id": "mbx_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "state": "running",
    "steps": [{"name": "create the mailbox", "state": "done", "detail": ""}],
    "reason": "waits for: the backend to show what it has taken",
    "attempts": 2,
    "version": 3,
    "created_at": "2026-11-17T10:00:00Z",
    "finished_at": None,
}


class StepView(BaseModel):
    """One step, as the last attempt that met it left it."""

    name: str
    state: str = Field(description="pending, running, done or failed.")
    detail: str


class OperationView(BaseModel):
    """A piece of long work on one mailbox."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    action: str = Field(description="What was asked for, for example mailbox.order or share.grant.")
    mailbox_id: str
    state: OperationState
    steps: list[StepView]
    reason: str | None = Field(description="What it waits for, or why it failed.")
    attempts: int
    version: int = Field(description="The ETag.")
    created_at: datetime
    finished_at: datetime | None


async def shown(call: Call, operation_id: str) -> OperationView:
    return _view(await operations.get_operation(call.session, call.reseller_id, operation_id))


def _view(operation: Operation) -> OperationView:
    return OperationView.model_validate(operation)


@router.get("/operations", operation_id="listOperations", summary="List operations", response_model=Page[OperationView])
async def list_(
    call: Read,
    page: PageDep,
    mailbox: Annotated[str | None, Query(max_length=64, description="mbx_…")] = None,
    state: Annotated[OperationState | None, Query()] = None,
) -> Response:
    """Newest first."""
    rows = await operations.list_operations(
        call.session, call.reseller_id, mailbox_id=mailbox, state=state, before=page.after, limit=page.fetch
    )
    return await call.answer(page.page(rows, _view, lambda operation: operation.id))


@router.get(
    "/operations/{operation_id}",
    operation_id="getOperation",
    summary="How far an operation is",
    response_model=OperationView,
)
async def read(operation_id: OperationId, call: Read) -> Response:
    view = await shown(call, operation_id)
    return await call.answer(view, version=view.version)


@router.post(
    "/operations/{operation_id}/retry",
    operation_id="retryOperation",
    summary="Try again what failed",
    status_code=202,
    response_model=OperationView,
    responses=refusals("operation_not_failed", "operation_superseded"),
)
async def retry(operation_id: OperationId, call: Retry) -> Response:
    """Begins a new operation of the same action; only the mailbox's newest one can be tried again, and one that waits
    is by itself. Takes the scope that its action takes: `mailboxes:delete` for a deletion or purge,
    `mailboxes:password` for a password, `shares:write` for a share, `mailboxes:write` for all others."""
    failed = await operations.get_operation(call.session, call.reseller_id, operation_id)
    check_scope(call.principal, _SCOPES.get(failed.action, "mailboxes:write"))
    operation = await operations.retry_operation(call.session, call.reseller_id, operation_id, now=call.now)
    await call.record("operation.retry", [operation.mailbox_id], operation=operation_id)
    return await call.accept(operation, lambda later: shown(later, operation.id))
