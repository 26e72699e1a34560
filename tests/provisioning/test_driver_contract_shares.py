"""What every driver promises of shares, whatever is behind it; a new one joins by one line in HARNESSES."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from provisioning.core.database import Database
from provisioning.drivers.base import DriverError
from provisioning.planner import FolderType
from provisioning.roles import CALENDAR_MASKS, FOLDER_MASKS, Right, Role, match_role, role_mask, same_rights
from provisioning.terms import PROTOCOLS, Scope, ServiceClass
from tests.provisioning.driver_harness import (
    HARNESSES,
    WHOLE_MAILBOX_READ,
    OpenHarness,
    World,
    folder,
    insist,
    mask_of,
    share,
    shared,
)

FOLDER_OF = {
    Scope.INBOX: FolderType.INBOX,
    Scope.CALENDAR: FolderType.CALENDAR,
    Scope.CONTACTS: FolderType.CONTACTS,
    Scope.TASKS: FolderType.TASKS,
}
GRANTS = (
    (Scope.MAILBOX, Role.FULL_ACCESS),
    (Scope.SEND_AS, Role.SEND_AS),
    (Scope.SEND_ON_BEHALF, Role.SEND_ON_BEHALF),
)


@pytest.fixture(params=HARNESSES, ids=lambda harness: harness.__name__)
async def world(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[World]:
    open_harness: OpenHarness = request.param
    async with open_harness(database) as harness:
        yield World(harness)


class TestShares:
    @pytest.mark.parametrize("scope", FOLDER_OF)
    async def test_every_role_on_a_folder_reads_back_as_itself(self, world: World, scope: Scope) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        calendar = scope is Scope.CALENDAR
        for role in CALENDAR_MASKS if calendar else FOLDER_MASKS:
            seen = await world.become(shared(wanted, share(scope, role, grantee)))
            for each in seen.folders:
                expected = role if each.type is FOLDER_OF[scope] else Role.NONE
                assert match_role(dict(each.rights).get(grantee, 0), calendar=calendar) is expected
            assert seen.grants == frozenset()

    @pytest.mark.parametrize(("scope", "role"), GRANTS)
    async def test_every_grant_reads_back_as_itself_and_as_no_other(
        self, world: World, scope: Scope, role: Role
    ) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        seen = await world.become(shared(wanted, share(scope, role, grantee)))
        assert seen.grants == {(role, grantee)}
        assert not any(mask for each in seen.folders for _, mask in each.rights)

    async def test_reading_a_whole_mailbox_is_a_right_on_every_folder(self, world: World) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        seen = await world.become(shared(wanted, share(*WHOLE_MAILBOX_READ, grantee)))
        assert {match_role(dict(each.rights)[grantee], calendar=False) for each in seen.folders} == {Role.REVIEWER}

    async def test_reading_a_whole_mailbox_covers_a_folder_made_later(self, world: World) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        wanted = shared(wanted, share(*WHOLE_MAILBOX_READ, grantee))
        before = await world.become(wanted)
        await world.harness.client_creates_folder(wanted.spec.addresses[0], "Rechnungen")
        seen = await world.become(wanted)
        assert len(seen.folders) == len(before.folders) + 1
        assert all(same_rights(dict(each.rights)[grantee], 0x401) for each in seen.folders)

    async def test_reading_a_whole_mailbox_covers_a_folder_made_before(self, world: World) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        await world.harness.client_creates_folder(wanted.spec.addresses[0], "Rechnungen")
        seen = await world.become(shared(wanted, share(*WHOLE_MAILBOX_READ, grantee)))
        assert all(same_rights(dict(each.rights)[grantee], 0x401) for each in seen.folders)

    async def test_a_folder_share_and_a_whole_mailbox_share_add_up_and_part_again(self, world: World) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        whole, calendar = share(*WHOLE_MAILBOX_READ, grantee), share(Scope.CALENDAR, Role.EDITOR, grantee)
        for shares, in_calendar, in_inbox in (
            ({whole, calendar}, Role.EDITOR, Role.REVIEWER),
            ({whole}, Role.REVIEWER, Role.REVIEWER),
            ({whole, calendar}, Role.EDITOR, Role.REVIEWER),
            ({calendar}, Role.EDITOR, Role.NONE),
            (set(), Role.NONE, Role.NONE),
        ):
            seen = await world.become(shared(wanted, *shares))
            assert match_role(mask_of(seen, FolderType.CALENDAR, grantee), calendar=True) is in_calendar
            assert match_role(mask_of(seen, FolderType.INBOX, grantee), calendar=False) is in_inbox

    async def test_what_one_grantee_has_is_nothing_to_another(self, world: World) -> None:
        wanted = await world.mailbox()
        anna, bert = await world.grantee(), await world.grantee()
        both = shared(
            wanted,
            share(Scope.CALENDAR, Role.REVIEWER, anna),
            share(Scope.CALENDAR, Role.OWNER, bert),
            share(Scope.SEND_AS, Role.SEND_AS, anna),
            share(Scope.SEND_ON_BEHALF, Role.SEND_ON_BEHALF, bert),
            share(Scope.MAILBOX, Role.FULL_ACCESS, bert),
        )
        seen = await world.become(both)
        assert match_role(mask_of(seen, FolderType.CALENDAR, anna), calendar=True) is Role.REVIEWER
        assert match_role(mask_of(seen, FolderType.CALENDAR, bert), calendar=True) is Role.OWNER
        assert seen.grants == {(Role.SEND_AS, anna), (Role.SEND_ON_BEHALF, bert), (Role.FULL_ACCESS, bert)}
        without_bert = frozenset(each for each in both.shares if each.grantee == anna)
        seen = await world.become(replace(both, shares=without_bert))
        assert mask_of(seen, FolderType.CALENDAR, bert) == 0
        assert match_role(mask_of(seen, FolderType.CALENDAR, anna), calendar=True) is Role.REVIEWER
        assert seen.grants == {(Role.SEND_AS, anna)}

    async def test_sending_as_can_become_sending_on_behalf(self, world: World) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        await world.become(shared(wanted, share(Scope.SEND_AS, Role.SEND_AS, grantee)))
        seen = await world.become(shared(wanted, share(Scope.SEND_ON_BEHALF, Role.SEND_ON_BEHALF, grantee)))
        assert seen.grants == {(Role.SEND_ON_BEHALF, grantee)}

    @pytest.mark.parametrize(
        "mask",
        [Right.READ_ITEMS, Right.EDIT_ALL_ITEMS, Right.DELETE_ALL_ITEMS, Right.FOLDER_OWNER],
        ids=lambda mask: mask.name,
    )
    async def test_rights_that_a_server_widens_read_back_as_the_same(self, world: World, mask: Right) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        inbox = folder(await world.see(wanted), FolderType.INBOX)
        backend_id = (await world.see(wanted)).backend_id
        await insist(
            lambda: world.driver.ensure_folder_rights(backend_id, folder_id=inbox.id, grantee=grantee, mask=mask)
        )
        assert same_rights(mask_of(await world.see(wanted), FolderType.INBOX, grantee), mask)

    async def test_setting_rights_replaces_them(self, world: World) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        for role in (Role.OWNER, Role.REVIEWER, Role.CONTRIBUTOR):
            seen = await world.see(wanted)
            await insist(
                lambda seen=seen, role=role: world.driver.ensure_folder_rights(  # type: ignore[misc]  # bound per turn
                    seen.backend_id,
                    folder_id=folder(seen, FolderType.TASKS).id,
                    grantee=grantee,
                    mask=role_mask(role, calendar=False),
                )
            )
            seen = await world.see(wanted)
            assert match_role(mask_of(seen, FolderType.TASKS, grantee), calendar=False) is role

    async def test_an_unknown_grantee_is_refused_for_good(self, world: World) -> None:
        seen = await world.see(await world.mailbox())
        nobody = "00000000-0000-4000-8000-000000000000"
        with pytest.raises(DriverError) as on_folder:
            await insist(
                lambda: world.driver.ensure_folder_rights(
                    seen.backend_id,
                    folder_id=folder(seen, FolderType.INBOX).id,
                    grantee=nobody,
                    mask=0x401,
                )
            )
        assert on_folder.value.permanent
        for role in (Role.FULL_ACCESS, Role.SEND_AS, Role.SEND_ON_BEHALF):
            with pytest.raises(DriverError) as on_mailbox:
                await insist(
                    lambda role=role: world.driver.ensure_grant(seen.backend_id, role=role, grantee=nobody)  # type: ignore[misc]  # bound per turn
                )
            assert on_mailbox.value.permanent

    async def test_a_whole_mailbox_share_reaches_the_folders_of_a_greater_class(self, world: World) -> None:
        wanted, grantee = await world.mailbox(ServiceClass.IMAP), await world.grantee()
        wanted = shared(wanted, share(*WHOLE_MAILBOX_READ, grantee))
        await world.become(wanted)
        spec = replace(wanted.spec, service_class=ServiceClass.EXCHANGE, protocols=PROTOCOLS[ServiceClass.EXCHANGE])
        seen = await world.become(replace(wanted, spec=spec))
        assert match_role(mask_of(seen, FolderType.CALENDAR, grantee), calendar=True) is Role.REVIEWER

    async def test_a_share_and_a_lesser_class_ordered_together_both_come_true(self, world: World) -> None:
        wanted, grantee = await world.mailbox(), await world.grantee()
        spec = replace(wanted.spec, service_class=ServiceClass.IMAP, protocols=PROTOCOLS[ServiceClass.IMAP])
        seen = await world.become(shared(replace(wanted, spec=spec), share(*WHOLE_MAILBOX_READ, grantee)))
        assert all(dict(each.rights)[grantee] for each in seen.folders)
