"""Keys that sign a domain's mail: none is used before a real name server shows its record, none longer than needed."""

import base64
import ssl
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from api.context import Context
from provisioning import dkim
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.core.errors import Unavailable
from provisioning.keypairs import open_private_key
from provisioning.resolver import ResolverUnavailable, SystemResolver
from tests.api.conftest import PEPPER, MakeTenant
from tests.api.onboarding import Home, Json, check, refused
from tests.name_server import Zones, serving_names

pytestmark = pytest.mark.anyio


@pytest.fixture
def zones(context: Context, home: Home) -> Iterator[Zones]:
    """The name server that the service asks, once the domain has been proven."""
    assert home.domain_id
    with serving_names() as (served, port):
        context.resolver = SystemResolver(["127.0.0.1"], port=port)
        yield served


async def make_key(home: Home) -> Json:
    return check(await home.client.post(f"/v1/domains/{home.domain_id}/dkim-keys"), 201)


async def dns_of(home: Home) -> Json:
    return check(await home.client.get(f"/v1/domains/{home.domain_id}/dns"), 200)


async def publish(zones: Zones, home: Home) -> None:
    """Paste the whole zone text, as a customer does at its DNS host."""
    zones.load((await dns_of(home))["zone"])


async def activate(home: Home, key: Json) -> Json:
    return check(await home.client.post(f"/v1/dkim-keys/{key['id']}/activate"), 200)


async def stored(database: Database, key: Json) -> str | None:
    async with database.as_system() as session:
        query = text("select private_key from dkim_key where id = :id")
        found: str | None = await session.scalar(query, {"id": key["id"]})
    return found


async def records(home: Home) -> dict[str, Json]:
    """Those of DKIM by their selector."""
    return {
        each["name"].partition(".")[0]: each for each in (await dns_of(home))["records"] if each["purpose"] == "dkim"
    }


async def test_a_key_is_used_once_its_record_has_been_seen(zones: Zones, home: Home) -> None:
    key = await make_key(home)
    assert (key["selector"], key["state"]) == ("pf1", "published")
    assert key["record"]["name"] == f"pf1._domainkey.{home.domain}"
    problem = refused(await home.client.post(f"/v1/dkim-keys/{key['id']}/activate"), 409, "dkim_key_not_seen")
    assert problem["record"] == {**key["record"], "found": []}
    assert key["record"]["expected"] in problem["detail"]
    await publish(zones, home)
    active = await activate(home, key)
    assert (active["state"], active["retired_at"]) == ("active", None)
    assert active["activated_at"] is not None
    record = (await records(home))["pf1"]
    assert (record["status"], record["required"]) == ("ok", True)
    # Of 2048 bits it does not fit into a datagram, nor into one string.
    assert (f"pf1._domainkey.{home.domain}.", "tcp") in zones.asked
    assert await activate(home, key) == active


async def test_another_record_at_its_place_is_shown_and_not_taken(zones: Zones, home: Home) -> None:
    key = await make_key(home)
    zones.load(f'pf1._domainkey.{home.domain}. 60 IN TXT "v=DKIM1; k=rsa; p=MIIB"')
    problem = refused(await home.client.post(f"/v1/dkim-keys/{key['id']}/activate"), 409, "dkim_key_not_seen")
    assert problem["record"]["found"] == ["v=DKIM1; k=rsa; p=MIIB"]
    assert problem["detail"].startswith("Replace TXT ")


async def test_a_record_without_version_and_with_spaces_is_the_same_key(zones: Zones, home: Home) -> None:
    key = await make_key(home)
    value = key["record"]["expected"].rpartition("p=")[2]
    zones.load(f'pf1._domainkey.{home.domain}. 60 IN TXT "k=rsa;  p={value[:200]}" " {value[200:]};"')
    assert (await activate(home, key))["state"] == "active"


async def test_rotation_keeps_the_old_key_signing_until_the_new_one_is_seen(
    zones: Zones, home: Home, database: Database, clock: TestClock
) -> None:
    first = await make_key(home)
    await publish(zones, home)
    await activate(home, first)
    second = await make_key(home)
    assert (second["selector"], second["record"]["expected"] != first["record"]["expected"]) == ("pf2", True)
    refused(await home.client.post(f"/v1/dkim-keys/{second['id']}/activate"), 409, "dkim_key_not_seen")
    assert await signing(database, home) == first["id"]
    await publish(zones, home)
    await activate(home, second)
    assert await signing(database, home) == second["id"]
    assert await stored(database, first) is None, "nobody signs with it any more"
    page = check(await home.client.get(f"/v1/domains/{home.domain_id}/dkim-keys"), 200)
    assert [(key["selector"], key["state"]) for key in page["items"]] == [("pf2", "active"), ("pf1", "retired")]
    refused(await home.client.post(f"/v1/dkim-keys/{first['id']}/activate"), 409, "dkim_key_retired")
    assert set(await records(home)) == {"pf1", "pf2"}
    clock.advance(clock.now() + timedelta(days=7))
    assert set(await records(home)) == {"pf2"}


