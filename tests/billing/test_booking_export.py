"""The debtors' accounts hold what the open items say, whatever became of invoices and fees, over all months."""

import io
import random
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta

import pytest

from billing.booking_export import books_for, write_bookings
from billing.documents.datev import Booking
from billing.documents.datev_bookings import SKR03, SKR04, ChartOfAccounts
from billing.documents.datev_check import read_batch
from billing.models import Books, ChartName
from billing.payment_models import EntryKind, PaymentStatus
from provisioning.core.database import Database
from provisioning.core.errors import Invalid
from provisioning.core.ids import new_id
from tests.billing.dunning_world import DUE, Arrears

pytestmark = pytest.mark.anyio

FIRST, END = date(2026, 12, 1), date(2027, 7, 1)
CHARTS: dict[ChartName, ChartOfAccounts] = {"SKR03": SKR03, "SKR04": SKR04}
TAXES = {"S": 1900, "AE": 0, "O": 0, "E": 0}


@pytest.fixture
def arrears(fresh_database: Database) -> Arrears:
    """All invoices there are get exported."""
    return Arrears(fresh_database)


@pytest.fixture(params=["SKR03", "SKR04"])
def books(request: pytest.FixtureRequest) -> Books:
    return Books(29098, 55003, request.param)


async def exported(arrears: Arrears, books: Books, *, starts_on: date = FIRST, ends_on: date = END) -> list[Booking]:
    file = io.BytesIO()
    async with arrears.database.as_system() as session:
        booked = await write_bookings(session, file, books=books, starts_on=starts_on, ends_on=ends_on, now=arrears.now)
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if "Buchungsstapel" in name]
        bookings = [each for name in names for each in read_batch(archive.read(name))[1]]
    assert booked.sums.bookings == len(bookings)
    return bookings


def balances(bookings: list[Booking]) -> dict[int, int]:
    """Debits less credits of each account, without those that come to nothing."""
    sums: Counter[int] = Counter()
    for each in bookings:
        signed = each.amount_cents if each.side == "S" else -each.amount_cents
        sums[each.account] += signed
        sums[each.contra_account] -= signed
    return {account: cents for account, cents in sums.items() if cents}


def left_by_number(bookings: list[Booking], chart: ChartOfAccounts) -> dict[tuple[int, str], int]:
    """What each debtor owes by Belegfeld 1, which is how DATEV settles; without what is settled."""
    sums: Counter[tuple[int, str]] = Counter()
    for each in bookings:
        signed = each.amount_cents if each.side == "S" else -each.amount_cents
        for account, cents in ((each.account, signed), (each.contra_account, -signed)):
            if account >= chart.first_debtor:
                sums[account, each.number] += cents
    return {place: cents for place, cents in sums.items() if cents}


async def open_by_number(arrears: Arrears, *, on: date) -> dict[tuple[int, str], int]:
    accounts = {
        str(reseller_id): SKR03.first_debtor + int(number)
        for reseller_id, number in await arrears.read("select reseller_id, number from debtor_account")
    }
    return {
        (accounts[item["reseller_id"]], item["number"]): item["open_cents"] for item in await arrears.open_items(on=on)
    }


def debtor_balances(items: Mapping[tuple[int, str], int]) -> dict[int, int]:
    sums: Counter[int] = Counter()
    for (account, _), cents in items.items():
        sums[account] += cents
    return {account: cents for account, cents in sums.items() if cents}


