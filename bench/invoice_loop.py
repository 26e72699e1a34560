"""The run as it is often written: objects, one reseller after the other, one mailbox after the other.

For contrast only. It prices, rounds and sums as the run does, with the same tables and constraints, and leaves out tax
regimes, numbers, checks and resuming.
"""

from collections import Counter
from time import perf_counter

from sqlalchemy import select
from sqlmodel import col

from billing.models import Invoice, InvoiceLine, InvoiceRun, InvoiceStatus, RunState
from billing.money import round_half_up, tax_cents
from billing.periods import BillingMonth, mailbox_days
from billing.prices import price_table
from billing.rating import tier_for
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from provisioning.ledger import ServicePeriod
from provisioning.tenants import Customer, Reseller


async def measure(database: Database, month: BillingMonth) -> float:
    """Seconds to draft the month of every reseller, one transaction each, in a database that `invoices.run` filled."""
    started = perf_counter()
    async with database.as_system() as session:
        now = (await session.scalars(select(Reseller).limit(1))).one().created_at
        run = InvoiceRun(
            id=new_id("run"),
            closes_on=month.ends_on,
            month=month.starts_on,
            state=RunState.CANCELLED,
            actor="bench",
            started_at=now,
        )
        session.add(run)
        await session.flush()
        resellers = (await session.scalars(select(col(Reseller.id)))).all()
    for reseller_id in resellers:
        await _draft(database, reseller_id, run, month)
    return perf_counter() - started


async def _draft(database: Database, reseller_id: str, run: InvoiceRun, month: BillingMonth) -> None:
    async with database.as_system() as session:
        periods = (
            await session.scalars(
                select(ServicePeriod).where(
                    col(ServicePeriod.reseller_id) == reseller_id, col(ServicePeriod.starts_on) < month.ends_on
                )
            )
        ).all()
        days: Counter[tuple[str, str]] = Counter()
        alive: Counter[str] = Counter()
        for period in periods:
            days[period.customer_id, period.service_class] += mailbox_days(period.starts_on, period.ends_on, month)
            alive[period.service_class] += period.ends_on is None or period.ends_on >= month.ends_on
        prices = await price_table(session, reseller_id, month.starts_on)
        invoice_id = new_id("inv")
        lines = []
        for position, ((customer_id, service_class), quantity) in enumerate(sorted((+days).items()), start=1):
            customer = await session.get_one(Customer, customer_id)
            price_cents = tier_for(prices[service_class], alive[service_class]).price_cents
            lines.append(
                InvoiceLine(
                    invoice_id=invoice_id,
                    position=position,
                    reseller_id=reseller_id,
                    customer_id=customer_id,
                    customer_name=customer.name,
                    service_class=service_class,
                    price_cents=price_cents,
                    mailbox_days=quantity,
                    base_days=month.days,
                    net_cents=round_half_up(quantity * price_cents, month.days),
                )
            )
        net_cents = sum(line.net_cents for line in lines)
        tax = tax_cents(net_cents, 1900)
        session.add(
            Invoice(
                id=invoice_id,
                reseller_id=reseller_id,
                run_id=run.id,
                status=InvoiceStatus.DRAFT,
                period_starts_on=month.starts_on,
                period_ends_on=month.ends_on,
                net_cents=net_cents,
                tax_cents=tax,
                gross_cents=net_cents + tax,
                tax_category="S",
                rate_basis_points=1900,
                created_at=run.started_at,
            )
        )
        await session.flush()
        session.add_all(lines)
        await session.flush()
