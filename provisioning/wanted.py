"""What is wanted of one mailbox, read in one short transaction and then held without the database."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from provisioning.core.database import Database
from provisioning.data_centres import DataCentre
from provisioning.ledger import is_in_service
from provisioning.models import Mailbox, MailboxAddress, Operation, Share
from provisioning.planner import MailboxSpec, Presence, SharedTo, Wanted
from provisioning.terms import AddOn, DriftPolicy, Intent, MailboxState, OperationState, Protocol, ShareState

OPEN_OPERATIONS = (OperationState.QUEUED, OperationState.RUNNING)

_PRESENCE = {
    Intent.PRESENT: Presence.PRESENT,
    Intent.SUSPENDED: Presence.PRESENT,
    Intent.DELETED: Presence.DELETED,
    Intent.PURGED: Presence.PURGED,
}
_SETTLED = {
    Intent.PRESENT: MailboxState.ACTIVE,
    Intent.SUSPENDED: MailboxState.SUSPENDED,
    Intent.DELETED: MailboxState.DELETED,
    Intent.PURGED: MailboxState.PURGED,
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """A share that cannot be granted yet; `granted` if it was until its grantee went out of service."""

    share_id: str
    grantee_id: str
    address: str
    granted: bool


@dataclass(frozen=True, slots=True)
class Shares:
    """A mailbox's shares by what is to become of them; `fresh` and `revoked` are ids of shares.

    `in_flux` are the backend's ids of grantees whose rights are expected to differ from what is seen.
    """

    wanted: frozenset[SharedTo] = frozenset()
    fresh: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    in_flux: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class OpenOperation:
    """An operation not finished yet, with the steps its earlier attempts have noted."""

    id: str
    action: str
    steps: Sequence[Mapping[str, Any]]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Loaded:
    """The intent as of `generation`; what comes of it may be recorded for that generation only.

    `superseded` tells that an earlier wish may have been carried out in part. `settled` is the state the
    mailbox has once all is true. `driver` and `placed_by` name the kinds of backend it belongs to and lies in
    now. `drift` is what an earlier look left as others had made it.
    """

    wanted: Wanted
    reseller_id: str
    generation: int
    confirmed: bool
    superseded: bool
    settled: MailboxState
    reason: str | None
    attempts: int
    backend_id: str | None
    driver: str
    placed_by: str | None
    shares: Shares
    operations: tuple[OpenOperation, ...]
    accepts_drift: bool
    drift: tuple[str, ...]


# Every job runs these two: built once, because to build such a statement costs several times what it takes to run it.
_DRIVER = select(col(DataCentre.driver))
_AROUND = select(
    select(col(DataCentre.on_drift))
    .where(col(DataCentre.code) == bindparam("location"))
    .scalar_subquery()
    .label("on_drift"),
    _DRIVER.where(col(DataCentre.code) == bindparam("location")).scalar_subquery().label("driver"),
    _DRIVER.where(col(DataCentre.code) == bindparam("placed_in")).scalar_subquery().label("placed_by"),
    func.array(
        select(col(MailboxAddress.address))
        .where(col(MailboxAddress.mailbox_id) == bindparam("mailbox_id"))
        .scalar_subquery()
    ).label("addresses"),
)
_GRANTEE = aliased(Mailbox)
_SHARES = (
    select(
        *(col(Share.id), col(Share.scope), col(Share.role), col(Share.state), col(Share.expires_at)),
        *(col(_GRANTEE.id).label("grantee_id"), col(_GRANTEE.address), col(_GRANTEE.backend_id)),
        *(col(_GRANTEE.intent), col(DataCentre.driver), is_in_service(col(_GRANTEE.id)).label("in_service")),
    )
    .join(_GRANTEE, col(_GRANTEE.id) == col(Share.grantee_id))
    .join(DataCentre, col(DataCentre.code) == col(_GRANTEE.location))
    .where(col(Share.mailbox_id) == bindparam("mailbox_id"))
    .order_by(col(Share.id))
)


async def load(database: Database, mailbox_id: str, *, now: datetime) -> Loaded | None:
    """Read the intent and mark its operations running; None when there is nothing to make true.

    That is so for a mailbox that is unknown, purged, or failed: the last waits for a new wish.
    """
    async with database.as_system() as session:
        mailbox = await _lock_mailbox(session, mailbox_id)
        if mailbox is None or mailbox.failed or mailbox.state is MailboxState.PURGED:
            return None
        around = await _read_around(session, mailbox)
        shares = await _read_shares(session, mailbox, around.driver, now=now)
        operations = await _start_operations(session, mailbox)
    if shares.waiting:
        shares = await _read_shares_again(database, mailbox, around.driver, shares.waiting, now=now)
    return Loaded(
        wanted=_wanted(mailbox, around.addresses, shares.wanted),
        reseller_id=mailbox.reseller_id,
        generation=mailbox.generation,
        confirmed=mailbox.generation == mailbox.confirmed_generation,
        superseded=mailbox.generation > mailbox.confirmed_generation + 1,
        settled=_settled(mailbox),
        reason=mailbox.reason,
        attempts=mailbox.attempts,
        backend_id=mailbox.backend_id,
        driver=around.driver,
        placed_by=around.placed_by,
        shares=shares,
        operations=operations,
        accepts_drift=around.on_drift is DriftPolicy.ACCEPT,
        drift=tuple(mailbox.drift),
    )


def _settled(mailbox: Mailbox) -> MailboxState:
    if mailbox.intent is Intent.PRESENT and mailbox.service_suspended:
        return MailboxState.SUSPENDED
    return _SETTLED[mailbox.intent]


async def _lock_mailbox(session: AsyncSession, mailbox_id: str) -> Mailbox | None:
    """Waits for an intent that is being committed, so that the job it enqueued cannot miss it.

    The row is locked by a statement of its own: in a join, PostgreSQL would put what it had read of the other
    tables before the wait beside the row as it is after it.
    """
    query = select(Mailbox).where(col(Mailbox.id) == mailbox_id).with_for_update(key_share=True)
    return await session.scalar(query)


async def _read_around(session: AsyncSession, mailbox: Mailbox) -> Row[Any, Any, Any, Any]:
    values = {"mailbox_id": mailbox.id, "location": mailbox.location, "placed_in": mailbox.placed_in}
    return (await session.execute(_AROUND, values)).one()


async def _read_shares(session: AsyncSession, mailbox: Mailbox, driver: str, *, now: datetime) -> Shares:
    if _PRESENCE[mailbox.intent] is not Presence.PRESENT:
        return Shares()
    return _sort_shares(await session.execute(_SHARES, {"mailbox_id": mailbox.id}), driver, now=now)


def _sort_shares(rows: Iterable[Row[Any]], driver: str, *, now: datetime) -> Shares:
    wanted: set[SharedTo] = set()
    fresh, revoked, waiting, in_flux = [], [], [], set()
    for row in rows:
        expired = row.expires_at is not None and row.expires_at <= now
        if row.state is ShareState.ACTIVE and not expired and _can_receive(row, driver):
            wanted.add(SharedTo(row.scope, row.role, row.backend_id))
            continue
        if row.backend_id is not None:
            in_flux.add(row.backend_id)
        if row.state is ShareState.REVOKING:
            revoked.append(row.id)
        elif expired:
            continue  # the sweep revokes it; until then it opens nothing any more
        elif _can_receive(row, driver):
            wanted.add(SharedTo(row.scope, row.role, row.backend_id))
            fresh.append(row.id)
        else:
            waiting.append(Waiting(row.id, row.grantee_id, row.address, row.state is ShareState.ACTIVE))
    return Shares(frozenset(wanted), tuple(fresh), tuple(revoked), tuple(waiting), frozenset(in_flux))


def _can_receive(row: Row[Any], driver: str) -> bool:
    """Whether the grantee is one that the owner's backend knows and has confirmed to be in service."""
    present = _PRESENCE[row.intent] is Presence.PRESENT and row.in_service
    return present and row.backend_id is not None and row.driver == driver


