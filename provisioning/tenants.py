"""Who may do what: resellers, their customers, their API keys, and whether they are in good standing."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, delete, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, col

from provisioning.core.errors import Conflict, LimitExceeded, NotFound
from provisioning.core.ids import new_id
from provisioning.core.jobs import FOLLOW_STANDING, enqueue
from provisioning.core.queries import flush_unique, owned
from provisioning.core.tables import Id, Json, Table, TextArray, Versioned, key, moment, reference, word
from provisioning.terms import Standing


class Policy(Table):
    """Where data may lie; None leaves it to the tier above, and no tier can allow what one above forbids."""

    allowed_locations: list[str] | None = Field(default=None, sa_type=TextArray)
    allowed_countries: list[str] | None = Field(default=None, sa_type=TextArray)
    required_certificates: list[str] | None = Field(default=None, sa_type=TextArray)


class Reseller(Policy, Versioned, table=True):
    """A small IT firm. Its name and address stand on its invoices as buyer (EN 16931 BG-7).

    `buyer_reference` (BT-10) is the Leitweg-ID of an authority, or what the reseller wants to find its invoices by;
    `electronic_address` (BT-49) with its scheme (EM is e-mail) is where they go when not to `billing_email`.
    `standing` is what the operator says of it; `service_suspended_at` is set by billing while an invoice is unpaid in
    spite of all dunning. The two know nothing of each other, so that ending one leaves the other. Its billing periods
    begin on the `billing_anchor_day` of each month, or on the last day of a month too short for it; 1 is the calendar
    month.
    """

    __tablename__ = "reseller"
    __table_args__ = (
        CheckConstraint("billing_anchor_day between 1 and 31", name="anchor_is_a_day"),
        Index(
            "ix_reseller_service_suspended_at",
            "service_suspended_at",
            postgresql_where=text("service_suspended_at is not null"),
        ),
    )

    id: str = key()
    external_id: str | None = Field(default=None, unique=True)
    name: str
    street: str
    postcode: str
    city: str
    country: str = "DE"
    vat_id: str | None = None
    billing_email: str
    language: str = "de"
    contact_name: str | None = None
    buyer_reference: str | None = None
    electronic_address: str | None = None
    electronic_address_scheme: str | None = None
    standing: Standing = word(Standing, Standing.GOOD)
    standing_reason: str | None = None
    service_suspended_at: datetime | None = moment(None, nullable=True)
    service_suspended_reason: str | None = None
    mailboxes_max: int | None = None
    customers_max: int | None = None
    billing_anchor_day: int = 1
    created_at: datetime = moment()


class Customer(Policy, Versioned, table=True):
    """A reseller's client."""

    __tablename__ = "customer"
    __table_args__ = (
        UniqueConstraint("reseller_id", "external_id"),
        Index("ix_customer_reseller_id_id", "reseller_id", "id"),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    external_id: str | None = None
    name: str
    mailboxes_max: int | None = None
    created_at: datetime = moment()


class TenantUsage(Table, table=True):
    """How much of its limits a reseller or a customer uses; counted in the transaction that uses it."""

    __tablename__ = "tenant_usage"

    tenant_id: str = key()
    reseller_id: str = reference("reseller.id", index=True)
    mailboxes: int = 0
    customers: int = 0


class ApiKey(Versioned, table=True):
    """A key of a reseller, or of the operator when it has none. Only the hash of its secret is kept."""

    __tablename__ = "api_key"

    id: str = key()
    reseller_id: str | None = reference("reseller.id", nullable=True, index=True)
    name: str
    prefix: str
    secret_hash: bytes = Field(unique=True)
    scopes: list[str] = Field(sa_type=TextArray)
    created_at: datetime = moment()
    expires_at: datetime | None = moment(None, nullable=True)
    last_used_at: datetime | None = moment(None, nullable=True)
    revoked_at: datetime | None = moment(None, nullable=True)


class AuditEvent(Table, table=True):
    """What was done, by whom, to what. Immutable, and chained by hash within each reseller (or `operator`).

    The database fills `sequence`, `previous_hash` and `hash` by trigger.
    """

    __tablename__ = "audit_event"
    __table_args__ = (UniqueConstraint("chain", "sequence"),)

    id: str = key()
    chain: str = Field(sa_type=Id)
    sequence: int = 0
    reseller_id: str | None = reference("reseller.id", nullable=True)
    at: datetime = moment()
    actor: str
    action: str
    resource_id: str = Field(sa_type=Id, index=True)
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    previous_hash: bytes = b""
    hash: bytes = b""


class IdempotencyKey(Table, table=True):
    """One answered POST of a principal (a reseller's id, or `operator`), replayed for 24 hours."""

    __tablename__ = "idempotency_key"

    principal_id: str = Field(sa_type=Id, primary_key=True)
    idempotency_key: str = Field(primary_key=True)
    fingerprint: bytes
    status: int | None = None
    headers: dict[str, str] | None = Field(default=None, sa_type=Json)
    body: bytes | None = None
    created_at: datetime = moment(index=True)


async def create_reseller(session: AsyncSession, *, now: datetime, **details: Any) -> Reseller:
    """A new reseller in good standing. Raises Conflict when its external_id is taken."""
    reseller = Reseller(id=new_id("res"), created_at=now, **details)
    session.add(reseller)
    await flush_unique(session, "external_id")
    session.add(TenantUsage(tenant_id=reseller.id, reseller_id=reseller.id))
    await session.flush()  # after the row it refers to; what is used is shown in the answer
    return reseller


async def get_reseller(session: AsyncSession, reseller_id: str, *, lock: bool = False) -> Reseller:
    """Raises NotFound. `lock` holds the row until the transaction ends, and lets rows be added that refer to it."""
    query = select(Reseller).where(col(Reseller.id) == reseller_id)
    reseller = await session.scalar(query.with_for_update(key_share=True) if lock else query)
    if reseller is None:
        raise NotFound(f"There is no reseller {reseller_id}.")
    return reseller


async def list_resellers(session: AsyncSession, *, before: str | None, limit: int) -> Sequence[Reseller]:
    """Newest first; for the operator."""
    query = select(Reseller)
    if before is not None:
        query = query.where(col(Reseller.id) < before)
    return (await session.scalars(query.order_by(col(Reseller.id).desc()).limit(limit))).all()


def suspend(reseller: Reseller, *, reason: str) -> None:
    """A suspended reseller reads but orders and changes nothing; its mailboxes work on."""
    reseller.standing, reseller.standing_reason = Standing.SUSPENDED, reason


def resume(reseller: Reseller) -> None:
    reseller.standing, reseller.standing_reason = Standing.GOOD, None


async def suspend_service(session: AsyncSession, reseller: Reseller, *, reason: str, now: datetime) -> None:
    """Login and sending stop in all its mailboxes, mail keeps arriving, and it orders nothing; it can still pay.

    For a reseller that the caller holds. The mailboxes follow by a job; which of them the reseller has suspended
    itself stays known.
    """
    reseller.service_suspended_at, reseller.service_suspended_reason = now, reason
    await enqueue(session, FOLLOW_STANDING, [reseller.id])


async def resume_service(session: AsyncSession, reseller: Reseller) -> None:
    """The end of `suspend_service`, for exactly what that has suspended."""
    reseller.service_suspended_at = reseller.service_suspended_reason = None
    await enqueue(session, FOLLOW_STANDING, [reseller.id])


async def create_customer(session: AsyncSession, reseller_id: str, *, now: datetime, **details: Any) -> Customer:
    """A new customer. Raises LimitExceeded, or Conflict when the reseller uses its external_id already."""
    used = await count_usage(session, [reseller_id], customers=1)
    # Read under the counter's lock: a limit lowered a moment ago must count.
    reseller = await get_reseller(session, reseller_id)
    check_limit("reseller", "customers", reseller.customers_max, used=used[reseller_id].customers)
    customer = Customer(id=new_id("cus"), reseller_id=reseller_id, created_at=now, **details)
    session.add(customer)
    await flush_unique(session, "external_id")
    session.add(TenantUsage(tenant_id=customer.id, reseller_id=reseller_id))
    await session.flush()  # after the row it refers to; what is used is shown in the answer
    return customer


async def get_customer(session: AsyncSession, reseller_id: str, customer_id: str, *, lock: bool = False) -> Customer:
    """Raises NotFound for an unknown one and for another reseller's. `lock` is as in `get_reseller`."""
    query = owned(Customer, reseller_id).where(col(Customer.id) == customer_id)
    customer = await session.scalar(query.with_for_update(key_share=True) if lock else query)
    if customer is None:
        raise NotFound(f"There is no customer {customer_id}.")
    return customer


async def list_customers(
    session: AsyncSession,
    reseller_id: str,
    *,
    external_id: str | None,
    q: str | None,
    before: str | None,
    limit: int,
) -> Sequence[Customer]:
    """Newest first; `q` is looked for in the name."""
    query = owned(Customer, reseller_id)
    if external_id is not None:
        query = query.where(col(Customer.external_id) == external_id)
    if q is not None:
        query = query.where(col(Customer.name).icontains(q, autoescape=True))
    if before is not None:
        query = query.where(col(Customer.id) < before)
    return (await session.scalars(query.order_by(col(Customer.id).desc()).limit(limit))).all()


async def delete_customer(session: AsyncSession, reseller_id: str, customer_id: str) -> None:
    """Only a customer without domains that never had a mailbox can go; raises Conflict for others."""
    customer = await get_customer(session, reseller_id, customer_id, lock=True)
    try:
        async with session.begin_nested():
            await session.execute(
                delete(TenantUsage).where(
                    col(TenantUsage.reseller_id) == reseller_id, col(TenantUsage.tenant_id) == customer_id
                )
            )
            await session.delete(customer)
            await session.flush()  # the foreign keys of its domains and periods speak up here
    except IntegrityError as error:
        raise Conflict(
            "This customer has domains, or has had mailboxes, which invoices name. Remove its domains first; "
            "one that ever had a mailbox is kept.",
            code="customer_in_use",
        ) from error
    await count_usage(session, [reseller_id], customers=-1)


async def count_usage(
    session: AsyncSession, tenant_ids: Sequence[str], *, mailboxes: int = 0, customers: int = 0
) -> dict[str, TenantUsage]:
    """Add to what these tenants use, and return it by tenant; their rows stay locked until the transaction ends."""
    mine = col(TenantUsage.tenant_id).in_(tenant_ids)
    # In one order everywhere, so that an order and a deletion wait for one another instead of both being stuck.
    await session.execute(
        select(col(TenantUsage.tenant_id)).where(mine).order_by(col(TenantUsage.tenant_id)).with_for_update()
    )
    rows = await session.scalars(
        update(TenantUsage)
        .where(col(TenantUsage.tenant_id).in_(tenant_ids))
        .values(
            mailboxes=col(TenantUsage.mailboxes) + mailboxes,
            customers=col(TenantUsage.customers) + customers,
        )
        .returning(TenantUsage)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    return {row.tenant_id: row for row in rows}


def check_limit(tier: str, name: str, maximum: int | None, *, used: int, added: int = 1) -> None:
    """Raises LimitExceeded when `used`, with `added` counted in already, is more than the maximum."""
    if maximum is not None and used > maximum:
        raise LimitExceeded(tier=tier, name=name, maximum=maximum, used=used - added, wanted=added)


def check_new_limit(tier: str, name: str, maximum: int | None, *, used: int) -> None:
    """Raises Conflict `limit_below_use` when a limit would be set that is passed already."""
    if maximum is not None and used > maximum:
        raise Conflict(
            f"The {tier} uses {used} {name}, more than the new limit of {maximum}. Give up {name} first.",
            code="limit_below_use",
            limit={"tier": tier, "name": name, "max": maximum, "used": used},
        )


async def usage_of(
    session: AsyncSession, reseller_ids: Collection[str], tenant_ids: Collection[str]
) -> dict[str, TenantUsage]:
    """What several tenants of these resellers use of their limits, by tenant."""
    rows = await session.scalars(
        select(TenantUsage).where(
            col(TenantUsage.reseller_id).in_(reseller_ids), col(TenantUsage.tenant_id).in_(tenant_ids)
        )
    )
    return {row.tenant_id: row for row in rows}


async def get_usage(session: AsyncSession, reseller_id: str, tenant_id: str) -> TenantUsage:
    """What a reseller or one of its customers uses of its limits. Raises NotFound."""
    usage = await session.scalar(owned(TenantUsage, reseller_id).where(col(TenantUsage.tenant_id) == tenant_id))
    if usage is None:
        raise NotFound(f"There is no tenant {tenant_id}.")
    return usage
