"""Signed webhooks: sent when asked, doubled, shuffled, lost, late and tried again as on a bad day."""

import hmac
import json
import ssl
import time
from hashlib import sha256
from random import Random
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.fake_stripe.errors import Refusal
from tests.fake_stripe.world import Delivery, Endpoint, World

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# Seconds to the next try: doubled each time, at most half a day, for three days.
FIRST_RETRY, RETRY_MAX, GIVEN_UP_AFTER = 60, 12 * 3600, 3 * 86400
TIMEOUT = 10.0


def register(world: World, *, url: str, secret: str, real_time: bool = False) -> None:
    """Events from now on go there too. Signed with the virtual time, or with this machine's if `real_time`."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in LOOPBACK:
        raise Refusal(400, "control", "webhooks go to this machine only, over http")
    world.endpoints.append(Endpoint(url, secret, real_time))


def signature(payload: bytes, secret: str, at: int) -> str:
    digest = hmac.new(secret.encode(), f"{at}.".encode() + payload, sha256).hexdigest()
    return f"t={at},v1={digest}"


async def deliver(
    world: World,
    *,
    duplicates: float = 0.0,
    reorder: bool = False,
    drop: float = 0.0,
    delay: int = 0,
    seed: int | None = None,
) -> list[dict[str, Any]]:
    """Sends what is due and says what became of each attempt.

    `duplicates` is the probability that a delivery is made twice, `drop` that it is lost for good, which only the list
    of events can heal; `delay` puts each first attempt off by up to so many seconds of the clock.
    """
    random = world.random if seed is None else Random(seed)
    due = [each for each in world.deliveries if each.state == "pending" and each.due <= world.now]
    for each in due if delay else []:
        if not each.attempts and not each.is_late:
            each.due, each.is_late = world.now + random.randint(0, delay), True
    due = [each for each in due if each.due <= world.now]
    due += [each for each in due if random.random() < duplicates]
    if reorder:
        random.shuffle(due)
    results = []
    # Without certificates, which plain HTTP does not need and which take long to load.
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False, verify=tls) as client:
        for each in due:
            if each.state == "pending" and random.random() < drop:
                each.state = "lost"
            elif each.state != "lost":
                results.append(await send(world, client, each))
    return results


async def send(world: World, client: httpx.AsyncClient, delivery: Delivery) -> dict[str, Any]:
    event = world.objects[delivery.event]
    payload = json.dumps(event, indent=2).encode()
    at = int(time.time()) if delivery.endpoint.real_time else world.now
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": signature(payload, delivery.endpoint.secret, at),
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
    }
    delivery.attempts += 1
    try:
        response = await client.post(delivery.endpoint.url, content=payload, headers=headers)
        status = response.status_code
    except httpx.HTTPError:
        status = 0
    settle(world, delivery, accepted=200 <= status < 300)
    return {"event": event["id"], "type": event["type"], "url": delivery.endpoint.url, "status": status}


def settle(world: World, delivery: Delivery, *, accepted: bool) -> None:
    if delivery.state != "pending":
        return
    event = world.objects[delivery.event]
    wait = min(FIRST_RETRY * 2 ** (delivery.attempts - 1), RETRY_MAX)
    if accepted:
        delivery.state = "delivered"
        event["pending_webhooks"] -= 1
    elif world.now + wait - event["created"] > GIVEN_UP_AFTER:
        delivery.state = "given up"
        event["pending_webhooks"] -= 1
    else:
        delivery.due = world.now + wait
