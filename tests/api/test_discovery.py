"""Other programs find their servers without a key, and strangers learn nothing by asking."""

import base64
import plistlib

import httpx
import pytest
from lxml import etree

from api.discovery.autodiscover import MOBILE
from provisioning.core.database import Database
from provisioning.models import Domain
from provisioning.terms import ServiceClass
from tests import factories
from tests.api.discovery_world import (
    DAV,
    add_centre,
    add_mailbox,
    question,
)

pytest_plugins = ["tests.api.discovery_fixtures"]
pytestmark = pytest.mark.anyio


class TestAutoconfig:
    async def test_thunderbird_gets_servers_in_order_of_preference(
        self, stranger: httpx.AsyncClient, database: Database, domain: Domain, centre: str
    ) -> None:
        address = await add_mailbox(database, domain, "anna", location=centre)
        by_address = await stranger.get("/mail/config-v1.1.xml", params={"emailaddress": address})
        assert (by_address.status_code, by_address.headers["content-type"]) == (200, "text/xml; charset=utf-8")
        for host, path in (
            (f"autoconfig.{domain.name}", "/mail/config-v1.1.xml"),
            (domain.name, "/.well-known/autoconfig/mail/config-v1.1.xml"),
        ):
            by_host = await stranger.get(path, headers={"Host": host})
            assert by_host.content == by_address.content
        root = etree.fromstring(by_address.content)
        provider = root.find("emailProvider")
        assert provider is not None
        assert (root.tag, root.get("version"), provider.get("id")) == ("clientConfig", "1.1", domain.name)
        told = [
            [each.get("type"), *(each.findtext(name) for name in ("hostname", "port", "socketType", "username"))]
            for each in provider.iterfind("*[hostname]")
        ]
        assert told == [
            ["imap", "imap.de.example", "993", "SSL", "%EMAILADDRESS%"],
            ["pop3", "pop.de.example", "995", "SSL", "%EMAILADDRESS%"],
            ["smtp", "smtp.de.example", "587", "STARTTLS", "%EMAILADDRESS%"],
        ]
        assert root.findtext("calendar/serverURL") == DAV[0]
        assert root.findtext("addressBook/serverURL") == DAV[0]

    async def test_pop3_has_neither_imap_nor_calendar(
        self, stranger: httpx.AsyncClient, database: Database, domain: Domain, centre: str
    ) -> None:
        address = await add_mailbox(database, domain, "anna", location=centre, service_class=ServiceClass.POP3)
        answer = await stranger.get("/mail/config-v1.1.xml", params={"emailaddress": address})
        root = etree.fromstring(answer.content)
        assert [each.get("type") for each in root.iterfind(".//*[@type]")] == ["pop3", "smtp"]

    async def test_an_unknown_domain_is_404(self, stranger: httpx.AsyncClient) -> None:
        for query in ("?emailaddress=a@elsewhere.example", "?emailaddress=@", ""):
            assert (await stranger.get(f"/mail/config-v1.1.xml{query}")).status_code == 404


class TestAppleProfile:
    async def test_an_exchange_mailbox_is_set_up_by_activesync_without_a_password(
        self, stranger: httpx.AsyncClient, database: Database, domain: Domain, centre: str
    ) -> None:
        address = await add_mailbox(database, domain, "anna", location=centre)
        answer = await stranger.get("/mobileconfig", params={"email": address})
        assert answer.headers["content-type"] == "application/x-apple-aspen-config"
        assert "attachment" in answer.headers["content-disposition"]
        profile = plistlib.loads(answer.content)
        [account] = profile["PayloadContent"]
        assert account["PayloadType"] == "com.apple.eas.account"
        assert (account["Host"], account["UserName"], account["SSL"]) == ("de.example", address, True)
        assert not [key for key in account if "Password" in key]
        assert (await stranger.get("/mobileconfig", params={"email": address})).content == answer.content

    @pytest.mark.parametrize(
        ("service_class", "kind", "host"),
        [
            (ServiceClass.IMAP, "EmailTypeIMAP", "imap.de.example"),
            (ServiceClass.POP3, "EmailTypePOP", "pop.de.example"),
        ],
    )
    async def test_the_others_are_mail_accounts(
        self,
        stranger: httpx.AsyncClient,
        database: Database,
        domain: Domain,
        centre: str,
        service_class: ServiceClass,
        kind: str,
        host: str,
    ) -> None:
        address = await add_mailbox(database, domain, "anna", location=centre, service_class=service_class)
        profile = plistlib.loads((await stranger.get("/mobileconfig", params={"email": address})).content)
        [account] = profile["PayloadContent"]
        assert (account["EmailAccountType"], account["IncomingMailServerHostName"]) == (kind, host)
        assert (account["OutgoingMailServerHostName"], account["OutgoingMailServerPortNumber"]) == (
            "smtp.de.example",
            587,
        )
        assert len({profile["PayloadUUID"], account["PayloadUUID"]}) == 2

    async def test_without_activesync_calendar_and_contacts_are_accounts_of_their_own(
        self, stranger: httpx.AsyncClient, database: Database, domain: Domain, centre: str
    ) -> None:
        protocols = ["caldav", "carddav", "imap", "smtp"]
        address = await add_mailbox(database, domain, "anna", location=centre, protocols=protocols)
        profile = plistlib.loads((await stranger.get("/mobileconfig", params={"email": address})).content)
        accounts = {each["PayloadType"]: each for each in profile["PayloadContent"]}
        assert set(accounts) == {
            "com.apple.mail.managed",
            "com.apple.caldav.account",
            "com.apple.carddav.account",
        }
        assert accounts["com.apple.caldav.account"]["CalDAVHostName"] == "de.example"
        assert accounts["com.apple.carddav.account"]["CardDAVPort"] == 8443


