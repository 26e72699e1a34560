"""Faults on demand: a queue in the database, so that tests, demo and operator script them from anywhere."""

from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from provisioning.drivers.base import DriverError, DriverException, Outcome, Progress, TryAgain
from provisioning.drivers.sandbox.tables import Call, Fault

ANY = "*"

HELD: Mapping[Fault, Outcome] = {
    Fault.SLOW: Outcome(Progress.PENDING, "the sandbox takes its time, as scripted"),
    Fault.BLOCK: Outcome(Progress.BLOCKED, "the sandbox waits for somebody, as scripted"),
}

_SCRIPT = text(
    """
    insert into sandbox_fault (address, call, fault, times)
    values (:address, :call, :fault, :times)
    """
)
_FORGET = text("delete from sandbox_fault where address = :address or :address = '*'")

# Two calls at once take two faults, or one of them none: a fault happens as often as scripted and no more.
_TAKE = text(
    """
    with next as (
        select f.id, f.times from sandbox_fault f
        where f.call in (:call, '*') and (
            f.address = '*'
            or f.address = any(cast(:addresses as text[]))
            or f.address = any(select unnest(m.addresses) from sandbox_mailbox m
                               where m.mailbox_id = :mailbox_id or m.id = :backend_id))
        order by f.id limit 1 for update skip locked
    ), last as (
        delete from sandbox_fault f using next where f.id = next.id and next.times = 1 returning f.fault
    ), one_of_many as (
        update sandbox_fault f set times = f.times - 1 from next
        where f.id = next.id and next.times > 1 returning f.fault
    )
    select fault from last union all select fault from one_of_many
    """
)


async def script(session: AsyncSession, *, address: str, call: str, fault: Fault, times: int) -> None:
    """Queue a fault; raises ValueError for one that can never happen."""
    if times < 1:
        raise ValueError(f"a fault happens at least once, not {times} times")
    if call != ANY and Call(call) is Call.OBSERVE_MAILBOX and fault in HELD:
        raise ValueError(f"an observation cannot answer {HELD[fault].progress}")
    values = {"address": address, "call": str(call), "fault": fault.value, "times": times}
    await session.execute(_SCRIPT, values)


async def forget(session: AsyncSession, *, address: str) -> None:
    """Drop what is queued for this address; `*` drops everything."""
    await session.execute(_FORGET, {"address": address})


async def take(
    session: AsyncSession,
    call: Call,
    *,
    addresses: Sequence[str] = (),
    mailbox_id: str | None = None,
    backend_id: str | None = None,
) -> Fault | None:
    """The next fault for this call to this mailbox, counted down in the caller's transaction."""
    values = {
        "call": call.value,
        "addresses": list(addresses),
        "mailbox_id": mailbox_id,
        "backend_id": backend_id,
    }
    found = await session.scalar(_TAKE, values)
    return None if found is None else Fault(found)


def exception(fault: Fault, *, seconds: float) -> DriverException:
    """What the caller gets to hear of this fault."""
    match fault:
        case Fault.REFUSE:
            return DriverError("the sandbox refuses this, as scripted", permanent=True)
        case Fault.FAIL:
            return DriverError("the sandbox failed, as scripted", permanent=False)
        case Fault.AWAY:
            return TryAgain("the sandbox is away, as scripted", seconds=10 * seconds)
        case Fault.LOST_ANSWER:
            return TryAgain("the sandbox's answer was lost, as scripted", seconds=seconds)
        case _:
            return TryAgain("the sandbox throttles, as scripted", seconds=seconds)
