"""The real resolver against a real name server on this machine, written with dnspython's own messages."""

from asyncio import DatagramProtocol, DatagramTransport, get_running_loop
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from dns import flags, message, rcode, rdatatype, rrset

from provisioning import resolver as resolver_module
from provisioning.dns_records import DnsRecord, observe_records
from provisioning.resolver import ResolverUnavailable, SandboxZone, SystemResolver

pytestmark = pytest.mark.anyio

ZONE = "kanzlei.example."
RECORDS = [
    rrset.from_text(ZONE, 60, "IN", "MX", "20 MX2.Host.example.", "10 mx1.host.example."),
    rrset.from_text(
        ZONE, 60, "IN", "TXT", '"v=spf1 include:spf.host" ".example -all"', '"other-service=42"', '"Ümlaut"'
    ),
    rrset.from_text(f"autodiscover.{ZONE}", 60, "IN", "CNAME", "Autodiscover.Host.example."),
    rrset.from_text(f"_autodiscover._tcp.{ZONE}", 60, "IN", "SRV", "0 0 443 autodiscover.host.example."),
]


class NameServer(DatagramProtocol):
    """Authoritative for one small zone; says nothing at all, or refuses, when told to."""

    def __init__(self) -> None:
        self.transport: DatagramTransport | None = None
        self.silent = False
        self.failure: rcode.Rcode | None = None
        self.asked: list[str] = []

    def connection_made(self, transport: DatagramTransport) -> None:  # type: ignore[override]  # a UDP socket is one
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = message.from_wire(data)
        self.asked.append(str(query.question[0].name))
        if not self.silent and self.transport is not None:
            self.transport.sendto(self._answer(query).to_wire(), addr)

    def _answer(self, query: message.Message) -> message.Message:
        answer = message.make_response(query)
        answer.flags |= flags.AA
        asked = query.question[0]
        here = [each for each in RECORDS if each.name == asked.name]
        if self.failure is not None:
            answer.set_rcode(self.failure)
        elif not here:
            answer.set_rcode(rcode.NXDOMAIN)
        else:
            answer.answer = [each for each in here if each.rdtype in (asked.rdtype, rdatatype.CNAME)]
        return answer


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[NameServer, int]]:
    transport, server = await get_running_loop().create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    try:
        yield server, transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


@pytest.fixture
async def served() -> AsyncIterator[tuple[NameServer, SystemResolver]]:
    async with listening() as (server, port):
        yield server, SystemResolver(["127.0.0.1"], port=port)


Served = tuple[NameServer, SystemResolver]


async def test_strings_of_one_txt_record_are_joined_and_several_records_come_sorted(served: Served) -> None:
    _, resolver = served
    found = await resolver.query("kanzlei.example", "TXT")
    assert found == ["other-service=42", "v=spf1 include:spf.host.example -all", "Ümlaut"]


async def test_host_names_come_in_lower_case_without_the_final_dot(served: Served) -> None:
    _, resolver = served
    assert await resolver.query("kanzlei.example", "MX") == ["10 mx1.host.example", "20 mx2.host.example"]
    assert await resolver.query("autodiscover.kanzlei.example", "CNAME") == ["autodiscover.host.example"]
    assert await resolver.query("_autodiscover._tcp.kanzlei.example", "SRV") == ["0 0 443 autodiscover.host.example"]


async def test_a_name_that_is_not_there_has_no_records(served: Served) -> None:
    server, resolver = served
    assert await resolver.query("nobody.kanzlei.example", "TXT") == []
    assert server.asked == ["nobody.kanzlei.example."]


async def test_a_name_without_records_of_this_kind_has_none(served: Served) -> None:
    _, resolver = served
    assert await resolver.query("kanzlei.example", "SRV") == []


@pytest.mark.parametrize("failure", [rcode.REFUSED, rcode.SERVFAIL])
async def test_a_server_that_refuses_or_fails_leaves_it_unknown(served: Served, failure: rcode.Rcode) -> None:
    server, resolver = served
    server.failure = failure
    with pytest.raises(ResolverUnavailable, match=r"TXT of kanzlei\.example"):
        await resolver.query("kanzlei.example", "TXT")


async def test_a_silent_server_leaves_it_unknown_in_bounded_time(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver_module, "TIMEOUT_SECONDS", 0.2)
    server, resolver = served
    server.silent = True
    with pytest.raises(ResolverUnavailable):
        await resolver.query("kanzlei.example", "MX")
    assert server.asked


async def test_a_port_nobody_listens_on_leaves_it_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "TIMEOUT_SECONDS", 0.5)
    async with listening() as (_, port):
        pass
    with pytest.raises(ResolverUnavailable):
        await SystemResolver(["127.0.0.1"], port=port).query("kanzlei.example", "MX")


async def test_a_name_too_long_for_dns_is_no_crash(served: Served) -> None:
    _, resolver = served
    with pytest.raises(ResolverUnavailable):
        await resolver.query(".".join(["a" * 60] * 5), "TXT")


async def test_the_sandbox_zone_answers_in_the_same_form() -> None:
    zone = SandboxZone()
    zone.set("Kanzlei.example.", "TXT", ["b", "a"])
    assert await zone.query("kanzlei.example", "TXT") == ["a", "b"]
    assert await zone.query("kanzlei.example", "MX") == []


def record(purpose: str, kind: str, expected: str) -> DnsRecord:
    return DnsRecord(purpose, kind, "kanzlei.example", expected, True, "Mend it.")


SPF = record("spf", "TXT", "v=spf1 include:spf.host.example -all")
MX = record("mail", "MX", "10 mx.host.example")
DMARC = record("dmarc", "TXT", "v=DMARC1; p=quarantine")
PROOF = record("ownership", "TXT", "postfachwerk-verification=abc")


@pytest.mark.parametrize(
    ("expected", "there", "status"),
    [
        (SPF, ["v=spf1 include:spf.host.example -all"], "ok"),
        (SPF, ["v=spf1 include:other.example include:spf.host.example ~all", "vendor=1"], "ok"),
        (SPF, ["v=spf1 include:other.example -all"], "differs"),
        (SPF, ["v=spf1 include:spf.host.example -all", "v=spf1 -all"], "differs"),
        (SPF, ["v=spf10 include:spf.host.example", "v=verifydomain MS=1"], "missing"),
        (MX, ["10 mx.host.example"], "ok"),
        (MX, ["10 mx.host.example", "20 mail.old.example"], "differs"),
        (MX, [], "missing"),
        (DMARC, ["v=DMARC1; p=reject"], "ok"),
        (DMARC, ["v=spf1 -all"], "missing"),
        (PROOF, ["postfachwerk-verification=old", "postfachwerk-verification=abc"], "ok"),
        (PROOF, ["postfachwerk-verification=old"], "differs"),
        (PROOF, ["something else"], "missing"),
    ],
)
async def test_what_is_found_is_judged_by_what_its_sort_allows(
    expected: DnsRecord, there: list[str], status: str
) -> None:
    zone = SandboxZone()
    zone.set(expected.name, expected.kind, there)
    [seen] = await observe_records(zone, [expected])
    assert seen.status == status
