"""What an attempt came to, written in one transaction that holds only if the wish is still the one that was
loaded.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.audit import SYSTEM_ACTOR, record_events
from provisioning.core.clock import SystemClock
from provisioning.core.database import Database
from provisioning.core.jobs import RECONCILE, enqueue
from provisioning.ledger import Reason, record_service
from provisioning.models import Mailbox, MailboxAddress, Operation, PasswordLink, Share
from provisioning.operations import PRIORITY_ASKED, PRIORITY_SWEPT, removal_of
from provisioning.planner import Seen
from provisioning.terms import AddOn, MailboxState, OperationState, ShareState
from provisioning.wanted import Loaded, OpenOperation, Waiting

BACKOFF_SECONDS = 1.0
BACKOFF_SECONDS_MAX = 300.0
JITTER = Random()  # noqa: S311  # spreads retries, guards no secret

# Long enough for a backend's own replicas to agree, soon enough that nobody calls.
SECOND_LOOK_SECONDS = 60
_GRANTING = "share.grant"
_IN_SERVICE = frozenset({MailboxState.ACTIVE, MailboxState.SUSPENDED})


class Ending(StrEnum):
    """How a reconcile ended. `stale` results were dropped because the wish had changed meanwhile."""

    NOTHING_WANTED = "nothing_wanted"
    UNCHANGED = "unchanged"
    CONFIRMED = "confirmed"
    PENDING = "pending"
    FAILED = "failed"
    STALE = "stale"


class StepState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(slots=True)
class Attempt:
    """The steps of one attempt by name, in the order planned; `drift` are those nobody asked for.

    `accepted` are those of the last plan that the data centre's policy does not want taken.
    """

    steps: dict[str, tuple[StepState, str]] = field(default_factory=dict)
    drift: dict[str, None] = field(default_factory=dict)
    accepted: tuple[str, ...] = ()

    def note(self, name: str, state: StepState, detail: str = "") -> None:
        self.steps[name] = (state, detail)

    def done(self) -> list[str]:
        return [name for name, (state, _) in self.steps.items() if state is StepState.DONE]


def backoff_seconds(attempts: int, *, at_least: float, jitter: Random) -> float:
    """How long to wait after `attempts` earlier ones: doubling from `at_least` up to five minutes, spread by
    a half.

    A backend that asks for more than five minutes gets what it asks for, one that asks for a fraction of a
    second is asked again that soon.
    """
    doubled = at_least * 2.0 ** min(attempts, 20) * jitter.uniform(1.0, 1.5)
    return max(at_least, min(doubled, BACKOFF_SECONDS_MAX))


async def record_success(
    database: Database, loaded: Loaded, seen: Seen | None, attempt: Attempt, *, now: datetime
) -> Ending:
    """Confirm the generation: state, ledger, shares and operations follow what has been read back."""
    async with database.as_system() as session:
        if _is_settled(loaded, attempt):
            return await _record_unchanged(session, loaded, now=now)
        mailbox = await _lock_if_current(session, loaded)
        if mailbox is None:
            return Ending.STALE
        await _note_drift(session, loaded, attempt, now=now)
        was_known = mailbox.backend_id is not None
        _confirm(mailbox, loaded, seen, now=now)
        mailbox.drift = list(attempt.accepted)
        await _settle_shares(session, loaded)
        turned = await record_service(
            session,
            mailbox,
            in_service=loaded.settled in _IN_SERVICE,
            at=now,
            reason=_service_reason(loaded.settled, was_known=was_known),
            given_up_at=_asked_at(loaded.operations, "mailbox.delete"),
            add_ons_given_up_at=_add_ons_given_up_at(loaded.operations),
        )
        if turned:
            await _enqueue_owners(session, mailbox.id)
        if loaded.settled is MailboxState.PURGED:
            await _erase(session, mailbox)
        elif loaded.superseded:
            await _look_again(session, mailbox.id)
        await _finish_operations(session, loaded, attempt, now=now)
    return Ending.CONFIRMED


async def record_pending(
    database: Database, loaded: Loaded, attempt: Attempt, *, reason: str, seconds: float, now: datetime
) -> Ending:
    """Say what it waits for, and come back in `seconds` of real time."""
    waits_for = f"waits for: {reason}"
    async with database.as_system() as session:
        changes: dict[str, Any] = {"attempts": col(Mailbox.attempts) + 1}
        if loaded.reason != waits_for:
            changes |= {"reason": waits_for, "version": col(Mailbox.version) + 1}
        if not await _update_if_current(session, loaded, changes):
            return Ending.STALE
        await _note_drift(session, loaded, attempt, now=now)
        for operation in loaded.operations:
            steps = _merge(operation.steps, attempt)
            await _update_operation(session, operation, reason=waits_for, steps=steps)
        priority = PRIORITY_SWEPT if loaded.confirmed else PRIORITY_ASKED
        run_at = SystemClock().now() + timedelta(seconds=seconds)
        await enqueue(session, RECONCILE, [loaded.wanted.mailbox_id], run_at=run_at, priority=priority)
    return Ending.PENDING


async def record_failure(database: Database, loaded: Loaded, attempt: Attempt, *, reason: str, now: datetime) -> Ending:
    """Give up until something new is wanted; what was in service before stays so for the ledger."""
    async with database.as_system() as session:
        changes = {
            "failed": True,
            "state": MailboxState.FAILED,
            "reason": reason,
            "version": col(Mailbox.version) + 1,
        }
        if not await _update_if_current(session, loaded, changes):
            return Ending.STALE
        await _note_drift(session, loaded, attempt, now=now)
        if loaded.confirmed:
            # No operation is open that could show it.
            await _audit(session, loaded, "mailbox.failed", {"reason": reason}, now=now)
        for operation in loaded.operations:
            steps = _merge(operation.steps, attempt)
            await _update_operation(
                session, operation, state=OperationState.FAILED, reason=reason, steps=steps, finished_at=now
            )
    return Ending.FAILED


def _is_settled(loaded: Loaded, attempt: Attempt) -> bool:
    """Whether all was true before and had been said so: nothing is to be written but the time of the look."""
    shares = loaded.shares
    changed_shares = shares.fresh or shares.revoked or any(share.granted for share in shares.waiting)
    said = loaded.confirmed and loaded.reason is None and not loaded.operations
    return said and not attempt.steps and not changed_shares and attempt.accepted == loaded.drift


async def _record_unchanged(session: AsyncSession, loaded: Loaded, *, now: datetime) -> Ending:
    current = await _update_if_current(session, loaded, {"observed_at": now})
    return Ending.UNCHANGED if current else Ending.STALE


async def _lock_if_current(session: AsyncSession, loaded: Loaded) -> Mailbox | None:
    query = select(Mailbox).where(*_current(loaded)).with_for_update(key_share=True)
    mailbox = await session.scalar(query)
    if mailbox is None:
        await _ensure_job(session, loaded)
    return mailbox


async def _update_if_current(session: AsyncSession, loaded: Loaded, changes: Mapping[str, Any]) -> bool:
    found = await session.scalar(
        update(Mailbox)
        .where(*_current(loaded))
        .values(**changes)
        .returning(col(Mailbox.id))
        .execution_options(synchronize_session=False)
    )
    if found is None:
        await _ensure_job(session, loaded)
    return found is not None


def _current(loaded: Loaded) -> tuple[Any, Any]:
    return col(Mailbox.id) == loaded.wanted.mailbox_id, col(Mailbox.generation) == loaded.generation


async def _ensure_job(session: AsyncSession, loaded: Loaded) -> None:
    """The newer wish has a job of its own; that it waits is made sure of rather than believed."""
    await enqueue(session, RECONCILE, [loaded.wanted.mailbox_id], priority=PRIORITY_ASKED)


def _confirm(mailbox: Mailbox, loaded: Loaded, seen: Seen | None, *, now: datetime) -> None:
    mailbox.confirmed_generation = loaded.generation
    mailbox.state = loaded.settled
    mailbox.observed_at = now
    mailbox.attempts = 0
    mailbox.reason = None
    if seen is not None:
        mailbox.backend_id = seen.backend_id
        mailbox.placed_in = seen.location


async def _erase(session: AsyncSession, mailbox: Mailbox) -> None:
    """Nothing of a purged mailbox stays but the row that invoices and the audit log can name."""
    await _enqueue_owners(session, mailbox.id)
    mailbox.backend_id = mailbox.placed_in = mailbox.external_id = mailbox.password_hash = None
    opens, opened = col(Share.mailbox_id) == mailbox.id, col(Share.grantee_id) == mailbox.id
    await session.execute(delete(Share).where(or_(opens, opened)))
    await session.execute(delete(PasswordLink).where(col(PasswordLink.mailbox_id) == mailbox.id))
    await session.execute(delete(MailboxAddress).where(col(MailboxAddress.mailbox_id) == mailbox.id))


async def _settle_shares(session: AsyncSession, loaded: Loaded) -> None:
    shares = loaded.shares
    if shares.revoked:
        await session.execute(delete(Share).where(col(Share.id).in_(shares.revoked)))
    withdrawn = [share.share_id for share in shares.waiting if share.granted]
    for ids, state in ((shares.fresh, ShareState.ACTIVE), (withdrawn, ShareState.PENDING)):
        if ids:
            await session.execute(
                update(Share)
                .where(col(Share.id).in_(ids))
                .values(state=state, version=col(Share.version) + 1)
                .execution_options(synchronize_session=False)
            )


def _service_reason(settled: MailboxState, *, was_known: bool) -> Reason:
    if settled is MailboxState.DELETED:
        return Reason.DELETED
    if settled is MailboxState.PURGED:
        return Reason.PURGED
    return Reason.RESTORED if was_known else Reason.ORDERED


def _asked_at(operations: Iterable[OpenOperation], action: str) -> datetime | None:
    asked = [operation.created_at for operation in operations if operation.action == action]
    return max(asked, default=None)


def _add_ons_given_up_at(operations: Sequence[OpenOperation]) -> dict[AddOn, datetime]:
    asked = {add_on: _asked_at(operations, removal_of(add_on)) for add_on in AddOn}
    return {add_on: at for add_on, at in asked.items() if at is not None}


async def _enqueue_owners(session: AsyncSession, grantee_id: str) -> None:
    """Mailboxes shared to this one grant or withdraw when it comes into service or leaves it.

    Runs under the grantee's lock, so that an owner that loads its shares now waits for what is written here.
    """
    query = select(col(Share.mailbox_id)).where(col(Share.grantee_id) == grantee_id).distinct()
    owners = (await session.scalars(query.order_by(col(Share.mailbox_id)))).all()
    if owners:
        await enqueue(session, RECONCILE, owners, priority=PRIORITY_ASKED)


async def _look_again(session: AsyncSession, mailbox_id: str) -> None:
    """What was read back may be from before a superseded wish was carried out, and look like the new one."""
    run_at = SystemClock().now() + timedelta(seconds=SECOND_LOOK_SECONDS)
    await enqueue(session, RECONCILE, [mailbox_id], run_at=run_at, priority=PRIORITY_SWEPT)


async def _finish_operations(session: AsyncSession, loaded: Loaded, attempt: Attempt, *, now: datetime) -> None:
    """A share is not called granted while its grantee is missing: those operations stay open and say so."""
    for operation in loaded.operations:
        steps = [_done(step) for step in _merge(operation.steps, attempt)]
        if loaded.shares.waiting and operation.action == _GRANTING:
            steps += [_waiting_step(share) for share in loaded.shares.waiting]
            reason = "waits for: " + ", ".join(sorted({share.address for share in loaded.shares.waiting}))
            await _update_operation(session, operation, reason=reason, steps=steps)
        else:
            await _update_operation(
                session, operation, state=OperationState.SUCCEEDED, reason=None, steps=steps, finished_at=now
            )


def _done(step: Mapping[str, Any]) -> dict[str, Any]:
    """What held a step up before it was done is over; what there is to know of how it was done stays."""
    return {**step, "state": StepState.DONE, "detail": step["detail"] if step["state"] == StepState.DONE else ""}


def _waiting_step(share: Waiting) -> dict[str, Any]:
    detail = f"{share.address} is not in service yet"
    return {"name": f"grant to {share.address}", "state": StepState.PENDING, "detail": detail}


def _merge(earlier: Sequence[Mapping[str, Any]], attempt: Attempt) -> list[dict[str, Any]]:
    """The steps of all attempts so far, each once, as the last attempt that met it left it."""
    steps = {step["name"]: dict(step) for step in earlier}
    for name, (state, detail) in attempt.steps.items():
        steps[name] = {"name": name, "state": state, "detail": detail}
    return list(steps.values())


async def _update_operation(session: AsyncSession, operation: OpenOperation, **changes: Any) -> None:
    await session.execute(
        update(Operation)
        .where(col(Operation.id) == operation.id)
        .values(version=col(Operation.version) + 1, **changes)
        .execution_options(synchronize_session=False)
    )


async def _note_drift(session: AsyncSession, loaded: Loaded, attempt: Attempt, *, now: datetime) -> None:
    if repaired := [name for name in attempt.done() if name in attempt.drift]:
        await _audit(session, loaded, "mailbox.drift_repaired", {"steps": repaired}, now=now)
    if attempt.accepted and attempt.accepted != loaded.drift:
        await _audit(session, loaded, "mailbox.drift_accepted", {"steps": list(attempt.accepted)}, now=now)


async def _audit(session: AsyncSession, loaded: Loaded, action: str, detail: dict[str, Any], *, now: datetime) -> None:
    await record_events(
        session,
        loaded.reseller_id,
        actor=SYSTEM_ACTOR,
        action=action,
        resource_ids=[loaded.wanted.mailbox_id],
        now=now,
        detail=detail,
    )
