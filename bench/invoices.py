"""An invoice run of many resellers, beside one INSERT ... SELECT ... GROUP BY that only counts the same days.

The floor writes the same lines under the same constraints (primary key, foreign key, NOT NULL, row-level
security) and neither prices, rounds, taxes, checks nor numbers anything. Validating and documents are measured by
`documents`, in documents a second: here every draft counts as validated.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import Issuer, RunState
from billing.periods import BillingMonth
from billing.runs import advance_run, start_run
from billing.snapshots import seller_json, validated_hash_sql
from provisioning.core.database import Database

FIRST_MONTH = BillingMonth(2026, 1)
MAILBOXES_PER_CUSTOMER = 10
ISSUER = Issuer(
    name="Messstand GmbH",
    street="Gerberau 12",
    postcode="79098",
    city="Freiburg im Breisgau",
    country="DE",
    vat_id="DE136695976",
    tax_number="06123/45678",
    email="rechnung@messstand.example",
    iban="DE02120300000000202051",
    bic="BYLADEM1001",
    contact_name="Rechnungsstelle",
    phone="+49 531 1234560",
)

# Resellers of very different size; a mailbox has one of three classes, unevenly.
_WORLD = (
    """
    insert into reseller (version, id, name, street, postcode, city, country, billing_email, language,
        standing, created_at)
    select 1, 'res_' || lpad(n::text, 8, '0'), 'Systemhaus ' || n, 'Hauptstraße ' || n, '79098', 'Freiburg',
        'DE', 'rechnung@r' || n || '.example', 'de', 'good', now()
    from generate_series(0, :resellers - 1) as n
    """,
    """
    insert into customer (version, id, reseller_id, name, created_at)
    select 1, 'cus_' || lpad(n::text, 8, '0'),
        'res_' || lpad(floor(:resellers * pow(n::float / :customers, 2))::text, 8, '0'),
        'Kundin ' || n, now()
    from generate_series(0, :customers - 1) as n
    """,
    """
    insert into price_list (id, name, currency, valid_from, created_at)
    values ('pl_all', 'Für alle', 'EUR', '2025-01-01', now())
    """,
    """
    insert into price (price_list_id, service_class, min_quantity, price_cents)
    values ('pl_all', 'pop3', 0, 100), ('pl_all', 'imap', 1, 290), ('pl_all', 'imap', 50, 250),
        ('pl_all', 'exchange', 1, 790), ('pl_all', 'exchange', 25, 690), ('pl_all', 'exchange', 250, 590)
    """,
)

# Every tenth mailbox changes its class in the middle of every month: 1.1 periods for each mailbox and month.
_PERIODS = """
    insert into service_period (id, reseller_id, customer_id, mailbox_id, address, service_class, location,
        starts_on, ends_on, start_reason, end_reason)
    select 'per_' || lpad(n::text, 8, '0') || '_' || change, customer.reseller_id, customer.id,
        'mbx_' || lpad(n::text, 8, '0'), 'm' || n || '@bench.example',
        (array['pop3', 'imap', 'imap', 'exchange', 'exchange', 'exchange'])[1 + (n * 7 + change * 3) % 6],
        'de-fra-1',
        case when change = 0 then date '2025-06-01' else (days.middles)[change] end,
        case when n % 10 = 0 then (days.middles)[change + 1] end,
        'ordered', case when n % 10 = 0 and change < :months then 'class_changed' end
    from (select cast(:middles as date[]) as middles) days, generate_series(0, :mailboxes - 1) as n
    join customer on customer.id = 'cus_' || lpad((n % :customers)::text, 8, '0')
    cross join lateral generate_series(0, case when n % 10 = 0 then :months else 0 end) as change
"""

_OVERLAP = "select pg_get_constraintdef(oid) from pg_constraint where conname = 'ex_service_period_overlap'"

_FLOOR_TABLES = """
    create table floor_invoice (like invoice including all);
    create table floor_line (like invoice_line including all,
        foreign key (invoice_id) references floor_invoice (id) on delete cascade);
    alter table floor_line enable row level security;
    alter table floor_line force row level security;
    create policy system on floor_line to postfachwerk_system using (true);
    grant all on floor_invoice, floor_line to postfachwerk_system;
"""

_FLOOR_INVOICES = """
    insert into floor_invoice (id, reseller_id, run_id, status, period_starts_on, period_ends_on, currency,
        net_cents, tax_cents, gross_cents, tax_category, rate_basis_points, created_at)
    select 'inv_' || id || :starts_on, id, '', 'draft', :starts_on, :ends_on, 'EUR', 0, 0, 0, 'S', 1900, now()
    from reseller
