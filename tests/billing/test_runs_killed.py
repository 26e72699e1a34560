"""A run whose process is killed before every statement and every commit ends as one that never was."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from sqlalchemy import text

from billing import runs
from billing.discounts import create_coupon, grant_credit, grant_discount
from billing.terms import CouponDuration
from provisioning.core.database import Database
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    ISSUER,
    NOVEMBER,
    add_billable_resellers,
    add_customer,
    add_mailboxes,
    add_reseller,
    read,
)
from tests.conftest import Server

# All that must not depend on how often the run was killed: ids of drafts are new with every attempt.
OUTCOME = (
    "select * from service_period order by id",
    "select state, resellers, parked, finalised, documents, alarms, finished_at from invoice_run",
    "select reseller_id, state, code, reason, report, alarm from invoice_run_item order by reseller_id",
    """
    select reseller_id, number, series, year, sequence, issued_on, due_on, net_cents, tax_cents, gross_cents,
        buyer, seller
    from invoice order by sequence
    """,
    """
    select number, position, customer_id, service_class, price_cents, mailbox_days, line.net_cents
    from invoice_line line join invoice on invoice.id = invoice_id order by number, position
    """,
    """
    select number, position, kind, reason, base_cents, amount_cents
    from invoice_allowance allowance join invoice on invoice.id = invoice_id order by number, position
    """,
    "select reseller_id, amount_cents, reason, actor, created_at from credit order by 1, 2",
    "select * from number_series",
    """
    select number, kind, sha256, stored.created_at, retain_until
    from invoice_document stored join invoice on invoice.id = invoice_id order by number, kind
    """,
)


@pytest.fixture
def twin_name(server: Server) -> Iterator[str]:
    name = f"twin_{uuid4().hex[:8]}"
    yield name
    server.drop(name)


async def outcome(database: Database) -> list[list[tuple[Any, ...]]]:
    return [await read(database, sql) for sql in OUTCOME]


@pytest.mark.slow
async def test_a_run_killed_at_every_step_equals_one_left_alone(
    server: Server, fresh_url: str, twin_name: str, root: Path
) -> None:
    killed = Database(fresh_url)
    await add_billable_resellers(killed, 3)
    async with killed.as_system() as session:
        parked = await add_reseller(session, city="")
        await add_mailboxes(session, parked, await add_customer(session, parked))
        resellers = (await session.scalars(text("select id from reseller order by id"))).all()
        coupon = await create_coupon(
            session, name="Treue", duration=CouponDuration.FOREVER, percent_basis_points=1500, now=IN_DECEMBER
        )
        for reseller_id in resellers:
            await grant_discount(session, reseller_id, coupon_id=coupon.id, first=NOVEMBER, now=IN_DECEMBER)
            await grant_credit(
                session, reseller_id, amount_cents=300, reason="Ausfall", actor="operator", now=IN_DECEMBER
            )
        invalid = await add_reseller(session, electronic_address="x", electronic_address_scheme="NONE")
        await add_mailboxes(session, invalid, await add_customer(session, invalid))
    async with killed.as_system() as session:
        run = await runs.start_run(session, NOVEMBER, actor="operator", now=IN_DECEMBER)
    await killed.close()

    alone = Database(server.create(twin_name, template=killed.url.database or ""))
    await runs.continue_run(alone, run.id, now=IN_DECEMBER, issuer=ISSUER)
    command = [sys.executable, "-m", "tests.billing.run_process", "killed", fresh_url, run.id]
    result = await anyio.run_process(command, cwd=root)
    assert int(result.stdout) > 80

    assert await outcome(killed) == await outcome(alone)
    assert await read(killed, "select sequence from invoice order by 1") == [(1,), (2,), (3,)]
    # Each invoice has its own PDF and two of XML; the report is the same for all.
    assert await read(killed, "select count(*), count(distinct sha256) from invoice_document") == [(12, 10)]
    why = "select code from invoice_run_item where state = 'parked' order by code"
    assert await read(killed, why) == [("address_incomplete",), ("document_invalid",)]
    await killed.close()
    await alone.close()
