"""What can be done to a mailbox that stands: read, change, suspend, move, delete, restore, purge; always as intent.

Each change locks the row, writes the new wish and begins an operation in the same transaction; the reconciler makes
it true and says so.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.add_ons import check_quota, quota_max_mib
from provisioning.core.errors import Conflict, FieldError, Invalid, NotFound
from provisioning.core.queries import flush_unique, owned
from provisioning.data_centres import (
    POLICY_FIELDS,
    Rules,
    check_locations,
    check_placement,
    check_tightens,
    find_placement,
    load_placements,
)
from provisioning.models import Mailbox, MailboxAddress, Operation, Share
from provisioning.names import normalise_address
from provisioning.operations import RESUME, SUSPEND, begin_operation, was_suspended
from provisioning.orders import PolicyShape, Quota, check_class
from provisioning.tenants import check_limit, count_usage, get_customer, get_reseller
from provisioning.terms import ADD_ONS, SCOPES, AddOn, Intent, MailboxState, Protocol, ServiceClass

# What a list or a page of one mailbox shows, in the order it is shown; secrets have no column here.
SHOWN = (
    "id",
    "customer_id",
    "external_id",
    "address",
    "display_name",
    "kind",
    "service_class",
    "protocols",
    "quota_mib",
    "location",
    "placed_in",
    "state",
    "reason",
    "drift",
    "service_suspended",
    "allowed_locations",
    "allowed_countries",
    "required_certificates",
    "password_version",
    "version",
    "created_at",
    "purge_at",
)
_SHOWN_COLUMNS = tuple(Mailbox.__table__.c[name] for name in SHOWN)  # type: ignore[attr-defined]  # sqlmodel hides it


class MailboxChange(PolicyShape):
    """What may be changed in place; what is left out stays as it is."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"service_class": "exchange", "quota_mib": 40960}]},
    )

    display_name: str | None = Field(None, min_length=1, max_length=256)
    service_class: ServiceClass | None = None
    quota_mib: Quota | None = None
    protocols: list[Protocol] | None = Field(None, max_length=8)
    external_id: str | None = Field(None, min_length=1, max_length=128)


class MailboxFilter(BaseModel):
    """What a list is narrowed to."""

    customer: str | None = Field(None, max_length=64, description="cus_…")
    service_class: ServiceClass | None = Field(None, alias="class", description="pop3, imap or exchange")
    state: MailboxState | None = Field(None, description="Purged ones only appear when asked for.")
    location: str | None = Field(None, max_length=64, description="Code of a data centre.")
    external_id: str | None = Field(None, max_length=128)
    address: str | None = Field(None, max_length=320, description="Primary or alias, exactly.")
    q: str | None = Field(None, min_length=1, max_length=100, description="In address or display name.")

    model_config = ConfigDict(populate_by_name=True)


async def list_mailboxes(
    session: AsyncSession, reseller_id: str, *, only: MailboxFilter, before: str | None, limit: int
) -> Sequence[RowMapping]:
    """Rows of SHOWN, newest first. Purged ones appear only when asked for by state."""
    query = select(*_SHOWN_COLUMNS).where(col(Mailbox.reseller_id) == reseller_id)
    if only.customer is not None:
        query = query.where(col(Mailbox.customer_id) == only.customer)
    if only.service_class is not None:
        query = query.where(col(Mailbox.service_class) == only.service_class)
    if only.state is not None:
        query = query.where(col(Mailbox.state) == only.state)
    else:
        query = query.where(col(Mailbox.state) != MailboxState.PURGED)
    if only.location is not None:
        query = query.where(col(Mailbox.location) == only.location)
    if only.external_id is not None:
        query = query.where(col(Mailbox.external_id) == only.external_id)
    if only.address is not None:
        held = owned(MailboxAddress, reseller_id).where(col(MailboxAddress.address) == _normal(only.address))
        query = query.where(col(Mailbox.id).in_(held.with_only_columns(col(MailboxAddress.mailbox_id))))
    if only.q is not None:
        matches = [col(column).icontains(only.q, autoescape=True) for column in (Mailbox.address, Mailbox.display_name)]
        query = query.where(matches[0] | matches[1])
    if before is not None:
        query = query.where(col(Mailbox.id) < before)
    return (await session.execute(query.order_by(col(Mailbox.id).desc()).limit(limit))).mappings().all()


def _normal(address: str) -> str:
    try:
        return normalise_address(address)
    except ValueError:
        return address  # matches nothing, which is the truth about it


