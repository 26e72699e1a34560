"""Autodiscover, version 1 ("POX"): what Outlook and ActiveSync devices post, and what they are answered.

Sources: MS-OXDSCLI 2.2.3 and 2.2.4 (Outlook), MS-ASCMD 2.2.1.1 (ActiveSync).
"""

from dataclasses import dataclass
from datetime import datetime
from zlib import crc32

from lxml import etree

from api.discovery.elements import tell, to_bytes
from provisioning.endpoints import Offer, Server

MEDIA_TYPE = "text/xml; charset=utf-8"
# The longest request of a program has a few hundred bytes.
BODY_BYTES_MAX = 16 * 1024

_BASE = "http://schemas.microsoft.com/exchange/autodiscover"
ENVELOPE = f"{_BASE}/responseschema/2006"
OUTLOOK = f"{_BASE}/outlook/responseschema/2006a"
MOBILE = f"{_BASE}/mobilesync/responseschema/2006"

NOT_FOUND = (500, "The email address cannot be found.")
INVALID_REQUEST = (600, "Invalid Request")
NO_PROVIDER = (601, "Provider is not available")


@dataclass(frozen=True, slots=True)
class Question:
    address: str
    schema: str


def read_question(body: bytes) -> Question | None:
    """None for what is no question: no XML, no address, or anything with a document type, which none needs."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    if root.getroottree().docinfo.doctype:
        return None
    address = root.findtext("{*}Request/{*}EMailAddress", "").strip()
    schema = root.findtext("{*}Request/{*}AcceptableResponseSchema", "").strip()
    return Question(address, schema) if address and schema else None


def write_settings(question: Question, offer: Offer) -> bytes | None:
    """The answer in the schema asked for; None when there is nothing of that sort for this mailbox."""
    if question.schema == OUTLOOK and offer.submission is not None and (offer.imap or offer.pop3):
        return _outlook(question.address, offer)
    if question.schema == MOBILE and offer.activesync_url is not None:
        return _mobile(question.address, offer.activesync_url)
    return None


def write_error(error: tuple[int, str], *, server: str, now: datetime) -> bytes:
    """`server` names who answers; it goes out as a checksum."""
    envelope = etree.Element("Autodiscover", nsmap={None: ENVELOPE})
    attributes = {"Time": now.strftime("%H:%M:%S.%f"), "Id": str(crc32(server.encode()))}
    told = etree.SubElement(etree.SubElement(envelope, "Response"), "Error", attributes)
    code, message = error
    tell(told, ErrorCode=str(code), Message=message, DebugData="")
    return to_bytes(envelope)


def _outlook(address: str, offer: Offer) -> bytes:
    envelope = etree.Element("Autodiscover", nsmap={None: ENVELOPE})
    response = etree.SubElement(envelope, "Response", nsmap={None: OUTLOOK})
    tell(etree.SubElement(response, "User"), DisplayName=address)
    account = etree.SubElement(response, "Account")
    tell(account, AccountType="email", Action="settings")
    for kind, server in (("IMAP", offer.imap), ("POP3", offer.pop3), ("SMTP", offer.submission)):
        if server is not None:
            _add_server(account, kind, server, address)
    for kind, url in (("CalDAV", offer.caldav_url), ("CardDAV", offer.carddav_url)):
        if url is not None:
            protocol = etree.SubElement(account, "Protocol")
            tell(protocol, Type=kind, Server=url, DomainRequired="off", LoginName=address)
    return to_bytes(envelope)


def _add_server(account: etree._Element, kind: str, server: Server, address: str) -> None:
    protocol = etree.SubElement(account, "Protocol")
    tell(
        protocol,
        Type=kind,
        Server=server.host,
        Port=str(server.port),
        LoginName=address,
        DomainRequired="off",
        SPA="off",
        SSL="on",
        # Says which of the two it is, and overrides SSL where it is understood.
        Encryption="SSL" if server.security == "tls" else "TLS",
        AuthRequired="on",
    )
    if kind == "SMTP":
        tell(protocol, UsePOPAuth="on", SMTPLast="off")


def _mobile(address: str, url: str) -> bytes:
    envelope = etree.Element("Autodiscover", nsmap={None: ENVELOPE})
    response = etree.SubElement(envelope, "Response", nsmap={None: MOBILE})
    tell(response, Culture="en:us")
    tell(etree.SubElement(response, "User"), DisplayName=address, EMailAddress=address)
    action = etree.SubElement(response, "Action")
    server = etree.SubElement(etree.SubElement(action, "Settings"), "Server")
    tell(server, Type="MobileSync", Url=url, Name=url)
    return to_bytes(envelope)
