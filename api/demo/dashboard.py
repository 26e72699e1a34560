"""A reseller's dashboard in small: everything it does, it does over REST."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx

ENDED = ("succeeded", "failed", "cancelled")
POLL_SECONDS = 0.1
POLLS_MAX = 1200


class DemoError(Exception):
    """The service answered what the demo cannot go on with; the message quotes it."""


class Dashboard:
    """A client with one API key. Every answer that is an error becomes DemoError."""

    def __init__(self, base_url: str, secret: str) -> None:
        self._client = httpx.AsyncClient(base_url=base_url, headers={"Authorization": f"Bearer {secret}"}, timeout=30)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def get(self, path: str, **parameters: Any) -> Any:
        return _json(await self._client.get(path, params=parameters))

    async def put(self, path: str, body: dict[str, Any]) -> Any:
        return _json(await self._client.put(path, json=body))

    async def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """With an Idempotency-Key, so that a lost answer could be asked for again."""
        headers = {"Idempotency-Key": str(uuid4())}
        return _json(await self._client.post(path, json=body, headers=headers))

    async def all(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        """Every item of a list, page by page."""
        items: list[dict[str, Any]] = []
        page = await self.get(path, **parameters)
        items += page["items"]
        while page["next_cursor"]:
            page = await self.get(path, **parameters, cursor=page["next_cursor"])
            items += page["items"]
        return items

    async def set_up_domain(self, customer_id: str, name: str) -> dict[str, Any]:
        """Claim a domain, publish what it needs in the sandbox's DNS, verify it."""
        domain: dict[str, Any] = await self.post("/v1/domains", {"name": name, "customer_id": customer_id})
        for record in (await self.get(f"/v1/domains/{domain['id']}/dns"))["records"]:
            await self.put(f"/v1/sandbox-zone/{record['name']}/{record['kind']}", {"values": [record["expected"]]})
        verified: dict[str, Any] = await self.post(f"/v1/domains/{domain['id']}/verify")
        return verified

    async def share(self, owner_id: str, scope: str, grantee_id: str, access: str) -> None:
        await self.put(f"/v1/mailboxes/{owner_id}/shares/{scope}/{grantee_id}", {"access": access})

    async def until_done(self) -> AsyncIterator[tuple[int, int]]:
        """(ended, all) operations, until all have ended. Raises DemoError when one failed or none ends any more."""
        operations: list[dict[str, Any]] = []
        for _ in range(POLLS_MAX):
            operations = await self.all("/v1/operations", limit=200)
            ended = [each for each in operations if each["state"] in ENDED]
            if failed := [each for each in ended if each["state"] != "succeeded"]:
                raise DemoError(f"{failed[0]['action']} {failed[0]['state']}: {failed[0]['reason']}")
            yield len(ended), len(operations)
            if len(ended) == len(operations):
                return
            await asyncio.sleep(POLL_SECONDS)
        waiting = sorted({str(each["reason"]) for each in operations if each["state"] not in ENDED})
        raise DemoError(f"The operations do not come to an end: {'; '.join(waiting)}")

    async def first_invoice(self) -> dict[str, Any]:
        """The invoice, once the schedule has made it."""
        for _ in range(POLLS_MAX):
            if items := (await self.get("/v1/invoices"))["items"]:
                invoice: dict[str, Any] = await self.get(f"/v1/invoices/{items[0]['id']}")
                return invoice
            await asyncio.sleep(POLL_SECONDS)
        raise DemoError("No invoice was made. `postfachwerk invoice show` and the log say why.")

    async def set_clock(self, to: datetime) -> None:
        await self.post("/v1/test-clock/advance", {"to": to.isoformat()})


def _json(answer: httpx.Response) -> Any:
    if answer.is_error:
        raise DemoError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")
    return answer.json()


def by_address(mailboxes: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {mailbox["address"].partition("@")[0]: mailbox for mailbox in mailboxes}