async def get_mailbox(session: AsyncSession, reseller_id: str, mailbox_id: str) -> Mailbox:
    """Raises NotFound for an unknown one and for another reseller's."""
    mailbox = await session.scalar(owned(Mailbox, reseller_id).where(col(Mailbox.id) == mailbox_id))
    if mailbox is None:
        raise NotFound(f"There is no mailbox {mailbox_id}.")
    return mailbox


async def lock_mailbox(session: AsyncSession, reseller_id: str, mailbox_id: str) -> Mailbox:
    """The mailbox, held until the transaction ends; purged ones count as gone. Raises NotFound."""
    query = owned(Mailbox, reseller_id).where(col(Mailbox.id) == mailbox_id)
    # Not against rows that only refer to it: two mailboxes that share with each other would wait for one another.
    held = query.with_for_update(of=Mailbox, key_share=True).execution_options(populate_existing=True)
    mailbox = await session.scalar(held)
    if mailbox is None or mailbox.intent is Intent.PURGED:
        raise NotFound(f"There is no mailbox {mailbox_id}.")
    return mailbox


async def lock_present(session: AsyncSession, reseller_id: str, mailbox_id: str) -> Mailbox:
    """The mailbox, held; raises Conflict for one that is deleted and would have to be restored first."""
    mailbox = await lock_mailbox(session, reseller_id, mailbox_id)
    if mailbox.intent is Intent.DELETED:
        raise Conflict(
            f"The mailbox is deleted. Restore it with POST /v1/mailboxes/{mailbox_id}/restore first.",
            code="mailbox_deleted",
        )
    return mailbox


async def list_aliases(session: AsyncSession, reseller_id: str, mailbox_id: str) -> list[str]:
    query = owned(MailboxAddress, reseller_id).where(col(MailboxAddress.mailbox_id) == mailbox_id)
    rows = await session.scalars(query.where(~col(MailboxAddress.is_primary)))
    return sorted(row.address for row in rows)


async def change_mailbox(
    session: AsyncSession, mailbox: Mailbox, change: MailboxChange, *, now: datetime, on: date
) -> Operation | None:
    """Apply what differs to a locked mailbox; None when nothing does or when no backend has to hear of it.

    Raises Invalid for a policy with an unknown data centre, Conflict when the class cannot carry the kind, the
    protocols, the quota or the shares that stand, or when a policy would be loosened or broken. An archive ends with
    the class that could have it.
    """
    wish = change.model_dump(exclude_unset=True)
    for name in ("display_name", "service_class", "quota_mib"):
        if name in wish and wish[name] is None:
            raise Invalid(f"{name} cannot be null.", errors=[FieldError(f"/{name}", "null", "must have a value")])
    await check_locations(session, wish)
    await _check_fits(session, mailbox, wish)
    before = {name: getattr(mailbox, name) for name in wish}
    if before == wish:
        return None
    for name, value in wish.items():
        setattr(mailbox, name, value)
    if wish.keys() & set(POLICY_FIELDS):
        await check_policy_of_mailbox(session, mailbox, on=on)
    await flush_unique(session, "external_id")
    if not wish.keys() - {*POLICY_FIELDS, "external_id"}:
        return None
    return await begin_operation(session, mailbox, "mailbox.change", now=now)


async def _check_fits(session: AsyncSession, mailbox: Mailbox, wish: dict[str, Any]) -> None:
    """Complete the wish by what comes and goes with a new class; raises Conflict when the class cannot carry it."""
    service_class = wish.get("service_class", mailbox.service_class)
    if "service_class" in wish or "protocols" in wish:
        # A new class answers on all it can unless protocols are named with it: the old choice was the old class's.
        wish["protocols"] = check_class(service_class, mailbox.kind, wish.get("protocols"))
    if service_class != mailbox.service_class:
        await _check_shares_fit(session, mailbox, service_class)
        # Its size is the new class's too, unless it is named.
        wish.setdefault("quota_mib", quota_max_mib(service_class, mailbox.extra_storage_units))
        if AddOn.ARCHIVE not in ADD_ONS[service_class]:
            wish["archive"] = False
    asked = (service_class, wish.get("quota_mib", mailbox.quota_mib))
    if asked != (mailbox.service_class, mailbox.quota_mib):
        check_quota(*asked, units=mailbox.extra_storage_units)


async def check_policy_of_mailbox(session: AsyncSession, mailbox: Mailbox, *, on: date) -> None:
    """Raises Conflict when the mailbox's policy loosens one above it, or its data centre breaks any of them."""
    placements = await load_placements(session, mailbox.reseller_id, on=on)
    reseller = await get_reseller(session, mailbox.reseller_id)
    customer = await get_customer(session, mailbox.reseller_id, mailbox.customer_id)
    tiers = [Rules.of("reseller", reseller), Rules.of("customer", customer), Rules.of("mailbox", mailbox)]
    check_tightens(tiers[2], tiers[:2])
    check_placement(find_placement(placements, mailbox.location), tiers)


