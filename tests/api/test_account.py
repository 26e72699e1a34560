"""Who calls, and API keys over HTTP: shown once, never stored in clear, expiring, rotated, revoked."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text
from sqlmodel import col

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.keys import OPERATOR_SCOPES, RESELLER_SCOPES, hash_secret
from provisioning.tenants import ApiKey
from tests.api.conftest import PEPPER, MakeClient, MakeTenant, Tenant

pytestmark = pytest.mark.anyio


async def new_key(client: httpx.AsyncClient, **order: Any) -> dict[str, Any]:
    answer = await client.post("/v1/api-keys", json={"name": "dashboard", "scopes": ["mailboxes:read"], **order})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def stored(database: Database, key_id: str) -> ApiKey:
    async with database.as_system() as session:
        return (await session.scalars(select(ApiKey).where(col(ApiKey.id) == key_id))).one()


async def whole_database(database: Database) -> AsyncIterator[tuple[str, str]]:
    """Every row of every table of ours as text."""
    async with database.as_system() as session:
        tables = await session.scalars(
            text("select tablename from pg_tables where schemaname = 'public' and tablename not like 'procrastinate%'")
        )
        for table in [name for name in tables if name != "alembic_version"]:
            for row in await session.scalars(text(f"select x::text from {table} as x")):  # noqa: S608  # the catalogue's own name
                yield table, row


class TestMe:
    async def test_a_key_learns_whose_it_is_and_what_is_left_of_its_limits(self, make_tenant: MakeTenant) -> None:
        tenant = await make_tenant(name="IT-Haus", mailboxes_max=500, customers_max=3)
        await tenant.client.post("/v1/customers", json={"name": "Kanzlei"})
        me = (await tenant.client.get("/v1/me")).json()
        assert me["operator"] is False
        assert me["key_name"] == "test"
        assert me["scopes"] == sorted(RESELLER_SCOPES)
        assert me["reseller"] == {
            "id": tenant.reseller_id,
            "name": "IT-Haus",
            "standing": "good",
            "standing_reason": None,
            "service_suspended_at": None,
            "service_suspended_reason": None,
            "mailboxes": {"max": 500, "used": 0},
            "customers": {"max": 3, "used": 1},
        }

    async def test_every_valid_key_may_ask_whatever_its_scopes(self, make_tenant: MakeTenant) -> None:
        tenant = await make_tenant(scopes=frozenset({"billing:read"}))
        assert (await tenant.client.get("/v1/me")).json()["scopes"] == ["billing:read"]

    async def test_an_operator_that_acts_for_nobody_is_told_so(self, operator: httpx.AsyncClient) -> None:
        me = (await operator.get("/v1/me")).json()
        assert me["operator"] is True
        assert me["reseller"] is None

    async def test_an_operator_acts_for_the_reseller_it_names(
        self, operator: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        me = (await operator.get("/v1/me", headers={"Postfachwerk-Reseller": tenant.reseller_id})).json()
        assert (me["operator"], me["reseller"]["id"]) == (True, tenant.reseller_id)

    async def test_acting_for_an_unknown_reseller_is_404(self, operator: httpx.AsyncClient) -> None:
        unknown = "res_" + "0" * 26
        answer = await operator.get("/v1/me", headers={"Postfachwerk-Reseller": unknown})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    async def test_a_reseller_cannot_act_for_another(self, tenant: Tenant, make_tenant: MakeTenant) -> None:
        other = await make_tenant()
        answer = await tenant.client.get("/v1/me", headers={"Postfachwerk-Reseller": other.reseller_id})
        assert answer.json()["reseller"]["id"] == tenant.reseller_id

    @pytest.mark.parametrize("secret", [None, "pfw_rs_00000000_nothing"])
    async def test_without_a_valid_key_nobody_is_anybody(self, make_client: MakeClient, secret: str | None) -> None:
        answer = await make_client(secret).get("/v1/me")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


class TestSecrets:
    async def test_a_key_is_shown_once_and_works(self, tenant: Tenant, make_client: MakeClient) -> None:
        key = await new_key(tenant.client)
        assert key["secret"].startswith(key["prefix"] + "_")
        assert key["prefix"].startswith("pfw_rs_")
        assert (await make_client(key["secret"]).get("/v1/me")).json()["key_id"] == key["id"]
        read = await tenant.client.get(f"/v1/api-keys/{key['id']}")
        assert "secret" not in read.json()
        assert key["secret"] not in (await tenant.client.get("/v1/api-keys")).text

    async def test_a_replayed_answer_has_no_secret(self, tenant: Tenant) -> None:
        order = {"name": "dashboard", "scopes": ["mailboxes:read"]}
        repeated = {"Idempotency-Key": "one key only"}
        first = await tenant.client.post("/v1/api-keys", json=order, headers=repeated)
        again = await tenant.client.post("/v1/api-keys", json=order, headers=repeated)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.json() == {**first.json(), "secret": None}
        assert len((await tenant.client.get("/v1/api-keys")).json()["items"]) == 2  # this one and the caller's

    async def test_no_table_holds_a_secret_in_clear(self, tenant: Tenant, database: Database) -> None:
        order = {"name": "dashboard", "scopes": ["mailboxes:read"]}
        answer = await tenant.client.post("/v1/api-keys", json=order, headers={"Idempotency-Key": "look inside"})
        secret = answer.json()["secret"]
        hidden = secret.removeprefix(answer.json()["prefix"])
        traces = (secret, hidden, secret.encode().hex(), hidden.encode().hex())
        seen = set()
        async for table, row in whole_database(database):
            seen.add(table)
            assert not any(trace in row for trace in traces), table
        assert {"api_key", "idempotency_key", "audit_event"} <= seen
        key = await stored(database, answer.json()["id"])
        assert key.secret_hash == hash_secret(secret, pepper=PEPPER)

    async def test_a_dry_run_makes_no_key(self, tenant: Tenant) -> None:
        order = {"name": "dashboard", "scopes": ["mailboxes:read"]}
        answer = await tenant.client.post("/v1/api-keys?dry_run=true", json=order)
        assert (answer.status_code, answer.json()["would_be"]["secret"]) == (200, None)
        assert len((await tenant.client.get("/v1/api-keys")).json()["items"]) == 1

    async def test_the_operators_keys_are_listed_apart(self, operator: httpx.AsyncClient, tenant: Tenant) -> None:
        key = await new_key(operator, scopes=["resellers:read"])
        assert key["prefix"].startswith("pfw_op_")
        assert (await tenant.client.get(f"/v1/api-keys/{key['id']}")).status_code == 404


class TestScopes:
    async def test_a_key_grants_no_scope_it_lacks(self, make_tenant: MakeTenant) -> None:
        tenant = await make_tenant(scopes=frozenset({"keys:write", "mailboxes:read"}))
        order = {"name": "greedy", "scopes": ["mailboxes:read", "mailboxes:write", "billing:read"]}
        answer = await tenant.client.post("/v1/api-keys", json=order)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (403, "scope_escalation")
        assert problem["scopes"] == ["billing:read", "mailboxes:write"]
        assert "billing:read" in problem["detail"]

    async def test_rotating_a_stronger_key_is_no_way_around(
        self, make_tenant: MakeTenant, make_client: MakeClient
    ) -> None:
        tenant = await make_tenant(scopes=frozenset({"keys:write", "mailboxes:write"}))
        weaker = make_client((await new_key(tenant.client, scopes=["keys:write"]))["secret"])
        mine = (await tenant.client.get("/v1/me")).json()["key_id"]
        answer = await weaker.post(f"/v1/api-keys/{mine}/rotate", json={})
        assert (answer.status_code, answer.json()["scopes"]) == (403, ["mailboxes:write"])

    async def test_a_reseller_cannot_have_the_operators_scopes(
        self, operator: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        acting = {"Postfachwerk-Reseller": tenant.reseller_id}
        order = {"name": "too much", "scopes": ["prices:write"]}
        answer = await operator.post("/v1/api-keys", json=order, headers=acting)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/scopes")
        assert (await tenant.client.post("/v1/api-keys", json=order)).json()["code"] == "scope_escalation"

    async def test_a_missing_scope_is_named(self, make_tenant: MakeTenant) -> None:
        tenant = await make_tenant(scopes=frozenset({"mailboxes:read"}))
        answer = await tenant.client.get("/v1/api-keys")
        assert (answer.status_code, answer.json()["missing_scope"]) == (403, "keys:write")

    async def test_an_unknown_scope_is_422(self, operator: httpx.AsyncClient) -> None:
        answer = await operator.post("/v1/api-keys", json={"name": "x", "scopes": ["mailboxes:fly"]})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "unknown_scope")
        assert "mailboxes:fly" not in OPERATOR_SCOPES


class TestLifetime:
    async def test_a_key_ends_at_its_expiry(
        self, tenant: Tenant, make_client: MakeClient, clock: TestClock, now: datetime
    ) -> None:
        key = await new_key(tenant.client, expires_at=(now + timedelta(hours=1)).isoformat())
        client = make_client(key["secret"])
        clock.advance(now + timedelta(minutes=59, seconds=59))
        assert (await client.get("/v1/me")).status_code == 200
        clock.advance(now + timedelta(hours=1))
        assert (await client.get("/v1/me")).status_code == 401

    @pytest.mark.parametrize("years", [-1, 11])
    async def test_an_expiry_must_lie_ahead_and_within_reach(self, tenant: Tenant, now: datetime, years: int) -> None:
        order = {
            "name": "x",
            "scopes": ["mailboxes:read"],
            "expires_at": now.replace(year=now.year + years).isoformat(),
        }
        answer = await tenant.client.post("/v1/api-keys", json=order)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/expires_at")

    async def test_both_keys_work_during_the_overlap_of_a_rotation(
        self, tenant: Tenant, make_client: MakeClient, clock: TestClock, now: datetime
    ) -> None:
        old = await new_key(tenant.client)
        answer = await tenant.client.post(f"/v1/api-keys/{old['id']}/rotate", json={"overlap_hours": 2})
        assert answer.status_code == 201
        new = answer.json()
        assert (new["name"], new["scopes"]) == (old["name"], old["scopes"])
        assert answer.headers["Location"] == f"/v1/api-keys/{new['id']}"
        clients = [make_client(each["secret"]) for each in (old, new)]
        assert [(await client.get("/v1/me")).status_code for client in clients] == [200, 200]
        clock.advance(now + timedelta(hours=2))
        assert [(await client.get("/v1/me")).status_code for client in clients] == [401, 200]

    async def test_a_rotated_key_keeps_its_lifetime(self, tenant: Tenant, clock: TestClock, now: datetime) -> None:
        old = await new_key(tenant.client, expires_at=(now + timedelta(days=90)).isoformat())
        clock.advance(now + timedelta(days=80))
        new = (await tenant.client.post(f"/v1/api-keys/{old['id']}/rotate", json={})).json()
        assert datetime.fromisoformat(new["expires_at"]) == now + timedelta(days=170)
        read = (await tenant.client.get(f"/v1/api-keys/{old['id']}")).json()
        assert datetime.fromisoformat(read["expires_at"]) == now + timedelta(days=81)

    async def test_a_dead_key_is_not_rotated(self, tenant: Tenant) -> None:
        key = await new_key(tenant.client)
        await tenant.client.delete(f"/v1/api-keys/{key['id']}")
        answer = await tenant.client.post(f"/v1/api-keys/{key['id']}/rotate", json={})
        assert (answer.status_code, answer.json()["code"]) == (409, "key_not_active")

    async def test_a_revoked_key_stops_at_once_even_when_it_revokes_itself(self, tenant: Tenant) -> None:
        mine = (await tenant.client.get("/v1/me")).json()["key_id"]
        answer = await tenant.client.delete(f"/v1/api-keys/{mine}")
        assert answer.status_code == 200
        assert answer.json()["revoked_at"] is not None
        assert (await tenant.client.get("/v1/me")).status_code == 401

    async def test_a_suspended_reseller_revokes_a_leaked_key_and_nothing_else(
        self, tenant: Tenant, operator: httpx.AsyncClient
    ) -> None:
        leaked = await new_key(tenant.client)
        path = f"/v1/api-keys/{leaked['id']}"
        await operator.post(f"/v1/resellers/{tenant.reseller_id}/suspend", json={"reason": "Invoice overdue"})
        renamed = await tenant.client.patch(path, json={"name": "leaked"})
        assert (renamed.status_code, renamed.json()["code"]) == (403, "reseller_suspended")
        revoked = await tenant.client.delete(path)
        assert (revoked.status_code, revoked.json()["revoked_at"] is not None) == (200, True)

    async def test_the_last_use_is_written_once_a_minute_at_most(
        self, tenant: Tenant, make_client: MakeClient, database: Database, clock: TestClock, now: datetime
    ) -> None:
        key = await new_key(tenant.client)
        client = make_client(key["secret"])
        uses = []
        for seconds in (1, 30, 61, 62):
            clock.advance(now + timedelta(seconds=seconds))
            await client.get("/v1/me")
            uses.append((await stored(database, key["id"])).last_used_at)
        first, second = now + timedelta(seconds=1), now + timedelta(seconds=62)
        assert uses == [first, first, first, second]

    async def test_the_use_of_an_operators_key_is_written_also_when_it_acts_for_somebody(
        self, operator: httpx.AsyncClient, tenant: Tenant, make_client: MakeClient, database: Database, now: datetime
    ) -> None:
        key = await new_key(operator, scopes=["mailboxes:read"])
        acting = {"Postfachwerk-Reseller": tenant.reseller_id}
        answer = await make_client(key["secret"]).get("/v1/me", headers=acting)
        assert answer.json()["reseller"]["id"] == tenant.reseller_id
        assert (await stored(database, key["id"])).last_used_at == now


class TestManners:
    async def test_a_key_is_renamed_only_as_it_was_read(self, tenant: Tenant) -> None:
        key = await new_key(tenant.client)
        path = f"/v1/api-keys/{key['id']}"
        etag = (await tenant.client.get(path)).headers["ETag"]
        changed = await tenant.client.patch(path, json={"name": "new"}, headers={"If-Match": etag})
        assert (changed.status_code, changed.json()["name"], changed.json()["version"]) == (200, "new", 2)
        stale = await tenant.client.patch(path, json={"name": "newer"}, headers={"If-Match": etag})
        assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
        assert (await tenant.client.get(path)).json()["name"] == "new"

    async def test_an_unchanged_key_is_304_and_a_use_of_it_is_a_change(
        self, tenant: Tenant, make_client: MakeClient
    ) -> None:
        key = await new_key(tenant.client)
        path = f"/v1/api-keys/{key['id']}"
        known = {"If-None-Match": (await tenant.client.get(path)).headers["ETag"]}
        assert (await tenant.client.get(path, headers=known)).status_code == 304
        await make_client(key["secret"]).get("/v1/me")
        assert (await tenant.client.get(path, headers=known)).json()["last_used_at"] is not None

    async def test_each_change_of_a_key_is_one_audit_event(self, tenant: Tenant) -> None:
        key = await new_key(tenant.client)
        path = f"/v1/api-keys/{key['id']}"
        await tenant.client.patch(path, json={"name": "new"})
        await tenant.client.post(f"{path}/rotate", json={})
        await tenant.client.delete(path)
        events = (await tenant.client.get(f"/v1/audit-events?resource_id={key['id']}")).json()["items"]
        actions = [event["action"] for event in reversed(events)]
        assert actions == ["api_key.create", "api_key.change", "api_key.rotate", "api_key.revoke"]

    async def test_another_resellers_key_is_404(self, tenant: Tenant, make_tenant: MakeTenant) -> None:
        key = await new_key((await make_tenant()).client)
        path = f"/v1/api-keys/{key['id']}"
        answers = [
            await tenant.client.get(path),
            await tenant.client.patch(path, json={"name": "mine"}),
            await tenant.client.delete(path),
            await tenant.client.post(f"{path}/rotate", json={}),
        ]
        assert [answer.status_code for answer in answers] == [404] * 4
