"""Mailboxes: list, read, change, suspend, resume, move, delete, restore, purge."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from api.costs import cost_of_class_change, cost_of_ending, cost_of_restoring
from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page, PageDep
from api.routing import Route
from api.views import CLASS_CODES, PLACEMENT_CODES, MailboxId, MailboxRead, MailboxView, MailboxWrite, shown
from provisioning import mailboxes
from provisioning.mailboxes import MailboxChange, MailboxFilter
from provisioning.models import Mailbox

router = APIRouter(prefix="/v1", tags=["mailboxes"], route_class=Route)

Delete = Annotated[Call, Depends(Requires("mailboxes:delete"), scope="function")]


class Move(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"location": "de-nbg-1"}]})

    location: str = Field(min_length=1, max_length=64)


def _filter(only: Annotated[MailboxFilter, Query()]) -> MailboxFilter:
    return only


FilterDep = Annotated[MailboxFilter, Depends(_filter)]

_LIST = TypeAdapter(list[MailboxView])


@router.get("/mailboxes", operation_id="listMailboxes", summary="List mailboxes", response_model=Page[MailboxView])
async def list_(call: MailboxRead, only: FilterDep, page: PageDep) -> Response:
    """Newest first."""
    rows = await mailboxes.list_mailboxes(
        call.session, call.reseller_id, only=only, before=page.after, limit=page.fetch
    )
    items, cursor = page.split(rows, lambda row: row["id"])
    # As plain dicts: pydantic reads those without a Python call for every field.
    views = _LIST.validate_python([dict(row) for row in items])
    return await call.answer(Page[MailboxView](items=views, next_cursor=cursor))


@router.get("/mailboxes/{mailbox_id}", operation_id="getMailbox", summary="Read a mailbox", response_model=MailboxView)
async def read(mailbox_id: MailboxId, call: MailboxRead) -> Response:
    view = await shown(call, mailbox_id)
    return await call.answer(view, version=view.version)


@router.patch(
    "/mailboxes/{mailbox_id}",
    operation_id="changeMailbox",
    summary="Change class, quota, name, protocols or policy",
    status_code=202,
    response_model=MailboxView,
    responses={
        200: {"model": MailboxView, "description": "Nothing a data centre has to follow."},
        **refusals(
            *PLACEMENT_CODES,
            *CLASS_CODES,
            "class_does_not_support_scope",
            "external_id_taken",
            "mailbox_deleted",
        ),
    },
)
async def change(mailbox_id: MailboxId, change: MailboxChange, call: MailboxWrite) -> Response:
    """A new class counts, and costs, from the day its data centre has confirmed it. Unless they are named with it, it
    brings its own protocols and its own size; an archive ends with the class exchange.

    A quota larger than the class includes takes extra storage: see the add-ons."""
    mailbox = await _present(call, mailbox_id)
    if call.dry_run and change.service_class is not None:
        call.cost = await cost_of_class_change(call, mailbox, change.service_class)
    before = mailbox.version
    operation = await mailboxes.change_mailbox(call.session, mailbox, change, now=call.now, on=call.today)
    if mailbox.version != before:
        await call.record("mailbox.change", [mailbox_id], **change.model_dump(mode="json", exclude_unset=True))
    return await call.accept(operation, lambda later: shown(later, mailbox_id))


@router.delete(
    "/mailboxes/{mailbox_id}",
    operation_id="deleteMailbox",
    summary="Delete a mailbox, restorable for a while",
    status_code=202,
    response_model=MailboxView,
    responses={200: {"model": MailboxView, "description": "It is deleted already."}},
)
async def delete(mailbox_id: MailboxId, call: Delete) -> Response:
    """Out of service and off the bill from today. It can be restored until `purge_at`."""
    mailbox = await _locked(call, mailbox_id)
    if call.dry_run:
        call.cost = await cost_of_ending(call, mailbox)
    operation = await mailboxes.delete_mailbox(
        call.session, mailbox, restore_days=call.context.restore_days, now=call.now
    )
    if operation is not None:
        await call.record("mailbox.delete", [mailbox_id])
    return await call.accept(operation, lambda later: shown(later, mailbox_id))


@router.post(
    "/mailboxes/{mailbox_id}/suspend",
    operation_id="suspendMailbox",
    summary="Suspend login and sending",
    status_code=202,
    response_model=MailboxView,
    responses={200: {"model": MailboxView, "description": "It is suspended already."}, **refusals("mailbox_deleted")},
)
async def suspend(mailbox_id: MailboxId, call: MailboxWrite) -> Response:
    """Mail keeps arriving and the data stays, so the fee goes on."""
    mailbox = await _present(call, mailbox_id)
    operation = await mailboxes.suspend_mailbox(call.session, mailbox, now=call.now)
    if operation is not None:
        await call.record("mailbox.suspend", [mailbox_id])
    return await call.accept(operation, lambda later: shown(later, mailbox_id))


@router.post(
    "/mailboxes/{mailbox_id}/resume",
    operation_id="resumeMailbox",
    summary="End a suspension",
    status_code=202,
    response_model=MailboxView,
    responses={200: {"model": MailboxView, "description": "It is not suspended."}, **refusals("mailbox_deleted")},
)
async def resume(mailbox_id: MailboxId, call: MailboxWrite) -> Response:
    mailbox = await _present(call, mailbox_id)
    operation = await mailboxes.resume_mailbox(call.session, mailbox, now=call.now)
    if operation is not None:
        await call.record("mailbox.resume", [mailbox_id])
    return await call.accept(operation, lambda later: shown(later, mailbox_id))


@router.post(
    "/mailboxes/{mailbox_id}/move",
    operation_id="moveMailbox",
    summary="Move to another data centre",
    status_code=202,
    response_model=MailboxView,
    responses={
        200: {"model": MailboxView, "description": "It is there already."},
        **refusals(*PLACEMENT_CODES, "mailbox_deleted"),
    },
)
async def move(mailbox_id: MailboxId, move: Move, call: MailboxWrite) -> Response:
    """Refused before any work when a policy forbids the new place. The mailbox stays usable while it moves."""
    mailbox = await _present(call, mailbox_id)
    operation = await mailboxes.move_mailbox(call.session, mailbox, to=move.location, now=call.now, on=call.today)
    if operation is not None:
        await call.record("mailbox.move", [mailbox_id], location=move.location)
    return await call.accept(operation, lambda later: shown(later, mailbox_id))


@router.post(
    "/mailboxes/{mailbox_id}/restore",
    operation_id="restoreMailbox",
    summary="Bring a deleted mailbox back with its data",
    status_code=202,
    response_model=MailboxView,
    responses=refusals("mailbox_not_deleted", "limit_exceeded", *PLACEMENT_CODES),
)
async def restore(mailbox_id: MailboxId, call: MailboxWrite) -> Response:
    """One that was suspended comes back suspended."""
    mailbox = await _locked(call, mailbox_id)
    if call.dry_run:
        call.cost = await cost_of_restoring(call, mailbox)
    operation = await mailboxes.restore_mailbox(call.session, mailbox, now=call.now, on=call.today)
    await call.record("mailbox.restore", [mailbox_id])
    return await call.accept(operation, lambda later: shown(later, mailbox_id))


@router.post(
    "/mailboxes/{mailbox_id}/purge",
    operation_id="purgeMailbox",
    summary="Erase a deleted mailbox for good",
    status_code=202,
    response_model=MailboxView,
    responses=refusals("mailbox_not_deleted"),
)
async def purge(mailbox_id: MailboxId, call: Delete) -> Response:
    """Cannot be undone. Its addresses are free again once the data centre has confirmed."""
    mailbox = await _locked(call, mailbox_id)
    operation = await mailboxes.purge_mailbox(call.session, mailbox, now=call.now)
    await call.record("mailbox.purge", [mailbox_id])
    return await call.accept(operation, lambda later: shown(later, mailbox_id))


async def _locked(call: Call, mailbox_id: str) -> Mailbox:
    mailbox = await mailboxes.lock_mailbox(call.session, call.reseller_id, mailbox_id)
    call.check_if_match(mailbox.version)
    return mailbox


async def _present(call: Call, mailbox_id: str) -> Mailbox:
    mailbox = await mailboxes.lock_present(call.session, call.reseller_id, mailbox_id)
    call.check_if_match(mailbox.version)
    return mailbox
