"""Coupons, discounts and credit: what they take off invoices, and that nothing is taken twice or below nothing."""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from billing import discounts, drafts, runs
from billing.periods import BillingMonth
from billing.preview import preview
from billing.rating import Allowance, Line, allowances_of, rate, total
from billing.terms import AllowanceKind, CouponDuration
from billing.vat import VatRate
from provisioning.core.database import Database
from provisioning.core.errors import Conflict, Invalid, NotFound
from provisioning.core.ids import new_id
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    ISSUER,
    NOVEMBER,
    add_billable_resellers,
    bill,
    number,
    random_world,
    read,
)

MONTHS = tuple(BillingMonth(2028, month) for month in (1, 2, 3))
AFTERWARDS = datetime(2028, 4, 1, 4, 0, tzinfo=UTC)
DECEMBER, IN_JANUARY = BillingMonth(2026, 12), datetime(2027, 1, 1, 6, tzinfo=UTC)
cents = st.integers(min_value=0, max_value=10**9)


async def give(
    session: AsyncSession,
    reseller_id: str,
    *,
    percent: int | None = None,
    amount: int | None = None,
    months: int | None = None,
    first: BillingMonth = NOVEMBER,
) -> str:
    """A coupon of its own for a reseller; `months` None is forever."""
    coupon = await discounts.create_coupon(
        session,
        name="Treue",
        duration=CouponDuration.FOREVER if months is None else CouponDuration.REPEATING,
        percent_basis_points=percent,
        amount_cents=amount,
        duration_in_months=months,
        now=IN_DECEMBER,
    )
    return (await discounts.grant_discount(session, reseller_id, coupon_id=coupon.id, first=first, now=IN_DECEMBER)).id


async def credit(session: AsyncSession, reseller_id: str, amount_cents: int) -> None:
    await discounts.grant_credit(
        session, reseller_id, amount_cents=amount_cents, reason="Ausfall", actor="operator", now=IN_DECEMBER
    )


async def sums(database: Database) -> list[tuple[int, ...]]:
    return await read(
        database, "select allowances_cents, net_cents, tax_cents, gross_cents from invoice order by sequence"
    )


@given(cents, st.none() | st.integers(min_value=1, max_value=10_000), cents, cents)
def test_what_is_taken_off_never_passes_what_there_is(
    lines_cents: int, percent: int | None, amount_cents: int, credit_cents: int
) -> None:
    taken = allowances_of(
        lines_cents, percent_basis_points=percent, amount_cents=amount_cents, credit_cents=credit_cents
    )
    document = total([Line("cus_1", "imap", 1, 1, 1, lines_cents)], VatRate("S", 1900), taken)
    assert document.net_cents + document.allowances_cents == lines_cents
    assert 0 <= document.net_cents <= lines_cents
    assert all(0 < each.amount_cents <= each.base_cents for each in taken)
    used = sum(each.amount_cents for each in taken if each.kind == AllowanceKind.CREDIT)
    assert used == credit_cents or document.net_cents == 0
    if percent == 10_000:
        assert document.gross_cents == used == 0


@pytest.mark.parametrize("seed", [81, 82, 83])
async def test_the_run_takes_off_what_the_pure_module_says(fresh_database: Database, seed: int) -> None:
    random_source = random.Random(seed)
    balance: Counter[str] = Counter()
    given: dict[str, tuple[int | None, int, Sequence[BillingMonth]]] = {}
    async with fresh_database.as_system() as session:
        world = await random_world(session, seed, months=MONTHS)
        for reseller_id in world.periods:
            if random_source.random() < 0.7:
                count = random_source.randint(1, 3)
                percent, amount = random_source.choice(((None, 700), (1234, None), (10_000, None)))
                first = random_source.choice(MONTHS)
                await give(session, reseller_id, percent=percent, amount=amount, months=count, first=first)
                begun = MONTHS[MONTHS.index(first) :]
                given[reseller_id] = percent, amount or 0, begun[:count]
            if random_source.random() < 0.7:
                balance[reseller_id] = random_source.randint(1, 30_000)
                await credit(session, reseller_id, balance[reseller_id])
    for month in MONTHS:
        await number(fresh_database, month, now=AFTERWARDS)
        expected = []
        for reseller_id, periods in sorted(world.periods.items()):
            lines = rate(periods, world.table(reseller_id, month), month)
            percent, amount_cents, counted = given.get(reseller_id, (None, 0, ()))
            taken = allowances_of(
                sum(line.net_cents for line in lines),
                percent_basis_points=percent if month in counted else None,
                amount_cents=amount_cents if month in counted else 0,
                credit_cents=balance[reseller_id],
            )
            document = total(lines, VatRate("S", 1900), taken)
            balance[reseller_id] -= sum(each.amount_cents for each in taken if each.kind == AllowanceKind.CREDIT)
            if lines:
                shown = [(each.kind.value, each.base_cents, each.amount_cents) for each in taken]
                expected.append((reseller_id, document.net_cents, document.tax_cents, shown))
        billed = await read(
            fresh_database,
            "select reseller_id, net_cents, tax_cents from invoice where period_starts_on = :month",
            month=month.starts_on,
        )
        rows = await read(
            fresh_database,
            "select allowance.reseller_id, kind, base_cents, amount_cents from invoice_allowance allowance "
            "join invoice on invoice.id = invoice_id where period_starts_on = :month order by allowance.position",
            month=month.starts_on,
        )
        assert [
            (owner, net, tax, [tuple(row[1:]) for row in rows if row[0] == owner]) for owner, net, tax in sorted(billed)
        ] == expected
    async with fresh_database.as_system() as session:
        for reseller_id in world.periods:
            assert await discounts.credit_balance(session, reseller_id) == balance[reseller_id]


