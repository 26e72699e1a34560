"""Which DNS records a domain needs, what is found of them, and what to do about the difference."""

from asyncio import gather
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from urllib.parse import urlsplit

from provisioning.endpoints import Offer, Server, server_of
from provisioning.models import DkimKey, Domain
from provisioning.resolver import Resolver, ResolverUnavailable
from provisioning.terms import DkimState, DomainState

# The longest of what stands before a domain in the names of its records, which have to be names too.
LONGEST_PREFIX = "_autodiscover._tcp."

# How a TXT record of each sort begins. The space ends the version, so that v=spf10 is none.
_STARTS = {
    "ownership": "postfachwerk-verification=",
    "spf": "v=spf1 ",
    "dmarc": "v=dmarc1",
    "mta_sts": "v=stsv1",
    "tls_rpt": "v=tlsrptv1",
    "caldav_path": "path=",
    "carddav_path": "path=",
}
# Where a policy of the domain's own serves as well as ours.
_THEIRS_WILL_DO = {"dmarc", "tls_rpt"}

# A character string of DNS has 255 octets at most (RFC 1035 3.3); longer TXT records are made of several.
_STRING_OCTETS_MAX = 255


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """One record a domain needs: what is expected, what was found, and what to do about the difference.

    `status` is ok, missing, differs, or unknown when DNS did not answer. `fix` is None where there is nothing to do.
    """

    purpose: str
    kind: str
    name: str
    expected: str
    required: bool
    hint: str
    found: tuple[str, ...] = ()
    status: str = "unknown"
    fix: str | None = None


def verification_record(domain: Domain) -> DnsRecord:
    return DnsRecord(
        purpose="ownership",
        kind="TXT",
        name=f"_postfachwerk.{domain.name}",
        expected=f"postfachwerk-verification={domain.verification_token}",
        required=domain.state is not DomainState.VERIFIED,
        hint="Proves that the domain is yours. It may be removed once the domain is verified.",
    )


def dkim_record(domain: Domain, key: DkimKey) -> DnsRecord:
    """RFC 6376 3.6.1."""
    hints = {
        DkimState.PUBLISHED: f"Set it, then POST /v1/dkim-keys/{key.id}/activate: no mail is signed before.",
        DkimState.ACTIVE: "Mail is signed with this key; receivers look its other half up here.",
        DkimState.RETIRED: "Leave it for a week after the change of keys: mail signed before may still be under way.",
    }
    return DnsRecord(
        purpose="dkim",
        kind="TXT",
        name=f"{key.selector}._domainkey.{domain.name}",
        expected=f"v=DKIM1; k=rsa; p={key.public_key}",
        required=key.state is DkimState.ACTIVE,
        hint=hints[key.state],
    )


def expected_records(
    domain: Domain, *, service_domain: str, keys: Iterable[DkimKey] = (), offers: Iterable[Offer] = ()
) -> list[DnsRecord]:
    """Every record the domain should have, the ownership token first.

    `keys` are those of DKIM that receivers may look for. `offers` are what its mailboxes' programs are told: SRV
    records can name one server only, so that where the mailboxes lie in several data centres there are none.
    """
    return [
        verification_record(domain),
        *_mail_records(domain.name, service_domain),
        *(dkim_record(domain, key) for key in keys),
        *_program_records(domain.name, service_domain),
        *_server_records(domain.name, list(offers)),
    ]


