"""What is final stays, and is taken back by documents of its own: never twice, and never more than was charged."""

import asyncio
from datetime import date
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from billing import corrections, issuing, payments, runs
from billing.document_models import CreditNote
from billing.models import RunState
from billing.money import tax_cents
from billing.numbers import number_report
from billing.rating import Tier
from provisioning.core.database import Database
from provisioning.core.errors import Conflict, Invalid, NotFound
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    ISSUER,
    add_billable_resellers,
    add_customer,
    add_mailboxes,
    add_prices,
    add_reseller,
    bill,
    read,
)
from tests.conftest import as_superuser

pytestmark = pytest.mark.anyio

OWED = """
    select status, cast(coalesce(sum(entry.amount_cents), 0) as bigint)
    from payment left join payment_entry entry on payment_id = payment.id group by payment.id
"""
NET = "select id, net_cents, tax_cents, gross_cents from invoice order by number"


async def invoice_of(database: Database) -> tuple[str, int, int, int]:
    """The only invoice: 28 mailbox-days of 7.90, which is 7.37 net and 1.40 of tax."""
    await add_billable_resellers(database, 1)
    await bill(database)
    ((invoice_id, net, tax, gross),) = await read(database, NET)
    return invoice_id, net, tax, gross


async def cancel(database: Database, invoice_id: str, *, reissue: bool = False) -> CreditNote:
    async with database.as_system() as session:
        return await corrections.cancel_invoice(
            session,
            invoice_id,
            reason="Falscher Empfänger",
            reissue=reissue,
            actor="op",
            issuer=ISSUER,
            now=IN_DECEMBER,
        )


async def credit(database: Database, invoice_id: str, amounts: dict[int, int] | None = None) -> CreditNote:
    async with database.as_system() as session:
        return await corrections.credit_invoice(
            session, invoice_id, amounts=amounts, reason="Ausfall", actor="op", issuer=ISSUER, now=IN_DECEMBER
        )


async def xml_of(database: Database, note: CreditNote) -> etree._Element:
    async with database.as_system() as session:
        assert await issuing.issue_credit_note(session, note.id, now=IN_DECEMBER) is None
    query = "select content from invoice_document where credit_note_id = :id and kind = 'xrechnung'"
    ((content,),) = await read(database, query, id=note.id)
    return etree.fromstring(content)


def said(tree: etree._Element, path: str) -> str | None:
    return tree.findtext(f".//{{*}}{path.replace('/', '/{*}')}")


class TestCancel:
    async def test_a_cancellation_mirrors_the_invoice_and_names_it(self, fresh_database: Database) -> None:
        invoice_id, net, tax, gross = await invoice_of(fresh_database)
        before = await read(fresh_database, "select * from invoice join invoice_line on invoice_id = id")
        note = await cancel(fresh_database, invoice_id)
        assert (note.number, note.net_cents, note.tax_cents, note.gross_cents) == ("PFK-2026-000001", net, tax, gross)
        tree = await xml_of(fresh_database, note)
        assert said(tree, "ExchangedDocument/TypeCode") == "381"
        assert said(tree, "InvoiceReferencedDocument/IssuerAssignedID") == "PF-2026-000001"
        assert said(tree, "GrandTotalAmount") == f"{gross // 100}.{gross % 100:02d}"
        assert before == await read(fresh_database, "select * from invoice join invoice_line on invoice_id = id")

    async def test_a_second_cancellation_is_refused(self, fresh_database: Database) -> None:
        invoice_id, *_ = await invoice_of(fresh_database)
        await cancel(fresh_database, invoice_id)
        with pytest.raises(Conflict) as refused:
            await cancel(fresh_database, invoice_id)
        assert refused.value.code == "already_cancelled"
        with pytest.raises(Conflict) as refused:
            await credit(fresh_database, invoice_id)
        assert refused.value.code == "already_cancelled"
        assert await read(fresh_database, "select last_number from number_series where series = 'PFK'") == [(1,)]

    async def test_of_two_at_once_one_wins(self, fresh_database: Database) -> None:
        invoice_id, *_ = await invoice_of(fresh_database)
        answers = await asyncio.gather(*(cancel(fresh_database, invoice_id) for _ in range(3)), return_exceptions=True)
        assert sum(isinstance(each, CreditNote) for each in answers) == 1
        assert {each.code for each in answers if isinstance(each, Conflict)} == {"already_cancelled"}
        assert await read(fresh_database, "select count(*) from credit_note") == [(1,)]

    async def test_what_was_credited_in_part_is_not_cancelled(self, fresh_database: Database) -> None:
        invoice_id, *_ = await invoice_of(fresh_database)
        await credit(fresh_database, invoice_id, {1: 1})
        with pytest.raises(Conflict) as refused:
            await cancel(fresh_database, invoice_id)
        assert refused.value.code == "already_credited"

    async def test_an_invoice_of_nothing_is_cancelled_too(self, fresh_database: Database) -> None:
        await add_billable_resellers(fresh_database, 1)
        async with fresh_database.as_system() as session:
            await add_prices(session, valid_from=date(2026, 10, 1), prices={"exchange": (Tier(1, 0),)})
        await bill(fresh_database)
        ((invoice_id, net, _, gross),) = await read(fresh_database, NET)
        assert (net, gross) == (0, 0)
        note = await cancel(fresh_database, invoice_id)
        assert note.gross_cents == 0
        assert said(await xml_of(fresh_database, note), "GrandTotalAmount") == "0.00"

    async def test_a_draft_and_an_unknown_invoice_cannot_be_cancelled(self, fresh_database: Database) -> None:
        with pytest.raises(NotFound):
            await cancel(fresh_database, "inv_unknown")