class TestFee:
    async def test_it_is_income_without_tax_and_its_receipt_settles_it(self, arrears: Arrears, books: Books) -> None:
        chart = CHARTS[books.chart]
        payment_id = await arrears.bill(await arrears.add_reseller())
        await arrears.let_pass(25)
        [fee] = [each for each in await exported(arrears, books) if each.contra_account == chart.fee_income]
        assert (fee.amount_cents, fee.side, fee.tax_key, fee.number) == (500, "S", "", "PF-2026-000001")
        assert (fee.document_on, fee.text) == (DUE + timedelta(days=20), "Mahngebühr PF-2026-000001 Groß")
        assert balances(await exported(arrears, books))[fee.account] == 10_500
        await arrears.pay(payment_id, 10_500)
        assert balances(await exported(arrears, books)) == {
            chart.standard[1900]: -10_000,
            chart.fee_income: -500,
            chart.bank: 10_500,
        }

    async def test_one_that_is_waived_after_the_invoice_was_paid_is_no_income(
        self, arrears: Arrears, books: Books
    ) -> None:
        chart = CHARTS[books.chart]
        payment_id = await arrears.bill(await arrears.add_reseller())
        await arrears.let_pass(25)
        await arrears.pay(payment_id, 10_200)
        await arrears.let_pass(30)
        await arrears.write_off(payment_id)
        assert await arrears.status(payment_id) == PaymentStatus.PAID
        waived = [each for each in await exported(arrears, books) if each.is_reversal]
        assert [(each.amount_cents, each.side, each.contra_account) for each in waived] == [
            (300, "H", chart.fee_income)
        ]
        assert balances(await exported(arrears, books)) == {
            chart.standard[1900]: -10_000,
            chart.fee_income: -200,
            chart.bank: 10_200,
        }

    async def test_the_one_for_a_returned_debit_is_booked_alike(self, arrears: Arrears, books: Books) -> None:
        payment_id = await arrears.bill(await arrears.add_reseller())
        await arrears.move(payment_id, EntryKind.FEE, -350, source="bank:2026-12-20/1:fee")
        [fee] = [
            each for each in await exported(arrears, books) if each.contra_account == CHARTS[books.chart].fee_income
        ]
        assert (fee.amount_cents, fee.text) == (350, "Rücklastschriftgebühr PF-2026-000001 Groß")

    async def test_the_adviser_may_want_it_elsewhere_but_not_where_it_would_be_taxed(self, arrears: Arrears) -> None:
        payment_id = await arrears.bill(await arrears.add_reseller())
        await arrears.move(payment_id, EntryKind.FEE, -350, source="dun_1:fee")
        books = Books(29098, 55003, account_length=5, fee_income_account=27_470)
        assert balances(await exported(arrears, books))[27_470] == -350
        for account in (84_000, 12_000, 24_060, 2747):
            with pytest.raises(Invalid) as refusal:
                await exported(arrears, replace(books, fee_income_account=account))
            assert refusal.value.code == "datev_fee_account"
        assert books_for(books, {"chart": "SKR03"}).fee_income_account == 27_470
        assert books_for(books, {"chart": "SKR04"}).fee_income_account is None


class TestBadDebt:
    async def test_what_is_left_after_a_part_was_paid_is_lost_with_its_tax_months_later(
        self, arrears: Arrears, books: Books
    ) -> None:
        chart = CHARTS[books.chart]
        payment_id = await arrears.bill(await arrears.add_reseller(), 11_900)
        await arrears.pay(payment_id, 4_000)
        await arrears.let_pass(60)
        await arrears.write_off(payment_id)
        assert await arrears.status(payment_id) == PaymentStatus.UNCOLLECTIBLE
        december = await exported(arrears, books, ends_on=date(2027, 1, 1))
        [debtor] = debtor_balances(left_by_number(december, chart))
        assert balances(december) == {debtor: 7_900, chart.standard[1900]: -11_900, chart.bank: 4_000}
        february = await exported(arrears, books, starts_on=date(2027, 2, 1))
        assert balances(february) == {
            debtor: -8_400,
            chart.bad_debts[1900]: 7_900,
            chart.bad_debts_untaxed: 500,
        }
        assert {each.document_on for each in february} == {arrears.today}
        assert debtor not in balances(await exported(arrears, books))

    @pytest.mark.parametrize("category", ["AE", "O", "E"])
    async def test_without_tax_on_the_invoice_there_is_none_to_correct(
        self, arrears: Arrears, books: Books, category: str
    ) -> None:
        chart = CHARTS[books.chart]
        vat_id = "ATU12345678"
        payment_id = await arrears.bill(await arrears.add_reseller(), tax=(category, 0), vat_id=vat_id)
        await arrears.write_off(payment_id)
        assert balances(await exported(arrears, books)) == {
            chart.revenue_account(category, 0): -10_000,
            chart.bad_debts_untaxed: 10_000,
        }

    async def test_a_debit_that_comes_back_after_a_fee_was_waived_is_lost_in_full(
        self, arrears: Arrears, books: Books
    ) -> None:
        chart = CHARTS[books.chart]
        payment_id = await arrears.bill(await arrears.add_reseller())
        await arrears.let_pass(25)
        await arrears.pay(payment_id, 10_000)
        await arrears.write_off(payment_id)
        await arrears.move(payment_id, EntryKind.CHARGEBACK, -10_000, source="bank:back")
        await arrears.write_off(payment_id)
        assert balances(await exported(arrears, books)) == {
            chart.standard[1900]: -10_000,
            chart.bad_debts[1900]: 10_000,
        }


