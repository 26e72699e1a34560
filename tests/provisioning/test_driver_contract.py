"""What every driver promises of mailboxes, whatever is behind it; a new one is one more line in HARNESSES."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from provisioning.core.database import Database
from provisioning.drivers.base import DriverError, Progress
from provisioning.planner import FolderType, Presence
from provisioning.roles import Role
from provisioning.terms import ADD_ONS, PROTOCOLS, AddOn, MailboxKind, Protocol, Scope, ServiceClass
from tests.provisioning.driver_harness import (
    HARNESSES,
    WHOLE_MAILBOX_READ,
    OpenHarness,
    World,
    converge,
    folder,
    insist,
    share,
    shared,
)

TYPES = {
    ServiceClass.POP3: {FolderType.ROOT, FolderType.INBOX},
    ServiceClass.IMAP: {FolderType.ROOT, FolderType.INBOX},
    ServiceClass.EXCHANGE: {
        FolderType.ROOT,
        FolderType.INBOX,
        FolderType.CALENDAR,
        FolderType.CONTACTS,
        FolderType.TASKS,
    },
}


@pytest.fixture(params=HARNESSES, ids=lambda harness: harness.__name__)
async def world(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[World]:
    open_harness: OpenHarness = request.param
    async with open_harness(database) as harness:
        yield World(harness)


class TestMailboxes:
    async def test_of_a_mailbox_that_was_never_created_nothing_is_seen(self, world: World) -> None:
        assert await world.look(world.order()) is None

    @pytest.mark.parametrize("service_class", ServiceClass)
    async def test_a_mailbox_becomes_what_was_ordered(self, world: World, service_class: ServiceClass) -> None:
        wanted = world.order(service_class)
        seen = await world.become(wanted)
        assert (seen.presence, seen.location, seen.spec) == (Presence.PRESENT, world.here, wanted.spec)
        assert seen.grants == frozenset()

    @pytest.mark.parametrize("kind", MailboxKind)
    async def test_every_kind_of_mailbox_can_be_had(self, world: World, kind: MailboxKind) -> None:
        wanted = world.order()
        wanted = replace(wanted, spec=replace(wanted.spec, kind=kind))
        assert (await world.become(wanted)).spec.kind is kind

    async def test_the_backend_has_an_id_of_its_own(self, world: World) -> None:
        wanted = await world.mailbox()
        assert (await world.see(wanted)).backend_id != wanted.mailbox_id

    async def test_a_mailbox_created_twice_is_one_mailbox(self, world: World) -> None:
        wanted = world.order()
        for _ in range(2):  # as after an answer that was lost
            outcome = await insist(
                lambda: world.driver.ensure_mailbox(
                    wanted.mailbox_id, wanted.spec, location=world.here, password_hash=None
                )
            )
            assert outcome.progress is Progress.CONVERGED
        first = await world.see(wanted)
        await converge(world.driver, wanted)
        assert await world.see(wanted) == first

    async def test_every_attribute_can_be_changed(self, world: World) -> None:
        wanted = await world.mailbox()
        before = await world.see(wanted)
        for changed in (
            replace(wanted.spec, display_name="Käthe Müller-Lüdenscheidt"),
            replace(wanted.spec, quota_mib=99_000),
            replace(wanted.spec, protocols=frozenset({Protocol.IMAP, Protocol.SMTP})),
            replace(wanted.spec, protocols=frozenset()),
            replace(wanted.spec, kind=MailboxKind.SHARED),
        ):
            seen = await world.become(replace(wanted, spec=changed))
            assert (seen.spec, seen.backend_id) == (changed, before.backend_id)

    async def test_addresses_come_go_and_change_places(self, world: World) -> None:
        wanted = await world.mailbox()
        first = wanted.spec.addresses[0]
        second, third = f"info.{first}", f"verkauf.{first}"
        for addresses in ((first, second, third), (third, first), (second,), (first,)):
            seen = await world.become(replace(wanted, spec=replace(wanted.spec, addresses=addresses)))
            assert seen.spec.addresses == addresses

    async def test_an_address_given_up_is_free_for_another_mailbox(self, world: World) -> None:
        old, new = await world.mailbox(), await world.mailbox()
        alias = f"info.{old.spec.addresses[0]}"
        await world.become(replace(old, spec=replace(old.spec, addresses=(*old.spec.addresses, alias))))
        await world.become(old)
        seen = await world.become(replace(new, spec=replace(new.spec, addresses=(*new.spec.addresses, alias))))
        assert seen.spec.addresses[1] == alias

    async def test_a_mailbox_is_suspended_and_resumed_with_all_its_shares(self, world: World) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        wanted = shared(wanted, share(Scope.CALENDAR, Role.EDITOR, grantee))
        before = await world.become(wanted)
        suspended = await world.become(replace(wanted, spec=replace(wanted.spec, suspended=True)))
        assert suspended == replace(before, spec=replace(before.spec, suspended=True))
        assert await world.become(wanted) == before

    async def test_a_password_is_known_by_its_version(self, world: World) -> None:
        wanted = await world.mailbox()
        for version in (1, 2):
            spec = replace(wanted.spec, password_version=version)
            seen = await world.become(replace(wanted, spec=spec, password_hash=f"$6$salt$hash{version}"))
            assert seen.spec.password_version == version

    async def test_a_change_without_a_password_leaves_the_password(self, world: World) -> None:
        wanted = await world.mailbox()
        spec = replace(wanted.spec, password_version=1)
        await world.become(replace(wanted, spec=spec, password_hash="$6$salt$hash"))
        seen = await world.become(replace(wanted, spec=replace(spec, quota_mib=1_000)))
        assert (seen.spec.quota_mib, seen.spec.password_version) == (1_000, 1)


class TestClasses:
    @pytest.mark.parametrize("service_class", ServiceClass)
    async def test_standard_folders_are_reported_by_type(self, world: World, service_class: ServiceClass) -> None:
        seen = await world.see(await world.mailbox(service_class))
        types = [each.type for each in seen.folders if each.type is not FolderType.OTHER]
        assert sorted(types) == sorted(TYPES[service_class])
        assert len({each.id for each in seen.folders}) == len(seen.folders)

    @pytest.mark.parametrize("before", ServiceClass)
    @pytest.mark.parametrize("after", ServiceClass)
    async def test_a_mailbox_changes_its_class_and_its_folders_with_it(
        self, world: World, before: ServiceClass, after: ServiceClass
    ) -> None:
        wanted = await world.mailbox(before)
        old = await world.see(wanted)
        spec = replace(wanted.spec, service_class=after, protocols=PROTOCOLS[after])
        seen = await world.become(replace(wanted, spec=spec))
        assert (seen.spec, seen.backend_id) == (spec, old.backend_id)
        assert {each.type for each in seen.folders} - {FolderType.OTHER} == TYPES[after]
        assert folder(seen, FolderType.INBOX).id == folder(old, FolderType.INBOX).id


class TestArchives:
    async def test_an_archive_is_given_and_taken_and_seen(self, world: World) -> None:
        wanted = await world.mailbox()
        before = await world.see(wanted)
        assert not before.archive
        assert await world.become(replace(wanted, archive=True)) == replace(before, archive=True)
        assert await world.become(wanted) == before

    async def test_a_mailbox_keeps_its_archive_wherever_it_goes(self, world: World) -> None:
        wanted = replace(await world.mailbox(), archive=True)
        await world.become(wanted)
        suspended = replace(wanted, spec=replace(wanted.spec, suspended=True))
        for changed in (suspended, replace(wanted, location=world.elsewhere)):
            assert (await world.become(changed)).archive
        await world.become(replace(wanted, presence=Presence.DELETED))
        assert (await world.become(wanted)).archive

    async def test_an_archive_goes_with_its_mailbox_for_good(self, world: World) -> None:
        wanted = await world.mailbox()
        await world.become(replace(wanted, archive=True))
        await converge(world.driver, replace(wanted, presence=Presence.PURGED))
        assert not (await world.become(wanted)).archive

    @pytest.mark.parametrize("service_class", [each for each in ServiceClass if AddOn.ARCHIVE not in ADD_ONS[each]])
    async def test_a_class_without_archives_is_given_none(self, world: World, service_class: ServiceClass) -> None:
        wanted = await world.mailbox(service_class)
        backend_id = (await world.see(wanted)).backend_id
        with pytest.raises(DriverError) as refusal:
            await insist(lambda: world.driver.ensure_archive(backend_id, on=True))
        assert refusal.value.permanent
        assert (await insist(lambda: world.driver.ensure_archive(backend_id, on=False))).progress is Progress.CONVERGED
        assert not (await world.see(wanted)).archive

    async def test_leaving_the_class_with_an_archive_leaves_none_behind(self, world: World) -> None:
        exchange = await world.mailbox()
        await world.become(replace(exchange, archive=True))
        imap = replace(exchange.spec, service_class=ServiceClass.IMAP, protocols=PROTOCOLS[ServiceClass.IMAP])
        assert not (await world.become(replace(exchange, spec=imap))).archive
        assert not (await world.become(exchange)).archive


class TestRepetition:
    async def test_a_finished_call_repeated_changes_nothing(self, world: World) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        seen = await world.see(wanted)
        driver, backend_id, inbox = world.driver, seen.backend_id, folder(seen, FolderType.INBOX).id
        calls = (
            lambda: driver.ensure_mailbox(wanted.mailbox_id, wanted.spec, location=world.here, password_hash=None),
            lambda: driver.ensure_folder_rights(backend_id, folder_id=inbox, grantee=grantee, mask=0x47B),
            lambda: driver.ensure_grant(backend_id, role=Role.SEND_AS, grantee=grantee),
            lambda: driver.remove_folder_rights(backend_id, folder_id=inbox, grantee=grantee),
            lambda: driver.remove_grant(backend_id, role=Role.SEND_AS, grantee=grantee),
            lambda: driver.move_mailbox(backend_id, to=world.here),
            lambda: driver.ensure_archive(backend_id, on=True),
            lambda: driver.ensure_archive(backend_id, on=False),
            lambda: driver.remove_mailbox(backend_id),
            lambda: driver.purge_mailbox(backend_id),
        )
        for call in calls:
            assert (await insist(call)).progress is Progress.CONVERGED
            once = await world.look(wanted)
            assert (await insist(call)).progress is Progress.CONVERGED
            assert await world.look(wanted) == once


class TestMoves:
    async def test_a_moved_mailbox_keeps_its_id_folders_rights_and_grants(self, world: World) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        wanted = shared(
            wanted,
            share(Scope.CALENDAR, Role.EDITOR, grantee),
            share(Scope.MAILBOX, Role.FULL_ACCESS, grantee),
        )
        before = await world.become(wanted)
        seen = await world.become(replace(wanted, location=world.elsewhere))
        assert seen == replace(before, location=world.elsewhere)
        assert await world.become(wanted) == before

    async def test_ensuring_a_mailbox_elsewhere_does_not_move_it(self, world: World) -> None:
        wanted = await world.mailbox()
        await insist(
            lambda: world.driver.ensure_mailbox(
                wanted.mailbox_id, wanted.spec, location=world.elsewhere, password_hash=None
            )
        )
        assert (await world.see(wanted)).location == world.here


class TestEndings:
    async def test_a_deleted_mailbox_comes_back_with_everything_in_it(self, world: World) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        await world.harness.client_creates_folder(wanted.spec.addresses[0], "Rechnungen")
        wanted = shared(
            wanted,
            share(*WHOLE_MAILBOX_READ, grantee),
            share(Scope.CALENDAR, Role.EDITOR, grantee),
            share(Scope.SEND_AS, Role.SEND_AS, grantee),
        )
        before = await world.become(wanted)
        gone = await world.become(replace(wanted, presence=Presence.DELETED))
        assert (gone.presence, gone.backend_id) == (Presence.DELETED, before.backend_id)
        assert await world.become(wanted) == before

    async def test_a_deleted_grantee_comes_back_with_its_rights(self, world: World) -> None:
        wanted, colleague = await world.mailbox(), await world.mailbox()
        grantee = (await world.see(colleague)).backend_id
        wanted = shared(wanted, share(Scope.CALENDAR, Role.EDITOR, grantee))
        before = await world.become(wanted)
        await world.become(replace(colleague, presence=Presence.DELETED))
        await world.become(colleague)
        assert await world.see(wanted) == before

    @pytest.mark.parametrize("deleted_first", [False, True])
    async def test_a_purged_mailbox_leaves_nothing_with_others(self, world: World, deleted_first: bool) -> None:
        wanted, leaver = await world.mailbox(), await world.mailbox()
        grantee = (await world.see(leaver)).backend_id
        clean = await world.see(wanted)
        await world.become(
            shared(
                wanted,
                share(*WHOLE_MAILBOX_READ, grantee),
                share(Scope.CALENDAR, Role.OWNER, grantee),
                share(Scope.SEND_AS, Role.SEND_AS, grantee),
                share(Scope.MAILBOX, Role.FULL_ACCESS, grantee),
            )
        )
        if deleted_first:
            await world.become(replace(leaver, presence=Presence.DELETED))
        await converge(world.driver, replace(leaver, presence=Presence.PURGED))
        assert await world.look(leaver) is None
        assert await world.see(wanted) == clean

    async def test_after_a_purge_the_same_mailbox_can_be_had_anew_and_empty(self, world: World) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        first = await world.become(shared(wanted, share(Scope.INBOX, Role.EDITOR, grantee)))
        await converge(world.driver, replace(wanted, presence=Presence.PURGED))
        second = await world.become(wanted)
        assert second.spec == first.spec
        assert second.backend_id != first.backend_id
        assert not any(each.rights for each in second.folders)

    async def test_ending_what_never_was_takes_no_step(self, world: World) -> None:
        for presence in (Presence.DELETED, Presence.PURGED):
            assert await converge(world.driver, replace(world.order(), presence=presence)) == 0
