"""How a call reaches the imitation backend: past throttling and scripted faults, in its own transaction."""

import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from provisioning.core.database import Database, violated_constraint
from provisioning.core.errors import Unavailable
from provisioning.drivers.base import DriverError, Outcome, TryAgain
from provisioning.drivers.sandbox.faults import HELD, exception, take
from provisioning.drivers.sandbox.tables import Call, Fault
from provisioning.planner import Seen

Answer = TypeVar("Answer")

_REFUSALS = {
    "fk_sandbox_right_grantee_sandbox_mailbox": "the grantee is unknown",
    "fk_sandbox_grant_grantee_sandbox_mailbox": "the grantee is unknown",
    "uq_sandbox_grant_one_way_to_send": "send-as and send-on-behalf of one mailbox exclude each other",
}


class Calls:
    """Every `throttle_every`th call is turned away (0: none); TryAgain names `retry_seconds`.

    A call raises TryAgain or DriverError, and nothing else that the backend could be blamed for.
    """

    def __init__(self, database: Database, *, throttle_every: int, retry_seconds: float) -> None:
        self._database = database
        self._throttle_every = throttle_every
        self._retry_seconds = retry_seconds
        self._counter = itertools.count(1)

    async def observe(self, work: Callable[[AsyncSession], Awaitable[Seen | None]], *, mailbox_id: str) -> Seen | None:
        return await self._make(Call.OBSERVE_MAILBOX, work, held={}, mailbox_id=mailbox_id)

    async def write(
        self,
        call: Call,
        work: Callable[[AsyncSession], Awaitable[Outcome]],
        *,
        mailbox_id: str | None = None,
        backend_id: str | None = None,
        addresses: Sequence[str] = (),
    ) -> Outcome:
        return await self._make(
            call, work, held=HELD, mailbox_id=mailbox_id, backend_id=backend_id, addresses=addresses
        )

    async def _make(
        self,
        call: Call,
        work: Callable[[AsyncSession], Awaitable[Answer]],
        *,
        held: Mapping[Fault, Answer],
        mailbox_id: str | None = None,
        backend_id: str | None = None,
        addresses: Sequence[str] = (),
    ) -> Answer:
        """Do the work unless a fault comes in between; `held` are the answers of faults that answer."""
        if self._throttle_every and next(self._counter) % self._throttle_every == 0:
            raise TryAgain("the sandbox throttles", seconds=self._retry_seconds)
        try:
            async with self._database.as_system() as session:
                fault = await take(session, call, addresses=addresses, mailbox_id=mailbox_id, backend_id=backend_id)
                if fault is None:
                    return await work(session)
                if fault is Fault.LOST_ANSWER:
                    await work(session)
        except Unavailable as error:
            raise TryAgain("the sandbox does not answer", seconds=self._retry_seconds) from error
        except IntegrityError as error:
            reason = _REFUSALS.get(violated_constraint(error) or "")
            if reason is None:
                raise
            raise DriverError(reason, permanent=True) from error
        # Committed by now: that the fault has happened, and what was done before an answer got lost.
        if fault in held:
            return held[fault]
        raise exception(fault, seconds=self._retry_seconds)
