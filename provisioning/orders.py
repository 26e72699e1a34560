"""Ordering mailboxes: one or many, all or nothing, checked and written in one transaction.

One order and five hundred take the same path: the state of the world is read in two statements, every line is judged
without the database, and everything wanted is written by one statement, so that an order costs what it must and no
check can be passed by between reading and writing: addresses are taken by a unique key, limits are counted under lock.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from provisioning.add_ons import OrderedAddOns, judge_ordered, write_ordered
from provisioning.core import ids, jobs
from provisioning.core.database import fetch, violated_constraint
from provisioning.core.errors import AppError, Conflict, FieldError, Invalid
from provisioning.core.queries import unique_or_conflict
from provisioning.data_centres import (
    PLACEMENTS,
    Placement,
    Rules,
    check_known,
    check_placement,
    check_tightens,
    find_placement,
    keep_rules,
    placements_of,
)
from provisioning.names import parse_address
from provisioning.operations import PRIORITY_ASKED
from provisioning.tenants import check_limit
from provisioning.terms import KINDS, PROTOCOLS, DomainState, MailboxKind, Protocol, ServiceClass

ORDERS_MAX = 500
ALIASES_MAX = 50
QUOTA_MIB_MAX = 1024 * 1024

Code = Annotated[str, Field(min_length=1, max_length=64)]
Quota = Annotated[int, Field(ge=1, le=QUOTA_MIB_MAX, strict=True)]
Country = Annotated[str, Field(pattern="^[A-Z]{2}$")]


class PolicyShape(BaseModel):
    """Where data may lie; null leaves it to the tier above."""

    allowed_locations: list[Code] | None = Field(None, max_length=100, description="Codes of data centres.")
    allowed_countries: list[Country] | None = Field(None, max_length=100, description="ISO 3166 alpha-2 codes.")
    required_certificates: list[Code] | None = Field(
        None, max_length=20, description="Schemes that must be valid on the day of placement, for example ISO27001."
    )


class MailboxOrder(PolicyShape):
    """One mailbox to order. Its customer is the one its domain belongs to."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "address": "anna.krueger@kanzlei-lindenhof.example",
                    "display_name": "Anna Krüger",
                    "service_class": "exchange",
                    "location": "de-fra-1",
                    "aliases": ["krueger@kanzlei-lindenhof.example"],
                }
            ]
        },
    )

    address: str = Field(max_length=320, description="Primary address; its domain must be verified.")
    display_name: str = Field(min_length=1, max_length=256)
    service_class: ServiceClass = Field(description="pop3, imap or exchange; what is paid for.")
    kind: MailboxKind = MailboxKind.USER
    location: str | None = Field(
        None, max_length=64, description="Code of the data centre; the first one the policy allows when left out."
    )
    quota_mib: Quota | None = Field(
        None, description="When left out, all that the class includes, and 10240 more for each unit of extra storage."
    )
    add_ons: OrderedAddOns | None = Field(None, description="What it has beyond its class, for a fee of its own.")
    protocols: list[Protocol] | None = Field(
        None, max_length=8, description="Those the mailbox answers on; all of its class when left out."
    )
    aliases: list[Annotated[str, Field(max_length=320)]] = Field(default_factory=list, max_length=ALIASES_MAX)
    external_id: str | None = Field(None, min_length=1, max_length=128, description="Your own id, unique for you.")


_NO_ADD_ONS = OrderedAddOns()


@dataclass(frozen=True, slots=True)
class Ordered:
    """One accepted line: the values of the new mailbox row, and the operation that will confirm it."""

    mailbox: Mapping[str, Any]
    operation_id: str


class OrdersRefused(Conflict):
    """At least one line was refused, so nothing was written. `verdicts` has None or the refusal for each line."""

    code = "orders_refused"

    def __init__(self, verdicts: Sequence[AppError | None]) -> None:
        refused = sum(verdict is not None for verdict in verdicts)
        super().__init__(f"{refused} of {len(verdicts)} orders are refused, so none was placed. Mend them and retry.")
        self.verdicts = verdicts