class TestBounds:
    async def test_a_discount_of_100_percent_makes_an_invoice_of_nothing_that_is_issued(
        self, fresh_database: Database
    ) -> None:
        (reseller_id,) = await add_billable_resellers(fresh_database, 1)
        async with fresh_database.as_system() as session:
            await give(session, reseller_id, percent=10_000)
        run = await bill(fresh_database)
        assert (run.parked, run.finalised) == (0, 1)
        assert await sums(fresh_database) == [(737, 0, 0, 0)]
        assert await read(fresh_database, "select number, status from invoice") == [("PF-2026-000001", "final")]

    async def test_a_discount_larger_than_the_invoice_is_lost_beyond_it(self, fresh_database: Database) -> None:
        (reseller_id,) = await add_billable_resellers(fresh_database, 1)
        async with fresh_database.as_system() as session:
            await give(session, reseller_id, amount=1_000)
        await bill(fresh_database)
        await bill(fresh_database, DECEMBER, now=IN_JANUARY)
        assert await sums(fresh_database) == [(737, 0, 0, 0), (1_000, 580, 110, 690)]

    async def test_what_would_make_the_total_negative_is_carried_to_the_next_invoice(
        self, fresh_database: Database
    ) -> None:
        (reseller_id,) = await add_billable_resellers(fresh_database, 1)
        async with fresh_database.as_system() as session:
            await credit(session, reseller_id, 1_000)
        await bill(fresh_database)
        await bill(fresh_database, DECEMBER, now=IN_JANUARY)
        assert await sums(fresh_database) == [(737, 0, 0, 0), (263, 1_317, 250, 1_567)]
        entries = await read(fresh_database, "select amount_cents, reason from credit order by created_at, id")
        assert entries == [(1_000, "Ausfall"), (-737, "PF-2026-000001"), (-263, "PF-2027-000001")]


class TestDuration:
    async def test_a_coupon_counts_for_its_months_only(self, fresh_database: Database) -> None:
        (reseller_id,) = await add_billable_resellers(fresh_database, 1)
        async with fresh_database.as_system() as session:
            await give(session, reseller_id, percent=5_000, months=1, first=DECEMBER)
        for month, now in ((NOVEMBER, IN_DECEMBER), (DECEMBER, IN_JANUARY)):
            await bill(fresh_database, month, now=now)
        await bill(fresh_database, DECEMBER.next(), now=datetime(2027, 2, 1, 6, tzinfo=UTC))
        assert [row[0] for row in await sums(fresh_database)] == [0, 790, 0]

    async def test_once_is_one_month_and_one_that_is_ended_counts_for_this_month_still(
        self, fresh_database: Database
    ) -> None:
        (reseller_id,) = await add_billable_resellers(fresh_database, 1)
        async with fresh_database.as_system() as session:
            once = await discounts.create_coupon(
                session, name="Einmal", duration=CouponDuration.ONCE, amount_cents=100, now=IN_DECEMBER
            )
            first = await discounts.grant_discount(
                session, reseller_id, coupon_id=once.id, first=NOVEMBER, now=IN_DECEMBER
            )
            assert (first.starts_on, first.ends_on) == (date(2026, 11, 1), date(2026, 12, 1))
            forever = await give(session, reseller_id, percent=100, first=DECEMBER)
            for _ in range(2):
                ended = await discounts.end_discount(session, forever, today=date(2027, 2, 17))
                assert ended.ends_on == date(2027, 3, 1)
            later = await give(session, reseller_id, percent=100, first=BillingMonth(2027, 6))
            never = await discounts.end_discount(session, later, today=date(2027, 2, 17))
            assert (never.starts_on, never.ends_on) == (date(2027, 6, 1), date(2027, 6, 1))
            await give(session, reseller_id, percent=100, first=BillingMonth(2027, 6))

    async def test_a_reseller_has_one_discount_at_a_time(self, fresh_database: Database) -> None:
        one, other = await add_billable_resellers(fresh_database, 2)
        async with fresh_database.as_system() as session:
            await give(session, one, percent=100)
            await give(session, other, percent=100)
        with pytest.raises(Conflict) as refusal:
            async with fresh_database.as_system() as session:
                await give(session, one, percent=100, first=DECEMBER)
        assert refusal.value.code == "discount_overlaps"


