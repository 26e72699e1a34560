"""API keys: shown once, stored as a keyed hash, with a visible prefix, scopes, expiry, last use and rotation."""

import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import Select, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.core.database import APP_ROLE, SYSTEM_ROLE, fetch
from provisioning.core.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from provisioning.core.ids import new_id
from provisioning.data_centres import KEEPING_RULES, note_rules_kept
from provisioning.tenants import ApiKey
from provisioning.terms import Standing

RESELLER_SCOPES = frozenset(
    {
        "customers:read",
        "customers:write",
        "domains:read",
        "domains:write",
        "mailboxes:read",
        "mailboxes:write",
        "mailboxes:delete",
        "mailboxes:password",
        "shares:read",
        "shares:write",
        "billing:read",
        "payments:write",
        "resale_prices:write",
        "audit:read",
        "keys:write",
    }
)
OPERATOR_SCOPES = RESELLER_SCOPES | {
    "resellers:read",
    "resellers:write",
    "data_centres:write",
    "prices:write",
    "invoices:run",
    "payments:settle",
    "exports:read",
}

# A key in constant use would otherwise write a row on every request.
LAST_USE_RESOLUTION = timedelta(minutes=1)
LIFETIME_MAX = timedelta(days=3650)

# Looks the key up as the login role and takes on the caller's role in the same statement, so that authentication and
# tenancy cost one round trip and no later statement of the transaction can run without them. An operator that names a
# reseller acts as that reseller.
_AUTHENTICATE = f"""
    with known as (
        select k.id, k.name, k.scopes, k.reseller_id is null as operator, k.expires_at, k.revoked_at, k.last_used_at,
               r.id as reseller_id,
               case when r.service_suspended_at is null then r.standing else 'suspended' end as standing
        from api_key k left join reseller r on r.id = coalesce(k.reseller_id, %(acting_for)s)
        where k.secret_hash = %(secret_hash)s
    )
    select known.*,
           set_config('app.reseller_id', coalesce(reseller_id, ''), true) as tenant,
           set_config('role', case when reseller_id is null then %(system_role)s else %(app_role)s end, true) as role,
           {KEEPING_RULES}
    from known where revoked_at is null and (expires_at is null or expires_at > %(now)s)
"""  # noqa: S608  # the expression is ours


# Whoever finds the row held leaves it be: the one that holds it is recording the same minute.
_NOTE_USE = text(
    """
    update api_key set last_used_at = :now where id = (
        select id from api_key
        where id = :id and (last_used_at is null or last_used_at < :before) for update skip locked
    )
    """
)
_TAKE_ROLE = text("select set_config('role', :role, true)")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. `reseller_id` is None for an operator that acts for nobody; `standing` is that of the reseller."""

    key_id: str
    key_name: str
    scopes: frozenset[str]
    operator: bool
    reseller_id: str | None
    standing: Standing | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """`secret` is the whole key as the caller sends it; it exists nowhere else and cannot be shown again."""

    key: ApiKey
    secret: str


def hash_secret(secret: str, *, pepper: bytes) -> bytes:
    """HMAC-SHA256: keys are long and random, so a fast hash is safe, and the pepper makes a stolen table useless."""
    return hmac.digest(pepper, secret.encode(), sha256)


async def authenticate(
    session: AsyncSession, secret_hash: bytes, *, acting_for: str | None, now: datetime, keeps_rules: bool = False
) -> Principal | None:
    """The principal of a key, with this transaction now running in its role; None for an unknown or dead key.

    `keeps_rules` does what `keep_rules` of the data centres does along with it, for a call that places mailboxes.
    """
    values = {
        "keep_rules": keeps_rules,
        "secret_hash": secret_hash,
        "acting_for": acting_for,
        "now": now,
        "system_role": SYSTEM_ROLE,
        "app_role": APP_ROLE,
    }
    rows = await fetch(session, _AUTHENTICATE, values)
    if not rows:
        return None
    [row] = rows
    if keeps_rules and row.reseller_id is not None:
        note_rules_kept(session, row.reseller_id)
    if row.last_used_at is None or row.last_used_at < now - LAST_USE_RESOLUTION:
        await _note_use(session, row.id, as_system=row.operator and row.reseller_id is not None, now=now)
    return Principal(
        key_id=row.id,
        key_name=row.name,
        scopes=frozenset(row.scopes),
        operator=row.operator,
        reseller_id=row.reseller_id,
        standing=Standing(row.standing) if row.standing else None,
    )


async def _note_use(session: AsyncSession, key_id: str, *, as_system: bool, now: datetime) -> None:
    """An operator that acts as a reseller cannot see its own key, so for this one statement it is the system."""
    if as_system:
        await session.execute(_TAKE_ROLE, {"role": SYSTEM_ROLE})
    await session.execute(_NOTE_USE, {"id": key_id, "now": now, "before": now - LAST_USE_RESOLUTION})
    if as_system:
        await session.execute(_TAKE_ROLE, {"role": APP_ROLE})


def check_can_grant(principal: Principal, scopes: Iterable[str]) -> None:
    """Raises Forbidden `scope_escalation` when a key with these scopes could do what its maker's key cannot."""
    if lacking := sorted((OPERATOR_SCOPES & set(scopes)) - principal.scopes):
        raise Forbidden(
            f"Your key lacks {', '.join(lacking)}, so it cannot make a key that has it.",
            code="scope_escalation",
            scopes=lacking,
        )