"""

_FLOOR = """
    insert into floor_line (invoice_id, position, reseller_id, customer_id, customer_name, service_class,
        price_cents, mailbox_days, base_days, net_cents)
    select floor_invoice.id, row_number() over (), period.reseller_id, customer_id, '', service_class, 0,
        sum(least(ends_on, :ends_on) - greatest(starts_on, :starts_on)), 0, 0
    from service_period period
    join floor_invoice on floor_invoice.reseller_id = period.reseller_id and period_starts_on = :starts_on
    where starts_on < :ends_on and (ends_on is null or ends_on > :starts_on)
    group by floor_invoice.id, period.reseller_id, customer_id, service_class
"""

_PIN_ALL = f"""
    update invoice_run_item item set validated_hash = {validated_hash_sql()}
    from invoice join reseller on reseller.id = invoice.reseller_id
    where item.run_id = :run_id and invoice.run_id = :run_id and invoice.reseller_id = item.reseller_id
        and invoice.status = 'draft'
"""  # noqa: S608 - made of constants only


@dataclass(frozen=True)
class Cost:
    """Wall clock, and CPU of this process and of all of PostgreSQL's; the latter only where it runs here."""

    seconds: float
    cpu_seconds: float | None


class Meter:
    """Measures from its making on; `postmaster` is the server's main process, None when it is elsewhere."""

    def __init__(self, postmaster: int | None) -> None:
        self._postmaster = postmaster
        self._started, self._cpu = perf_counter(), self._cpu_seconds()

    def read(self) -> Cost:
        seconds, cpu = perf_counter() - self._started, self._cpu_seconds()
        return Cost(seconds, None if cpu is None or self._cpu is None else cpu - self._cpu)

    def _cpu_seconds(self) -> float | None:
        if self._postmaster is None:
            return None
        ticks = sum(_ticks(self._postmaster, with_reaped=True))
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and _parent(int(entry.name)) == self._postmaster:
                ticks += sum(_ticks(int(entry.name), with_reaped=False))
        return process_time() + ticks / os.sysconf("SC_CLK_TCK")


async def run(
    database_url: str, *, resellers: int = 1_000, mailboxes: int = 100_000, rounds: int = 3
) -> dict[str, Any]:
    """Fill the database and measure; it must be migrated and empty, and is left full.

    Floor and run take turns, one month each a round; figures are medians: seconds, CPU seconds, and the run as
    a multiple of its floor. `memory_mib` is the most that this process held while it ran, None where it cannot tell.
    """
    database = Database(database_url, pool_size=2)
    try:
        months = [FIRST_MONTH]
        while len(months) < rounds:
            months.append(months[-1].next())
        await _fill(database, months, resellers=resellers, mailboxes=mailboxes)
        postmaster = await _postmaster(database)
        floors, runs, phases = [], [], []
        _forget_peak()
        for month in months:
            floors.append(await _measure_floor(database, month, postmaster))
            cost, of_phases = await _measure_run(database, month, postmaster)
            runs.append(cost)
            phases.append(of_phases)
        return await _report(database, floors, runs, phases, mailboxes=mailboxes)
    finally:
        await database.close()


