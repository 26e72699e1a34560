"""Resellers with a card or an account at the fake Stripe, invoices to collect, and a gateway to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import text

from billing.attempts import CollectionPolicy
from billing.collection import collect
from billing.gateways.stripe import StripeGateway
from billing.inbox import due_events, handle_event, poll_events
from billing.payments import open_payments
from billing.reconciliation import Reconciled, reconcile
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from tests.billing.ledger_factory import add_reseller, read
from tests.fake_stripe.client import FakeStripe

START = datetime(2026, 12, 1, 6, 0, tzinfo=UTC)
POLICY = CollectionPolicy(return_fee_cents=350)
KEY = "sk_test_0123456789abcdef"
SECRET = "whsec_for_tests_only"

CARD = "4242424242424242"
IBAN = "DE89370400440532013000"


def open_gateway(fake: FakeStripe, **options: Any) -> StripeGateway:
    """A gateway that is not held up: the bucket has a test of its own."""
    defaults: dict[str, Any] = {"per_second": 5_000.0, "timeout_seconds": 20.0, "network_retries": 0}
    return StripeGateway(KEY, webhook_secret=SECRET, url=fake.url, **defaults | options)


@dataclass
class Till:
    """One database, one gateway, the fake behind it, and a time that both move with."""

    database: Database
    gateway: StripeGateway
    fake: FakeStripe
    now: datetime = START
    policy: CollectionPolicy = POLICY
    numbers: int = field(default=0)

    def let_pass(self, **time: float) -> None:
        step = timedelta(**time)
        self.now += step
        self.fake.advance(step.total_seconds())

    async def add_payer(self, *, card: str | None = None, iban: str | None = None) -> str:
        """A reseller whose card or account was set up through Checkout; with neither, it pays by transfer."""
        async with self.database.as_system() as session:
            reseller_id = await add_reseller(session)
        if card is None and iban is None:
            return reseller_id
        customer_id = await self.gateway.create_customer(
            name="Müller & Söhne IT", email="rechnung@mueller.example", reseller_id=reseller_id
        )
        async with self.database.as_system() as session:
            row = {"reseller_id": reseller_id, "customer_id": customer_id, "now": self.now}
            await session.execute(_CUSTOMER, row)
        await self.set_up(customer_id, card=card, iban=iban)
        return reseller_id

    async def set_up(self, customer_id: str, *, card: str | None = None, iban: str | None = None) -> None:
        link = await self.gateway.create_setup_link(customer_id, return_url="https://panel.example/", key=new_id("set"))
        sessions = self.fake.snapshot()["checkout.session"]
        session_id = next(each["id"] for each in sessions if each["url"] == link)
        self.fake.complete_checkout(session_id, card=card, iban=iban)
        await self.hear()

    async def bill(self, reseller_id: str, *amounts: int) -> list[str]:
        """Final invoices over these gross amounts, with their payments opened; the invoices' ids."""
        ids = []
        async with self.database.as_system() as session:
            for amount in amounts:
                self.numbers += 1
                invoice_id = new_id("inv")
                ids.append(invoice_id)
                await session.execute(_RUN, {"id": new_id("run"), "month": _month(self.numbers), "now": self.now})
                await session.execute(
                    _INVOICE,
                    {
                        "id": invoice_id,
                        "reseller_id": reseller_id,
                        "month": _month(self.numbers),
                        "sequence": self.numbers,
                        "amount": amount,
                        "today": self.now.date(),
                        "due_on": self.now.date() + timedelta(days=14),
                        "now": self.now,
                    },
                )
            while await open_payments(session, None, now=self.now):
                pass
        return ids

    async def credit_note(self, invoice_id: str, cents: int) -> str:
        """A correction by itself, which nobody has booked."""
        note_id = new_id("crn")
        self.numbers += 1
        row = {"id": note_id, "invoice_id": invoice_id, "sequence": self.numbers, "cents": cents, "now": self.now}
        async with self.database.as_system() as session:
            await session.execute(_CREDIT_NOTE, row)
        return note_id

    async def collect(self, invoice_id: str, *, at_once: bool = False) -> None:
        payment_id = (await self.payment(invoice_id))["id"]
        await collect(self.database, self.gateway, payment_id, now=self.now, policy=self.policy, at_once=at_once)

    async def hear(self) -> int:
        """Poll the events and handle all that wait; how many could not be."""
        await poll_events(self.database, self.gateway, now=self.now)
        async with self.database.as_system() as session:
            waiting = await due_events(session, now=self.now)
        done = [
            await handle_event(self.database, self.gateway, each, now=self.now, policy=self.policy) for each in waiting
        ]
        return done.count(False)

    async def reconcile(self, **options: Any) -> Reconciled:
        return await reconcile(self.database, self.gateway, now=self.now, policy=self.policy, **options)

    async def payment(self, invoice_id: str) -> Mapping[str, Any]:
        """The payment's columns, and `settled` and `due` by its entries."""
        query = text(
            "select payment.*, coalesce(sum(entry.amount_cents), 0)::bigint as settled, "
            "payment.amount_cents - coalesce(sum(entry.amount_cents), 0)::bigint as due "
            "from payment left join payment_entry entry on entry.payment_id = payment.id "
            "where invoice_id = :invoice_id group by payment.id"
        )
        async with self.database.as_system() as session:
            return dict((await session.execute(query, {"invoice_id": invoice_id})).mappings().one())

    async def attempts(self, invoice_id: str) -> list[tuple[Any, ...]]:
        """Kind, state, error code and decline code of each, in their order."""
        return await read(
            self.database,
            "select kind, state, error_code, decline_code from payment_attempt where payment_id = "
            "(select id from payment where invoice_id = :invoice_id) order by number",
            invoice_id=invoice_id,
        )

    async def entries(self, invoice_id: str) -> list[tuple[Any, ...]]:
        """Kind and amount of each, in the order they were booked."""
        return await read(
            self.database,
            "select kind, amount_cents from payment_entry where payment_id = "
            "(select id from payment where invoice_id = :invoice_id) order by id",
            invoice_id=invoice_id,
        )

    async def balance(self, reseller_id: str) -> int:
        rows = await read(
            self.database,
            "select coalesce(sum(amount_cents), 0)::bigint from payment_entry "
            "where payment_id is null and reseller_id = :reseller_id",
            reseller_id=reseller_id,
        )
        return int(rows[0][0])

    def charged(self, invoice_id: str) -> list[int]:
        """What Stripe has really taken for an invoice."""
        return [each["amount"] for each in self.fake.charges_of(invoice_id) if each["status"] == "succeeded"]


