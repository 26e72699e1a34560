"""A process of its own that collects a payment and is killed on the way, each time a step later than the last.

python -m tests.billing.collect_process URL FAKE_URL PAYMENT_ID
"""

import asyncio
import os
import signal
import sys
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.orm import configure_mappers

from billing.collection import collect
from billing.gateways.base import ChargeRequest, Intent
from billing.gateways.stripe import StripeGateway
from provisioning.core.database import Database
from tests.billing.payment_world import KEY, POLICY, START


class Doom:
    """Kills this process, as the kernel would, before its n-th statement, commit, or side of a call to Stripe."""

    def __init__(self, n: int) -> None:
        self.left = n

    def watch(self, database: Database) -> None:
        engine = database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", self.step)
        event.listen(engine, "commit", self.step)

    def step(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class DoomedGateway(StripeGateway):
    """Its process may die between the commit and the call, and between the call and what is written of it."""

    doom: Doom

    async def charge(self, request: ChargeRequest, *, key: str) -> Intent:
        self.doom.step()
        intent = await super().charge(request, key=key)
        self.doom.step()
        return intent


async def drive(url: str, fake_url: str, payment_id: str, *, killed_at: int) -> None:
    database = Database(url, pool_size=2)
    gateway = DoomedGateway(KEY, url=fake_url, network_retries=0, per_second=5_000)
    gateway.doom = Doom(killed_at)
    gateway.doom.watch(database)
    await collect(database, gateway, payment_id, now=START, policy=POLICY, at_once=True)
    await gateway.close()
    await database.close()


def drive_killed(url: str, fake_url: str, payment_id: str) -> int:
    """Let one child after the other collect, until one lives to see it paid; how many died."""
    configure_mappers()  # once, and not by every child
    kills, killed_at = 0, 1
    while True:
        before = progress(url, payment_id)
        child = os.fork()
        if child == 0:
            asyncio.run(drive(url, fake_url, payment_id, killed_at=killed_at))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            return kills
        kills += 1
        killed_at = killed_at + 1 if progress(url, payment_id) == before else 1


def progress(url: str, payment_id: str) -> tuple[Any, ...] | None:
    query = "select count(*), max(state) from payment_attempt where payment_id = %s"
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        return connection.execute(query, (payment_id,)).fetchone()


if __name__ == "__main__":
    sys.stdout.write(f"{drive_killed(*sys.argv[1:])}\n")
