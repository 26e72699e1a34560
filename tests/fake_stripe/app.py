"""The fake as an ASGI application: who asks, how often, with which key, and what goes wrong on the way."""

import json
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from tests.fake_stripe import calls, control
from tests.fake_stripe.endpoints import match
from tests.fake_stripe.errors import Refusal, invalid_parameter
from tests.fake_stripe.faults import take
from tests.fake_stripe.idempotency import Answer
from tests.fake_stripe.sdk import API_VERSION
from tests.fake_stripe.shapes import faults_of
from tests.fake_stripe.stage import Stage, admitted
from tests.fake_stripe.world import new_id

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
CONTROL = "/_control/"


def create_app(stage: Stage) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = await read(receive)
        path = scope["path"]
        if path.startswith(CONTROL):
            answer: Answer | None = await controlled(stage, path.removeprefix(CONTROL), body)
        else:
            headers = {key.decode().lower(): value.decode() for key, value in scope["headers"]}
            source = body if scope["method"] == "POST" else scope["query_string"]
            answer = await respond(stage, scope["method"], path, headers, source.decode())
        if answer is None:
            # As when the network ends: the client learns nothing.
            stage.connections[scope["client"]].abort()
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        content = json.dumps(answer.body, indent=2).encode()
        headers_sent = {"content-type": "application/json", "content-length": str(len(content)), **answer.headers}
        raw = [(key.lower().encode(), value.encode()) for key, value in headers_sent.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await send({"type": "http.response.body", "body": content})

    return app


async def read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def controlled(stage: Stage, name: str, body: bytes) -> Answer:
    try:
        return Answer(200, {"result": await control.run(stage, name, json.loads(body or b"{}"))})
    except Refusal as refusal:
        return Answer(refusal.status, refusal.body())


async def respond(stage: Stage, verb: str, path: str, headers: dict[str, str], form: str) -> Answer | None:
    """The answer to one request; None when the connection is to end without one."""
    request_id = new_id(stage.world, "req")
    common = {"Request-Id": request_id, "Stripe-Version": API_VERSION}
    key = headers.get("idempotency-key") if verb == "POST" else None
    if key is not None:
        common["Idempotency-Key"] = key
    try:
        check_caller(stage, headers)
        endpoint, ids = match(verb, path)
        trouble = take(stage.faults, stage.world.random, f"{verb} {path}")
        if trouble == "rate_limit" or not admitted(stage, endpoint.route.name):
            raise too_many()
        call = calls.Call(endpoint, ids, path, tuple(sorted(pairs(form))), key, request_id)
        answer = await calls.run(stage, call, trouble)
    except Refusal as refusal:
        extra = {"Stripe-Rate-Limited-Reason": "endpoint-rate"} if refusal.status == 429 else {}
        answer = Answer(refusal.status, refusal.body(), extra)
    if answer is None:
        return None
    stage.world.shape_faults += faults_of(answer.body)
    return Answer(answer.status, answer.body, common | answer.headers)


def pairs(form: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(form, keep_blank_values=True, strict_parsing=bool(form))
    except ValueError:
        raise invalid_parameter("The body is no form.", param="body") from None


def check_caller(stage: Stage, headers: dict[str, str]) -> None:
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not secret:
        message = "You did not provide an API key. Provide it in the Authorization header, using Bearer auth."
        raise Refusal(401, "invalid_request_error", message, stored=False)
    if secret.startswith(("sk_live_", "rk_live_")):
        stage.world.live_keys_refused += 1
        sys.stderr.write("A LIVE Stripe key was sent to the fake Stripe: check the settings of whoever called.\n")
        raise Refusal(401, "invalid_request_error", "A live key was sent to the fake Stripe.", stored=False)
    if not secret.startswith(("sk_test_", "rk_test_")) or len(secret) < 10:
        raise Refusal(401, "invalid_request_error", "Invalid API Key provided.", stored=False)
    version = headers.get("stripe-version", "none")
    if version != API_VERSION:
        message = f"The Stripe-Version is {version}; the fake speaks {API_VERSION} only."
        raise Refusal(400, "invalid_request_error", message, stored=False)


def too_many() -> Refusal:
    message = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
    return Refusal(429, "invalid_request_error", message, stored=False, code="rate_limit")
