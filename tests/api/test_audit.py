"""The audit log over HTTP: complete, apart for each reseller, and telling when somebody altered it."""

from typing import Any

import httpx
import psycopg
import pytest
from psycopg.errors import IntegrityError

from tests.api.conftest import MakeTenant, Tenant
from tests.api.onboarding import Home, order
from tests.conftest import as_superuser

pytestmark = pytest.mark.anyio


async def events_of(tenant: Tenant, query: str = "") -> list[dict[str, Any]]:
    return list((await tenant.client.get(f"/v1/audit-events{query}")).json()["items"])


async def verify(tenant: Tenant) -> dict[str, Any]:
    return dict((await tenant.client.get("/v1/audit-events/verify")).json())


async def make_history(tenant: Tenant) -> list[str]:
    """Four events: three customers, and a change of the first."""
    made = [(await tenant.client.post("/v1/customers", json={"name": name})).json()["id"] for name in ("A", "B", "C")]
    await tenant.client.patch(f"/v1/customers/{made[0]}", json={"name": "Z"})
    return made


def behind_its_back(url: str, statement: str, **values: Any) -> None:
    """What somebody with the superuser's password could do: no trigger fires."""
    with psycopg.connect(as_superuser(url)) as connection:
        connection.execute("set session_replication_role = replica")
        assert connection.execute(statement.encode(), values).rowcount == 1


class TestReading:
    async def test_a_change_says_who_did_what_to_what(self, tenant: Tenant) -> None:
        customer = (await tenant.client.post("/v1/customers", json={"name": "Kanzlei"})).json()
        [event] = await events_of(tenant)
        key_id = (await tenant.client.get("/v1/me")).json()["key_id"]
        assert (event["actor"], event["action"], event["resource_id"]) == (key_id, "customer.create", customer["id"])
        assert (event["detail"], event["sequence"], event["previous_hash"]) == ({"name": "Kanzlei"}, 1, "")
        assert event["at"] == customer["created_at"]

    async def test_events_are_chained_newest_first_and_in_pages(self, tenant: Tenant) -> None:
        await make_history(tenant)
        seen: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await tenant.client.get(f"/v1/audit-events?limit=2{cursor}")).json()
            seen += page["items"]
            cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
        assert [event["sequence"] for event in seen] == [4, 3, 2, 1]
        assert [event["previous_hash"] for event in seen[:-1]] == [event["hash"] for event in seen[1:]]

    async def test_the_history_of_one_object(self, tenant: Tenant) -> None:
        made = await make_history(tenant)
        events = await events_of(tenant, f"?resource_id={made[0]}")
        assert [event["action"] for event in events] == ["customer.change", "customer.create"]

    async def test_what_was_refused_is_no_event(self, tenant: Tenant) -> None:
        await tenant.client.post("/v1/customers", json={"name": ""})
        assert await events_of(tenant) == []
        assert await verify(tenant) == {"whole": True, "events": 0, "first_broken": None, "last_hash": None}

    async def test_another_resellers_events_are_not_there(self, tenant: Tenant, make_tenant: MakeTenant) -> None:
        made = await make_history(await make_tenant())
        assert await events_of(tenant, f"?resource_id={made[0]}") == []

    async def test_the_operator_reads_its_own_log(self, operator: httpx.AsyncClient, tenant: Tenant) -> None:
        await operator.post(f"/v1/resellers/{tenant.reseller_id}/suspend", json={"reason": "overdue"})
        newest = (await operator.get("/v1/audit-events?limit=1")).json()["items"][0]
        assert (newest["action"], newest["resource_id"]) == ("reseller.suspend", tenant.reseller_id)
        assert (await operator.get("/v1/audit-events/verify")).json()["whole"] is True

    @pytest.mark.parametrize("cursor", ["bmFtZQ", "OTk5OTk5OTk5OQ", "LTE", "not base64"])
    async def test_a_cursor_of_another_list_is_422(self, tenant: Tenant, cursor: str) -> None:
        answer = await tenant.client.get("/v1/audit-events", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "invalid_cursor")

    async def test_a_missing_scope_is_named(self, make_tenant: MakeTenant) -> None:
        tenant = await make_tenant(scopes=frozenset({"customers:read"}))
        for path in ("/v1/audit-events", "/v1/audit-events/verify"):
            assert (await tenant.client.get(path)).json()["missing_scope"] == "audit:read"