class TestCredit:
    async def test_credit_that_another_invoice_used_meanwhile_parks_and_a_retry_takes_what_is_left(
        self, fresh_database: Database
    ) -> None:
        (reseller_id,) = await add_billable_resellers(fresh_database, 1)
        async with fresh_database.as_system() as session:
            await credit(session, reseller_id, 500)
            run = await runs.start_run(session, DECEMBER, actor="operator", now=IN_JANUARY)
            await session.flush()
            await drafts.rate_and_draft(session, run, now=IN_JANUARY)
            await session.execute(text("update invoice_run set state = 'finalising'"))
        await bill(fresh_database, NOVEMBER, now=IN_JANUARY)
        assert (await sums(fresh_database))[0] == (500, 237, 45, 282)
        run = await runs.continue_run(fresh_database, run.id, now=IN_JANUARY, issuer=ISSUER)
        assert (run.parked, run.finalised) == (1, 0)
        assert await read(fresh_database, "select code from invoice_run_item where code is not null") == [
            ("credit_changed",)
        ]
        async with fresh_database.as_system() as session:
            await runs.retry_parked(session, run.id)
        await runs.continue_run(fresh_database, run.id, now=IN_JANUARY, issuer=ISSUER)
        assert await sums(fresh_database) == [(500, 237, 45, 282), (0, 1_580, 300, 1_880)]
        async with fresh_database.as_system() as session:
            assert await discounts.credit_balance(session, reseller_id) == 0

    async def test_the_preview_says_the_same_before_and_after_the_invoice(self, fresh_database: Database) -> None:
        (reseller_id,) = await add_billable_resellers(fresh_database, 1)
        async with fresh_database.as_system() as session:
            await credit(session, reseller_id, 100)
            await give(session, reseller_id, percent=1_000)
        async with fresh_database.as_tenant(reseller_id) as session:
            before = await preview(session, reseller_id, NOVEMBER, now=IN_DECEMBER)
        await bill(fresh_database)
        async with fresh_database.as_tenant(reseller_id) as session:
            after = await preview(session, reseller_id, NOVEMBER, now=IN_DECEMBER)
            following = await preview(session, reseller_id, DECEMBER, now=IN_DECEMBER)
        assert before == after
        assert before.allowances == (
            Allowance(AllowanceKind.DISCOUNT, "Treue", 737, 74, 1_000),
            Allowance(AllowanceKind.CREDIT, "Guthaben", 663, 100),
        )
        assert await sums(fresh_database) == [(174, 563, 107, 670)]
        assert [each.kind for each in following.allowances] == [AllowanceKind.DISCOUNT]

    @pytest.mark.parametrize(
        "attempt",
        [
            "update credit set amount_cents = 1",
            "delete from credit",
            "update invoice_allowance set reason = ''",
            "delete from invoice_allowance",
        ],
    )
    async def test_what_was_granted_and_taken_cannot_be_changed(self, fresh_database: Database, attempt: str) -> None:
        (reseller_id,) = await add_billable_resellers(fresh_database, 1)
        async with fresh_database.as_system() as session:
            await credit(session, reseller_id, 100)
        await bill(fresh_database)
        with pytest.raises(IntegrityError, match="is final"):
            async with fresh_database.as_system() as session:
                await session.execute(text(attempt))


class TestRefused:
    @pytest.mark.parametrize(
        ("wrong", "pointer"),
        [
            ({}, "/amount_cents"),
            ({"percent_basis_points": 100, "amount_cents": 100}, "/amount_cents"),
            ({"percent_basis_points": 10_001}, "/percent_basis_points"),
            ({"amount_cents": -5}, "/amount_cents"),
            ({"amount_cents": 5, "duration_in_months": 3}, "/duration_in_months"),
        ],
    )
    async def test_a_coupon_that_cannot_be_is_refused(
        self, database: Database, wrong: dict[str, int], pointer: str
    ) -> None:
        async with database.as_system() as session:
            with pytest.raises(Invalid) as refusal:
                await discounts.create_coupon(
                    session, name="Falsch", duration=CouponDuration.FOREVER, now=IN_DECEMBER, **wrong
                )
        assert pointer in [error.pointer for error in refusal.value.errors]

    async def test_what_is_not_there_is_not_found(self, database: Database) -> None:
        async with database.as_system() as session:
            with pytest.raises(NotFound):
                await discounts.get_coupon(session, new_id("cou"))
            with pytest.raises(NotFound):
                await discounts.end_discount(session, new_id("dis"), today=date(2026, 11, 1))
            with pytest.raises(NotFound):
                await credit(session, new_id("res"), 100)
            with pytest.raises(Invalid):
                await credit(session, new_id("res"), 0)
