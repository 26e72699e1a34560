"""An authoritative name server on this machine, over UDP and TCP on one port, in threads of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseRequestHandler, StreamRequestHandler, ThreadingTCPServer, ThreadingUDPServer
from threading import Thread

from dns import flags, message, rcode, rdatatype, rrset
from dns.name import Name, from_text

# Less than the 512 of RFC 1035 4.2.1, so that a DKIM key of 2048 bits is asked for again over TCP.
UDP_OCTETS_MAX = 256


class Zones:
    """What the server knows. `asked` notes each question with the transport it came by."""

    def __init__(self) -> None:
        self.records: dict[Name, list[rrset.RRset]] = {}
        self.asked: list[tuple[str, str]] = []

    def load(self, zone_text: str) -> None:
        """Replace all records by those of a zone file's lines, as they are pasted at a DNS host."""
        values: dict[tuple[str, str, int], list[str]] = {}
        for line in zone_text.splitlines():
            owner, ttl, _class, kind, value = line.split(maxsplit=4)
            values.setdefault((owner, kind, int(ttl)), []).append(value)
        self.records = {}
        for (owner, kind, seconds), texts in values.items():
            name = from_text(owner)
            self.records.setdefault(name, []).append(rrset.from_text(name, seconds, "IN", kind, *texts))

    def answer(self, wire: bytes, *, transport: str) -> bytes:
        query = message.from_wire(wire)
        question = query.question[0]
        self.asked.append((str(question.name), transport))
        reply = message.make_response(query)
        reply.flags |= flags.AA
        here = self.records.get(question.name)
        if here is None:
            reply.set_rcode(rcode.NXDOMAIN)
        else:
            reply.answer = [each for each in here if each.rdtype in (question.rdtype, rdatatype.CNAME)]
        whole = reply.to_wire()
        if transport == "tcp" or len(whole) <= UDP_OCTETS_MAX:
            return whole
        cut = message.make_response(query)
        cut.flags |= flags.AA | flags.TC
        return cut.to_wire()


@contextmanager
def serving_names() -> Iterator[tuple[Zones, int]]:
    """Yields the zones and the port of 127.0.0.1."""
    zones = Zones()

    class OverUdp(BaseRequestHandler):
        def handle(self) -> None:
            data, reply_to = self.request
            reply_to.sendto(zones.answer(data, transport="udp"), self.client_address)

    class OverTcp(StreamRequestHandler):
        def handle(self) -> None:
            length = int.from_bytes(self.rfile.read(2))
            reply = zones.answer(self.rfile.read(length), transport="tcp")
            self.wfile.write(len(reply).to_bytes(2) + reply)

    with ThreadingTCPServer(("127.0.0.1", 0), OverTcp) as tcp:
        port = tcp.server_address[1]
        with ThreadingUDPServer(("127.0.0.1", port), OverUdp) as udp:
            threads = [Thread(target=server.serve_forever, args=(0.05,)) for server in (tcp, udp)]
            for thread in threads:
                thread.start()
            try:
                yield zones, port
            finally:
                tcp.shutdown()
                udp.shutdown()
                for thread in threads:
                    thread.join()