def _mail_records(name: str, service_domain: str) -> Iterator[DnsRecord]:
    yield DnsRecord("mail", "MX", name, f"10 mx.{service_domain}", True, "Mail arrives here; remove MX of other hosts.")
    yield DnsRecord(
        "spf",
        "TXT",
        name,
        f"v=spf1 include:spf.{service_domain} -all",
        True,
        "Says who may send for the domain. There must be one v=spf1 record only: merge others into it.",
    )
    yield DnsRecord(
        "dmarc",
        "TXT",
        f"_dmarc.{name}",
        f"v=DMARC1; p=quarantine; rua=mailto:dmarc@{service_domain}",
        False,
        "Tells receivers what to do with forgeries.",
    )
    yield DnsRecord(
        "mta_sts",
        "TXT",
        f"_mta-sts.{name}",
        f"v=STSv1; id={policy_id(service_domain)}",
        False,
        "Mail to the domain comes encrypted and to our servers only. Set it last, once the MX is ours alone.",
    )
    yield DnsRecord(
        "mta_sts_policy",
        "CNAME",
        f"mta-sts.{name}",
        f"mta-sts.{service_domain}",
        False,
        "Where senders read the policy of MTA-STS; without it the TXT record does nothing.",
    )
    yield DnsRecord(
        "tls_rpt",
        "TXT",
        f"_smtp._tls.{name}",
        f"v=TLSRPTv1; rua=mailto:tls-reports@{service_domain}",
        False,
        "Senders report when they could not deliver encrypted.",
    )


def _program_records(name: str, service_domain: str) -> Iterator[DnsRecord]:
    autodiscover = f"autodiscover.{service_domain}"
    yield DnsRecord(
        "autodiscover",
        "CNAME",
        f"autodiscover.{name}",
        autodiscover,
        True,
        "Outlook and phones find their settings here; without it Outlook may try Microsoft 365.",
    )
    yield DnsRecord(
        "autodiscover_srv",
        "SRV",
        f"{LONGEST_PREFIX}{name}",
        f"0 0 443 {autodiscover}",
        False,
        "For clients that cannot follow the CNAME.",
    )
    yield DnsRecord(
        "autoconfig",
        "CNAME",
        f"autoconfig.{name}",
        f"autoconfig.{service_domain}",
        False,
        "Thunderbird finds its settings here.",
    )


def _server_records(name: str, offers: Sequence[Offer]) -> Iterator[DnsRecord]:
    """RFC 6186, 8314 and 6764: programs that know none of the above look for these."""
    for service in ("imap", "pop3", "submission", "sieve"):
        server = _only(getattr(offer, service) for offer in offers)
        if isinstance(server, Server):
            # ManageSieve has no port for TLS from the first byte (RFC 5804 1.8).
            label = f"{service}s" if server.security == "tls" and service != "sieve" else service
            yield _srv(f"{label}_srv", f"_{label}._tcp.{name}", server, f"Programs find {service.upper()} here.")
    for service in ("caldav", "carddav"):
        url = _only(getattr(offer, f"{service}_url") for offer in offers)
        if isinstance(url, str):
            place = f"_{service}s._tcp.{name}"
            yield _srv(f"{service}s_srv", place, server_of(url), "Calendars and contacts are found here.")
            path = f"path={urlsplit(url).path}"
            yield DnsRecord(f"{service}_path", "TXT", place, path, False, "And where on that server to look.")


def _srv(purpose: str, name: str, server: Server, hint: str) -> DnsRecord:
    return DnsRecord(purpose, "SRV", name, f"0 1 {server.port} {server.host}", False, hint)


def _only(values: Iterable[Server | str | None]) -> Server | str | None:
    """The one value there is; None where there are several."""
    found = {value for value in values if value is not None}
    return found.pop() if len(found) == 1 else None


def mta_sts_policy(service_domain: str) -> str:
    """What stands at https://mta-sts.<domain>/.well-known/mta-sts.txt (RFC 8461 3.2)."""
    lines = ("version: STSv1", "mode: enforce", f"mx: mx.{service_domain}", "max_age: 604800")
    return "".join(f"{line}\r\n" for line in lines)


def policy_id(service_domain: str) -> str:
    """Changes with the policy, so that senders fetch it anew."""
    return sha256(mta_sts_policy(service_domain).encode()).hexdigest()[:20]


async def observe_records(resolver: Resolver, records: Sequence[DnsRecord]) -> list[DnsRecord]:
    """Ask DNS for each record, all at once. Goes out to the network: never call it inside a transaction."""
    return list(await gather(*(_observe(resolver, record) for record in records)))


