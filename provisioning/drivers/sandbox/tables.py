"""The imitation backend's own world: its tables know nothing of ours; only the sandbox driver reads them."""

from enum import StrEnum
from typing import Any

from sqlalchemy import Identity, Index, UniqueConstraint, text
from sqlmodel import Field

from provisioning.core.tables import Id, Json, Table, TextArray, key, word
from provisioning.planner import FolderType, Presence
from provisioning.terms import MailboxKind, ServiceClass


class Call(StrEnum):
    """The driver's calls, as faults name them."""

    OBSERVE_MAILBOX = "observe_mailbox"
    ENSURE_MAILBOX = "ensure_mailbox"
    MOVE_MAILBOX = "move_mailbox"
    ENSURE_ARCHIVE = "ensure_archive"
    REMOVE_MAILBOX = "remove_mailbox"
    PURGE_MAILBOX = "purge_mailbox"
    ENSURE_FOLDER_RIGHTS = "ensure_folder_rights"
    REMOVE_FOLDER_RIGHTS = "remove_folder_rights"
    ENSURE_GRANT = "ensure_grant"
    REMOVE_GRANT = "remove_grant"


class Fault(StrEnum):
    """What can go wrong with a call on demand."""

    THROTTLE = "throttle"  # TryAgain, nothing done
    AWAY = "away"  # TryAgain after a longer wait, nothing done
    LOST_ANSWER = "lost_answer"  # done, and TryAgain
    REFUSE = "refuse"  # DriverError for good, nothing done
    FAIL = "fail"  # DriverError that may pass, nothing done
    SLOW = "slow"  # answers `pending`, nothing done yet
    BLOCK = "block"  # answers `blocked`, nothing done


class SandboxMailbox(Table, table=True):
    """A mailbox there, keyed by the backend's own GUID; `mailbox_id` is the id its customer calls it by.

    `stale` is the state before the latest writes, shown for `stale_reads` more observations (null: nothing
    was there). A move to `moving_to` is over after `move_left` more observations. `calls` counts accepted
    write calls, `writes` those of them that changed something.
    """

    __tablename__ = "sandbox_mailbox"

    id: str = key()
    mailbox_id: str = Field(sa_type=Id, unique=True)
    presence: Presence = word(Presence)
    location: str
    kind: MailboxKind = word(MailboxKind)
    service_class: ServiceClass = word(ServiceClass)
    display_name: str
    quota_mib: int
    protocols: list[str] = Field(sa_type=TextArray)
    addresses: list[str] = Field(sa_type=TextArray)
    suspended: bool
    archive: bool = False
    password_version: int
    password_hash: str | None = Field(default=None, repr=False)
    moving_to: str | None = None
    move_left: int = 0
    stale: dict[str, Any] | None = Field(default=None, sa_type=Json)
    stale_reads: int = 0
    calls: int = 0
    writes: int = 0


class SandboxAddress(Table, table=True):
    """Every address that is taken, also by a deleted mailbox that can still be restored."""

    __tablename__ = "sandbox_address"

    address: str = Field(sa_type=Id, primary_key=True)
    backend_id: str = Field(sa_type=Id, foreign_key="sandbox_mailbox.id", ondelete="CASCADE", index=True)


class SandboxFolder(Table, table=True):
    """A folder with the name its users read. Default and Anonymous are columns, so they always exist."""

    __tablename__ = "sandbox_folder"
    __table_args__ = (UniqueConstraint("backend_id", "parent_id", "name", postgresql_nulls_not_distinct=True),)

    id: str = key()
    backend_id: str = Field(sa_type=Id, foreign_key="sandbox_mailbox.id", ondelete="CASCADE")
    parent_id: str | None = Field(default=None, sa_type=Id)
    number: int
    type: FolderType = word(FolderType)
    name: str
    default_mask: int
    anonymous_mask: int


class SandboxRight(Table, table=True):
    """One entry of a folder's permission list."""

    __tablename__ = "sandbox_right"

    folder_id: str = Field(sa_type=Id, primary_key=True, foreign_key="sandbox_folder.id", ondelete="CASCADE")
    grantee: str = Field(sa_type=Id, primary_key=True, foreign_key="sandbox_mailbox.id", ondelete="CASCADE", index=True)
    mask: int


class SandboxGrant(Table, table=True):
    """Full access, send-as and send-on-behalf: none implies another; the two to send exclude each other."""

    __tablename__ = "sandbox_grant"
    __table_args__ = (
        Index(
            "uq_sandbox_grant_one_way_to_send",
            "backend_id",
            "grantee",
            unique=True,
            postgresql_where=text("role in ('SendAs', 'SendOnBehalf')"),
        ),
    )

    backend_id: str = Field(sa_type=Id, primary_key=True, foreign_key="sandbox_mailbox.id", ondelete="CASCADE")
    role: str = Field(sa_type=Id, primary_key=True)
    grantee: str = Field(sa_type=Id, primary_key=True, foreign_key="sandbox_mailbox.id", ondelete="CASCADE", index=True)


class SandboxFault(Table, table=True):
    """A fault that waits for `times` calls; the oldest comes first. `*` is any address or any call."""

    __tablename__ = "sandbox_fault"

    id: int | None = Field(default=None, primary_key=True, sa_column_args=[Identity(always=True)])
    address: str = Field(sa_type=Id)
    call: str
    fault: Fault = word(Fault)
    times: int