_DOMAINS = f"""
    select d.name, d.id as domain_id, d.state as domain_state, c.id as customer_id,
           c.mailboxes_max, c.allowed_locations, c.allowed_countries, c.required_certificates,
           r.mailboxes_max as reseller_mailboxes_max, r.allowed_locations as reseller_allowed_locations,
           r.allowed_countries as reseller_allowed_countries,
           r.required_certificates as reseller_required_certificates, {PLACEMENTS} as placements
    from domain d join customer c on c.id = d.customer_id join reseller r on r.id = d.reseller_id
    where d.reseller_id = %(reseller_id)s and d.name = any(%(names)s)
"""  # noqa: S608  # the expression is ours

# Everything an order is, in one statement. The counters come back so that limits are judged on what is true under
# their lock; the addresses come back so that those somebody else took are known.
_WRITE = """
    with line as materialized (
        select * from jsonb_to_recordset(cast(%(mailboxes)s as jsonb)) as line (
            id text, customer_id text, domain_id text, external_id text, address text, display_name text, kind text,
            service_class text, protocols text[], quota_mib int, location text, allowed_locations text[],
            allowed_countries text[], required_certificates text[], operation_id text)
    ), mailbox_row as (
        insert into mailbox (id, reseller_id, customer_id, domain_id, external_id, address, display_name, kind,
            service_class, protocols, quota_mib, location, allowed_locations, allowed_countries, required_certificates,
            intent, state, generation, confirmed_generation, password_version, failed, attempts, version, created_at)
        select id, %(reseller_id)s, customer_id, domain_id, external_id, address, display_name, kind,
            service_class, protocols, quota_mib, location, allowed_locations, allowed_countries, required_certificates,
            'present', 'provisioning', 1, 0, 0, false, 0, 1, %(now)s
        from line
    ), operation_row as (
        insert into operation (id, reseller_id, mailbox_id, action, generation, state, steps, attempts, created_at,
            version)
        select operation_id, %(reseller_id)s, id, 'mailbox.order', 1, 'queued', '[]', 0, %(now)s, 1 from line
    ), job as (
        insert into procrastinate_jobs (queue_name, task_name, priority, lock, queueing_lock, args)
        select 'default', cast(%(task)s as text), %(priority)s, %(task)s || ':' || id, %(task)s || ':' || id,
            jsonb_build_object('key', id)
        from line
    ), address_row as (
        insert into mailbox_address (address, reseller_id, mailbox_id, domain_id, is_primary)
        select address, %(reseller_id)s, mailbox_id, domain_id, is_primary
        from jsonb_to_recordset(cast(%(addresses)s as jsonb))
            as taken (address text, mailbox_id text, domain_id text, is_primary bool)
        on conflict (address) do nothing returning address
    ), held as materialized (
        select tenant_id from tenant_usage where tenant_id = any(%(tenants)s) order by tenant_id for update
    ), used as (
        update tenant_usage set mailboxes = mailboxes + cast(cast(%(amounts)s as jsonb) ->> held.tenant_id as int)
        from held where tenant_usage.tenant_id = held.tenant_id and tenant_usage.tenant_id = any(%(tenants)s)
        returning tenant_usage.tenant_id, mailboxes
    )
    select (select jsonb_agg(address) from address_row) as addresses,
           (select jsonb_object_agg(tenant_id, mailboxes) from used) as used
"""


async def order_mailboxes(
    session: AsyncSession, reseller_id: str, orders: Sequence[MailboxOrder], *, now: datetime, on: date
) -> list[Ordered]:
    """Place all orders or none; `on` is the day on which certificates must be valid.

    Raises OrdersRefused with a verdict for each line, or LimitExceeded when together they are too many.
    """
    world = await _read_world(session, reseller_id, orders, on=on)
    rows: list[dict[str, Any]] = []
    verdicts: list[AppError | None] = []
    for order in orders:
        try:
            rows.append(_judge(order, world))
            verdicts.append(None)
        except AppError as refusal:
            verdicts.append(refusal)
    if not any(verdicts):
        verdicts = _clashes_within(rows)
    if any(verdicts):
        raise OrdersRefused(verdicts)
    await _write(session, reseller_id, rows, world, now=now)
    await write_ordered(session, reseller_id, rows)
    return [Ordered(row, row["operation_id"]) for row in rows]


