"""What Exchange's rights become in Dovecot and SOGo, and what theirs stand for."""

import pytest

from provisioning.cell.rights import all_rights, folder_rights, mask_of
from provisioning.planner import FolderType
from provisioning.roles import CALENDAR_MASKS, FOLDER_MASKS, Right, Role

KEPT = [each for each in FolderType if each is not FolderType.ROOT]
READS = {
    FolderType.INBOX: "read",
    FolderType.OTHER: "read",
    FolderType.CONTACTS: "ObjectViewer",
    FolderType.CALENDAR: "PublicViewer",
    FolderType.TASKS: "PublicViewer",
}


def masks(folder: FolderType) -> dict[Role, int]:
    return CALENDAR_MASKS if folder is FolderType.CALENDAR else FOLDER_MASKS


class TestRights:
    @pytest.mark.parametrize("folder", FolderType)
    def test_no_rights_become_none(self, folder: FolderType) -> None:
        assert folder_rights(0, folder) == frozenset()
        assert mask_of(frozenset(), folder) == 0

    @pytest.mark.parametrize("folder", KEPT)
    def test_a_reader_can_read_and_change_nothing(self, folder: FolderType) -> None:
        rights = folder_rights(masks(folder)[Role.REVIEWER], folder)
        assert READS[folder] in rights
        back = mask_of(rights, folder)
        assert back & Right.READ_ITEMS
        assert not back & (Right.EDIT_ALL_ITEMS | Right.DELETE_ALL_ITEMS | Right.CREATE_ITEMS)

    @pytest.mark.parametrize("folder", KEPT)
    def test_an_editor_can_read_write_and_delete(self, folder: FolderType) -> None:
        back = mask_of(folder_rights(masks(folder)[Role.EDITOR], folder), folder)
        wanted = Right.READ_ITEMS | Right.EDIT_ALL_ITEMS | Right.DELETE_ALL_ITEMS | Right.CREATE_ITEMS
        assert back & wanted == wanted

    @pytest.mark.parametrize("folder", KEPT)
    def test_no_role_is_given_more_than_it_says(self, folder: FolderType) -> None:
        """Beyond what a right brings along: an editor sees what he edits."""
        for role, mask in masks(folder).items():
            gained = mask_of(folder_rights(mask, folder), folder) & ~mask
            if mask & Right.EDIT_ALL_ITEMS:
                gained &= ~(Right.READ_ITEMS | Right.FOLDER_VISIBLE | Right.EDIT_OWNED_ITEMS)
            if mask & Right.DELETE_ALL_ITEMS:
                gained &= ~Right.DELETE_OWNED_ITEMS
            assert not gained, f"{role} on {folder}: {gained:#x}"

    @pytest.mark.parametrize("folder", KEPT)
    def test_who_may_only_see_busy_times_reads_nothing(self, folder: FolderType) -> None:
        rights = folder_rights(CALENDAR_MASKS[Role.AVAILABILITY_ONLY], folder)
        assert not mask_of(rights, folder) & Right.READ_ITEMS

    def test_only_an_owner_sees_private_appointments(self) -> None:
        private = {
            role
            for role, mask in CALENDAR_MASKS.items()
            if "PrivateModifier" in folder_rights(mask, FolderType.CALENDAR)
        }
        assert private == {Role.OWNER}

    @pytest.mark.parametrize("folder", KEPT)
    def test_full_access_is_more_than_any_role(self, folder: FolderType) -> None:
        for mask in masks(folder).values():
            more = folder_rights(mask, folder) - all_rights(folder)
            assert not {each for each in more if "Viewer" not in each}

    def test_nobody_is_ever_allowed_to_pass_rights_on(self) -> None:
        """Rights are the control plane's to give: an owner by grant deletes the folder, but shares it with no one."""
        every = folder_rights(0x1FFF, FolderType.INBOX) | all_rights(FolderType.INBOX)
        assert "admin" not in every
