"""Asking DNS: the real one through dnspython, and a zone kept in memory for demo and tests.

ResolverUnavailable     no answer could be had; ask again later
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

from dns.asyncresolver import Resolver as DnsResolver
from dns.exception import DNSException
from dns.resolver import NXDOMAIN, NoAnswer, NoNameservers, NoResolverConfiguration

TIMEOUT_SECONDS = 5.0


class ResolverUnavailable(Exception):
    """The name servers do not answer; what they hold is unknown."""


class Resolver(Protocol):
    async def query(self, name: str, kind: str) -> list[str]:
        """All values of one kind (TXT, MX, CNAME, SRV ...) at an A-label name, sorted; [] when there are none.

        TXT strings come joined and unquoted, MX as `10 host`, SRV as `priority weight port host`, host names in lower
        case without the final dot. Raises ResolverUnavailable.
        """
        ...


class SystemResolver:
    """The machine's own name servers, or the ones named."""

    def __init__(self, nameservers: Sequence[str] = (), *, port: int = 53) -> None:
        self._nameservers = list(nameservers)
        self._port = port

    async def query(self, name: str, kind: str) -> list[str]:
        try:
            # Made anew each time, so that a machine whose resolv.conf changes needs no restart.
            resolver = DnsResolver(configure=not self._nameservers)
            if self._nameservers:
                resolver.nameservers, resolver.port = self._nameservers, self._port
            answer = await resolver.resolve(name, kind, lifetime=TIMEOUT_SECONDS, search=False)
        except (NXDOMAIN, NoAnswer):
            return []
        except (NoNameservers, NoResolverConfiguration, DNSException, OSError) as error:
            raise ResolverUnavailable(f"DNS did not answer for {kind} of {name}: {error}") from error
        if kind == "TXT":
            return sorted(b"".join(record.strings).decode("utf-8", "replace") for record in answer)
        return sorted(record.to_text().removesuffix(".").lower() for record in answer)


class SandboxZone:
    """Records that live in this process only; nothing is asked of the outside."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], set[str]] = defaultdict(set)

    def set(self, name: str, kind: str, values: Sequence[str]) -> None:
        """Replace all values of one kind at a name, as a customer does in the panel of its DNS host."""
        self._records[name.lower().removesuffix("."), kind] = set(values)

    async def query(self, name: str, kind: str) -> list[str]:
        return sorted(self._records.get((name.lower().removesuffix("."), kind), ()))
