"""What every backend can do, in few idempotent calls keyed by the backend's own id.

    DriverException
      +- TryAgain        busy, throttled or away: nothing is known of the outcome; ask again after `seconds`
      +- DriverError     refused; `permanent` says whether asking again can ever help

Standard folders are addressed by id and type as `observe_mailbox` reports them, never by a displayed name.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from provisioning.planner import MailboxSpec, Seen
from provisioning.roles import Role


class DriverException(Exception):
    """The base of what a driver may raise."""


class TryAgain(DriverException):
    """The backend is busy or away; whether the call was applied is unknown until it is observed again."""

    def __init__(self, reason: str, *, seconds: float = 30.0) -> None:
        super().__init__(reason)
        self.seconds = seconds


class DriverError(DriverException):
    """The backend refused. `permanent` errors end the operation; others are retried with back-off."""

    def __init__(self, reason: str, *, permanent: bool) -> None:
        super().__init__(reason)
        self.permanent = permanent


class Progress(StrEnum):
    CONVERGED = "converged"
    PENDING = "pending"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a call got. `pending` and `blocked` carry the reason in words for the operation to show.

    `converged` may say what there is to know of what was done.
    """

    progress: Progress
    reason: str = ""


CONVERGED = Outcome(Progress.CONVERGED)


class Driver(Protocol):
    """A backend of one kind. All calls may be repeated; repeating a finished call changes nothing.

    `mailbox_id` is our id, which the backend keeps beside its own: it finds a mailbox whose creation was
    applied though the answer was lost.
    """

    async def observe_mailbox(self, mailbox_id: str) -> Seen | None:
        """What is there now, folders and grants included; None when there is nothing, not even deleted."""
        ...

    async def ensure_mailbox(
        self, mailbox_id: str, spec: MailboxSpec, *, location: str, password_hash: str | None
    ) -> Outcome:
        """Create it in `location`, restore it or set its attributes. Never moves one that is elsewhere."""
        ...

    async def move_mailbox(self, backend_id: str, *, to: str) -> Outcome:
        """Move it with everything in it; `pending` while mail is being copied, and it stays usable."""
        ...

    async def remove_mailbox(self, backend_id: str) -> Outcome:
        """Out of service, restorable by `ensure_mailbox`. Already gone is converged."""
        ...

    async def purge_mailbox(self, backend_id: str) -> Outcome:
        """Erase it without leftovers, also its entries in other mailboxes' permissions."""
        ...

    async def ensure_archive(self, backend_id: str, *, on: bool) -> Outcome:
        """Give it an archive beside the mailbox, which moves with it, or take it away with what is in it.

        Only a class with AddOn.ARCHIVE can be given one; taking away what is not there is converged.
        """
        ...

    async def ensure_folder_rights(self, backend_id: str, *, folder_id: str, grantee: str, mask: int) -> Outcome:
        """Set exactly these rights for this grantee (the server may widen them)."""
        ...

    async def remove_folder_rights(self, backend_id: str, *, folder_id: str, grantee: str) -> Outcome: ...

    async def ensure_grant(self, backend_id: str, *, role: Role, grantee: str) -> Outcome:
        """Full access, send-as or send-on-behalf; three grants held in three places."""
        ...

    async def remove_grant(self, backend_id: str, *, role: Role, grantee: str) -> Outcome: ...