@dataclass(frozen=True, slots=True)
class _World:
    domains: Mapping[str, Any]
    placements: Mapping[str, Placement]


async def _read_world(session: AsyncSession, reseller_id: str, orders: Sequence[MailboxOrder], *, on: date) -> _World:
    await keep_rules(session, reseller_id)
    names = sorted({name for order in orders for name in _domain_names(order)})
    rows = await fetch(session, _DOMAINS, {"reseller_id": reseller_id, "names": names, "on": on})
    return _World({row.name: row for row in rows}, placements_of(rows[0].placements if rows else None))


def _domain_names(order: MailboxOrder) -> Iterable[str]:
    for address in (order.address, *order.aliases):
        try:
            yield parse_address(address)[1]
        except ValueError:
            continue  # judged with its line


def _judge(order: MailboxOrder, world: _World) -> dict[str, Any]:
    """The row of one order; raises the reason it is refused."""
    addresses = [_parse(order.address, "/address")]
    addresses += [_parse(alias, f"/aliases/{index}") for index, alias in enumerate(order.aliases)]
    domains = [_domain_of(address, world) for address in addresses]
    home = domains[0]
    if any(domain.customer_id != home.customer_id for domain in domains):
        raise Conflict("An alias lies in a domain of another customer.", code="domain_of_other_customer")
    protocols = check_class(order.service_class, order.kind, order.protocols)
    extra = order.add_ons or _NO_ADD_ONS
    quota_mib = judge_ordered(order.service_class, extra, quota_mib=order.quota_mib)
    check_known(order.allowed_locations, world.placements)
    own = Rules.of("mailbox", order)
    tiers = [_reseller_rules(home), Rules.of("customer", home), own]
    check_tightens(own, tiers[:2])
    placement = _place(order.location, world.placements, tiers)
    return {
        "id": ids.new_id("mbx"),
        "customer_id": home.customer_id,
        "domain_id": home.domain_id,
        "external_id": order.external_id,
        "address": "@".join(addresses[0]),
        "aliases": sorted({"@".join(alias) for alias in addresses[1:]} - {"@".join(addresses[0])}),
        "display_name": order.display_name,
        "kind": order.kind,
        "service_class": order.service_class,
        "protocols": protocols,
        "quota_mib": quota_mib,
        "archive": extra.archive,
        "extra_storage_units": extra.extra_storage,
        "location": placement.code,
        "allowed_locations": order.allowed_locations,
        "allowed_countries": order.allowed_countries,
        "required_certificates": order.required_certificates,
        "operation_id": ids.new_id("op"),
    }


def _parse(address: str, pointer: str) -> tuple[str, str]:
    try:
        return parse_address(address)
    except ValueError as error:
        raise Invalid(f"{error}.", errors=[FieldError(pointer, "invalid_address", str(error))]) from error


def _domain_of(address: tuple[str, str], world: _World) -> Any:
    domain = world.domains.get(address[1])
    if domain is None:
        raise Conflict(
            f"The domain {address[1]} is not one of yours. Add it with POST /v1/domains and verify it first.",
            code="unknown_domain",
        )
    if domain.domain_state != DomainState.VERIFIED:
        raise Conflict(
            f"The domain {address[1]} is not verified yet. Set the records of GET /v1/domains/{domain.domain_id}/dns, "
            f"then POST /v1/domains/{domain.domain_id}/verify.",
            code="domain_not_verified",
        )
    return domain


def _reseller_rules(domain: Any) -> Rules:
    values = (
        domain.reseller_allowed_locations,
        domain.reseller_allowed_countries,
        domain.reseller_required_certificates,
    )
    return Rules("reseller", *(None if value is None else frozenset(value) for value in values))


