"""An imitation of VIES on a port of this machine, which answers as a test tells it to.

It refuses what VIES would refuse and answers in the shapes that VIES does; it shares nothing with the client.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

STOP_SECONDS = 10
SLOW_SECONDS = 10
REQUESTER = "DE136695976"

# Outcomes. Any other word is a code that VIES refuses with, such as MS_UNAVAILABLE.
VALID, INVALID, SLOW, NOT_JSON, HUGE, OTHER_ID, NO_VERDICT, UNSTORABLE = (
    *("valid", "invalid", "slow", "not_json", "huge", "other_id", "no_verdict", "unstorable"),
)
_FIELDS = {"countryCode", "vatNumber", "requesterMemberStateCode", "requesterNumber"}


@dataclass
class FakeVies:
    """`outcomes` by VAT id, `otherwise` for all others; `asked` are the ids that were asked for, in order."""

    url: str = ""
    otherwise: str = VALID
    outcomes: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    numbers: int = 0
    at_once: int = 0
    most_at_once: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: Request) -> Response:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            for _ in range(200):
                await asyncio.sleep(0)  # whoever else is asking comes in meanwhile
            return await self._answer(request)
        finally:
            self.at_once -= 1

    async def _answer(self, request: Request) -> Response:
        question = await request.json()
        if not isinstance(question, dict) or not question.keys() <= _FIELDS or not {"countryCode"} <= question.keys():
            return refusal("INVALID_INPUT", status=400)
        vat_id = f"{question['countryCode']}{question['vatNumber']}"
        self.asked.append(vat_id)
        requester = f"{question.get('requesterMemberStateCode', '')}{question.get('requesterNumber', '')}"
        if requester not in {"", REQUESTER}:
            return refusal("INVALID_REQUESTER_INFO")
        outcome = self.outcomes.get(vat_id, self.otherwise)
        if outcome == SLOW:
            await asyncio.wait_for(self.stopping.wait(), SLOW_SECONDS)
        raw = {NOT_JSON: b"<html>Service Unavailable</html>", HUGE: b'{"valid": true, "name": "' + b"x" * 200_000}
        if outcome in raw:
            return Response(raw[outcome], media_type="application/json")
        if outcome.isupper():
            return refusal(outcome)
        return JSONResponse(self._verdict(question, outcome, is_known=bool(requester)))

    def _verdict(self, question: dict[str, Any], outcome: str, *, is_known: bool) -> dict[str, Any]:
        self.numbers += 1
        is_valid = outcome != INVALID
        verdict = {
            "countryCode": question["countryCode"],
            "vatNumber": "00000000" if outcome == OTHER_ID else question["vatNumber"],
            "requestDate": "2026-12-01T06:00:00.000Z",
            "valid": is_valid,
            "requestIdentifier": f"WAPIAAAA{self.numbers:08}" if is_valid and is_known else "",
            "name": "Alpen IT GmbH" if is_valid else "---",
            "address": "Getreidegasse 1\nAT-5020 Salzburg" if is_valid else "---",
            "traderName": "---",
            "traderNameMatch": "NOT_PROCESSED",
        }
        if outcome == NO_VERDICT:
            del verdict["valid"]
        if outcome == UNSTORABLE:
            verdict["name"] = "Alpen\0IT"
        return verdict


def refusal(code: str, *, status: int = 200) -> Response:
    return JSONResponse({"actionSucceed": False, "errorWrappers": [{"error": code}]}, status)


@contextmanager
def fake_vies(otherwise: str = VALID, **outcomes: str) -> Iterator[FakeVies]:
    """Serves until the end of the block, in a thread of its own."""
    fake = FakeVies(otherwise=otherwise, outcomes=outcomes)
    app = Starlette(routes=[Route("/rest-api/check-vat-number", fake.answer, methods=["POST"])])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}/rest-api"
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False))
        loop = asyncio.new_event_loop()
        thread = Thread(target=loop.run_until_complete, args=(server.serve(sockets=[listener]),))
        thread.start()
        try:
            yield fake
        finally:
            loop.call_soon_threadsafe(fake.stopping.set)
            server.should_exit = True
            thread.join(STOP_SECONDS)
            assert not thread.is_alive(), "the imitation does not stop"
            loop.close()
