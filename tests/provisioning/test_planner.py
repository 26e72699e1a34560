"""The plan: applied to any state it reaches the intent, and then there is nothing left to do."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    wanted_grants,
    wanted_rights,
)
from provisioning.roles import (
    CALENDAR_MASKS,
    FOLDER_MASKS,
    MAILBOX_ROLES,
    Right,
    Role,
    match_role,
    same_rights,
    widen,
)
from provisioning.terms import ADD_ONS, PROTOCOLS, SCOPES, AddOn, MailboxKind, Scope, ServiceClass

GRANTEES = ("guid-anna", "guid-bert", "guid-carla")
LOCATIONS = ("de-fra-1", "de-nbg-1")
FOLDERS = {
    ServiceClass.POP3: (FolderType.ROOT, FolderType.INBOX),
    ServiceClass.IMAP: (FolderType.ROOT, FolderType.INBOX, FolderType.OTHER),
    ServiceClass.EXCHANGE: tuple(FolderType),
}
SPEC = MailboxSpec(
    kind=MailboxKind.USER,
    service_class=ServiceClass.EXCHANGE,
    display_name="Käthe Müller",
    quota_mib=50_000,
    protocols=PROTOCOLS[ServiceClass.EXCHANGE],
    addresses=("kaethe@muster.example",),
)
WANTED = Wanted("mbx_1", Presence.PRESENT, "de-fra-1", SPEC)
SEEN = Seen(
    "guid-1",
    Presence.PRESENT,
    "de-fra-1",
    SPEC,
    tuple(Folder(f"folder-{type_}", type_) for type_ in FolderType),
)


def spec_strategy(service_class: ServiceClass) -> st.SearchStrategy[MailboxSpec]:
    return st.builds(
        MailboxSpec,
        kind=st.sampled_from(MailboxKind),
        service_class=st.just(service_class),
        display_name=st.sampled_from(["Käthe", "Bert"]),
        quota_mib=st.integers(1, 3),
        protocols=st.frozensets(st.sampled_from(sorted(PROTOCOLS[service_class]))),
        addresses=st.sampled_from([("a@x.example",), ("a@x.example", "b@x.example"), ("b@x.example",)]),
        suspended=st.booleans(),
        password_version=st.integers(0, 2),
    )


def share_strategy(service_class: ServiceClass) -> st.SearchStrategy[SharedTo]:
    """A share as the service would accept it for this class."""
    roles = {
        Scope.MAILBOX: [Role.REVIEWER, Role.FULL_ACCESS],
        Scope.CALENDAR: list(CALENDAR_MASKS),
        Scope.SEND_AS: [Role.SEND_AS],
        Scope.SEND_ON_BEHALF: [Role.SEND_ON_BEHALF],
    }
    return st.sampled_from(sorted(SCOPES[service_class])).flatmap(
        lambda scope: st.builds(
            SharedTo,
            scope=st.just(scope),
            role=st.sampled_from(roles.get(scope, list(FOLDER_MASKS))),
            grantee=st.sampled_from(GRANTEES),
        )
    )


@st.composite
def intents(draw: st.DrawFn) -> Wanted:
    service_class = draw(st.sampled_from(ServiceClass))
    return Wanted(
        "mbx_1",
        draw(st.sampled_from([Presence.PRESENT] * 4 + [Presence.DELETED, Presence.PURGED])),
        draw(st.sampled_from(LOCATIONS)),
        draw(spec_strategy(service_class)),
        draw(st.frozensets(share_strategy(service_class), max_size=8)),
        AddOn.ARCHIVE in ADD_ONS[service_class] and draw(st.booleans()),
        draw(st.none() | st.just("$6$salt$hash")),
    )


@st.composite
def sights(draw: st.DrawFn) -> Seen:
    service_class = draw(st.sampled_from(ServiceClass))
    entries = st.dictionaries(st.sampled_from(GRANTEES), st.integers(0, 0x1FFF)).map(
        lambda rights: tuple(sorted((grantee, widen(mask & sum(Right))) for grantee, mask in rights.items()))
    )
    return Seen(
        "guid-1",
        draw(st.sampled_from([Presence.PRESENT, Presence.DELETED])),
        draw(st.sampled_from(LOCATIONS)),
        draw(spec_strategy(service_class)),
        tuple(Folder(f"folder-{type_}", type_, draw(entries)) for type_ in FOLDERS[service_class]),
        draw(st.frozensets(st.tuples(st.sampled_from(sorted(MAILBOX_ROLES)), st.sampled_from(GRANTEES)))),
        draw(st.booleans()),
    )


def after(step: Step, wanted: Wanted, seen: Seen | None) -> Seen | None:
    """A backend in one function: it widens rights, and its folders depend on the class."""
    if isinstance(step, EnsureMailbox):
        return ensured(wanted, seen)
    assert seen is not None
    match step:
        case PurgeMailbox():
            return None
        case RemoveMailbox():
            return replace(seen, presence=Presence.DELETED)
        case MoveMailbox(to=to):
            return replace(seen, location=to)
        case EnsureArchive(on=on):
            assert seen.presence is Presence.PRESENT, "there is nothing that could have an archive"
            assert not on or AddOn.ARCHIVE in ADD_ONS[seen.spec.service_class], "the class has no archive"
            return replace(seen, archive=on)
        case _:
            return permitted(step, seen)


def permitted(step: EnsureGrant | RemoveGrant | EnsureFolderRights | RemoveFolderRights, seen: Seen) -> Seen:
    match step:
        case EnsureGrant(role=role, grantee=grantee):
            return replace(seen, grants=seen.grants | {(role, grantee)})
        case RemoveGrant(role=role, grantee=grantee):
            return replace(seen, grants=seen.grants - {(role, grantee)})
        case EnsureFolderRights(folder_id=folder_id, grantee=grantee, mask=mask):
            assert folder_id in {folder.id for folder in seen.folders}, "the class has no such folder"
            return with_rights(seen, folder_id, grantee, widen(mask))
        case RemoveFolderRights(folder_id=folder_id, grantee=grantee):
            return with_rights(seen, folder_id, grantee, None)


def ensured(wanted: Wanted, seen: Seen | None) -> Seen:
    if seen is None:
        seen = replace(SEEN, location=wanted.location, folders=(), spec=replace(SPEC, password_version=0))
    version = wanted.spec.password_version if wanted.password_hash else seen.spec.password_version
    had = {folder.type: folder for folder in seen.folders}
    return replace(
        seen,
        presence=Presence.PRESENT,
        spec=replace(wanted.spec, password_version=version),
        folders=tuple(had.get(type_, Folder(f"folder-{type_}", type_)) for type_ in FOLDERS[wanted.spec.service_class]),
    )


def with_rights(seen: Seen, folder_id: str, grantee: str, mask: int | None) -> Seen:
    folders = []
    for folder in seen.folders:
        rights = dict(folder.rights)
        if folder.id == folder_id:
            rights.pop(grantee, None)
            if mask is not None:
                rights[grantee] = mask
        folders.append(replace(folder, rights=tuple(sorted(rights.items()))))
    return replace(seen, folders=tuple(folders))


def apply_all(wanted: Wanted, seen: Seen | None) -> Seen | None:
    for step in plan(wanted, seen):
        seen = after(step, wanted, seen)
    return seen


class TestReachingTheIntent:
    @given(intents(), st.none() | sights())
    def test_three_passes_reach_any_intent_from_anywhere(self, wanted: Wanted, seen: Seen | None) -> None:
        for _ in range(3):  # it is there; its folders are known; everything is right
            seen = apply_all(wanted, seen)
        assert plan(wanted, seen) == []
        if wanted.presence is Presence.PURGED:
            assert seen is None
        elif wanted.presence is Presence.DELETED:
            assert seen is None or seen.presence is Presence.DELETED
        else:
            assert seen is not None
            assert_is_as_wanted(wanted, seen)

    @given(intents(), sights())
    def test_one_pass_is_enough_for_a_mailbox_of_the_right_class(self, wanted: Wanted, seen: Seen) -> None:
        if seen.spec.service_class is wanted.spec.service_class:
            assert plan(wanted, apply_all(wanted, seen)) == []

    @given(intents(), st.none() | sights())
    def test_the_same_question_has_the_same_answer(self, wanted: Wanted, seen: Seen | None) -> None:
        shuffled = replace(wanted, shares=frozenset(sorted(wanted.shares, key=repr, reverse=True)))
        assert plan(wanted, seen) == plan(shuffled, seen)

    @given(intents(), sights())
    def test_no_step_is_planned_twice(self, wanted: Wanted, seen: Seen) -> None:
        steps = plan(wanted, seen)
        assert len(steps) == len(set(steps))

    @given(intents(), sights())
    def test_what_is_taken_is_taken_before_anything_is_given(self, wanted: Wanted, seen: Seen) -> None:
        kinds = [type(step) for step in plan(wanted, seen) if isinstance(step, EnsureGrant | RemoveGrant)]
        assert kinds == sorted(kinds, key=lambda kind: kind is EnsureGrant)

    @given(intents(), sights())
    def test_a_plan_says_in_words_what_it_does(self, wanted: Wanted, seen: Seen) -> None:
        assert all(str(step) and "object at" not in str(step) for step in plan(wanted, seen))


def assert_is_as_wanted(wanted: Wanted, seen: Seen) -> None:
    assert (seen.presence, seen.location) == (Presence.PRESENT, wanted.location)
    assert replace(seen.spec, password_version=0) == replace(wanted.spec, password_version=0)
    if wanted.password_hash is not None:
        assert seen.spec.password_version == wanted.spec.password_version
    assert seen.archive == wanted.archive
    assert seen.grants == wanted_grants(wanted)
    for folder in seen.folders:
        want, have = wanted_rights(wanted, folder), dict(folder.rights)
        for grantee in GRANTEES:
            assert same_rights(want.get(grantee, 0), have.get(grantee, 0))


class TestMailboxSteps:
    def test_a_new_mailbox_is_created_before_its_shares_are_planned(self) -> None:
        wanted = replace(WANTED, shares=frozenset({SharedTo(Scope.CALENDAR, Role.EDITOR, "guid-anna")}))
        assert plan(wanted, None) == [EnsureMailbox(("created",))]

    def test_a_deleted_mailbox_is_restored(self) -> None:
        assert plan(WANTED, replace(SEEN, presence=Presence.DELETED)) == [EnsureMailbox(("restored",))]

    def test_only_what_differs_is_named(self) -> None:
        seen = replace(SEEN, spec=replace(SPEC, quota_mib=1, suspended=True))
        assert plan(WANTED, seen) == [EnsureMailbox(("quota_mib", "suspended"))]

    def test_the_order_of_addresses_counts(self) -> None:
        one, other = ("a@x.example", "b@x.example"), ("b@x.example", "a@x.example")
        wanted = replace(WANTED, spec=replace(SPEC, addresses=one))
        assert plan(wanted, replace(SEEN, spec=replace(SPEC, addresses=other))) == [EnsureMailbox(("addresses",))]

    def test_a_password_version_counts_only_when_there_is_a_password(self) -> None:
        wanted = replace(WANTED, spec=replace(SPEC, password_version=2))
        assert plan(wanted, SEEN) == []
        assert plan(replace(wanted, password_hash="$6$salt$hash"), SEEN) == [EnsureMailbox(("password",))]

    def test_a_password_hash_is_in_no_text(self) -> None:
        assert "salt" not in repr(replace(WANTED, password_hash="$6$salt$hash"))

    @pytest.mark.parametrize(
        ("presence", "seen", "steps"),
        [
            (Presence.DELETED, None, []),
            (Presence.DELETED, SEEN, [RemoveMailbox()]),
            (Presence.DELETED, replace(SEEN, presence=Presence.DELETED), []),
            (Presence.PURGED, None, []),
            (Presence.PURGED, SEEN, [PurgeMailbox()]),
            (Presence.PURGED, replace(SEEN, presence=Presence.DELETED), [PurgeMailbox()]),
        ],
    )
    def test_a_mailbox_ends_as_wanted_whatever_else_differs(
        self, presence: Presence, seen: Seen | None, steps: list[Step]
    ) -> None:
        wanted = replace(WANTED, presence=presence, location="de-nbg-1", spec=replace(SPEC, quota_mib=1))
        assert plan(wanted, seen) == steps


class TestArchiveSteps:
    @given(intents(), sights())
    def test_there_is_one_step_for_an_archive_exactly_when_it_differs(self, wanted: Wanted, seen: Seen) -> None:
        steps = [step for step in plan(wanted, seen) if isinstance(step, EnsureArchive)]
        differs = wanted.presence is Presence.PRESENT and wanted.archive != seen.archive
        assert steps == [EnsureArchive(wanted.archive)] * differs

    def test_an_archive_is_given_once_the_mailbox_is_there_and_of_its_class(self) -> None:
        wanted = replace(WANTED, archive=True)
        assert plan(wanted, None) == [EnsureMailbox(("created",))]
        imap = replace(SPEC, service_class=ServiceClass.IMAP)
        steps = plan(wanted, replace(SEEN, spec=imap, presence=Presence.DELETED))
        assert steps == [EnsureMailbox(("restored", "service_class")), EnsureArchive(on=True)]


class TestShareSteps:
    def test_a_whole_mailbox_and_a_folder_share_of_one_grantee_add_up(self) -> None:
        shares = {
            SharedTo(Scope.MAILBOX, Role.REVIEWER, "guid-anna"),
            SharedTo(Scope.CALENDAR, Role.CONTRIBUTOR, "guid-anna"),
        }
        wanted = replace(WANTED, shares=frozenset(shares))
        for folder in SEEN.folders:
            mask = wanted_rights(wanted, folder)["guid-anna"]
            if folder.type is FolderType.CALENDAR:
                assert mask == CALENDAR_MASKS[Role.REVIEWER] | CALENDAR_MASKS[Role.CONTRIBUTOR]
            else:
                assert match_role(mask, calendar=False) is Role.REVIEWER

    def test_reading_a_whole_mailbox_is_one_step_for_each_folder(self) -> None:
        wanted = replace(WANTED, shares=frozenset({SharedTo(Scope.MAILBOX, Role.REVIEWER, "guid-anna")}))
        steps = plan(wanted, SEEN)
        assert [type(step) for step in steps] == [EnsureFolderRights] * len(FolderType)

    def test_full_access_touches_no_folder(self) -> None:
        wanted = replace(WANTED, shares=frozenset({SharedTo(Scope.MAILBOX, Role.FULL_ACCESS, "guid-anna")}))
        assert plan(wanted, SEEN) == [EnsureGrant(Role.FULL_ACCESS, "guid-anna")]

    def test_what_a_server_widened_is_no_drift(self) -> None:
        wanted = replace(WANTED, shares=frozenset({SharedTo(Scope.CALENDAR, Role.EDITOR, "guid-anna")}))
        for mask in (0x47B, 0x1C7B, 0x1C7B | Right.FOLDER_CONTACT):
            seen = with_rights(SEEN, "folder-calendar", "guid-anna", int(mask))
            assert plan(wanted, seen) == []

    def test_an_entry_that_allows_nothing_is_left_alone(self) -> None:
        assert plan(WANTED, with_rights(SEEN, "folder-inbox", "guid-anna", 0x400)) == []

    def test_rights_nobody_ordered_are_removed(self) -> None:
        seen = with_rights(SEEN, "folder-inbox", "guid-anna", 0x401)
        assert plan(WANTED, seen) == [RemoveFolderRights("folder-inbox", FolderType.INBOX, "guid-anna")]

    def test_with_a_change_of_class_rights_are_taken_at_once_and_given_later(self) -> None:
        imap = replace(SPEC, service_class=ServiceClass.IMAP, protocols=PROTOCOLS[ServiceClass.IMAP])
        shares = frozenset({SharedTo(Scope.MAILBOX, Role.REVIEWER, "guid-anna")})
        seen = with_rights(SEEN, "folder-inbox", "guid-bert", 0x401)
        assert plan(replace(WANTED, spec=imap, shares=shares), seen) == [
            EnsureMailbox(("service_class", "protocols")),
            RemoveFolderRights("folder-inbox", FolderType.INBOX, "guid-bert"),
        ]
