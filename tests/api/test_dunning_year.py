"""A year on the test clock: who never pays, who pays late, and who is debited, from mailboxes to letters."""

from collections.abc import AsyncIterator
from datetime import date, timedelta

import httpx
import pytest

from api.context import Context
from api.main import create_app
from billing.periods import berlin_day
from provisioning.core.clock import TestClock
from provisioning.keys import OPERATOR_SCOPES, create_key
from provisioning.resolver import SandboxZone
from tests.api.conftest import ISSUER, PEPPER
from tests.api.year import LATE, Firm, Year
from tests.billing.ledger_factory import add_prices, read
from tests.billing.payment_world import IBAN, START, Till

pytest_plugins = ["tests.billing.payment_fixtures"]
pytestmark = [pytest.mark.anyio, pytest.mark.slow]

YEAR = 365
ALL = {"reminder": 3, "first_dunning": 10, "second_dunning": 20, "suspension": 30}


@pytest.fixture
async def year(till: Till) -> AsyncIterator[Year]:
    clock, zone = TestClock(START), SandboxZone()
    context = Context(till.database, clock, PEPPER, zone, ISSUER, test_clock=clock, sandbox_zone=zone)
    async with till.database.as_system() as session:
        await add_prices(session)
        key = await create_key(
            session, None, name="test", scopes=OPERATOR_SCOPES, expires_at=None, pepper=PEPPER, now=START
        )
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(context)),
        base_url="http://postfachwerk.test",
        headers={"Authorization": f"Bearer {key.secret}"},
    )
    yield Year(till, clock, context, client)
    await client.aclose()


async def test_a_year_passes(year: Year) -> None:
    never, late, debited = await year.found(), await year.found(), await year.found(iban=IBAN)
    first_day = berlin_day(year.clock.now())
    today = first_day
    for _ in range(YEAR):
        today = await year.next_day([never, late, debited])
        if (today - timedelta(days=LATE)).day == 15:  # all invoices are due on a fifteenth
            await year.pay_what_is_late(late, today)

    # Twelve months are billed, the last of them today; every step is taken once and on its day.
    by_firm = {name: await year.dunned(firm) for name, firm in (("never", never), ("late", late), ("debited", debited))}
    months = [_first(first_day, number) + timedelta(days=14) for number in range(1, 13)]
    for name, invoices in by_firm.items():
        assert [due_on for due_on, _ in invoices] == months, name
    for name in ("never", "late"):
        for due_on, steps in by_firm[name]:
            assert steps == {kind: days for kind, days in ALL.items() if due_on + timedelta(days=days) <= today}, name
    assert all(steps == {} for _, steps in by_firm["debited"])

    # Who never pays is suspended once and for good, though every later invoice comes to that step too.
    since = months[0] + timedelta(days=30)
    assert never.suspended == _days(since, today + timedelta(days=1))
    assert "resumption" not in await year.notices(never)

    # Who pays late is suspended until the day after its payment, each time anew, and resumed each time.
    turns = [due_on for due_on in months if due_on + timedelta(days=30) <= today]
    expected: list[date] = []
    for due_on in turns:
        ends_on = min(due_on + timedelta(days=LATE + 1), today + timedelta(days=1))
        expected += _days(due_on + timedelta(days=30), ends_on)
    assert late.suspended == expected
    letters = await year.notices(late)
    resumed = [due_on for due_on in turns if due_on + timedelta(days=LATE + 1) <= today]
    assert letters.count("suspension") == len(turns)
    assert letters.count("resumption") == len(resumed)

    # Who is debited hears nothing and paid all but what is still on its way.
    assert await year.notices(debited) == []
    assert debited.suspended == []
    await _check_money(year, never, late, debited)


async def _check_money(year: Year, never: Firm, late: Firm, debited: Firm) -> None:
    """A fee for each second dunning notice, paid by whoever paid; all mailboxes stay in service and on the bill."""
    for firm, paid in ((never, 0), (late, 10), (debited, 11)):
        rows = await read(
            year.till.database,
            "select count(*) filter (where status = 'paid'), count(*) from payment where reseller_id = :reseller_id",
            reseller_id=firm.reseller_id,
        )
        assert rows == [(paid, 12)]
        for mailbox_id in firm.mailbox_ids:
            [period] = await firm.world.periods(mailbox_id)
            assert period.ends_on is None
    fees = await read(
        year.till.database,
        "select entry.reseller_id, count(*), sum(-amount_cents)::bigint from payment_entry entry where kind = 'fee' "
        "group by 1",
    )
    steps = await read(
        year.till.database,
        "select reseller_id, count(*), sum(fee_cents)::bigint from dunning_step where fee_cents > 0 group by 1",
    )
    assert sorted(fees) == sorted(steps)
    assert {reseller_id for reseller_id, *_ in fees} == {never.reseller_id, late.reseller_id}


def _first(day: date, months: int) -> date:
    """The first day of the month so many months later."""
    return date(day.year + (day.month - 1 + months) // 12, (day.month - 1 + months) % 12 + 1, 1)


def _days(first: date, end: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((end - first).days)]
