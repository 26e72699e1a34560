"""What sets a period apart from the one before, and the words for it."""

from dataclasses import replace
from datetime import date

import pytest

from billing.differences import REASONS_MAX, ReasonKind, difference, explain_reason
from billing.periods import BillingMonth
from billing.preview import preview
from billing.rating import Period, Tier
from provisioning.core.database import Database
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    NOVEMBER,
    add_customer,
    add_mailboxes,
    add_periods,
    add_prices,
    add_reseller,
)

OCTOBER = BillingMonth(2026, 10)


async def test_each_mailbox_that_counts_differently_is_a_reason_in_words(fresh_database: Database) -> None:
    async with fresh_database.as_system() as session:
        await add_prices(session, prices={name: (Tier(1, 300),) for name in ("exchange", "imap", "extra_storage")})
        reseller_id = await add_reseller(session)
        customer_id = await add_customer(session, reseller_id)
        base = Period("mbx_stays", customer_id, "exchange", "de-fra-1", date(2026, 1, 1), None)
        storage = replace(base, service_class="extra_storage", is_add_on=True)
        await add_periods(
            session,
            reseller_id,
            [
                base,
                replace(base, mailbox_id="mbx_new", starts_on=date(2026, 11, 17)),
                replace(base, mailbox_id="mbx_whole", starts_on=date(2026, 10, 17)),
                replace(base, mailbox_id="mbx_gone", ends_on=date(2026, 10, 9)),
                replace(base, mailbox_id="mbx_going", ends_on=date(2026, 11, 9)),
                replace(base, mailbox_id="mbx_changed", ends_on=date(2026, 11, 5)),
                replace(base, mailbox_id="mbx_changed", service_class="imap", starts_on=date(2026, 11, 5)),
                replace(storage, quantity=2, ends_on=date(2026, 11, 3)),
                replace(storage, quantity=5, starts_on=date(2026, 11, 3)),
                replace(base, mailbox_id="mbx_later", starts_on=date(2026, 12, 1)),
                replace(base, mailbox_id="mbx_long_gone", ends_on=date(2026, 9, 3)),
            ],
        )
        seen = await preview(session, reseller_id, NOVEMBER, now=IN_DECEMBER)
        found = await difference(session, seen, now=IN_DECEMBER)
        october = await preview(session, reseller_id, OCTOBER, now=IN_DECEMBER)
    assert found is not None
    assert found.before.named == OCTOBER
    assert found.net_cents_before == october.total.net_cents
    assert found.net_difference_cents == seen.total.net_cents - october.total.net_cents
    assert found.more_reasons == 0
    assert [explain_reason(each, "en").replace("@kanzlei.example", "") for each in found.reasons] == [
        "+1 Exchange from 17 Nov: mbx_new",
        "-1 Exchange from 9 Nov: mbx_going",
        "-1 Exchange from 5 Nov: mbx_changed",
        "+1 IMAP from 5 Nov: mbx_changed",
        "Storage, 10 GiB each changed, last on 3 Nov: mbx_stays",
        "+1 Exchange since 17 Oct, the whole period now: mbx_whole",
        "-1 Exchange since 9 Oct: mbx_gone",
    ]
    assert explain_reason(found.reasons[0]).startswith("+1 Exchange ab 17. Nov.: mbx_new@")
    assert {each.kind for each in found.reasons} == set(ReasonKind)


async def test_many_reasons_are_counted_and_not_all_told(fresh_database: Database) -> None:
    async with fresh_database.as_system() as session:
        await add_prices(session)
        reseller_id = await add_reseller(session)
        await add_mailboxes(session, reseller_id, await add_customer(session, reseller_id), count=REASONS_MAX + 7)
        seen = await preview(session, reseller_id, NOVEMBER, now=IN_DECEMBER)
        found = await difference(session, seen, now=IN_DECEMBER)
    assert found is not None
    assert (len(found.reasons), found.more_reasons) == (REASONS_MAX, 7)
    assert found.net_cents_before == 0


async def test_months_of_another_length_are_no_difference(fresh_database: Database) -> None:
    async with fresh_database.as_system() as session:
        await add_prices(session)
        reseller_id = await add_reseller(session)
        customer_id = await add_customer(session, reseller_id)
        await add_mailboxes(session, reseller_id, customer_id, starts_on=date(2026, 1, 1))
        seen = await preview(session, reseller_id, NOVEMBER, now=IN_DECEMBER)
        found = await difference(session, seen, now=IN_DECEMBER)
    assert found is not None
    assert (found.net_difference_cents, found.reasons, found.price_changes) == (0, (), ())


@pytest.mark.parametrize("valid_from", [date(2026, 10, 15), date(2026, 11, 1), date(2027, 3, 1)])
async def test_a_new_price_stands_with_the_period_from_which_it_counts(
    fresh_database: Database, valid_from: date
) -> None:
    async with fresh_database.as_system() as session:
        await add_prices(session, prices={"exchange": (Tier(1, 790),)})
        changed = await add_prices(session, valid_from=valid_from, prices={"exchange": (Tier(1, 840),)})
        reseller_id = await add_reseller(session)
        customer_id = await add_customer(session, reseller_id)
        await add_mailboxes(session, reseller_id, customer_id, starts_on=date(2026, 1, 1))
        seen = await preview(session, reseller_id, NOVEMBER, now=IN_DECEMBER)
        found = await difference(session, seen, now=IN_DECEMBER)
    assert found is not None
    [change] = found.price_changes
    assert (change.price_list_id, change.service_class) == (changed, "exchange")
    assert change.effective_on == max(valid_from, NOVEMBER.starts_on)
    assert found.net_difference_cents == (50 if valid_from <= NOVEMBER.starts_on else 0)


async def test_there_is_no_difference_to_a_period_that_could_not_be_billed(fresh_database: Database) -> None:
    async with fresh_database.as_system() as session:
        await add_prices(session, valid_from=date(2026, 11, 1))
        reseller_id = await add_reseller(session)
        customer_id = await add_customer(session, reseller_id)
        await add_mailboxes(session, reseller_id, customer_id, starts_on=date(2026, 1, 1))
        seen = await preview(session, reseller_id, NOVEMBER, now=IN_DECEMBER)
        assert await difference(session, seen, now=IN_DECEMBER) is None
