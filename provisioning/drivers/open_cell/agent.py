"""A cell's agent as this side sees it: HTTPS and JSON, every call repeatable, every failure one of the driver's.

What a failure says is built from the status, the agent's own words and the name of the cell, so that neither
the token nor what was sent can get into a log.
"""

import math
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

from provisioning.drivers.base import DriverError, TryAgain

Json = dict[str, Any]

CELL_HEADER = "X-Cell"
CONNECT_SECONDS = 3.0
# A change that touches every folder of a large mailbox takes its time.
ANSWER_SECONDS = 60.0
RETRY_SECONDS = 2.0
RETRY_SECONDS_MAX = 300.0
DETAIL_LENGTH_MAX = 200
_BYTES = "application/octet-stream"


class NotHere(DriverError):
    """The cell does not have it; `known` is what it knows of it nevertheless."""

    def __init__(self, cell: str, known: Mapping[str, Any]) -> None:
        super().__init__(f"{cell} has no such mailbox", permanent=True)
        self.known = known


class Refused(DriverError):
    """The agent says no; `code` is its word for why."""

    def __init__(self, reason: str, *, code: str) -> None:
        super().__init__(reason, permanent=True)
        self.code = code


class Agent:
    """One client of one agent in one event loop; its certificate must be vouched for by `ca_file`."""

    def __init__(self, cell: str, *, url: str, token: str, ca_file: str) -> None:
        self.cell = cell
        try:
            trusted = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise DriverError(
                f"the certificate to know {cell} by cannot be read: {ca_file}", permanent=False
            ) from error
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            verify=trusted,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            # No proxy of the surroundings stands between a control plane and its cells.
            trust_env=False,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """What the agent answers; {} for an empty answer. Raises NotHere, Refused, DriverError, TryAgain."""
        try:
            answer = await self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise self._away(error) from None
        return self._read(answer)

    async def find(self, path: str) -> Json | None:
        """As `call` with GET; None for what is not there."""
        try:
            return await self.call("GET", path)
        except NotHere:
            return None

    async def carry(self, path: str, *, to: "Agent", path_there: str) -> None:
        """Hand what is read here to another cell as it comes, without holding all of it."""
        try:
            async with self._client.stream("GET", path) as source:
                if source.status_code != httpx.codes.OK:
                    await source.aread()
                    self._read(source)
                    return
                self._check_cell(source)
                await to.take(path_there, source.aiter_bytes(), kind=source.headers.get("Content-Type", _BYTES))
        except httpx.HTTPError as error:
            raise self._away(error) from None

    async def take(self, path: str, content: AsyncIterator[bytes], *, kind: str) -> None:
        try:
            answer = await self._client.put(path, content=content, headers={"Content-Type": kind})
        except httpx.HTTPError as error:
            raise self._away(error) from None
        self._read(answer)

    def _away(self, error: httpx.HTTPError) -> TryAgain:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return TryAgain(f"{self.cell} shows a certificate that its ca_file does not vouch for", seconds=30.0)
        return TryAgain(f"{self.cell} does not answer", seconds=RETRY_SECONDS)

    def _read(self, answer: httpx.Response) -> Json:
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise DriverError(f"{self.cell} does not accept our token", permanent=False)
        self._check_cell(answer)
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
            seconds = _retry_after(answer)
            raise TryAgain(f"{self.cell} is busy: {_problem(answer).get('detail', '')}".rstrip(": "), seconds=seconds)
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise NotHere(self.cell, _problem(answer))
        if not answer.is_success:
            problem = _problem(answer)
            code = str(problem.get("code", answer.status_code))
            raise Refused(f"{self.cell} refuses ({code}): {problem.get('detail', '')}".rstrip(": "), code=code)
        return _body(answer) if answer.content else {}

    def _check_cell(self, answer: httpx.Response) -> None:
        """Where a mailbox lies is evidence, so the cell itself has to say who it is."""
        name = answer.headers.get(CELL_HEADER)
        if name != self.cell:
            raise DriverError(f"the agent at the address of {self.cell} says it is {name}", permanent=False)


def _body(answer: httpx.Response) -> Json:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise TryAgain("an agent's answer cannot be read", seconds=RETRY_SECONDS)
    return body


def _problem(answer: httpx.Response) -> Json:
    """The problem a failure carries, its detail shortened; {} for a failure of somebody else's on the way."""
    try:
        problem = answer.json()
    except ValueError:
        return {}
    if not isinstance(problem, dict):
        return {}
    return {**problem, "detail": str(problem.get("detail", ""))[:DETAIL_LENGTH_MAX]}


def _retry_after(answer: httpx.Response) -> float:
    try:
        seconds = float(answer.headers.get("Retry-After", RETRY_SECONDS))
    except ValueError:
        return RETRY_SECONDS
    return min(max(seconds, 0.1), RETRY_SECONDS_MAX) if math.isfinite(seconds) else RETRY_SECONDS
