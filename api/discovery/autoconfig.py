"""Mozilla's autoconfig, version 1.1: what Thunderbird and others fetch.

Source: wiki.mozilla.org/Thunderbird:Autoconfiguration:ConfigFileFormat. The programs put the address in themselves.
"""

from lxml import etree

from api.discovery.elements import tell, to_bytes
from provisioning.endpoints import Offer, Server
from provisioning.names import domain_to_unicode

MEDIA_TYPE = "text/xml; charset=utf-8"

_ADDRESS = "%EMAILADDRESS%"
_SOCKETS = {"tls": "SSL", "starttls": "STARTTLS"}


def write_config(domain: str, offer: Offer) -> bytes:
    """The servers in the order in which they are to be preferred."""
    root = etree.Element("clientConfig", version="1.1")
    provider = etree.SubElement(root, "emailProvider", id=domain)
    readable = domain_to_unicode(domain)
    tell(provider, domain=domain, displayName=readable, displayShortName=readable)
    for kind, server in (("imap", offer.imap), ("pop3", offer.pop3)):
        if server is not None:
            _add_server(provider, "incomingServer", kind, server)
    if offer.submission is not None:
        _add_server(provider, "outgoingServer", "smtp", offer.submission)
    for element, kind, url in (
        ("addressBook", "carddav", offer.carddav_url),
        ("calendar", "caldav", offer.caldav_url),
    ):
        if url is not None:
            service = etree.SubElement(root, element, type=kind)
            tell(service, username=_ADDRESS, authentication="http-basic", serverURL=url)
    return to_bytes(root)


def _add_server(provider: etree._Element, element: str, kind: str, server: Server) -> None:
    tell(
        etree.SubElement(provider, element, type=kind),
        hostname=server.host,
        port=str(server.port),
        socketType=_SOCKETS[server.security],
        username=_ADDRESS,
        authentication="password-cleartext",  # within TLS
    )
