"""The default driver: an imitation Exchange kept in our PostgreSQL, with the traps and moods of a real one.

No mail flows. What it imitates: rights widen on write, folders have German names and depend on the service
class, a new folder copies its parent's rights, Default and Anonymous cannot be removed, three grants live in
three places, writes show late, calls are throttled, answers get lost and moves take their time.
"""

from functools import partial

from provisioning.core.database import Database
from provisioning.drivers.base import Outcome
from provisioning.drivers.sandbox import mailboxes, permissions
from provisioning.drivers.sandbox.calls import Calls
from provisioning.drivers.sandbox.people import SandboxPeople
from provisioning.drivers.sandbox.rows import observe
from provisioning.drivers.sandbox.tables import Call
from provisioning.planner import MailboxSpec, Seen
from provisioning.roles import Role


class SandboxDriver(SandboxPeople):
    """Implements `drivers.base.Driver`. Any number of instances and processes share one imitation backend.

    Writes show after `lag` further observations, a move is over after `move_observations` of them, every
    `throttle_every`th call of this instance is turned away (0: none), and TryAgain names `retry_seconds`.
    """

    def __init__(
        self,
        database: Database,
        *,
        lag: int = 0,
        move_observations: int = 2,
        throttle_every: int = 0,
        retry_seconds: float = 1.0,
    ) -> None:
        super().__init__(database)
        self._lag = lag
        self._move_observations = move_observations
        self._calls = Calls(database, throttle_every=throttle_every, retry_seconds=retry_seconds)

    async def observe_mailbox(self, mailbox_id: str) -> Seen | None:
        work = partial(observe, mailbox_id=mailbox_id)
        return await self._calls.observe(work, mailbox_id=mailbox_id)

    async def ensure_mailbox(
        self, mailbox_id: str, spec: MailboxSpec, *, location: str, password_hash: str | None
    ) -> Outcome:
        work = partial(
            mailboxes.put_mailbox,
            mailbox_id=mailbox_id,
            spec=spec,
            location=location,
            password_hash=password_hash,
            lag=self._lag,
        )
        return await self._calls.write(Call.ENSURE_MAILBOX, work, mailbox_id=mailbox_id, addresses=spec.addresses)

    async def move_mailbox(self, backend_id: str, *, to: str) -> Outcome:
        work = partial(
            mailboxes.move,
            backend_id=backend_id,
            to=to,
            observations=self._move_observations,
            lag=self._lag,
        )
        return await self._calls.write(Call.MOVE_MAILBOX, work, backend_id=backend_id)

    async def ensure_archive(self, backend_id: str, *, on: bool) -> Outcome:
        work = partial(mailboxes.put_archive, backend_id=backend_id, on=on, lag=self._lag)
        return await self._calls.write(Call.ENSURE_ARCHIVE, work, backend_id=backend_id)

    async def remove_mailbox(self, backend_id: str) -> Outcome:
        work = partial(mailboxes.remove, backend_id=backend_id, lag=self._lag)
        return await self._calls.write(Call.REMOVE_MAILBOX, work, backend_id=backend_id)

    async def purge_mailbox(self, backend_id: str) -> Outcome:
        work = partial(mailboxes.purge, backend_id=backend_id)
        return await self._calls.write(Call.PURGE_MAILBOX, work, backend_id=backend_id)

    async def ensure_folder_rights(self, backend_id: str, *, folder_id: str, grantee: str, mask: int) -> Outcome:
        work = partial(
            permissions.put_rights,
            backend_id=backend_id,
            folder_id=folder_id,
            grantee=grantee,
            mask=mask,
            lag=self._lag,
        )
        return await self._calls.write(Call.ENSURE_FOLDER_RIGHTS, work, backend_id=backend_id)

    async def remove_folder_rights(self, backend_id: str, *, folder_id: str, grantee: str) -> Outcome:
        work = partial(
            permissions.drop_rights,
            backend_id=backend_id,
            folder_id=folder_id,
            grantee=grantee,
            lag=self._lag,
        )
        return await self._calls.write(Call.REMOVE_FOLDER_RIGHTS, work, backend_id=backend_id)

    async def ensure_grant(self, backend_id: str, *, role: Role, grantee: str) -> Outcome:
        work = partial(permissions.put_grant, backend_id=backend_id, role=role, grantee=grantee, lag=self._lag)
        return await self._calls.write(Call.ENSURE_GRANT, work, backend_id=backend_id)

    async def remove_grant(self, backend_id: str, *, role: Role, grantee: str) -> Outcome:
        work = partial(permissions.drop_grant, backend_id=backend_id, role=role, grantee=grantee, lag=self._lag)
        return await self._calls.write(Call.REMOVE_GRANT, work, backend_id=backend_id)