class TestWellKnown:
    @pytest.mark.parametrize("method", ["GET", "PROPFIND"])
    @pytest.mark.parametrize("name", ["caldav", "carddav"])
    async def test_the_host_says_where_to_look(
        self, stranger: httpx.AsyncClient, database: Database, domain: Domain, centre: str, method: str, name: str
    ) -> None:
        await add_mailbox(database, domain, "anna", location=centre)
        await add_mailbox(database, domain, "ben", location=centre, service_class=ServiceClass.POP3)
        for host in (domain.name, f"{name}.{domain.name}"):
            answer = await stranger.request(method, f"/.well-known/{name}", headers={"Host": host})
            assert (answer.status_code, answer.headers["location"]) == (301, DAV[0])

    async def test_colleagues_in_two_data_centres_are_told_apart_by_their_name_only(
        self, stranger: httpx.AsyncClient, database: Database, domain: Domain, centre: str
    ) -> None:
        await add_mailbox(database, domain, "anna", location=centre)
        other = await add_centre(database, host="fi.example")
        address = await add_mailbox(database, domain, "ben", location=other)
        headers = {"Host": domain.name}
        assert (await stranger.get("/.well-known/caldav", headers=headers)).status_code == 404
        headers["Authorization"] = f"Basic {base64.b64encode(f'{address}:wrong'.encode()).decode()}"
        answer = await stranger.get("/.well-known/caldav", headers=headers)
        assert (answer.status_code, answer.headers["location"]) == (301, "https://fi.example:8443/SOGo/dav/")
        for garbled in ("Basic ???", "Basic /w==", "Bearer x"):
            headers["Authorization"] = garbled
            assert (await stranger.get("/.well-known/caldav", headers=headers)).status_code == 404

    async def test_a_host_of_nobodys_is_404(self, stranger: httpx.AsyncClient) -> None:
        for host in ("elsewhere.example", "127.0.0.1", "-"):
            assert (await stranger.get("/.well-known/carddav", headers={"Host": host})).status_code == 404


class TestStrangers:
    async def answers(self, stranger: httpx.AsyncClient, address: str) -> list[bytes]:
        """All there is to be asked about one address, without the address itself."""
        asked = [
            await stranger.post("/autodiscover/autodiscover.xml", content=question(address)),
            await stranger.post("/autodiscover/autodiscover.xml", content=question(address, MOBILE)),
            await stranger.get(f"/autodiscover/autodiscover.json/v1.0/{address}?Protocol=ActiveSync"),
            await stranger.get("/mail/config-v1.1.xml", params={"emailaddress": address}),
        ]
        return [answer.content.replace(address.encode(), b"it") for answer in asked]

    async def test_an_unknown_address_is_answered_as_one_that_exists(
        self, stranger: httpx.AsyncClient, database: Database, domain: Domain, centre: str
    ) -> None:
        known = await add_mailbox(database, domain, "anna", location=centre)
        expected = await self.answers(stranger, known)
        async with database.as_system() as session:
            room = await factories.make_mailbox(session, domain, kind="room", location=centre)
            gone = await factories.make_mailbox(session, domain, intent="deleted", location=centre)
        for address in (f"nobody@{domain.name}", room.address, gone.address):
            assert await self.answers(stranger, address) == expected

    async def test_where_mailboxes_differ_unknown_addresses_differ_as_they_do_and_stay_so(
        self, stranger: httpx.AsyncClient, database: Database, domain: Domain, centre: str
    ) -> None:
        real = [
            *[await add_mailbox(database, domain, f"e{number}", location=centre) for number in range(3)],
            await add_mailbox(database, domain, "p", location=centre, service_class=ServiceClass.POP3),
        ]
        possible = {(await self.answers(stranger, address))[0] for address in real}
        assert len(possible) == 2
        # Of so many, one in four, it is once in a million test runs that more than half are told the rarer.
        unknown = [f"nobody{number}@{domain.name}" for number in range(80)]
        told = [(await self.answers(stranger, address))[0] for address in unknown]
        assert set(told) == possible
        counts = sorted(told.count(each) for each in possible)
        assert counts[0] < counts[1], "as often as there are addresses like it"
        assert [(await self.answers(stranger, address))[0] for address in unknown[:10]] == told[:10]

    async def test_nothing_of_the_mailbox_is_told_but_its_servers(
        self, stranger: httpx.AsyncClient, database: Database, domain: Domain, centre: str
    ) -> None:
        address = await add_mailbox(
            database, domain, "anna", location=centre, display_name="Geheime Anna", aliases=[f"a@{domain.name}"]
        )
        for asked, hidden in ((address, f"a@{domain.name}"), (f"a@{domain.name}", address)):
            everything = b"".join(await self.answers(stranger, asked))
            assert b"Geheime" not in everything
            assert centre.encode() not in everything
            assert hidden.encode() not in everything.replace(asked.encode(), b"it")
