"""From draft to stored file: nothing is numbered that would not be valid, and everything numbered gets its files."""

import asyncio
import json
from datetime import date
from hashlib import sha256

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from billing import drafts, issuing, runs, validation
from billing.documents.pdf import UnprintableDocument
from billing.models import RunState
from provisioning.core.database import Database
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    ISSUER,
    add_billable_resellers,
    add_customer,
    add_mailboxes,
    add_reseller,
    bill,
    read,
)
from tests.billing.run_steps import drive, drive_to, start, validate

pytestmark = pytest.mark.anyio

ITEMS = "select state, code from invoice_run_item order by state, code"
# No scheme of the code list, so that the gate refuses it (BR-CL-25).
UNKNOWN_SCHEME = {"electronic_address": "x", "electronic_address_scheme": "NONE"}


class TestValidating:
    async def test_a_document_that_would_not_be_valid_is_parked_with_its_report_and_stops_nobody(
        self, fresh_database: Database
    ) -> None:
        await add_billable_resellers(fresh_database, 2)
        async with fresh_database.as_system() as session:
            wrong = await add_reseller(session, **UNKNOWN_SCHEME)
            await add_mailboxes(session, wrong, await add_customer(session, wrong))
        run = await bill(fresh_database)
        assert (run.state, run.finalised, run.parked) == (RunState.SUCCEEDED, 2, 1)
        query = "select code, reason, report from invoice_run_item where reseller_id = :id"
        ((code, reason, report),) = await read(fresh_database, query, id=wrong)
        assert code == "document_invalid"
        assert report["valid"] is False
        rules = {each["rule"] for each in report["findings"] if each["severity"] == "error"}
        assert rules
        assert any(rule in reason for rule in rules)
        assert await read(fresh_database, "select last_number from number_series") == [(2,)]

    async def test_once_mended_a_retry_bills_it_under_the_next_number(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        async with fresh_database.as_system() as session:
            wrong = await add_reseller(session, **UNKNOWN_SCHEME)
            await add_mailboxes(session, wrong, await add_customer(session, wrong))
        run = await bill(fresh_database)
        async with fresh_database.as_system() as session:
            await session.execute(text("update reseller set electronic_address_scheme = 'EM'"))
            await runs.retry_parked(session, run.id)
        run = await drive(fresh_database, run.id)
        assert (run.finalised, run.parked, run.documents) == (2, 0, 2)
        found = await read(fresh_database, "select number, reseller_id from invoice order by number desc limit 1")
        assert found == [("PF-2026-000002", wrong)]

    @pytest.mark.parametrize(
        "change",
        ["update reseller set street = 'Neue Gasse 1'", "update invoice set created_at = created_at - interval '1 s'"],
    )
    async def test_a_draft_that_changed_after_it_was_validated_is_validated_anew(
        self, fresh_database: Database, change: str
    ) -> None:
        await add_billable_resellers(fresh_database, 1)
        run_id = await start(fresh_database)
        await drive_to(fresh_database, run_id, RunState.VALIDATING)
        await validate(fresh_database, run_id)
        await drive_to(fresh_database, run_id, RunState.FINALISING)
        async with fresh_database.as_system() as session:
            await session.execute(text(change))
        await drive_to(fresh_database, run_id, RunState.VALIDATING)
        assert await read(fresh_database, "select count(number) from invoice") == [(0,)]
        assert (await drive(fresh_database, run_id)).finalised == 1

    async def test_what_is_wrong_only_after_validating_gets_no_number(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        run_id = await start(fresh_database)
        await drive_to(fresh_database, run_id, RunState.VALIDATING)
        await validate(fresh_database, run_id)
        async with fresh_database.as_system() as session:
            spoil = "update reseller set electronic_address = 'x', electronic_address_scheme = 'NONE'"
            await session.execute(text(spoil))
        run = await drive(fresh_database, run_id)
        assert (run.finalised, run.parked) == (0, 1)
        assert await read(fresh_database, ITEMS) == [("parked", "document_invalid")]
        assert await read(fresh_database, "select last_number from number_series where last_number > 0") == []

    async def test_the_lines_of_a_draft_are_never_edited(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        await drive_to(fresh_database, await start(fresh_database), RunState.VALIDATING)
        with pytest.raises(IntegrityError, match="never edited"):
            await read(fresh_database, "update invoice_line set net_cents = 1 returning 1")

    async def test_a_run_that_validates_can_still_be_cancelled(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        run_id = await start(fresh_database)
        await drive_to(fresh_database, run_id, RunState.VALIDATING)
        async with fresh_database.as_system() as session:
            assert (await runs.cancel_run(session, run_id)).state is RunState.CANCELLED
        assert await read(fresh_database, "select count(*) from invoice") == [(0,)]


class TestDocuments:
    async def test_each_invoice_has_its_files_with_digest_and_retention(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        run = await bill(fresh_database)
        assert (run.documents, run.alarms) == (1, 0)
        query = "select kind, content, sha256, retain_until from invoice_document order by kind"
        rows = await read(fresh_database, query)
        assert [kind for kind, *_ in rows] == ["pdf", "report", "xrechnung", "zugferd"]
        assert all(sha256(content).hexdigest() == digest for _, content, digest, _ in rows)
        assert {until for *_, until in rows} == {date(2034, 12, 31)}
        files = {kind: content for kind, content, *_ in rows}
        assert files["pdf"].startswith(b"%PDF-")
        assert b"PF-2026-000001" in files["xrechnung"]
        report = json.loads(files["report"])
        assert {profile: verdict["valid"] for profile, verdict in report.items()} == {
            "xrechnung": True,
            "zugferd": True,
        }

    async def test_two_workers_render_one_run_together_and_nothing_twice(
        self, fresh_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(issuing, "BLOCK", 1)
        await add_billable_resellers(fresh_database, 4)
        run_id = await start(fresh_database)
        await drive_to(fresh_database, run_id, RunState.VALIDATING)
        await validate(fresh_database, run_id)
        await drive_to(fresh_database, run_id, RunState.DOCUMENTS)
        driven, _, _ = await asyncio.gather(
            drive(fresh_database, run_id),
            runs.help_with_run(fresh_database, f"{run_id}:0", now=IN_DECEMBER, issuer=ISSUER),
            runs.help_with_run(fresh_database, f"{run_id}:1", now=IN_DECEMBER, issuer=ISSUER),
        )
        assert (driven.state, driven.documents) == (RunState.SUCCEEDED, 4)
        each = "select count(*) from invoice_document group by invoice_id"
        assert await read(fresh_database, each) == [(4,)] * 4

    async def test_helpers_are_called_where_there_is_enough_to_share(
        self, fresh_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(issuing, "BLOCK", 1)
        await add_billable_resellers(fresh_database, 3)
        await bill(fresh_database)
        jobs = "select count(*) from procrastinate_jobs where task_name = 'help_with_invoice_run'"
        async with fresh_database.transaction() as session:
            assert await session.scalar(text(jobs)) == 3

    async def test_documents_that_cannot_be_made_raise_an_alarm_and_are_tried_again(
        self, fresh_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> bytes:
            raise UnprintableDocument("no room")

        await add_billable_resellers(fresh_database, 2)
        with monkeypatch.context() as broken:
            broken.setattr(issuing, "render_pdf", fail)
            run = await bill(fresh_database)
            assert (run.state, run.finalised, run.documents, run.alarms) == (RunState.SUCCEEDED, 2, 0, 2)
            alarms = await read(fresh_database, "select distinct alarm from invoice_run_item")
            assert alarms == [("The document cannot be made: no room",)]
        assert await read(fresh_database, "select count(*) from invoice_document") == [(0,)]
        async with fresh_database.as_system() as session:
            last = await issuing.issue_alarmed(session, now=IN_DECEMBER)
            assert last is not None
            assert await issuing.issue_alarmed(session, now=IN_DECEMBER, after=last) is None
        figures = "select documents, alarms, (select count(alarm) from invoice_run_item) from invoice_run"
        assert await read(fresh_database, figures) == [(2, 0, 0)]

    async def test_a_reseller_reads_its_own_files_only_and_changes_none(self, fresh_database: Database) -> None:
        mine, _ = await add_billable_resellers(fresh_database, 2)
        await bill(fresh_database)
        async with fresh_database.as_tenant(mine) as session:
            owners = await session.scalars(text("select distinct reseller_id from invoice_document"))
            assert owners.all() == [mine]
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with fresh_database.as_tenant(mine) as session:
                await session.execute(text("delete from invoice_document"))

    async def test_a_digest_that_is_not_of_the_content_cannot_be_stored(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        await bill(fresh_database)
        forged = """
            insert into invoice_document
            select 'doc_forged', reseller_id, null, null, kind, '\\x00', sha256, created_at, retain_until
            from invoice_document limit 1 returning id
            """
        with pytest.raises(IntegrityError):
            await read(fresh_database, forged)

    async def test_numbers_are_given_in_blocks_all_the_same(
        self, fresh_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in (drafts, validation, issuing):
            monkeypatch.setattr(module, "BLOCK", 2)
        await add_billable_resellers(fresh_database, 5)
        run = await bill(fresh_database)
        assert (run.finalised, run.documents) == (5, 5)
        assert await read(fresh_database, "select sequence from invoice order by 1") == [(n,) for n in range(1, 6)]