async def create_key(
    session: AsyncSession,
    reseller_id: str | None,
    *,
    name: str,
    scopes: frozenset[str],
    expires_at: datetime | None,
    pepper: bytes,
    now: datetime,
) -> NewKey:
    """A new key of a reseller, or of the operator (None). Raises Invalid for scopes its owner cannot have."""
    allowed = OPERATOR_SCOPES if reseller_id is None else RESELLER_SCOPES
    if unknown := sorted(scopes - allowed):
        raise Invalid(
            f"There is no scope {', '.join(unknown)} for this key. Choose from: {', '.join(sorted(allowed))}.",
            errors=[FieldError("/scopes", "unknown_scope", "unknown: " + ", ".join(unknown))],
        )
    if expires_at is not None and expires_at <= now:
        raise Invalid("The expiry lies in the past.", errors=[FieldError("/expires_at", "in_past", "must be later")])
    if expires_at is not None and expires_at > now + LIFETIME_MAX:
        message = f"at most {LIFETIME_MAX.days} days from now; leave it out for a key that never expires"
        raise Invalid("The expiry lies too far away.", errors=[FieldError("/expires_at", "too_late", message)])
    prefix = "pfw_" + ("op" if reseller_id is None else "rs") + "_" + secrets.token_hex(4)
    secret = prefix + "_" + secrets.token_urlsafe(32)
    key = ApiKey(
        id=new_id("key"),
        reseller_id=reseller_id,
        name=name,
        prefix=prefix,
        secret_hash=hash_secret(secret, pepper=pepper),
        scopes=sorted(scopes),
        created_at=now,
        expires_at=expires_at,
    )
    session.add(key)
    await session.flush()  # the answer shows the stored row, and a clash would have to be known here
    return NewKey(key=key, secret=secret)


async def get_key(session: AsyncSession, reseller_id: str | None, key_id: str, *, lock: bool = False) -> ApiKey:
    """Raises NotFound for an unknown one and for somebody else's. `lock` holds the row until the end."""
    query = _keys_of(reseller_id).where(col(ApiKey.id) == key_id)
    key = await session.scalar(query.with_for_update(key_share=True) if lock else query)
    if key is None:
        raise NotFound(f"There is no API key {key_id}.")
    return key


async def list_keys(
    session: AsyncSession, reseller_id: str | None, *, before: str | None, limit: int
) -> Sequence[ApiKey]:
    """Newest first, revoked ones included."""
    query = _keys_of(reseller_id)
    if before is not None:
        query = query.where(col(ApiKey.id) < before)
    return (await session.scalars(query.order_by(col(ApiKey.id).desc()).limit(limit))).all()


async def revoke_key(session: AsyncSession, reseller_id: str | None, key_id: str, *, now: datetime) -> ApiKey:
    """The key stops working when this commits; revoking it again changes nothing."""
    key = await get_key(session, reseller_id, key_id, lock=True)
    key.revoked_at = key.revoked_at or now
    return key


async def rotate_key(
    session: AsyncSession,
    reseller_id: str | None,
    key_id: str,
    *,
    overlap: timedelta,
    pepper: bytes,
    now: datetime,
) -> NewKey:
    """A new key with the old one's name and scopes; the old one works on for `overlap`, so that nothing stops."""
    old = await get_key(session, reseller_id, key_id, lock=True)
    if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
        raise Conflict("This key is revoked or expired; create a new one instead.", code="key_not_active")
    lifetime = old.expires_at - old.created_at if old.expires_at else None
    new = await create_key(
        session,
        reseller_id,
        name=old.name,
        scopes=frozenset(old.scopes),
        expires_at=now + lifetime if lifetime else None,
        pepper=pepper,
        now=now,
    )
    old.expires_at = min(old.expires_at, now + overlap) if old.expires_at else now + overlap
    return new


def _keys_of(reseller_id: str | None) -> Select[ApiKey]:
    return select(ApiKey).where(col(ApiKey.reseller_id).is_not_distinct_from(reseller_id))