class TestTampering:
    async def test_an_untouched_chain_is_whole(self, tenant: Tenant) -> None:
        await make_history(tenant)
        newest = (await events_of(tenant))[0]
        assert await verify(tenant) == {
            "whole": True,
            "events": 4,
            "first_broken": None,
            "last_hash": newest["hash"],
        }

    async def test_the_database_refuses_to_alter_an_event(self, tenant: Tenant, worker_url: str) -> None:
        await make_history(tenant)
        with psycopg.connect(as_superuser(worker_url)) as connection:
            for statement in ("update audit_event set action = 'nothing'", "delete from audit_event"):
                with pytest.raises(IntegrityError, match="is final"), connection.transaction():
                    connection.execute(statement.encode())
        assert (await verify(tenant))["whole"] is True

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("actor", "'key_nobody'"),
            ("action", "'customer.delete'"),
            ("resource_id", "'cus_other'"),
            ("detail", "'{}'"),
            ("at", "at + interval '1 microsecond'"),
            ("hash", "sha256('x')"),
        ],
    )
    async def test_an_altered_event_is_found(self, tenant: Tenant, worker_url: str, column: str, value: str) -> None:
        await make_history(tenant)
        statement = f"update audit_event set {column} = {value} where chain = %(chain)s and sequence = 2"  # noqa: S608  # words of this file
        behind_its_back(worker_url, statement, chain=tenant.reseller_id)
        check = await verify(tenant)
        assert (check["whole"], check["first_broken"], check["events"]) == (False, 2, 4)

    async def test_an_event_taken_out_is_found(self, tenant: Tenant, worker_url: str) -> None:
        await make_history(tenant)
        statement = "delete from audit_event where chain = %(chain)s and sequence = 2"
        behind_its_back(worker_url, statement, chain=tenant.reseller_id)
        check = await verify(tenant)
        assert (check["whole"], check["first_broken"], check["events"]) == (False, 3, 3)

    async def test_an_altered_event_hashed_anew_breaks_the_one_after_it(self, tenant: Tenant, worker_url: str) -> None:
        await make_history(tenant)
        where = "where chain = %(chain)s and sequence = 2"
        for change in ("action = 'nothing'", "hash = audit_event_hash(audit_event.*)"):
            statement = f"update audit_event set {change} {where}"  # noqa: S608  # words of this file
            behind_its_back(worker_url, statement, chain=tenant.reseller_id)
        assert (await verify(tenant))["first_broken"] == 3

    async def test_a_chain_cut_short_shows_to_who_kept_its_last_hash(self, tenant: Tenant, worker_url: str) -> None:
        await make_history(tenant)
        kept = await verify(tenant)
        behind_its_back(
            worker_url,
            "delete from audit_event where chain = %(chain)s and sequence = 4",
            chain=tenant.reseller_id,
        )
        now = await verify(tenant)
        assert (now["whole"], now["events"]) == (True, 3)
        assert now["last_hash"] != kept["last_hash"]


class TestWhatChangesNothing:
    async def test_a_call_that_finds_all_as_it_asks_for_leaves_no_event(self, home: Home) -> None:
        anna, ben = await order(home, "anna"), await order(home, "ben")
        path = f"/v1/mailboxes/{anna['id']}"
        alias, share = f"{path}/aliases/{home.address('krueger')}", f"{path}/shares/calendar/{ben['id']}"
        calls: list[tuple[str, str, Any]] = [
            ("PATCH", path, {"display_name": "Anna Krüger"}),
            ("PATCH", path, {"external_id": "p-17"}),
            ("PATCH", path, {"allowed_countries": ["DE"]}),
            ("PUT", alias, None),
            ("PUT", f"{path}/primary-address", {"address": home.address("krueger")}),
            ("PUT", share, {"access": "read"}),
            ("PUT", share, {"access": "read", "expires_at": "2030-01-01T00:00:00Z"}),
            ("DELETE", share, None),
            ("PUT", f"{path}/add-ons/archive", {"quantity": 1}),
            ("POST", f"{path}/move", {"location": "de-nbg-1"}),
            ("POST", f"{path}/suspend", None),
            ("POST", f"{path}/resume", None),
            ("DELETE", path, None),
        ]
        for method, url, body in calls:
            before = len(await events_of(home.tenant))
            assert (await home.client.request(method, url, json=body)).is_success, url
            assert len(await events_of(home.tenant)) == before + 1, url
            again = await home.client.request(method, url, json=body)
            assert again.status_code == 200, again.text
            assert len(await events_of(home.tenant)) == before + 1, url