class TestReissue:
    async def test_the_month_is_billed_anew_under_a_new_number(self, fresh_database: Database) -> None:
        invoice_id, _, _, gross = await invoice_of(fresh_database)
        async with fresh_database.as_system() as session:
            await session.execute(text("update reseller set name = 'Richtig GmbH'"))
        await cancel(fresh_database, invoice_id, reissue=True)
        ((run_id,),) = await read(fresh_database, "select id from invoice_run")
        run = await runs.continue_run(fresh_database, run_id, now=IN_DECEMBER, issuer=ISSUER)
        assert (run.state, run.finalised, run.parked, run.documents) == (RunState.SUCCEEDED, 1, 0, 2)
        query = "select number, replaces_id, buyer ->> 'name', gross_cents from invoice order by number"
        assert await read(fresh_database, query) == [
            ("PF-2026-000001", None, "Müller & Söhne IT <GmbH>", gross),
            ("PF-2026-000002", invoice_id, "Richtig GmbH", gross),
        ]
        ((content,),) = await read(
            fresh_database,
            "select content from invoice_document join invoice on invoice.id = invoice_id "
            "where number = 'PF-2026-000002' and kind = 'zugferd'",
        )
        tree = etree.fromstring(content)
        assert said(tree, "InvoiceReferencedDocument/IssuerAssignedID") == "PF-2026-000001"

    async def test_the_new_one_can_be_cancelled_and_replaced_in_turn(self, fresh_database: Database) -> None:
        await invoice_of(fresh_database)
        ((run_id,),) = await read(fresh_database, "select id from invoice_run")
        for place in (1, 2):
            newest = "select id from invoice order by number desc limit 1"
            await cancel(fresh_database, (await read(fresh_database, newest))[0][0], reissue=True)
            await runs.continue_run(fresh_database, run_id, now=IN_DECEMBER, issuer=ISSUER)
            chain = "select count(*), count(distinct replaces_id) from invoice"
            assert await read(fresh_database, chain) == [(place + 1, place)]

    async def test_nothing_is_owed_for_it_any_more(self, fresh_database: Database) -> None:
        invoice_id, _, _, gross = await invoice_of(fresh_database)
        assert await read(fresh_database, OWED) == [("open", 0)]
        note = await cancel(fresh_database, invoice_id)
        assert await read(fresh_database, OWED) == [("cancelled", gross)]
        assert await read(fresh_database, "select source from payment_entry") == [(f"cn-{note.id}",)]

    async def test_what_was_paid_for_it_pays_the_new_one(self, fresh_database: Database) -> None:
        invoice_id, _, _, gross = await invoice_of(fresh_database)
        async with fresh_database.as_system() as session:
            reseller_id = await session.scalar(text("select reseller_id from invoice"))
            payment = await payments.payment_of(session, str(reseller_id), invoice_id, now=IN_DECEMBER)
            await payments.record_receipt(
                session,
                payment,
                amount_cents=gross,
                received_on=IN_DECEMBER.date(),
                reference="Auszug 1",
                now=IN_DECEMBER,
            )
        await cancel(fresh_database, invoice_id, reissue=True)
        await bill(fresh_database)
        new = "select payment.status from payment join invoice on invoice.id = invoice_id where replaces_id is not null"
        assert await read(fresh_database, new) == [("paid",)]

    @pytest.mark.parametrize("replaces", ["null", "(select id from invoice)"])
    async def test_the_database_refuses_a_second_invoice_without_a_cancellation(
        self, fresh_database: Database, replaces: str
    ) -> None:
        await invoice_of(fresh_database)
        insert = f"""
            insert into invoice (id, reseller_id, run_id, replaces_id, status, period_starts_on, period_ends_on,
                currency, net_cents, tax_cents, gross_cents, tax_category, rate_basis_points, created_at)
            select 'inv_second', reseller_id, run_id, {replaces}, 'draft', period_starts_on, period_ends_on,
                currency, 0, 0, 0, 'S', 1900, now() from invoice
            """  # noqa: S608 - one of two constants
        with pytest.raises(IntegrityError):
            await read(fresh_database, insert)


