"""Keys that sign the mail of a domain (RFC 6376): made, seen in DNS, in use, retired.

A new key waits as `published` until its record has been seen; only then it becomes `active` and the one before it
`retired`, so that no mail is ever signed with a key that receivers cannot find. The private half is encrypted with a
passphrase made of the service's secret key, and gone as soon as the key is retired.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.core.errors import Conflict, NotFound, Unavailable
from provisioning.core.ids import new_id
from provisioning.core.queries import owned
from provisioning.dns_records import DnsRecord, dkim_record
from provisioning.domains import get_domain
from provisioning.keypairs import KeyPair
from provisioning.models import DkimKey, Domain
from provisioning.terms import DkimState, DomainState

# Mail that was signed before may take as long to arrive; then the record of a retired key can go.
GRACE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Held:
    """A key and the domain it signs for."""

    key: DkimKey
    domain: Domain

    @property
    def record(self) -> DnsRecord:
        return dkim_record(self.domain, self.key)


def passphrase_of(secret: bytes) -> str:
    """What private keys are encrypted with; `secret` is the service's own key."""
    return hmac.digest(secret, b"dkim private keys", sha256).hex()


async def list_keys(session: AsyncSession, reseller_id: str, domain_id: str) -> Sequence[DkimKey]:
    """Newest first."""
    query = owned(DkimKey, reseller_id).where(col(DkimKey.domain_id) == domain_id)
    return (await session.scalars(query.order_by(col(DkimKey.id).desc()))).all()


async def list_visible_keys(session: AsyncSession, reseller_id: str, domain_id: str, *, now: datetime) -> list[DkimKey]:
    """Those whose records belong into DNS: retired ones for as long as mail signed with them may be under way."""
    keys = await list_keys(session, reseller_id, domain_id)
    return [key for key in keys if key.retired_at is None or key.retired_at + GRACE > now]


async def find_signing_key(session: AsyncSession, reseller_id: str, domain_id: str) -> DkimKey | None:
    """The active one; `keypairs.open_private_key` opens it with `passphrase_of`."""
    query = owned(DkimKey, reseller_id).where(
        col(DkimKey.domain_id) == domain_id, col(DkimKey.state) == DkimState.ACTIVE
    )
    key: DkimKey | None = await session.scalar(query)
    return key


async def get_key(session: AsyncSession, reseller_id: str, key_id: str) -> Held:
    """Raises NotFound for an unknown one and for another reseller's."""
    key = await session.scalar(owned(DkimKey, reseller_id).where(col(DkimKey.id) == key_id))
    if key is None:
        raise NotFound(f"There is no DKIM key {key_id}.")
    return Held(key, await get_domain(session, reseller_id, key.domain_id))


def check_can_rotate(domain: Domain, keys: Sequence[DkimKey]) -> None:
    """Raises Conflict for a domain that is not verified, and while a key waits for its record already."""
    if domain.state is not DomainState.VERIFIED:
        raise Conflict(f"Verify the domain first: POST /v1/domains/{domain.id}/verify.", code="domain_not_verified")
    waiting = next((key for key in keys if key.state is DkimState.PUBLISHED), None)
    if waiting is not None:
        raise _waiting(waiting.id)


async def add_key(session: AsyncSession, domain: Domain, pair: KeyPair, *, now: datetime) -> DkimKey:
    """A new key of a locked domain. Raises Conflict as `check_can_rotate` does."""
    keys = await list_keys(session, domain.reseller_id, domain.id)
    check_can_rotate(domain, keys)
    taken = [int(key.selector.removeprefix("pf")) for key in keys]
    key = DkimKey(
        id=new_id("dkm"),
        reseller_id=domain.reseller_id,
        domain_id=domain.id,
        selector=f"pf{max(taken, default=0) + 1}",
        public_key=pair.public_key,
        private_key=pair.private_key,
        created_at=now,
    )
    session.add(key)
    await session.flush()
    return key


async def activate_key(session: AsyncSession, held: Held, *, seen: DnsRecord, now: datetime) -> None:
    """Sign with this key from now on, and retire the one before it; the domain is locked.

    Raises Conflict naming the record while it has not been seen, or for a retired key; Unavailable when DNS did not
    answer.
    """
    key = held.key
    if key.state is DkimState.ACTIVE:
        return
    if key.state is DkimState.RETIRED:
        raise Conflict("A retired key does not come back. Make a new one.", code="dkim_key_retired")
    if seen.status == "unknown":
        raise Unavailable(seen.hint)
    if seen.status != "ok":
        raise Conflict(
            f"{seen.fix}. DNS changes can take an hour to be seen everywhere.",
            code="dkim_key_not_seen",
            record={"kind": seen.kind, "name": seen.name, "expected": seen.expected, "found": list(seen.found)},
        )
    before = await find_signing_key(session, key.reseller_id, key.domain_id)
    if before is not None:
        before.state, before.retired_at, before.private_key = DkimState.RETIRED, now, None
        await session.flush()  # one is active at a time
    key.state, key.activated_at = DkimState.ACTIVE, now
    await session.flush()


def _waiting(key_id: str) -> Conflict:
    return Conflict(
        f"The key {key_id} waits for its record already. Set it, then POST /v1/dkim-keys/{key_id}/activate.",
        code="dkim_key_waiting",
    )
