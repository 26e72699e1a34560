"""Shares: who may open what of whose mailbox, as the plain word `access` and the exact Exchange role."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import RowMapping, Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from provisioning.core.errors import Conflict, FieldError, Invalid, NotFound, PreconditionFailed
from provisioning.core.ids import new_id
from provisioning.core.queries import owned
from provisioning.mailboxes import lock_present
from provisioning.models import Mailbox, Operation, Share
from provisioning.operations import begin_operation
from provisioning.roles import ROLES, Role, parse_role, roles_on
from provisioning.terms import SCOPES, Access, Intent, Scope, ServiceClass, ShareState

# What a view of a share shows, beside the grantee's address.
SHOWN = (
    "id",
    "mailbox_id",
    "grantee_id",
    "scope",
    "access",
    "role",
    "state",
    "expires_at",
    "version",
    "created_at",
)

_SENDING = {Scope.SEND_AS: Role.SEND_AS, Scope.SEND_ON_BEHALF: Role.SEND_ON_BEHALF}
_RIVAL = {Scope.SEND_AS: Scope.SEND_ON_BEHALF, Scope.SEND_ON_BEHALF: Scope.SEND_AS}


@dataclass(frozen=True, slots=True)
class Granted:
    """`changed` is False for a share that stood so already; `operation` is None when no backend has to hear of it."""

    share: Share
    operation: Operation | None
    changed: bool


def resolve_role(scope: Scope, *, access: Access | None, role: str | None) -> tuple[Access | None, Role]:
    """The access and role of a grant from either word. Raises Invalid when they contradict or do not exist there."""
    if scope in _SENDING:
        if access is not None or (role is not None and role != _SENDING[scope]):
            raise _invalid("/access", f"{scope} is a right of its own and takes neither access nor another role")
        return None, _SENDING[scope]
    known = ROLES[scope]
    if access is not None and access not in known:
        raise _invalid("/access", f"{scope} knows {', '.join(known)}")
    if role is None:
        if access is None:
            raise _invalid("/access", f"say how far the share goes: {', '.join(known)}")
        return access, known[access]
    try:
        exact = parse_role(role)
    except ValueError as error:
        raise _invalid("/role", f"there is no role {role}") from error
    if exact not in roles_on(scope):
        raise _invalid("/role", f"{exact} cannot be granted on {scope}")
    if access is not None and known[access] is not exact:
        raise _invalid("/role", f"{access} on {scope} is {known[access]}, not {exact}; send only one of them")
    return next((word for word, each in known.items() if each is exact), None), exact


def _invalid(pointer: str, message: str) -> Invalid:
    return Invalid(f"{message[0].upper()}{message[1:]}.", errors=[FieldError(pointer, "invalid_access", message)])


async def put_share(
    session: AsyncSession,
    mailbox: Mailbox,
    grantee_id: str,
    *,
    scope: Scope,
    access: Access | None,
    role: str | None,
    expires_at: datetime | None,
    if_match: int | None,
    now: datetime,
) -> Granted:
    """Grant or change a share on a locked mailbox. Putting what stands changes nothing.

    `if_match` is the version the caller saw, None where it did not say. Raises NotFound for the grantee, Conflict for
    a class that cannot, another customer's mailbox, or a rival right to send.
    """
    word, exact = resolve_role(scope, access=access, role=role)
    if expires_at is not None and expires_at <= now:
        raise Invalid("The expiry lies in the past.", errors=[FieldError("/expires_at", "in_past", "must be later")])
    grantee = await _check_grantee(session, mailbox, grantee_id)
    _check_classes(mailbox.service_class, grantee.service_class, scope)
    await _check_rival(session, mailbox, grantee_id, scope)
    share = await find_share(session, mailbox.reseller_id, mailbox.id, scope=scope, grantee_id=grantee_id)
    check_version(share, if_match)
    if share is None:
        share = Share(
            id=new_id("shr"),
            reseller_id=mailbox.reseller_id,
            mailbox_id=mailbox.id,
            grantee_id=grantee_id,
            scope=scope,
            access=word,
            role=exact,
            expires_at=expires_at,
            created_at=now,
        )
        session.add(share)
        return Granted(share, await begin_operation(session, mailbox, "share.grant", now=now), changed=True)
    revived = share.state is ShareState.REVOKING
    if share.role is exact and share.expires_at == expires_at and not revived:
        return Granted(share, None, changed=False)
    only_expiry = share.role is exact and not revived
    share.access, share.role, share.expires_at = word, exact, expires_at
    if only_expiry:
        return Granted(share, None, changed=True)
    share.state = ShareState.PENDING
    return Granted(share, await begin_operation(session, mailbox, "share.grant", now=now), changed=True)


async def revoke_share(session: AsyncSession, mailbox: Mailbox, share: Share, *, now: datetime) -> Operation | None:
    """End a share on a locked mailbox; its row goes when the backend has confirmed. None when it is ending already."""
    if share.state is ShareState.REVOKING:
        return None
    share.state = ShareState.REVOKING
    return await begin_operation(session, mailbox, "share.revoke", now=now)


async def find_share(
    session: AsyncSession, reseller_id: str, mailbox_id: str, *, scope: Scope, grantee_id: str
) -> Share | None:
    share: Share | None = await session.scalar(
        owned(Share, reseller_id).where(
            col(Share.mailbox_id) == mailbox_id, col(Share.scope) == scope, col(Share.grantee_id) == grantee_id
        )
    )
    return share


async def get_share(
    session: AsyncSession, reseller_id: str, mailbox_id: str, *, scope: Scope, grantee_id: str
) -> Share:
    """Raises NotFound."""
    share = await find_share(session, reseller_id, mailbox_id, scope=scope, grantee_id=grantee_id)
    if share is None:
        raise _no_share(mailbox_id, scope, grantee_id)
    return share


async def lock_pair(session: AsyncSession, reseller_id: str, owner_id: str, grantee_id: str) -> Mailbox:
    """The owner, held for the change; the grantee is held as it is. Raises what `lock_present` does for the owner.

    In the order of their ids, so that two mailboxes sharing with each other at the same moment take turns.
    """
    grantee = owned(Mailbox, reseller_id).where(col(Mailbox.id) == grantee_id)
    as_it_is = grantee.with_only_columns(col(Mailbox.id)).with_for_update(read=True)
    if grantee_id < owner_id:
        await session.execute(as_it_is)
    mailbox = await lock_present(session, reseller_id, owner_id)
    if grantee_id > owner_id:
        await session.execute(as_it_is)
    return mailbox


async def list_shares(
    session: AsyncSession, reseller_id: str, mailbox_id: str, *, after: str | None, limit: int
) -> Sequence[RowMapping]:
    """Rows of SHOWN of all shares of one mailbox, oldest first."""
    query = _shown(reseller_id, mailbox_id)
    if after is not None:
        query = query.where(col(Share.id) > after)
    rows: Sequence[RowMapping] = (await session.execute(query.order_by(col(Share.id)).limit(limit))).mappings().all()
    return rows


async def read_share(
    session: AsyncSession, reseller_id: str, mailbox_id: str, *, scope: Scope, grantee_id: str
) -> RowMapping:
    """The row of SHOWN of one share. Raises NotFound."""
    query = _shown(reseller_id, mailbox_id).where(col(Share.scope) == scope, col(Share.grantee_id) == grantee_id)
    row: RowMapping | None = (await session.execute(query)).mappings().one_or_none()
    if row is None:
        raise _no_share(mailbox_id, scope, grantee_id)
    return row


def _shown(reseller_id: str, mailbox_id: str) -> Select[Any]:
    grantee = aliased(Mailbox)
    shown = (*(Share.__table__.c[name] for name in SHOWN), col(grantee.address).label("grantee_address"))  # type: ignore[attr-defined]  # sqlmodel hides it
    query: Select[Any] = (
        select(*shown)
        .join(grantee, col(grantee.id) == col(Share.grantee_id))
        .where(col(Share.reseller_id) == reseller_id, col(Share.mailbox_id) == mailbox_id)
    )
    return query


def _no_share(mailbox_id: str, scope: Scope, grantee_id: str) -> NotFound:
    return NotFound(f"{mailbox_id} has no share of its {scope} with {grantee_id}.")


async def list_access(
    session: AsyncSession,
    reseller_id: str,
    mailbox_id: str,
    *,
    direction: Literal["inbound", "outbound"],
    after: str | None,
    limit: int,
) -> Sequence[RowMapping]:
    """Who can open this mailbox (inbound), or what its user can open (outbound), in one indexed query.

    Rows: share_id; mailbox_id, address, display_name and mailbox_state of the other side; scope, access, role, state,
    expires_at.
    """
    here, there = (
        (Share.mailbox_id, Share.grantee_id) if direction == "inbound" else (Share.grantee_id, Share.mailbox_id)
    )
    columns: list[Any] = [
        col(Share.id).label("share_id"),
        col(Mailbox.id).label("mailbox_id"),
        col(Mailbox.address),
        col(Mailbox.display_name),
        col(Mailbox.state).label("mailbox_state"),
        col(Share.scope),
        col(Share.access),
        col(Share.role),
        col(Share.state),
        col(Share.expires_at),
    ]
    query: Select[Any] = (
        select(*columns)
        .join(Mailbox, col(there) == col(Mailbox.id))
        .where(col(Share.reseller_id) == reseller_id, col(here) == mailbox_id)
    )
    if after is not None:
        query = query.where(col(Share.id) > after)
    rows: Sequence[RowMapping] = (await session.execute(query.order_by(col(Share.id)).limit(limit))).mappings().all()
    return rows


def check_version(row: Share | None, if_match: int | None) -> None:
    """Raises PreconditionFailed when the caller named a version and the row is not there or has moved on."""
    if if_match is not None and (row is None or row.version != if_match):
        raise PreconditionFailed("The share has changed since you read it. Read it again and decide anew.")


async def _check_grantee(session: AsyncSession, mailbox: Mailbox, grantee_id: str) -> Mailbox:
    grantee: Mailbox | None = await session.scalar(
        owned(Mailbox, mailbox.reseller_id).where(
            col(Mailbox.id) == grantee_id, col(Mailbox.intent).in_([Intent.PRESENT, Intent.SUSPENDED])
        )
    )
    if grantee is None:
        raise NotFound(f"There is no mailbox {grantee_id} to share with.")
    if grantee.id == mailbox.id:
        raise Conflict("A mailbox need not be shared with itself.", code="share_with_itself")
    if grantee.customer_id != mailbox.customer_id:
        raise Conflict(
            "Shares end at the customer: this mailbox belongs to another one.", code="share_across_customers"
        )
    return grantee


def _check_classes(owner: ServiceClass, grantee: ServiceClass, scope: Scope) -> None:
    for side, service_class in (("owner", owner), ("grantee", grantee)):
        # The right to send needs nothing of the one who sends but a mailbox.
        if scope in SCOPES[service_class] or (side == "grantee" and scope in _SENDING):
            continue
        able = [each for each in ServiceClass if scope in SCOPES[each]]
        raise Conflict(
            f"The {side}'s mailbox is of class {service_class}, which has no {scope} to share; "
            f"{' or '.join(able)} would do.",
            code="class_does_not_support_scope",
            classes=able,
        )


async def _check_rival(session: AsyncSession, mailbox: Mailbox, grantee_id: str, scope: Scope) -> None:
    """A backend sends either as the owner or on its behalf for one pair, never both."""
    rival = _RIVAL.get(scope)
    if rival is None:
        return
    other = await find_share(session, mailbox.reseller_id, mailbox.id, scope=rival, grantee_id=grantee_id)
    if other is not None and other.state is not ShareState.REVOKING:
        raise Conflict(f"This pair has {rival}; revoke it before granting {scope}.", code="rival_right_to_send")
