"""The application over a database of one's own, with all ids and keys that calls need, and a look at every table."""

from dataclasses import dataclass, field, replace
from typing import cast

import httpx
import psycopg
from fastapi import FastAPI
from sqlalchemy import text

from api.context import Context
from api.main import create_app
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.resolver import SandboxZone
from tests.api.conftest import BOOKS, ISSUER, PEPPER
from tests.api.paper_gateway import paper_gateway
from tests.api.route_table import Json, problem_complaint
from tests.conftest import NOW, as_superuser

# The example of the Bundesbank's own form.
CREDITOR_ID = "DE98ZZZ09999999999"


@dataclass
class Facts:
    """Ids and secrets. `lacking` has for each scope a key, the operator's or the tenant's, with all others."""

    own: dict[str, str] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    lacking: dict[tuple[bool, str], str] = field(default_factory=dict)


@dataclass
class Stage:
    """The application over one clone. Clients check that each refusal is one the endpoint documents."""

    facts: Facts
    context: Context
    app: FastAPI
    document: Json
    undocumented: list[str]
    clients: list[httpx.AsyncClient] = field(default_factory=list)
    _watcher: psycopg.AsyncConnection[tuple[str, str]] | None = None

    @property
    def tenant(self) -> httpx.AsyncClient:
        return self.client(self.facts.secrets["tenant"])

    @property
    def operator(self) -> httpx.AsyncClient:
        return self.client(self.facts.secrets["operator"])

    def client(self, secret: str | None, **headers: str) -> httpx.AsyncClient:
        """`secret` None sends no key."""
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret}"
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False),
            base_url="http://postfachwerk.test",
            headers=headers,
            event_hooks={"response": [self._look_up]},
        )
        self.clients.append(client)
        return client

    async def _look_up(self, answer: httpx.Response) -> None:
        if answer.headers.get("content-type") == "application/problem+json":
            problem = cast(Json, httpx.Response(200, content=await answer.aread()).json())
            request = answer.request
            complaint = problem_complaint(self.document, request.method, request.url.path, answer.status_code, problem)
            self.undocumented += [complaint] if complaint else []

    async def fingerprint(self) -> dict[str, str]:
        """Number and hash of the rows of every table, without what merely notes that a call was made."""
        if self._watcher is None:
            url = as_superuser(self.context.database.url)
            self._watcher = await psycopg.AsyncConnection.connect(url, autocommit=True)
        tables = await (await self._watcher.execute(_TABLES)).fetchall()
        each = " union all ".join(_HASH.format(table=name, row=row) for name, row in tables)
        # The names come from the catalogue.
        return dict(await (await self._watcher.execute(each.encode())).fetchall())

    async def close(self) -> None:
        for client in self.clients:
            await client.aclose()
        if self._watcher is not None:
            await self._watcher.close()
        await self.context.database.close()

    async def events(self) -> int:
        async with self.context.database.as_system() as session:
            return cast(int, await session.scalar(text("select count(*) from audit_event")))


# Of whole rows, where a table has nothing to leave out: that takes a tenth of the time.
_TABLES = """
    select relname, case when attname is null then 'hash_record_extended(t, 0)'
                    else 'jsonb_hash_extended(to_jsonb(t) - ''last_used_at'', 0)' end
    from pg_class left join pg_attribute on attrelid = pg_class.oid and attname = 'last_used_at'
    where relkind = 'r' and relnamespace = 'public'::regnamespace and relname <> 'idempotency_key'
"""
_HASH = "select '{table}', count(*) || ' rows, ' || coalesce(sum({row}), 0) from public.{table} as t"


def on_stage(database: Database, facts: Facts) -> Stage:
    """The one application, over another database, with a clock and a zone of its own."""
    clock, zone = TestClock(NOW), SandboxZone()
    issuer = replace(ISSUER, creditor_id=CREDITOR_ID, has_gateway=True)
    context = Context(database, clock, PEPPER, zone, issuer, BOOKS, test_clock=clock, sandbox_zone=zone)
    context.gateway = paper_gateway()
    app = create_app(context)
    # All applications of this process say the same of themselves, and to compose it takes longer than most tests.
    app.openapi_schema = app.openapi_schema or _document(app)
    return Stage(facts, context, app, app.openapi(), undocumented=[])


_documents: list[Json] = []


def _document(app: FastAPI) -> Json:
    if not _documents:
        _documents.append(app.openapi())
    return _documents[0]


NOWHERE = "postgresql://nobody@/none?host=/nonexistent"


def empty_stage() -> Stage:
    """The application without any database: what it says of itself, and what it does while the database is away."""
    return on_stage(Database(NOWHERE, pool_size=1), Facts())
