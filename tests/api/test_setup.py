"""What a mailbox's user types into his programs: by class and protocols, in two languages, in the reseller's name."""

import base64
import html
import io

import pytest
from pypdf import PdfReader
from sqlalchemy import text

from api.context import Context
from provisioning.core.database import Database
from provisioning.models import Domain
from provisioning.names import domain_to_unicode
from provisioning.tenants import get_reseller
from provisioning.terms import ServiceClass
from tests import factories
from tests.api.conftest import MakeTenant, Tenant
from tests.api.discovery_world import add_centre, add_mailbox, endpoints_of
from tests.api.onboarding import Json, check, refused, unique_name

pytestmark = pytest.mark.anyio

RED = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGOQ96sEAAF2AOe2j1NWAAAAAElFTkSuQmCC"
NOTHING = dict.fromkeys(
    ("imap", "pop3", "submission", "sieve", "activesync_url", "caldav_url", "carddav_url", "web_url")
)


@pytest.fixture
async def tenant(make_tenant: MakeTenant) -> Tenant:
    return await make_tenant(name="IT-Haus Müller & Söhne", language="de")


@pytest.fixture
async def domain(database: Database, tenant: Tenant) -> Domain:
    async with database.as_system() as session:
        reseller = await get_reseller(session, tenant.reseller_id)
        return await factories.make_domain(session, await factories.make_customer(session, reseller))


@pytest.fixture
async def centre(database: Database) -> str:
    return await add_centre(database, host="de.example")


async def path_of(database: Database, domain: Domain, **details: object) -> str:
    """Where the setup of a new mailbox is read."""
    address = await add_mailbox(database, domain, "anna", display_name="Anna <Krüger>", **details)
    async with database.as_system() as session:
        query = text("select id from mailbox where address = :address")
        return f"/v1/mailboxes/{await session.scalar(query, {'address': address})}/setup"


async def setup_of(tenant: Tenant, path: str) -> Json:
    return check(await tenant.client.get(path), 200)


def text_of(content: bytes) -> str:
    return " ".join(" ".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages).split())


async def test_an_exchange_mailbox_has_all_there_is(
    tenant: Tenant, database: Database, domain: Domain, centre: str
) -> None:
    setup = await setup_of(tenant, await path_of(database, domain, location=centre))
    told = endpoints_of("de.example")
    address = f"anna@{domain.name}"
    assert {name: setup[name] for name in NOTHING} == {
        **{name: told[name] for name in ("imap", "pop3", "submission", "sieve", "activesync_url", "web_url")},
        "caldav_url": told["dav_url"],
        "carddav_url": told["dav_url"],
    }
    assert (setup["address"], setup["user_name"], setup["data_centre"]) == (address, address, centre)
    assert setup["note"] is None
    profile = setup["profile_url"].partition("/mobileconfig")
    assert (await tenant.client.get(f"{profile[1]}{profile[2]}")).status_code == 200


@pytest.mark.parametrize(
    ("service_class", "names"),
    [(ServiceClass.POP3, {"pop3", "submission"}), (ServiceClass.IMAP, {"imap", "pop3", "submission", "web_url"})],
)
async def test_lesser_classes_have_less(
    tenant: Tenant,
    database: Database,
    domain: Domain,
    centre: str,
    service_class: ServiceClass,
    names: set[str],
) -> None:
    setup = await setup_of(tenant, await path_of(database, domain, location=centre, service_class=service_class))
    assert {name for name in NOTHING if setup[name] is not None} == names


async def test_a_mailbox_in_an_imitation_says_so(tenant: Tenant, database: Database, domain: Domain) -> None:
    path = await path_of(database, domain)
    setup = await setup_of(tenant, path)
    assert {name: setup[name] for name in NOTHING} == NOTHING
    assert "no servers" in setup["note"]
    page = await tenant.client.get(f"{path}/html?language=de")
    assert "Nachbildung" in page.text
    assert "Outlook" not in page.text


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("de", ("Ihr Postfach einrichten", "iPhone und iPad", "Posteingang (IMAP)", "Port 993, SSL/TLS")),
        ("en", ("Set up your mailbox", "iPhone and iPad", "Incoming mail (IMAP)", "port 993, SSL/TLS")),
    ],
)
async def test_the_sheet_says_the_same_on_paper_and_on_screen(
    tenant: Tenant, database: Database, domain: Domain, centre: str, language: str, words: tuple[str, ...]
) -> None:
    path = await path_of(database, domain, location=centre)
    printed = await tenant.client.get(f"{path}/pdf?language={language}")
    shown = await tenant.client.get(f"{path}/html?language={language}")
    assert printed.headers["content-type"] == "application/pdf"
    assert shown.headers["content-language"] == language
    for content in (text_of(printed.content), html.unescape(shown.text)):
        for word in (*words, "IT-Haus Müller & Söhne", f"anna@{domain.name}", "imap.de.example", "Anna <Krüger>"):
            assert word in content
    assert "Anna &lt;Krüger&gt;" in shown.text
    assert (await tenant.client.get(f"{path}/pdf?language={language}")).content == printed.content


