"""Making one mailbox what it should be: load -> observe -> plan -> apply -> record.

It takes no input but the mailbox's id and holds no transaction while a driver is called. Success is said only
after reading back, and a pass over a mailbox that is as wanted writes nothing to its backend.
"""

from collections.abc import Mapping
from datetime import datetime
from random import Random
from typing import assert_never

from provisioning.core.clock import Clock
from provisioning.core.database import Database
from provisioning.drivers.base import Driver, DriverError, Outcome, Progress, TryAgain
from provisioning.planner import (
    EnsureArchive,
    EnsureFolderRights,
    EnsureGrant,
    EnsureMailbox,
    MoveMailbox,
    Presence,
    PurgeMailbox,
    RemoveFolderRights,
    RemoveGrant,
    RemoveMailbox,
    Seen,
    Step,
    Wanted,
    plan,
)
from provisioning.recording import (
    BACKOFF_SECONDS,
    JITTER,
    Attempt,
    Ending,
    StepState,
    backoff_seconds,
    record_failure,
    record_pending,
    record_success,
)
from provisioning.wanted import Loaded, load

# One to create, one to plan the shares of what was created, one to read back, one for a backend that shows
# late.
ROUNDS_MAX = 4

_OF_THE_MAILBOX = EnsureMailbox | MoveMailbox | RemoveMailbox | PurgeMailbox
_OF_A_GRANTEE = EnsureFolderRights | RemoveFolderRights | EnsureGrant | RemoveGrant


async def reconcile_mailbox(
    database: Database,
    drivers: Mapping[str, Driver],
    mailbox_id: str,
    *,
    now: Clock,
    jitter: Random = JITTER,
) -> Ending:
    """Bring one mailbox nearer to what is wanted of it and record how far it got; may be repeated at any
    time.

    `drivers` are keyed by DataCentre.driver. What stays undone is enqueued again with back-off, in the
    transaction that says why. Raises Unavailable when the database is away, and whatever a driver should not
    have raised.
    """
    loaded = await load(database, mailbox_id, now=now.now())
    if loaded is None:
        return Ending.NOTHING_WANTED
    attempt = Attempt()
    try:
        seen = await _make_true(_driver_for(drivers, loaded), loaded, attempt)
    except TryAgain as busy:
        return await _come_back(database, loaded, attempt, busy, busy.seconds, now=now.now(), jitter=jitter)
    except DriverError as refusal:
        if not refusal.permanent:
            seconds = BACKOFF_SECONDS
            return await _come_back(database, loaded, attempt, refusal, seconds, now=now.now(), jitter=jitter)
        return await _give_up(database, loaded, attempt, refusal, now=now.now())
    return await record_success(database, loaded, seen, attempt, now=now.now())


async def _come_back(
    database: Database,
    loaded: Loaded,
    attempt: Attempt,
    cause: Exception,
    seconds: float,
    *,
    now: datetime,
    jitter: Random,
) -> Ending:
    delay = backoff_seconds(loaded.attempts, at_least=seconds, jitter=jitter)
    return await record_pending(database, loaded, attempt, reason=str(cause), seconds=delay, now=now)


async def _give_up(
    database: Database, loaded: Loaded, attempt: Attempt, refusal: DriverError, *, now: datetime
) -> Ending:
    """Unless the wish has changed without a new generation: the refused grantee may have been deleted
    meanwhile.
    """
    present = await load(database, loaded.wanted.mailbox_id, now=now)
    if present is not None and present.generation == loaded.generation and present.wanted != loaded.wanted:
        reason = f"another look, because {refusal}"
        return await record_pending(database, loaded, attempt, reason=reason, seconds=0.0, now=now)
    return await record_failure(database, loaded, attempt, reason=str(refusal), now=now)


def _driver_for(drivers: Mapping[str, Driver], loaded: Loaded) -> Driver:
    if loaded.placed_by is not None and loaded.placed_by != loaded.driver:
        raise DriverError(
            f"a mailbox cannot move from a backend of kind {loaded.placed_by} to one of kind {loaded.driver}",
            permanent=True,
        )
    driver = drivers.get(loaded.driver)
    if driver is None:
        raise DriverError(f"no driver {loaded.driver} is configured in this worker", permanent=False)
    return driver


async def _make_true(driver: Driver, loaded: Loaded, attempt: Attempt) -> Seen | None:
    """What was read back once it was as wanted. Raises TryAgain or DriverError when that cannot be now."""
    wanted, applied = loaded.wanted, None
    for number in range(ROUNDS_MAX):
        seen = await driver.observe_mailbox(wanted.mailbox_id)
        _check_is_there(loaded, seen)
        steps = _to_apply(loaded, plan(wanted, seen), attempt)
        if not steps and number == 0:
            steps = _steps_to_be_sure(loaded, seen)
        if not steps:
            return seen
        # A backend may show late what it has taken; only a plan that differs is applied.
        if steps != applied:
            _note_planned(loaded, attempt, steps)
            await _apply_all(driver, wanted, seen, steps, attempt)
            applied = steps
    raise TryAgain("the backend to show what it has taken", seconds=BACKOFF_SECONDS)


