"""ServicePeriod and AddOnPeriod, the append-only contract between the halves: all that billing reads of provisioning.

A period is opened when the backend confirms a mailbox and closed when the mailbox is given up; days are
Europe/Berlin days, half-open. It is never edited: class, customer and location of a mailbox change by closing
one period and opening the next. A day belongs to one period at most, and to the newer class when the class
changes on it.

An add-on of a mailbox has periods of its own under the same rules: it changes its quantity, its customer and its
location by closing one and opening the next, and ends at the latest when its mailbox leaves service.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from sqlalchemy import CheckConstraint, Index, Row, exists, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, col

from provisioning.core.clock import berlin_day
from provisioning.core.ids import new_id
from provisioning.core.tables import Id, Table, key, reference, word
from provisioning.models import Mailbox
from provisioning.terms import ADD_ONS, AddOn, ServiceClass

_Open = Row[str, date, ServiceClass, str, str, bool]
_OpenAddOn = Row[str, date, AddOn, int, str, str]


class Reason(StrEnum):
    """Why a period starts or ends; stands on the annex of the invoice."""

    ORDERED = "ordered"
    RESTORED = "restored"
    CLASS_CHANGED = "class_changed"
    CUSTOMER_CHANGED = "customer_changed"
    MOVED = "moved"
    ADDED = "added"
    QUANTITY_CHANGED = "quantity_changed"
    REMOVED = "removed"
    DELETED = "deleted"
    PURGED = "purged"


EXTERNAL_IDS_SQL = "select id as mailbox_id, external_id from mailbox"
"""What resellers call their mailboxes, for whoever lists periods; RLS and the periods' own filter say whose."""


