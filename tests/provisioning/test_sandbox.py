"""The sandbox's traps: what it enforces as a real Exchange does, and what people do behind our back."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from provisioning.core.database import Database
from provisioning.drivers.base import DriverError, Outcome, Progress
from provisioning.drivers.sandbox.driver import SandboxDriver
from provisioning.planner import FolderType, Presence, Seen, plan
from provisioning.roles import CALENDAR_MASKS, FOLDER_MASKS, Role, match_role
from provisioning.terms import PROTOCOLS, MailboxKind, Protocol, Scope, ServiceClass
from tests.provisioning.driver_harness import (
    WHOLE_MAILBOX_READ,
    SandboxHarness,
    World,
    converge,
    folder,
    mask_of,
    share,
    shared,
)

ROOT_NAME = "Oberste Ebene des Informationsspeichers"


@pytest.fixture
def driver(database: Database) -> SandboxDriver:
    return SandboxDriver(database)


@pytest.fixture
def world(driver: SandboxDriver) -> World:
    return World(SandboxHarness(driver))


async def set_rights(driver: SandboxDriver, seen: Seen, folder_type: FolderType, grantee: str, mask: int) -> Outcome:
    folder_id = folder(seen, folder_type).id
    return await driver.ensure_folder_rights(seen.backend_id, folder_id=folder_id, grantee=grantee, mask=mask)


class TestFolders:
    async def test_folders_have_german_names(self, world: World, driver: SandboxDriver) -> None:
        wanted = await world.mailbox()
        shown = await driver.client_lists_folders(wanted.spec.addresses[0])
        assert {each.name: each.type for each in shown if each.type is not FolderType.OTHER} == {
            ROOT_NAME: FolderType.ROOT,
            "Posteingang": FolderType.INBOX,
            "Kalender": FolderType.CALENDAR,
            "Kontakte": FolderType.CONTACTS,
            "Aufgaben": FolderType.TASKS,
        }
        assert "Gesendete Elemente" in {each.name for each in shown}

    async def test_a_folder_made_later_has_its_parents_rights(self, world: World, driver: SandboxDriver) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        seen = await world.become(shared(wanted, share(Scope.CALENDAR, Role.EDITOR, grantee)))
        await set_rights(driver, seen, FolderType.CALENDAR, "Default", 0x1C01)
        address = wanted.spec.addresses[0]
        made = await driver.client_creates_folder(address, "Urlaub", parent="Kalender")
        rights = {each.id: dict(each.rights) for each in (await world.see(wanted)).folders}
        assert match_role(rights[made][grantee], calendar=False) is Role.EDITOR
        shown = {each.name: each for each in await driver.client_lists_folders(address)}
        assert match_role(shown["Urlaub"].default_mask, calendar=False) is Role.REVIEWER

    async def test_rights_on_the_root_do_not_reach_folders_that_exist(
        self, world: World, driver: SandboxDriver
    ) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        await set_rights(driver, await world.see(wanted), FolderType.ROOT, grantee, 0x401)
        assert mask_of(await world.see(wanted), FolderType.INBOX, grantee) == 0

    async def test_a_folder_cannot_be_made_twice_or_nowhere(self, world: World, driver: SandboxDriver) -> None:
        address = (await world.mailbox()).spec.addresses[0]
        await driver.client_creates_folder(address, "Rechnungen")
        for name, parent in (("Rechnungen", ROOT_NAME), ("2026", "Ablage")):
            with pytest.raises(LookupError):
                await driver.client_creates_folder(address, name, parent=parent)

    async def test_a_lesser_class_hides_folders_and_a_greater_one_shows_them_with_their_rights(
        self, world: World, driver: SandboxDriver
    ) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        wanted = shared(wanted, share(Scope.CALENDAR, Role.EDITOR, grantee))
        before = await world.become(wanted)
        pop3 = replace(wanted.spec, service_class=ServiceClass.POP3, protocols=PROTOCOLS[ServiceClass.POP3])
        hidden = await world.become(replace(wanted, spec=pop3))
        assert [each.type for each in hidden.folders] == [FolderType.ROOT, FolderType.INBOX]
        await driver.ensure_mailbox(wanted.mailbox_id, wanted.spec, location=wanted.location, password_hash=None)
        assert await world.see(wanted) == before


class TestRights:
    @pytest.mark.parametrize(
        ("folder_type", "sent", "stored"),
        [
            (FolderType.INBOX, 0x001, 0x401),
            (FolderType.INBOX, 0x020, 0x028),
            (FolderType.INBOX, 0x040, 0x050),
            (FolderType.INBOX, 0x100, 0x700),
            (FolderType.CALENDAR, 0x001, 0x1C01),
            (FolderType.CALENDAR, 0x800, 0x800),
        ],
    )
    async def test_rights_are_widened_on_write(
        self, world: World, driver: SandboxDriver, folder_type: FolderType, sent: int, stored: int
    ) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        await set_rights(driver, await world.see(wanted), folder_type, grantee, sent)
        assert mask_of(await world.see(wanted), folder_type, grantee) == stored

    async def test_owning_a_folder_alone_is_not_the_role_owner(self, world: World, driver: SandboxDriver) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        await set_rights(driver, await world.see(wanted), FolderType.INBOX, grantee, 0x100)
        assert match_role(mask_of(await world.see(wanted), FolderType.INBOX, grantee), calendar=False) is (Role.CUSTOM)

    @pytest.mark.parametrize("special", ["Default", "Anonymous"])
    async def test_default_and_anonymous_can_be_set_to_none_and_not_be_removed(
        self, world: World, driver: SandboxDriver, special: str
    ) -> None:
        wanted = await world.mailbox()
        seen = await world.see(wanted)
        calendar = folder(seen, FolderType.CALENDAR).id
        for mask in (0x1C01, 0):
            await set_rights(driver, seen, FolderType.CALENDAR, special, mask)
            shown = {each.id: each for each in await driver.client_lists_folders(wanted.spec.addresses[0])}
            entry = {"Default": shown[calendar].default_mask, "Anonymous": shown[calendar].anonymous_mask}
            assert entry[special] == mask
        with pytest.raises(DriverError, match="only be set to None") as refusal:
            await driver.remove_folder_rights(seen.backend_id, folder_id=calendar, grantee=special)
        assert refusal.value.permanent
        assert await world.see(wanted) == seen

    async def test_everybody_sees_when_a_colleague_is_busy_and_nothing_else(
        self, world: World, driver: SandboxDriver
    ) -> None:
        wanted = await world.mailbox()
        for shown in await driver.client_lists_folders(wanted.spec.addresses[0]):
            expected = 0x800 if shown.type is FolderType.CALENDAR else 0
            assert (shown.default_mask, shown.anonymous_mask) == (expected, 0)

    @pytest.mark.parametrize("role", [Role.AVAILABILITY_ONLY, Role.LIMITED_DETAILS])
    async def test_availability_is_refused_outside_calendars(
        self, world: World, driver: SandboxDriver, role: Role
    ) -> None:
        seen, grantee = await world.see(await world.mailbox()), await world.grantee()
        for folder_type in (FolderType.INBOX, FolderType.CONTACTS, FolderType.TASKS, FolderType.ROOT):
            with pytest.raises(DriverError, match="calendars only") as refusal:
                await set_rights(driver, seen, folder_type, grantee, CALENDAR_MASKS[role])
            assert refusal.value.permanent

    @pytest.mark.parametrize("service_class", [ServiceClass.POP3, ServiceClass.IMAP])
    async def test_rights_on_a_folder_the_class_does_not_have_are_refused(
        self, world: World, driver: SandboxDriver, service_class: ServiceClass
    ) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        before = await world.see(wanted)
        spec = replace(wanted.spec, service_class=service_class, protocols=PROTOCOLS[service_class])
        await world.become(replace(wanted, spec=spec))
        for folder_type in (FolderType.CALENDAR, FolderType.CONTACTS, FolderType.TASKS):
            with pytest.raises(DriverError, match=f"has no {folder_type} folder") as refusal:
                await set_rights(driver, before, folder_type, grantee, FOLDER_MASKS[Role.REVIEWER])
            assert refusal.value.permanent

    async def test_bits_that_are_no_rights_and_folders_of_others_are_refused(
        self, world: World, driver: SandboxDriver
    ) -> None:
        seen, other = await world.see(await world.mailbox()), await world.see(await world.mailbox())
        grantee = await world.grantee()
        for mask in (0x004, 0x2000):
            with pytest.raises(DriverError, match="no rights"):
                await set_rights(driver, seen, FolderType.INBOX, grantee, mask)
        foreign = folder(other, FolderType.INBOX).id
        with pytest.raises(DriverError, match="no such folder"):
            await driver.ensure_folder_rights(seen.backend_id, folder_id=foreign, grantee=grantee, mask=0x401)


class TestGrants:
    @pytest.mark.parametrize(
        ("first", "second"),
        [(Role.SEND_AS, Role.SEND_ON_BEHALF), (Role.SEND_ON_BEHALF, Role.SEND_AS)],
    )
    async def test_send_as_and_on_behalf_exclude_each_other_for_a_pair(
        self, world: World, driver: SandboxDriver, first: Role, second: Role
    ) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        backend_id = (await world.see(wanted)).backend_id
        await driver.ensure_grant(backend_id, role=first, grantee=grantee)
        with pytest.raises(DriverError, match="exclude each other") as refusal:
            await driver.ensure_grant(backend_id, role=second, grantee=grantee)
        assert refusal.value.permanent
        await driver.ensure_grant(backend_id, role=second, grantee=await world.grantee())
        await driver.remove_grant(backend_id, role=first, grantee=grantee)
        await driver.ensure_grant(backend_id, role=second, grantee=grantee)

    async def test_nobody_opens_a_pop3_mailbox_and_a_folder_role_is_no_grant(
        self, world: World, driver: SandboxDriver
    ) -> None:
        pop3, grantee = await world.see(await world.mailbox(ServiceClass.POP3)), await world.grantee()
        for role in (Role.FULL_ACCESS, Role.EDITOR):
            with pytest.raises(DriverError) as refusal:
                await driver.ensure_grant(pop3.backend_id, role=role, grantee=grantee)
            assert refusal.value.permanent


class TestMailboxes:
    async def test_an_address_of_another_mailbox_is_refused_and_nothing_is_left(
        self, world: World, driver: SandboxDriver
    ) -> None:
        taken, wanted = await world.mailbox(), world.order()
        addresses = (*wanted.spec.addresses, *taken.spec.addresses)
        for spec in (
            replace(wanted.spec, addresses=addresses),
            replace(wanted.spec, addresses=addresses[1:]),
        ):
            with pytest.raises(DriverError, match="belongs to another") as refusal:
                await converge(driver, replace(wanted, spec=spec))
            assert not refusal.value.permanent
        assert await world.look(wanted) is None
        await world.become(wanted)
        with pytest.raises(DriverError, match="belongs to another"):
            await converge(driver, replace(wanted, spec=replace(wanted.spec, addresses=addresses)))
        assert (await world.see(wanted)).spec == wanted.spec

    async def test_a_deleted_mailbox_keeps_its_address_until_it_is_purged(self, world: World) -> None:
        old, new = await world.mailbox(), world.order()
        new = replace(new, spec=replace(new.spec, addresses=old.spec.addresses))
        await world.become(replace(old, presence=Presence.DELETED))
        with pytest.raises(DriverError, match="belongs to another"):
            await converge(world.driver, new)
        await converge(world.driver, replace(old, presence=Presence.PURGED))
        await world.become(new)

    async def test_of_two_that_want_an_address_at_once_one_gets_it(self, world: World, driver: SandboxDriver) -> None:
        one, other = world.order(), world.order()
        other = replace(other, spec=replace(other.spec, addresses=one.spec.addresses))
        results = await asyncio.gather(converge(driver, one), converge(driver, other), return_exceptions=True)
        assert sorted(str(type(result).__name__) for result in results) == ["DriverError", "int"]

    async def test_a_mailbox_created_by_ten_at_once_is_one(self, world: World, driver: SandboxDriver) -> None:
        wanted = world.order()
        results = await asyncio.gather(*(converge(driver, wanted) for _ in range(10)))
        assert len(results) == 10
        assert (await driver.counted(wanted.mailbox_id)).writes == 1
        assert plan(wanted, await world.look(wanted)) == []

    async def test_two_at_once_who_share_with_each_other_both_succeed(self, world: World) -> None:
        one, other = await world.mailbox(), await world.mailbox()
        ids = [(await world.see(each)).backend_id for each in (one, other)]
        one = shared(one, share(*WHOLE_MAILBOX_READ, ids[1]))
        other = shared(other, share(*WHOLE_MAILBOX_READ, ids[0]))
        await asyncio.gather(*(converge(world.driver, each) for each in (one, other) for _ in range(3)))
        for each in (one, other):
            assert plan(each, await world.look(each)) == []

    @pytest.mark.parametrize(
        "change",
        [
            {"addresses": ()},
            {"quota_mib": 0},
            {"service_class": ServiceClass.POP3},
            {"service_class": ServiceClass.IMAP, "protocols": frozenset({Protocol.CALDAV})},
            {"service_class": ServiceClass.POP3, "protocols": frozenset(), "kind": MailboxKind.ROOM},
        ],
        ids="-".join,
    )
    async def test_what_cannot_be_is_refused_for_good(self, world: World, change: dict[str, object]) -> None:
        wanted = world.order()
        spec = replace(wanted.spec, **change)  # type: ignore[arg-type]  # each a wrong value of a right type
        with pytest.raises(DriverError) as refusal:
            await converge(world.driver, replace(wanted, spec=spec))
        assert refusal.value.permanent

    async def test_nothing_is_set_on_a_mailbox_out_of_service(self, world: World, driver: SandboxDriver) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        seen = await world.see(wanted)
        await driver.remove_mailbox(seen.backend_id)
        calls: tuple[Callable[[str], object], ...] = (
            lambda backend_id: driver.move_mailbox(backend_id, to=world.elsewhere),
            lambda backend_id: driver.ensure_grant(backend_id, role=Role.SEND_AS, grantee=grantee),
        )
        for backend_id in (seen.backend_id, "00000000-0000-4000-8000-000000000000"):
            for call in calls:
                with pytest.raises(DriverError, match="no such mailbox") as refusal:
                    await call(backend_id)  # type: ignore[misc]  # all of them are coroutines
                assert refusal.value.permanent


class TestMoves:
    async def test_a_move_is_pending_for_as_many_observations_as_it_takes(self, database: Database) -> None:
        driver = SandboxDriver(database, move_observations=3)
        world = World(SandboxHarness(driver))
        wanted = await world.mailbox()
        backend_id = (await world.see(wanted)).backend_id
        places = []
        for _ in range(3):
            outcome = await driver.move_mailbox(backend_id, to=world.elsewhere)
            assert outcome.progress is Progress.PENDING
            assert world.elsewhere in outcome.reason
            places.append((await world.see(wanted)).location)
        assert places == [world.here, world.here, world.elsewhere]
        assert (await driver.move_mailbox(backend_id, to=world.elsewhere)).progress is Progress.CONVERGED

    async def test_a_move_that_is_no_longer_wanted_is_given_up(self, world: World, driver: SandboxDriver) -> None:
        wanted = await world.mailbox()
        backend_id = (await world.see(wanted)).backend_id
        await driver.move_mailbox(backend_id, to=world.elsewhere)
        assert (await driver.move_mailbox(backend_id, to=world.here)).progress is Progress.CONVERGED
        assert [(await world.see(wanted)).location for _ in range(4)] == [world.here] * 4


class TestPeople:
    async def test_drift_of_every_kind_is_seen_and_put_right(self, world: World, driver: SandboxDriver) -> None:
        wanted, colleague = await world.mailbox(), await world.mailbox()
        address, other = wanted.spec.addresses[0], colleague.spec.addresses[0]
        grantee = (await world.see(colleague)).backend_id
        wanted = shared(wanted, share(Scope.CALENDAR, Role.EDITOR, grantee))
        before = await world.become(wanted)
        await driver.admin_sets_rights(address, folder=FolderType.CALENDAR, grantee=other, mask=None)
        await driver.admin_sets_rights(address, folder="Posteingang", grantee=other, mask=0x001)
        await driver.admin_changes_quota(address, 1)
        await driver.admin_moves(address, to=world.elsewhere)
        drifted = await world.see(wanted)
        assert mask_of(drifted, FolderType.CALENDAR, grantee) == 0
        assert mask_of(drifted, FolderType.INBOX, grantee) == 0x401
        assert (drifted.spec.quota_mib, drifted.location) == (1, world.elsewhere)
        assert await world.become(wanted) == before
        await driver.admin_deletes(address)
        assert (await world.see(wanted)).presence is Presence.DELETED
        assert await world.become(wanted) == before
        await driver.admin_deletes(address, purge=True)
        assert await world.look(wanted) is None
        assert (await world.become(wanted)).backend_id != before.backend_id

    async def test_people_cannot_touch_what_is_not_there(self, world: World, driver: SandboxDriver) -> None:
        address = (await world.mailbox()).spec.addresses[0]
        with pytest.raises(LookupError, match="nobody"):
            await driver.admin_changes_quota("nobody@muster.example", 1)
        with pytest.raises(LookupError, match="Ablage"):
            await driver.admin_sets_rights(address, folder="Ablage", grantee=address, mask=0)
