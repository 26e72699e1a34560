"""`postfachwerk invoice` as an operator types it: processes of their own against a real database."""

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import anyio.to_thread
import psycopg
import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from api.commands import invoices
from billing import runs
from billing.periods import BillingMonth, berlin_day
from provisioning.core.database import Database
from provisioning.core.errors import AppError
from tests.api import command_line
from tests.billing.ledger_factory import ISSUER, add_customer, add_mailboxes, add_prices, add_reseller, read

pytestmark = pytest.mark.anyio

LOOKS_MAX = 600
LOOK_SECONDS = 0.1

WIDE = {"COLUMNS": "160", "NO_COLOR": "1"}

Invoice = Callable[..., Awaitable[str]]


def environment(url: str) -> dict[str, str]:
    seller = {name: value for name, value in asdict(ISSUER).items() if isinstance(value, str) and name != "series"}
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("POSTFACHWERK_")},
        "POSTFACHWERK_DATABASE_URL": url,
        "POSTFACHWERK_SECRET_KEY": "a secret for tests that is long enough",
        **{f"POSTFACHWERK_ISSUER_{name.upper()}": value for name, value in seller.items()},
    }


@pytest.fixture
def invoice(fresh_url: str) -> Invoice:
    """The command within this process: what it writes, or what it is refused with."""

    async def call(*words: str, expected: int = 0) -> str:
        def invoke() -> Result:
            return CliRunner().invoke(invoices.app, words, env={**environment(fresh_url), **WIDE})

        # In a thread, because the command brings an event loop of its own.
        result = await anyio.to_thread.run_sync(invoke)
        assert result.exit_code == expected, result.output
        if isinstance(result.exception, AppError):
            return str(result.exception)
        return result.stdout if expected in (0, 3) else result.stderr

    return call


@pytest.fixture
def process(fresh_url: str) -> Invoice:
    """The command in a process of its own: standard output, or standard error where it fails."""

    async def call(*words: str, expected: int = 0, without: str = "") -> str:
        given = {name: value for name, value in environment(fresh_url).items() if name != without}
        said = await command_line.run(given, "invoice", *words)
        assert said.code == expected, said.error
        return said.output if expected in (0, 3) else said.error

    return call


async def add_office(
    database: Database, *, starts_on: date = date(2025, 10, 17), customer: str = "Kanzlei Grün", **details: Any
) -> str:
    """A reseller with two mailboxes of one customer."""
    async with database.as_system() as session:
        if (await session.scalar(text("select count(*) from price_list"))) == 0:
            await add_prices(session, valid_from=date(2025, 1, 1))
        reseller_id = await add_reseller(session, **details)
        customer_id = await add_customer(session, reseller_id, customer)
        await add_mailboxes(session, reseller_id, customer_id, count=2, starts_on=starts_on)
    return reseller_id


async def numbers(database: Database) -> list[int]:
    return [sequence for (sequence,) in await read(database, "select sequence from invoice order by sequence")]


async def events(database: Database) -> list[tuple[Any, ...]]:
    return await read(database, "select actor, action from audit_event where chain = 'operator' order by sequence")


class Interrupted(Exception):
    """As if the process had died after the first phase."""


