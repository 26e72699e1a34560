"""Buyers of all kinds with one mailbox each, and the two things the worker does for their VAT ids."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import text

from billing.gateways.vies import Vies
from billing.models import VatCheck
from billing.periods import BillingMonth
from billing.vat_checks import check_vat_id
from billing.vat_sql import treatment_parameters, treatments_sql
from billing.vat_sweeps import retry_changed, sweep_checks
from provisioning.core.database import Database
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    NOVEMBER,
    add_customer,
    add_mailboxes,
    add_prices,
    add_reseller,
    read,
)
from tests.fake_vies import REQUESTER, FakeVies

_TAKE_JOBS = text(
    "delete from procrastinate_jobs where task_name = 'check_vat_id' and status = 'todo' returning args ->> 'key'"
)
VAT_ID = "ATU12345675"
AUSTRIAN: dict[str, Any] = {
    "name": "Alpen IT GmbH",
    "street": "Getreidegasse 1",
    "postcode": "5020",
    "city": "Salzburg",
    "country": "AT",
    "vat_id": VAT_ID,
}


async def add_buyer(database: Database, *, priced: bool = True, **details: Any) -> str:
    """A reseller with one Exchange mailbox through all of November 2026 and after; `priced` adds the price list."""
    async with database.as_system() as session:
        if priced:
            await add_prices(session)
        reseller_id = await add_reseller(session, **details)
        customer_id = await add_customer(session, reseller_id)
        await add_mailboxes(session, reseller_id, customer_id, starts_on=date(2026, 11, 1))
    return reseller_id


async def ask(
    database: Database,
    fake: FakeVies,
    reseller_id: str,
    *,
    now: datetime = IN_DECEMBER,
    valid_days: int = 90,
    timeout_seconds: float = 5,
) -> VatCheck | None:
    """As the worker's job does."""
    vies = Vies(fake.url, requester=REQUESTER, timeout_seconds=timeout_seconds)
    try:
        return await check_vat_id(database, vies, reseller_id, now=now, valid_days=valid_days)
    finally:
        await vies.close()


async def sweep(database: Database, *, now: datetime) -> tuple[list[str], list[str]]:
    """As the worker's schedule does: the resellers that are to be asked for, and the runs that begin again."""
    async with database.as_system() as session:
        retried = await retry_changed(session, now=now)
        wanted = await sweep_checks(session, now=now)
    async with database.transaction() as session:  # the jobs are the login role's
        waiting = (await session.scalars(_TAKE_JOBS)).all()
    assert len(waiting) == wanted
    return sorted(waiting), retried


async def treated(
    database: Database, *, now: datetime, month: BillingMonth = NOVEMBER
) -> dict[str, tuple[object, ...]]:
    """Category, rate, and code and reason of what stands against an invoice, by reseller."""
    async with database.as_system() as session:
        parameters = await treatment_parameters(session, month, now=now)
        rows = await session.execute(text(treatments_sql("true")), parameters)
        return {row.reseller_id: (row.tax_category, row.rate_basis_points, row.code, row.reason) for row in rows}


async def invoices(database: Database) -> list[tuple[Any, ...]]:
    """Category, rate, net, tax and gross of the final ones, and whether they name evidence, by number."""
    return await read(
        database,
        "select tax_category, rate_basis_points, net_cents, tax_cents, gross_cents, vat_check_id is not null "
        "from invoice where status = 'final' order by sequence",
    )
