"""Roles and masks: the published table, the widening of servers, and matching that tolerates both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.roles import (
    CALENDAR_MASKS,
    FOLDER_MASKS,
    FREE_BUSY,
    MAILBOX_ROLES,
    ROLES,
    Right,
    Role,
    comparable,
    match_role,
    parse_role,
    rights_of,
    role_mask,
    same_rights,
    widen,
)
from provisioning.terms import Access, Scope

masks = st.integers(min_value=0, max_value=0x1FFF).map(lambda mask: mask & sum(Right))

# Name, mask on a folder, mask on a calendar, in decimal as the Exchange documentation gives them.
PUBLISHED = [
    ("None", 0, 0),
    ("Owner", 2043, 8187),
    ("PublishingEditor", 1275, 7419),
    ("Editor", 1147, 7291),
    ("PublishingAuthor", 1179, 7323),
    ("Author", 1051, 7195),
    ("NonEditingAuthor", 1043, 7187),
    ("Reviewer", 1025, 7169),
    ("Contributor", 1026, 3074),
    ("AvailabilityOnly", None, 2048),
    ("LimitedDetails", None, 6144),
]


class TestMasks:
    @pytest.mark.parametrize(("name", "folder", "calendar"), PUBLISHED)
    def test_masks_are_the_published_ones(self, name: str, folder: int | None, calendar: int) -> None:
        assert FOLDER_MASKS.get(Role(name)) == folder
        assert CALENDAR_MASKS[Role(name)] == calendar

    def test_no_role_is_left_out(self) -> None:
        assert {name for name, _, _ in PUBLISHED} == set(CALENDAR_MASKS)
        assert set(Role) - set(CALENDAR_MASKS) - MAILBOX_ROLES == {Role.CUSTOM}

    def test_a_calendar_role_is_the_folder_role_with_free_and_busy(self) -> None:
        for role, mask in FOLDER_MASKS.items():
            assert CALENDAR_MASKS[role] & ~int(FREE_BUSY) == mask

    def test_rights_have_the_names_of_the_cmdlets(self) -> None:
        assert rights_of(0x7FB) == [
            "ReadItems",
            "CreateItems",
            "EditOwnedItems",
            "DeleteOwnedItems",
            "EditAllItems",
            "DeleteAllItems",
            "CreateSubfolders",
            "FolderOwner",
            "FolderContact",
            "FolderVisible",
        ]

    def test_an_availability_role_has_no_mask_outside_calendars(self) -> None:
        with pytest.raises(KeyError):
            role_mask(Role.AVAILABILITY_ONLY, calendar=False)


class TestSpellings:
    @pytest.mark.parametrize(
        ("spelling", "role"),
        [
            ("NoneditingAuthor", Role.NON_EDITING_AUTHOR),
            ("FreeBusyTimeOnly", Role.AVAILABILITY_ONLY),
            ("FreeBusyTimeAndSubjectAndLocation", Role.LIMITED_DETAILS),
        ],
    )
    def test_ews_names_are_understood_and_never_said(self, spelling: str, role: Role) -> None:
        assert parse_role(spelling) is role
        assert spelling not in set(Role)

    @pytest.mark.parametrize("role", Role)
    def test_a_cmdlet_name_is_its_own_role(self, role: Role) -> None:
        assert parse_role(str(role)) is role

    def test_any_other_name_is_refused(self) -> None:
        with pytest.raises(ValueError, match="Lektor"):
            parse_role("Lektor")


class TestWidening:
    @pytest.mark.parametrize(
        ("sent", "stored"),
        [(0x001, 0x401), (0x020, 0x028), (0x040, 0x050), (0x100, 0x700), (0x002, 0x002), (0x800, 0x800)],
    )
    def test_a_server_adds_what_a_right_implies(self, sent: int, stored: int) -> None:
        assert widen(sent) == stored

    @given(masks)
    def test_widening_only_adds_and_is_done_after_once(self, mask: int) -> None:
        assert widen(mask) & mask == mask
        assert widen(widen(mask)) == widen(mask)

    @given(masks)
    def test_a_mask_and_what_a_server_makes_of_it_are_the_same(self, mask: int) -> None:
        assert same_rights(mask, widen(mask))

    @given(masks)
    def test_what_is_compared_compares_as_itself(self, mask: int) -> None:
        assert comparable(comparable(mask)) == comparable(mask)


class TestMatching:
    @pytest.mark.parametrize("calendar", [False, True])
    def test_every_role_is_recognised_as_sent_and_as_stored(self, calendar: bool) -> None:
        for role in CALENDAR_MASKS if calendar else FOLDER_MASKS:
            mask = role_mask(role, calendar=calendar)
            assert match_role(mask, calendar=calendar) is role
            assert match_role(widen(mask), calendar=calendar) is role

    def test_a_plain_mask_on_a_calendar_is_the_role_all_the_same(self) -> None:
        for role, mask in FOLDER_MASKS.items():
            assert match_role(mask, calendar=True) is role
            assert match_role(mask | Right.AVAILABILITY_ONLY if mask else 0, calendar=True) is role

    @pytest.mark.parametrize("calendar", [False, True])
    def test_an_owner_who_is_no_contact_is_an_owner(self, calendar: bool) -> None:
        owner = role_mask(Role.OWNER, calendar=calendar)
        assert match_role(owner & ~int(Right.FOLDER_CONTACT), calendar=calendar) is Role.OWNER

    @pytest.mark.parametrize("mask", [0x200, 0x400, 0x600])
    @pytest.mark.parametrize("calendar", [False, True])
    def test_seeing_a_folder_without_more_is_none(self, mask: int, calendar: bool) -> None:
        assert match_role(mask, calendar=calendar) is Role.NONE

    @pytest.mark.parametrize("mask", [0x100, 0x700])
    @pytest.mark.parametrize("calendar", [False, True])
    def test_owning_a_folder_alone_is_not_the_role_owner(self, mask: int, calendar: bool) -> None:
        assert not same_rights(mask, role_mask(Role.OWNER, calendar=calendar))
        assert match_role(mask, calendar=calendar) is Role.CUSTOM

    @given(masks)
    def test_a_mask_is_at_most_one_role(self, mask: int) -> None:
        for known in (FOLDER_MASKS, CALENDAR_MASKS):
            assert sum(same_rights(mask, each) for each in known.values()) <= 1

    def test_one_right_more_is_a_role_of_its_own(self) -> None:
        assert match_role(FOLDER_MASKS[Role.REVIEWER] | Right.CREATE_SUBFOLDERS, calendar=False) is Role.CUSTOM


class TestWords:
    @pytest.mark.parametrize("scope", [Scope.INBOX, Scope.CALENDAR, Scope.CONTACTS, Scope.TASKS])
    def test_every_word_for_access_to_a_folder_is_a_role_there(self, scope: Scope) -> None:
        for role in ROLES[scope].values():
            mask = role_mask(role, calendar=scope is Scope.CALENDAR)
            assert match_role(mask, calendar=scope is Scope.CALENDAR) is role

    def test_availability_exists_on_calendars_only(self) -> None:
        assert [scope for scope, words in ROLES.items() if Access.AVAILABILITY in words] == [Scope.CALENDAR]

    def test_a_whole_mailbox_is_read_folder_by_folder_and_written_by_full_access(self) -> None:
        assert ROLES[Scope.MAILBOX] == {Access.READ: Role.REVIEWER, Access.READ_WRITE: Role.FULL_ACCESS}
