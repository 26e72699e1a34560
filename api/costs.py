"""What a change would cost: the sums beside `?dry_run=true`, from the same rating that bills."""

from collections.abc import Mapping, Sequence
from datetime import date

from api.deps import Call
from api.previews import CostView
from billing.preview import cost_of, running_periods
from billing.rating import Period
from provisioning.core.errors import Conflict
from provisioning.models import Mailbox
from provisioning.orders import Ordered
from provisioning.terms import ADD_ONS, ServiceClass


async def cost_of_orders(call: Call, placed: Sequence[Ordered]) -> CostView | None:
    """As if the data centre confirmed all of them today; None where add-ons are ordered, whose price is unknown."""
    if any(each.mailbox["archive"] or each.mailbox["extra_storage_units"] for each in placed):
        return None
    extra = [
        _period(row["id"], row["customer_id"], row["service_class"], row["location"], call.today)
        for row in (each.mailbox for each in placed)
    ]
    return await _cost(call, extra=extra, ended={})


async def cost_of_class_change(call: Call, mailbox: Mailbox, service_class: ServiceClass) -> CostView | None:
    """As if the data centre confirmed it today; None when the class stays, or when an archive would end with it."""
    ends = mailbox.add_ons.keys() - ADD_ONS[service_class]
    if service_class is mailbox.service_class or ends:
        return None
    extra = [_period(mailbox.id, mailbox.customer_id, service_class, mailbox.location, call.today)]
    return await _cost(call, extra=extra, ended={mailbox.id: call.today})


async def cost_of_ending(call: Call, mailbox: Mailbox) -> CostView | None:
    """As if the data centre took it out of service today; None when it has add-ons, whose price is unknown."""
    if mailbox.add_ons:
        return None
    return await _cost(call, extra=[], ended={mailbox.id: call.today})


async def cost_of_restoring(call: Call, mailbox: Mailbox) -> CostView | None:
    """As if the data centre brought it back today; None when it has add-ons, whose price is unknown."""
    if mailbox.add_ons:
        return None
    extra = [_period(mailbox.id, mailbox.customer_id, mailbox.service_class, mailbox.location, call.today)]
    return await _cost(call, extra=extra, ended={})


def _period(mailbox_id: str, customer_id: str, service_class: ServiceClass, location: str, starts_on: date) -> Period:
    return Period(mailbox_id, customer_id, service_class, location, starts_on, None)


async def _cost(call: Call, *, extra: Sequence[Period], ended: Mapping[str, date]) -> CostView | None:
    period, following = await running_periods(call.session, call.reseller_id, call.today)
    try:
        now = await cost_of(call.session, call.reseller_id, period, extra=extra, ended=ended, now=call.now)
        then = await cost_of(call.session, call.reseller_id, following, extra=extra, ended=ended, now=call.now)
    except Conflict:
        # No price yet, or no VAT treatment: the change itself would go through.
        return None
    return CostView(
        month=str(period.named),
        net_cents_before=now.before.net_cents,
        net_cents_after=now.after.net_cents,
        difference_cents=now.after.net_cents - now.before.net_cents,
        whole_month_difference_cents=then.after.net_cents - then.before.net_cents,
    )