class ServicePeriod(Table, table=True):
    """Days [starts_on, ends_on) on which a mailbox was in service; `ends_on` None while it still is.

    `mailbox_id` outlives the mailbox, so it is no foreign key.
    """

    __tablename__ = "service_period"
    __table_args__ = (
        ExcludeConstraint(
            ("mailbox_id", "="),
            (text("daterange(starts_on, ends_on)"), "&&"),
            name="ex_service_period_overlap",
            using="gist",
        ),
        Index("ix_service_period_reseller_id_starts_on", "reseller_id", "starts_on"),
        Index("uq_service_period_open", "mailbox_id", unique=True, postgresql_where=text("ends_on is null")),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    customer_id: str = reference("customer.id")
    mailbox_id: str = Field(sa_type=Id)
    address: str
    service_class: ServiceClass = word(ServiceClass)
    location: str
    starts_on: date
    ends_on: date | None = None
    start_reason: str
    end_reason: str | None = None


class AddOnPeriod(Table, table=True):
    """Days [starts_on, ends_on) on which a mailbox in service had `quantity` of an add-on.

    `mailbox_id` outlives the mailbox, so it is no foreign key.
    """

    __tablename__ = "add_on_period"
    __table_args__ = (
        ExcludeConstraint(
            ("mailbox_id", "="),
            ("add_on", "="),
            (text("daterange(starts_on, ends_on)"), "&&"),
            name="ex_add_on_period_overlap",
            using="gist",
        ),
        CheckConstraint("quantity > 0", name="quantity_positive"),
        Index("ix_add_on_period_reseller_id_starts_on", "reseller_id", "starts_on"),
        Index("uq_add_on_period_open", "mailbox_id", "add_on", unique=True, postgresql_where=text("ends_on is null")),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    customer_id: str = reference("customer.id")
    mailbox_id: str = Field(sa_type=Id)
    address: str
    add_on: AddOn = word(AddOn)
    quantity: int
    location: str
    starts_on: date
    ends_on: date | None = None
    start_reason: str
    end_reason: str | None = None


async def open_period(session: AsyncSession, mailbox: Mailbox, *, on: date, reason: str) -> None:
    """Start a period with the mailbox's present class, customer and location.

    It starts `on`, or where the last one ended when that is later, so that no day is counted twice. Raises
    IntegrityError when one is open already.
    """
    last_end = select(func.max(col(ServicePeriod.ends_on))).where(col(ServicePeriod.mailbox_id) == mailbox.id)
    await session.execute(
        insert(ServicePeriod).values(
            id=new_id("per"),
            reseller_id=mailbox.reseller_id,
            customer_id=mailbox.customer_id,
            mailbox_id=mailbox.id,
            address=mailbox.address,
            service_class=mailbox.service_class,
            location=_location(mailbox),
            # greatest() passes over NULL, which is what max() says when there was no period before.
            starts_on=func.greatest(on, last_end.scalar_subquery()),
            start_reason=reason,
        )
    )


async def open_add_on_period(
    session: AsyncSession, mailbox: Mailbox, add_on: AddOn, *, quantity: int, on: date, reason: str
) -> None:
    """As `open_period`, for an add-on of the mailbox."""
    before = col(AddOnPeriod.mailbox_id) == mailbox.id, col(AddOnPeriod.add_on) == add_on
    last_end = select(func.max(col(AddOnPeriod.ends_on))).where(*before)
    await session.execute(
        insert(AddOnPeriod).values(
            id=new_id("aop"),
            reseller_id=mailbox.reseller_id,
            customer_id=mailbox.customer_id,
            mailbox_id=mailbox.id,
            address=mailbox.address,
            add_on=add_on,
            quantity=quantity,
            location=_location(mailbox),
            starts_on=func.greatest(on, last_end.scalar_subquery()),
            start_reason=reason,
        )
    )


async def close_period(
    session: AsyncSession,
    mailbox_id: str,
    *,
    on: date,
    reason: str,
    add_ons_on: Mapping[AddOn, date] = MappingProxyType({}),
) -> bool:
    """Take the mailbox and its add-ons out of service, those in `add_ons_on` on a day before that; False when it was
    not in service.

    The day it is given up does not count, but one that lived and died on the same day counts that day, unless
    it had been counted up to there already, as after a change of class earlier that day.
    """
    opened = await _find_open(session, mailbox_id)
    if opened is None:
        return False
    if opened.has_add_ons:
        for row in await _list_open_add_ons(session, mailbox_id):
            await _give_up_add_on(session, mailbox_id, row, on=min(on, add_ons_on.get(row.add_on, on)), reason=reason)
    counted = opened.starts_on == on and await _counted_up_to(session, mailbox_id, on)
    ends_on = _end_of(opened.starts_on, on, counted=counted)
    await _end(session, ServicePeriod, opened.id, ends_on=ends_on, reason=reason)
    return True


async def record_service(
    session: AsyncSession,
    mailbox: Mailbox,
    *,
    in_service: bool,
    at: datetime,
    reason: str,
    given_up_at: datetime | None = None,
    add_ons_given_up_at: Mapping[AddOn, datetime] = MappingProxyType({}),
) -> bool:
    """Make the ledger follow a mailbox just confirmed and locked by the caller; True when it came into
    service or left it.

    Repeating it changes nothing. `reason` is why service begins or ends; a change of class, customer or
    location says so itself. `given_up_at` is when the end was asked for if that was before `at`, of the mailbox
    and of each add-on taken from it: waiting for a backend is not billed, except for days of a month
    that is over and may stand on an invoice.
    """
    today = berlin_day(at)
    taken = add_ons_given_up_at.keys() - mailbox.add_ons.keys()  # not those that were put back since
    ends = {add_on: _given_up_on(add_ons_given_up_at[add_on], today) for add_on in taken}
    if not in_service:
        on = _given_up_on(given_up_at or at, today)
        return await close_period(session, mailbox.id, on=on, reason=reason, add_ons_on=ends)
    opened = await _find_open(session, mailbox.id)
    if opened is None:
        await open_period(session, mailbox, on=today, reason=reason)
        for add_on, quantity in mailbox.add_ons.items():
            await open_add_on_period(session, mailbox, add_on, quantity=quantity, on=today, reason=reason)
        return True
    if (change := _change(opened, mailbox)) is not None:
        # On the day the old period began it becomes empty: the day counts for the newer class.
        await _end(session, ServicePeriod, opened.id, ends_on=max(today, opened.starts_on), reason=change)
        await open_period(session, mailbox, on=today, reason=change)
    if opened.has_add_ons or mailbox.add_ons:
        await _follow_add_ons(session, mailbox, ends, today=today)
    return False


async def _follow_add_ons(session: AsyncSession, mailbox: Mailbox, ends: Mapping[AddOn, date], *, today: date) -> None:
    """Make the add-ons' ledger follow a mailbox that stays in service; `ends` has the days of those given up."""
    opened = {row.add_on: row for row in await _list_open_add_ons(session, mailbox.id)}
    wanted = mailbox.add_ons
    for add_on in opened.keys() - wanted.keys():
        # What the new class cannot have went with the class, whoever else wished it away.
        removed = add_on in ADD_ONS[mailbox.service_class]
        on = ends.get(add_on, today) if removed else today
        reason = Reason.REMOVED if removed else Reason.CLASS_CHANGED
        await _give_up_add_on(session, mailbox.id, opened[add_on], on=on, reason=reason)
    for add_on, quantity in wanted.items():
        had = opened.get(add_on)
        start_reason = Reason.ADDED if had is None else _add_on_change(had, mailbox, quantity)
        if had is not None and start_reason is not None:
            await _end(session, AddOnPeriod, had.id, ends_on=max(today, had.starts_on), reason=start_reason)
        if start_reason is not None:
            await open_add_on_period(session, mailbox, add_on, quantity=quantity, on=today, reason=start_reason)


async def _give_up_add_on(session: AsyncSession, mailbox_id: str, opened: _OpenAddOn, *, on: date, reason: str) -> None:
    of_it = col(AddOnPeriod.mailbox_id) == mailbox_id, col(AddOnPeriod.add_on) == opened.add_on
    before = exists().where(*of_it, col(AddOnPeriod.ends_on) == on, col(AddOnPeriod.starts_on) < on)
    counted = opened.starts_on == on and bool(await session.scalar(select(before)))
    ends_on = _end_of(opened.starts_on, on, counted=counted)
    await _end(session, AddOnPeriod, opened.id, ends_on=ends_on, reason=reason)


def is_in_service(mailbox_id: Any) -> Any:
    """An SQL condition: the mailbox (a column or an id) is in service now."""
    return exists().where(col(ServicePeriod.mailbox_id) == mailbox_id, col(ServicePeriod.ends_on).is_(None))


async def _find_open(session: AsyncSession, mailbox_id: str) -> _Open | None:
    columns = (
        col(ServicePeriod.id),
        col(ServicePeriod.starts_on),
        col(ServicePeriod.service_class),
        col(ServicePeriod.customer_id),
        col(ServicePeriod.location),
        exists()
        .where(col(AddOnPeriod.mailbox_id) == mailbox_id, col(AddOnPeriod.ends_on).is_(None))
        .label("has_add_ons"),
    )
    query = select(*columns).where(col(ServicePeriod.mailbox_id) == mailbox_id, col(ServicePeriod.ends_on).is_(None))
    return (await session.execute(query)).one_or_none()


async def _list_open_add_ons(session: AsyncSession, mailbox_id: str) -> Sequence[_OpenAddOn]:
    query = select(
        col(AddOnPeriod.id),
        col(AddOnPeriod.starts_on),
        col(AddOnPeriod.add_on),
        col(AddOnPeriod.quantity),
        col(AddOnPeriod.customer_id),
        col(AddOnPeriod.location),
    ).where(col(AddOnPeriod.mailbox_id) == mailbox_id, col(AddOnPeriod.ends_on).is_(None))
    return (await session.execute(query)).all()


async def _counted_up_to(session: AsyncSession, mailbox_id: str, day: date) -> bool:
    """Whether the day before `day` is counted by a period that ended there."""
    query = select(
        exists().where(
            col(ServicePeriod.mailbox_id) == mailbox_id,
            col(ServicePeriod.ends_on) == day,
            col(ServicePeriod.starts_on) < day,
        )
    )
    return bool(await session.scalar(query))


def _given_up_on(asked_at: datetime, today: date) -> date:
    """The day something ends that was asked to end then: not later than today, and in the present month."""
    return max(min(berlin_day(asked_at), today), today.replace(day=1))


def _end_of(starts_on: date, on: date, *, counted: bool) -> date:
    """`ends_on` of what is given up `on`; `counted` tells that a period that ended where it starts counted days."""
    return on + timedelta(days=1) if starts_on == on and not counted else max(on, starts_on)


async def _end(
    session: AsyncSession, table: type[ServicePeriod | AddOnPeriod], period_id: str, *, ends_on: date, reason: str
) -> None:
    await session.execute(
        update(table)
        .where(col(table.id) == period_id)
        .values(ends_on=ends_on, end_reason=reason)
        .execution_options(synchronize_session=False)
    )


def _change(opened: _Open, mailbox: Mailbox) -> Reason | None:
    if opened.service_class != mailbox.service_class:
        return Reason.CLASS_CHANGED
    if opened.customer_id != mailbox.customer_id:
        return Reason.CUSTOMER_CHANGED
    return Reason.MOVED if opened.location != _location(mailbox) else None


def _add_on_change(opened: _OpenAddOn, mailbox: Mailbox, quantity: int) -> Reason | None:
    if opened.quantity != quantity:
        return Reason.QUANTITY_CHANGED
    if opened.customer_id != mailbox.customer_id:
        return Reason.CUSTOMER_CHANGED
    return Reason.MOVED if opened.location != _location(mailbox) else None


def _location(mailbox: Mailbox) -> str:
    return mailbox.placed_in or mailbox.location
