"""All that workers do in a year, done day by day in their place, and the firms it is done to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import httpx
from sqlalchemy import text

from api.context import Context
from api.dunning_jobs import dun_now
from billing import collection, payments, periods, runs
from provisioning import planner, standing, tenants
from provisioning.core.clock import TestClock
from provisioning.drivers.sandbox.driver import SandboxDriver
from tests import factories
from tests.billing.ledger_factory import ISSUER, read
from tests.billing.payment_world import Till
from tests.provisioning.world import World

LATE = 33
"""Days past due on which the late payer pays: three days after its service is suspended."""


_TAKE = text(
    "update procrastinate_jobs set status = 'succeeded' where task_name = 'follow_standing' and status = 'todo' "
    "returning args ->> 'key'"
)


@dataclass
class Firm:
    """A reseller with two mailboxes; `suspended` are the days on which its backend let nobody in."""

    world: World
    mailbox_ids: Sequence[str]
    suspended: list[date]

    @property
    def reseller_id(self) -> str:
        return str(self.world.domain.reseller_id)


@dataclass
class Year:
    """All that workers do in a year, done each day in their place."""

    till: Till
    clock: TestClock
    context: Context
    operator: httpx.AsyncClient

    async def found(self, *, iban: str | None = None) -> Firm:
        reseller_id = await self.till.add_payer(iban=iban)
        async with self.till.database.as_system() as session:
            reseller = await session.get_one(tenants.Reseller, reseller_id)
            session.add(tenants.TenantUsage(tenant_id=reseller_id, reseller_id=reseller_id))
            domain = await factories.make_domain(session, await factories.make_customer(session, reseller))
        world = World(self.till.database, SandboxDriver(self.till.database), self.clock, domain)
        return Firm(world, [await world.ordered(), await world.ordered()], [])

    async def next_day(self, firms: Sequence[Firm]) -> date:
        self.till.let_pass(days=1)
        answer = await self.operator.post(
            "/v1/test-clock/advance",
            json={"to": self.till.now.isoformat()},
            headers={"Postfachwerk-Reseller": firms[0].reseller_id},
        )
        assert answer.status_code == 200, answer.text
        await self._bill()
        await self._collect()
        await dun_now(self.context)
        await self._follow(firms)
        today = periods.berlin_day(self.clock.now())
        for firm in firms:
            if await self._is_suspended(firm):
                firm.suspended.append(today)
        return today

    async def pay_what_is_late(self, firm: Firm, today: date) -> None:
        """In full, fees included, by way of the operator that finds it on its account."""
        answer = await self.operator.get(f"/v1/resellers/{firm.reseller_id}/dunning")
        for item in answer.json()["open_items"]:
            if item["days_past_due"] == LATE:
                receipt = {
                    "amount_cents": item["owed_cents"] + item["fees_cents"],
                    "received_on": today.isoformat(),
                    "reference": item["invoice_number"],
                }
                booked = await self.operator.post(f"/v1/payments/{item['payment_id']}/receipts", json=receipt)
                assert booked.status_code == 201, booked.text

    async def _bill(self) -> None:
        now = self.clock.now()
        if periods.berlin_day(now).day == 1:
            async with self.till.database.as_system() as session:
                created = await runs.due_runs(session, now)
            for run_id in created:
                await runs.continue_run(self.till.database, run_id, now=now, issuer=ISSUER)

    async def _collect(self) -> None:
        async with self.till.database.as_system() as session:
            due = await payments.due_payments(session, now=self.till.now)
        for payment_id in due:
            await collection.collect(
                self.till.database, self.till.gateway, payment_id, now=self.till.now, policy=self.till.policy
            )
        if await read(self.till.database, "select from payment where status = 'processing'"):
            await self.till.hear()

    async def _follow(self, firms: Sequence[Firm]) -> None:
        """The jobs of resellers whose service has been suspended or resumed, and of their mailboxes."""
        async with self.till.database.as_system() as session:
            turned = set(await session.scalars(_TAKE))
        for firm in firms:
            if firm.reseller_id in turned:
                async with self.till.database.as_system() as session:
                    await standing.follow_standing(session, firm.reseller_id, now=self.clock.now())
                await firm.world.run_jobs()

    async def _is_suspended(self, firm: Firm) -> bool:
        """What the backend says of its mailboxes: whether anybody is let in. Mail is taken in on every day."""
        # One of them on even days, the other on odd ones.
        seen = await firm.world.driver.observe_mailbox(firm.mailbox_ids[self.clock.now().day % 2])
        assert seen is not None
        assert seen.presence is planner.Presence.PRESENT, "mail has to arrive"
        return seen.spec.suspended

    async def dunned(self, firm: Firm) -> list[tuple[date, dict[str, int]]]:
        """Each invoice by its due day, oldest first, with the days past due of its steps."""
        rows = await read(
            self.till.database,
            "select invoice.due_on, step.kind, step.taken_on - invoice.due_on from invoice "
            "left join dunning_step step on step.invoice_id = invoice.id "
            "where invoice.reseller_id = :reseller_id order by invoice.due_on, step.taken_on",
            reseller_id=firm.reseller_id,
        )
        found: dict[date, dict[str, int]] = {}
        for due_on, kind, days in rows:
            found.setdefault(due_on, {}).update({} if kind is None else {str(kind): int(days)})
        return sorted(found.items())

    async def notices(self, firm: Firm) -> list[str]:
        query = text("select kind from notice where reseller_id = :id order by id")
        async with self.till.database.as_system() as session:
            return list(await session.scalars(query, {"id": firm.reseller_id}))
