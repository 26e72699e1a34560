"""Idempotency-Key: a POST is answered once and replayed for 24 hours, whatever the network does in between.

The key is claimed in the transaction that does the work, so the claim, the work and the stored answer become true
together or not at all; a second call with the same key waits for the first one's commit and then replays it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.audit import RECORD
from provisioning.core.database import fetch
from provisioning.core.errors import FieldError, Invalid
from provisioning.sweeps import IDEMPOTENCY_KEY_HOURS
from provisioning.tenants import IdempotencyKey

KEY_MAX = 255
REPLAYED = "Idempotency-Replayed"

# A key whose time is over is taken over, whether or not housekeeping has come round; of two calls that find it at the
# same moment the second waits for the first one's commit and then finds it new.
_CLAIM = """
    insert into idempotency_key as held (principal_id, idempotency_key, fingerprint, created_at)
    values (%(principal_id)s, %(key)s, %(fingerprint)s, %(now)s)
    on conflict (principal_id, idempotency_key) do update
    set fingerprint = excluded.fingerprint, created_at = excluded.created_at, status = null, headers = null, body = null
    where held.created_at < %(kept_since)s
    returning 1 as claimed
"""
# Its parameters are `Claim.values`.
_STORE = """
    update idempotency_key set status = %(status)s, headers = cast(%(headers)s as jsonb), body = %(body)s
    where principal_id = %(principal_id)s and idempotency_key = %(key)s
"""
_RECORD_AND_STORE = f"with recorded as ({RECORD}) {_STORE}"


class Replay(Exception):
    """This call has been answered before; `response` is that answer."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that this transaction holds until its answer is stored."""

    principal_id: str
    key: str

    def values(self, response: Response, *, body: bytes) -> dict[str, Any]:
        """What is kept of the answer; `body` may differ from the response's where that shows a secret once."""
        kept = {name: value for name, value in response.headers.items() if name in ("location", "etag", "content-type")}
        return {
            "status": response.status_code,
            "headers": json.dumps(kept),
            "body": body,
            "principal_id": self.principal_id,
            "key": self.key,
        }


def given_key(request: Request) -> str | None:
    """The key of this call, if it has one. Raises Invalid when it is malformed."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= KEY_MAX or not key.isprintable() or not key.isascii():
        message = f"1 to {KEY_MAX} printable ASCII characters, for example a UUID"
        raise Invalid(
            f"The Idempotency-Key must have {message}.",
            errors=[FieldError("header Idempotency-Key", "invalid_key", message)],
        )
    return key


async def claim(session: AsyncSession, request: Request, key: str, principal_id: str, *, now: datetime) -> Claim:
    """Claim a key. Raises Replay when its call was answered before, Invalid when it was used for another one."""
    fingerprint = await _fingerprint(request)
    kept_since = now - timedelta(hours=IDEMPOTENCY_KEY_HOURS)
    values = {
        "principal_id": principal_id,
        "key": key,
        "fingerprint": fingerprint,
        "now": now,
        "kept_since": kept_since,
    }
    if await fetch(session, _CLAIM, values):
        return Claim(principal_id, key)
    answered = await session.scalar(
        select(IdempotencyKey).where(
            col(IdempotencyKey.principal_id) == principal_id, col(IdempotencyKey.idempotency_key) == key
        )
    )
    if answered is None or answered.fingerprint != fingerprint:
        raise Invalid(
            "This Idempotency-Key was used for another call. Take a new key for a new call.",
            code="idempotency_key_reused",
        )
    headers = {**(answered.headers or {}), REPLAYED: "true"}
    raise Replay(Response(answered.body, answered.status or 200, headers=headers))


async def _fingerprint(request: Request) -> bytes:
    scope = request.scope
    target = f"{scope['method']} {scope['path']}?".encode() + scope["query_string"] + b"\n"
    return sha256(target + await request.body()).digest()


async def settle(
    session: AsyncSession,
    audit: Mapping[str, Any] | None,
    claimed: Claim | None,
    response: Response | None,
    *,
    kept: bytes,
) -> None:
    """Write the audit events (`event_values`, None for none) and store the answer for replay.

    One statement and the last one of the transaction, because from here on every other change of this reseller waits
    for its commit: their events follow upon ours.
    """
    if claimed is None or response is None:
        if audit is not None:
            await fetch(session, RECORD, audit)
        return
    answer = claimed.values(response, body=kept)
    if audit is None:
        await fetch(session, _STORE, answer)
    else:
        await fetch(session, _RECORD_AND_STORE, {**audit, **answer})
