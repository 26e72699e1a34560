"""The addresses of a mailbox: its aliases, and which one is the primary."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call
from api.openapi import refusals
from api.routing import Route
from api.views import MailboxId, MailboxView, MailboxWrite, shown
from provisioning import addresses
from provisioning.mailboxes import lock_present
from provisioning.models import Mailbox

router = APIRouter(prefix="/v1/mailboxes/{mailbox_id}", tags=["mailboxes"], route_class=Route)

AliasAddress = Annotated[
    str,
    Path(
        min_length=3, max_length=320, description="The whole address.", examples=["krueger@kanzlei-lindenhof.example"]
    ),
]


class PrimaryAddress(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"address": "krueger@kanzlei-lindenhof.example"}]}
    )

    address: str = Field(min_length=3, max_length=320, description="One the mailbox has already.")


# A slash may stand before the @, so that the address is the rest of the path.
@router.put(
    "/aliases/{address:path}",
    operation_id="addAlias",
    summary="Give a mailbox one more address",
    status_code=202,
    response_model=MailboxView,
    responses={
        200: {"model": MailboxView, "description": "It has the address already."},
        **refusals(
            "address_taken",
            "domain_not_verified",
            "domain_of_other_customer",
            "mailbox_deleted",
            "too_many_aliases",
        ),
    },
)
async def add(mailbox_id: MailboxId, address: AliasAddress, call: MailboxWrite) -> Response:
    mailbox = await _present(call, mailbox_id)
    operation = await addresses.add_alias(call.session, mailbox, address, now=call.now)
    if operation is not None:
        await call.record("mailbox.add_alias", [mailbox_id], address=address)
    return await call.accept(operation, lambda later: shown(later, mailbox_id))


@router.delete(
    "/aliases/{address:path}",
    operation_id="removeAlias",
    summary="Take an address from a mailbox",
    status_code=202,
    response_model=MailboxView,
    responses=refusals("address_is_primary", "mailbox_deleted"),
)
async def remove(mailbox_id: MailboxId, address: AliasAddress, call: MailboxWrite) -> Response:
    mailbox = await _present(call, mailbox_id)
    operation = await addresses.remove_alias(call.session, mailbox, address, now=call.now)
    await call.record("mailbox.remove_alias", [mailbox_id], address=address)
    return await call.accept(operation, lambda later: shown(later, mailbox_id))


@router.put(
    "/primary-address",
    operation_id="setPrimaryAddress",
    summary="Make another address the primary one",
    status_code=202,
    response_model=MailboxView,
    responses={
        200: {"model": MailboxView, "description": "It is the primary one already."},
        **refusals("mailbox_deleted"),
    },
)
async def make_primary(mailbox_id: MailboxId, wish: PrimaryAddress, call: MailboxWrite) -> Response:
    """The mailbox must have the address; the one before stays as an alias."""
    mailbox = await _present(call, mailbox_id)
    operation = await addresses.make_primary(call.session, mailbox, wish.address, now=call.now)
    if operation is not None:
        await call.record("mailbox.primary_address", [mailbox_id], address=wish.address)
    return await call.accept(operation, lambda later: shown(later, mailbox_id))


async def _present(call: Call, mailbox_id: str) -> Mailbox:
    mailbox = await lock_present(call.session, call.reseller_id, mailbox_id)
    call.check_if_match(mailbox.version)
    return mailbox
