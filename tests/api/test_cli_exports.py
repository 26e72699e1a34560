"""`postfachwerk export` as an operator types it: a process of its own against a real database."""

import os
import sys
import zipfile
from pathlib import Path

import anyio
import pytest

from billing.documents.datev_check import check_batch
from provisioning.core.database import Database
from tests.api.test_cli_invoices import environment
from tests.billing.ledger_factory import add_billable_resellers, bill, read

pytestmark = pytest.mark.anyio

DAYS = ("--from", "2026-12-01", "--to", "2027-01-01")
NUMBERS = {"POSTFACHWERK_DATEV_CONSULTANT": "29098", "POSTFACHWERK_DATEV_CLIENT": "55003"}


async def export(url: str, root: Path, folder: Path, *words: str, **settings: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "api.cli", "export", "datev", *words]
    given = {**environment(url), **settings, "PYTHONPATH": str(root)}
    result = await anyio.run_process(command, cwd=folder, env=given, check=False)
    return result.returncode, (result.stdout or result.stderr).decode()


async def test_it_writes_an_archive_that_comes_to_the_invoices(
    fresh_database: Database, fresh_url: str, root: Path, tmp_path: Path
) -> None:
    await add_billable_resellers(fresh_database, 2)
    await bill(fresh_database)
    [(gross,)] = await read(fresh_database, "select cast(sum(gross_cents) as bigint) from invoice")
    code, said = await export(fresh_url, root, tmp_path, *DAYS, "--chart", "SKR04", **NUMBERS)
    assert code == 0, said
    assert said == (
        f"datev-2026-12-01-2027-01-01.zip: 2 bookings, €{gross // 100}.{gross % 100:02d} of invoices, €0.00 of "
        "payments, €0.00 of fees, €0.00 of bad debts.\n"
    )
    [name] = os.listdir(tmp_path)
    with zipfile.ZipFile(tmp_path / name) as archive:
        sums = check_batch(archive.read("EXTF_Buchungsstapel_2026-12.csv"))
    assert (sums.bookings, sums.balance_cents[4400]) == (2, -gross)


async def test_what_is_refused_leaves_no_file(
    fresh_database: Database, fresh_url: str, root: Path, tmp_path: Path
) -> None:
    await add_billable_resellers(fresh_database, 1)
    code, said = await export(fresh_url, root, tmp_path, *DAYS)
    assert (code, "POSTFACHWERK_DATEV_CONSULTANT" in said) == (1, True)
    code, said = await export(fresh_url, root, tmp_path, "--from", "gestern", **NUMBERS)
    assert code == 2
    assert os.listdir(tmp_path) == []