async def _observe(resolver: Resolver, record: DnsRecord) -> DnsRecord:
    try:
        found = await resolver.query(record.name, record.kind)
    except ResolverUnavailable as error:
        return replace(record, status="unknown", hint=f"{error}. Try again later.")
    # One name carries TXT records of many owners: only those of the same sort are compared.
    start = _STARTS.get(record.purpose, "")
    rivals = tuple(value for value in found if f"{value} ".lower().startswith(start))
    status = _compare(record, rivals)
    return replace(record, found=rivals, status=status, fix=_fix(record, status, rivals))


def _compare(record: DnsRecord, rivals: Sequence[str]) -> str:
    if not rivals:
        return "missing"
    if record.purpose == "ownership":
        return "ok" if record.expected in rivals else "differs"
    if len(rivals) > 1:
        return "differs"  # a second MX takes mail away, and a second SPF record makes both void (RFC 7208 4.5)
    return "ok" if record.purpose in _THEIRS_WILL_DO or _is_as_good(record, rivals[0]) else "differs"


def _is_as_good(record: DnsRecord, found: str) -> bool:
    if record.purpose == "spf":
        # Merged with what others need it is as good.
        return _spf_term(record) in found.lower().split()
    if record.kind == "SRV":
        # Priority and weight mean nothing where there is one.
        return found.split()[2:] == record.expected.split()[2:]
    if record.purpose in ("mta_sts", "dkim"):
        # Spaces between tags are free (RFC 8461 3.1, RFC 6376 3.2).
        return tags_of(found) == tags_of(record.expected)
    return found == record.expected


def tags_of(text: str) -> dict[str, str]:
    """The tags of a record such as "v=DKIM1; p=…", without spaces; the version may be left out (RFC 6376 3.6.1)."""
    tags = (tag.partition("=") for tag in "".join(text.split()).split(";"))
    return {name: value for name, _, value in tags if name and (name, value) != ("v", "DKIM1")}


def _spf_term(record: DnsRecord) -> str:
    return next(term for term in record.expected.split() if term.startswith("include:"))


def _fix(record: DnsRecord, status: str, rivals: Sequence[str]) -> str | None:
    """The sentence that says what to do at the DNS host."""
    if status == "ok":
        return None
    if status == "missing":
        return f"Add {record.kind} {record.name} with the value {record.expected}"
    if record.purpose == "ownership":
        return f"Add one more TXT {record.name} with the value {record.expected}"
    if record.purpose == "spf":
        return f"Keep one v=spf1 record only, with the value {_merged_spf(record, rivals)}"
    wrong = [value for value in rivals if value != record.expected]
    if record.expected in rivals:
        return f"Remove {record.kind} {record.name} with the value {' and '.join(wrong)}"
    return f"Replace {record.kind} {record.name} {' and '.join(wrong)} by {record.expected}"


def _merged_spf(record: DnsRecord, rivals: Sequence[str]) -> str:
    """All mechanisms that are there and ours, before the strictest end that is there."""
    terms = [term for rival in rivals for term in rival.split()[1:]]
    ends = [term for term in terms if term.lower().lstrip("+-~?") == "all"]
    kept = dict.fromkeys(term for term in (*terms, _spf_term(record)) if term not in ends)
    end = next((each for each in ("-all", "~all", "?all") if each in map(str.lower, ends)), "-all")
    return " ".join(("v=spf1", *kept, end))


def zone_text(records: Sequence[DnsRecord]) -> str:
    """The records in the form of a zone file (RFC 1035 5), to paste at the DNS host."""
    lines = []
    for record in records:
        value = _strings(record.expected) if record.kind == "TXT" else f"{record.expected}."
        lines.append(f"{record.name}. 3600 IN {record.kind} {value}\n")
    return "".join(lines)


def _strings(text: str) -> str:
    parts = (text[start : start + _STRING_OCTETS_MAX] for start in range(0, len(text), _STRING_OCTETS_MAX))
    return " ".join(f'"{part}"' for part in parts)