async def test_the_language_is_the_resellers_own_unless_told_otherwise(
    tenant: Tenant, database: Database, domain: Domain, centre: str
) -> None:
    path = await path_of(database, domain, location=centre)
    assert (await tenant.client.get(f"{path}/html")).headers["content-language"] == "de"
    refused(await tenant.client.get(f"{path}/html?language=fr"), 422, "invalid")


@pytest.mark.parametrize(
    ("service_class", "there", "missing"),
    [
        (ServiceClass.EXCHANGE, ("Microsoft Exchange", "CalDAV", "de.example:8443"), ("POP3 holt",)),
        (ServiceClass.IMAP, ("IMAP wählen", "Im Browser"), ("Microsoft Exchange.", "CalDAV", "(POP3)")),
        (ServiceClass.POP3, ("POP3 wählen", "POP3 holt nur"), ("IMAP", "CalDAV", "Im Browser", "ManageSieve")),
    ],
)
async def test_the_sheet_names_only_what_the_class_has(
    tenant: Tenant,
    database: Database,
    domain: Domain,
    centre: str,
    service_class: ServiceClass,
    there: tuple[str, ...],
    missing: tuple[str, ...],
) -> None:
    path = await path_of(database, domain, location=centre, service_class=service_class)
    page = html.unescape((await tenant.client.get(f"{path}/html")).text)
    assert [word for word in there if word not in page] == []
    assert [word for word in missing if word in page] == []


async def test_the_resellers_logo_stands_in_place_of_its_name(
    tenant: Tenant, database: Database, domain: Domain, centre: str
) -> None:
    path = await path_of(database, domain, location=centre)
    plain = await tenant.client.get(f"{path}/pdf")
    check(await tenant.client.put("/v1/branding/logo", json={"content": RED}), 200)
    page = await tenant.client.get(f"{path}/html")
    assert f'<img src="data:image/png;base64,{RED}" alt="IT-Haus Müller &amp; Söhne">' in page.text
    branded = await tenant.client.get(f"{path}/pdf")
    images = [image for each in PdfReader(io.BytesIO(branded.content)).pages for image in each.images]
    assert len(images) == 1
    assert base64.b64decode(RED) not in plain.content


async def test_no_password_and_nothing_of_it_is_on_the_sheet(
    tenant: Tenant, database: Database, domain: Domain, centre: str
) -> None:
    path = await path_of(database, domain, location=centre, password_hash="$argon2id$secret", password_version=3)
    for suffix in ("", "/html"):
        assert "argon2" not in (await tenant.client.get(f"{path}{suffix}")).text
    assert "argon2" not in text_of((await tenant.client.get(f"{path}/pdf")).content)


async def test_an_umlaut_domain_is_read_as_people_write_it_and_typed_as_servers_know_it(
    tenant: Tenant, database: Database, centre: str
) -> None:
    name = unique_name("xn--strae-oqa")
    async with database.as_system() as session:
        reseller = await get_reseller(session, tenant.reseller_id)
        domain = await factories.make_domain(session, await factories.make_customer(session, reseller), name=name)
    path = await path_of(database, domain, location=centre)
    page = (await tenant.client.get(f"{path}/html")).text
    assert f"anna@{domain_to_unicode(name)}" in page
    assert f"<dd>anna@{name}</dd>" in page


async def test_an_address_too_long_for_a_code_has_its_sheet_all_the_same(
    tenant: Tenant, database: Database, context: Context, domain: Domain, centre: str
) -> None:
    context.public_url = f"https://{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 60}.example"
    path = await path_of(database, domain, location=centre)
    page = await tenant.client.get(f"{path}/html")
    assert page.status_code == 200
    assert "<svg" not in page.text
    assert (await tenant.client.get(f"{path}/pdf")).status_code == 200


async def test_rooms_and_deleted_mailboxes_have_no_sheet(
    tenant: Tenant, database: Database, domain: Domain, centre: str
) -> None:
    room = await path_of(database, domain, location=centre, kind="room")
    async with database.as_system() as session:
        gone = await factories.make_mailbox(session, domain, intent="deleted", location=centre)
    for path, code in ((room, "mailbox_without_login"), (f"/v1/mailboxes/{gone.id}/setup", "mailbox_deleted")):
        for suffix in ("", "/html", "/pdf"):
            refused(await tenant.client.get(f"{path}{suffix}"), 409, code)
