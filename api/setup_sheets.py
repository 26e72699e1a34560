"""What the user of a mailbox types into Outlook, a phone and Thunderbird: only what its class and protocols allow."""

from collections.abc import Iterator
from dataclasses import dataclass

from api.setup_texts import text
from billing.documents.girocode import qr_svg
from billing.documents.guide import Guide, Section
from billing.money import Language
from billing.terms import PRODUCT_NAMES
from provisioning.endpoints import Offer, Server, server_of
from provisioning.terms import ServiceClass

# What a phone can read off a sheet of paper, and our codes hold.
SCANNED_MAX = 240

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Setup:
    """`address` is as people read it and `user_name` as servers know it, `sender` whose name the sheet bears.

    `profile_url` leads to Apple's profile.
    """

    address: str
    user_name: str
    display_name: str
    service_class: ServiceClass
    offer: Offer
    sender: str
    profile_url: str


def guide_of(setup: Setup, language: Language) -> Guide:
    facts = (
        (text("address", language), setup.address),
        (text("user_name", language), setup.user_name),
        (text("password", language), text("password_hint", language)),
        (text("product", language), PRODUCT_NAMES[language].get(setup.service_class, setup.service_class)),
    )
    return Guide(
        language=language,
        title=text("title", language),
        subject=f"{setup.display_name} · {setup.address}",
        sender=setup.sender,
        intro=text("intro" if setup.offer else "intro_imitation", language),
        facts=facts,
        sections=tuple(_sections(setup, language)),
        page=text("page", language, page="{page}", pages="{pages}"),
    )


def _sections(setup: Setup, language: Language) -> Iterator[Section]:
    offer = setup.offer
    mail = _mail_pairs(offer, language)
    kind = "IMAP" if offer.imap else "POP3"
    note = None if offer.imap else text("pop3_note", language)
    if mail:
        steps = tuple(text(f"outlook_{number}", language, kind=kind) for number in (1, 2, 3, 4))
        # Outlook knows nothing of Sieve.
        yield Section(text("outlook", language), steps, mail[:2], note)
    if offer.activesync_url is not None:
        server = _activesync_pairs(setup, offer.activesync_url, language)
        yield _phone(setup, "phone_eas", server, kind, language)
        yield _android("android_eas", server, kind, language)
    elif mail:
        yield _phone(setup, "phone_mail", mail, kind, language)
        yield _android("android_mail", mail, kind, language)
    if mail:
        steps = tuple(text(f"thunderbird_{number}", language) for number in (1, 2))
        yield Section(text("thunderbird", language), steps, mail, note)
    dav = tuple((name, url) for name, url in (("CalDAV", offer.caldav_url), ("CardDAV", offer.carddav_url)) if url)
    if dav:
        yield Section(text("dav", language), (), dav, text("dav_note", language))
    if offer.web_url is not None:
        yield Section(text("web", language), (), ((text("address", language), offer.web_url),))


def _phone(setup: Setup, how: str, pairs: Pairs, kind: str, language: Language) -> Section:
    profile = text("phone_profile", language, url=setup.profile_url)
    steps = (profile, *(text(f"{how}_{number}", language, kind=kind) for number in (1, 2)))
    return Section(
        text("phone", language),
        steps,
        pairs,
        qr=qr_svg(setup.profile_url) if len(setup.profile_url) <= SCANNED_MAX else None,
        qr_caption=text("phone_scan", language),
    )


def _android(how: str, pairs: Pairs, kind: str, language: Language) -> Section:
    steps = tuple(text(f"{how}_{number}", language, kind=kind) for number in (1, 2))
    return Section(text("android", language), steps, pairs)


def _activesync_pairs(setup: Setup, url: str, language: Language) -> Pairs:
    server = server_of(url)
    host = server.host if server.port == 443 else f"{server.host}:{server.port}"
    return (
        (text("server", language), host),
        (text("domain", language), text("empty", language)),
        (text("user_name", language), setup.user_name),
    )


def _mail_pairs(offer: Offer, language: Language) -> Pairs:
    """Incoming and outgoing, or nothing where one of them is missing."""
    incoming = offer.imap or offer.pop3
    if incoming is None or offer.submission is None:
        return ()
    servers = (
        (text("incoming", language, kind="IMAP"), offer.imap),
        # Who has IMAP is not sent to POP3, which would fetch the inbox away from all other devices.
        (text("incoming", language, kind="POP3"), None if offer.imap else offer.pop3),
        (text("outgoing", language), offer.submission),
        (text("sieve", language), offer.sieve),
    )
    return tuple((label, _endpoint(server, language)) for label, server in servers if server is not None)


def _endpoint(server: Server, language: Language) -> str:
    security = text(server.security, language)
    return text("endpoint", language, host=server.host, port=server.port, security=security)
