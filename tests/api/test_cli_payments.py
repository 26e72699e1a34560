"""`postfachwerk payments`, as an operator types it: a process of its own against the fake Stripe."""

from tests.api.command_line import run, start
from tests.billing.payment_world import CARD, KEY, Till
from tests.test_worker_killed import environment

pytest_plugins = ["tests.billing.payment_fixtures"]


def env_of(till: Till, url: str, **more: str) -> dict[str, str]:
    stripe = {"POSTFACHWERK_STRIPE_API_KEY": KEY, "POSTFACHWERK_STRIPE_URL": till.fake.url}
    return {**environment(url), **stripe, "POSTFACHWERK_STRIPE_REQUESTS_PER_SECOND": "100", **more}


async def test_reconcile_settles_what_no_webhook_brought(till: Till, fresh_url: str) -> None:
    [invoice] = await till.bill(await till.add_payer(card=CARD), 1786)
    till.fake.fault("timeout_after_write", "POST /v1/payment_intents$")
    await till.collect(invoice)
    assert (await till.payment(invoice))["status"] == "processing"
    said = await start(env_of(till, fresh_url), "payments", "reconcile", "--since", "2026-11-01")
    assert said.code == 0, said.all
    assert "0 attempts without an answer" in said.all
    assert (await till.payment(invoice))["status"] == "paid"
    assert till.charged(invoice) == [1786]


async def test_what_is_missing_or_wrong_is_said_in_one_line(till: Till, fresh_url: str) -> None:
    for env, words in (
        (environment(fresh_url), "set POSTFACHWERK_STRIPE_API_KEY"),
        (env_of(till, fresh_url, POSTFACHWERK_STRIPE_API_KEY="pk_test_wrong"), "begins with sk_live_"),
        (env_of(till, fresh_url, POSTFACHWERK_STRIPE_API_KEY="sk_live_0123456789"), "production"),
    ):
        said = await run(env, "payments", "reconcile")
        assert (said.code, "Traceback" in said.all) == (1, False)
        assert words in said.all
    said = await run(env_of(till, fresh_url), "payments", "release", "pay_nobody")
    assert (said.code, "There is no payment pay_nobody" in said.all) == (1, True)
