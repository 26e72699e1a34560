"""Apple's configuration profile: iPhone, iPad and Mac set a mailbox up from it and ask for the password.

Source: developer.apple.com/documentation/devicemanagement (ExchangeActiveSync, Mail, CalDAV, CardDAV).
"""

import plistlib
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from provisioning.endpoints import Offer, Server, server_of

MEDIA_TYPE = "application/x-apple-aspen-config"

Payload = dict[str, Any]


def write_profile(address: str, offer: Offer, *, issuer: str) -> bytes | None:
    """A profile without any password, the same whenever it is made; None when there is nothing to set up.

    `issuer` is the service's own domain. Being the same, a profile that is installed again replaces itself.
    """
    contents = _contents(address, offer)
    if not contents:
        return None
    base = ".".join(reversed(issuer.split(".")))
    payloads = [
        {
            **content,
            "PayloadDisplayName": address,
            "PayloadIdentifier": f"{base}.{_id(issuer, address)}.{content['PayloadType']}",
            "PayloadUUID": _id(issuer, address, content["PayloadType"]),
            "PayloadVersion": 1,
        }
        for content in contents
    ]
    profile = {
        "PayloadContent": payloads,
        "PayloadDescription": f"Postfach {address} / mailbox {address}",
        "PayloadDisplayName": address,
        "PayloadIdentifier": f"{base}.{_id(issuer, address)}",
        "PayloadOrganization": issuer,
        "PayloadRemovalDisallowed": False,
        "PayloadType": "Configuration",
        "PayloadUUID": _id(issuer, address, "profile"),
        "PayloadVersion": 1,
    }
    return plistlib.dumps(profile, sort_keys=False)


def _contents(address: str, offer: Offer) -> list[Payload]:
    """ActiveSync brings calendar and contacts with it; without it they are accounts of their own."""
    if offer.activesync_url is not None:
        return [_activesync(address, offer.activesync_url)]
    found: list[Payload] = []
    incoming = offer.imap or offer.pop3
    if offer.submission is not None and incoming is not None:
        kind = "EmailTypeIMAP" if offer.imap else "EmailTypePOP"
        found.append(_mail(address, kind, incoming, offer.submission))
    if offer.caldav_url is not None:
        found.append(_dav("CalDAV", "com.apple.caldav.account", address, offer.caldav_url))
    if offer.carddav_url is not None:
        found.append(_dav("CardDAV", "com.apple.carddav.account", address, offer.carddav_url))
    return found


def _activesync(address: str, url: str) -> Payload:
    server = server_of(url)
    return {
        "PayloadType": "com.apple.eas.account",
        "EmailAddress": address,
        "UserName": address,
        "Host": server.host if server.port == 443 else f"{server.host}:{server.port}",
        "SSL": True,
    }


def _mail(address: str, kind: str, incoming: Server, submission: Server) -> Payload:
    return {
        "PayloadType": "com.apple.mail.managed",
        "EmailAccountDescription": address,
        "EmailAccountType": kind,
        "EmailAddress": address,
        "IncomingMailServerAuthentication": "EmailAuthPassword",
        "IncomingMailServerHostName": incoming.host,
        "IncomingMailServerPortNumber": incoming.port,
        "IncomingMailServerUseSSL": True,
        "IncomingMailServerUsername": address,
        "OutgoingMailServerAuthentication": "EmailAuthPassword",
        "OutgoingMailServerHostName": submission.host,
        "OutgoingMailServerPortNumber": submission.port,
        "OutgoingMailServerUseSSL": True,
        "OutgoingMailServerUsername": address,
        "OutgoingPasswordSameAsIncomingPassword": True,
    }


def _dav(name: str, kind: str, address: str, url: str) -> Payload:
    server = server_of(url)
    return {
        "PayloadType": kind,
        f"{name}AccountDescription": address,
        f"{name}HostName": server.host,
        f"{name}Port": server.port,
        f"{name}PrincipalURL": url,
        f"{name}UseSSL": True,
        f"{name}Username": address,
    }


def _id(issuer: str, address: str, kind: str = "") -> str:
    return str(uuid5(NAMESPACE_URL, f"https://{issuer}/mobileconfig/{address}/{kind}"))
