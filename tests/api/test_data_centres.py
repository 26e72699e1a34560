"""Data centres over HTTP: what is certified today, and what only the operator may say."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.tenants import get_reseller
from tests.api.conftest import Tenant
from tests.api.onboarding import Home, order, refused
from tests.factories import make_customer, make_domain, make_mailbox

pytestmark = pytest.mark.anyio

WISH = {
    "name": "Wien 1",
    "city": "Wien",
    "country": "AT",
    "jurisdiction": "AT",
    "operator": "Rechenzentrum Donau GmbH",
    "parent_country": "AT",
    "driver": "sandbox",
    "accepts_orders": False,  # other tests place mailboxes where they like
}
CERTIFICATE = {"number": "44 121", "issuer": "TÜV", "valid_from": "2026-11-17", "valid_until": "2026-11-19"}


@pytest.fixture
def code() -> str:
    return f"at-{uuid4().hex[:8]}"


async def put(operator: httpx.AsyncClient, code: str, **changes: Any) -> httpx.Response:
    return await operator.put(f"/v1/data-centres/{code}", json={**WISH, **changes})


class TestReading:
    async def test_the_catalogue_says_which_certificates_hold_today(self, tenant: Tenant) -> None:
        items = (await tenant.client.get("/v1/data-centres")).json()["items"]
        centres = {item["code"]: item for item in items}
        helsinki, frankfurt = centres["fi-hel-1"], centres["de-fra-1"]
        assert (helsinki["country"], helsinki["city"]) == ("FI", "Helsinki")
        [lapsed] = helsinki["certificates"]
        assert (lapsed["scheme"], lapsed["valid_until"], lapsed["valid"]) == ("ISO27001", "2026-10-01", False)
        assert {each["scheme"]: each["valid"] for each in frankfurt["certificates"]} == {"C5": True, "ISO27001": True}

    async def test_a_sandbox_says_plainly_that_it_is_one(self, tenant: Tenant) -> None:
        centre = (await tenant.client.get("/v1/data-centres/de-fra-1")).json()
        assert centre["sandbox"] is True
        assert centre["note"].startswith("An imitation: no mail flows")

    async def test_a_certificate_lapses_on_its_last_day_in_berlin_and_no_cache_hides_it(
        self, tenant: Tenant, clock: TestClock
    ) -> None:
        path = "/v1/data-centres/de-nbg-1"
        clock.advance(datetime(2026, 12, 31, 22, 59, tzinfo=UTC))
        before = await tenant.client.get(path)
        assert {each["scheme"] for each in before.json()["certificates"] if each["valid"]} == {"C5", "ISO27001"}
        known = {"If-None-Match": before.headers["ETag"]}
        assert (await tenant.client.get(path, headers=known)).status_code == 304
        clock.advance(datetime(2026, 12, 31, 23, 0, tzinfo=UTC))
        after = await tenant.client.get(path, headers=known)
        assert after.status_code == 200
        assert {each["scheme"] for each in after.json()["certificates"] if each["valid"]} == {"ISO27001"}

    async def test_the_operator_reads_it_without_a_reseller(self, operator: httpx.AsyncClient) -> None:
        assert (await operator.get("/v1/data-centres/de-fra-1")).status_code == 200

    async def test_an_unknown_one_is_404(self, tenant: Tenant) -> None:
        answer = await tenant.client.get("/v1/data-centres/nowhere-1")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    async def test_a_code_nobody_can_have_is_422(self, tenant: Tenant) -> None:
        answer = await tenant.client.get("/v1/data-centres/%00")
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "path code")


class TestWriting:
    async def test_the_operator_creates_and_changes_one(self, operator: httpx.AsyncClient, code: str) -> None:
        created = await put(operator, code)
        assert (created.status_code, created.headers["Location"]) == (201, f"/v1/data-centres/{code}")
        changed = await put(operator, code, name="Wien 2", country="CH")
        assert (changed.status_code, changed.json()["version"]) == (200, 2)
        read = (await operator.get(f"/v1/data-centres/{code}")).json()
        assert (read["name"], read["country"], read["certificates"]) == ("Wien 2", "CH", [])

    async def test_putting_the_same_again_changes_nothing(self, operator: httpx.AsyncClient, code: str) -> None:
        first = await put(operator, code)
        again = await put(operator, code)
        assert (again.status_code, again.headers["ETag"]) == (200, first.headers["ETag"])

    async def test_a_certificate_is_added_and_changed_by_its_number(
        self, operator: httpx.AsyncClient, code: str
    ) -> None:
        await put(operator, code)
        path = f"/v1/data-centres/{code}/certificates/C5"
        added = await operator.put(path, json=CERTIFICATE)
        assert added.json()["certificates"] == [{"scheme": "C5", **CERTIFICATE, "valid": True}]
        await operator.put(path, json={**CERTIFICATE, "valid_until": "2026-11-18"})
        await operator.put(path, json={**CERTIFICATE, "number": "45", "valid_from": "2026-11-18"})
        read = (await operator.get(f"/v1/data-centres/{code}")).json()
        assert {each["number"]: each["valid"] for each in read["certificates"]} == {"44 121": True, "45": False}

    async def test_a_certificate_changes_the_etag_of_its_data_centre(
        self, operator: httpx.AsyncClient, code: str
    ) -> None:
        etag = (await put(operator, code)).headers["ETag"]
        path = f"/v1/data-centres/{code}/certificates/C5"
        added = await operator.put(path, json=CERTIFICATE, headers={"If-Match": etag})
        assert (added.status_code, added.json()["version"]) == (200, 2)
        stale = await operator.put(path, json=CERTIFICATE, headers={"If-Match": etag})
        assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")

    async def test_if_match_creates_nothing(self, operator: httpx.AsyncClient, code: str) -> None:
        answer = await operator.put(f"/v1/data-centres/{code}", json=WISH, headers={"If-Match": '"1"'})
        assert answer.status_code == 412
        assert (await operator.get(f"/v1/data-centres/{code}")).status_code == 404

    async def test_a_dry_run_creates_nothing(self, operator: httpx.AsyncClient, code: str) -> None:
        answer = await operator.put(f"/v1/data-centres/{code}?dry_run=true", json=WISH)
        assert answer.json()["would_be"]["code"] == code
        assert (await operator.get(f"/v1/data-centres/{code}")).status_code == 404

    async def test_the_country_of_mailboxes_that_lie_there_is_fixed(
        self, operator: httpx.AsyncClient, tenant: Tenant, database: Database, code: str
    ) -> None:
        await put(operator, code)
        async with database.as_system() as session:
            reseller = await get_reseller(session, tenant.reseller_id)
            domain = await make_domain(session, await make_customer(session, reseller))
            await make_mailbox(session, domain, location=code)
        answer = await put(operator, code, country="US")
        assert (answer.status_code, answer.json()["code"]) == (409, "data_centre_in_use")
        assert (await put(operator, code, name="Wien Mitte")).status_code == 200

    @pytest.mark.parametrize(
        ("field", "value"),
        [("country", "at"), ("jurisdiction", "AUT"), ("parent_country", ""), ("driver", "../x"), ("city", "a\0")],
    )
    async def test_a_wrong_field_is_pointed_at(
        self, operator: httpx.AsyncClient, code: str, field: str, value: str
    ) -> None:
        answer = await put(operator, code, **{field: value})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{field}")

    async def test_a_validity_that_ends_before_it_begins_is_422(self, operator: httpx.AsyncClient, code: str) -> None:
        await put(operator, code)
        wish = {**CERTIFICATE, "valid_until": CERTIFICATE["valid_from"]}
        answer = await operator.put(f"/v1/data-centres/{code}/certificates/C5", json=wish)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/valid_until")

    async def test_a_certificate_needs_a_data_centre(self, operator: httpx.AsyncClient, code: str) -> None:
        answer = await operator.put(f"/v1/data-centres/{code}/certificates/C5", json=CERTIFICATE)
        assert answer.status_code == 404

    async def test_a_reseller_writes_none(self, tenant: Tenant, code: str) -> None:
        answer = await tenant.client.put(f"/v1/data-centres/{code}", json=WISH)
        assert (answer.status_code, answer.json()["code"]) == (403, "operator_only")


ENDPOINTS = {
    "imap": {"host": "mail.wien-1.example", "port": 993, "security": "tls"},
    "pop3": None,
    "submission": {"host": "mail.wien-1.example", "port": 587, "security": "starttls"},
    "sieve": None,
    "activesync_url": "https://mail.wien-1.example/Microsoft-Server-ActiveSync",
    "dav_url": "https://mail.wien-1.example:8443/SOGo/dav/",
    "web_url": None,
}


class TestEndpoints:
    async def test_what_is_said_of_its_servers_is_read_back_and_audited(
        self, operator: httpx.AsyncClient, tenant: Tenant, code: str
    ) -> None:
        assert (await put(operator, code)).json()["endpoints"] is None
        changed = await put(operator, code, driver="open_cell", endpoints=ENDPOINTS)
        assert (changed.status_code, changed.json()["version"]) == (200, 2)
        assert (await tenant.client.get(f"/v1/data-centres/{code}")).json()["endpoints"] == ENDPOINTS
        assert (await put(operator, code, driver="open_cell", endpoints=ENDPOINTS)).json()["version"] == 2
        events = (await operator.get("/v1/audit-events", params={"resource_id": code})).json()["items"]
        assert ENDPOINTS in [event["detail"]["endpoints"] for event in events]

    async def test_servers_can_be_taken_away_again(
        self, operator: httpx.AsyncClient, database: Database, code: str
    ) -> None:
        await put(operator, code, driver="open_cell", endpoints=ENDPOINTS)
        assert (await put(operator, code, driver="open_cell")).json()["endpoints"] is None
        async with database.as_system() as session:
            stored = text("select endpoints is null from data_centre where code = :code")
            assert await session.scalar(stored, {"code": code}) is True

    async def test_a_sandbox_has_none(self, operator: httpx.AsyncClient, tenant: Tenant, code: str) -> None:
        answer = await put(operator, code, endpoints=ENDPOINTS)
        [error] = refused(answer, 422, "invalid")["errors"]
        assert (error["pointer"], error["code"]) == ("/endpoints", "sandbox_has_none")
        assert (await tenant.client.get("/v1/data-centres/de-fra-1")).json()["endpoints"] is None

    @pytest.mark.parametrize(
        ("name", "value", "pointer"),
        [
            ("imap", {"host": "MAIL.example", "port": 993}, "/endpoints/imap/host"),
            ("imap", {"host": "mail.example", "port": 0}, "/endpoints/imap/port"),
            ("pop3", {"host": "mail.example", "port": 995, "security": "none"}, "/endpoints/pop3/security"),
            ("dav_url", "http://mail.example/dav/", "/endpoints/dav_url"),
            ("dav_url", "https://mail.example/dav", "/endpoints/dav_url"),
            ("activesync_url", 'https://mail.example/"><x', "/endpoints/activesync_url"),
            ("mapi_url", "https://mail.example/", "/endpoints/mapi_url"),
        ],
    )
    async def test_what_is_no_server_is_pointed_at(
        self, operator: httpx.AsyncClient, code: str, name: str, value: Any, pointer: str
    ) -> None:
        answer = await put(operator, code, driver="open_cell", endpoints={name: value})
        assert [error["pointer"] for error in refused(answer, 422, "invalid")["errors"]] == [pointer]


class TestPolicies:
    async def test_a_policy_names_data_centres_that_there_are(self, home: Home, operator: httpx.AsyncClient) -> None:
        client, mailbox = home.client, await order(home, "anna")
        policy = {"allowed_locations": ["de-fra-1", "de-far-1"]}
        reseller = {"street": "A 1", "postcode": "38640", "city": "Goslar", "billing_email": "a@it-haus.example"}
        answers = [
            await operator.post("/v1/resellers", json={"name": "IT-Haus", **reseller, **policy}),
            await operator.patch(f"/v1/resellers/{home.tenant.reseller_id}", json=policy),
            await client.post("/v1/customers", json={"name": "Kanzlei", **policy}),
            await client.patch(f"/v1/customers/{home.customer_id}", json=policy),
            await client.patch(f"/v1/mailboxes/{mailbox['id']}", json=policy),
            await client.post("/v1/mailboxes", json=home.order("ben", **policy)),
        ]
        for answer in answers:
            [error] = refused(answer, 422, "invalid")["errors"]
            assert (error["pointer"], error["code"]) == ("/allowed_locations/1", "unknown_data_centre")
            assert "de-fra-1" in error["message"]
        batch = await client.post(
            "/v1/mailbox-batches", json={"orders": [home.order("carl"), home.order("d", **policy)]}
        )
        verdicts = refused(batch, 409, "orders_refused")["verdicts"]
        assert verdicts[0] is None
        assert verdicts[1]["errors"][0]["pointer"] == "/allowed_locations/1"