async def _read_shares_again(
    database: Database, mailbox: Mailbox, driver: str, waiting: Sequence[Waiting], *, now: datetime
) -> Shares:
    """The shares as they are once every confirmation of a grantee that is being committed has been waited
    for.

    A confirmation looks for shares that waited for it, but cannot see one that was being committed at that
    moment; without this wait neither side would see the other, and the share would wait until the mailbox is
    next looked at.
    """
    grantees = [share.grantee_id for share in waiting]
    async with database.as_system() as session:
        query = select(col(Mailbox.id)).where(col(Mailbox.id).in_(grantees)).order_by(col(Mailbox.id))
        await session.execute(query.with_for_update(read=True))
        return await _read_shares(session, mailbox, driver, now=now)


async def _start_operations(session: AsyncSession, mailbox: Mailbox) -> tuple[OpenOperation, ...]:
    started = await session.execute(
        update(Operation)
        .where(
            col(Operation.mailbox_id) == mailbox.id,
            col(Operation.generation) <= mailbox.generation,
            col(Operation.state).in_(OPEN_OPERATIONS),
        )
        .values(
            state=OperationState.RUNNING,
            attempts=col(Operation.attempts) + 1,
            version=col(Operation.version) + 1,
        )
        .returning(col(Operation.id), col(Operation.action), col(Operation.steps), col(Operation.created_at))
        .execution_options(synchronize_session=False)
    )
    return tuple(OpenOperation(*row) for row in started)


def _wanted(mailbox: Mailbox, addresses: Sequence[str], shares: frozenset[SharedTo]) -> Wanted:
    aliases = sorted(address for address in addresses if address != mailbox.address)
    spec = MailboxSpec(
        kind=mailbox.kind,
        service_class=mailbox.service_class,
        display_name=mailbox.display_name,
        quota_mib=mailbox.quota_mib,
        protocols=frozenset(Protocol(name) for name in mailbox.protocols),
        addresses=(mailbox.address, *aliases),
        suspended=mailbox.intent is Intent.SUSPENDED or mailbox.service_suspended,
        password_version=mailbox.password_version,
    )
    return Wanted(
        mailbox_id=mailbox.id,
        presence=_PRESENCE[mailbox.intent],
        location=mailbox.location,
        spec=spec,
        shares=shares,
        archive=AddOn.ARCHIVE in mailbox.add_ons,
        password_hash=mailbox.password_hash,
    )
