"""Add-ons of a mailbox: an archive, and extra storage for a quota above what its class includes."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call
from api.openapi import refusals
from api.routing import Route
from api.views import MailboxId, MailboxRead, MailboxWrite
from provisioning import add_ons
from provisioning.add_ons import EXTRA_STORAGE_UNITS_MAX
from provisioning.mailboxes import get_mailbox, lock_present
from provisioning.models import Mailbox
from provisioning.terms import INCLUDED_QUOTA_MIB, AddOn

router = APIRouter(prefix="/v1/mailboxes/{mailbox_id}/add-ons", tags=["mailboxes"], route_class=Route)

AddOnPath = Annotated[AddOn, Path(description="archive (Exchange only) or extra_storage.")]


class AddOnWish(BaseModel):
    """How many of it the mailbox shall have."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"quantity": 1}]})

    quantity: int = Field(
        1, ge=1, le=EXTRA_STORAGE_UNITS_MAX, strict=True, description="Units of 10 GiB of extra storage; 1 archive."
    )


class AddOnView(BaseModel):
    """One add-on, as it is wanted and as it is on the bill."""

    model_config = ConfigDict(from_attributes=True)

    add_on: AddOn
    quantity: int = Field(description="What is wanted; 0 while it is being taken away.")
    confirmed_quantity: int = Field(description="What the data centre has confirmed, and what is on the bill.")
    confirmed_on: date | None = Field(description="The first day of that quantity on the bill.")


class AddOnsView(BaseModel):
    """The add-ons of a mailbox, and the quota they allow."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "mailbox_id": "mbx_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "add_ons": [
                        {
                            "add_on": "extra_storage",
                            "quantity": 5,
                            "confirmed_quantity": 2,
                            "confirmed_on": "2026-11-17",
                        }
                    ],
                    "quota_mib": 102400,
                    "quota_included_mib": 51200,
                    "quota_max_mib": 102400,
                    "version": 4,
                }
            ]
        }
    )

    mailbox_id: str
    add_ons: list[AddOnView]
    quota_mib: int = Field(description="The quota set.")
    quota_included_mib: int = Field(description="The largest quota without extra storage.")
    quota_max_mib: int = Field(description="The largest quota with the extra storage that is wanted.")
    version: int = Field(description="The mailbox's, which is the ETag.")


async def _view(call: Call, mailbox: Mailbox) -> AddOnsView:
    states = await add_ons.list_add_ons(call.session, mailbox)
    return AddOnsView(
        mailbox_id=mailbox.id,
        add_ons=[AddOnView.model_validate(each) for each in states],
        quota_mib=mailbox.quota_mib,
        quota_included_mib=INCLUDED_QUOTA_MIB[mailbox.service_class],
        quota_max_mib=add_ons.quota_max_mib(mailbox.service_class, mailbox.extra_storage_units),
        version=mailbox.version,
    )


async def _shown(call: Call, mailbox_id: str) -> AddOnsView:
    return await _view(call, await get_mailbox(call.session, call.reseller_id, mailbox_id))


@router.get("", operation_id="listAddOns", summary="List the add-ons of a mailbox", response_model=AddOnsView)
async def list_(mailbox_id: MailboxId, call: MailboxRead) -> Response:
    """What is wanted, what is on the bill since when, and the largest quota that follows from it."""
    view = await _shown(call, mailbox_id)
    return await call.answer(view, version=view.version)


@router.put(
    "/{add_on}",
    operation_id="putAddOn",
    summary="Give a mailbox an add-on, or another quantity of it",
    status_code=202,
    response_model=AddOnsView,
    responses={
        200: {"model": AddOnsView, "description": "It has that quantity already."},
        **refusals("class_does_not_support_add_on", "extra_storage_in_use", "mailbox_deleted"),
    },
)
async def put(mailbox_id: MailboxId, add_on: AddOnPath, wish: AddOnWish, call: MailboxWrite) -> Response:
    """It counts, and costs, from the day its data centre has confirmed it. A mailbox may have the quota its class
    includes and 10240 MiB more for each unit of extra storage: a unit added raises its quota by as much at once, a
    unit can be taken away once the quota has been lowered."""
    mailbox = await _present(call, mailbox_id)
    operation = await add_ons.put_add_on(call.session, mailbox, add_on, quantity=wish.quantity, now=call.now)
    if operation is not None:
        await call.record("mailbox.put_add_on", [mailbox_id], add_on=add_on, quantity=wish.quantity)
    return await call.accept(operation, lambda later: _shown(later, mailbox_id))


@router.delete(
    "/{add_on}",
    operation_id="removeAddOn",
    summary="Take an add-on from a mailbox",
    status_code=202,
    response_model=AddOnsView,
    responses=refusals("extra_storage_in_use", "mailbox_deleted"),
)
async def remove(mailbox_id: MailboxId, add_on: AddOnPath, call: MailboxWrite) -> Response:
    """Off the bill from today, once its data centre has confirmed it. An archive goes with what is in it; extra
    storage goes once the quota has been lowered to what the class includes."""
    mailbox = await _present(call, mailbox_id)
    operation = await add_ons.remove_add_on(call.session, mailbox, add_on, now=call.now)
    await call.record("mailbox.remove_add_on", [mailbox_id], add_on=add_on)
    return await call.accept(operation, lambda later: _shown(later, mailbox_id))


async def _present(call: Call, mailbox_id: str) -> Mailbox:
    mailbox = await lock_present(call.session, call.reseller_id, mailbox_id)
    call.check_if_match(mailbox.version)
    return mailbox
