"""A domain's records, asked of a real name server by the real resolver: expected, found, and how to mend them."""

from collections.abc import Iterator

import pytest

from api.context import Context
from provisioning.core.database import Database
from provisioning.dns_records import policy_id
from provisioning.resolver import SystemResolver
from tests.api.conftest import MakeClient
from tests.api.discovery_world import add_centre
from tests.api.onboarding import Home, Json, check
from tests.name_server import Zones, serving_names

pytestmark = pytest.mark.anyio

SERVICE = "postfachwerk.example"


@pytest.fixture
def zones(context: Context, home: Home) -> Iterator[Zones]:
    """The name server that the service asks, once the domain has been proven."""
    assert home.domain_id
    with serving_names() as (served, port):
        context.resolver = SystemResolver(["127.0.0.1"], port=port)
        yield served


async def records_of(home: Home) -> dict[str, Json]:
    dns = check(await home.client.get(f"/v1/domains/{home.domain_id}/dns"), 200)
    return {record["purpose"]: record for record in dns["records"]}


async def zone_of(home: Home) -> str:
    return str(check(await home.client.get(f"/v1/domains/{home.domain_id}/dns"), 200)["zone"])


async def place(database: Database, home: Home, local: str, *, host: str) -> None:
    """A mailbox in a data centre of its own, with servers at this host."""
    code = await add_centre(database, host=host)
    mailbox = check(await home.client.post("/v1/mailboxes", json=home.order(local)), 202)
    async with database.as_system() as session:
        driver = await session.connection()
        await driver.exec_driver_sql("update mailbox set location = %s where id = %s", (code, mailbox["id"]))


async def test_what_is_pasted_from_the_zone_text_is_found_as_it_should_be(
    zones: Zones, home: Home, database: Database
) -> None:
    await place(database, home, "anna", host="de.example")
    missing = await records_of(home)
    assert {record["status"] for record in missing.values()} == {"missing"}
    assert all(record["fix"].startswith(f"Add {record['kind']} ") for record in missing.values())
    zones.load(await zone_of(home))
    found = await records_of(home)
    assert {record["status"] for record in found.values()} == {"ok"}
    assert {record["fix"] for record in found.values()} == {None}
    assert found["mail"]["found"] == ["10 mx.postfachwerk.example"]


async def test_servers_of_the_data_centre_are_found_by_srv(zones: Zones, home: Home, database: Database) -> None:
    assert zones.asked == []
    await place(database, home, "anna", host="de.example")
    records = await records_of(home)
    told = {
        record["name"].removesuffix(f".{home.domain}"): record["expected"]
        for record in records.values()
        if record["kind"] == "SRV" or record["purpose"].endswith("_path")
        if record["purpose"] != "autodiscover_srv"
    }
    assert told == {
        "_imaps._tcp": "0 1 993 imap.de.example",
        "_pop3s._tcp": "0 1 995 pop.de.example",
        "_submission._tcp": "0 1 587 smtp.de.example",
        "_caldavs._tcp": "path=/SOGo/dav/",
        "_carddavs._tcp": "path=/SOGo/dav/",
    }
    assert records["caldavs_srv"]["expected"] == "0 1 8443 de.example"


async def test_colleagues_in_two_data_centres_have_no_server_that_srv_could_name(
    zones: Zones, home: Home, database: Database
) -> None:
    await place(database, home, "anna", host="de.example")
    await place(database, home, "ben", host="fi.example")
    names = {record["name"] for record in (await records_of(home)).values() if record["kind"] == "SRV"}
    assert names == {f"_autodiscover._tcp.{home.domain}"}
    assert zones.asked


@pytest.mark.parametrize(
    ("purpose", "there", "fix"),
    [
        ("mail", "{n}. 60 IN MX 10 mail.old.example.", "Replace MX {n} 10 mail.old.example by 10 mx.{s}"),
        (
            "mail",
            "{n}. 60 IN MX 10 mx.{s}.\n{n}. 60 IN MX 20 mail.old.example.",
            "Remove MX {n} with the value 20 mail.old.example",
        ),
        (
            "spf",
            '{n}. 60 IN TXT "v=spf1 include:crm.example ~all"\n{n}. 60 IN TXT "v=spf1 mx -all"',
            "Keep one v=spf1 record only, with the value v=spf1 include:crm.example mx include:spf.{s} -all",
        ),
        (
            "autodiscover",
            "autodiscover.{n}. 60 IN CNAME autodiscover.outlook.com.",
            "Replace CNAME autodiscover.{n} autodiscover.outlook.com by autodiscover.{s}",
        ),
        (
            "autodiscover_srv",
            "_autodiscover._tcp.{n}. 60 IN SRV 0 0 443 mail.old.example.",
            "Replace SRV _autodiscover._tcp.{n} 0 0 443 mail.old.example by 0 0 443 autodiscover.{s}",
        ),
        (
            "mta_sts",
            '_mta-sts.{n}. 60 IN TXT "v=STSv1; id=old"',
            "Replace TXT _mta-sts.{n} v=STSv1; id=old by v=STSv1; id={id}",
        ),
        (
            "dmarc",
            "other.{n}. 60 IN TXT x",
            "Add TXT _dmarc.{n} with the value v=DMARC1; p=quarantine; rua=mailto:dmarc@{s}",
        ),
    ],
)
async def test_what_is_wrong_comes_with_what_to_do(
    zones: Zones, home: Home, purpose: str, there: str, fix: str
) -> None:
    words = {"n": home.domain, "s": SERVICE, "id": policy_id(SERVICE)}
    zones.load(there.format_map(words))
    record = (await records_of(home))[purpose]
    assert record["status"] == ("missing" if fix.startswith("Add") else "differs")
    assert record["fix"] == fix.format_map(words)


@pytest.mark.parametrize(
    ("purpose", "there"),
    [
        ("autodiscover_srv", "_autodiscover._tcp.{n}. 60 IN SRV 5 7 443 AutoDiscover.{s}."),
        ("mta_sts", '_mta-sts.{n}. 60 IN TXT "v=STSv1;id={id};"'),
        ("tls_rpt", '_smtp._tls.{n}. 60 IN TXT "v=TLSRPTv1; rua=mailto:us@kanzlei.example"'),
        ("dmarc", '_dmarc.{n}. 60 IN TXT "v=DMARC1; p=reject"'),
    ],
)
async def test_what_is_as_good_is_let_be(zones: Zones, home: Home, purpose: str, there: str) -> None:
    zones.load(there.format_map({"n": home.domain, "s": SERVICE, "id": policy_id(SERVICE)}))
    record = (await records_of(home))[purpose]
    assert (record["status"], record["fix"]) == ("ok", None)


async def test_the_policy_of_mta_sts_is_read_at_the_domains_host_only(home: Home, make_client: MakeClient) -> None:
    stranger = make_client(None)
    answer = await stranger.get("/.well-known/mta-sts.txt", headers={"Host": f"mta-sts.{home.domain}"})
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == "version: STSv1\r\nmode: enforce\r\nmx: mx.postfachwerk.example\r\nmax_age: 604800\r\n"
    for host in (home.domain, "mta-sts.elsewhere.example", f"www.{home.domain}"):
        answer = await stranger.get("/.well-known/mta-sts.txt", headers={"Host": host})
        assert answer.status_code == 404