def check_class(service_class: ServiceClass, kind: MailboxKind, protocols: Iterable[Protocol] | None) -> list[Protocol]:
    """The protocols a mailbox answers on, sorted. Raises Conflict naming the class that could do what this cannot."""
    if kind not in KINDS[service_class]:
        able = ", ".join(each for each in ServiceClass if kind in KINDS[each])
        raise Conflict(
            f"A {kind} mailbox cannot be of class {service_class}; {able} would do.",
            code="class_does_not_support_kind",
            classes=able.split(", "),
        )
    if protocols is None:
        return sorted(PROTOCOLS[service_class])
    if missing := sorted(set(protocols) - PROTOCOLS[service_class]):
        able = ", ".join(each for each in ServiceClass if PROTOCOLS[each] >= set(missing))
        raise Conflict(
            f"A mailbox of class {service_class} does not answer on {', '.join(missing)}; {able} would do.",
            code="class_does_not_support_protocol",
            classes=able.split(", "),
        )
    return sorted(set(protocols))


def _place(location: str | None, placements: Mapping[str, Placement], tiers: Sequence[Rules]) -> Placement:
    """The data centre asked for, or the first by code that every tier allows. Raises Conflict when there is none."""
    if location is not None:
        placement = find_placement(placements, location)
        check_placement(placement, tiers)
        return placement
    refusal: Conflict | None = None
    for code in sorted(placements):
        try:
            check_placement(placements[code], tiers)
        except Conflict as error:
            refusal = refusal or error
        else:
            return placements[code]
    raise refusal or Conflict("There is no data centre yet.", code="unknown_data_centre")


def _clashes_within(rows: Sequence[Mapping[str, Any]]) -> list[AppError | None]:
    """Addresses and external ids that one call names twice; the second line is the one to mend."""
    seen: Counter[str] = Counter()
    verdicts: list[AppError | None] = []
    for row in rows:
        mine = [row["address"], *row["aliases"]]
        external = [] if row["external_id"] is None else ["external_id:" + row["external_id"]]
        twice = next((name for name in (*mine, *external) if seen[name]), None)
        seen.update([*mine, *external])
        verdicts.append(
            None if twice is None else Conflict(f"{twice} stands in this call twice.", code="duplicate_in_call")
        )
    return verdicts


async def _write(
    session: AsyncSession, reseller_id: str, rows: Sequence[dict[str, Any]], world: _World, *, now: datetime
) -> None:
    amounts = Counter(row["customer_id"] for row in rows)
    amounts[reseller_id] = len(rows)
    addresses = [
        {"address": address, "mailbox_id": row["id"], "domain_id": row["domain_id"], "is_primary": not index}
        for row in rows
        for index, address in enumerate([row["address"], *row["aliases"]])
    ]
    # In one order, so that two calls that want the same addresses wait for one another instead of both being stuck.
    addresses.sort(key=lambda each: each["address"])
    values = {
        "reseller_id": reseller_id,
        "now": now,
        "mailboxes": json.dumps(rows),
        "addresses": json.dumps(addresses),
        "tenants": list(amounts),
        "amounts": json.dumps(amounts),
        "task": jobs.RECONCILE,
        "priority": PRIORITY_ASKED,
    }
    try:
        async with unique_or_conflict("external_id"):
            [written] = await fetch(session, _WRITE, values)
    except IntegrityError as error:
        if "domain_id" not in (violated_constraint(error) or ""):
            raise
        raise Conflict("The domain was removed a moment ago.", code="unknown_domain") from error
    taken = {each["address"] for each in addresses} - set(written.addresses or ())
    if taken:
        raise OrdersRefused([_address_taken(row, taken) for row in rows])
    _check_limits(reseller_id, amounts, written.used, world)


def _address_taken(row: Mapping[str, Any], taken: set[str]) -> Conflict | None:
    mine = sorted(taken & {row["address"], *row["aliases"]})
    return Conflict(f"The address {mine[0]} is in use already.", code="address_taken") if mine else None


def _check_limits(reseller_id: str, amounts: Mapping[str, int], used: Mapping[str, int], world: _World) -> None:
    limits = {domain.customer_id: ("customer", domain.mailboxes_max) for domain in world.domains.values()}
    limits[reseller_id] = ("reseller", next(iter(world.domains.values())).reseller_mailboxes_max)
    for tenant_id, amount in sorted(amounts.items()):
        tier, maximum = limits[tenant_id]
        check_limit(tier, "mailboxes", maximum, used=used[tenant_id], added=amount)
