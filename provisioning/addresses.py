"""The addresses of a mailbox: aliases come and go, and one of them can become the primary one."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.core.errors import Conflict, FieldError, Invalid, NotFound
from provisioning.core.queries import owned
from provisioning.models import Domain, Mailbox, MailboxAddress, Operation
from provisioning.names import parse_address
from provisioning.operations import begin_operation
from provisioning.orders import ALIASES_MAX
from provisioning.terms import DomainState


async def add_alias(session: AsyncSession, mailbox: Mailbox, address: str, *, now: datetime) -> Operation | None:
    """Give a locked mailbox one more address; None when it has it already.

    Raises Invalid for no address, Conflict for one that is taken, lies in an unverified domain or in another
    customer's, or is one too many.
    """
    try:
        local, name = parse_address(address)
    except ValueError as error:
        raise Invalid(f"{error}.", errors=[FieldError("path address", "invalid_address", str(error))]) from error
    held = await _find(session, mailbox.reseller_id, f"{local}@{name}")
    if held is not None and held.mailbox_id == mailbox.id:
        return None
    # Held, so that it cannot be removed before the address that refers to it is there.
    query = owned(Domain, mailbox.reseller_id).where(col(Domain.name) == name)
    domain = await session.scalar(query.with_for_update(read=True, key_share=True))
    if domain is None or domain.state is not DomainState.VERIFIED:
        raise Conflict(f"The domain {name} is not a verified one of yours.", code="domain_not_verified")
    if domain.customer_id != mailbox.customer_id:
        raise Conflict(f"The domain {name} belongs to another customer.", code="domain_of_other_customer")
    count = owned(MailboxAddress, mailbox.reseller_id).where(col(MailboxAddress.mailbox_id) == mailbox.id)
    if (await session.scalar(select(func.count()).select_from(count.subquery())) or 0) > ALIASES_MAX:
        raise Conflict(f"A mailbox has at most {ALIASES_MAX} aliases.", code="too_many_aliases")
    taken = await session.scalar(
        insert(MailboxAddress)
        .values(
            address=f"{local}@{name}",
            reseller_id=mailbox.reseller_id,
            mailbox_id=mailbox.id,
            domain_id=domain.id,
            is_primary=False,
        )
        .on_conflict_do_nothing(index_elements=["address"])
        .returning(col(MailboxAddress.address))
    )
    if taken is None:
        raise Conflict(f"The address {local}@{name} is in use already.", code="address_taken")
    return await begin_operation(session, mailbox, "mailbox.add_alias", now=now)


async def remove_alias(session: AsyncSession, mailbox: Mailbox, address: str, *, now: datetime) -> Operation:
    """Raises NotFound for an address the mailbox does not have, Conflict for its primary one."""
    held = await _held(session, mailbox, address)
    if held.is_primary:
        raise Conflict(
            "The primary address cannot be removed. Make another one primary first, with "
            f"PUT /v1/mailboxes/{mailbox.id}/primary-address.",
            code="address_is_primary",
        )
    await session.delete(held)
    return await begin_operation(session, mailbox, "mailbox.remove_alias", now=now)


async def make_primary(session: AsyncSession, mailbox: Mailbox, address: str, *, now: datetime) -> Operation | None:
    """The old primary address stays as an alias. Raises NotFound for an address the mailbox does not have."""
    new = await _held(session, mailbox, address)
    if new.is_primary:
        return None
    old = await _held(session, mailbox, mailbox.address)
    new.is_primary, old.is_primary = True, False
    mailbox.address, mailbox.domain_id = new.address, new.domain_id
    return await begin_operation(session, mailbox, "mailbox.primary_address", now=now)


async def _find(session: AsyncSession, reseller_id: str, address: str) -> MailboxAddress | None:
    found: MailboxAddress | None = await session.scalar(
        owned(MailboxAddress, reseller_id).where(col(MailboxAddress.address) == address)
    )
    return found


async def _held(session: AsyncSession, mailbox: Mailbox, address: str) -> MailboxAddress:
    try:
        normal = "@".join(parse_address(address))
    except ValueError as error:
        raise NotFound(f"The mailbox has no address {address}.") from error
    held = await _find(session, mailbox.reseller_id, normal)
    if held is None or held.mailbox_id != mailbox.id:
        raise NotFound(f"The mailbox has no address {address}.")
    return held
