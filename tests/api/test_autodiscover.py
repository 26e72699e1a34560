"""Outlook and phones ask by Autodiscover, in both versions, and are told what their mailbox has."""

import httpx
import pytest
from lxml import etree

from api.context import Context
from api.discovery.autodiscover import BODY_BYTES_MAX, MOBILE
from api.observability import shown_path
from provisioning.core.database import Database
from provisioning.models import Domain
from provisioning.terms import DomainState, ServiceClass
from tests import factories
from tests.api.discovery_world import (
    DAV,
    IMAP,
    MAIL,
    RESPONSE,
    add_centre,
    add_mailbox,
    error_of,
    post,
    question,
    servers,
)

pytest_plugins = ["tests.api.discovery_fixtures"]
pytestmark = pytest.mark.anyio


class TestAutodiscover:
    @pytest.mark.parametrize(
        ("service_class", "expected"),
        [
            (ServiceClass.POP3, MAIL),
            (ServiceClass.IMAP, {**IMAP, **MAIL}),
            (ServiceClass.EXCHANGE, {**IMAP, **MAIL, "CalDAV": DAV, "CardDAV": DAV}),
        ],
    )
    async def test_outlook_is_told_what_the_class_has_and_no_more(
        self,
        stranger: httpx.AsyncClient,
        database: Database,
        domain: Domain,
        centre: str,
        service_class: ServiceClass,
        expected: dict[str, tuple[str, str]],
    ) -> None:
        address = await add_mailbox(database, domain, "anna", location=centre, service_class=service_class)
        root = await post(stranger, question(address))
        assert servers(root) == expected
        submission = root.xpath("//o:Protocol[o:Type='SMTP']", namespaces=RESPONSE)[0]
        told = {etree.QName(each).localname: each.text for each in submission}
        assert told["LoginName"] == address
        assert (told["SSL"], told["Encryption"], told["AuthRequired"]) == ("on", "TLS", "on")

    async def test_only_protocols_that_are_switched_on_are_told(
        self, stranger: httpx.AsyncClient, database: Database, domain: Domain, centre: str
    ) -> None:
        protocols = ["imap", "smtp"]
        address = await add_mailbox(database, domain, "anna", location=centre, protocols=protocols)
        assert servers(await post(stranger, question(address))) == {**IMAP, "SMTP": MAIL["SMTP"]}

    async def test_a_phone_is_told_where_activesync_is(
        self, stranger: httpx.AsyncClient, database: Database, domain: Domain, centre: str
    ) -> None:
        address = await add_mailbox(database, domain, "anna", location=centre)
        root = await post(stranger, question(address, MOBILE))
        server = root.find("m:Response/m:Action/m:Settings/m:Server", RESPONSE)
        assert server is not None
        assert [each.text for each in server] == ["MobileSync", *["https://de.example/Microsoft-Server-ActiveSync"] * 2]
        assert root.findtext("m:Response/m:User/m:EMailAddress", "", RESPONSE) == address

    async def test_the_address_counts_as_people_write_it(
        self, stranger: httpx.AsyncClient, database: Database, domain: Domain, centre: str
    ) -> None:
        address = await add_mailbox(database, domain, "anna", location=centre, service_class=ServiceClass.POP3)
        assert servers(await post(stranger, question(f" {address.upper()} "))) == MAIL

    async def test_a_mailbox_that_has_moved_is_told_where_it_lies(
        self, stranger: httpx.AsyncClient, database: Database, domain: Domain, centre: str
    ) -> None:
        other = await add_centre(database, host="fi.example")
        address = await add_mailbox(database, domain, "anna", location=other, placed_in=centre)
        assert servers(await post(stranger, question(address)))["IMAP"] == IMAP["IMAP"]

    async def test_a_class_without_activesync_is_601(
        self, stranger: httpx.AsyncClient, database: Database, domain: Domain, centre: str
    ) -> None:
        address = await add_mailbox(database, domain, "anna", location=centre, service_class=ServiceClass.IMAP)
        assert error_of(await post(stranger, question(address, MOBILE))) == "601"
        assert error_of(await post(stranger, question(address, "http://example/another/schema"))) == "601"

    async def test_a_domain_that_is_not_served_here_is_500(
        self, stranger: httpx.AsyncClient, database: Database, domain: Domain
    ) -> None:
        in_sandbox = await add_mailbox(database, domain, "anna")
        for address in ("anna@elsewhere.example", "anna@localhost", "nobody", in_sandbox):
            assert error_of(await post(stranger, question(address))) == "500"

    async def test_a_claim_alone_says_nothing_for_a_domain(
        self, stranger: httpx.AsyncClient, database: Database, centre: str
    ) -> None:
        async with database.as_system() as session:
            reseller = await factories.make_reseller(session)
            customer = await factories.make_customer(session, reseller)
            claimed = await factories.make_domain(
                session, customer, state=DomainState.PENDING_VERIFICATION, verified_at=None
            )
        address = await add_mailbox(database, claimed, "anna", location=centre)
        assert error_of(await post(stranger, question(address))) == "500"

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<",
            b"{}",
            b"<Autodiscover/>",
            question("").encode(),
            b'<?xml version="1.0" encoding="nonsense"?><Autodiscover/>',
            b"x" * (BODY_BYTES_MAX + 1),
            b"\xff\xfe<",
        ],
        ids=["empty", "cut", "json", "no request", "no address", "no encoding", "too large", "half utf-16"],
    )
    async def test_what_is_no_request_is_600(self, stranger: httpx.AsyncClient, body: bytes) -> None:
        root = await post(stranger, body)
        assert error_of(root) == "600"
        error = root.find("e:Response/e:Error", RESPONSE)
        assert error is not None
        assert set(error.attrib) == {"Time", "Id"}

    @pytest.mark.parametrize(
        "declaration",
        [
            '<!DOCTYPE Autodiscover [<!ENTITY who "anna@lindenhof.example">]>',
            '<!DOCTYPE Autodiscover [<!ENTITY who SYSTEM "file:///etc/hostname">]>',
            '<!DOCTYPE Autodiscover SYSTEM "http://127.0.0.1:1/x.dtd">',
        ],
    )
    async def test_entities_and_document_types_are_not_looked_at(
        self, stranger: httpx.AsyncClient, declaration: str
    ) -> None:
        body = question("&who;" if "ENTITY" in declaration else "anna@lindenhof.example")
        head, rest = body.split("?>", 1)
        assert error_of(await post(stranger, f"{head}?>{declaration}{rest}")) == "600"

    async def test_whoever_asks_at_the_domains_own_host_is_sent_to_the_services(
        self, stranger: httpx.AsyncClient, context: Context
    ) -> None:
        context.public_url = "https://mail.it-haus.example"
        headers = {"Host": "autodiscover.kanzlei.example"}
        answer = await stranger.get("/autodiscover/autodiscover.xml", headers=headers)
        target = "https://mail.it-haus.example/autodiscover/autodiscover.xml"
        assert (answer.status_code, answer.headers["location"]) == (302, target)
        again = await stranger.get("/autodiscover/autodiscover.xml", headers={"Host": "mail.it-haus.example"})
        assert (again.status_code, error_of(etree.fromstring(again.content))) == (200, "600")