class TestCreditNotes:
    async def test_an_amount_of_a_line_is_taken_back_with_its_tax(self, fresh_database: Database) -> None:
        invoice_id, *_ = await invoice_of(fresh_database)
        note = await credit(fresh_database, invoice_id, {1: 158})
        assert (note.kind, note.net_cents, note.tax_cents, note.gross_cents) == ("credit_note", 158, 30, 188)
        tree = await xml_of(fresh_database, note)
        assert said(tree, "ExchangedDocument/TypeCode") == "381"
        assert said(tree, "BilledQuantity") == "1"
        assert b"Gutschrift" not in etree.tostring(tree)

    async def test_together_they_never_exceed_the_invoice(self, fresh_database: Database) -> None:
        invoice_id, net, tax, gross = await invoice_of(fresh_database)
        await credit(fresh_database, invoice_id, {1: 500})
        with pytest.raises(Conflict) as refused:
            await credit(fresh_database, invoice_id, {1: net - 499})
        assert refused.value.code == "credit_exceeds_invoice"
        rest = await credit(fresh_database, invoice_id)
        assert rest.net_cents == net - 500
        with pytest.raises(Conflict) as refused:
            await credit(fresh_database, invoice_id)
        assert refused.value.code == "nothing_to_credit"
        sums = "select sum(net_cents), sum(tax_cents), sum(gross_cents), count(*), max(sequence) from credit_note"
        assert await read(fresh_database, sums) == [(net, tax, gross, 2, 2)]

    async def test_many_at_once_take_back_no_more_than_was_charged(self, fresh_database: Database) -> None:
        invoice_id, net, *_ = await invoice_of(fresh_database)
        wished = [credit(fresh_database, invoice_id, {1: 300}) for _ in range(5)]
        answers = await asyncio.gather(*wished, return_exceptions=True)
        assert sum(isinstance(each, CreditNote) for each in answers) == net // 300
        assert {each.code for each in answers if isinstance(each, Conflict)} == {"credit_exceeds_invoice"}
        assert await read(fresh_database, "select sequence from credit_note order by 1") == [(1,), (2,)]

    async def test_the_database_itself_holds_the_cap(self, fresh_database: Database) -> None:
        invoice_id, net, *_ = await invoice_of(fresh_database)
        await credit(fresh_database, invoice_id, {1: 1})
        for cents in (net, net + 1):
            insert = """
                insert into credit_note select 'crn_more', reseller_id, invoice_id, kind, 'X', 'X', year, 9, issued_on,
                    reason, currency, 0, :cents, 0, :cents, tax_category, rate_basis_points, actor, created_at
                from credit_note returning id
                """
            with pytest.raises(IntegrityError, match="charged less"):
                await read(fresh_database, insert, cents=cents)

    async def test_a_line_that_is_not_there_is_refused(self, fresh_database: Database) -> None:
        invoice_id, *_ = await invoice_of(fresh_database)
        with pytest.raises(Invalid):
            await credit(fresh_database, invoice_id, {7: 100})

    @pytest.mark.parametrize("table", ["credit_note", "credit_note_line", "invoice_document"])
    async def test_what_was_issued_never_changes(self, fresh_database: Database, table: str) -> None:
        invoice_id, *_ = await invoice_of(fresh_database)
        await xml_of(fresh_database, await credit(fresh_database, invoice_id, {1: 10}))
        for attempt in (f"update {table} set reseller_id = reseller_id", "delete from " + table):  # noqa: S608 - one of three constants
            with pytest.raises(IntegrityError):
                async with fresh_database.as_system() as session:
                    await session.execute(text(attempt))
            superuser = psycopg.connect(as_superuser(fresh_database.url))
            with superuser as connection, pytest.raises(psycopg.IntegrityError):
                connection.execute(attempt.encode())


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=6), st.sampled_from((0, 700, 1600, 1900)))
def test_the_tax_of_a_whole_invoice_is_mirrored_to_the_cent(lines: list[int], rate: int) -> None:
    assert tax_cents(-sum(lines), rate) == -tax_cents(sum(lines), rate)


async def test_every_number_of_every_series_says_what_became_of_it(fresh_database: Database) -> None:
    await add_billable_resellers(fresh_database, 2)
    async with fresh_database.as_system() as session:
        reseller_id = await add_reseller(session)
        await add_mailboxes(session, reseller_id, await add_customer(session, reseller_id))
    await bill(fresh_database)
    first, second, third = [row[0] for row in await read(fresh_database, NET)]
    await cancel(fresh_database, first)
    await credit(fresh_database, second, {1: 10})
    async with fresh_database.as_system() as session:
        reports = [await number_report(session, series=each, year=2026) for each in ("PF", "PFK")]
    found: list[list[Any]] = [
        [(each.number, each.became, list(each.related), each.reason) for each in report.entries] for report in reports
    ]
    assert found == [
        [
            ("PF-2026-000001", "cancelled", ["PFK-2026-000001"], "Falscher Empfänger"),
            ("PF-2026-000002", "credited", ["PFK-2026-000002"], "Ausfall"),
            ("PF-2026-000003", "issued", [], None),
        ],
        [
            ("PFK-2026-000001", "cancellation", ["PF-2026-000001"], "Falscher Empfänger"),
            ("PFK-2026-000002", "credit_note", ["PF-2026-000002"], "Ausfall"),
        ],
    ]
    assert [report.gaps for report in reports] == [(), ()]
    assert third
