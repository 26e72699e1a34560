"""What the contract suite needs beside a driver, and the loop that brings a mailbox to its intent."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from provisioning.core.database import Database
from provisioning.core.ids import new_id
from provisioning.drivers.base import Driver, TryAgain
from provisioning.drivers.open_cell.driver import OpenCellDriver
from provisioning.drivers.sandbox.driver import SandboxDriver
from provisioning.planner import (
    EnsureArchive,
    EnsureFolderRights,
    EnsureGrant,
    EnsureMailbox,
    Folder,
    FolderType,
    MailboxSpec,
    MoveMailbox,
    Presence,
    PurgeMailbox,
    RemoveFolderRights,
    RemoveGrant,
    RemoveMailbox,
    Seen,
    SharedTo,
    Step,
    Wanted,
    plan,
)
from provisioning.roles import Role
from provisioning.terms import PROTOCOLS, MailboxKind, Scope, ServiceClass
from tests import cells as real

Answer = TypeVar("Answer")

PASSES_MAX = 40

WHOLE_MAILBOX_READ = (Scope.MAILBOX, Role.REVIEWER)


class DriverHarness(Protocol):
    """One backend under test."""

    @property
    def driver(self) -> Driver: ...

    @property
    def locations(self) -> tuple[str, ...]:
        """The codes of two data centres or more."""
        ...

    @property
    def reads(self) -> int:
        """How many observations it takes until a write shows."""
        ...

    async def client_creates_folder(self, address: str, name: str) -> None:
        """Imitate the user of a mailbox making a folder on the top level by hand."""
        ...


OpenHarness = Callable[[Database], AbstractAsyncContextManager[DriverHarness]]


@dataclass
class SandboxHarness:
    driver: SandboxDriver
    locations: tuple[str, ...] = ("de-fra-1", "de-nbg-1")
    reads: int = 1

    async def client_creates_folder(self, address: str, name: str) -> None:
        await self.driver.client_creates_folder(address, name)


@asynccontextmanager
async def sandbox(database: Database) -> AsyncIterator[DriverHarness]:
    yield SandboxHarness(SandboxDriver(database))


@asynccontextmanager
async def moody_sandbox(database: Database) -> AsyncIterator[DriverHarness]:
    """The same with writes that show late and every seventh call turned away."""
    yield SandboxHarness(SandboxDriver(database, lag=2, throttle_every=7), reads=3)


@dataclass
class OpenCellHarness:
    driver: OpenCellDriver
    cells: real.Cells
    locations: tuple[str, ...] = real.CODES
    reads: int = 1

    async def client_creates_folder(self, address: str, name: str) -> None:
        self.cells.make_folder(address, name)


@asynccontextmanager
async def open_cell(_database: Database) -> AsyncIterator[DriverHarness]:
    """Two real cells, started once and shared; skips where their packages are not installed."""
    cells = real.cells()
    driver = OpenCellDriver(cells.file)
    try:
        yield OpenCellHarness(driver, cells)
    finally:
        await driver.close()


# Every driver that exists: the contract suite runs against each.
HARNESSES: list[OpenHarness] = [
    sandbox,
    moody_sandbox,
    open_cell,
]


async def insist(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask until the backend does not say TryAgain."""
    for _ in range(PASSES_MAX):
        try:
            return await call()
        except TryAgain:
            continue
    raise AssertionError(f"TryAgain {PASSES_MAX} times in a row")


