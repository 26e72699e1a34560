"""Final invoices: who may read them, what stands behind each line, and that nobody changes them."""

from dataclasses import asdict
from datetime import UTC, date, datetime

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from billing import drafts, invoices, runs
from billing.models import Invoice
from billing.numbers import number_report
from billing.periods import BillingMonth
from billing.rating import Period
from provisioning.core.database import Database
from provisioning.core.errors import NotFound
from provisioning.core.ids import new_id
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    ISSUER,
    NOVEMBER,
    add_billable_resellers,
    add_customer,
    add_mailboxes,
    add_periods,
    add_prices,
    add_reseller,
    bill,
    read,
)
from tests.conftest import as_superuser

DECEMBER = BillingMonth(2026, 12)
IN_JANUARY = datetime(2027, 1, 1, 6, 0, tzinfo=UTC)


async def invoice_of(database: Database, reseller_id: str) -> Invoice:
    async with database.as_tenant(reseller_id) as session:
        (invoice,) = await invoices.list_invoices(session, reseller_id)
    return invoice


class TestImmutable:
    @pytest.mark.parametrize(
        "attempt",
        [
            "update invoice set net_cents = 0, gross_cents = tax_cents",
            "update invoice set status = 'draft', number = null",
            "delete from invoice",
            "update invoice_line set net_cents = 0",
            "delete from invoice_line",
            """
            insert into invoice_line
            select invoice_id, position + 1, reseller_id, customer_id, customer_name, service_class,
                price_cents, mailbox_days, base_days, net_cents
            from invoice_line
            """,
        ],
    )
    async def test_the_database_refuses_every_change_of_a_final_invoice(
        self, fresh_database: Database, attempt: str
    ) -> None:
        (reseller_id,) = await add_billable_resellers(fresh_database, 1)
        await bill(fresh_database)
        before = await read(fresh_database, "select * from invoice join invoice_line on invoice_id = id")
        # As the operator's role, then as the superuser.
        with pytest.raises(IntegrityError, match="is final"):
            async with fresh_database.as_system() as session:
                await session.execute(text(attempt))
        superuser = psycopg.connect(as_superuser(fresh_database.url))
        with superuser as connection, pytest.raises(psycopg.IntegrityError, match="is final"):
            connection.execute(attempt.encode())
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with fresh_database.as_tenant(reseller_id) as session:
                await session.execute(text(attempt))
        assert before == await read(fresh_database, "select * from invoice join invoice_line on invoice_id = id")

    @pytest.mark.parametrize("attempt", ["truncate invoice cascade", "truncate invoice_line"])
    async def test_nor_can_the_tables_be_emptied(self, database: Database, attempt: str) -> None:
        with pytest.raises(IntegrityError):
            async with database.transaction() as session:
                await session.execute(text(attempt))

    async def test_a_line_of_a_draft_cannot_be_moved_to_a_final_invoice(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        await bill(fresh_database)
        async with fresh_database.as_system() as session:
            run = await runs.start_run(session, DECEMBER, actor="operator", now=IN_JANUARY)
            await session.flush()
            await drafts.rate_and_draft(session, run, now=IN_JANUARY)
        with pytest.raises(IntegrityError, match="is final"):
            async with fresh_database.as_system() as session:
                await session.execute(
                    text(
                        "update invoice_line set position = 2, invoice_id = "
                        "(select id from invoice where status = 'final') "
                        "where invoice_id = (select id from invoice where status = 'draft')"
                    )
                )


class TestRead:
    async def test_a_reseller_sees_its_own_invoices_only(self, fresh_database: Database) -> None:
        mine, other = await add_billable_resellers(fresh_database, 2)
        await bill(fresh_database)
        foreign = await invoice_of(fresh_database, other)
        async with fresh_database.as_tenant(mine) as session:
            with pytest.raises(NotFound):
                await invoices.get_invoice(session, mine, foreign.id)
            # Also where the query's own filter is left out, by row-level security.
            with pytest.raises(NotFound):
                await invoices.get_invoice(session, None, foreign.id)
            assert {each.reseller_id for each in await invoices.list_invoices(session, None)} == {mine}
            for owners in (
                "select distinct reseller_id from invoice",
                "select distinct reseller_id from invoice_line",
                "select distinct reseller_id from invoice_run_item",
            ):
                seen = await session.scalars(text(owners))
                assert list(seen) == [mine]

    async def test_a_draft_is_shown_to_the_operator_only(self, fresh_database: Database) -> None:
        (reseller_id,) = await add_billable_resellers(fresh_database, 1)
        async with fresh_database.as_system() as session:
            run = await runs.start_run(session, NOVEMBER, actor="operator", now=IN_DECEMBER)
            await session.flush()
            await drafts.rate_and_draft(session, run, now=IN_DECEMBER)
            (draft,) = await invoices.list_invoices(session, None)
            assert await invoices.list_invoices(session, reseller_id) == []
            with pytest.raises(NotFound):
                await invoices.get_invoice(session, reseller_id, draft.id)

    async def test_the_list_is_newest_first_and_goes_on_after_a_page(self, fresh_database: Database) -> None:
        (reseller_id,) = await add_billable_resellers(fresh_database, 1)
        await bill(fresh_database)
        await bill(fresh_database, DECEMBER, now=IN_JANUARY)
        async with fresh_database.as_tenant(reseller_id) as session:
            (newest,) = await invoices.list_invoices(session, reseller_id, limit=1)
            (oldest,) = await invoices.list_invoices(session, reseller_id, limit=1, before=newest.id)
            assert await invoices.list_invoices(session, reseller_id, before=oldest.id) == []
            found = await invoices.find_invoice_by_number(session, reseller_id, "PF-2026-000001")
        assert [newest.period_starts_on, oldest.period_starts_on] == [date(2026, 12, 1), date(2026, 11, 1)]
        assert found is not None
        assert found.id == oldest.id

    async def test_buyer_and_seller_are_as_they_were_when_it_became_final(self, fresh_database: Database) -> None:
        (reseller_id,) = await add_billable_resellers(fresh_database, 1, vat_id="DE123456789")
        await bill(fresh_database)
        async with fresh_database.as_system() as session:
            await session.execute(text("update reseller set name = 'Neu GmbH', city = 'Bonn'"))
        invoice = await invoice_of(fresh_database, reseller_id)
        assert invoice.seller == {name: value for name, value in asdict(ISSUER).items() if name != "logo"}
        assert invoice.buyer == {
            "id": reseller_id,
            "number": None,
            "name": "Müller & Söhne IT <GmbH>",
            "street": "Straße des 17. Juni 1",
            "postcode": "10623",
            "city": "Berlin",
            "country": "DE",
            "vat_id": "DE123456789",
            "email": "rechnung@mueller.example",
            "language": "de",
            "contact_name": None,
            "reference": None,
            "electronic_address": None,
            "electronic_address_scheme": None,
            "means": {},
        }

    async def test_lines_stand_by_customer_and_add_up_to_the_invoice(self, fresh_database: Database) -> None:
        async with fresh_database.as_system() as session:
            await add_prices(session)
            reseller_id = await add_reseller(session)
            for name in ("Zahnarzt Öz", "Anwältin Ärger"):
                customer_id = await add_customer(session, reseller_id, name)
                for service_class in ("pop3", "exchange"):
                    await add_mailboxes(session, reseller_id, customer_id, service_class=service_class)
        await bill(fresh_database)
        invoice = await invoice_of(fresh_database, reseller_id)
        async with fresh_database.as_tenant(reseller_id) as session:
            lines = await invoices.lines_of(session, invoice)
        assert [(line.position, line.customer_name, line.service_class) for line in lines] == [
            (1, "Anwältin Ärger", "exchange"),
            (2, "Anwältin Ärger", "pop3"),
            (3, "Zahnarzt Öz", "exchange"),
            (4, "Zahnarzt Öz", "pop3"),
        ]
        sums = invoices.per_customer(lines)
        assert [(each.customer_name, each.mailbox_days, each.net_cents) for each in sums] == [
            ("Anwältin Ärger", 60, 890),
            ("Zahnarzt Öz", 60, 890),
        ]
        assert sum(each.net_cents for each in sums) == invoice.net_cents


class TestAnnex:
    async def test_each_mailbox_has_its_days_and_why_they_begin_and_end(self, fresh_database: Database) -> None:
        async with fresh_database.as_system() as session:
            await add_prices(session)
            reseller_id = await add_reseller(session)
            customer_id = await add_customer(session, reseller_id)
            stayed, changed, short = sorted(new_id("mbx") for _ in range(3))
            facts = [
                (stayed, "exchange", date(2026, 3, 1), None),
                (changed, "imap", date(2026, 11, 5), date(2026, 11, 16)),
                (changed, "pop3", date(2026, 11, 16), date(2026, 11, 16)),
                (changed, "exchange", date(2026, 11, 16), date(2026, 12, 1)),
                (short, "imap", date(2026, 10, 1), date(2026, 11, 2)),
                (short, "imap", date(2026, 12, 1), None),
            ]
            await add_periods(
                session,
                reseller_id,
                [Period(box, customer_id, name, "de-fra-1", start, end) for box, name, start, end in facts],
            )
        await bill(fresh_database)
        invoice = await invoice_of(fresh_database, reseller_id)
        async with fresh_database.as_tenant(reseller_id) as session:
            first = await invoices.annex(session, invoice, limit=2)
            rest = await invoices.annex(session, invoice, limit=2, after=first[-1].mailbox_id)
            lines = await invoices.lines_of(session, invoice)
        assert {
            entry.mailbox_id: [
                (stay.service_class, stay.starts_on, stay.mailbox_days, stay.start_reason, stay.end_reason)
                for stay in entry.stays
            ]
            for entry in (*first, *rest)
        } == {
            stayed: [("exchange", date(2026, 11, 1), 30, "carried_over", "continues")],
            changed: [
                ("imap", date(2026, 11, 5), 11, "ordered", "deleted"),
                ("exchange", date(2026, 11, 16), 15, "ordered", "deleted"),
            ],
            short: [("imap", date(2026, 11, 1), 1, "carried_over", "deleted")],
        }
        assert [entry.mailbox_id for entry in first] == [stayed, changed]
        days = sum(stay.mailbox_days for entry in (*first, *rest) for stay in entry.stays)
        assert days == sum(line.mailbox_days for line in lines)


class TestNumbers:
    async def test_every_number_of_a_series_has_its_invoice(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 3)
        await bill(fresh_database)
        async with fresh_database.as_system() as session:
            report = await number_report(session, series="PF", year=2026)
            rest = await number_report(session, series="PF", year=2026, after=2)
        assert report.last_number == 3
        assert report.gaps == ()
        assert [entry.number for entry in report.entries] == [f"PF-2026-00000{place}" for place in (1, 2, 3)]
        assert [entry.sequence for entry in rest.entries] == [3]

    async def test_a_gap_would_be_seen(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        await bill(fresh_database)
        async with fresh_database.as_system() as session:
            await session.execute(text("update number_series set last_number = 3"))
            report = await number_report(session, series="PF", year=2026)
        assert report.gaps == (2, 3)

    async def test_what_rolls_back_gives_its_numbers_back(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 2)
        async with fresh_database.as_system() as session:
            run = await runs.start_run(session, NOVEMBER, actor="operator", now=IN_DECEMBER)
            await session.flush()
            await drafts.rate_and_draft(session, run, now=IN_DECEMBER)
        async with fresh_database.as_system() as session:
            assert await drafts.finalise_block(session, run, now=IN_DECEMBER, issuer=ISSUER)
            await session.rollback()
        await bill(fresh_database)
        async with fresh_database.as_system() as session:
            report = await number_report(session, series="PF", year=2026)
        assert (report.last_number, report.gaps, len(report.entries)) == (2, (), 2)
