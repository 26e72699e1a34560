"""ServicePeriod, the append-only contract between the halves: all that billing reads of provisioning.

A period is opened when the backend confirms a mailbox and closed when the mailbox is given up; days are
Europe/Berlin days, half-open. It is never edited: class, customer and location of a mailbox change by closing
one period and opening the next. A day belongs to one period at most, and to the newer class when the class
changes on it.
"""

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, Row, exists, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, col

from provisioning.core.clock import berlin_day
from provisioning.core.ids import new_id
from provisioning.core.tables import Id, Table, key, reference, word
from provisioning.models import Mailbox
from provisioning.terms import ServiceClass

_Open = Row[str, date, ServiceClass, str, str]


class Reason(StrEnum):
    """Why a period starts or ends; stands on the annex of the invoice."""

    ORDERED = "ordered"
    RESTORED = "restored"
    CLASS_CHANGED = "class_changed"
    CUSTOMER_CHANGED = "customer_changed"
    MOVED = "moved"
    DELETED = "deleted"
    PURGED = "purged"


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


async def close_period(session: AsyncSession, mailbox_id: str, *, on: date, reason: str) -> bool:
    """Take the mailbox out of service; False when it was not in service.

    The day it is given up does not count, but one that lived and died on the same day counts that day, unless
    it had been counted up to there already, as after a change of class earlier that day.
    """
    opened = await _find_open(session, mailbox_id)
    if opened is None:
        return False
    ends_on = max(on, opened.starts_on)
    if opened.starts_on == on and not await _counted_up_to(session, mailbox_id, on):
        ends_on = on + timedelta(days=1)
    await _end(session, opened.id, ends_on=ends_on, reason=reason)
    return True


async def record_service(
    session: AsyncSession,
    mailbox: Mailbox,
    *,
    in_service: bool,
    at: datetime,
    reason: str,
    given_up_at: datetime | None = None,
) -> bool:
    """Make the ledger follow a mailbox just confirmed and locked by the caller; True when it came into
    service or left it.

    Repeating it changes nothing. `reason` is why service begins or ends; a change of class, customer or
    location says so itself. `given_up_at` is when the end was asked for if that was before `at`: waiting for
    a backend is not billed, except for days of a month that is over and may stand on an invoice.
    """
    today = berlin_day(at)
    if not in_service:
        asked_on = today if given_up_at is None else berlin_day(given_up_at)
        on = max(min(asked_on, today), today.replace(day=1))
        return await close_period(session, mailbox.id, on=on, reason=reason)
    opened = await _find_open(session, mailbox.id)
    if opened is None:
        await open_period(session, mailbox, on=today, reason=reason)
        return True
    if (change := _change(opened, mailbox)) is not None:
        # On the day the old period began it becomes empty: the day counts for the newer class.
        await _end(session, opened.id, ends_on=max(today, opened.starts_on), reason=change)
        await open_period(session, mailbox, on=today, reason=change)
    return False


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
    )
    query = select(*columns).where(col(ServicePeriod.mailbox_id) == mailbox_id, col(ServicePeriod.ends_on).is_(None))
    return (await session.execute(query)).one_or_none()


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


async def _end(session: AsyncSession, period_id: str, *, ends_on: date, reason: str) -> None:
    await session.execute(
        update(ServicePeriod)
        .where(col(ServicePeriod.id) == period_id)
        .values(ends_on=ends_on, end_reason=reason)
        .execution_options(synchronize_session=False)
    )


def _change(opened: _Open, mailbox: Mailbox) -> Reason | None:
    if opened.service_class != mailbox.service_class:
        return Reason.CLASS_CHANGED
    if opened.customer_id != mailbox.customer_id:
        return Reason.CUSTOMER_CHANGED
    return Reason.MOVED if opened.location != _location(mailbox) else None


def _location(mailbox: Mailbox) -> str:
    return mailbox.placed_in or mailbox.location
