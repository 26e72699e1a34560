"""How long an Idempotency-Key is held. That every POST is done once by it, tests/api/test_every_write.py says."""

import asyncio
from datetime import datetime, timedelta

import httpx
import pytest

from provisioning.core.clock import TestClock
from tests.api.conftest import Tenant

pytestmark = pytest.mark.anyio

KEY = {"Idempotency-Key": "monday"}


async def add(tenant: Tenant, name: str) -> httpx.Response:
    return await tenant.client.post("/v1/customers", json={"name": name}, headers=KEY)


async def names(tenant: Tenant) -> list[str]:
    return sorted(customer["name"] for customer in (await tenant.client.get("/v1/customers")).json()["items"])


async def test_a_key_is_held_for_a_day_and_then_free_again_without_any_housekeeping(
    tenant: Tenant, clock: TestClock, now: datetime
) -> None:
    first = await add(tenant, "Kanzlei")
    assert first.status_code == 201
    clock.advance(now + timedelta(hours=24))
    assert (await add(tenant, "Kanzlei")).headers["Idempotency-Replayed"] == "true"
    assert (await add(tenant, "Praxis")).json()["code"] == "idempotency_key_reused"
    clock.advance(now + timedelta(hours=24, seconds=1))
    second = await add(tenant, "Praxis")
    assert second.status_code == 201
    replayed = await add(tenant, "Praxis")
    assert replayed.headers["Idempotency-Replayed"] == "true"
    assert replayed.json() == second.json() != first.json()
    assert (await add(tenant, "Kanzlei")).json()["code"] == "idempotency_key_reused"
    assert await names(tenant) == ["Kanzlei", "Praxis"]


async def test_of_calls_that_find_a_key_over_at_the_same_moment_one_is_done(
    tenant: Tenant, clock: TestClock, now: datetime
) -> None:
    await add(tenant, "Kanzlei")
    clock.advance(now + timedelta(days=2))
    answers = await asyncio.gather(*(add(tenant, "Praxis") for _ in range(8)))
    assert [answer.status_code for answer in answers] == [201] * 8
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert await names(tenant) == ["Kanzlei", "Praxis"]
