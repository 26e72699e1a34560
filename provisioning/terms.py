"""The words of the service as enums: one word per thing in code, API, database and documents (pure)."""

from enum import StrEnum


class ServiceClass(StrEnum):
    """What a customer pays for; the class decides which protocols answer and what can be shared."""

    POP3 = "pop3"
    IMAP = "imap"
    EXCHANGE = "exchange"


class MailboxKind(StrEnum):
    USER = "user"
    SHARED = "shared"
    ROOM = "room"
    EQUIPMENT = "equipment"


class Protocol(StrEnum):
    POP3 = "pop3"
    IMAP = "imap"
    SMTP = "smtp"
    ACTIVESYNC = "activesync"
    CALDAV = "caldav"
    CARDDAV = "carddav"
    MAPI = "mapi"
    WEB = "web"


class Intent(StrEnum):
    """What the reseller wants of a mailbox, beside its attributes."""

    PRESENT = "present"
    SUSPENDED = "suspended"
    DELETED = "deleted"
    PURGED = "purged"


class AddOn(StrEnum):
    """What a mailbox can have beyond its class, for a fee of its own.

    `archive` is a second mailbox for old mail; `extra_storage` comes in units of EXTRA_STORAGE_UNIT_MIB.
    """

    ARCHIVE = "archive"
    EXTRA_STORAGE = "extra_storage"


class MailboxState(StrEnum):
    """What a mailbox is at the moment, as far as its backend has confirmed it."""

    PROVISIONING = "provisioning"
    ACTIVE = "active"
    UPDATING = "updating"
    MOVING = "moving"
    SUSPENDED = "suspended"
    DELETING = "deleting"
    DELETED = "deleted"
    PURGED = "purged"
    FAILED = "failed"


class Scope(StrEnum):
    """What a share opens: folders by their type, never by a displayed name, and the two rights to send."""

    MAILBOX = "mailbox"
    INBOX = "inbox"
    CALENDAR = "calendar"
    CONTACTS = "contacts"
    TASKS = "tasks"
    SEND_AS = "send_as"
    SEND_ON_BEHALF = "send_on_behalf"


class Access(StrEnum):
    """How far a share opens it, in plain words; `roles` has the exact Exchange role of each."""

    AVAILABILITY = "availability"
    READ = "read"
    READ_WRITE = "read_write"
    OWNER = "owner"


class ShareState(StrEnum):
    """`revoked` is never stored: a share that has ended is gone, and only who waited for it is told so."""

    PENDING = "pending"
    ACTIVE = "active"
    REVOKING = "revoking"
    REVOKED = "revoked"


class DomainState(StrEnum):
    PENDING_VERIFICATION = "pending_verification"
    VERIFIED = "verified"


class DkimState(StrEnum):
    """`published` has a record to be set and waits until it has been seen; one `active` key signs."""

    PUBLISHED = "published"
    ACTIVE = "active"
    RETIRED = "retired"


class OperationState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Standing(StrEnum):
    """Whether a reseller or a customer may order and its mailboxes may log in and send."""

    GOOD = "good"
    SUSPENDED = "suspended"


class DriftPolicy(StrEnum):
    """What becomes of what others change at a backend: it is put right, or left as it is and shown."""

    REPAIR = "repair"
    ACCEPT = "accept"


PROTOCOLS: dict[ServiceClass, frozenset[Protocol]] = {
    ServiceClass.POP3: frozenset({Protocol.POP3, Protocol.SMTP}),
    ServiceClass.IMAP: frozenset({Protocol.IMAP, Protocol.POP3, Protocol.SMTP, Protocol.WEB}),
    ServiceClass.EXCHANGE: frozenset(Protocol),
}

SCOPES: dict[ServiceClass, frozenset[Scope]] = {
    ServiceClass.POP3: frozenset({Scope.SEND_AS, Scope.SEND_ON_BEHALF}),
    ServiceClass.IMAP: frozenset({Scope.MAILBOX, Scope.INBOX, Scope.SEND_AS, Scope.SEND_ON_BEHALF}),
    ServiceClass.EXCHANGE: frozenset(Scope),
}

KINDS: dict[ServiceClass, frozenset[MailboxKind]] = {
    ServiceClass.POP3: frozenset({MailboxKind.USER}),
    ServiceClass.IMAP: frozenset({MailboxKind.USER, MailboxKind.SHARED}),
    ServiceClass.EXCHANGE: frozenset(MailboxKind),
}

ADD_ONS: dict[ServiceClass, frozenset[AddOn]] = {
    ServiceClass.POP3: frozenset({AddOn.EXTRA_STORAGE}),
    ServiceClass.IMAP: frozenset({AddOn.EXTRA_STORAGE}),
    ServiceClass.EXCHANGE: frozenset(AddOn),
}

# The largest quota each class has without extra storage, and what one unit of extra storage adds to it.
INCLUDED_QUOTA_MIB = {ServiceClass.POP3: 2048, ServiceClass.IMAP: 10240, ServiceClass.EXCHANGE: 51200}
EXTRA_STORAGE_UNIT_MIB = 10 * 1024
