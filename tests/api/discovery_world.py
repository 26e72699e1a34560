"""A data centre with servers, mailboxes in it, and what strangers ask about them."""

from typing import Any
from uuid import uuid4

import httpx
from lxml import etree
from sqlalchemy import text

from api.discovery.autodiscover import MOBILE, OUTLOOK
from provisioning.core.database import Database
from provisioning.models import Domain
from tests import factories

RESPONSE = {"o": OUTLOOK, "m": MOBILE, "e": "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"}


def endpoints_of(host: str) -> dict[str, Any]:
    return {
        "imap": {"host": f"imap.{host}", "port": 993, "security": "tls"},
        "pop3": {"host": f"pop.{host}", "port": 995, "security": "tls"},
        "submission": {"host": f"smtp.{host}", "port": 587, "security": "starttls"},
        "sieve": None,
        "activesync_url": f"https://{host}/Microsoft-Server-ActiveSync",
        "dav_url": f"https://{host}:8443/SOGo/dav/",
        "web_url": f"https://{host}/SOGo/",
    }


async def add_centre(database: Database, *, host: str | None) -> str:
    """A data centre with servers at this host; without one, an imitation that has none."""
    code = f"cell-{uuid4().hex[:8]}"
    statement = text(
        """
        insert into data_centre select (jsonb_populate_record(dc, jsonb_build_object(
            'code', cast(:code as text), 'driver', 'open_cell', 'accepts_orders', false,
            'endpoints', cast(:endpoints as jsonb)))).*
        from data_centre dc where code = 'de-fra-1'
        """
    )
    async with database.as_system() as session:
        stored = None if host is None else httpx.Response(200, json=endpoints_of(host)).text
        await session.execute(statement, {"code": code, "endpoints": stored})
    return code


async def add_mailbox(database: Database, domain: Domain, name: str, **details: Any) -> str:
    address = f"{name}@{domain.name}"
    async with database.as_system() as session:
        await factories.make_mailbox(session, domain, address=address, **details)
    return address


def question(address: str, schema: str = OUTLOOK) -> str:
    request = schema.replace("responseschema/2006a", "requestschema/2006").replace("response", "request")
    return (
        f'<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="{request}"><Request>'
        f"<EMailAddress>{address}</EMailAddress><AcceptableResponseSchema>{schema}</AcceptableResponseSchema>"
        "</Request></Autodiscover>"
    )


async def post(client: httpx.AsyncClient, body: str | bytes) -> etree._Element:
    answer = await client.post("/Autodiscover/Autodiscover.xml", content=body, headers={"Content-Type": "text/xml"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/xml; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    return etree.fromstring(answer.content)


def servers(root: etree._Element) -> dict[str, tuple[str, str]]:
    """Server and port, or URL, by the type of protocol."""
    found = root.findall("o:Response/o:Account/o:Protocol", RESPONSE)
    return {
        each.findtext("o:Type", "", RESPONSE): (
            each.findtext("o:Server", "", RESPONSE),
            each.findtext("o:Port", "", RESPONSE),
        )
        for each in found
    }


def error_of(root: etree._Element) -> str:
    return root.findtext("e:Response/e:Error/e:ErrorCode", "", RESPONSE)


DAV = ("https://de.example:8443/SOGo/dav/", "")
MAIL = {"POP3": ("pop.de.example", "995"), "SMTP": ("smtp.de.example", "587")}
IMAP = {"IMAP": ("imap.de.example", "993")}
