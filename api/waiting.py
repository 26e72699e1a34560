"""`Prefer: wait` (RFC 7240): holding an answer until its operation has ended."""

from asyncio import get_running_loop, sleep

from fastapi import Request

from provisioning.core.database import Database
from provisioning.operations import get_operation
from provisioning.terms import OperationState

WAIT_MAX_SECONDS = 30
LOOKS_MAX = 1000
_PAUSES_SECONDS = (0.02, 0.05, 0.1, 0.25)


def preferred_wait(request: Request) -> int | None:
    """Seconds of `Prefer: wait=N`, at most 30; None when there is no such preference."""
    for preference in request.headers.get("prefer", "").split(","):
        name, _, value = preference.strip().partition("=")
        if name.lower() == "wait" and value.isascii() and value.isdigit():
            return min(int(value[:6]), WAIT_MAX_SECONDS)
    return None


async def has_succeeded(database: Database, reseller_id: str, operation_id: str, *, seconds: int) -> bool:
    """Whether the operation succeeds within so many seconds; asks in short transactions of its own.

    Raises Unavailable when the database is away.
    """
    deadline = get_running_loop().time() + seconds
    for look in range(LOOKS_MAX):
        async with database.as_tenant(reseller_id) as session:
            operation = await get_operation(session, reseller_id, operation_id)
        if operation.state not in (OperationState.QUEUED, OperationState.RUNNING):
            return operation.state is OperationState.SUCCEEDED
        pause = _PAUSES_SECONDS[min(look, len(_PAUSES_SECONDS) - 1)]
        if get_running_loop().time() + pause > deadline:
            return False
        await sleep(pause)
    return False