class TestCredit:
    async def test_what_was_paid_too_much_is_owed_to_the_debtor_until_it_pays_another_invoice(
        self, arrears: Arrears, books: Books
    ) -> None:
        chart = CHARTS[books.chart]
        reseller_id = await arrears.add_reseller()
        first = await arrears.bill(reseller_id)
        await arrears.pay(first, 16_000)
        assert balances(await exported(arrears, books)) == {
            chart.standard[1900]: -10_000,
            chart.bank: 16_000,
            chart.credit_balance: -6_000,
        }
        await arrears.bill(reseller_id, 9_000, due_on=DUE + timedelta(days=31))
        bookings = await exported(arrears, books)
        [(debtor, number)] = left_by_number(bookings, chart)
        assert number == "PF-2026-000002"
        assert balances(bookings) == {chart.standard[1900]: -19_000, chart.bank: 16_000, debtor: 3_000}


@pytest.mark.parametrize("seed", [20261128, 20261129])
async def test_of_any_history_the_debtors_hold_the_open_items_at_the_end_of_each_month(
    arrears: Arrears, seed: int
) -> None:
    """Every invoice by itself, on both charts; what Belegfeld 1 settles in DATEV is settled here and nothing else."""
    chance = random.Random(seed)
    resellers = [await arrears.add_reseller() for _ in range(6)]
    given_up = 0
    owed: list[str] = []
    while arrears.today < END - timedelta(days=10):
        for reseller_id in chance.sample(resellers, 3):
            category = chance.choice(list(TAXES))
            owed.append(
                await arrears.bill(
                    reseller_id,
                    chance.choice([0, -1_200, 1, 595, 11_900, chance.randrange(1, 10**7)]),
                    due_on=arrears.today + timedelta(days=14),
                    tax=(category, TAXES[category]),
                    vat_id="ATU12345678",
                )
            )
        for payment_id in chance.sample(owed, min(6, len(owed))):
            given_up += await happen(arrears, chance, payment_id)
        arrears.today += timedelta(days=chance.randrange(3, 9))
        await arrears.dun()
    kinds = {kind for (kind,) in await arrears.read("select distinct kind from payment_entry")}
    assert kinds == set(EntryKind)
    assert given_up > 5
    for chart_name, chart in CHARTS.items():
        bookings = await exported(arrears, Books(29098, 55003, chart_name))
        ends_on = date(2027, 1, 1)
        while ends_on <= END:
            so_far = [each for each in bookings if each.document_on < ends_on]
            items = await open_by_number(arrears, on=ends_on - timedelta(days=1))
            assert left_by_number(so_far, chart) == items
            found = {account: cents for account, cents in balances(so_far).items() if account >= chart.first_debtor}
            assert found == debtor_balances(items) != {}
            ends_on = (ends_on + timedelta(days=31)).replace(day=1)
        credit = await arrears.read("select -sum(amount_cents)::bigint from payment_entry where payment_id is null")
        assert credit == [(balances(bookings).get(chart.credit_balance, 0),)]


async def happen(arrears: Arrears, chance: random.Random, payment_id: str) -> bool:
    """Something befalls a payment; whether it was given up."""
    [(amount, due, credited)] = await arrears.read(
        "select payment.amount_cents, payment.amount_cents - coalesce(sum(entry.amount_cents), 0)::bigint, "
        "coalesce(sum(entry.amount_cents) filter (where kind = 'credit_note'), 0)::bigint "
        "from payment left join payment_entry entry on entry.payment_id = payment.id "
        "where payment.id = :id group by payment.id",
        id=payment_id,
    )
    event = chance.choice(["part", "all", "too much", "by card", "comes back", "credited", "given up", "given up"])
    source = new_id("src")
    if event in ("part", "all", "too much") and due > 0:
        cents = {"part": chance.randint(1, due), "all": due, "too much": due + chance.randint(1, 9_999)}[event]
        await arrears.pay(payment_id, cents)
    elif event == "by card" and due > 0:
        await arrears.move(payment_id, EntryKind.RECEIPT, due, source=f"ch_{source}")
    elif event == "comes back" and amount > 0:
        kind = chance.choice([EntryKind.CHARGEBACK, EntryKind.REFUND])
        await arrears.move(payment_id, kind, -chance.randint(1, amount), source=f"bank:{source}")
        await arrears.move(payment_id, EntryKind.FEE, -350, source=f"bank:{source}:fee")
    elif event == "credited" and amount > credited:
        await arrears.credit(payment_id, chance.randint(1, amount - credited))
    elif event == "given up" and due > 0 and await arrears.status(payment_id) == PaymentStatus.OPEN:
        await arrears.write_off(payment_id)
        return True
    return False
