"""Unpaid invoices: each step once and in order, nothing while money is under way, and service that follows payment."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from billing import dunning
from billing.dunning_plan import DEFAULT_POLICY, Policy, PolicyStep, StepKind
from billing.notices import write_dunning
from billing.payment_models import AttemptState, EntryKind
from billing.settlement import book, lock_payment, restate
from provisioning.core.database import Database
from provisioning.tenants import get_reseller, suspend
from provisioning.terms import Standing
from tests.billing.dunning_world import DUE, Arrears

pytestmark = pytest.mark.anyio

ALL = [("reminder", 3), ("first_dunning", 10), ("second_dunning", 20), ("suspension", 30)]


class Killed(Exception):
    pass


@pytest.fixture
async def arrears(fresh_database: Database) -> Arrears:
    """Dunning looks at everything there is, so nothing else may be."""
    return Arrears(fresh_database)


class TestSteps:
    async def test_an_unpaid_invoice_gets_each_step_on_its_day_and_a_notice_with_it(self, arrears: Arrears) -> None:
        reseller_id = await arrears.add_reseller()
        payment_id = await arrears.bill(reseller_id)
        await arrears.let_pass(60)
        assert await arrears.steps(payment_id) == ALL
        assert await arrears.notices(reseller_id) == [kind for kind, _ in ALL]

    async def test_a_paid_one_gets_none(self, arrears: Arrears) -> None:
        reseller_id = await arrears.add_reseller()
        payment_id = await arrears.bill(reseller_id)
        await arrears.pay(payment_id, 10_000)
        await arrears.let_pass(40)
        assert await arrears.steps(payment_id) == []
        assert await arrears.notices(reseller_id) == []

    async def test_what_is_paid_late_ends_where_it_was_paid(self, arrears: Arrears) -> None:
        payment_id = await arrears.bill(await arrears.add_reseller())
        await arrears.let_pass(12)
        await arrears.pay(payment_id, 10_000)
        await arrears.let_pass(40)
        assert await arrears.steps(payment_id) == ALL[:2]

    async def test_workers_that_come_at_once_take_each_step_once(self, arrears: Arrears) -> None:
        reseller_id = await arrears.add_reseller()
        payments = [await arrears.bill(reseller_id) for _ in range(5)]
        for day in range(3, 31):
            arrears.today = DUE + timedelta(days=day)
            await asyncio.gather(*(arrears.dun(again=True) for _ in range(4)))
        assert [await arrears.steps(each) for each in payments] == [ALL] * 5
        assert len(await arrears.notices(reseller_id)) == 20
        fees = await arrears.read("select count(*), sum(amount_cents) from payment_entry where kind = 'fee'")
        assert fees == [(5, -2_500)]

    async def test_a_day_is_gone_through_once(self, arrears: Arrears) -> None:
        arrears.today = DUE + timedelta(days=3)
        assert await arrears.dun() == 0
        await arrears.bill(await arrears.add_reseller())
        assert await arrears.dun() == 0
        assert await arrears.dun(again=True) == 1
        assert await arrears.dun(again=True) == 0

    async def test_a_day_that_a_killed_worker_began_is_finished_by_another(self, arrears: Arrears) -> None:
        arrears.today = DUE + timedelta(days=3)
        payments = [await arrears.bill(await arrears.add_reseller()) for _ in range(3)]
        async with arrears.database.as_system() as session:
            await session.execute(
                text("insert into dunning_day (day, started_at) values (:day, :now)"),
                {"day": arrears.today, "now": arrears.now},
            )
        assert await arrears.dun() == 3
        assert [await arrears.steps(each) for each in payments] == [ALL[:1]] * 3
        assert await arrears.dun() == 0

    @pytest.mark.parametrize("last_words", range(5))
    async def test_one_that_dies_anywhere_is_followed_by_another_that_repeats_nothing(
        self, arrears: Arrears, monkeypatch: pytest.MonkeyPatch, last_words: int
    ) -> None:
        """Five invoices, two in a block: the worker dies before its first, second, ... letter."""
        reseller_id = await arrears.add_reseller()
        payments = [await arrears.bill(reseller_id) for _ in range(5)]
        await arrears.let_pass(19)
        arrears.today += timedelta(days=1)
        said = 0

        async def die_before(*arguments: Any, **options: Any) -> None:
            nonlocal said
            if said == last_words:
                raise Killed
            said += 1
            await write_dunning(*arguments, **options)

        monkeypatch.setattr(dunning, "BLOCK", 2)
        monkeypatch.setattr("billing.dunning.write_dunning", die_before)
        with pytest.raises(Killed):
            await arrears.dun()
        assert len(await arrears.notices(reseller_id)) == 10 + last_words // 2 * 2, "a block is done or it is not"
        monkeypatch.setattr("billing.dunning.write_dunning", write_dunning)
        assert await arrears.dun() == 5 - last_words // 2 * 2
        assert [await arrears.steps(each) for each in payments] == [ALL[:3]] * 5
        assert [await arrears.entries(each) for each in payments] == [[("fee", -500)]] * 5
        assert len(await arrears.notices(reseller_id)) == 15

    async def test_after_an_outage_the_steps_keep_their_distance(self, arrears: Arrears) -> None:
        payment_id = await arrears.bill(await arrears.add_reseller())
        arrears.today = DUE + timedelta(days=45)
        await arrears.let_pass(60)
        assert [days for _, days in await arrears.steps(payment_id)] == [46, 53, 63, 73]

    async def test_the_operators_own_policy_holds(self, arrears: Arrears) -> None:
        steps = (PolicyStep(StepKind.FIRST_DUNNING, 1, fee_cents=250), PolicyStep(StepKind.SUSPENSION, 5))
        await arrears.set_policy(Policy(steps, 0))
        payment_id = await arrears.bill(await arrears.add_reseller(), 50)
        await arrears.let_pass(40)
        assert await arrears.steps(payment_id) == [("first_dunning", 1), ("suspension", 5)]

    async def test_the_day_is_the_one_in_berlin(self, arrears: Arrears) -> None:
        payment_id = await arrears.bill(await arrears.add_reseller())
        arrears.today = DUE + timedelta(days=2)
        for hour, taken in ((22, 0), (23, 1)):
            now = arrears.now.replace(hour=hour)
            assert await dunning.run_day(arrears.database, arrears.head, now=now) == taken
        assert await arrears.steps(payment_id) == ALL[:1]


class TestHolds:
    @pytest.mark.parametrize("state", [AttemptState.SENDING, AttemptState.UNKNOWN, AttemptState.PROCESSING])
    async def test_nobody_is_dunned_while_a_debit_is_under_way(self, arrears: Arrears, state: AttemptState) -> None:
        payment_id = await arrears.bill(await arrears.add_reseller())
        attempt_id = await arrears.begin_debit(payment_id, state)
        await arrears.let_pass(25)
        assert await arrears.steps(payment_id) == []
        await arrears.end_debit(payment_id, attempt_id)
        await arrears.let_pass(60)
        assert [days for _, days in await arrears.steps(payment_id)] == [26, 33, 43, 53]

    async def test_who_has_to_confirm_a_payment_itself_is_reminded_of_it(self, arrears: Arrears) -> None:
        payment_id = await arrears.bill(await arrears.add_reseller())
        await arrears.begin_debit(payment_id)
        async with arrears.database.as_system() as session:
            payment = await lock_payment(session, payment_id)
            payment.action_url = "https://bank.example/confirm"
            await restate(session, payment, now=arrears.now)
        assert await arrears.status(payment_id) == "requires_action"
        await arrears.let_pass(40)
        assert await arrears.steps(payment_id) == ALL

    async def test_nor_while_a_bank_decides_on_a_dispute(self, arrears: Arrears) -> None:
        payment_id = await arrears.bill(await arrears.add_reseller())
        await arrears.let_pass(5)
        await _dispute(arrears, payment_id, "needs_response")
        await arrears.let_pass(40)
        assert await arrears.steps(payment_id) == ALL[:1]

    async def test_nor_for_a_small_rest(self, arrears: Arrears) -> None:
        payment_id = await arrears.bill(await arrears.add_reseller())
        await arrears.pay(payment_id, 10_000 - DEFAULT_POLICY.small_amount_cents + 1)
        await arrears.let_pass(40)
        assert await arrears.steps(payment_id) == []

    async def test_nor_during_a_pause(self, arrears: Arrears) -> None:
        reseller_id, other_id = await arrears.add_reseller(), await arrears.add_reseller()
        paused, other = await arrears.bill(reseller_id), await arrears.bill(other_id)
        await arrears.pause(reseller_id, DUE + timedelta(days=50))
        await arrears.let_pass(80)
        assert [days for _, days in await arrears.steps(paused)] == [50, 57, 67, 77]
        assert await arrears.steps(other) == ALL


class TestFee:
    async def test_it_is_a_receivable_beside_the_invoice(self, arrears: Arrears) -> None:
        payment_id = await arrears.bill(await arrears.add_reseller())
        await arrears.let_pass(25)
        assert await arrears.entries(payment_id) == [("fee", -500)]
        invoices = await arrears.read("select net_cents, tax_cents, gross_cents from invoice")
        assert invoices == [(10_000, 0, 10_000)]
        await arrears.pay(payment_id, 10_500)
        assert await arrears.status(payment_id) == "paid"

    async def test_nobody_is_dunned_or_suspended_for_a_fee_alone(self, arrears: Arrears) -> None:
        reseller_id = await arrears.add_reseller()
        payment_id = await arrears.bill(reseller_id)
        await arrears.let_pass(25)
        await arrears.pay(payment_id, 10_000)
        await arrears.let_pass(40)
        assert await arrears.status(payment_id) == "open"
        assert await arrears.steps(payment_id) == ALL[:3]
        assert not await arrears.is_suspended(reseller_id)


class TestService:
    async def test_it_is_suspended_at_the_last_step_and_resumed_by_payment(self, arrears: Arrears) -> None:
        reseller_id = await arrears.add_reseller()
        payment_id = await arrears.bill(reseller_id)
        await arrears.let_pass(29)
        assert not await arrears.is_suspended(reseller_id)
        await arrears.let_pass(1)
        assert await arrears.is_suspended(reseller_id)
        await arrears.pay(payment_id, 9_000)
        await arrears.review()
        assert await arrears.is_suspended(reseller_id)
        await arrears.pay(payment_id, 1_000)
        assert (await arrears.review()).resumed == (reseller_id,)
        assert (await arrears.review()).resumed == ()
        assert not await arrears.is_suspended(reseller_id)
        assert (await arrears.notices(reseller_id))[-2:] == ["suspension", "resumption"]

    async def test_all_that_led_to_it_has_to_be_paid(self, arrears: Arrears) -> None:
        reseller_id = await arrears.add_reseller()
        first, second = await arrears.bill(reseller_id), await arrears.bill(reseller_id, due_on=DUE + timedelta(days=7))
        await arrears.let_pass(40)
        await arrears.pay(first, 10_000)
        await arrears.review()
        assert await arrears.is_suspended(reseller_id)
        await arrears.pay(second, 10_000)
        await arrears.review()
        assert not await arrears.is_suspended(reseller_id)

    async def test_a_pause_resumes_it_until_it_is_over(self, arrears: Arrears) -> None:
        reseller_id = await arrears.add_reseller()
        payment_id = await arrears.bill(reseller_id)
        await arrears.let_pass(31)
        await arrears.pause(reseller_id, arrears.today + timedelta(days=5))
        await arrears.review()
        assert not await arrears.is_suspended(reseller_id)
        await arrears.let_pass(4)
        assert not await arrears.is_suspended(reseller_id)
        await arrears.let_pass(1)
        assert await arrears.is_suspended(reseller_id)
        assert await arrears.steps(payment_id) == ALL
        assert (await arrears.notices(reseller_id))[-3:] == ["suspension", "resumption", "suspension"]

    async def test_what_a_bank_takes_back_suspends_it_again_once_that_is_decided(self, arrears: Arrears) -> None:
        reseller_id = await arrears.add_reseller()
        payment_id = await arrears.bill(reseller_id)
        await arrears.let_pass(31)
        await arrears.pay(payment_id, 10_500)
        await arrears.let_pass(1)
        await _dispute(arrears, payment_id, "needs_response", take_cents=10_500)
        await arrears.let_pass(3)
        assert not await arrears.is_suspended(reseller_id)
        await _dispute(arrears, payment_id, "lost")
        await arrears.let_pass(1)
        assert await arrears.is_suspended(reseller_id)
        assert await arrears.steps(payment_id) == ALL

    async def test_what_the_operator_suspended_itself_stays_so(self, arrears: Arrears) -> None:
        reseller_id = await arrears.add_reseller()
        payment_id = await arrears.bill(reseller_id)
        async with arrears.database.as_system() as session:
            suspend(await get_reseller(session, reseller_id, lock=True), reason="abuse")
        await arrears.let_pass(31)
        await arrears.pay(payment_id, 10_500)
        await arrears.review()
        async with arrears.database.as_system() as session:
            reseller = await get_reseller(session, reseller_id)
        assert (reseller.standing, reseller.standing_reason) == (Standing.SUSPENDED, "abuse")
        assert reseller.service_suspended_at is None

    async def test_reviews_at_once_tell_it_once(self, arrears: Arrears) -> None:
        reseller_id = await arrears.add_reseller()
        payment_id = await arrears.bill(reseller_id)
        await arrears.let_pass(31)
        await arrears.pay(payment_id, 10_500)
        await asyncio.gather(*(arrears.review() for _ in range(4)))
        assert (await arrears.notices(reseller_id)).count("resumption") == 1


_COPY = """
    insert into dunning_step (id, reseller_id, payment_id, invoice_id, days_past_due, owed_cents, fee_cents, taken_at,
        kind, taken_on)
    select 'dun_2', reseller_id, payment_id, invoice_id, days_past_due, owed_cents, fee_cents, taken_at, {values}
    from dunning_step
