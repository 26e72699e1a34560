"""Resellers with invoices that nobody pays, and days that pass."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import text

from billing import attempts, dunning, dunning_cases, exports, open_items, payments, settlement
from billing.dunning_plan import Policy, PolicyStep, StepKind
from billing.notices import Letterhead
from billing.payment_models import AttemptKind, AttemptState, EntryKind
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from tests.billing.ledger_factory import ISSUER, add_reseller, read

DUE = date(2026, 12, 15)
HEAD = Letterhead(ISSUER)
AT_ONCE = Policy((PolicyStep(StepKind.SUSPENSION, 1),), 0)
"""Suspends the day after."""


def morning(day: date) -> datetime:
    return datetime.combine(day, time(8), UTC)


@dataclass
class Arrears:
    """A database of one's own and a day in it."""

    database: Database
    today: date = DUE
    head: Letterhead = HEAD
    numbers: int = field(default=0)

    @property
    def now(self) -> datetime:
        return morning(self.today)

    async def add_reseller(self, **details: Any) -> str:
        async with self.database.as_system() as session:
            return await add_reseller(session, **details)

    async def bill(
        self,
        reseller_id: str,
        cents: int = 10_000,
        *,
        due_on: date = DUE,
        tax: tuple[str, int] = ("S", 1900),
        vat_id: str = "",
    ) -> str:
        """A final invoice; the id of its payment."""
        self.numbers += 1
        month = date(2000 + self.numbers // 12, self.numbers % 12 + 1, 1)
        issued_at = morning(due_on - timedelta(days=14))
        values = {
            "id": new_id("inv"),
            "run_id": new_id("run"),
            "reseller_id": reseller_id,
            "month": month,
            "sequence": self.numbers,
            "cents": cents,
            "issued_on": issued_at.date(),
            "due_on": due_on,
            "tax_category": tax[0],
            "rate": tax[1],
            "vat_id": vat_id,
            "now": issued_at,
        }
        async with self.database.as_system() as session:
            await session.execute(_RUN, values)
            await session.execute(_INVOICE, values)
            await payments.open_payments(session, None, now=issued_at)
        [(payment_id,)] = await self.read("select id from payment where invoice_id = :id", id=values["id"])
        return str(payment_id)

    async def dun(self, *, again: bool = False) -> int:
        return await dunning.run_day(self.database, self.head, now=self.now, again=again)

    async def review(self) -> dunning.Turned:
        async with self.database.as_system() as session:
            return await dunning.review_service(session, self.head, now=self.now)

    async def let_pass(self, days: int) -> None:
        """Each day is gone through."""
        for _ in range(days):
            self.today += timedelta(days=1)
            await self.dun()
            await self.review()

    async def pay(self, payment_id: str, cents: int) -> None:
        async with self.database.as_system() as session:
            payment = await settlement.lock_payment(session, payment_id)
            await payments.record_receipt(
                session, payment, amount_cents=cents, received_on=self.today, reference=new_id("ref"), now=self.now
            )

    async def write_off(self, payment_id: str) -> None:
        async with self.database.as_system() as session:
            payment = await settlement.lock_payment(session, payment_id)
            await payments.write_off(session, payment, now=self.now)

    async def credit(self, payment_id: str, cents: int) -> None:
        async with self.database.as_system() as session:
            payment = await settlement.lock_payment(session, payment_id)
            await payments.credit_payment(
                session, payment, credit_note_id=new_id("crn"), amount_cents=cents, now=self.now
            )

    async def move(self, payment_id: str, kind: EntryKind, cents: int, *, source: str) -> None:
        async with self.database.as_system() as session:
            payment = await settlement.lock_payment(session, payment_id)
            await settlement.book(session, payment, kind, cents, source=source, now=self.now)
            await settlement.restate(session, payment, now=self.now)

    async def open_items(self, *, on: date) -> list[dict[str, Any]]:
        async with self.database.as_system() as session:
            blocks = [
                block async for block in exports.write_export(session, open_items.open_items(None, on=on), "json")
            ]
        return list(json.loads(b"".join(blocks))["items"])

    async def begin_debit(self, payment_id: str, state: AttemptState = AttemptState.PROCESSING) -> str:
        """A debit that is under way, or of which nobody knows; the attempt's id."""
        async with self.database.as_system() as session:
            payment = await settlement.lock_payment(session, payment_id)
            attempt = await attempts.open_attempt(
                session,
                payment,
                AttemptKind.DEBIT,
                {},
                attempt_id=new_id("att"),
                key=None,
                amount_cents=payment.amount_cents,
                method=None,
                now=self.now,
            )
            attempt.state = state
            await settlement.restate(session, payment, now=self.now)
            return attempt.id

    async def end_debit(self, payment_id: str, attempt_id: str) -> None:
        """It comes back."""
        async with self.database.as_system() as session:
            payment = await settlement.lock_payment(session, payment_id)
            await session.execute(_FAIL, {"id": attempt_id, "now": self.now})
            await settlement.restate(session, payment, now=self.now)

    async def pause(self, reseller_id: str, until_on: date) -> None:
        async with self.database.as_system() as session:
            await dunning_cases.pause(session, reseller_id, until_on=until_on, reason="instalments", now=self.now)

    async def set_policy(self, policy: Policy) -> None:
        async with self.database.as_system() as session:
            await dunning_cases.set_policy(session, policy, now=self.now)

    async def steps(self, payment_id: str) -> list[tuple[str, int]]:
        """Kind and days past due of each, in their order."""
        rows = await self.read(
            "select step.kind, step.taken_on - invoice.due_on from dunning_step step "
            "join invoice on invoice.id = step.invoice_id where payment_id = :id order by taken_on",
            id=payment_id,
        )
        return [(str(kind), int(days)) for kind, days in rows]

    async def notices(self, reseller_id: str) -> Sequence[str]:
        rows = await self.read("select kind from notice where reseller_id = :id order by id", id=reseller_id)
        return [str(kind) for (kind,) in rows]

    async def is_suspended(self, reseller_id: str) -> bool:
        [(since,)] = await self.read("select service_suspended_at from reseller where id = :id", id=reseller_id)
        return since is not None

    async def entries(self, payment_id: str) -> list[tuple[str, int]]:
        rows = await self.read(
            "select kind, amount_cents from payment_entry where payment_id = :id order by id", id=payment_id
        )
        return [(str(kind), int(cents)) for kind, cents in rows]

    async def status(self, payment_id: str) -> str:
        [(status,)] = await self.read("select status from payment where id = :id", id=payment_id)
        return str(status)

    async def read(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        return await read(self.database, sql, **values)


_RUN = text(
    "insert into invoice_run (id, month, closes_on, state, resellers, parked, finalised, documents, alarms, "
    "actor, started_at) "
    "values (:run_id, :month, cast(:month as date) + interval '1 month', 'succeeded', 0, 0, 0, 0, 0, 'test', :now)"
)
_INVOICE = text(
    """
    insert into invoice (id, reseller_id, run_id, status, number, series, year, sequence, period_starts_on,
        period_ends_on, issued_on, due_on, currency, net_cents, tax_cents, gross_cents, tax_category,
        rate_basis_points, buyer, seller, created_at, finalised_at)
    values (:id, :reseller_id, :run_id, 'final', 'PF-2026-' || lpad(cast(:sequence as text), 6, '0'), 'PF', 2026,
        cast(:sequence as integer), cast(:month as date), cast(:month as date) + interval '1 month', :issued_on,
        :due_on, 'EUR', :cents, 0, :cents, :tax_category, :rate,
        jsonb_build_object('name', 'Groß', 'vat_id', cast(:vat_id as text)), '{}', :now, :now)
    """
)
_FAIL = text(
    "update payment_attempt set state = 'failed', finished_at = :now, error_code = 'insufficient_funds' where id = :id"
)
