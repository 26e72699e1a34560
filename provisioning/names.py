"""Domain names and mail addresses as they are compared and stored: A-labels, lower case (pure).

Internationalised names follow IDNA 2008 (RFC 5891) after the mapping of UTS 46 without transitional processing, so
that straße.de and strasse.de stay two names.
"""

import re
import unicodedata
from functools import lru_cache

import idna

# RFC 5321 dot-atoms without quoting; RFC 5321 4.5.3.1.1 allows 64 octets.
_LOCAL_PART = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
LOCAL_PART_MAX = 64
DOMAIN_MAX = 253


# The same few domains come with every address; working one out costs as much as a statement.
@lru_cache(4096)
def domain_to_ascii(name: str) -> str:
    """The A-label form of a mail domain, for example xn--strae-oqa.de. Raises ValueError saying what is wrong."""
    cleaned = name.strip().removesuffix(".")
    try:
        ascii_name = idna.encode(cleaned, uts46=True, transitional=False).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError(f"{name!r} is not a domain name: {error}") from error
    if "." not in ascii_name:
        raise ValueError(f"{name!r} has no dot; a mail domain has at least two labels")
    if len(ascii_name) > DOMAIN_MAX:
        raise ValueError(f"{name!r} is longer than {DOMAIN_MAX} characters")
    if ascii_name.rsplit(".", 1)[1].isdigit():
        raise ValueError(f"{name!r} is an IP address, not a domain name")
    return ascii_name


def domain_to_unicode(ascii_name: str) -> str:
    """What a person reads; the A-label itself where it does not decode."""
    try:
        return idna.decode(ascii_name)
    except (idna.IDNAError, UnicodeError):
        return ascii_name


def parse_address(address: str) -> tuple[str, str]:
    """(local part, A-label domain), both lower case. Raises ValueError saying what is wrong."""
    local, at, domain = unicodedata.normalize("NFC", address.strip()).rpartition("@")
    if not at or not local:
        raise ValueError(f"{address!r} is not a mail address; it needs the form name@domain")
    local = local.lower()
    if len(local) > LOCAL_PART_MAX:
        raise ValueError(f"the part before the @ of {address!r} is longer than {LOCAL_PART_MAX} characters")
    if not _LOCAL_PART.fullmatch(local):
        raise ValueError(
            f"the part before the @ of {address!r} may hold a to z, 0 to 9 and . _ - + (no umlauts, no spaces)"
        )
    return local, domain_to_ascii(domain)


def normalise_address(address: str) -> str:
    """The form an address is stored and compared in. Raises ValueError."""
    return "@".join(parse_address(address))


def readable_address(address: str) -> str:
    """The stored form with its domain as a person reads it."""
    local, _, domain = address.rpartition("@")
    return f"{local}@{domain_to_unicode(domain)}"
