"""Passwords: set directly or by a link that works once; kept only as an Argon2id hash until the backend has it."""

import secrets
import unicodedata
from asyncio import get_running_loop
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256

from argon2 import PasswordHasher
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.audit import record_events
from provisioning.core.errors import Conflict, FieldError, Invalid, NotFound
from provisioning.core.ids import new_id
from provisioning.mailboxes import get_mailbox, lock_present
from provisioning.models import Mailbox, Operation, PasswordLink
from provisioning.operations import begin_operation
from provisioning.terms import Intent, MailboxKind

LENGTH_MIN, LENGTH_MAX = 12, 256
DISTINCT_MIN = 5
NAME_MIN = 4
LINK_LIFETIME = timedelta(hours=72)

# RFC 9106's second recommended option but one pass more: backends check it on every login without a cache.
HASHER = PasswordHasher(time_cost=3, memory_cost=65536, parallelism=1)
_HASHING = ThreadPoolExecutor(max_workers=4, thread_name_prefix="argon2")


@dataclass(frozen=True, slots=True)
class NewLink:
    """`token` is the secret part of the link; only its hash is kept."""

    token: str
    expires_at: datetime


class Weakness(StrEnum):
    """What is wrong with a password; the value is the end of a sentence."""

    TOO_SHORT = f"must have at least {LENGTH_MIN} characters"
    TOO_LONG = f"must have at most {LENGTH_MAX} characters"
    TOO_PLAIN = "must not repeat so few characters"
    HOLDS_NAME = "must not contain the name of the mailbox"
    CONTROL_CHARACTERS = "must not contain control characters"


def find_weakness(password: str, *, address: str) -> Weakness | None:
    """NIST SP 800-63B: length decides, not character classes."""
    name = address.partition("@")[0]
    if len(password) < LENGTH_MIN:
        return Weakness.TOO_SHORT
    if len(password) > LENGTH_MAX:
        return Weakness.TOO_LONG
    if len(set(password)) < DISTINCT_MIN:
        return Weakness.TOO_PLAIN
    # A name of one to three letters is in any sentence.
    if len(name) >= NAME_MIN and name in password.lower():
        return Weakness.HOLDS_NAME
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in password):
        return Weakness.CONTROL_CHARACTERS
    return None


def check_password(password: str, *, address: str) -> None:
    """Raises Invalid without ever repeating the password."""
    weakness = find_weakness(password, address=address)
    if weakness is not None:
        raise Invalid(f"The password {weakness}.", errors=[FieldError("/password", "weak_password", weakness)])


def hash_password(password: str) -> str:
    """In crypt form ($argon2id$...). Takes about 0.1 s of one core: call it outside transaction and event loop."""
    return HASHER.hash(password)


async def hash_aside(password: str) -> str:
    """`hash_password` in a thread; only a few at a time, since each takes 64 MiB."""
    return await get_running_loop().run_in_executor(_HASHING, hash_password, password)


async def set_password(session: AsyncSession, mailbox: Mailbox, *, password_hash: str, now: datetime) -> Operation:
    """Raises Conflict for rooms and equipment, which nobody logs in to."""
    check_can_log_in(mailbox)
    mailbox.password_hash = password_hash
    mailbox.password_version += 1
    # A new password ends what an old link could do.
    await session.execute(
        update(PasswordLink)
        .where(
            col(PasswordLink.reseller_id) == mailbox.reseller_id,
            col(PasswordLink.mailbox_id) == mailbox.id,
            col(PasswordLink.used_at).is_(None),
        )
        .values(used_at=now)
    )
    return await begin_operation(session, mailbox, "mailbox.password", now=now)


async def create_link(session: AsyncSession, mailbox: Mailbox, *, now: datetime) -> NewLink:
    """A link for the mailbox's user, good for one password within 72 hours."""
    check_can_log_in(mailbox)
    token = secrets.token_urlsafe(32)
    link = PasswordLink(
        id=new_id("pwl"),
        reseller_id=mailbox.reseller_id,
        mailbox_id=mailbox.id,
        token_hash=sha256(token.encode()).digest(),
        expires_at=now + LINK_LIFETIME,
    )
    session.add(link)
    return NewLink(token, link.expires_at)


async def find_link(session: AsyncSession, token: str, *, now: datetime) -> PasswordLink | None:
    """The unused link of this token, in a transaction that sees all rows."""
    link: PasswordLink | None = await session.scalar(
        select(PasswordLink).where(
            col(PasswordLink.token_hash) == sha256(token.encode()).digest(),
            col(PasswordLink.used_at).is_(None),
            col(PasswordLink.expires_at) > now,
        )
    )
    return link


async def mailbox_of_link(
    session: AsyncSession, token: str, *, now: datetime, lock: bool = False
) -> tuple[PasswordLink, Mailbox]:
    """The link and the mailbox it is good for, in a transaction that sees all rows.

    Raises NotFound, the same whatever the reason: who holds no good link learns nothing of any mailbox.
    """
    link = await find_link(session, token, now=now)
    if link is None:
        raise _link_not_valid()
    take = lock_present if lock else get_mailbox
    try:
        mailbox = await take(session, link.reseller_id, link.mailbox_id)
        check_can_log_in(mailbox)
    except (NotFound, Conflict) as refusal:
        raise _link_not_valid() from refusal
    # Whoever changes a link holds its mailbox, so what is found under that lock stays true.
    if lock and await find_link(session, token, now=now) is None:
        raise _link_not_valid()
    return link, mailbox


async def use_link(session: AsyncSession, token: str, *, password_hash: str, now: datetime) -> None:
    """Set the password and use the link up, in a transaction that sees all rows. Raises NotFound."""
    link, mailbox = await mailbox_of_link(session, token, now=now, lock=True)
    await set_password(session, mailbox, password_hash=password_hash, now=now)
    await record_events(
        session,
        mailbox.reseller_id,
        actor=link.id,
        action="mailbox.password",
        resource_ids=[mailbox.id],
        now=now,
    )


def _link_not_valid() -> NotFound:
    return NotFound("This link has been used, has expired, or never was. Ask for a new one.", code="link_not_valid")


def check_can_log_in(mailbox: Mailbox) -> None:
    if mailbox.kind in (MailboxKind.ROOM, MailboxKind.EQUIPMENT):
        raise Conflict(f"Nobody logs in to a {mailbox.kind} mailbox.", code="mailbox_without_login")
    if mailbox.intent in (Intent.DELETED, Intent.PURGED):
        raise Conflict("The mailbox is deleted. Restore it first.", code="mailbox_deleted")
