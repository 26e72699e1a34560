"""The fake as tests use it: its process, its address, and the hand that moves its world."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import httpx

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 10
# Longer than a slow receiver of webhooks may take.
TIMEOUT = 60.0


class FakeStripe:
    """Runs `python -m tests.fake_stripe` for the length of a `with` block.

    The calls wait for the answer. A receiver of webhooks has to run in another thread or process than the caller of
    `deliver_webhooks`, which returns when all of them have been sent.
    """

    def __init__(self, *, seed: int = 0, rate: float = 25) -> None:
        self.seed = seed
        self.rate = rate
        self.url = ""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.fake_stripe", "--port", "0"]
        command += ["--seed", str(self.seed), "--rate", str(self.rate)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("listening on "), f"the fake Stripe did not start: {line!r}"
        self.url = line.removeprefix("listening on ").strip()
        self.http = httpx.Client(base_url=f"{self.url}/_control/", timeout=TIMEOUT, trust_env=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.process.terminate()
        self.process.wait(STOP_SECONDS)
        if self.process.stdout:
            self.process.stdout.close()

    def control(self, name: str, **arguments: Any) -> Any:
        """Raises `AssertionError` with the fake's own words when it refuses."""
        response = self.http.post(name, json=arguments)
        assert response.status_code == 200, f"{name}: {response.text}"
        return response.json()["result"]

    def reset(self, *, seed: int | None = None, rate: float | None = None) -> None:
        """An empty world at the first moment: no objects, keys, faults or webhooks; seed and rate as at the start."""
        self.control("reset", seed=seed, rate=rate)

    def set_clock(self, iso: str) -> int:
        """The virtual time in seconds since 1970. It stands still until it is moved."""
        return int(self.control("set_clock", iso=iso))

    def advance(self, seconds: float) -> int:
        return int(self.control("advance", seconds=int(seconds)))

    def complete_checkout(self, session_id: str, *, card: str | None = None, iban: str | None = None) -> dict[str, Any]:
        """The completed session; 4242... when neither is given. A card that cannot be saved is refused by the page."""
        return dict(self.control("complete_checkout", session_id=session_id, card=card, iban=iban))

    def authenticate(self, pi: str, *, succeeded: bool = True) -> dict[str, Any]:
        return dict(self.control("authenticate", intent_id=pi, succeeded=succeeded))

    def set_card(self, payment_method: str, outcome: str) -> None:
        """A decline code, `ok`, `authentication_required`, `disputed`, `refund_pending` or `refund_fails`."""
        self.control("set_card", payment_method=payment_method, outcome=outcome)

    def set_mandate(self, mandate: str, status: str) -> None:
        self.control("set_mandate", mandate=mandate, status=status)

    def settle_sepa(self, pi: str | None = None) -> int:
        """Pays one debit, or all that are on their way; how many."""
        return int(self.control("settle_sepa", pi=pi))

    def fail_sepa(self, pi: str, code: str) -> None:
        self.control("fail_sepa", pi=pi, code=code)

    def fail_refund(self, refund: str, reason: str = "unknown") -> dict[str, Any]:
        return dict(self.control("fail_refund", refund_id=refund, reason=reason))

    def dispute(self, charge_or_pi: str, reason: str = "fraudulent") -> dict[str, Any]:
        return dict(self.control("dispute", charge_or_pi=charge_or_pi, reason=reason))

    def close_dispute(self, dispute: str, outcome: str) -> dict[str, Any]:
        """`won` or `lost`."""
        return dict(self.control("close_dispute", dispute_id=dispute, outcome=outcome))

    def webhook_endpoint(self, url: str, secret: str, *, real_time: bool = False) -> None:
        """Signatures carry the virtual time, or this machine's with `real_time`."""
        self.control("webhook_endpoint", url=url, secret=secret, real_time=real_time)

    def deliver_webhooks(
        self,
        *,
        duplicates: float = 0,
        reorder: bool = False,
        drop: float = 0,
        delay: int = 0,
        seed: int | None = None,
    ) -> list[dict[str, Any]]:
        """What was sent: event, type, url and status (0 for no answer). The arguments are those of webhooks.py."""
        settings = {"duplicates": duplicates, "reorder": reorder, "drop": drop, "delay": delay, "seed": seed}
        return list(self.control("deliver_webhooks", **settings))

    def fault(self, kind: str, match: str, times: int = 1, *, probability: float = 1) -> None:
        """`match` is a regular expression looked for in `POST /v1/payment_intents/pi_...`; kinds are in faults.py."""
        self.control("fault", kind=kind, match=match, times=times, probability=probability)

    def snapshot(self) -> dict[str, Any]:
        """Lists of all objects under their kinds (`payment_intent`, `charge`, `event`...), oldest first, and `now`."""
        return dict(self.control("snapshot"))

    def charges_of(self, invoice_id: str) -> list[dict[str, Any]]:
        """The charges, failed ones too, whose metadata names this invoice."""
        return list(self.control("charges_of", invoice_id=invoice_id))
