"""Wishes written as the services write them, in few words."""

from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning import add_ons
from provisioning.models import Mailbox, MailboxAddress, Operation, Share
from provisioning.operations import begin_operation
from provisioning.terms import ADD_ONS, PROTOCOLS, Access, AddOn, Intent, Scope, ServiceClass, ShareState
from tests import factories
from tests.conftest import NOW


async def lock(session: AsyncSession, mailbox_id: str) -> Mailbox:
    query = select(Mailbox).where(col(Mailbox.id) == mailbox_id).with_for_update()
    return (await session.scalars(query)).one()


async def change(
    session: AsyncSession,
    mailbox_id: str,
    *,
    action: str = "mailbox.change",
    now: datetime = NOW,
    **attributes: Any,
) -> Operation:
    """Set attributes of what is wanted; a new class answers on all its protocols, and may end the archive."""
    mailbox = await lock(session, mailbox_id)
    if "service_class" in attributes:
        service_class = ServiceClass(attributes["service_class"])
        attributes.setdefault("protocols", sorted(PROTOCOLS[service_class]))
        if AddOn.ARCHIVE not in ADD_ONS[service_class]:
            attributes["archive"] = False
    for name, value in attributes.items():
        setattr(mailbox, name, value)
    moving = "location" in attributes
    return await begin_operation(session, mailbox, action, now=now, moving=moving)


async def delete_mailbox(session: AsyncSession, mailbox_id: str, *, now: datetime = NOW) -> Operation:
    return await change(session, mailbox_id, action="mailbox.delete", now=now, intent=Intent.DELETED, purge_at=now)


async def restore(session: AsyncSession, mailbox_id: str, *, now: datetime = NOW) -> Operation:
    return await change(session, mailbox_id, action="mailbox.restore", now=now, intent=Intent.PRESENT, purge_at=None)


async def purge(session: AsyncSession, mailbox_id: str, *, now: datetime = NOW) -> Operation:
    return await change(session, mailbox_id, action="mailbox.purge", now=now, intent=Intent.PURGED)


async def add_alias(session: AsyncSession, mailbox_id: str, alias: str) -> Operation:
    mailbox = await lock(session, mailbox_id)
    owner: dict[str, Any] = {
        "reseller_id": mailbox.reseller_id,
        "mailbox_id": mailbox.id,
        "domain_id": mailbox.domain_id,
    }
    session.add(MailboxAddress(address=alias, **owner))
    return await begin_operation(session, mailbox, "mailbox.add_alias", now=NOW)


async def remove_alias(session: AsyncSession, mailbox_id: str, alias: str) -> Operation:
    mailbox = await lock(session, mailbox_id)
    await session.execute(delete(MailboxAddress).where(col(MailboxAddress.address) == alias))
    return await begin_operation(session, mailbox, "mailbox.remove_alias", now=NOW)


async def put_add_on(
    session: AsyncSession, mailbox_id: str, add_on: AddOn, *, quantity: int = 1, now: datetime = NOW
) -> None:
    """With a quota that any number of units allows, so that units can come and go."""
    mailbox = await lock(session, mailbox_id)
    mailbox.quota_mib = 1000
    await add_ons.put_add_on(session, mailbox, add_on, quantity=quantity, now=now)


async def remove_add_on(session: AsyncSession, mailbox_id: str, add_on: AddOn, *, now: datetime = NOW) -> None:
    mailbox = await lock(session, mailbox_id)
    mailbox.quota_mib = 1000
    await add_ons.remove_add_on(session, mailbox, add_on, now=now)


async def grant(
    session: AsyncSession,
    owner_id: str,
    grantee_id: str,
    scope: Scope = Scope.CALENDAR,
    access: Access | None = Access.READ,
    **overrides: Any,
) -> Share:
    owner, grantee = await lock(session, owner_id), await session.get_one(Mailbox, grantee_id)
    await session.execute(delete(Share).where(*_between(owner_id, grantee_id, scope)))
    share = await factories.make_share(session, owner, grantee, scope=scope, access=access, **overrides)
    await begin_operation(session, owner, "share.grant", now=NOW)
    return share


async def revoke(session: AsyncSession, owner_id: str, grantee_id: str, scope: Scope = Scope.CALENDAR) -> None:
    owner = await lock(session, owner_id)
    share = (await session.scalars(select(Share).where(*_between(owner_id, grantee_id, scope)))).one()
    share.state = ShareState.REVOKING
    await begin_operation(session, owner, "share.revoke", now=NOW)


def _between(owner_id: str, grantee_id: str, scope: Scope) -> tuple[Any, ...]:
    mailboxes = col(Share.mailbox_id) == owner_id, col(Share.grantee_id) == grantee_id
    return *mailboxes, col(Share.scope) == scope
