"""Notices: written once for what they are about, read by their reseller, and mailed at most once.

A notice that is to be mailed is marked as being sent, and that is committed, before it leaves. Whoever finds the mark
later cannot tell whether it left, and does not send it again: a letter too few is a nuisance, a dunning letter too many
is an insult. `reseller_id` None is the operator, who reads everybody's.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import Select
from sqlmodel import col

from billing.dunning_models import Delivery, Notice
from billing.gateways.smtp import Mailer, MailError, MailUnknown
from billing.models import Issuer
from billing.money import Language
from billing.notice_texts import (
    LANGUAGES,
    NoticeKind,
    Owed,
    Payee,
    Text,
    dunning_text,
    language_for,
    resumption_text,
)
from provisioning.core.database import Database
from provisioning.core.errors import NotFound
from provisioning.core.ids import new_id
from provisioning.core.jobs import enqueue
from provisioning.tenants import Reseller

SEND_NOTICE = "send_notice"

# A letter that is a day late speaks of a day that is over.
RETRY_MINUTES = (1, 5, 15, 60, 180, 360, 720)
# No server takes this long to answer: who was to send it is gone.
LOST_AFTER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Letterhead:
    """Who writes, and whether letters are mailed besides being listed."""

    issuer: Issuer
    by_mail: bool = False


async def write_dunning(
    session: AsyncSession,
    head: Letterhead,
    reseller: Reseller,
    owed: Owed,
    *,
    invoice_id: str,
    source: str,
    now: datetime,
) -> None:
    """Write the notice of a step, once for each source."""
    texts = {each: dunning_text(each, owed, _payee(head.issuer)) for each in LANGUAGES}
    notice = _notice(reseller, owed.kind, texts, source=source, now=now)
    notice.invoice_id = invoice_id
    await _write(session, head, notice)


async def write_resumption(
    session: AsyncSession, head: Letterhead, reseller: Reseller, *, source: str, now: datetime
) -> None:
    """Write that service goes on, once for each source."""
    texts = {each: resumption_text(each, _payee(head.issuer)) for each in LANGUAGES}
    await _write(session, head, _notice(reseller, NoticeKind.RESUMPTION, texts, source=source, now=now))


async def list_notices(
    session: AsyncSession,
    reseller_id: str | None,
    *,
    invoice_id: str | None = None,
    limit: int = 50,
    before: str | None = None,
) -> Sequence[Notice]:
    """Newest first; `before` is the id of the last one of the page before."""
    query = _of(reseller_id).order_by(col(Notice.id).desc()).limit(limit)
    if invoice_id is not None:
        query = query.where(col(Notice.invoice_id) == invoice_id)
    if before is not None:
        query = query.where(col(Notice.id) < before)
    return (await session.scalars(query)).all()


async def get_notice(session: AsyncSession, reseller_id: str | None, notice_id: str) -> Notice:
    """Raises NotFound for an unknown one and for another reseller's."""
    notice = await session.scalar(_of(reseller_id).where(col(Notice.id) == notice_id))
    if notice is None:
        raise NotFound(f"There is no notice {notice_id}.")
    return notice


async def due_notices(session: AsyncSession, *, now: datetime, limit: int = 1_000) -> Sequence[str]:
    """The notices to be mailed now; those that were lost on their way are given up here."""
    await session.execute(
        update(Notice)
        .where(col(Notice.delivery) == Delivery.SENDING, col(Notice.next_try_at) <= now)
        .values(delivery=Delivery.UNKNOWN, next_try_at=None, problem="the worker that was sending it is gone")
        .execution_options(synchronize_session=False)
    )
    query = select(col(Notice.id)).where(col(Notice.delivery) == Delivery.WAITING, col(Notice.next_try_at) <= now)
    return (await session.scalars(query.order_by(col(Notice.next_try_at)).limit(limit))).all()


