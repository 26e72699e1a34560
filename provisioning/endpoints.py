"""Where a data centre's servers are, as its users' programs need to know it (pure)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from provisioning.terms import Protocol


@dataclass(frozen=True, slots=True)
class Server:
    """A host and a port. `security` is tls (from the first byte) or starttls; nothing is offered without either."""

    host: str
    port: int
    security: str


@dataclass(frozen=True, slots=True)
class Endpoints:
    """None for what a data centre does not offer. URLs are https, those of DAV and web end with a slash."""

    imap: Server | None = None
    pop3: Server | None = None
    submission: Server | None = None
    sieve: Server | None = None
    activesync_url: str | None = None
    dav_url: str | None = None
    web_url: str | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> "Endpoints":
        """From the column of that name; none at all for a sandbox."""
        told: dict[str, Any] = {
            name: Server(**value) if isinstance(value, Mapping) else value for name, value in (stored or {}).items()
        }
        return cls(**told)


def server_of(url: str) -> Server:
    """Host and port of an https URL."""
    parts = urlsplit(url)
    return Server(parts.hostname or "", parts.port or 443, "tls")


@dataclass(frozen=True, slots=True)
class Offer:
    """What one mailbox's programs may use of a data centre: its class and protocols allow it, and it is there."""

    imap: Server | None = None
    pop3: Server | None = None
    submission: Server | None = None
    sieve: Server | None = None
    activesync_url: str | None = None
    caldav_url: str | None = None
    carddav_url: str | None = None
    web_url: str | None = None

    def __bool__(self) -> bool:
        return self != Offer()


def offer_of(protocols: Collection[str], endpoints: Endpoints) -> Offer:
    """`protocols` are the mailbox's; filters are set where folders are, so Sieve comes with IMAP."""
    told: dict[str, Any] = {
        name: getattr(endpoints, attribute)
        for name, protocol, attribute in (
            ("imap", Protocol.IMAP, "imap"),
            ("pop3", Protocol.POP3, "pop3"),
            ("submission", Protocol.SMTP, "submission"),
            ("sieve", Protocol.IMAP, "sieve"),
            ("activesync_url", Protocol.ACTIVESYNC, "activesync_url"),
            ("caldav_url", Protocol.CALDAV, "dav_url"),
            ("carddav_url", Protocol.CARDDAV, "dav_url"),
            ("web_url", Protocol.WEB, "web_url"),
        )
        if protocol in protocols
    }
    return Offer(**told)
