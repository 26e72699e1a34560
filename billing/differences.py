"""Why a billing period costs more or less than the one before, mailbox by mailbox and in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from billing.money import Language
from billing.periods import BillingPeriod
from billing.preview import Preview, preview
from billing.price_changes import PriceChange, price_changes
from billing.terms import PRODUCT_NAMES
from provisioning.core.errors import Conflict

REASONS_MAX = 20
"""So many reasons are told; the rest is counted."""


class ReasonKind(StrEnum):
    """`begun` or `ended` in this period, or in the one before (`begun_before`, `ended_before`), which this one feels
    as a whole; `changed` is any other change of days or units.
    """

    BEGUN = "begun"
    ENDED = "ended"
    BEGUN_BEFORE = "begun_before"
    ENDED_BEFORE = "ended_before"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Reason:
    """One mailbox has more or less of a product than in the period before: so many units, from a day on."""

    kind: ReasonKind
    service_class: str
    mailbox_id: str
    address: str
    quantity: int
    on: date


@dataclass(frozen=True, slots=True)
class Difference:
    """`before` is the period before. `reasons` are the first of all, newest day first, `more_reasons` the rest's count.

    `price_changes` are those of this period and of later ones.
    """

    before: BillingPeriod
    net_cents_before: int
    net_difference_cents: int
    reasons: tuple[Reason, ...]
    more_reasons: int
    price_changes: tuple[PriceChange, ...]


async def difference(session: AsyncSession, seen: Preview, *, now: datetime) -> Difference | None:
    """Return what sets a preview apart from the period before; None where that one could not be billed."""
    try:
        before = await preview(session, seen.reseller_id, seen.period.named.previous(), now=now)
    except Conflict:
        return None
    rows = (
        await session.execute(
            _REASONS,
            {
                "reseller_id": seen.reseller_id,
                "before_on": before.period.starts_on,
                "starts_on": seen.period.starts_on,
                "ends_on": seen.period.ends_on,
                "base_before": before.period.days,
                "base_days": seen.period.days,
                "limit": REASONS_MAX,
            },
        )
    ).all()
    return Difference(
        before.period,
        net_cents_before=before.total.net_cents,
        net_difference_cents=seen.total.net_cents - before.total.net_cents,
        reasons=tuple(
            Reason(ReasonKind(row.kind), row.product, row.mailbox_id, row.address, quantity=row.quantity, on=row.on_day)
            for row in rows
        ),
        more_reasons=rows[0].reasons - len(rows) if rows else 0,
        price_changes=tuple(await price_changes(session, seen.reseller_id, since=seen.period.starts_on)),
    )


def explain_reason(reason: Reason, language: Language = "de") -> str:
    """Return the reason for people: "+1 Exchange ab 17. Nov.: anna@…", "-2 Storage, 10 GiB each since 3 Oct: …"."""
    sign = _SIGNS[reason.kind]
    words = _WORDS[language][reason.kind]
    month = _MONTHS[language][reason.on.month - 1]
    day = f"{reason.on.day}. {month}" if language == "de" else f"{reason.on.day} {month}"
    name = PRODUCT_NAMES[language].get(reason.service_class, reason.service_class)
    units = f"{sign}{reason.quantity} {name}" if sign else name
    return f"{units} {words.format(day=day)}: {reason.address}"


_SIGNS: Mapping[ReasonKind, str] = {
    ReasonKind.BEGUN: "+",
    ReasonKind.BEGUN_BEFORE: "+",
    ReasonKind.ENDED: "-",
    ReasonKind.ENDED_BEFORE: "-",
    ReasonKind.CHANGED: "",
}
_WORDS: Mapping[Language, Mapping[ReasonKind, str]] = {
    "de": {
        ReasonKind.BEGUN: "ab {day}",
        ReasonKind.BEGUN_BEFORE: "seit {day}, nun der ganze Zeitraum",
        ReasonKind.ENDED: "ab {day}",
        ReasonKind.ENDED_BEFORE: "seit {day}",
        ReasonKind.CHANGED: "geändert, zuletzt am {day}",
    },
    "en": {
        ReasonKind.BEGUN: "from {day}",
        ReasonKind.BEGUN_BEFORE: "since {day}, the whole period now",
        ReasonKind.ENDED: "from {day}",
        ReasonKind.ENDED_BEFORE: "since {day}",
        ReasonKind.CHANGED: "changed, last on {day}",
    },
}
_MONTHS: Mapping[Language, Sequence[str]] = {
    "de": ("Jan.", "Febr.", "März", "April", "Mai", "Juni", "Juli", "Aug.", "Sept.", "Okt.", "Nov.", "Dez."),
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
}

# A mailbox counts when its share of the period is another than before: 28 of 28 days and 31 of 31 are the same.
_REASONS = text(
    """
    with held as (
        select mailbox_id, address, service_class as product, 1 as quantity, starts_on, ends_on from service_period
        where reseller_id = :reseller_id and starts_on < :ends_on and (ends_on is null or ends_on > :before_on)
            and ends_on is distinct from starts_on
        union all
        select mailbox_id, address, add_on, quantity, starts_on, ends_on from add_on_period
        where reseller_id = :reseller_id and starts_on < :ends_on and (ends_on is null or ends_on > :before_on)
            and ends_on is distinct from starts_on
    ), share as (
        select mailbox_id, product, max(address) as address, max(quantity) as quantity,
            min(starts_on) as begun_on, max(starts_on) as changed_on,
            case when bool_and(ends_on is not null) then max(ends_on) end as ended_on,
            sum(quantity * greatest(0, least(ends_on, :starts_on) - greatest(starts_on, :before_on))) as days_before,
            sum(quantity * greatest(0, least(ends_on, :ends_on) - greatest(starts_on, :starts_on))) as days_now
        from held group by mailbox_id, product
    ), reason as (
        select share.*, case
                when begun_on >= :starts_on then 'begun'
                when ended_on <= :starts_on then 'ended_before'
                when ended_on < :ends_on then 'ended'
                when begun_on > :before_on and days_now * :base_before > days_before * :base_days then 'begun_before'
                else 'changed'
            end as kind
        from share where days_before * :base_days <> days_now * :base_before
    )
    select kind, product, mailbox_id, address, quantity, count(*) over () as reasons, case
            when kind in ('begun', 'begun_before') then begun_on
            when kind = 'changed' then changed_on
            else ended_on
        end as on_day
    from reason order by on_day desc, address, product limit :limit
    """
)
