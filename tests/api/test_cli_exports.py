"""`postfachwerk export` as an operator types it: a process of its own against a real database."""

import os
import zipfile
from pathlib import Path

import pytest

from billing.documents.datev_check import check_batch
from provisioning.core.database import Database
from tests.api.command_line import run, start
from tests.api.test_cli_invoices import environment
from tests.billing.ledger_factory import add_billable_resellers, bill, read

pytestmark = pytest.mark.anyio

DAYS = ("--from", "2026-12-01", "--to", "2027-01-01")
NUMBERS = {"POSTFACHWERK_DATEV_CONSULTANT": "29098", "POSTFACHWERK_DATEV_CLIENT": "55003"}


async def test_it_writes_an_archive_that_comes_to_the_invoices(
    fresh_database: Database, fresh_url: str, tmp_path: Path
) -> None:
    await add_billable_resellers(fresh_database, 2)
    await bill(fresh_database)
    [(gross,)] = await read(fresh_database, "select cast(sum(gross_cents) as bigint) from invoice")
    env = {**environment(fresh_url), **NUMBERS}
    said = await start(env, "export", "datev", *DAYS, "--chart", "SKR04", folder=tmp_path)
    assert said.code == 0, said.all
    assert said.output == (
        f"datev-2026-12-01-2027-01-01.zip: 2 bookings, €{gross // 100}.{gross % 100:02d} of invoices, €0.00 of "
        "payments, €0.00 of fees, €0.00 of bad debts.\n"
    )
    [name] = os.listdir(tmp_path)
    with zipfile.ZipFile(tmp_path / name) as archive:
        sums = check_batch(archive.read("EXTF_Buchungsstapel_2026-12.csv"))
    assert (sums.bookings, sums.balance_cents[4400]) == (2, -gross)


async def test_what_is_refused_leaves_no_file(fresh_database: Database, fresh_url: str, tmp_path: Path) -> None:
    await add_billable_resellers(fresh_database, 1)
    env = environment(fresh_url)
    said = await run(env, "export", "datev", *DAYS, folder=tmp_path)
    assert (said.code, "POSTFACHWERK_DATEV_CONSULTANT" in said.all) == (1, True)
    said = await run({**env, **NUMBERS}, "export", "datev", "--from", "gestern", folder=tmp_path)
    assert said.code == 2
    assert os.listdir(tmp_path) == []