def _check_is_there(loaded: Loaded, seen: Seen | None) -> None:
    """A mailbox that was confirmed and is gone is never made again empty: its owner would take it for the old
    one.
    """
    if seen is None and loaded.backend_id is not None and loaded.wanted.presence is Presence.PRESENT:
        raise DriverError(
            f"missing_at_backend: mailbox {loaded.backend_id} was confirmed and is gone; it is not made "
            "again empty. Bring it back at the backend and change the mailbox, or delete and order it anew.",
            permanent=True,
        )


def _steps_to_be_sure(loaded: Loaded, seen: Seen | None) -> list[Step]:
    """What to do though nothing seems to differ.

    Where an earlier wish was superseded, the backend may still show the state before that one was carried
    out, which looks like what is wanted now. So the wish is said again, which changes nothing if it is true
    already.
    """
    if loaded.wanted.presence is Presence.PRESENT:
        return [EnsureMailbox(("said again",))] if loaded.superseded else []
    if seen is not None:
        return [RemoveMailbox()] if loaded.superseded else []
    if loaded.backend_id is None and not loaded.confirmed and loaded.attempts == 0:
        raise TryAgain("a second look, since a creation may show late", seconds=BACKOFF_SECONDS)
    return []


def _to_apply(loaded: Loaded, steps: list[Step], attempt: Attempt) -> list[Step]:
    """The plan without what others have changed and may stay so."""
    if not loaded.accepts_drift:
        return steps
    left = [step for step in steps if _is_drift(loaded, step) and _may_stay(step)]
    attempt.accepted = tuple(map(str, left))
    return [step for step in steps if step not in left]


def _is_drift(loaded: Loaded, step: Step) -> bool:
    """Differences nobody asked for are drift; rights of grantees whose shares are changing were to be expected."""
    return loaded.confirmed and not (isinstance(step, _OF_A_GRANTEE) and step.grantee in loaded.shares.in_flux)


def _may_stay(step: Step) -> bool:
    """Where a mailbox lies, whether it is there and whether it is suspended is not for others to say."""
    if isinstance(step, EnsureMailbox):
        return not {"restored", "suspended"} & set(step.changes)
    return not isinstance(step, _OF_THE_MAILBOX)


def _note_planned(loaded: Loaded, attempt: Attempt, steps: list[Step]) -> None:
    for step in steps:
        attempt.note(str(step), StepState.PENDING)
        if _is_drift(loaded, step):
            attempt.drift[str(step)] = None


async def _apply_all(driver: Driver, wanted: Wanted, seen: Seen | None, steps: list[Step], attempt: Attempt) -> None:
    """Raises TryAgain naming what is still pending; a grant that has to wait does not hold up the others."""
    held: list[str] = []
    for step in steps:
        attempt.note(str(step), StepState.RUNNING)
        try:
            outcome = await _apply(driver, wanted, seen.backend_id if seen else "", step)
        except TryAgain as busy:
            attempt.note(str(step), StepState.PENDING, str(busy))
            raise
        except DriverError as refusal:
            attempt.note(str(step), StepState.FAILED if refusal.permanent else StepState.PENDING, str(refusal))
            raise
        if outcome.progress is Progress.CONVERGED:
            attempt.note(str(step), StepState.DONE, outcome.reason)
            continue
        attempt.note(str(step), StepState.PENDING, outcome.reason)
        held.append(outcome.reason)
        if isinstance(step, _OF_THE_MAILBOX):
            break
    if held:
        raise TryAgain("; ".join(dict.fromkeys(held)), seconds=BACKOFF_SECONDS)


async def _apply(driver: Driver, wanted: Wanted, backend_id: str, step: Step) -> Outcome:
    match step:
        case EnsureMailbox():
            call = driver.ensure_mailbox(
                wanted.mailbox_id, wanted.spec, location=wanted.location, password_hash=wanted.password_hash
            )
        case MoveMailbox(to=to):
            call = driver.move_mailbox(backend_id, to=to)
        case RemoveMailbox():
            call = driver.remove_mailbox(backend_id)
        case PurgeMailbox():
            call = driver.purge_mailbox(backend_id)
        case EnsureArchive(on=on):
            call = driver.ensure_archive(backend_id, on=on)
        case EnsureFolderRights(folder_id=folder_id, grantee=grantee, mask=mask):
            call = driver.ensure_folder_rights(backend_id, folder_id=folder_id, grantee=grantee, mask=mask)
        case RemoveFolderRights(folder_id=folder_id, grantee=grantee):
            call = driver.remove_folder_rights(backend_id, folder_id=folder_id, grantee=grantee)
        case EnsureGrant(role=role, grantee=grantee):
            call = driver.ensure_grant(backend_id, role=role, grantee=grantee)
        case RemoveGrant(role=role, grantee=grantee):
            call = driver.remove_grant(backend_id, role=role, grantee=grantee)
        case _:
            assert_never(step)
    return await call