async def apply(driver: Driver, wanted: Wanted, seen: Seen | None, step: Step) -> None:
    """One step of a plan made from `seen`."""
    if isinstance(step, EnsureMailbox):
        await driver.ensure_mailbox(
            wanted.mailbox_id, wanted.spec, location=wanted.location, password_hash=wanted.password_hash
        )
        return
    assert seen is not None, f"{step} of a mailbox that is not there"
    match step:
        case MoveMailbox(to=to):
            await driver.move_mailbox(seen.backend_id, to=to)
        case EnsureArchive(on=on):
            await driver.ensure_archive(seen.backend_id, on=on)
        case RemoveMailbox():
            await driver.remove_mailbox(seen.backend_id)
        case PurgeMailbox():
            await driver.purge_mailbox(seen.backend_id)
        case EnsureFolderRights(folder_id=folder_id, grantee=grantee, mask=mask):
            await driver.ensure_folder_rights(seen.backend_id, folder_id=folder_id, grantee=grantee, mask=mask)
        case RemoveFolderRights(folder_id=folder_id, grantee=grantee):
            await driver.remove_folder_rights(seen.backend_id, folder_id=folder_id, grantee=grantee)
        case EnsureGrant(role=role, grantee=grantee):
            await driver.ensure_grant(seen.backend_id, role=role, grantee=grantee)
        case RemoveGrant(role=role, grantee=grantee):
            await driver.remove_grant(seen.backend_id, role=role, grantee=grantee)


async def converge(driver: Driver, wanted: Wanted) -> int:
    """Observe, plan and apply until the plan is empty; the number of steps it took.

    A pass ends at a TryAgain and the next one observes anew. DriverError comes through.
    """
    writes = 0
    steps: list[Step] = []
    for _ in range(PASSES_MAX):
        try:
            seen = await driver.observe_mailbox(wanted.mailbox_id)
            steps = plan(wanted, seen)
            if not steps:
                return writes
            for step in steps:
                writes += 1
                await apply(driver, wanted, seen, step)
        except TryAgain:
            continue
    raise AssertionError(f"still to do after {PASSES_MAX} passes: {[str(step) for step in steps]}")


class World:
    """A backend under test, and short words for what the tests do to it."""

    def __init__(self, harness: DriverHarness) -> None:
        self.harness = harness
        self.driver = harness.driver
        self.here, self.elsewhere = harness.locations[:2]

    def order(self, service_class: ServiceClass = ServiceClass.EXCHANGE) -> Wanted:
        """An intent for a mailbox that is not there yet."""
        mailbox_id = new_id("mbx")
        spec = MailboxSpec(
            kind=MailboxKind.USER,
            service_class=service_class,
            display_name="Käthe Müller",
            quota_mib=50_000,
            protocols=PROTOCOLS[service_class],
            addresses=(f"{mailbox_id}@muster.example",),
        )
        return Wanted(mailbox_id, Presence.PRESENT, self.here, spec)

    async def mailbox(self, service_class: ServiceClass = ServiceClass.EXCHANGE) -> Wanted:
        wanted = self.order(service_class)
        await converge(self.driver, wanted)
        return wanted

    async def grantee(self) -> str:
        """The backend's id of a mailbox that others share with."""
        return (await self.see(await self.mailbox())).backend_id

    async def look(self, wanted: Wanted) -> Seen | None:
        """What is there once all writes show."""
        for _ in range(self.harness.reads - 1):
            await insist(lambda: self.driver.observe_mailbox(wanted.mailbox_id))
        return await insist(lambda: self.driver.observe_mailbox(wanted.mailbox_id))

    async def see(self, wanted: Wanted) -> Seen:
        seen = await self.look(wanted)
        assert seen is not None
        return seen

    async def become(self, wanted: Wanted) -> Seen:
        """Bring it about, prove that a second pass has nothing to do, and return what is there."""
        await converge(self.driver, wanted)
        assert await converge(self.driver, wanted) == 0
        seen = await self.see(wanted)
        assert plan(wanted, seen) == []
        return seen


def share(scope: Scope, role: Role, grantee: str) -> SharedTo:
    return SharedTo(scope, role, grantee)


def shared(wanted: Wanted, *shares: SharedTo) -> Wanted:
    return replace(wanted, shares=frozenset(shares))


def folder(seen: Seen, folder_type: FolderType) -> Folder:
    return next(each for each in seen.folders if each.type is folder_type)


def mask_of(seen: Seen, folder_type: FolderType, grantee: str) -> int:
    return dict(folder(seen, folder_type).rights).get(grantee, 0)