async def signing(database: Database, home: Home) -> str | None:
    async with database.as_tenant(home.tenant.reseller_id) as session:
        key = await dkim.find_signing_key(session, home.tenant.reseller_id, home.domain_id)
    return key.id if key else None


async def test_one_key_waits_at_a_time(home: Home) -> None:
    key = await make_key(home)
    problem = refused(await home.client.post(f"/v1/domains/{home.domain_id}/dkim-keys"), 409, "dkim_key_waiting")
    assert key["id"] in problem["detail"]


async def test_a_domain_has_to_be_proven_first(home: Home) -> None:
    claim = {"name": f"neu.{home.domain}", "customer_id": home.customer_id}
    domain = check(await home.client.post("/v1/domains", json=claim), 201)
    refused(await home.client.post(f"/v1/domains/{domain['id']}/dkim-keys"), 409, "domain_not_verified")


async def test_silent_name_servers_are_503_and_the_key_waits_on(context: Context, home: Home) -> None:
    class Away:
        async def query(self, name: str, kind: str) -> list[str]:
            raise ResolverUnavailable(f"DNS did not answer for {kind} of {name}")

    key = await make_key(home)
    context.resolver = Away()
    refused(await home.client.post(f"/v1/dkim-keys/{key['id']}/activate"), 503, "unavailable")
    page = check(await home.client.get(f"/v1/domains/{home.domain_id}/dkim-keys"), 200)
    assert [each["state"] for each in page["items"]] == ["published"]


async def test_the_private_half_signs_what_the_record_verifies(home: Home, database: Database, tmp_path: Path) -> None:
    key = await make_key(home)
    private = await stored(database, key)
    assert private is not None
    (tmp_path / "private").write_text(await open_private_key(private, dkim.passphrase_of(PEPPER)))
    der = base64.b64decode(key["record"]["expected"].rpartition("p=")[2])
    (tmp_path / "public").write_text(ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE", "PUBLIC KEY"))
    (tmp_path / "mail").write_text("Subject: Guten Tag\r\n")
    run(tmp_path, "dgst", "-sha256", "-sign", "private", "-out", "signature", "mail")
    verified = run(tmp_path, "dgst", "-sha256", "-verify", "public", "-signature", "signature", "mail")
    assert verified == "Verified OK\n"
    assert "2048 bit" in run(tmp_path, "pkey", "-in", "private", "-noout", "-text")


def run(folder: Path, *arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


async def test_the_private_half_is_nowhere_in_the_clear_and_opens_with_our_secret_only(
    home: Home, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    key = await make_key(home)
    private = await stored(database, key)
    assert private is not None
    assert private.startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    with pytest.raises(Unavailable):
        await open_private_key(private, dkim.passphrase_of(b"another secret"))
    line = private.splitlines()[3]
    async with database.as_system() as session:
        query = text("select string_agg(t::text, '') from audit_event t where reseller_id = :id")
        events = await session.scalar(query, {"id": home.tenant.reseller_id})
    assert "dkim_key.create" in events
    assert line not in events
    assert "PRIVATE" not in capsys.readouterr().out
    assert "private_key" not in key


async def test_without_openssl_the_answer_names_what_is_missing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    problem = refused(await home.client.post(f"/v1/domains/{home.domain_id}/dkim-keys"), 503, "unavailable")
    assert "openssl" in problem["detail"]


async def test_keys_go_with_their_domain_and_are_nobody_elses(
    home: Home, database: Database, make_tenant: MakeTenant
) -> None:
    key = await make_key(home)
    stranger = (await make_tenant()).client
    refused(await stranger.post(f"/v1/dkim-keys/{key['id']}/activate"), 404, "not_found")
    refused(await stranger.get(f"/v1/domains/{home.domain_id}/dkim-keys"), 404, "not_found")
    check(await home.client.delete(f"/v1/domains/{home.domain_id}"), 204)
    assert await stored(database, key) is None
    refused(await home.client.post(f"/v1/dkim-keys/{key['id']}/activate"), 404, "not_found")
