"""Bringing all payments in line with the provider: what the worker does bit by bit, in one go and to its end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.attempts import CollectionPolicy
from billing.collection import collect, refresh
from billing.gateways.base import Gateway, GatewayError, TryAgain
from billing.inbox import due_events, handle_event, poll_events
from billing.payment_models import UNANSWERED, AttemptKind, AttemptState, Payment, PaymentAttempt
from billing.payments import due_payments, open_payments
from provisioning.core.database import Database


@dataclass(frozen=True, slots=True)
class Reconciled:
    """How many events were new and how many handled, how many payments were looked at, and what is left.

    `unknown` are attempts of which nobody has said yet what became of them, `waiting` events that are tried again.
    """

    found: int
    handled: int
    looked_at: int
    unknown: int
    waiting: int


async def reconcile(
    database: Database, gateway: Gateway, *, now: datetime, policy: CollectionPolicy, since: datetime | None = None
) -> Reconciled:
    """Read the provider's events, handle all that wait, and ask what became of everything that is under way.

    `since` reads the events again from there on, thirty days back at most. Raises TryAgain when the provider is away.
    """
    async with database.as_system() as session:
        while await open_payments(session, None, now=now):
            pass
    found = await poll_events(database, gateway, now=now, since=since)
    handled = 0
    async with database.as_system() as session:
        events = await due_events(session, now=now, limit=100_000)
    for event_id in events:
        handled += await handle_event(database, gateway, event_id, now=now, policy=policy)
    looked_at = await _collect_all(database, gateway, now=now, policy=policy)
    async with database.as_system() as session:
        unknown = len((await session.scalars(_attempts(*UNANSWERED))).all())
    return Reconciled(found, handled, looked_at, unknown, waiting=len(events) - handled)


async def _collect_all(database: Database, gateway: Gateway, *, now: datetime, policy: CollectionPolicy) -> int:
    async with database.as_system() as session:
        unanswered = (await session.scalars(_attempts(*UNANSWERED))).all()
        due = await due_payments(session, now=now, limit=100_000)
        under_way = await _intents_under_way(session)
    payments = dict.fromkeys((*unanswered, *due))
    for payment_id in payments:
        await collect(database, gateway, payment_id, now=now, policy=policy, at_once=True)
    for intent_id in under_way:
        try:
            await refresh(database, gateway, intent_id, now=now, policy=policy)
        except (GatewayError, TryAgain):
            continue  # it stays under way, and is asked for again next time
    return len(payments) + len(under_way)


def _attempts(*states: AttemptState) -> Select[str]:
    return select(col(PaymentAttempt.payment_id)).where(
        col(PaymentAttempt.state).in_(states), col(PaymentAttempt.kind) != AttemptKind.DEBIT
    )


async def _intents_under_way(session: AsyncSession) -> Sequence[str]:
    query = select(col(Payment.provider_id)).where(
        col(Payment.provider_id).is_not(None), col(Payment.id).in_(_attempts(AttemptState.PROCESSING))
    )
    return [each for each in await session.scalars(query) if each is not None]
