"""The inbox of Stripe's events: stored once, handled once, never believed.

A webhook and a poll leave the same row here, and one function handles it: it fetches the object that the event is
about and applies what it is now. So it does not matter whether events come twice, late, in another order, or not at
all; the poll finds the last kind. An event about an object that is not known yet is kept and tried again.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.attempts import CollectionPolicy
from billing.collection import refresh
from billing.gateways.base import NOT_FOUND, Event, Gateway, GatewayError, TryAgain
from billing.methods import disable_method, find_reseller_of, keep_method
from billing.payment_models import EventPoll, Payment, PaymentAttempt, PaymentMethod, StripeEvent
from billing.settlement import apply_dispute, apply_refund, apply_stray_refund, lock_payment
from provisioning.core.database import Database
from provisioning.core.jobs import enqueue

HANDLE_EVENT = "handle_stripe_event"

# What was made just before the watermark may appear in the list after it was read.
OVERLAP = timedelta(hours=1)
# An object that has not turned up by then is none of ours.
GIVE_UP_AFTER = timedelta(days=3)
BACKOFF = timedelta(minutes=1)
BACKOFF_MAX = timedelta(hours=6)

log = structlog.get_logger()


async def store_events(session: AsyncSession, events: Sequence[Event], *, now: datetime) -> Sequence[str]:
    """Keep events that are new and have each handled by a job; the ids of those that were new."""
    if not events:
        return []
    rows = [
        StripeEvent(
            id=event.id,
            type=event.type,
            object_id=event.object_id,
            created_at=event.created_at,
            received_at=now,
            next_try_at=now,
        ).model_dump()
        for event in {event.id: event for event in events}.values()
    ]
    stored = await session.scalars(
        insert(StripeEvent).values(rows).on_conflict_do_nothing().returning(col(StripeEvent.id))
    )
    new = sorted(stored.all())
    await enqueue(session, HANDLE_EVENT, new)
    return new


async def due_events(session: AsyncSession, *, now: datetime, limit: int = 1_000) -> Sequence[str]:
    """The events that wait to be handled, oldest first."""
    query = (
        select(col(StripeEvent.id))
        .where(col(StripeEvent.handled_at).is_(None), col(StripeEvent.next_try_at) <= now)
        .order_by(col(StripeEvent.created_at))
        .limit(limit)
    )
    return (await session.scalars(query)).all()


async def poll_events(database: Database, gateway: Gateway, *, now: datetime, since: datetime | None = None) -> int:
    """Store what the provider's list has since the last poll, or since `since`; how many were new.

    The list is read to its end before the watermark moves. Raises TryAgain when the provider is away.
    """
    async with database.as_system() as session:
        watermark = await session.scalar(select(col(EventPoll.watermark_at)).where(col(EventPoll.gateway) == "stripe"))
    start = since or (None if watermark is None else watermark - OVERLAP)
    events = await gateway.list_events(since=start)
    async with database.as_system() as session:
        new = await store_events(session, events, now=now)
        if events:
            newest = max(event.created_at for event in events)
            await _move_watermark(session, newest if watermark is None else max(newest, watermark))
    return len(new)


async def handle_event(
    database: Database, gateway: Gateway, event_id: str, *, now: datetime, policy: CollectionPolicy
) -> bool:
    """Apply what the object of an event is now; False when that has to be tried again later."""
    async with database.as_system() as session:
        event = await session.scalar(select(StripeEvent).where(col(StripeEvent.id) == event_id))
    if event is None or event.handled_at is not None:
        return True
    try:
        problem = await _handle(database, gateway, event, now=now, policy=policy)
    except TryAgain as error:
        problem = str(error)
    except GatewayError as error:
        problem = "unknown at Stripe" if error.code == NOT_FOUND else f"refused: {error.code}"
    async with database.as_system() as session:
        await _note(session, event_id, problem, now=now)
    return problem is None


async def _handle(
    database: Database, gateway: Gateway, event: StripeEvent, *, now: datetime, policy: CollectionPolicy
) -> str | None:
    """What is in the way of handling an event; None when it is handled."""
    if event.type.startswith("payment_intent."):
        known = await refresh(database, gateway, event.object_id, now=now, policy=policy)
        return None if known else "its payment is not known"
    if event.type.startswith("charge.dispute."):
        return await _handle_dispute(database, gateway, event.object_id, now=now, policy=policy)
    handle = _HANDLERS.get(event.type)
    return None if handle is None else await handle(database, gateway, event.object_id, now)


async def _handle_dispute(
    database: Database, gateway: Gateway, dispute_id: str, *, now: datetime, policy: CollectionPolicy
) -> str | None:
    dispute = await gateway.get_dispute(dispute_id)
    if dispute.intent_id is None:
        return None
    # What was received is booked before it is taken back, whichever event comes first.
    if not await refresh(database, gateway, dispute.intent_id, now=now, policy=policy):
        return "its payment is not known"
    async with database.as_system() as session:
        payment_id = await _payment_of(session, dispute.intent_id)
        if payment_id is not None:
            payment = await lock_payment(session, payment_id)
            await apply_dispute(session, payment, dispute, now=now, fee_cents=policy.return_fee_cents)
    return None


async def _handle_refund(database: Database, gateway: Gateway, refund_id: str, now: datetime) -> str | None:
    refund = await gateway.get_refund(refund_id)
    if refund.intent_id is None:
        return None
    async with database.as_system() as session:
        payment_id = await _payment_of(session, refund.intent_id)
        if payment_id is None:
            return None if refund.attempt_id is None else "its payment is not known"
        payment = await lock_payment(session, payment_id)
        query = select(PaymentAttempt).where(
            col(PaymentAttempt.id) == refund.attempt_id, col(PaymentAttempt.reseller_id) == payment.reseller_id
        )
        attempt = await session.scalar(query)
        if attempt is None:
            await apply_stray_refund(session, payment, refund, now=now)
        else:
            await apply_refund(session, payment, attempt, refund, now=now)
    return None


async def _handle_setup(database: Database, gateway: Gateway, setup_id: str, now: datetime) -> str | None:
    setup = await gateway.get_setup(setup_id)
    if setup.customer_id is None or setup.method is None:
        return None
    async with database.as_system() as session:
        reseller_id = await find_reseller_of(session, setup.customer_id)
        if reseller_id is None:
            return "its customer is not known"
        await keep_method(session, reseller_id, setup.method, now=now)
    return None


async def _handle_detached(database: Database, gateway: Gateway, method_id: str, now: datetime) -> str | None:
    if (await gateway.get_method(method_id)).customer_id is None:
        await _disable(database, col(PaymentMethod.provider_id) == method_id, "detached", now=now)
    return None


async def _handle_mandate(database: Database, gateway: Gateway, mandate_id: str, now: datetime) -> str | None:
    if await gateway.get_mandate_status(mandate_id) == "inactive":
        await _disable(database, col(PaymentMethod.mandate_id) == mandate_id, "mandate_inactive", now=now)
    return None


_HANDLERS: dict[str, Callable[[Database, Gateway, str, datetime], Awaitable[str | None]]] = {
    "mandate.updated": _handle_mandate,
    "payment_method.detached": _handle_detached,
    "refund.created": _handle_refund,
    "refund.failed": _handle_refund,
    "refund.updated": _handle_refund,
    "setup_intent.succeeded": _handle_setup,
}


async def _disable(database: Database, which: ColumnElement[bool], reason: str, *, now: datetime) -> None:
    async with database.as_system() as session:
        query = select(col(PaymentMethod.reseller_id), col(PaymentMethod.id)).where(which)
        for reseller_id, method_id in (await session.execute(query)).all():
            method = await disable_method(session, reseller_id, method_id, reason=reason, now=now)
            if reason == "mandate_inactive":
                method.mandate_status = "inactive"


async def _payment_of(session: AsyncSession, intent_id: str) -> str | None:
    return await session.scalar(select(col(Payment.id)).where(col(Payment.provider_id) == intent_id))


async def _note(session: AsyncSession, event_id: str, problem: str | None, *, now: datetime) -> None:
    query = select(StripeEvent).where(col(StripeEvent.id) == event_id).with_for_update()
    event = (await session.scalars(query)).one()
    if event.handled_at is not None:
        return
    event.tries += 1
    event.problem = problem
    if problem is None:
        event.handled_at = now
    elif now - event.received_at >= GIVE_UP_AFTER:
        event.handled_at = now
        log.warning("an event was given up", stripe_event=event.id, type=event.type, problem=problem)
    else:
        event.next_try_at = now + min(BACKOFF_MAX, BACKOFF * 2 ** min(event.tries, 16))


async def _move_watermark(session: AsyncSession, at: datetime) -> None:
    row = insert(EventPoll).values(gateway="stripe", watermark_at=at)
    await session.execute(row.on_conflict_do_update(index_elements=["gateway"], set_={"watermark_at": at}))
