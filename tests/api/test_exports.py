"""Exports for bookkeeping: DATEV batches, open items and revenue; in sum they are the invoices, to the cent."""

import csv
import io
import zipfile
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from billing import booking_export
from billing.documents.datev_bookings import SKR03
from billing.documents.datev_check import BatchSums, check_batch, read_batch
from billing.models import Books
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from tests.api.conftest import MakeTenant
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    NOVEMBER,
    add_billable_resellers,
    add_customer,
    add_mailboxes,
    bill,
    random_world,
    read,
)
from tests.superuser import rewrite

pytestmark = pytest.mark.anyio

SEED = 20261124
DATEV = "/v1/exports/datev?from=2026-12-01&to=2027-01-01"
DEBTORS = range(SKR03.first_debtor, SKR03.last_debtor + 1)


@pytest.fixture
def database(fresh_database: Database, clock: TestClock) -> Database:
    """A month is billed once in a database; here it is over."""
    clock.advance(IN_DECEMBER)
    return fresh_database


async def archive_of(client: httpx.AsyncClient, path: str = DATEV) -> tuple[httpx.Response, dict[str, bytes]]:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return answer, {name: archive.read(name) for name in archive.namelist()}


def batches(files: dict[str, bytes]) -> list[BatchSums]:
    return [check_batch(content) for name, content in files.items() if name.startswith("EXTF_Buchungsstapel")]


def money(answer: httpx.Response) -> tuple[int, int, int]:
    names = ("Postfachwerk-Invoice-Cents", "Postfachwerk-Payment-Cents", "Postfachwerk-Bookings")
    invoices, payments, bookings = (int(answer.headers[name]) for name in names)
    return invoices, payments, bookings


async def gross(database: Database) -> int:
    [(cents,)] = await read(database, "select cast(sum(gross_cents) as bigint) from invoice where status = 'final'")
    return int(cents)


async def pay(database: Database, payments: list[tuple[str, date, int, bool]]) -> None:
    """Book payments: invoice id, day, cents, and whether Stripe has the money and not yet the bank."""
    entries = [
        {
            "id": new_id("pen"),
            "invoice_id": invoice_id,
            "booked_on": day,
            "cents": cents,
            "through": "ch" if transit else "bank",
        }
        for invoice_id, day, cents, transit in payments
    ]
    async with database.as_system() as session:
        await session.execute(_BOOK, entries)


_BOOK = text(
    """
    insert into payment_entry (id, reseller_id, payment_id, kind, amount_cents, booked_on, source, created_at)
    select cast(:id as text), reseller_id, payment.id,
        case when cast(:cents as bigint) > 0 then 'receipt' else 'chargeback' end, cast(:cents as bigint),
        cast(:booked_on as date), cast(:through as text) || '-' || cast(:id as text), now()
    from payment where invoice_id = :invoice_id
    """
)
_CHARGE_A_FEE = text(
    """
    insert into payment_entry (id, reseller_id, payment_id, kind, amount_cents, booked_on, source, created_at)
    select 'ent_1', reseller_id, id, 'fee', -500, date '2026-12-21', 'dun_1:fee', now()
    from payment where id = :payment_id
    """
)


async def invoices_of(database: Database) -> list[tuple[str, int]]:
    """Id and gross, by number."""
    return [
        (str(id_), int(cents))
        for id_, cents in await read(database, "select id, gross_cents from invoice order by number")
    ]