async def _check_shares_fit(session: AsyncSession, mailbox: Mailbox, service_class: ServiceClass) -> None:
    able = SCOPES[service_class]
    shares = await session.scalars(owned(Share, mailbox.reseller_id).where(col(Share.mailbox_id) == mailbox.id))
    lost = sorted({str(share.scope) for share in shares if share.scope not in able})
    opened = owned(Share, mailbox.reseller_id).where(col(Share.grantee_id) == mailbox.id)
    lost += sorted({f"{s.scope} of {s.mailbox_id}" for s in await session.scalars(opened) if s.scope not in able})
    if lost:
        raise Conflict(
            f"A mailbox of class {service_class} cannot have these shares: {', '.join(lost)}. Revoke them first.",
            code="class_does_not_support_scope",
        )


async def suspend_mailbox(session: AsyncSession, mailbox: Mailbox, *, now: datetime) -> Operation | None:
    """Login and sending stop, mail keeps arriving, the fee goes on. None when it is suspended already."""
    if mailbox.intent is Intent.SUSPENDED:
        return None
    mailbox.intent = Intent.SUSPENDED
    return await begin_operation(session, mailbox, SUSPEND, now=now)


async def resume_mailbox(session: AsyncSession, mailbox: Mailbox, *, now: datetime) -> Operation | None:
    """None when it is not suspended."""
    if mailbox.intent is Intent.PRESENT:
        return None
    mailbox.intent = Intent.PRESENT
    return await begin_operation(session, mailbox, RESUME, now=now)


async def move_mailbox(
    session: AsyncSession, mailbox: Mailbox, *, to: str, now: datetime, on: date
) -> Operation | None:
    """Move to another data centre that every tier's policy allows. None when it is there already."""
    if mailbox.location == to:
        return None
    mailbox.location = to
    await check_policy_of_mailbox(session, mailbox, on=on)
    return await begin_operation(session, mailbox, "mailbox.move", now=now, moving=True)


async def delete_mailbox(
    session: AsyncSession, mailbox: Mailbox, *, restore_days: int, now: datetime
) -> Operation | None:
    """Out of service and off the bill from today; restorable with all its data until `purge_at`."""
    if mailbox.intent is Intent.DELETED:
        return None
    mailbox.intent = Intent.DELETED
    mailbox.purge_at = now + timedelta(days=restore_days)
    await count_usage(session, [mailbox.reseller_id, mailbox.customer_id], mailboxes=-1)
    return await begin_operation(session, mailbox, "mailbox.delete", now=now)


async def restore_mailbox(session: AsyncSession, mailbox: Mailbox, *, now: datetime, on: date) -> Operation:
    """Back with its data and addresses, suspended if it was. Raises Conflict when it is not deleted, LimitExceeded."""
    if mailbox.intent is not Intent.DELETED:
        raise Conflict("The mailbox is not deleted.", code="mailbox_not_deleted")
    await check_policy_of_mailbox(session, mailbox, on=on)
    await _count_in(session, mailbox)
    mailbox.intent = Intent.SUSPENDED if await was_suspended(session, mailbox) else Intent.PRESENT
    mailbox.purge_at = None
    return await begin_operation(session, mailbox, "mailbox.restore", now=now)


async def _count_in(session: AsyncSession, mailbox: Mailbox) -> None:
    reseller = await get_reseller(session, mailbox.reseller_id)
    customer = await get_customer(session, mailbox.reseller_id, mailbox.customer_id)
    used = await count_usage(session, [reseller.id, customer.id], mailboxes=1)
    for tier, tenant in (("customer", customer), ("reseller", reseller)):
        check_limit(tier, "mailboxes", tenant.mailboxes_max, used=used[tenant.id].mailboxes)


async def purge_mailbox(session: AsyncSession, mailbox: Mailbox, *, now: datetime) -> Operation:
    """Erase for good what is deleted. Raises Conflict for a mailbox still in service."""
    if mailbox.intent is not Intent.DELETED:
        raise Conflict(
            f"Only a deleted mailbox can be purged. Delete it with DELETE /v1/mailboxes/{mailbox.id} first.",
            code="mailbox_not_deleted",
        )
    mailbox.intent = Intent.PURGED
    return await begin_operation(session, mailbox, "mailbox.purge", now=now)