class TestLocate:
    async def test_either_form_names_activesync_and_version_1(
        self, stranger: httpx.AsyncClient, context: Context, database: Database, domain: Domain, centre: str
    ) -> None:
        address = await add_mailbox(database, domain, "anna", location=centre)
        expected = {
            "ActiveSync": "https://de.example/Microsoft-Server-ActiveSync",
            "AutodiscoverV1": f"{context.public_url}/autodiscover/autodiscover.xml",
        }
        for protocol, url in expected.items():
            for path in (
                f"/autodiscover/autodiscover.json?Email={address}&Protocol={protocol}&RedirectCount=1",
                f"/Autodiscover/autodiscover.json?email={address}&protocol={protocol.lower()}",
                f"/autodiscover/autodiscover.json/v1.0/{address}?Protocol={protocol}",
            ):
                answer = await stranger.get(path)
                assert answer.status_code == 200, answer.text
                assert answer.json() == {"Protocol": protocol, "Url": url}

    async def test_what_it_cannot_tell_is_refused_in_its_own_words(
        self, stranger: httpx.AsyncClient, database: Database, domain: Domain, centre: str
    ) -> None:
        address = await add_mailbox(database, domain, "anna", location=centre, service_class=ServiceClass.IMAP)
        cases = [
            (f"?Email={address}&Protocol=ActiveSync", 404, "InvalidProtocol"),
            (f"?Email={address}&Protocol=Ews", 400, "InvalidProtocol"),
            ("?Protocol=ActiveSync", 400, "MandatoryParameterMissing"),
            ("?Email=anna@elsewhere.example&Protocol=ActiveSync", 404, "UserNotFound"),
        ]
        for query, status, code in cases:
            answer = await stranger.get(f"/autodiscover/autodiscover.json{query}")
            assert (answer.status_code, answer.json()["ErrorCode"]) == (status, code)

    async def test_the_address_in_the_path_is_not_logged(self) -> None:
        path = "/Autodiscover/Autodiscover.json/v1.0/anna@kanzlei.example"
        assert shown_path({"path": path}) == "/autodiscover/autodiscover.json/***"
