"""Changing limits and policies of resellers and customers, and refusing what those that stand already would break.

A policy is changed under a lock that keeps placements out, so what is found to fit cannot stop fitting before the
commit. Only rules that a change names are judged: a certificate that lapsed must not stand in the way of another rule.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from provisioning.core.errors import Conflict, FieldError, Invalid
from provisioning.core.queries import flush_unique, owned
from provisioning.data_centres import POLICY_FIELDS, DataCentre, Rules, check_locations, check_tightens, lock_policy
from provisioning.ledger import ServicePeriod
from provisioning.tenants import (
    Customer,
    Reseller,
    check_new_limit,
    count_usage,
    create_customer,
    create_reseller,
    get_customer,
    get_reseller,
)

ADDRESSES_NAMED = 5

# What is deleted lies still and is judged again when it is restored.
_OUTSIDE = text(
    """
    select m.address, count(*) over () as mailboxes
    from mailbox m join data_centre d on d.code = m.location
    where m.reseller_id = :reseller_id and (cast(:customer_id as text) is null or m.customer_id = :customer_id)
        and m.intent in ('present', 'suspended')
        and not (
            (cast(:locations as text[]) is null or d.code = any(:locations))
            and (cast(:countries as text[]) is null or d.country = any(:countries))
            and not exists (
                select from unnest(cast(:schemes as text[])) as required (scheme)
                where not exists (
                    select from certificate c
                    where c.data_centre = d.code and c.scheme = required.scheme
                        and c.valid_from <= :on and c.valid_until > :on
                )
            )
        )
    order by m.address limit :named
    """
)
_LYING_THERE = text("select count(*) from mailbox where location = :code and state <> 'purged'")


async def add_reseller(session: AsyncSession, *, now: datetime, **details: Any) -> Reseller:
    """A new reseller. Raises Invalid for a policy with an unknown data centre, Conflict."""
    await check_locations(session, details)
    return await create_reseller(session, now=now, **details)


async def add_customer(session: AsyncSession, reseller_id: str, *, now: datetime, **details: Any) -> Customer:
    """A new customer, whose policy tightens the reseller's. Raises Invalid, Conflict, LimitExceeded."""
    await check_locations(session, details)
    rules = _rules("customer", details)
    if rules is not None:
        await lock_policy(session, reseller_id)
        check_tightens(rules, [Rules.of("reseller", await get_reseller(session, reseller_id))])
    return await create_customer(session, reseller_id, now=now, **details)


async def lock_customer(session: AsyncSession, reseller_id: str, customer_id: str) -> Customer:
    """The customer, held, with placements kept out until the transaction ends. Raises NotFound."""
    await lock_policy(session, reseller_id)
    return await get_customer(session, reseller_id, customer_id, lock=True)


async def lock_reseller(session: AsyncSession, reseller_id: str) -> Reseller:
    """The reseller, held, with placements kept out until the transaction ends. Raises NotFound."""
    await lock_policy(session, reseller_id)
    return await get_reseller(session, reseller_id, lock=True)


async def change_customer(session: AsyncSession, customer: Customer, wish: Mapping[str, Any], *, on: date) -> None:
    """Apply a wish to a locked customer. Raises Invalid, Conflict when limit or policy do not fit what stands."""
    _refuse_null(wish, ("name",))
    await check_locations(session, wish)
    if "mailboxes_max" in wish:
        used = (await count_usage(session, [customer.id]))[customer.id]
        check_new_limit("customer", "mailboxes", wish["mailboxes_max"], used=used.mailboxes)
    rules = _rules("customer", wish)
    if rules is not None:
        check_tightens(rules, [Rules.of("reseller", await get_reseller(session, customer.reseller_id))])
        await _check_existing(session, rules, customer.reseller_id, customer_id=customer.id, on=on)
    await _apply(session, customer, wish)