def _month(number: int) -> date:
    return date(2000 + number // 12, number % 12 + 1, 1)


_CUSTOMER = text("insert into payment_customer values (:reseller_id, :customer_id, :now)")
_RUN = text(
    "insert into invoice_run (id, month, closes_on, state, resellers, parked, finalised, documents, alarms, "
    "actor, started_at) "
    "values (:id, :month, cast(:month as date) + interval '1 month', 'succeeded', 0, 0, 0, 0, 0, 'test', :now) "
    "on conflict do nothing"
)
_CREDIT_NOTE = text(
    """
    insert into credit_note (id, reseller_id, invoice_id, kind, number, series, year, sequence, issued_on, reason,
        currency, allowances_cents, net_cents, tax_cents, gross_cents, tax_category, rate_basis_points, actor,
        created_at)
    select :id, reseller_id, id, 'credit_note', 'PFK-2026-' || lpad(cast(:sequence as text), 6, '0'), 'PFK', 2026,
        cast(:sequence as integer), issued_on, 'Ausfall', currency, 0, :cents, 0, :cents, tax_category,
        rate_basis_points, 'operator', :now
    from invoice where id = :invoice_id
    """
)
_INVOICE = text(
    """
    insert into invoice (id, reseller_id, run_id, status, number, series, year, sequence, period_starts_on,
        period_ends_on, issued_on, due_on, currency, net_cents, tax_cents, gross_cents, tax_category,
        rate_basis_points, buyer, seller, created_at, finalised_at)
    select :id, :reseller_id, run.id, 'final', 'PF-2026-' || lpad(cast(:sequence as text), 6, '0'), 'PF', 2026,
        cast(:sequence as integer), cast(:month as date), cast(:month as date) + interval '1 month', :today, :due_on,
        'EUR', :amount, 0, :amount, 'S', 1900, '{}', '{}', :now, :now
    from invoice_run run where run.month = :month
    """
)
