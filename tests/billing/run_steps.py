"""The steps of November's run one by one, to put something between them."""

from datetime import date

import pytest

from billing import runs, validation
from billing.document_sources import unvalidated_drafts
from billing.models import InvoiceRun, Issuer, RunState
from provisioning.core.database import Database
from tests.billing.ledger_factory import IN_DECEMBER, ISSUER, NOVEMBER


async def start(database: Database) -> str:
    async with database.as_system() as session:
        return (await runs.start_run(session, NOVEMBER, actor="operator", now=IN_DECEMBER)).id


async def drive(database: Database, run_id: str, *, issuer: Issuer = ISSUER) -> InvoiceRun:
    return await runs.continue_run(database, run_id, now=IN_DECEMBER, issuer=issuer)


async def drive_to(database: Database, run_id: str, state: RunState, *, issuer: Issuer = ISSUER) -> None:
    """Advance without validating or rendering anything, which are other steps."""
    for _ in range(20):
        if (await runs.advance_run(database, run_id, now=IN_DECEMBER, issuer=issuer)).state is state:
            return
    pytest.fail(f"the run never came to be {state}")


async def validate(database: Database, run_id: str, *, issuer: Issuer = ISSUER) -> None:
    async with database.as_system() as session:
        day = date(2026, 12, 1)
        found = await unvalidated_drafts(session, run_id, issuer=issuer, issued_on=day, salt="", limit=50)
        run = await runs.get_run(session, run_id)
        await validation.record(session, run, validation.judge(found), issuer=issuer)
