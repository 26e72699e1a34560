"""What a new price list would raise, and for whom; and which changes of price a reseller has ahead of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from billing.periods import period_containing
from billing.prices import holding_sql, offers_sql, price_table, terms_history
from billing.rating import Tier, tier_for
from billing.terms import Proration, Terms, TiersMode, terms_on
from provisioning.core.errors import Conflict
from provisioning.tenants import get_reseller

# Beyond the last tier cost is a straight line, so one far away point tells which of two is steeper.
_FAR_AWAY = 10**9


@dataclass(frozen=True, slots=True)
class Offer:
    """The tiers of one product and the terms they are applied on."""

    tiers: tuple[Tier, ...]
    terms: Terms


@dataclass(frozen=True, slots=True)
class PriceChange:
    """What a product costs one reseller before and from the billing period on that begins on `effective_on`.

    `old` is None for what was not sold before, `new` for what is sold no more. `announced_at` is when the list that
    says so was made.
    """

    service_class: str
    effective_on: date
    announced_at: datetime
    price_list_id: str
    old: Offer | None
    new: Offer | None


def is_raise(old: Offer, new: Offer) -> bool:
    """Whether any number of units could cost more than before, in a whole period or in a part of one.

    Minimum term, notice and trial say nothing: they are those of each mailbox's first day.
    """
    if new.terms.proration not in (old.terms.proration, Proration.NONE) and old.terms.proration != Proration.FULL_MONTH:
        return True
    if new.terms.proration == Proration.NONE and old.terms.proration == Proration.DAILY:
        return True
    edges = {tier.min_quantity - back for offer in (old, new) for tier in offer.tiers for back in (0, 1)}
    return any(_cost(new, quantity) > _cost(old, quantity) for quantity in {1, *edges, _FAR_AWAY} if quantity > 0)


def is_stricter(old: Terms, new: Terms) -> bool:
    """Whether a mailbox that begins under the new terms is bound longer or on trial for less."""
    return (
        new.minimum_term_months > old.minimum_term_months
        or new.notice_days > old.notice_days
        or new.trial_days < old.trial_days
    )


async def check_notice(
    session: AsyncSession,
    reseller_id: str | None,
    *,
    valid_from: date,
    prices: Mapping[str, Sequence[Tier]],
    terms: Mapping[str, Terms],
    notice_days: int,
    today: date,
) -> None:
    """Raises Conflict `notice_too_short` for a list that makes something dearer for somebody who has it, too soon.

    Terms bind mailboxes from their first day on, so stricter ones may begin tomorrow but not reach back. `reseller_id`
    None is a list for all; resellers with an own price are not touched by it.
    """
    first_day = today + timedelta(days=notice_days)
    if valid_from >= first_day:
        return
    before = await _offers(session, reseller_id, valid_from)
    for product, tiers in prices.items():
        old, new = before.get(product), Offer(tuple(tiers), terms.get(product, Terms()))
        if old is None or not (is_raise(old, new) or (valid_from <= today and is_stricter(old.terms, new.terms))):
            continue
        of_product = {"reseller_id": reseller_id, "product": product, "valid_from": valid_from}
        if await session.scalar(_SOMEBODY_HAS_IT, of_product):
            raise Conflict(
                f"This list makes {product} dearer for resellers who have it, which must be announced {notice_days} "
                f"days ahead. Let it hold from {first_day} on, or leave the price as it is.",
                code="notice_too_short",
                service_class=product,
                first_allowed_on=first_day.isoformat(),
            )


async def price_changes(session: AsyncSession, reseller_id: str, *, since: date) -> list[PriceChange]:
    """Return what changes for a reseller in billing periods that begin on `since` or later, oldest first."""
    anchor_day = (await get_reseller(session, reseller_id)).billing_anchor_day
    # A list counts from the first period on that begins under it.
    before = period_containing(since - timedelta(days=1), anchor_day).starts_on
    lists = (await session.execute(_LISTS, {"reseller_id": reseller_id, "before": before})).all()
    changes = []
    for valid_from, announced_at, price_list_id in lists:
        period = period_containing(valid_from, anchor_day)
        effective_on = valid_from if period.starts_on == valid_from else period.ends_on
        if effective_on < since:
            continue
        old = await _offers(session, reseller_id, valid_from - timedelta(days=1))
        new = await _offers(session, reseller_id, valid_from)
        changes += [
            PriceChange(product, effective_on, announced_at, price_list_id, old.get(product), new.get(product))
            for product in sorted({*old, *new})
            if old.get(product) != new.get(product)
        ]
    return changes


async def _offers(session: AsyncSession, reseller_id: str | None, on: date) -> dict[str, Offer]:
    """What holds on a day for one reseller, or for those without prices of their own."""
    # No reseller has an empty id, so this is what the lists for all say.
    owner = reseller_id or ""
    history = await terms_history(session, owner)
    table = await price_table(session, owner, on)
    return {product: Offer(tiers, terms_on(history, product, on)) for product, tiers in table.items()}


def _cost(offer: Offer, quantity: int) -> int:
    """What so many units cost in a whole period, in cents."""
    if offer.terms.tiers_mode is TiersMode.VOLUME:
        return quantity * tier_for(offer.tiers, quantity).price_cents
    cost = 0
    for tier, following in zip(offer.tiers, [*offer.tiers[1:], None], strict=True):
        upper = quantity if following is None else min(quantity, following.min_quantity - 1)
        cost += max(0, upper - max(0, tier.min_quantity - 1)) * tier.price_cents
    return cost


_LISTS = text(
    """
    select distinct on (valid_from) valid_from, created_at, id from price_list
    where (reseller_id is null or reseller_id = :reseller_id) and valid_from > :before
    order by valid_from, reseller_id nulls last
    """
)

_OWN = holding_sql("own", "held.reseller_id", product=":product", day="cast(:valid_from as date)")

# Of a list for all, only those count who have no price of their own for the product on that day.
_SOMEBODY_HAS_IT = text(
    f"""
    with own as ({offers_sql("reseller_id is not null")})
    select exists (
        select from (
            select reseller_id from service_period where ends_on is null and service_class = :product
            union all
            select reseller_id from add_on_period where ends_on is null and add_on = :product
        ) held
        where held.reseller_id = :reseller_id
            or (cast(:reseller_id as text) is null and not exists (select from own where {_OWN}))
    )
    """  # noqa: S608 - made of constants only
)
