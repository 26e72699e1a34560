"""Add-ons of a mailbox: an archive, and extra storage that lets its quota be larger than its class includes.

The rule of the quota: a mailbox may be given as much as its class includes, and EXTRA_STORAGE_UNIT_MIB more for each
unit of extra storage. A unit added raises the quota by as much at once; a unit taken away never lowers it: the quota
is lowered first, by whoever knows what is in the mailbox.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.core.database import fetch
from provisioning.core.errors import Conflict, FieldError, Invalid, NotFound
from provisioning.ledger import AddOnPeriod
from provisioning.models import Mailbox, Operation
from provisioning.operations import begin_operation, removal_of
from provisioning.terms import ADD_ONS, EXTRA_STORAGE_UNIT_MIB, INCLUDED_QUOTA_MIB, AddOn, ServiceClass

# With them the largest quota stays below the largest that can be asked for, whatever the class.
EXTRA_STORAGE_UNITS_MAX = 97


class OrderedAddOns(BaseModel):
    """The add-ons a mailbox is ordered with."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"archive": True, "extra_storage": 2}]})

    archive: bool = Field(False, strict=True, description="Exchange only.")
    extra_storage: int = Field(
        0, ge=0, le=EXTRA_STORAGE_UNITS_MAX, strict=True, description="Units of 10 GiB above what the class includes."
    )


@dataclass(frozen=True, slots=True)
class AddOnState:
    """One add-on as it is wanted, and as it is confirmed and on the bill: 0 and None until then."""

    add_on: AddOn
    quantity: int
    confirmed_quantity: int
    confirmed_on: date | None


def quota_max_mib(service_class: ServiceClass, units: int) -> int:
    """The largest quota a mailbox of this class may have with so many units of extra storage."""
    return INCLUDED_QUOTA_MIB[service_class] + units * EXTRA_STORAGE_UNIT_MIB


def check_quota(service_class: ServiceClass, quota_mib: int, *, units: int) -> None:
    """Raises Conflict, naming the units it takes, when a mailbox with so many may not have this quota."""
    maximum = quota_max_mib(service_class, units)
    if quota_mib > maximum:
        raise Conflict(
            f"A mailbox of class {service_class} with {units} units of extra storage has at most {maximum} MiB. Ask "
            f"for no more, or take {_units_for(service_class, quota_mib)} units of the add-on extra_storage first.",
            code="quota_not_included",
        )


def check_add_on(service_class: ServiceClass, add_on: AddOn) -> None:
    """Raises Conflict naming the classes whose mailboxes can have it."""
    if add_on not in ADD_ONS[service_class]:
        able = [each for each in ServiceClass if add_on in ADD_ONS[each]]
        raise Conflict(
            f"A mailbox of class {service_class} cannot have the add-on {add_on}; {', '.join(able)} would do.",
            code="class_does_not_support_add_on",
            classes=able,
        )


def judge_ordered(service_class: ServiceClass, ordered: OrderedAddOns, *, quota_mib: int | None) -> int:
    """The quota of a mailbox ordered with these add-ons; all it may have when none is asked for.

    Raises Conflict when its class cannot have the add-ons, or when the quota asked for takes more of them.
    """
    if ordered.archive:
        check_add_on(service_class, AddOn.ARCHIVE)
    if quota_mib is None:
        return quota_max_mib(service_class, ordered.extra_storage)
    check_quota(service_class, quota_mib, units=ordered.extra_storage)
    return quota_mib


async def list_add_ons(session: AsyncSession, mailbox: Mailbox) -> list[AddOnState]:
    """What is wanted or still on the bill, by name."""
    query = select(col(AddOnPeriod.add_on), col(AddOnPeriod.quantity), col(AddOnPeriod.starts_on)).where(
        col(AddOnPeriod.reseller_id) == mailbox.reseller_id,
        col(AddOnPeriod.mailbox_id) == mailbox.id,
        col(AddOnPeriod.ends_on).is_(None),
    )
    confirmed = {row.add_on: row for row in await session.execute(query)}
    wanted = mailbox.add_ons
    return [
        AddOnState(name, wanted.get(name, 0), row.quantity if row else 0, row.starts_on if row else None)
        for name in sorted(wanted.keys() | confirmed.keys())
        for row in [confirmed.get(name)]
    ]


async def put_add_on(
    session: AsyncSession, mailbox: Mailbox, add_on: AddOn, *, quantity: int, now: datetime
) -> Operation | None:
    """Have so many of an add-on (at least 1) on a locked mailbox; None when it has them already.

    Raises Conflict when its class cannot have it or its quota needs more units, Invalid for a second archive.
    """
    check_add_on(mailbox.service_class, add_on)
    if add_on is AddOn.ARCHIVE and quantity != 1:
        message = "a mailbox has one archive"
        raise Invalid(f"{message}.", errors=[FieldError("/quantity", "too_many", message)])
    if mailbox.add_ons.get(add_on) == quantity:
        return None
    _set(mailbox, add_on, quantity)
    return await begin_operation(session, mailbox, "mailbox.put_add_on", now=now)


async def remove_add_on(session: AsyncSession, mailbox: Mailbox, add_on: AddOn, *, now: datetime) -> Operation:
    """Take an add-on from a locked mailbox, an archive with what is in it.

    Raises NotFound when it has none, Conflict when its quota needs the extra storage.
    """
    if add_on not in mailbox.add_ons:
        raise NotFound(f"The mailbox does not have the add-on {add_on}.")
    _set(mailbox, add_on, 0)
    return await begin_operation(session, mailbox, removal_of(add_on), now=now)


def _set(mailbox: Mailbox, add_on: AddOn, quantity: int) -> None:
    if add_on is AddOn.ARCHIVE:
        mailbox.archive = quantity > 0
        return
    added = quantity - mailbox.extra_storage_units
    maximum = quota_max_mib(mailbox.service_class, quantity)
    if added < 0 and mailbox.quota_mib > maximum:
        raise Conflict(
            f"The quota of {mailbox.quota_mib} MiB takes {_units_for(mailbox.service_class, mailbox.quota_mib)} units "
            f"of extra storage. Set quota_mib to {maximum} or less first, with PATCH /v1/mailboxes/{mailbox.id}.",
            code="extra_storage_in_use",
        )
    if added > 0:
        # A quota from before there was this rule may be larger than all its units allow; it stays.
        mailbox.quota_mib = max(mailbox.quota_mib, min(mailbox.quota_mib + added * EXTRA_STORAGE_UNIT_MIB, maximum))
    mailbox.extra_storage_units = quantity


def _units_for(service_class: ServiceClass, quota_mib: int) -> int:
    return -((INCLUDED_QUOTA_MIB[service_class] - quota_mib) // EXTRA_STORAGE_UNIT_MIB)


_WRITE_ORDERED = """
    update mailbox set archive = line.archive, extra_storage_units = line.extra_storage_units
    from jsonb_to_recordset(cast(%(lines)s as jsonb)) as line (id text, archive bool, extra_storage_units int)
    where mailbox.id = line.id and mailbox.reseller_id = %(reseller_id)s
"""


async def write_ordered(session: AsyncSession, reseller_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put the add-ons on mailboxes just ordered in this transaction; without any it asks the database nothing."""
    lines = [
        {name: row[name] for name in ("id", "archive", "extra_storage_units")}
        for row in rows
        if row["archive"] or row["extra_storage_units"]
    ]
    if lines:
        await fetch(session, _WRITE_ORDERED, {"reseller_id": reseller_id, "lines": json.dumps(lines)})
