"""Whatever is asked in whatever order: money that was taken once is taken once, and every event has its shape."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from tests.fake_stripe import attempts, checkout, customers, disputes, intents, methods, refunds, sepa
from tests.fake_stripe.cards import IBANS
from tests.fake_stripe.errors import Refusal
from tests.fake_stripe.shop import DAY
from tests.fake_stripe.world import World, advance, of_kind

STEPS = 250


class Day:
    """Random calls of a shop, its customers and their banks; what is refused is part of it."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed=seed)
        self.random = Random(seed)
        self.steps: list[Callable[[], object]] = [
            *(self.save, self.charge, self.charge, self.confirm, self.confirm, self.cancel, self.refund, self.refund),
            *(self.update, self.turn, self.dispute, self.close, self.wait, self.wait, self.settle, self.fail),
            *(self.detach, self.authenticate),
        ]

    def run(self) -> int:
        """How many of the steps were refused."""
        refused = 0
        for _ in range(STEPS):
            try:
                self.random.choice(self.steps)()
            except Refusal:
                refused += 1
        return refused

    def any(self, kind: str) -> dict[str, Any]:
        found = list(of_kind(self.world, kind))
        if not found:
            raise Refusal(404, "test", f"there is no {kind}")
        return self.random.choice(found)

    def save(self) -> None:
        customer = customers.create(self.world, {"name": "A"})
        params = {"mode": "setup", "currency": "eur", "success_url": "https://a.test/", "customer": customer["id"]}
        session = checkout.create(self.world, params)
        iban = self.random.choice([None, *IBANS])
        checkout.complete(self.world, session["id"], iban=iban)

    def charge(self) -> None:
        method = self.any("payment_method")
        amount = self.random.randint(1, 100_000)
        params = {"amount": amount, "currency": "eur", "confirm": True, "off_session": self.random.random() < 0.7}
        intents.create(self.world, params | {"customer": method["customer"], "payment_method": method["id"]})

    def confirm(self) -> None:
        intent = self.any("payment_intent")
        own = [each["id"] for each in of_kind(self.world, "payment_method") if each["customer"] == intent["customer"]]
        params = {"payment_method": self.random.choice(own), "off_session": True} if own else {}
        intents.confirm(self.world, params, intent["id"])

    def update(self) -> None:
        amount = self.random.randint(1, 100_000)
        intents.update(self.world, {"amount": amount, "currency": "eur"}, self.any("payment_intent")["id"])

    def cancel(self) -> None:
        intents.cancel(self.world, {}, self.any("payment_intent")["id"])

    def refund(self) -> None:
        refunds.create(self.world, {"charge": self.any("charge")["id"], "amount": self.random.randint(1, 60_000)})

    def turn(self) -> None:
        method = self.any("payment_method")
        if method["type"] == "card":
            outcome = self.random.choice(sorted(attempts.OUTCOMES))
            self.world.instruments[method["id"]].outcome = outcome

    def dispute(self) -> None:
        disputes.open_by_hand(self.world, charge_or_pi=self.any("charge")["id"], reason="general")

    def close(self) -> None:
        outcome = self.random.choice(["won", "lost"])
        disputes.close(self.world, dispute_id=self.any("dispute")["id"], outcome=outcome)

    def wait(self) -> None:
        advance(self.world, self.random.randint(0, 4 * DAY))

    def settle(self) -> None:
        sepa.settle(self.world, pi=self.any("payment_intent")["id"])

    def fail(self) -> None:
        sepa.fail_by_hand(self.world, pi=self.any("payment_intent")["id"], code="insufficient_funds")

    def detach(self) -> None:
        if self.random.random() < 0.2:
            methods.detach(self.world, {}, self.any("payment_method")["id"])

    def authenticate(self) -> None:
        attempts.authenticate(self.world, self.any("payment_intent")["id"], succeeded=self.random.random() < 0.8)


@pytest.mark.parametrize("seed", range(8))
def test_no_order_of_calls_takes_money_twice_or_gives_back_more_than_was_taken(seed: int) -> None:
    day = Day(seed)
    refused = day.run()
    world = day.world
    assert STEPS / 10 < refused < STEPS * 9 / 10, "nothing much was tried"
    charges = list(of_kind(world, "charge"))
    for intent in of_kind(world, "payment_intent"):
        taken = [each for each in charges if each["payment_intent"] == intent["id"] and each["status"] != "failed"]
        paid = [each for each in taken if each["status"] == "succeeded"]
        assert len(taken) <= 1
        assert (intent["status"] == "succeeded") == bool(paid)
        assert (intent["status"] == "processing") == bool(taken and not paid)
        assert intent["amount_received"] == sum(each["amount"] for each in paid)
        assert not paid or intent["amount"] == paid[0]["amount"]
    for charge in charges:
        given = sum(
            each["amount"]
            for each in of_kind(world, "refund")
            if each["charge"] == charge["id"] and each["status"] != "failed"
        )
        assert charge["amount_refunded"] == given <= charge["amount"]
    moved = sum(each["amount"] for each in of_kind(world, "balance_transaction"))
    paid_in = sum(each["amount"] for each in charges if each["status"] == "succeeded")
    given_back = sum(each["amount_refunded"] for each in charges)
    lost = sum(each["amount"] for each in of_kind(world, "dispute") if each["status"] != "won")
    assert moved == paid_in - given_back - lost
    assert world.shape_faults == []
    assert {"payment_intent.succeeded", "payment_intent.payment_failed"} <= {
        each["type"] for each in of_kind(world, "event")
    }