class TestRun:
    async def test_a_month_is_billed_to_the_end_and_once(self, fresh_database: Database, process: Invoice) -> None:
        for _ in range(3):
            await add_office(fresh_database)
        assert "2025-10: succeeded, 3 invoices, 0 parked." in await process("run", "--month", "2025-10")
        before = await read(fresh_database, "select * from invoice order by sequence")
        assert "3 invoices" in await process("run", "--month", "2025-10")
        assert await read(fresh_database, "select * from invoice order by sequence") == before
        assert await numbers(fresh_database) == [1, 2, 3]
        assert await events(fresh_database) == [("command line", "invoice_run.start")]

    async def test_a_dry_run_says_the_sums_and_writes_nothing(self, fresh_database: Database, invoice: Invoice) -> None:
        await add_office(fresh_database)
        said = await invoice("run", "--month", "2025-10", "--dry-run")
        # Two mailboxes for 15 of 31 days at 7.90 €: 30 × 790 / 31.
        assert "2025-10: 1 invoices, 0 parked, net €7.65, VAT €1.45, total €9.10." in said
        assert await read(fresh_database, "select count(*) from invoice_run") == [(0,)]
        assert await events(fresh_database) == []

    async def test_the_parked_are_named_with_what_mends_them_and_a_retry_bills_them(
        self, fresh_database: Database, invoice: Invoice, process: Invoice
    ) -> None:
        await add_office(fresh_database)
        parked = await add_office(fresh_database, city="")
        said = await process("run", "--month", "2025-10", expected=3)
        assert "1 invoices, 1 parked" in said
        assert parked in said
        assert "The reseller's address lacks: city." in said
        assert f"PATCH /v1/resellers/{parked}" in said
        assert "postfachwerk invoice retry --month 2025-10" in said

        assert parked in await invoice("retry", "--month", "2025-10", expected=3)
        async with fresh_database.as_system() as session:
            await session.execute(text("update reseller set city = 'Goslar' where id = :id"), {"id": parked})
        assert "2 invoices, 0 parked" in await invoice("retry", "--month", "2025-10")
        assert await numbers(fresh_database) == [1, 2]

    async def test_a_run_killed_while_it_gives_numbers_goes_on_where_it_stopped(
        self, fresh_database: Database, fresh_url: str, root: Path, process: Invoice
    ) -> None:
        for _ in range(3):
            await add_office(fresh_database)
        run_killed(fresh_url, root)
        assert await read(fresh_database, "select status, count(*) from invoice group by status") == [("draft", 3)]
        assert await read(fresh_database, "select state from invoice_run") == [("finalising",)]

        assert "2025-10: succeeded, 3 invoices, 0 parked." in await process("run", "--month", "2025-10")
        assert await numbers(fresh_database) == [1, 2, 3]
        assert await read(fresh_database, "select last_number from number_series") == [(3,)]
        assert await events(fresh_database) == [("command line", "invoice_run.start")]

    async def test_all_due_months_are_billed_in_order(self, fresh_database: Database, invoice: Invoice) -> None:
        last = BillingMonth.containing(berlin_day(datetime.now(UTC))).previous()
        await add_office(fresh_database, starts_on=last.previous().previous().starts_on)
        said = await invoice("run", "--due")
        months = [last.previous().previous(), last.previous(), last]
        assert [line.split(":")[0] for line in said.splitlines()] == [str(month) for month in months]
        billed = await read(fresh_database, "select sequence, period_starts_on from invoice order by sequence")
        assert billed == [(n, month.starts_on) for n, month in enumerate(months, start=1)]
        assert "Nothing is due" in await invoice("run", "--due")

    async def test_last_month_is_meant_when_none_is_given(self, fresh_database: Database, invoice: Invoice) -> None:
        last = BillingMonth.containing(berlin_day(datetime.now(UTC))).previous()
        await add_office(fresh_database, starts_on=last.starts_on)
        assert f"{last}: succeeded, 1 invoices" in await invoice("run")

    async def test_a_month_that_is_not_over_is_refused_in_one_line(self, process: Invoice) -> None:
        said = await process("run", "--month", "2100-01", expected=1)
        assert said.splitlines()[-1] == "2100-01 is not over; it can be billed from 2100-02-01 on."
        assert "Traceback" not in said


