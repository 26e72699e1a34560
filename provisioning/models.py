"""Domains, mailboxes, addresses, shares and operations: what is wanted, and what has been confirmed."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, false, text
from sqlmodel import Field

from provisioning.core.tables import Id, Json, Table, TextArray, Versioned, key, moment, reference, word
from provisioning.roles import Role
from provisioning.tenants import Policy
from provisioning.terms import (
    ADD_ONS,
    Access,
    AddOn,
    DkimState,
    DomainState,
    Intent,
    MailboxKind,
    MailboxState,
    OperationState,
    Scope,
    ServiceClass,
    ShareState,
)


class Domain(Versioned, table=True):
    """A mail domain. `name` is the A-label form (xn--strae-oqa.de), `unicode_name` what a person reads.

    Anyone may claim a name; only one may have proven it.
    """

    __tablename__ = "domain"
    __table_args__ = (
        UniqueConstraint("reseller_id", "name"),
        Index("uq_domain_verified_name", "name", unique=True, postgresql_where=text("state = 'verified'")),
        Index("ix_domain_reseller_id_id", "reseller_id", "id"),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    customer_id: str = reference("customer.id", index=True)
    name: str = Field(sa_type=Id)
    unicode_name: str
    state: DomainState = word(DomainState, DomainState.PENDING_VERIFICATION)
    verification_token: str
    verified_at: datetime | None = moment(None, nullable=True)
    created_at: datetime = moment()


class DkimKey(Table, table=True):
    """A key pair that signs a domain's mail, found at `<selector>._domainkey.<domain>`.

    `private_key` is an encrypted PKCS #8 in PEM and None once the key is retired; `public_key` is base64.
    """

    __tablename__ = "dkim_key"
    __table_args__ = (
        UniqueConstraint("domain_id", "selector"),
        Index("uq_dkim_key_active", "domain_id", unique=True, postgresql_where=text("state = 'active'")),
        Index("uq_dkim_key_published", "domain_id", unique=True, postgresql_where=text("state = 'published'")),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id", index=True)
    domain_id: str = reference("domain.id")
    selector: str
    state: DkimState = word(DkimState, DkimState.PUBLISHED)
    public_key: str
    private_key: str | None = Field(default=None, repr=False)
    created_at: datetime = moment()
    activated_at: datetime | None = moment(None, nullable=True)
    retired_at: datetime | None = moment(None, nullable=True)


class Mailbox(Policy, Versioned, table=True):
    """A mailbox: attributes and `intent` are wanted, `state`, `placed_in` and `backend_id` are confirmed.

    Every change of what is wanted raises `generation`; it has come true when `confirmed_generation` is as high.
    `service_suspended` is the operator's wish beside the reseller's `intent`: either one alone stops login and sending.
    `drift` is what others changed at the backend and the data centre's policy lets stand.
    `archive` and `extra_storage_units` are its add-ons: read them as `add_ons`.
    A purged mailbox keeps its row for the record and outlives its domain.
    """

    __tablename__ = "mailbox"
    __table_args__ = (
        UniqueConstraint("reseller_id", "external_id"),
        CheckConstraint("quota_mib > 0", name="quota_positive"),
        Index("ix_mailbox_reseller_id_id", "reseller_id", "id"),
        Index("ix_mailbox_customer_id_id", "customer_id", "id"),
        Index("ix_mailbox_reseller_id_state_id", "reseller_id", "state", "id"),
        Index(
            "ix_mailbox_unconfirmed", "id", postgresql_where=text("confirmed_generation < generation and not failed")
        ),
        Index("ix_mailbox_observed_at", "observed_at", postgresql_where=text("state <> 'purged'")),
        Index("ix_mailbox_purge_at", "purge_at", postgresql_where=text("intent = 'deleted'")),
        Index("ix_mailbox_service_suspended", "reseller_id", postgresql_where=text("service_suspended")),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    customer_id: str = reference("customer.id")
    domain_id: str | None = reference("domain.id", nullable=True, index=True)
    external_id: str | None = None
    address: str = Field(sa_type=Id)
    display_name: str
    kind: MailboxKind = word(MailboxKind)
    service_class: ServiceClass = word(ServiceClass)
    protocols: list[str] = Field(sa_type=TextArray)
    quota_mib: int
    archive: bool = False
    extra_storage_units: int = 0
    location: str = Field(foreign_key="data_centre.code")
    intent: Intent = word(Intent, Intent.PRESENT)
    service_suspended: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    password_hash: str | None = Field(default=None, repr=False)
    password_version: int = 0
    generation: int = 1
    confirmed_generation: int = 0
    state: MailboxState = word(MailboxState, MailboxState.PROVISIONING)
    failed: bool = False
    reason: str | None = None
    attempts: int = 0
    backend_id: str | None = Field(default=None, sa_type=Id)
    placed_in: str | None = None
    drift: list[str] = Field(default_factory=list, sa_type=TextArray, sa_column_kwargs={"server_default": "{}"})
    observed_at: datetime | None = moment(None, nullable=True)
    created_at: datetime = moment()
    purge_at: datetime | None = moment(None, nullable=True)

    @property
    def add_ons(self) -> dict[AddOn, int]:
        """How many of each add-on are wanted; none that its class cannot have, and none of quantity 0."""
        wanted = {AddOn.ARCHIVE: int(self.archive), AddOn.EXTRA_STORAGE: self.extra_storage_units}
        return {name: quantity for name, quantity in wanted.items() if quantity and name in ADD_ONS[self.service_class]}


class MailboxAddress(Table, table=True):
    """Every address that is taken, lower case and A-label: the primary one of a mailbox and its aliases."""

    __tablename__ = "mailbox_address"

    address: str = Field(sa_type=Id, primary_key=True)
    reseller_id: str = reference("reseller.id")
    mailbox_id: str = reference("mailbox.id", index=True)
    domain_id: str = reference("domain.id", index=True)
    is_primary: bool = False


class Share(Versioned, table=True):
    """One grant on a mailbox to another of the same customer. `access` is None for the two rights to send."""

    __tablename__ = "share"
    __table_args__ = (
        UniqueConstraint("mailbox_id", "scope", "grantee_id"),
        Index("ix_share_grantee_id_mailbox_id", "grantee_id", "mailbox_id"),
        Index("ix_share_expires_at", "expires_at", postgresql_where=text("expires_at is not null")),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id", index=True)
    mailbox_id: str = reference("mailbox.id")
    grantee_id: str = reference("mailbox.id")
    scope: Scope = word(Scope)
    access: Access | None = word(Access, None, nullable=True)
    role: Role = word(Role)
    state: ShareState = word(ShareState, ShareState.PENDING)
    expires_at: datetime | None = moment(None, nullable=True)
    created_at: datetime = moment()


class PasswordLink(Table, table=True):
    """A link that lets the mailbox's user set the password, once. Only the hash of its token is kept."""

    __tablename__ = "password_link"

    id: str = key()
    reseller_id: str = reference("reseller.id", index=True)
    mailbox_id: str = reference("mailbox.id", index=True)
    token_hash: bytes = Field(unique=True)
    expires_at: datetime = moment()
    used_at: datetime | None = moment(None, nullable=True)


class Operation(Versioned, table=True):
    """A piece of long work. It has succeeded when its mailbox's `generation` has been confirmed.

    `steps` is a list of {"name", "state", "detail"}; `reason` says what it waits for or why it failed.
    """

    __tablename__ = "operation"
    __table_args__ = (
        Index("ix_operation_reseller_id_id", "reseller_id", "id"),
        Index("ix_operation_open", "mailbox_id", "generation", postgresql_where=text("state in ('queued', 'running')")),
        Index("ix_operation_mailbox_id_id", "mailbox_id", "id"),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    mailbox_id: str = reference("mailbox.id")
    action: str
    generation: int
    state: OperationState = word(OperationState, OperationState.QUEUED)
    steps: list[dict[str, Any]] = Field(default_factory=list, sa_type=Json)
    reason: str | None = None
    attempts: int = 0
    created_at: datetime = moment()
    finished_at: datetime | None = moment(None, nullable=True)