class TestDatev:
    async def test_the_debtors_hold_the_sum_of_the_invoices(
        self, database: Database, operator: httpx.AsyncClient
    ) -> None:
        async with database.as_system() as session:
            await random_world(session, SEED, months=[NOVEMBER])
        await bill(database)
        answer, files = await archive_of(operator)
        assert list(files) == ["EXTF_Buchungsstapel_2026-12.csv", "EXTF_Debitoren.csv"]
        [sums] = batches(files)
        [(count,)] = await read(database, "select count(*) from invoice where gross_cents <> 0")
        assert count > 1
        assert sums.balance_of(DEBTORS) == await gross(database)
        assert money(answer) == (await gross(database), 0, count)
        assert sums.bookings == count
        assert (sums.header.consultant, sums.header.client, sums.header.chart) == (29098, 55003, "03")

    async def test_each_reseller_keeps_its_debtor_account(
        self, database: Database, operator: httpx.AsyncClient
    ) -> None:
        await add_billable_resellers(database, 3)
        await bill(database)
        _, files = await archive_of(operator)
        _, bookings = read_batch(files["EXTF_Buchungsstapel_2026-12.csv"])
        accounts = {booking.number: booking.account for booking in bookings}
        expected = await read(
            database,
            "select invoice.number, 10000 + debtor.number from invoice join debtor_account debtor using (reseller_id)",
        )
        assert accounts == dict(expected)
        assert len(set(accounts.values())) == 3
        rows = list(csv.reader(io.StringIO(files["EXTF_Debitoren.csv"].decode("cp1252"), newline=""), delimiter=";"))
        assert [int(row[0]) for row in rows[2:]] == sorted(accounts.values())
        assert {row[1] for row in rows[2:]} == {"Müller & Söhne IT <GmbH>"}

    async def test_days_and_books_can_be_named(self, database: Database, operator: httpx.AsyncClient) -> None:
        await add_billable_resellers(database, 1)
        await bill(database)
        path = "/v1/exports/datev?from=2026-11-15&to=2026-12-02&consultant=1234567&client=1&chart=SKR04"
        _, files = await archive_of(operator, path)
        [sums] = batches(files)
        assert (sums.header.consultant, sums.header.client, sums.header.chart) == (1234567, 1, "04")
        assert (sums.header.starts_on, sums.header.ends_on) == (date(2026, 12, 1), date(2026, 12, 2))
        assert sums.balance_cents[4400] == -await gross(database)
        answer, files = await archive_of(operator, "/v1/exports/datev?from=2026-12-02&to=2027-03-01")
        assert (files, money(answer)) == ({}, (0, 0, 0))

    async def test_last_month_is_meant_when_no_days_are_given(
        self, database: Database, operator: httpx.AsyncClient
    ) -> None:
        await add_billable_resellers(database, 1)
        await bill(database, NOVEMBER.previous(), now=IN_DECEMBER - timedelta(days=20))
        answer, files = await archive_of(operator, "/v1/exports/datev")
        assert answer.headers["content-disposition"].endswith('filename="datev-2026-11-01-2026-12-01.zip"')
        assert files == {}

    async def test_a_month_that_is_too_long_for_one_batch_becomes_several(
        self, database: Database, operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(booking_export, "PART", 2)
        await add_billable_resellers(database, 5)
        await bill(database)
        answer, files = await archive_of(operator)
        parts = batches(files)
        assert [part.bookings for part in parts] == [2, 2, 1]
        assert sum(part.balance_of(DEBTORS) for part in parts) == await gross(database)
        assert money(answer) == (await gross(database), 0, 5)
        assert sorted(files)[:3] == [f"EXTF_Buchungsstapel_2026-12{part}.csv" for part in ("", "_2", "_3")]
        assert sorted(files)[3:] == ["EXTF_Debitoren.csv", "EXTF_Debitoren_2.csv", "EXTF_Debitoren_3.csv"]

    async def test_payments_settle_their_invoices_in_the_month_they_moved(
        self, database: Database, operator: httpx.AsyncClient
    ) -> None:
        await add_billable_resellers(database, 2)
        await bill(database)
        (first, first_cents), (second, second_cents) = await invoices_of(database)
        await pay(
            database,
            [
                (first, date(2026, 12, 10), first_cents, False),
                (second, date(2026, 12, 11), second_cents, True),
                (second, date(2027, 1, 4), -second_cents, True),
            ],
        )
        answer, files = await archive_of(operator, "/v1/exports/datev?from=2026-12-01&to=2027-02-01")
        december, january = batches(files)
        assert december.balance_of(DEBTORS) == 0
        assert (december.balance_cents[SKR03.bank], december.balance_cents[SKR03.transit]) == (
            first_cents,
            second_cents,
        )
        assert january.balance_of(DEBTORS) == second_cents
        assert money(answer) == (first_cents + second_cents, first_cents, 5)

    async def test_corrections_take_revenue_back_on_the_open_item_of_their_invoice(
        self, database: Database, operator: httpx.AsyncClient
    ) -> None:
        await add_billable_resellers(database, 2)
        await bill(database)
        (cancelled, cancelled_cents), (credited, credited_cents) = await invoices_of(database)
        answer = await operator.post(f"/v1/invoices/{cancelled}/cancel", json={"reason": "Falscher Empfänger"})
        assert answer.status_code == 201, answer.text
        part = {"reason": "Ausfall", "lines": [{"position": 1, "net_cents": 100}]}
        answer = await operator.post(f"/v1/invoices/{credited}/credit-notes", json=part)
        assert answer.status_code == 201, answer.text
        answer, files = await archive_of(operator)
        [sums] = batches(files)
        assert sums.balance_of(DEBTORS) == -sums.balance_cents[8400] == credited_cents - 119
        assert money(answer) == (credited_cents - 119, 0, 4)
        _, bookings = read_batch(files["EXTF_Buchungsstapel_2026-12.csv"])
        corrections = [each for each in bookings if each.side == "H"]
        assert [
            (each.number, each.amount_cents, each.is_reversal, each.text, each.service_on) for each in corrections
        ] == [
            ("PF-2026-000001", cancelled_cents, True, "Storno PFK-2026-000001 zu PF-2026-000001", None),
            ("PF-2026-000002", 119, False, "PF-2026-000002 Korrektur PFK-2026-000002", None),
        ]

    async def test_fees_and_what_is_given_up_are_named_beside_the_invoices(
        self, database: Database, operator: httpx.AsyncClient
    ) -> None:
        await add_billable_resellers(database, 1)
        await bill(database)
        [(invoice, cents)] = await invoices_of(database)
        [(payment_id,)] = await read(database, "select id from payment where invoice_id = :id", id=invoice)
        async with database.as_system() as session:
            await session.execute(_CHARGE_A_FEE, {"payment_id": payment_id})
        answer = await operator.post(f"/v1/payments/{payment_id}/write-off")
        assert [(entry["kind"], entry["amount_cents"]) for entry in answer.json()["entries"]] == [
            ("write_off", cents),
            ("fee", 500),
            ("fee", -500),
        ]
        answer, files = await archive_of(operator)
        [sums] = batches(files)
        assert sums.balance_of(DEBTORS) == 0
        assert (sums.balance_cents[2406], sums.balance_cents[2400], sums.balance_cents[8600]) == (cents, 500, -500)
        headers = [answer.headers[f"Postfachwerk-{name}-Cents"] for name in ("Invoice", "Fee", "Write-Off", "Payment")]
        assert headers == [str(cents), "500", str(cents + 500), "0"]

    async def test_a_booking_that_gets_lost_on_the_way_stops_the_export(
        self, database: Database, operator: httpx.AsyncClient
    ) -> None:
        await add_billable_resellers(database, 2)
        await bill(database)
        await rewrite(database, "delete from debtor_account where number = (select max(number) from debtor_account)")
        answer = await operator.get(DATEV)
        assert (answer.status_code, answer.json()["code"]) == (409, "export_sums_differ")

    async def test_without_the_advisers_numbers_it_says_what_to_set(
        self, database: Database, operator: httpx.AsyncClient, app: Any
    ) -> None:
        app.state.context.books = Books()
        answer = await operator.get(DATEV)
        assert (answer.status_code, answer.json()["code"]) == (409, "datev_not_configured")
        assert "POSTFACHWERK_DATEV_CONSULTANT" in answer.json()["detail"]
        assert await read(database, "select 1 from invoice") == []
        assert (await operator.get(f"{DATEV}&consultant=29098&client=55003")).status_code == 200

    @pytest.mark.parametrize(
        ("days", "code"),
        [
            ("from=2026-12-01&to=2026-12-01", "order"),
            ("to=2020-01-01", "order"),
            ("from=2026-01-01&to=2046-01-01", "too_late"),
            ("from=0001-01-01", "in_past"),
            ("from=9999-12-31", "in_past"),
        ],
    )
    async def test_days_that_cannot_be_are_refused(self, operator: httpx.AsyncClient, days: str, code: str) -> None:
        answer = await operator.get(f"/v1/exports/datev?{days}")
        assert (answer.status_code, [each["code"] for each in answer.json()["errors"]]) == (422, [code])


class TestOpenItems:
    async def test_every_final_invoice_is_open_in_full_and_its_age_is_counted_from_the_day_it_is_due(
        self, database: Database, operator: httpx.AsyncClient
    ) -> None:
        await add_billable_resellers(database, 2)
        await bill(database)
        due_on = date(2026, 12, 15)
        ages = {-1: "not_due", 0: "days_0_30", 30: "days_0_30", 31: "days_31_60", 60: "days_31_60", 61: "days_61_90"}
        for days, age in {**ages, 90: "days_61_90", 91: "days_over_90"}.items():
            on = due_on + timedelta(days=days)
            body = (await operator.get("/v1/open-items", params={"on": on.isoformat()})).json()
            assert {item["age"] for item in body["items"]} == {age}
            assert {item["days_overdue"] for item in body["items"]} == {None if days < 0 else days}
            assert body["totals"][f"{age}_cents"] == body["totals"]["open_cents"] == await gross(database)
            assert (body["on"], body["totals"]["items"]) == (on.isoformat(), 2)
            assert sum(cents for name, cents in body["totals"].items() if name.endswith("_cents")) == 2 * await gross(
                database
            )

    async def test_what_was_paid_by_then_is_taken_off(self, database: Database, operator: httpx.AsyncClient) -> None:
        await add_billable_resellers(database, 3)
        await bill(database)
        (first, cents), (second, _), (third, _) = await invoices_of(database)
        await pay(
            database,
            [
                (first, date(2026, 12, 10), cents, False),
                (second, date(2026, 12, 10), 100, False),
                (second, date(2026, 12, 20), cents - 100, False),
                (third, date(2026, 12, 10), cents + 1, False),
            ],
        )

        async def open_on(day: str) -> dict[str, int]:
            body = (await operator.get(f"/v1/open-items?on={day}")).json()
            assert body["totals"]["open_cents"] == sum(item["open_cents"] for item in body["items"])
            return {item["invoice_id"]: item["open_cents"] for item in body["items"]}

        assert await open_on("2026-12-09") == {first: cents, second: cents, third: cents}
        assert await open_on("2026-12-10") == {second: cents - 100, third: -1}
        assert await open_on("2026-12-20") == {third: -1}
        assert await open_on("2026-11-30") == {}

    async def test_a_reseller_sees_its_own_in_json_and_csv(self, database: Database, make_tenant: MakeTenant) -> None:
        await add_billable_resellers(database, 2)
        tenant = await make_tenant(name="+Haus")
        async with database.as_system() as session:
            await add_mailboxes(session, tenant.reseller_id, await add_customer(session, tenant.reseller_id))
        await bill(database)
        [item] = (await tenant.client.get("/v1/open-items")).json()["items"]
        assert (item["reseller_id"], item["reseller_name"]) == (tenant.reseller_id, "+Haus")
        answer = await tenant.client.get("/v1/open-items?format=csv")
        [row] = csv.DictReader(io.StringIO(answer.text, newline=""))
        assert (row["number"], row["open_cents"]) == (item["number"], str(item["open_cents"]))
        assert (row["reseller_name"], row["days_overdue"]) == ("'+Haus", "")


class TestRevenue:
    async def test_it_is_the_net_of_the_invoices_by_class_and_month(
        self, database: Database, operator: httpx.AsyncClient
    ) -> None:
        months = [NOVEMBER.previous(), NOVEMBER]
        async with database.as_system() as session:
            await random_world(session, SEED, months=months)
        for month in months:
            await bill(database, month)
        body = (await operator.get("/v1/exports/revenue?from=2026-01-01&to=2027-01-01")).json()
        expected = await read(
            database,
            "select to_char(period_starts_on, 'YYYY-MM'), service_class, sum(line.mailbox_days), sum(line.net_cents) "
            "from invoice join invoice_line line on line.invoice_id = invoice.id group by 1, 2 order by 1, 2",
        )
        names = ("period", "service_class", "mailbox_days", "net_cents")
        assert [tuple(row[name] for name in names) for row in body["items"]] == expected
        [(net,)] = await read(database, "select sum(net_cents) from invoice")
        assert body["net_cents"] == net > 0
        october = (await operator.get("/v1/exports/revenue?from=2026-10-01&to=2026-11-01")).json()
        assert {row["period"] for row in october["items"]} == {"2026-10"}
        answer = await operator.get("/v1/exports/revenue?format=csv")
        found = list(csv.DictReader(io.StringIO(answer.text, newline="")))
        assert found == [{name: str(value) for name, value in row.items()} for row in body["items"]]

    async def test_without_invoices_it_is_empty(self, operator: httpx.AsyncClient, database: Database) -> None:
        assert await read(database, "select 1 from invoice") == []
        assert (await operator.get("/v1/exports/revenue")).json() == {"net_cents": 0, "items": []}