class TestRead:
    async def test_the_preview_says_what_the_invoice_says(self, fresh_database: Database, invoice: Invoice) -> None:
        reseller_id = await add_office(fresh_database, customer="[red]Bäckerei Süß[/]")
        preview = await invoice("preview", "--reseller", reseller_id, "--month", "2025-10")
        await invoice("run", "--month", "2025-10")
        [(number, net, gross)] = await read(fresh_database, "select number, net_cents, gross_cents from invoice")
        shown = await invoice("show", number)
        # Two mailboxes for 15 of 31 days at 7.90 €: 30 × 790 / 31.
        assert (net, gross) == (765, 910)
        for said in (preview, shown):
            assert "[red]Bäckerei Süß[/]" in said
            for amount in ("€7.90", "€7.65", "€9.10"):
                assert amount in said
        assert number in shown

    async def test_invoices_are_listed_and_written_as_a_page(self, fresh_database: Database, invoice: Invoice) -> None:
        await add_office(fresh_database, name="Müller & Söhne IT <GmbH>")
        await invoice("run", "--month", "2025-10")
        [(invoice_id, number, run_id)] = await read(fresh_database, "select id, number, run_id from invoice")
        for words in (("show",), ("show", "--run", run_id)):
            said = await invoice(*words)
            assert invoice_id in said
            assert number in said
            assert "Müller & Söhne IT <GmbH>" in said
        page = await invoice("show", invoice_id, "--html")
        assert page.startswith("<!doctype html>")
        assert f"Rechnung {number}" in page
        assert "Müller &amp; Söhne IT &lt;GmbH&gt;" in page

    async def test_the_page_of_a_draft_says_that_it_is_one(self, fresh_database: Database, invoice: Invoice) -> None:
        def stop_at_once(_at: runs.Progress) -> None:
            raise Interrupted

        await add_office(fresh_database, name="Müller & Söhne IT <GmbH>", language="en")
        now = datetime(2025, 11, 1, 6, tzinfo=UTC)
        async with fresh_database.as_system() as session:
            run = await runs.start_run(session, BillingMonth(2025, 10), actor="operator", now=now)
        with pytest.raises(Interrupted):
            await runs.continue_run(fresh_database, run.id, now=now, issuer=ISSUER, on_progress=stop_at_once)
        [(draft,)] = await read(fresh_database, "select id from invoice where status = 'draft'")
        page = await invoice("show", draft, "--html")
        assert "<h1>Invoice Draft</h1>" in page
        assert "Please pay nothing." in page
        assert "Müller &amp; Söhne IT &lt;GmbH&gt;" in page
        assert "€9.10" in page
        assert "PF-20" not in page

    async def test_what_is_not_there_is_said_with_the_way_on(self, invoice: Invoice) -> None:
        assert "`postfachwerk invoice show` lists the newest" in await invoice("show", "PF-2020-000001", expected=1)
        assert "There is no invoice inv_nowhere." in await invoice("show", "inv_nowhere", expected=1)
        assert "There is no invoice run run_nowhere." in await invoice("show", "--run", "run_nowhere", expected=1)
        assert "There is no reseller res_nowhere." in await invoice("preview", "--reseller", "res_nowhere", expected=1)
        assert "postfachwerk invoice run --month 2025-10" in await invoice("retry", "--month", "2025-10", expected=1)

    async def test_a_seller_that_is_not_configured_is_asked_for(self, process: Invoice) -> None:
        said = await process("run", expected=1, without="POSTFACHWERK_ISSUER_IBAN")
        assert said.strip() == "Invoices need a seller: set POSTFACHWERK_ISSUER_IBAN."


class TestUsage:
    @pytest.mark.parametrize(
        ("words", "hint"),
        [
            (["run", "--month", "October"], "YYYY-MM"),
            (["run", "--month", "2026-13"], "YYYY-MM"),
            (["run", "--month", "2026-10", "--due"], "--due"),
            (["retry", "--month", "10/2026"], "YYYY-MM"),
            (["preview"], "--reseller"),
            (["show", "--html"], "PF-2026-000001"),
            (["show", "PF-2026-000001", "--run", "run_1"], "--run"),
        ],
    )
    def test_a_wrong_call_names_what_would_be_right(self, words: list[str], hint: str) -> None:
        result = CliRunner().invoke(invoices.app, words, env=WIDE)
        assert result.exit_code == 2
        assert hint in result.output

    @pytest.mark.parametrize("command", ["preview", "run", "show", "retry"])
    def test_help_has_an_example(self, command: str) -> None:
        result = CliRunner().invoke(invoices.app, [command, "--help"], env=WIDE)
        assert result.exit_code == 0
        assert f"Example: postfachwerk invoice {command}" in result.output


def run_killed(url: str, root: Path) -> None:
    """Start the run and kill it with -9 while it waits to give its first number."""
    command = [sys.executable, "-m", "api.cli", "invoice", "run", "--month", "2025-10"]
    year = berlin_day(datetime.now(UTC)).year
    with psycopg.connect(url.replace("+psycopg", "")) as holder:
        # Numbers are given under this row's lock: whoever holds it stops the run right there.
        holder.execute("set role postfachwerk_system")
        holder.execute("insert into number_series (series, year, last_number) values ('PF', %s, 0)", (year,))
        holder.commit()
        holder.execute("select last_number from number_series for update")
        with subprocess.Popen(command, cwd=root, env=environment(url), stdout=DEVNULL, stderr=DEVNULL) as running:
            wait_until_blocked(running, holder)
            running.kill()
        assert running.returncode == -signal.SIGKILL
        holder.rollback()


def wait_until_blocked(process: subprocess.Popen[bytes], holder: psycopg.Connection[Any]) -> None:
    """Looks until somebody waits for a lock of `holder`, while the process lives; gives up after a minute."""
    waiting = "select count(*) from pg_locks where pg_backend_pid() = any(pg_blocking_pids(pid))"
    for _ in range(LOOKS_MAX):
        if holder.execute(waiting.encode()).fetchone() != (0,):
            return
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"the command ended by itself with {process.wait(timeout=LOOK_SECONDS)}")
    pytest.fail("gave up waiting for the command to give numbers")
