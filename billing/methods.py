"""How resellers pay: transfers, cards and accounts kept at Stripe, and accounts with a mandate of our own."""

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.gateways.base import Gateway, Method
from billing.payment_models import (
    AT_STRIPE,
    MethodKind,
    Payment,
    PaymentCustomer,
    PaymentMethod,
    PaymentStatus,
)
from provisioning.core.database import Database
from provisioning.core.errors import Conflict, NotFound
from provisioning.core.ids import new_id
from provisioning.core.jobs import enqueue
from provisioning.core.queries import flush_unique, owned

DETACH = "detach_payment_method"


async def get_method(session: AsyncSession, reseller_id: str, method_id: str, *, lock: bool = False) -> PaymentMethod:
    """Return one, a disabled one too. Raises NotFound."""
    query = owned(PaymentMethod, reseller_id).where(col(PaymentMethod.id) == method_id)
    method = await session.scalar(query.with_for_update() if lock else query)
    if method is None:
        raise NotFound(f"There is no payment method {method_id}.")
    return method


async def list_methods(
    session: AsyncSession, reseller_id: str, *, limit: int = 50, before: str | None = None
) -> Sequence[PaymentMethod]:
    """Newest first, disabled ones too; `before` is the id of the last one of the page before."""
    query = owned(PaymentMethod, reseller_id).order_by(col(PaymentMethod.id).desc()).limit(limit)
    if before is not None:
        query = query.where(col(PaymentMethod.id) < before)
    return (await session.scalars(query)).all()


async def find_default(session: AsyncSession, reseller_id: str) -> PaymentMethod | None:
    """The method that invoices are collected with; None is a transfer."""
    return await session.scalar(owned(PaymentMethod, reseller_id).where(col(PaymentMethod.is_default)))


async def find_customer_id(session: AsyncSession, reseller_id: str) -> str | None:
    """The reseller's customer id at the provider, if it has one."""
    return await session.scalar(
        select(col(PaymentCustomer.provider_id)).where(col(PaymentCustomer.reseller_id) == reseller_id)
    )


async def keep_customer(session: AsyncSession, reseller_id: str, customer_id: str, *, now: datetime) -> None:
    """Note as whom the provider knows a reseller; the first one stays."""
    customer = PaymentCustomer(reseller_id=reseller_id, provider_id=customer_id, created_at=now)
    await session.execute(
        insert(PaymentCustomer).values(customer.model_dump()).on_conflict_do_nothing(index_elements=["reseller_id"])
    )


async def find_reseller_of(session: AsyncSession, customer_id: str) -> str | None:
    """Whose customer id at the provider this is."""
    return await session.scalar(
        select(col(PaymentCustomer.reseller_id)).where(col(PaymentCustomer.provider_id) == customer_id)
    )


async def add_transfer(session: AsyncSession, reseller_id: str, *, now: datetime) -> PaymentMethod:
    """The reseller pays by transfer from now on; once asked for, there is one such method."""
    held = await session.scalar(
        owned(PaymentMethod, reseller_id).where(
            col(PaymentMethod.kind) == MethodKind.TRANSFER, col(PaymentMethod.disabled_at).is_(None)
        )
    )
    method = held or PaymentMethod(id=new_id("pmt"), reseller_id=reseller_id, kind=MethodKind.TRANSFER, created_at=now)
    session.add(method)
    await session.flush()
    return await make_default(session, method, now=now)


async def add_direct_debit(
    session: AsyncSession,
    reseller_id: str,
    *,
    iban: str,
    bic: str | None,
    holder: str,
    mandate_reference: str,
    signed_on: date,
    now: datetime,
) -> PaymentMethod:
    """An account with a SEPA Core mandate of our own. Raises Conflict `mandate_reference_taken`."""
    method = PaymentMethod(
        id=new_id("pmt"),
        reseller_id=reseller_id,
        kind=MethodKind.DIRECT_DEBIT,
        iban=iban,
        bic=bic,
        holder=holder,
        last4=iban[-4:],
        mandate_reference=mandate_reference,
        mandate_signed_on=signed_on,
        mandate_status="active",
        created_at=now,
    )
    session.add(method)
    await flush_unique(session, "mandate_reference")
    return await make_default(session, method, now=now)


async def keep_method(session: AsyncSession, reseller_id: str, found: Method, *, now: datetime) -> PaymentMethod | None:
    """Store what was set up at the provider and collect with it from now on; None for a kind we do not take."""
    if found.kind not in AT_STRIPE:
        return None
    method = await session.scalar(owned(PaymentMethod, reseller_id).where(col(PaymentMethod.provider_id) == found.id))
    is_new = method is None
    if method is None:
        method = PaymentMethod(
            id=new_id("pmt"),
            reseller_id=reseller_id,
            kind=MethodKind(found.kind),
            provider_id=found.id,
            created_at=now,
        )
        session.add(method)
    method.last4 = found.last4
    if found.mandate_id is not None:
        method.mandate_id, method.mandate_reference = found.mandate_id, found.mandate_reference
        method.mandate_url, method.mandate_status = found.mandate_url, found.mandate_status
    await session.flush()
    return await make_default(session, method, now=now) if is_new else method


async def make_default(session: AsyncSession, method: PaymentMethod, *, now: datetime) -> PaymentMethod:
    """Collect with this method from now on, also what failed with another. Raises Conflict `method_disabled`."""
    if method.disabled_at is not None:
        raise Conflict("This payment method cannot be used any more. Set up another.", code="method_disabled")
    if not method.is_default:
        await _unset_default(session, method.reseller_id)
        method.is_default = True
        await session.flush()
    if method.kind in AT_STRIPE:
        await session.execute(
            update(Payment)
            .where(
                col(Payment.reseller_id) == method.reseller_id,
                col(Payment.status) == PaymentStatus.FAILED,
            )
            .values(next_attempt_at=now, status=PaymentStatus.OPEN)
            .execution_options(synchronize_session=False)
        )
    return method


async def disable_method(
    session: AsyncSession, reseller_id: str, method_id: str, *, reason: str, now: datetime
) -> PaymentMethod:
    """Never use it again; `reason` is a word such as detached, mandate_inactive or disputed."""
    method = await get_method(session, reseller_id, method_id, lock=True)
    if method.disabled_at is None:
        method.disabled_at, method.disabled_reason, method.is_default = now, reason, False
        await session.flush()
    return method


async def request_detach(session: AsyncSession, reseller_id: str, method_id: str, *, now: datetime) -> PaymentMethod:
    """Disable a method and have a worker tell the provider to forget it."""
    method = await disable_method(session, reseller_id, method_id, reason="detached", now=now)
    if method.provider_id is not None:
        await enqueue(session, DETACH, [method.id])
    return method


async def detach(database: Database, gateway: Gateway, method_id: str) -> None:
    """Have the provider forget a method that is disabled here. Raises TryAgain."""
    async with database.as_system() as session:
        query = select(col(PaymentMethod.provider_id)).where(
            col(PaymentMethod.id) == method_id, col(PaymentMethod.disabled_at).is_not(None)
        )
        provider_id = await session.scalar(query)
    if provider_id is not None:
        await gateway.detach_method(provider_id)


async def _unset_default(session: AsyncSession, reseller_id: str) -> None:
    for method in await session.scalars(
        owned(PaymentMethod, reseller_id).where(col(PaymentMethod.is_default)).with_for_update()
    ):
        method.is_default = False
    await session.flush()
