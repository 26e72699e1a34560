"""The rows that stand before anything is measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from bench.servers import PEPPER
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from provisioning.keys import RESELLER_SCOPES, create_key
from provisioning.models import Domain
from provisioning.tenants import create_customer, create_reseller
from provisioning.terms import DomainState


@dataclass(frozen=True, slots=True)
class Tenant:
    """A reseller with its key and the verified domains of its customers."""

    reseller_id: str
    secret: str
    domains: tuple[str, ...]
    customers: tuple[str, ...]

    @property
    def headers(self) -> list[str]:
        return [f"Authorization: Bearer {self.secret}"]


async def make_tenants(database: Database, names: Sequence[str], *, customers: int, now: datetime) -> list[Tenant]:
    """One tenant for each name, made by the service's own functions."""
    return [await _make_tenant(database, name, customers=customers, now=now) for name in names]


async def _make_tenant(database: Database, name: str, *, customers: int, now: datetime) -> Tenant:
    async with database.as_system() as session:
        reseller = await create_reseller(
            session,
            now=now,
            name=f"Systemhaus {name}",
            street="Gerberau 12",
            postcode="79098",
            city="Freiburg im Breisgau",
            billing_email=f"rechnung@{name}.example",
        )
        key = await create_key(
            session, reseller.id, name="bench", scopes=RESELLER_SCOPES, expires_at=None, pepper=PEPPER, now=now
        )
        domains, owners = [], []
        for number in range(customers):
            customer = await create_customer(session, reseller.id, now=now, name=f"Kanzlei {number}")
            domains.append(f"kanzlei-{number}.{name}.example")
            owners.append(customer.id)
            session.add(
                Domain(
                    id=new_id("dom"),
                    reseller_id=reseller.id,
                    customer_id=customer.id,
                    name=domains[-1],
                    unicode_name=domains[-1],
                    state=DomainState.VERIFIED,
                    verification_token=f"{name}-{number}",
                    verified_at=now,
                    created_at=now,
                )
            )
            await session.flush()
    return Tenant(reseller.id, key.secret, tuple(domains), tuple(owners))


# Customers come in sizes 1 to 500 and their mailboxes come mixed, as they do over years. 94 in 100 are active, 1 in
# 1,000 has failed. Ids sort by number, so `:first` says where in time the reseller's mailboxes lie.
_MAILBOXES = text(
    """
    insert into mailbox (id, reseller_id, customer_id, address, display_name, kind, service_class, protocols,
        quota_mib, location, intent, password_version, generation, confirmed_generation, state, failed, attempts,
        backend_id, placed_in, observed_at, created_at, version)
    select 'mbx_' || :mark || lpad(n::text, 24, '0'), :reseller,
        (cast(:customers as text[]))[1 + (hashint4(n) & 2147483647) % cardinality(cast(:customers as text[]))
                                       * ((n * 7 % 10) + 1) / 10],
        'm' || n || '@' || :mark || '.example', 'Person ' || n,
        case when n % 20 = 0 then 'shared' else 'user' end,
        (array['pop3', 'imap', 'imap', 'exchange', 'exchange', 'exchange'])[1 + n % 6],
        array['imap', 'pop3', 'smtp', 'web'], 10240, (array['de-fra-1', 'de-nbg-1', 'fi-hel-1'])[1 + n % 3],
        'present', 1, 1, case when n % 1000 = 7 then 0 else 1 end,
        case when n % 1000 = 7 then 'failed' when n % 100 = 8 then 'suspended' when n % 100 = 9 then 'updating'
             when n % 100 in (10, 11) then 'purged' else 'active' end,
        n % 1000 = 7, 0, 'sbx_' || n, 'de-fra-1', now(), now() - make_interval(secs => :mailboxes - n), 1
    from generate_series(1, :mailboxes) as n
    """
)

# Each mailbox opens two neighbours of its own customer's run of ids, so that everybody is opened by two as well.
_SHARES = text(
    """
    insert into share (id, reseller_id, mailbox_id, grantee_id, scope, access, role, state, created_at, version)
    select 'shr_' || :mark || lpad((n * 2 + step)::text, 24, '0'), :reseller,
        'mbx_' || :mark || lpad(n::text, 24, '0'),
        'mbx_' || :mark || lpad(((n - 1) / :size * :size + 1 + (n - 1 + step + 1) % :size)::text, 24, '0'),
        'calendar', 'read', 'Reviewer', 'active', now(), 1
    from generate_series(1, :mailboxes) as n, generate_series(0, 1) as step
    """
)


async def fill_mailboxes(
    database: Database, tenant: Tenant, *, mark: str, mailboxes: int, customers: Sequence[str]
) -> None:
    """Rows as years of orders would have left them; `mark` is one character and keeps ids of fillings apart."""
    async with database.transaction() as session:
        # The rows are right by construction; foreign keys would be checked one row at a time.
        await session.execute(text("set local session_replication_role = replica"))
        await session.execute(
            _MAILBOXES,
            {
                "mark": mark * 2,
                "reseller": tenant.reseller_id,
                "customers": list(customers),
                "mailboxes": mailboxes,
            },
        )


async def fill_shares(database: Database, tenant: Tenant, *, mark: str, mailboxes: int, size: int) -> None:
    """Two shares of every mailbox, within runs of `size` neighbours."""
    async with database.transaction() as session:
        await session.execute(text("set local session_replication_role = replica"))
        await session.execute(
            _SHARES, {"mark": mark * 2, "reseller": tenant.reseller_id, "mailboxes": mailboxes, "size": size}
        )


async def settle(database: Database) -> None:
    """What autovacuum would have done by the time anybody looks."""
    async with database.engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text("vacuum (analyze)"))
        await connection.execute(text("checkpoint"))
