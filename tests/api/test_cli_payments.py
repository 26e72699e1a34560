"""`postfachwerk payments`, as an operator types it: a process of its own against the fake Stripe."""

import sys
from collections.abc import Mapping
from pathlib import Path

import anyio

from tests.billing.payment_world import CARD, KEY, Till
from tests.test_worker_killed import environment

pytest_plugins = ["tests.billing.payment_fixtures"]


async def run(root: Path, env: Mapping[str, str], *words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "api.cli", "payments", *words]
    done = await anyio.run_process(command, cwd=root, env=env, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


def env_of(till: Till, url: str, **more: str) -> dict[str, str]:
    stripe = {"POSTFACHWERK_STRIPE_API_KEY": KEY, "POSTFACHWERK_STRIPE_URL": till.fake.url}
    return {**environment(url), **stripe, "POSTFACHWERK_STRIPE_REQUESTS_PER_SECOND": "100", **more}


async def test_reconcile_settles_what_no_webhook_brought(till: Till, fresh_url: str, root: Path) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    till.fake.fault("timeout_after_write", "POST /v1/payment_intents$")
    await till.collect(invoice)
    assert (await till.payment(invoice))["status"] == "processing"
    code, said = await run(root, env_of(till, fresh_url), "reconcile", "--since", "2026-11-01")
    assert code == 0, said
    assert "0 attempts without an answer" in said
    assert (await till.payment(invoice))["status"] == "paid"
    assert till.charged(invoice) == [1786]


async def test_what_is_missing_or_wrong_is_said_in_one_line(till: Till, fresh_url: str, root: Path) -> None:
    for env, words in (
        (environment(fresh_url), "set POSTFACHWERK_STRIPE_API_KEY"),
        (env_of(till, fresh_url, POSTFACHWERK_STRIPE_API_KEY="pk_test_wrong"), "begins with sk_live_"),
        (env_of(till, fresh_url, POSTFACHWERK_STRIPE_API_KEY="sk_live_0123456789"), "production"),
    ):
        code, said = await run(root, env, "reconcile")
        assert (code, "Traceback" in said) == (1, False)
        assert words in said
    code, said = await run(root, env_of(till, fresh_url), "release", "pay_nobody")
    assert (code, "There is no payment pay_nobody" in said) == (1, True)
