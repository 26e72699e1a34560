"""Where mailboxes can lie: data centres, their certificates, and the policy that decides who may be placed where."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import flag_modified
from sqlmodel import Field, col

from provisioning.core.database import fetch, recall, remember
from provisioning.core.errors import Conflict, FieldError, Invalid, NotFound
from provisioning.core.tables import JsonOrNull, Table, Versioned, word
from provisioning.terms import DriftPolicy

# Taken before what they guard is read: a statement that waited for a lock still sees what was there when it began.
_KEEP_RULES = """
    select pg_advisory_xact_lock_shared(hashtextextended('policy:' || %(reseller_id)s, 0)) as policies,
           pg_advisory_xact_lock_shared(hashtextextended('data_centres', 0)) as data_centres
"""
# The same for a statement of the caller's that comes to know of `reseller_id` itself; `note_rules_kept` follows it.
KEEPING_RULES = """
    case when %(keep_rules)s then pg_advisory_xact_lock_shared(hashtextextended('policy:' || reseller_id, 0)) end
        as policies,
    case when %(keep_rules)s then pg_advisory_xact_lock_shared(hashtextextended('data_centres', 0)) end as data_centres
"""
_LOCK_POLICY = text("select pg_advisory_xact_lock(hashtextextended('policy:' || :reseller_id, 0))")
_LOCK_DATA_CENTRES = text("select pg_advisory_xact_lock(hashtextextended('data_centres', 0))")

# An expression, so that an order reads it with its domains; `placements_of` takes its value.
PLACEMENTS = """
    (select jsonb_agg(jsonb_build_object(
        'code', code, 'country', country, 'accepts_orders', accepts_orders,
        'certificates', array(select scheme from certificate c
                              where c.data_centre = dc.code and valid_from <= %(on)s and valid_until > %(on)s)))
     from data_centre dc)
"""
_PLACEMENTS = f"select {PLACEMENTS} as placements"

POLICY_FIELDS = ("allowed_locations", "allowed_countries", "required_certificates")


class DataCentre(Versioned, table=True):
    """A place with an operator. `country` and `parent_country` are ISO 3166 alpha-2; `driver` names its backend.

    `endpoints` holds the fields of `endpoints.Endpoints`; a sandbox has none.
    """

    __tablename__ = "data_centre"

    code: str = Field(primary_key=True)
    name: str
    city: str
    country: str
    jurisdiction: str
    operator: str
    parent_country: str
    driver: str
    sandbox: bool = False
    on_drift: DriftPolicy = word(DriftPolicy, DriftPolicy.REPAIR)
    accepts_orders: bool = True
    endpoints: dict[str, Any] | None = Field(default=None, sa_type=JsonOrNull)


class Certificate(Table, table=True):
    """Valid on days in [valid_from, valid_until)."""

    __tablename__ = "certificate"

    data_centre: str = Field(foreign_key="data_centre.code", primary_key=True)
    scheme: str = Field(primary_key=True)
    number: str = Field(primary_key=True)
    issuer: str
    valid_from: date
    valid_until: date


@dataclass(frozen=True, slots=True)
class Placement:
    """A data centre as the policy sees it on one day: `certificates` are the schemes valid on that day."""

    code: str
    country: str
    accepts_orders: bool
    certificates: frozenset[str]


@dataclass(frozen=True, slots=True)
class Rules:
    """The policy of one tier; None means that this tier says nothing."""

    tier: str
    allowed_locations: frozenset[str] | None
    allowed_countries: frozenset[str] | None
    required_certificates: frozenset[str] | None

    @classmethod
    def of(cls, tier: str, row: Any) -> "Rules":
        """From anything that carries the three policy columns."""
        return cls(tier, *(_set(getattr(row, name)) for name in POLICY_FIELDS))


def check_placement(placement: Placement, tiers: Iterable[Rules]) -> None:
    """Raises Conflict `placement_refused` naming tier and rule when one of the tiers forbids this data centre."""
    if not placement.accepts_orders:
        raise Conflict(f"{placement.code} takes no new mailboxes.", code="data_centre_closed")
    for rules in tiers:
        if rules.allowed_locations is not None and placement.code not in rules.allowed_locations:
            raise _refused(placement, rules.tier, "allowed_locations", rules.allowed_locations)
        if rules.allowed_countries is not None and placement.country not in rules.allowed_countries:
            raise _refused(placement, rules.tier, "allowed_countries", rules.allowed_countries)
        if missing := (rules.required_certificates or frozenset()) - placement.certificates:
            raise _refused(placement, rules.tier, "required_certificates", missing)


def check_tightens(child: Rules, parents: Sequence[Rules]) -> None:
    """Raises Conflict `policy_widens` when the child would allow what a tier above it forbids.

    Certificates add up over the tiers, so a child cannot loosen those, whatever it names.
    """
    for parent in parents:
        for rule in ("allowed_locations", "allowed_countries"):
            above, below = getattr(parent, rule), getattr(child, rule)
            if above is not None and below is not None and not below <= above:
                raise Conflict(
                    f"The {child.tier}'s {rule} may only tighten those of the {parent.tier}: "
                    f"{', '.join(sorted(below - above))} is not among {', '.join(sorted(above))}.",
                    code="policy_widens",
                    rule={"tier": parent.tier, "name": rule},
                )


async def keep_rules(session: AsyncSession, reseller_id: str) -> None:
    """Until the transaction ends no policy of this reseller or its customers changes, and no data centre, so that what
    is judged by what is read from here on stays true."""
    if recall(session, keep_rules) != reseller_id:
        await fetch(session, _KEEP_RULES, {"reseller_id": reseller_id})


def note_rules_kept(session: AsyncSession, reseller_id: str) -> None:
    """This transaction has done what `keep_rules` does, outside any savepoint, and need not do it again."""
    remember(session, keep_rules, reseller_id)


async def load_placements(session: AsyncSession, reseller_id: str, *, on: date) -> dict[str, Placement]:
    """All data centres by code, with the certificates valid on this day, after `keep_rules`."""
    await keep_rules(session, reseller_id)
    [row] = await fetch(session, _PLACEMENTS, {"on": on})
    return placements_of(row.placements)


def placements_of(rows: Sequence[Mapping[str, Any]] | None) -> dict[str, Placement]:
    """What PLACEMENTS says, by code."""
    return {
        row["code"]: Placement(row["code"], row["country"], row["accepts_orders"], frozenset(row["certificates"]))
        for row in rows or ()
    }


async def lock_policy(session: AsyncSession, reseller_id: str) -> None:
    """Wait for placements under way and keep new ones out, before a policy of this reseller's tree is changed."""
    await session.execute(_LOCK_POLICY, {"reseller_id": reseller_id})