async def send_notice(
    database: Database, mailer: Mailer, notice_id: str, *, now: datetime, sender: str
) -> Delivery | None:
    """Mail one notice, and say what became of it; None when it does not wait, or not yet."""
    async with database.as_system() as session:
        notice = await _claim(session, notice_id, now=now)
    if notice is None:
        return None
    problem: str | None = None
    try:
        await asyncio.to_thread(mailer.send, _message(notice, sender=sender, now=now))
    except MailError as error:
        delivery, problem = _after_refusal(notice, error), str(error)
    except ValueError as error:  # an address that no header can hold
        delivery, problem = Delivery.FAILED, f"the message cannot be written: {error}"
    except MailUnknown as error:
        delivery, problem = Delivery.UNKNOWN, str(error)
    else:
        delivery = Delivery.SENT
    next_try_at = None
    if delivery is Delivery.WAITING:
        next_try_at = now + timedelta(minutes=RETRY_MINUTES[notice.tries - 1])
    async with database.as_system() as session:
        await session.execute(
            update(Notice)
            .where(col(Notice.id) == notice.id, col(Notice.reseller_id) == notice.reseller_id)
            .where(col(Notice.delivery) == Delivery.SENDING)
            .values(delivery=delivery, problem=problem, next_try_at=next_try_at)
            .execution_options(synchronize_session=False)
        )
    return delivery


def _after_refusal(notice: Notice, error: MailError) -> Delivery:
    """What was certainly not taken may be tried again, for a day."""
    return Delivery.FAILED if error.permanent or notice.tries > len(RETRY_MINUTES) else Delivery.WAITING


async def _claim(session: AsyncSession, notice_id: str, *, now: datetime) -> Notice | None:
    """The notice, marked as being sent; None when it does not wait, or not yet."""
    claimed = await session.scalars(
        update(Notice)
        .where(col(Notice.id) == notice_id, col(Notice.delivery) == Delivery.WAITING, col(Notice.next_try_at) <= now)
        .values(delivery=Delivery.SENDING, tries=col(Notice.tries) + 1, tried_at=now, next_try_at=now + LOST_AFTER)
        .returning(Notice)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    return claimed.one_or_none()


def _message(notice: Notice, *, sender: str, now: datetime) -> EmailMessage:
    """In the reseller's language. The Message-ID is the notice's own, so that a second copy could be told."""
    message = EmailMessage()
    german = notice.language == "de"
    message["From"] = sender
    message["To"] = notice.recipient
    message["Subject"] = notice.subject_de if german else notice.subject_en
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{notice.id}@{sender.rpartition('@')[2]}>"
    message["Content-Language"] = notice.language
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(notice.body_de if german else notice.body_en)
    return message


def _notice(
    reseller: Reseller, kind: NoticeKind, texts: Mapping[Language, Text], *, source: str, now: datetime
) -> Notice:
    return Notice(
        id=new_id("ntc"),
        reseller_id=reseller.id,
        kind=kind,
        source=source,
        recipient=reseller.billing_email,
        language=language_for(reseller.country),
        subject_de=texts["de"].subject,
        body_de=texts["de"].body,
        subject_en=texts["en"].subject,
        body_en=texts["en"].body,
        created_at=now,
    )


async def _write(session: AsyncSession, head: Letterhead, notice: Notice) -> None:
    if head.by_mail:
        notice.delivery, notice.next_try_at = Delivery.WAITING, notice.created_at
    written = await session.scalar(
        insert(Notice)
        .values(notice.model_dump())
        .on_conflict_do_nothing(index_elements=["source"])
        .returning(col(Notice.id))
    )
    if written is not None and head.by_mail:
        await enqueue(session, SEND_NOTICE, [written])


def _payee(issuer: Issuer) -> Payee:
    return Payee(name=issuer.name, iban=issuer.iban, bic=issuer.bic, email=issuer.email)


def _of(reseller_id: str | None) -> Select[Notice]:
    query = select(Notice)
    return query if reseller_id is None else query.where(col(Notice.reseller_id) == reseller_id)
