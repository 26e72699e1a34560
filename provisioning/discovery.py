"""Which servers the programs of a mailbox are told, before anybody has logged in.

Who asks is a stranger, so the answer must not say whether an address exists. An address that does is told what its
class and its data centre offer. One that does not is told what some mailbox of its domain is: which one, a keyed hash
of the address decides, each as often as there are addresses like it. So either sort of address gets an answer of its
domain's, always the same, found by the same statement. That a domain is served here is no secret: its MX says so.
"""

import hmac
import math
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from provisioning.endpoints import Endpoints, Offer, offer_of
from provisioning.names import domain_to_ascii, parse_address

# What stands before a mail domain in the names of hosts that programs try.
_HOST_PREFIXES = ("autodiscover.", "autoconfig.", "mail.", "mta-sts.", "caldav.", "carddav.", "dav.", "www.")

# Rooms and equipment have no login; a suspended mailbox keeps its programs.
_PROFILES = text(
    """
    select coalesce(m.placed_in, m.location) as location, m.protocols, dc.endpoints,
           count(*) as addresses, bool_or(a.address = :address) as is_asked
    from domain d
    join mailbox_address a on a.domain_id = d.id
    join mailbox m on m.id = a.mailbox_id
    join data_centre dc on dc.code = coalesce(m.placed_in, m.location)
    where d.name = :domain and d.state = 'verified' and m.kind in ('user', 'shared')
      and m.intent in ('present', 'suspended')
    group by 1, 2, 3
    """
)
_DOMAINS = text("select name from domain where name = any(:names) and state = 'verified'")


async def find_offer(session: AsyncSession, address: str, *, key: bytes) -> Offer | None:
    """What the programs of an address are told; None when its domain is none of ours or has nothing to connect to.

    In a transaction that sees all rows. `key` keeps what unknown addresses are told from being computed by others.
    """
    try:
        local, domain = parse_address(address)
    except ValueError:
        return None
    return _chosen(await _profiles(session, domain, f"{local}@{domain}"), f"{local}@{domain}", key)


async def find_domain_offer(session: AsyncSession, domain: str, *, key: bytes) -> Offer | None:
    """What those are told who name a domain only: what an unknown address of it would be."""
    return _chosen(await _profiles(session, domain, ""), f"@{domain}", key)


async def list_offers(session: AsyncSession, domain: str) -> list[Offer]:
    """All that differ among a domain's mailboxes, in a transaction that sees all rows."""
    offers = [offer_of(row.protocols, Endpoints.of(row.endpoints)) for row in await _profiles(session, domain, "")]
    return list(dict.fromkeys(offers))


async def find_domain_of_host(session: AsyncSession, host: str) -> str | None:
    """The verified domain that a host name is about: itself, or what follows autodiscover, autoconfig and the like."""
    try:
        name = domain_to_ascii(host.lower())
    except ValueError:
        return None
    names = [name, *(name.removeprefix(prefix) for prefix in _HOST_PREFIXES if name.startswith(prefix))]
    found = set((await session.scalars(_DOMAINS, {"names": names})).all())
    return next((each for each in names if each in found), None)


async def _profiles(session: AsyncSession, domain: str, address: str) -> Sequence[Any]:
    return (await session.execute(_PROFILES, {"domain": domain, "address": address})).all()


def _chosen(profiles: Sequence[Any], address: str, key: bytes) -> Offer | None:
    # Drawn in any case, so that both sorts of address take as long.
    drawn = max(profiles, key=lambda row: _score(row, address, key), default=None)
    row = next((each for each in profiles if each.is_asked), drawn)
    return None if row is None else offer_of(row.protocols, Endpoints.of(row.endpoints)) or None


def _score(row: Any, address: str, key: bytes) -> float:
    """Weighted rendezvous hashing: when mailboxes come and go, as few unknown addresses as possible change."""
    message = "\0".join(("discovery", address, row.location, *sorted(row.protocols)))
    digest = hmac.digest(key, message.encode(), sha256)
    uniform = (int.from_bytes(digest[:6]) + 0.5) / 2**48
    return float(-row.addresses / math.log(uniform))