async def change_reseller(session: AsyncSession, reseller: Reseller, wish: Mapping[str, Any], *, on: date) -> None:
    """Apply a wish to a locked reseller. Raises Invalid, Conflict when limit or policy do not fit what stands."""
    _refuse_null(
        wish,
        ("name", "street", "postcode", "city", "country", "billing_email", "language", "billing_anchor_day"),
    )
    await check_locations(session, wish)
    if wish.get("billing_anchor_day", reseller.billing_anchor_day) != reseller.billing_anchor_day:
        await _check_never_served(session, reseller)
    if wish.keys() & {"mailboxes_max", "customers_max"}:
        used = (await count_usage(session, [reseller.id]))[reseller.id]
        for name in ("mailboxes", "customers"):
            check_new_limit("reseller", name, wish.get(f"{name}_max"), used=getattr(used, name))
    rules = _rules("reseller", wish)
    if rules is not None:
        await _check_existing(session, rules, reseller.id, customer_id=None, on=on)
    await _apply(session, reseller, wish)


async def check_stays(session: AsyncSession, centre: DataCentre, *, country: str, driver: str) -> None:
    """Raises Conflict when a data centre with mailboxes in it would change what those were placed by."""
    if (centre.country, centre.driver) == (country, driver):
        return
    if mailboxes := await session.scalar(_LYING_THERE, {"code": centre.code}):
        raise Conflict(
            f"{mailboxes} mailboxes lie in {centre.code}, so its country and its driver stay as they are. "
            "Add another data centre and move them.",
            code="data_centre_in_use",
        )


async def _check_never_served(session: AsyncSession, reseller: Reseller) -> None:
    """With another anchor, days would be billed twice or never; raises Conflict `billing_anchor_fixed`."""
    served = owned(ServicePeriod, reseller.id).limit(1)
    if await session.scalar(served) is not None:
        raise Conflict(
            "This reseller has had a mailbox in service, so its billing periods stay as they are. "
            "Admit it as a new reseller to bill it on another day.",
            code="billing_anchor_fixed",
        )


def _rules(tier: str, wish: Mapping[str, Any]) -> Rules | None:
    """The rules that a wish names; those it leaves out say nothing."""
    if not wish.keys() & set(POLICY_FIELDS):
        return None
    values = (wish.get(name) for name in POLICY_FIELDS)
    return Rules(tier, *(None if value is None else frozenset(value) for value in values))


async def _check_existing(
    session: AsyncSession, rules: Rules, reseller_id: str, *, customer_id: str | None, on: date
) -> None:
    values = {
        "reseller_id": reseller_id,
        "customer_id": customer_id,
        "locations": _array(rules.allowed_locations),
        "countries": _array(rules.allowed_countries),
        "schemes": _array(rules.required_certificates),
        "on": on,
        "named": ADDRESSES_NAMED,
    }
    outside = (await session.execute(_OUTSIDE, values)).all()
    if outside:
        addresses = [row.address for row in outside]
        raise Conflict(
            f"{outside[0].mailboxes} mailboxes lie where the {rules.tier}'s new policy forbids it, "
            f"among them {', '.join(addresses)}. Move them first.",
            code="policy_violated_by_existing",
            mailboxes=outside[0].mailboxes,
            addresses=addresses,
        )


def _array(values: frozenset[str] | None) -> list[str] | None:
    return None if values is None else sorted(values)


def _refuse_null(wish: Mapping[str, Any], names: Iterable[str]) -> None:
    errors = [
        FieldError(f"/{name}", "null", "must have a value") for name in names if name in wish and wish[name] is None
    ]
    if errors:
        raise Invalid("What cannot be empty cannot be null; leave it out to keep it.", errors=errors)


async def _apply(session: AsyncSession, row: Customer | Reseller, wish: Mapping[str, Any]) -> None:
    for name, value in wish.items():
        setattr(row, name, value)
    await flush_unique(session, "external_id")