def find_placement(placements: Mapping[str, Placement], code: str) -> Placement:
    """Raises Conflict `unknown_data_centre`, naming those there are."""
    if code not in placements:
        raise Conflict(
            f"There is no data centre {code}. Choose from: {', '.join(sorted(placements))}.",
            code="unknown_data_centre",
        )
    return placements[code]


def check_known(locations: Sequence[str] | None, known: Collection[str]) -> None:
    """Raises Invalid for `allowed_locations` with codes that no data centre has."""
    message = f"there is no such data centre; choose from: {', '.join(sorted(known))}"
    errors = [
        FieldError(f"/allowed_locations/{index}", "unknown_data_centre", message)
        for index, code in enumerate(locations or ())
        if code not in known
    ]
    if errors:
        raise Invalid("A policy can only allow data centres that there are.", errors=errors)


async def check_locations(session: AsyncSession, wish: Mapping[str, Any]) -> None:
    """As `check_known`, for a wish that may have a policy."""
    if locations := wish.get("allowed_locations"):
        check_known(locations, (await session.scalars(select(col(DataCentre.code)))).all())


async def list_data_centres(session: AsyncSession) -> list[tuple[DataCentre, list[Certificate]]]:
    """All data centres with all their certificates, lapsed ones included, by code."""
    centres = await session.scalars(select(DataCentre).order_by(col(DataCentre.code)))
    certificates: dict[str, list[Certificate]] = defaultdict(list)
    for certificate in await session.scalars(select(Certificate).order_by(col(Certificate.scheme))):
        certificates[certificate.data_centre].append(certificate)
    return [(centre, certificates[centre.code]) for centre in centres]


async def get_data_centre(
    session: AsyncSession, code: str, *, lock: bool = False
) -> tuple[DataCentre, list[Certificate]]:
    """Raises NotFound. `lock` keeps placements out of all data centres until the transaction ends."""
    if lock:
        await session.execute(_LOCK_DATA_CENTRES)
    query = select(DataCentre).where(col(DataCentre.code) == code)
    centre = await session.scalar(query.with_for_update() if lock else query)
    if centre is None:
        raise NotFound(f"There is no data centre {code}.")
    held = await session.scalars(
        select(Certificate).where(col(Certificate.data_centre) == code).order_by(col(Certificate.scheme))
    )
    return centre, list(held)


async def put_data_centre(session: AsyncSession, code: str, **details: Any) -> DataCentre:
    """Create a data centre, or change the one there is."""
    await session.execute(_LOCK_DATA_CENTRES)
    values = {"code": code, "version": 1, **details}
    await session.execute(insert(DataCentre).values(values).on_conflict_do_nothing())
    centre, _ = await get_data_centre(session, code, lock=True)
    for name, value in details.items():
        setattr(centre, name, value)
    await session.flush()  # the version that is shown is the one stored
    return centre


async def put_certificate(session: AsyncSession, code: str, **details: Any) -> Certificate:
    """Add a certificate to a data centre, or change the one of the same scheme and number."""
    centre, _ = await get_data_centre(session, code, lock=True)
    certificate = await session.merge(Certificate(data_centre=code, **details))
    if session.is_modified(certificate) or certificate in session.new:
        flag_modified(centre, "code")  # its certificates are part of what its ETag stands for
    await session.flush()  # a second answer in this transaction lists it
    return certificate


def _set(values: list[str] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(values)


def _refused(placement: Placement, tier: str, rule: str, values: frozenset[str]) -> Conflict:
    names = ", ".join(sorted(values))
    needed = f"requires {names}, valid today" if rule == "required_certificates" else f"allows {names or 'nothing'}"
    return Conflict(
        f"The {tier}'s {rule} forbid {placement.code} ({placement.country}): it {needed}.",
        code="placement_refused",
        rule={"tier": tier, "name": rule, "values": sorted(values)},
    )
