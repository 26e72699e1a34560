"""Random wishes and random trouble, the same for the same seed."""

from collections.abc import Awaitable, Callable
from random import Random

from sqlalchemy import select, text
from sqlmodel import col

from provisioning.core.jobs import RECONCILE, enqueue
from provisioning.drivers.sandbox.tables import Call, Fault
from provisioning.models import Mailbox, Share
from provisioning.roles import ROLES
from provisioning.terms import ADD_ONS, AddOn, Intent, Scope, ServiceClass
from tests.factories import unique
from tests.provisioning import intents
from tests.provisioning.world import World, interpose

MAILBOXES_MAX = 5
# A refusal for good is no noise but an answer; it has its own tests.
NOISE = (Fault.THROTTLE, Fault.AWAY, Fault.LOST_ANSWER, Fault.FAIL)
HOLDING = (Fault.SLOW, Fault.BLOCK)
IN_SERVICE = (Intent.PRESENT, Intent.SUSPENDED)
PLACES = ("de-fra-1", "de-nbg-1", "fi-hel-1")


class Crash(Exception):
    """What a driver should never raise, or a process that ends between two steps."""


class Chaos:
    """Makes one random wish after another, and breaks things in between."""

    def __init__(self, world: World, random: Random) -> None:
        self.world = world
        self.random = random
        self.wishes: list[Callable[[], Awaitable[None]]] = [
            *(self.order, self.change, self.change_class, self.change_class, self.add_alias, self.drop_alias),
            *(self.put_add_on, self.put_add_on, self.remove_add_on),
            *(self.grant, self.grant, self.grant, self.revoke, self.turn, self.turn, self.move, self.purge),
        ]

    async def make_a_wish(self) -> None:
        await self.random.choice(self.wishes)()

    async def pick(self, *wanted: Intent) -> Mailbox | None:
        """One of the mailboxes that are wanted so."""
        async with self.world.database.as_system() as session:
            query = select(Mailbox).where(col(Mailbox.reseller_id) == self.world.domain.reseller_id)
            found = list(await session.scalars(query.where(col(Mailbox.intent).in_(wanted)).order_by(col(Mailbox.id))))
        return self.random.choice(found) if found else None

    async def order(self) -> None:
        if len(await self.world.mailboxes()) < MAILBOXES_MAX:
            place, kind = self.random.choice(PLACES), self.random.choice(list(ServiceClass))
            await self.world.order(location=place, service_class=kind)

    async def change(self) -> None:
        if mailbox := await self.pick(*IN_SERVICE):
            await self.world.wish(intents.change, mailbox.id, quota_mib=self.random.randint(1, 3) * 1000)

    async def change_class(self) -> None:
        """To Exchange and back, unless shares stand that the lower class could not have."""
        if mailbox := await self.pick(*IN_SERVICE):
            lower = ServiceClass.IMAP
            async with self.world.database.as_system() as session:
                shared = await session.scalar(select(Share).where(col(Share.mailbox_id) == mailbox.id).limit(1))
            service_class = ServiceClass.EXCHANGE if shared or mailbox.service_class is lower else lower
            await self.world.wish(intents.change, mailbox.id, service_class=service_class)

    async def add_alias(self) -> None:
        if mailbox := await self.pick(*IN_SERVICE):
            alias = f"{unique('alias')}@{self.world.domain.name}"
            await self.world.wish(intents.add_alias, mailbox.id, alias)

    async def drop_alias(self) -> None:
        if mailbox := await self.pick(*IN_SERVICE):
            async with self.world.database.as_system() as session:
                query = text("select min(address) from mailbox_address where mailbox_id = :id and not is_primary")
                alias = await session.scalar(query, {"id": mailbox.id})
            if alias is not None:
                await self.world.wish(intents.remove_alias, mailbox.id, alias)

    async def put_add_on(self) -> None:
        if mailbox := await self.pick(*IN_SERVICE):
            add_on = self.random.choice(sorted(ADD_ONS[mailbox.service_class]))
            quantity = 1 if add_on is AddOn.ARCHIVE else self.random.randint(1, 3)
            now = self.world.clock.now()
            await self.world.wish(intents.put_add_on, mailbox.id, add_on, quantity=quantity, now=now)

    async def remove_add_on(self) -> None:
        if (mailbox := await self.pick(*IN_SERVICE)) and mailbox.add_ons:
            add_on = self.random.choice(sorted(mailbox.add_ons))
            await self.world.wish(intents.remove_add_on, mailbox.id, add_on, now=self.world.clock.now())

    async def grant(self) -> None:
        owner, grantee = await self.pick(*IN_SERVICE), await self.pick(*IN_SERVICE)
        if owner is None or grantee is None or owner.id == grantee.id:
            return
        if owner.service_class is not ServiceClass.EXCHANGE:
            await self.world.wish(intents.change, owner.id, service_class=ServiceClass.EXCHANGE)
        # Send-as and send-on-behalf exclude each other, so only one of them is ever wished for.
        scope = self.random.choice([scope for scope in Scope if scope is not Scope.SEND_ON_BEHALF])
        access = self.random.choice(list(ROLES[scope])) if scope in ROLES else None
        await self.world.wish(intents.grant, owner.id, grantee.id, scope, access)

    async def revoke(self) -> None:
        async with self.world.database.as_system() as session:
            query = select(Share).where(col(Share.reseller_id) == self.world.domain.reseller_id)
            shares = list(await session.scalars(query.order_by(col(Share.id))))
        if shares:
            share = self.random.choice(shares)
            await self.world.wish(intents.revoke, share.mailbox_id, share.grantee_id, share.scope)

    async def turn(self) -> None:
        """Suspend, resume, delete or restore."""
        if mailbox := await self.pick(*IN_SERVICE, Intent.DELETED):
            intent = self.random.choice([*IN_SERVICE, Intent.DELETED])
            if intent is Intent.DELETED:
                await self.world.wish(intents.delete_mailbox, mailbox.id, now=self.world.clock.now())
            else:
                await self.world.wish(intents.change, mailbox.id, intent=intent)

    async def move(self) -> None:
        if mailbox := await self.pick(*IN_SERVICE):
            await self.world.wish(intents.change, mailbox.id, location=self.random.choice(PLACES))

    async def purge(self) -> None:
        if self.random.random() < 0.3 and (mailbox := await self.pick(Intent.DELETED)):
            await self.world.wish(intents.purge, mailbox.id)

    async def break_something(self) -> None:
        mailbox = await self.pick(*Intent)
        if mailbox is not None:
            call = self.random.choice([*Call, "*"])
            faults = NOISE if call in {Call.OBSERVE_MAILBOX, "*"} else (*NOISE, *HOLDING)
            fault = self.random.choice(faults)
            await self.world.driver.script(mailbox.address, str(call), fault, times=self.random.randint(1, 2))

    async def work_a_little(self) -> None:
        """Run some of the jobs; some are cut off between two calls, some are overtaken by a wish."""
        for key in await self.world.take_jobs(limit=3):
            try:
                await self.world.reconcile(key, driver=interpose(self.world.driver, self.meddle))
            except Crash:
                # As the queue does with the jobs of a worker that is gone.
                await self.world.wish(enqueue, RECONCILE, [key])

    async def meddle(self, _call: str) -> None:
        lot = self.random.random()
        if lot < 0.05:
            raise Crash
        if lot < 0.12:
            await self.change()