"""


class TestTheDatabaseHoldsIt:
    @pytest.mark.parametrize(
        "values",
        ["kind, taken_on + 1", "'first_dunning', taken_on"],
        ids=["the same kind again", "two on one day"],
    )
    async def test_no_step_is_written_that_must_not_be(self, arrears: Arrears, values: str) -> None:
        await arrears.bill(await arrears.add_reseller())
        await arrears.let_pass(3)
        copy = text(_COPY.format(values=values))
        with pytest.raises(IntegrityError, match="uq_dunning_step"):
            async with arrears.database.as_system() as session:
                await session.execute(copy)

    @pytest.mark.parametrize(
        "change",
        [
            "update dunning_step set fee_cents = 0",
            "delete from dunning_step",
            "update notice set body_de = ''",
            "delete from notice",
        ],
    )
    async def test_what_was_done_and_said_stays(self, arrears: Arrears, change: str) -> None:
        await arrears.bill(await arrears.add_reseller())
        await arrears.let_pass(3)
        with pytest.raises(IntegrityError):
            async with arrears.database.as_system() as session:
                await session.execute(text(change))


async def _dispute(arrears: Arrears, payment_id: str, status: str, *, take_cents: int = 0) -> None:
    async with arrears.database.as_system() as session:
        payment = await lock_payment(session, payment_id)
        payment.dispute_id, payment.dispute_status = "dp_1", status
        if take_cents:
            await book(session, payment, EntryKind.CHARGEBACK, -take_cents, source="dp_1", now=arrears.now)
        await restate(session, payment, now=arrears.now)