async def _fill(database: Database, months: Sequence[BillingMonth], *, resellers: int, mailboxes: int) -> None:
    counts = {
        "resellers": resellers,
        "customers": max(resellers, mailboxes // MAILBOXES_PER_CUSTOMER),
        "mailboxes": mailboxes,
        "months": len(months),
        "middles": [date(month.year, month.month, 16) for month in months],
    }
    async with database.as_system() as session:
        for statement in _WORLD:
            await session.execute(text(statement), counts)
    async with database.transaction() as session:
        # Periods are right by construction, and looking for overlaps one by one would take an hour for five million.
        await session.execute(text("set local session_replication_role = replica"))
        overlap = await session.scalar(text(_OVERLAP))
        await session.execute(text("alter table service_period drop constraint ex_service_period_overlap"))
        await session.execute(text(_PERIODS), counts)
        await session.execute(text(f"alter table service_period add constraint ex_service_period_overlap {overlap}"))
    async with database.transaction() as session:
        for statement in _FLOOR_TABLES.split(";"):
            if statement.strip():
                await session.execute(text(statement))
    async with database.as_system() as session:
        for month in months:
            await session.execute(text(_FLOOR_INVOICES), {"starts_on": month.starts_on, "ends_on": month.ends_on})
    async with database.engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(
            text("vacuum (analyze) reseller, customer, service_period, price, price_list, floor_invoice")
        )


async def _measure_floor(database: Database, month: BillingMonth, postmaster: int | None) -> Cost:
    meter = Meter(postmaster)
    async with database.as_system() as session:
        await session.execute(text(_FLOOR), {"starts_on": month.starts_on, "ends_on": month.ends_on})
    return meter.read()


async def _measure_run(
    database: Database, month: BillingMonth, postmaster: int | None
) -> tuple[Cost, dict[str, float]]:
    now = datetime(month.ends_on.year, month.ends_on.month, 1, 6, tzinfo=UTC)
    async with database.as_system() as session:
        run_id = (await start_run(session, month, actor="bench", now=now)).id
    phases: dict[str, float] = {}
    costs = []
    state = RunState.RATING
    while state is not RunState.DOCUMENTS:
        if state is RunState.VALIDATING:
            async with database.as_system() as session:
                await session.execute(text(_PIN_ALL), {"run_id": run_id, "seller": seller_json(ISSUER)})
        meter = Meter(postmaster)
        begun, state = state, (await advance_run(database, run_id, now=now, issuer=ISSUER)).state
        costs.append(meter.read())
        phases[begun.value] = phases.get(begun.value, 0.0) + costs[-1].seconds
    cpu = [each.cpu_seconds for each in costs if each.cpu_seconds is not None]
    return Cost(sum(each.seconds for each in costs), sum(cpu) if len(cpu) == len(costs) else None), phases


async def _report(
    database: Database,
    floors: Sequence[Cost],
    runs: Sequence[Cost],
    phases: Sequence[dict[str, float]],
    *,
    mailboxes: int,
) -> dict[str, Any]:
    async with database.as_system() as session:
        days, floor_days = await _days(session, "invoice_line"), await _days(session, "floor_line")
        assert days == floor_days, "the floor must count what the run bills"
        lines = await session.scalar(text("select count(*) from invoice_line")) or 0
        invoices = await session.scalar(text("select count(*) from invoice where status = 'final'")) or 0
    run_seconds, floor_seconds = _median(runs), _median(floors)
    run_cpu, floor_cpu = _median_cpu(runs), _median_cpu(floors)
    return {
        "mailboxes": mailboxes,
        "invoices": invoices // len(runs),
        "lines": lines // len(runs),
        "run_seconds": run_seconds,
        "run_cpu_seconds": run_cpu,
        "phase_seconds": {name: median(each[name] for each in phases) for name in phases[0]},
        "floor_seconds": floor_seconds,
        "floor_cpu_seconds": floor_cpu,
        "times_floor": run_seconds / floor_seconds,
        "times_floor_cpu": None if run_cpu is None or not floor_cpu else run_cpu / floor_cpu,
        "mailboxes_per_second": mailboxes / run_seconds,
        "memory_mib": _peak_mib(),
    }


async def _days(session: AsyncSession, table: str) -> int:
    return await session.scalar(text(f"select sum(mailbox_days) from {table}")) or 0  # noqa: S608 - one of two constants


def _forget_peak() -> None:
    """Let Linux measure anew the most memory that this process holds; elsewhere it counts from the process's start."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_mib() -> float | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _median(costs: Sequence[Cost]) -> float:
    return median(cost.seconds for cost in costs)


def _median_cpu(costs: Sequence[Cost]) -> float | None:
    known = [cost.cpu_seconds for cost in costs if cost.cpu_seconds is not None]
    return median(known) if len(known) == len(costs) else None


async def _postmaster(database: Database) -> int | None:
    """The parent of this connection's server process, if that is a process of this machine."""
    async with database.transaction() as session:
        backend: int = (await session.execute(text("select pg_backend_pid()"))).scalar_one()
    return _parent(backend) if _name(backend) == "postgres" else None


def _name(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _stat(pid: int) -> list[str] | None:
    try:
        # The name in parentheses may contain anything, also blanks.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return None if fields is None else int(fields[1])


def _ticks(pid: int, *, with_reaped: bool) -> list[int]:
    """User and system time; with those of the children that have ended, as parallel workers do."""
    fields = _stat(pid)
    return [] if fields is None else [int(each) for each in fields[11 : 15 if with_reaped else 13]]
