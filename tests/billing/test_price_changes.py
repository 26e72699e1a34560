"""What counts as a raise, whatever the tiers and however a month is prorated."""

from contextlib import nullcontext
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.periods import BillingMonth
from billing.price_changes import Offer, check_notice, is_raise, is_stricter
from billing.rating import Period, Tier, rate
from billing.terms import Proration, Terms, TiersMode
from provisioning.core.database import Database
from provisioning.core.errors import Conflict
from tests.billing.ledger_factory import PRICES, add_customer, add_mailboxes, add_prices, add_reseller

NOVEMBER = BillingMonth(2026, 11)


@st.composite
def tiers(draw: st.DrawFn) -> tuple[Tier, ...]:
    first = draw(st.integers(min_value=0, max_value=1))
    steps = sorted(draw(st.sets(st.integers(min_value=2, max_value=12), max_size=3)))
    return tuple(Tier(quantity, draw(st.integers(min_value=1, max_value=9))) for quantity in (first, *steps))


offers = st.builds(Offer, tiers(), st.builds(Terms, st.sampled_from(TiersMode)))


def cost(offer: Offer, count: int) -> int:
    """By the reference calculation: so many mailboxes for a whole month."""
    start = NOVEMBER.starts_on
    held = [Period(f"mbx_{number}", "cus_1", "imap", "de-fra-1", start, None) for number in range(count)]
    return sum(
        line.net_cents for line in rate(held, {"imap": offer.tiers}, NOVEMBER, {"imap": ((start, offer.terms),)})
    )


@given(offers, offers)
def test_a_raise_is_what_makes_any_number_of_mailboxes_dearer(old: Offer, new: Offer) -> None:
    dearer = any(cost(new, count) > cost(old, count) for count in range(1, 15))
    # Past the last tier the steeper of two straight lines wins in the end, which 14 mailboxes may not show yet.
    if dearer or new.tiers[-1].price_cents <= old.tiers[-1].price_cents:
        assert is_raise(old, new) == dearer
    else:
        assert is_raise(old, new)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Proration.DAILY, Proration.DAILY, False),
        (Proration.DAILY, Proration.FULL_MONTH, True),
        (Proration.DAILY, Proration.NONE, True),
        (Proration.FULL_MONTH, Proration.DAILY, False),
        (Proration.FULL_MONTH, Proration.NONE, False),
        (Proration.NONE, Proration.DAILY, True),
        (Proration.NONE, Proration.FULL_MONTH, True),
    ],
)
def test_a_part_of_a_month_may_become_dearer_too(before: Proration, after: Proration, expected: bool) -> None:
    old, new = (Offer((Tier(1, 100),), Terms(proration=each)) for each in (before, after))
    assert is_raise(old, new) is expected


def test_terms_of_new_mailboxes_raise_nothing_for_those_there_are() -> None:
    old = Offer((Tier(1, 100),), Terms(trial_days=30))
    new = Offer(old.tiers, Terms(minimum_term_months=12, notice_days=30))
    assert not is_raise(old, new)
    assert is_stricter(old.terms, new.terms)
    assert not is_stricter(old.terms, Terms(trial_days=60))


@pytest.mark.parametrize(("valid_from", "refused"), [(date(2026, 11, 17), True), (date(2026, 11, 18), False)])
async def test_stricter_terms_do_not_reach_back_to_mailboxes_there_are(
    fresh_database: Database, valid_from: date, refused: bool
) -> None:
    stricter = {"exchange": Terms(minimum_term_months=12)}
    async with fresh_database.as_system() as session:
        await add_prices(session)
        reseller_id = await add_reseller(session)
        await add_mailboxes(session, reseller_id, await add_customer(session, reseller_id))
        with pytest.raises(Conflict, match="from 2026-12-17 on") if refused else nullcontext():
            await check_notice(
                session,
                None,
                valid_from=valid_from,
                prices={"exchange": PRICES["exchange"]},
                terms=stricter,
                notice_days=30,
                today=date(2026, 11, 17),
            )
