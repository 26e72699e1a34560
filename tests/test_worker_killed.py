"""Real worker processes, killed with -9 in the middle of their work: nothing is lost, nothing is done twice."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.orders import MailboxOrder, order_mailboxes
from provisioning.terms import ServiceClass
from tests.factories import make_customer, make_domain, make_reseller
from tests.waiting import until

MAILBOXES = 150
CHECKS_MAX = 600
CHECK_SECONDS = 0.1


def environment(url: str, *, stalled_seconds: int = 1) -> dict[str, str]:
    issuer = (
        *("NAME", "STREET", "POSTCODE", "CITY", "VAT_ID", "TAX_NUMBER", "EMAIL", "IBAN", "BIC"),
        *("CONTACT_NAME", "PHONE"),
    )
    return {
        **os.environ,
        "POSTFACHWERK_DATABASE_URL": url,
        "POSTFACHWERK_SECRET_KEY": "a secret for tests that is long enough",
        "POSTFACHWERK_WORKER_STALLED_SECONDS": str(stalled_seconds),
        **{f"POSTFACHWERK_ISSUER_{name}": "x" for name in issuer},
    }


@contextmanager
def worker(url: str, root: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "api.cli", "work"]
    with subprocess.Popen(command, cwd=root, env=environment(url), stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(process: subprocess.Popen[bytes], url: str, done: Callable[[Mapping[str, int]], bool]) -> None:
    """Looks at the database until `done` says so, while the worker lives; gives up after a minute."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for _ in range(CHECKS_MAX):
            if done(figures(connection)):
                return
            with suppress(subprocess.TimeoutExpired):
                pytest.fail(f"the worker ended by itself with {process.wait(timeout=CHECK_SECONDS)}")
        pytest.fail(f"gave up waiting at {figures(connection)}")


def figures(connection: psycopg.Connection[Any]) -> dict[str, int]:
    connection.execute("set role postfachwerk_system")
    queries = {
        "active": "select count(*) from mailbox where state = 'active'",
        "periods": "select count(*) from service_period where ends_on is null",
        "at_backend": "select count(*) from sandbox_mailbox",
        "succeeded": "select count(*) from operation where state = 'succeeded'",
    }
    return {name: connection.execute(query.encode()).fetchone()[0] for name, query in queries.items()}  # type: ignore[index]  # count(*) always answers


@pytest.mark.anyio
@pytest.mark.slow
async def test_another_worker_finishes_what_a_killed_one_began(
    fresh_database: Database, fresh_url: str, clock: TestClock, root: Path
) -> None:
    async with fresh_database.as_system() as session:
        reseller = await make_reseller(session)
        customer = await make_customer(session, reseller)
        domain = await make_domain(session, customer)
    orders = [
        MailboxOrder(address=f"m{number}@{domain.name}", display_name="M", service_class=ServiceClass.IMAP)
        for number in range(MAILBOXES)
    ]
    async with fresh_database.as_tenant(reseller.id) as session:
        await order_mailboxes(session, reseller.id, orders, now=clock.now(), on=clock.now().date())

    with worker(fresh_url, root) as first:
        wait_until(first, fresh_url, lambda seen: seen["at_backend"] >= 5)
        first.send_signal(signal.SIGKILL)
        first.wait(timeout=10)
    with psycopg.connect(fresh_url.replace("+psycopg", "")) as connection:
        assert figures(connection)["active"] < MAILBOXES, "the worker was too fast for this test: order more"

    with worker(fresh_url, root) as second:
        wait_until(second, fresh_url, lambda seen: seen["active"] == MAILBOXES)
        second.send_signal(signal.SIGTERM)
        assert second.wait(timeout=30) == 0, "a worker that is asked to stop stops cleanly"

    with psycopg.connect(fresh_url.replace("+psycopg", "")) as connection:
        assert figures(connection) == {
            "active": MAILBOXES,
            "periods": MAILBOXES,
            "at_backend": MAILBOXES,
            "succeeded": MAILBOXES,
        }
        left = connection.execute("select count(*) from procrastinate_jobs where task_name = 'reconcile_mailbox'")
        assert left.fetchone() == (0,)


# One of a worker that has been silent for a minute, one of a worker that nobody knows any more.
_JOBS_IN_HAND = """
    with silent as (
        insert into procrastinate_workers (last_heartbeat) values (now() - interval '1 minute') returning id
    )
    insert into procrastinate_jobs (queue_name, task_name, lock, args, status, worker_id)
    select 'default', 'reconcile_mailbox', lock, '{}', 'doing', worker_id
    from (select 'silent' as lock, id as worker_id from silent union all select 'gone', null) as held
"""
_IN_HAND = "select lock from procrastinate_jobs where lock in ('silent', 'gone') order by lock"


def test_the_worker_beside_the_api_waits_for_a_silent_one_as_long_as_it_is_told(fresh_url: str, root: Path) -> None:
    def in_hand() -> list[Any]:
        return [lock for (lock,) in connection.execute(_IN_HAND)]

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "api.cli", "serve", "--port", str(port)]
    settings = environment(fresh_url, stalled_seconds=600)
    with psycopg.connect(fresh_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(_JOBS_IN_HAND)
        assert in_hand() == ["gone", "silent"]
        with subprocess.Popen(command, cwd=root, env=settings, stderr=subprocess.DEVNULL) as process:
            try:
                until(lambda: "gone" not in in_hand(), seconds=30)
            finally:
                process.kill()
        assert in_hand() == ["silent"]
