"""Long work: each change of what is wanted begins an operation and enqueues the job that makes it true."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.core.errors import Conflict, NotFound
from provisioning.core.ids import new_id
from provisioning.core.jobs import RECONCILE, enqueue
from provisioning.core.queries import owned
from provisioning.models import Mailbox, Operation
from provisioning.terms import AddOn, Intent, MailboxState, OperationState

# What the reseller asked for goes before what a sweep found.
PRIORITY_ASKED = 10
PRIORITY_SWEPT = 0

SUSPEND = "mailbox.suspend"
RESUME = "mailbox.resume"


def removal_of(add_on: AddOn) -> str:
    """The action of an operation that takes the add-on away."""
    return f"mailbox.remove_{add_on}"


def state_on_the_way(mailbox: Mailbox, *, moving: bool) -> MailboxState:
    """The state a mailbox shows from the wish until its confirmation."""
    if mailbox.intent in (Intent.DELETED, Intent.PURGED):
        return MailboxState.DELETING
    if mailbox.backend_id is None:
        return MailboxState.PROVISIONING
    return MailboxState.MOVING if moving else MailboxState.UPDATING


async def begin_operation(
    session: AsyncSession,
    mailbox: Mailbox,
    action: str,
    *,
    now: datetime,
    moving: bool = False,
    priority: int = PRIORITY_ASKED,
) -> Operation:
    """Record that `mailbox` (locked by the caller, already carrying the new wish) is to change, and enqueue the work.

    A mailbox that had failed is tried again from here.
    """
    mailbox.generation += 1
    mailbox.failed = False
    mailbox.reason = None
    mailbox.attempts = 0
    mailbox.state = state_on_the_way(mailbox, moving=moving)
    operation = Operation(
        id=new_id("op"),
        reseller_id=mailbox.reseller_id,
        mailbox_id=mailbox.id,
        action=action,
        generation=mailbox.generation,
        created_at=now,
    )
    session.add(operation)
    await enqueue(session, RECONCILE, [mailbox.id], priority=priority)
    return operation


async def get_operation(session: AsyncSession, reseller_id: str, operation_id: str) -> Operation:
    """Raises NotFound for an unknown one and for another reseller's."""
    operation = await session.scalar(
        select(Operation).where(col(Operation.reseller_id) == reseller_id, col(Operation.id) == operation_id)
    )
    if operation is None:
        raise NotFound(f"There is no operation {operation_id}.")
    return operation


async def retry_operation(session: AsyncSession, reseller_id: str, operation_id: str, *, now: datetime) -> Operation:
    """Try again a failed operation, the newest of its mailbox, as a new one of the same action; a deletion keeps the
    date on which it was asked for, from which on nothing is owed.

    Raises NotFound, Conflict `operation_not_failed`, or Conflict `operation_superseded` naming the later operation
    that has taken the mailbox on: what is wanted by now is what that one asks for.
    """
    failed = await get_operation(session, reseller_id, operation_id)
    # Also one whose purge has failed, which counts as gone for every other call.
    query = owned(Mailbox, reseller_id).where(col(Mailbox.id) == failed.mailbox_id)
    held = query.with_for_update(of=Mailbox, key_share=True).execution_options(populate_existing=True)
    mailbox = (await session.scalars(held)).one()
    if failed.state is not OperationState.FAILED:
        raise Conflict(
            f"The operation is {failed.state}. Only a failed one can be tried again.", code="operation_not_failed"
        )
    newest = await _newest_operation(session, mailbox)
    if newest.id != failed.id:
        raise Conflict(
            f"The operation {newest.id} ({newest.action}) has taken the mailbox on since. If it has failed, try that "
            "one again.",
            code="operation_superseded",
            operation=newest.id,
        )
    moving = mailbox.placed_in not in (None, mailbox.location)
    operation = await begin_operation(session, mailbox, failed.action, now=now, moving=moving)
    if failed.action == "mailbox.delete":
        operation.created_at = failed.created_at  # days after it are not to be billed
    return operation


async def _newest_operation(session: AsyncSession, mailbox: Mailbox) -> Operation:
    query = (
        select(Operation)
        .where(col(Operation.reseller_id) == mailbox.reseller_id, col(Operation.mailbox_id) == mailbox.id)
        .order_by(col(Operation.generation).desc())
        .limit(1)
    )
    return (await session.scalars(query)).one()


async def was_suspended(session: AsyncSession, mailbox: Mailbox) -> bool:
    """Whether a deleted mailbox was suspended when it was deleted, by what was asked for last."""
    query = (
        select(col(Operation.action))
        .where(
            col(Operation.reseller_id) == mailbox.reseller_id,
            col(Operation.mailbox_id) == mailbox.id,
            col(Operation.action).in_((SUSPEND, RESUME)),
        )
        .order_by(col(Operation.generation).desc())
        .limit(1)
    )
    return await session.scalar(query) == SUSPEND


async def list_operations(
    session: AsyncSession,
    reseller_id: str,
    *,
    mailbox_id: str | None,
    state: OperationState | None,
    before: str | None,
    limit: int,
) -> Sequence[Operation]:
    """Newest first, at most `limit`, from below the id `before`."""
    query = select(Operation).where(col(Operation.reseller_id) == reseller_id)
    if mailbox_id is not None:
        query = query.where(col(Operation.mailbox_id) == mailbox_id)
    if state is not None:
        query = query.where(col(Operation.state) == state)
    if before is not None:
        query = query.where(col(Operation.id) < before)
    return (await session.scalars(query.order_by(col(Operation.id).desc()).limit(limit))).all()
