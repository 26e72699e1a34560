"""`postfachwerk invoice numbers` as an operator types it, and the same over HTTP."""

import csv
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from billing import corrections
from provisioning.core.database import Database
from tests.api.command_line import run
from tests.api.test_cli_invoices import WIDE, environment
from tests.billing.ledger_factory import IN_DECEMBER, ISSUER, add_billable_resellers, bill, read

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(fresh_database: Database) -> Database:
    """Three invoices: one stands, one is cancelled, one credited in part."""
    await add_billable_resellers(fresh_database, 3)
    await bill(fresh_database)
    (_, second, third) = (row[0] for row in await read(fresh_database, "select id from invoice order by sequence"))
    given: dict[str, Any] = {"actor": "operator", "issuer": ISSUER, "now": IN_DECEMBER}
    async with fresh_database.as_system() as session:
        await corrections.cancel_invoice(session, second, reason="=Falscher Empfänger", reissue=False, **given)
        await corrections.credit_invoice(session, third, amounts={1: 100}, reason="Ausfall", **given)
    return fresh_database


async def numbers(url: str, *words: str, expected: int = 0) -> str:
    said = await run({**environment(url), **WIDE}, "invoice", "numbers", *words)
    assert said.code == expected, said.all
    return said.output


@pytest.mark.usefixtures("database")
async def test_every_number_of_invoices_and_corrections_is_shown_with_what_became_of_it(fresh_url: str) -> None:
    said = await numbers(fresh_url, "--year", "2026")
    for number in ("PF-2026-000001", "PF-2026-000002", "PF-2026-000003", "PFK-2026-000001", "PFK-2026-000002"):
        assert number in said
    for became in ("issued", "cancelled", "credited", "cancellation", "credit_note", "Ausfall"):
        assert became in said
    assert "PF 2026: 3 numbers, no gaps." in said
    assert "PFK 2026: 2 numbers, no gaps." in said


@pytest.mark.usefixtures("database")
async def test_they_are_written_as_a_file_that_calculates_nothing(fresh_url: str, tmp_path: Path) -> None:
    path = tmp_path / "numbers.csv"
    await numbers(fresh_url, "--year", "2026", "--output", str(path))
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["number"] for row in rows][3:] == ["PFK-2026-000001", "PFK-2026-000002"]
    assert (rows[1]["became"], rows[1]["related"], rows[1]["reason"]) == (
        "cancelled",
        "PFK-2026-000001",
        "'=Falscher Empfänger",
    )


async def test_a_gap_among_the_corrections_is_named_and_is_a_failure(database: Database, fresh_url: str) -> None:
    async with database.as_system() as session:
        await session.execute(text("update number_series set last_number = 3 where series = 'PFK'"))
    said = await numbers(fresh_url, "--year", "2026", "--series", "PFK", expected=4)
    assert "PFK 2026: 3 numbers, gaps at 3." in said
    assert "PF-2026-000001" not in said


@pytest.mark.usefixtures("database")
async def test_over_http_the_corrections_are_a_series_of_their_own(operator: httpx.AsyncClient) -> None:
    page = (await operator.get("/v1/invoice-numbers?series=PFK&year=2026")).json()
    assert (page["last_number"], page["gaps"]) == (2, [])
    found = [(each["number"], each["became"], each["related"]) for each in page["items"]]
    assert found == [
        ("PFK-2026-000001", "cancellation", ["PF-2026-000002"]),
        ("PFK-2026-000002", "credit_note", ["PF-2026-000003"]),
    ]
    assert {each["series"]: each["last_number"] for each in page["all_series"]} == {"PF": 3, "PFK": 2}
