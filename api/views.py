"""What a mailbox looks like from outside, for every noun that answers with one."""

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Path
from pydantic import ConfigDict, Field

from api.deps import Call, Requires
from provisioning import mailboxes
from provisioning.core.ids import ID_PATTERN
from provisioning.orders import PolicyShape
from provisioning.terms import MailboxKind, MailboxState, Protocol, ServiceClass

MailboxRead = Annotated[Call, Depends(Requires("mailboxes:read"), scope="function")]
MailboxWrite = Annotated[Call, Depends(Requires("mailboxes:write"), scope="function")]
MailboxId = Annotated[str, Path(pattern=f"^mbx_{ID_PATTERN}$", description="mbx_…")]

PLACEMENT_CODES = ("placement_refused", "policy_widens", "unknown_data_centre", "data_centre_closed")
CLASS_CODES = ("class_does_not_support_kind", "class_does_not_support_protocol", "quota_not_included")


class MailboxView(PolicyShape):
    """A mailbox as it stands: what was ordered, and in `state`, `reason` and `placed_in` what is true of it."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "mbx_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "customer_id": "cus_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "external_id": None,
                    "address": "anna.krueger@kanzlei-lindenhof.example",
                    "display_name": "Anna Krüger",
                    "kind": "user",
                    "service_class": "exchange",
                    "protocols": ["activesync", "caldav", "carddav", "imap", "mapi", "pop3", "smtp", "web"],
                    "quota_mib": 51200,
                    "location": "de-fra-1",
                    "placed_in": "de-fra-1",
                    "state": "active",
                    "reason": None,
                    "drift": [],
                    "service_suspended": False,
                    "allowed_locations": None,
                    "allowed_countries": ["DE"],
                    "required_certificates": None,
                    "password_version": 1,
                    "version": 3,
                    "created_at": "2026-11-17T10:00:00Z",
                    "purge_at": None,
                    "aliases": ["krueger@kanzlei-lindenhof.example"],
                }
            ]
        },
    )

    id: str
    customer_id: str
    external_id: str | None
    address: str
    display_name: str
    kind: MailboxKind
    service_class: ServiceClass
    protocols: list[Protocol]
    quota_mib: int
    location: str = Field(description="The data centre it was ordered in.")
    placed_in: str | None = Field(description="The data centre its backend has confirmed; null until then.")
    state: MailboxState
    reason: str | None = Field(description="What it waits for, or why it failed.")
    drift: list[str] = Field(
        description="What was changed at the backend by others and is left so, where the data centre's `on_drift` is "
        "`accept`: the steps that would put it right. The next change of the mailbox takes them."
    )
    service_suspended: bool = Field(
        description="Login and sending are stopped until an overdue invoice is paid, whatever you ask for."
    )
    password_version: int = Field(description="0 until a password has been set.")
    version: int = Field(description="The ETag.")
    created_at: datetime
    purge_at: datetime | None = Field(description="When a deleted mailbox is erased for good.")
    aliases: list[str] | None = Field(None, description="null in lists.")


async def shown(call: Call, mailbox_id: str) -> MailboxView:
    """One mailbox as it stands, its aliases included."""
    mailbox = await mailboxes.get_mailbox(call.session, call.reseller_id, mailbox_id)
    view = MailboxView.model_validate(mailbox)
    view.aliases = await mailboxes.list_aliases(call.session, call.reseller_id, mailbox_id)
    return view
