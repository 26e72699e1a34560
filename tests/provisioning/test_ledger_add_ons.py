"""The ledger of add-ons follows confirmed mailboxes, counts each day once and cannot be edited."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.core.database import Database
from provisioning.ledger import AddOnPeriod, open_add_on_period, record_service
from provisioning.models import Mailbox
from provisioning.terms import AddOn, ServiceClass
from tests.factories import make_customer, make_domain, make_mailbox, make_reseller, make_tenant
from tests.provisioning.ledger_days import DAY, expected_days

MONDAY = datetime(2026, 11, 16, 9, 0, tzinfo=UTC)


async def serve(session: AsyncSession, mailbox: Mailbox, at: datetime, **options: Any) -> bool:
    return await record_service(session, mailbox, in_service=True, at=at, reason="ordered", **options)


async def give_up(session: AsyncSession, mailbox: Mailbox, at: datetime, **options: Any) -> bool:
    return await record_service(session, mailbox, in_service=False, at=at, reason="deleted", **options)


async def periods_of(session: AsyncSession, mailbox: Mailbox) -> list[AddOnPeriod]:
    query = select(AddOnPeriod).where(col(AddOnPeriod.mailbox_id) == mailbox.id)
    found = await session.scalars(query.execution_options(populate_existing=True))
    return sorted(found, key=lambda each: (each.add_on, each.starts_on, each.ends_on or date.max, each.id))


async def spans(session: AsyncSession, mailbox: Mailbox) -> list[tuple[str, int, int, int | None]]:
    """Each period as add-on, quantity and days of November."""
    return [
        (each.add_on.value, each.quantity, each.starts_on.day, None if each.ends_on is None else each.ends_on.day)
        for each in await periods_of(session, mailbox)
    ]


async def reasons(session: AsyncSession, mailbox: Mailbox) -> list[tuple[str, str | None]]:
    return [(each.start_reason, each.end_reason) for each in await periods_of(session, mailbox)]


@pytest.fixture
async def mailbox(database: Database) -> Mailbox:
    """One that has been in service since Monday, without add-ons."""
    async with database.as_system() as session:
        mailbox = await make_mailbox(session, await make_tenant(session), placed_in="de-fra-1")
        await serve(session, mailbox, MONDAY)
    return mailbox


async def held(session: AsyncSession, mailbox: Mailbox) -> Mailbox:
    return await session.get_one(Mailbox, mailbox.id)


class TestBeginnings:
    async def test_a_mailbox_ordered_with_add_ons_has_them_from_its_own_first_day(self, database: Database) -> None:
        async with database.as_system() as session:
            domain = await make_tenant(session)
            mailbox = await make_mailbox(session, domain, archive=True, extra_storage_units=3, placed_in="de-nbg-1")
            await serve(session, mailbox, MONDAY)
            archive, storage = await periods_of(session, mailbox)
            whose = {(each.reseller_id, each.customer_id, each.address, each.location) for each in (archive, storage)}
        assert whose == {(domain.reseller_id, domain.customer_id, mailbox.address, "de-nbg-1")}
        assert (archive.add_on, archive.quantity, archive.start_reason) == (AddOn.ARCHIVE, 1, "ordered")
        assert (storage.add_on, storage.quantity, storage.starts_on) == (AddOn.EXTRA_STORAGE, 3, date(2026, 11, 16))

    async def test_one_added_later_counts_from_the_day_of_its_confirmation(
        self, database: Database, mailbox: Mailbox
    ) -> None:
        async with database.as_system() as session:
            kept = await held(session, mailbox)
            kept.extra_storage_units = 2
            for later in (2, 3):  # saying it again changes nothing
                turned = await serve(session, kept, MONDAY + later * DAY)
                assert not turned
            assert await spans(session, kept) == [("extra_storage", 2, 18, None)]
            assert await reasons(session, kept) == [("added", None)]

    async def test_a_suspended_mailbox_keeps_its_add_ons(self, database: Database, mailbox: Mailbox) -> None:
        async with database.as_system() as session:
            kept = await held(session, mailbox)
            kept.archive = True
            await serve(session, kept, MONDAY)
            kept.intent = kept.intent.SUSPENDED
            await serve(session, kept, MONDAY + DAY)
            assert await spans(session, kept) == [("archive", 1, 16, None)]


class TestChanges:
    async def test_another_quantity_closes_one_period_and_opens_the_next(
        self, database: Database, mailbox: Mailbox
    ) -> None:
        async with database.as_system() as session:
            kept = await held(session, mailbox)
            for later, units in ((0, 2), (1, 5), (1, 4), (3, 1)):
                kept.extra_storage_units = units
                await serve(session, kept, MONDAY + later * DAY)
            assert await spans(session, kept) == [
                ("extra_storage", 2, 16, 17),
                ("extra_storage", 5, 17, 17),  # the day counts for the newer quantity
                ("extra_storage", 4, 17, 19),
                ("extra_storage", 1, 19, None),
            ]
            assert {end for _, end in await reasons(session, kept)} == {"quantity_changed", None}

    async def test_a_move_and_a_new_customer_are_followed(self, database: Database, mailbox: Mailbox) -> None:
        async with database.as_system() as session:
            kept = await held(session, mailbox)
            kept.archive, kept.extra_storage_units = True, 2
            await serve(session, kept, MONDAY)
            kept.placed_in = "de-nbg-1"
            await serve(session, kept, MONDAY + DAY)
            customer = await make_customer(session, await make_reseller(session), reseller_id=kept.reseller_id)
            kept.customer_id = customer.id
            await serve(session, kept, MONDAY + 2 * DAY)
            periods = await periods_of(session, kept)
        assert [(each.add_on.value, each.location, each.start_reason) for each in periods] == [
            *(("archive", "de-fra-1", "added"), ("archive", "de-nbg-1", "moved")),
            ("archive", "de-nbg-1", "customer_changed"),
            *(("extra_storage", "de-fra-1", "added"), ("extra_storage", "de-nbg-1", "moved")),
            ("extra_storage", "de-nbg-1", "customer_changed"),
        ]
        assert [each.customer_id for each in periods if each.ends_on is None] == [customer.id] * 2

    async def test_leaving_exchange_ends_the_archive_and_nothing_else(
        self, database: Database, mailbox: Mailbox
    ) -> None:
        async with database.as_system() as session:
            kept = await held(session, mailbox)
            kept.archive, kept.extra_storage_units = True, 2
            await serve(session, kept, MONDAY)
            kept.service_class = ServiceClass.IMAP
            await serve(session, kept, MONDAY + 2 * DAY)
            assert await spans(session, kept) == [("archive", 1, 16, 18), ("extra_storage", 2, 16, None)]
            assert (await reasons(session, kept))[0] == ("added", "class_changed")


class TestEndings:
    async def test_the_day_of_taking_it_away_does_not_count(self, database: Database, mailbox: Mailbox) -> None:
        async with database.as_system() as session:
            kept = await held(session, mailbox)
            kept.archive = True
            await serve(session, kept, MONDAY)
            kept.archive = False
            await serve(session, kept, MONDAY + DAY)
            assert await spans(session, kept) == [("archive", 1, 16, 17)]
            assert await reasons(session, kept) == [("added", "removed")]

    async def test_one_that_came_and_went_on_one_day_counts_one_day(self, database: Database, mailbox: Mailbox) -> None:
        async with database.as_system() as session:
            kept = await held(session, mailbox)
            for archive in (True, False, True, False):
                kept.archive = archive
                await serve(session, kept, MONDAY)
            assert await spans(session, kept) == [("archive", 1, 16, 17), ("archive", 1, 17, 17)]

    async def test_waiting_for_the_backend_is_not_billed(self, database: Database, mailbox: Mailbox) -> None:
        async with database.as_system() as session:
            kept = await held(session, mailbox)
            kept.archive, kept.extra_storage_units = True, 1
            await serve(session, kept, MONDAY)
            kept.archive, kept.extra_storage_units = False, 0
            asked = {AddOn.ARCHIVE: MONDAY + DAY}
            await serve(session, kept, MONDAY + 3 * DAY, add_ons_given_up_at=asked)
            assert await spans(session, kept) == [("archive", 1, 16, 17), ("extra_storage", 1, 16, 19)]

    async def test_days_of_a_month_that_is_over_stay_as_they_were(self, database: Database, mailbox: Mailbox) -> None:
        async with database.as_system() as session:
            kept = await held(session, mailbox)
            kept.archive = True
            await serve(session, kept, MONDAY)
            kept.archive = False
            asked = {AddOn.ARCHIVE: MONDAY + DAY}
            await serve(session, kept, datetime(2026, 12, 2, 9, tzinfo=UTC), add_ons_given_up_at=asked)
            [period] = await periods_of(session, kept)
        assert period.ends_on == date(2026, 12, 1)

    async def test_a_mailbox_that_leaves_service_takes_its_add_ons_along_and_brings_them_back(
        self, database: Database, mailbox: Mailbox
    ) -> None:
        async with database.as_system() as session:
            kept = await held(session, mailbox)
            kept.archive, kept.extra_storage_units = True, 2
            await serve(session, kept, MONDAY)
            await give_up(session, kept, MONDAY + 3 * DAY, given_up_at=MONDAY + 2 * DAY)
            await record_service(session, kept, in_service=True, at=MONDAY + 5 * DAY, reason="restored")
            assert await spans(session, kept) == [
                *(("archive", 1, 16, 18), ("archive", 1, 21, None)),
                *(("extra_storage", 2, 16, 18), ("extra_storage", 2, 21, None)),
            ]
            assert await reasons(session, kept) == [("added", "deleted"), ("restored", None)] * 2


class TestAppendOnly:
    @pytest.fixture
    async def served(self, database: Database, mailbox: Mailbox) -> Mailbox:
        async with database.as_system() as session:
            kept = await held(session, mailbox)
            for later, units in ((0, 1), (1, 0), (5, 2)):
                kept.extra_storage_units = units
                await serve(session, kept, MONDAY + later * DAY)
        return mailbox

    @pytest.mark.parametrize(
        "edit",
        [
            "delete from add_on_period where mailbox_id = :id",
            "update add_on_period set ends_on = '2026-11-30' where mailbox_id = :id and ends_on is not null",
            "update add_on_period set ends_on = null where mailbox_id = :id and ends_on is not null",
            "update add_on_period set end_reason = 'other' where mailbox_id = :id and ends_on is not null",
            "update add_on_period set quantity = 1 where mailbox_id = :id and ends_on is null",
            "update add_on_period set add_on = 'archive' where mailbox_id = :id and ends_on is null",
            "update add_on_period set ends_on = '2026-11-30' where mailbox_id = :id and ends_on is null",
            "truncate add_on_period",
        ],
    )
    async def test_what_was_served_cannot_be_edited(self, database: Database, served: Mailbox, edit: str) -> None:
        with pytest.raises(IntegrityError, match="append-only"):
            await as_owner_of_the_table(database, edit, {"id": served.id} if ":id" in edit else {})

    async def test_two_open_periods_of_one_add_on_cannot_be(self, database: Database, served: Mailbox) -> None:
        with pytest.raises(IntegrityError):
            await open_anew(database, served, on=date(2026, 12, 1))

    async def test_two_periods_of_one_add_on_never_share_a_day(self, database: Database, served: Mailbox) -> None:
        with pytest.raises(IntegrityError, match="ex_add_on_period_overlap"):
            await copy_ended(database, served)


async def as_owner_of_the_table(database: Database, edit: str, values: dict[str, str]) -> None:
    async with database.transaction() as session:
        # Row-level security would show it nothing, and this test is about the trigger behind it.
        await session.execute(text("alter table add_on_period no force row level security"))
        await session.execute(text(edit), values)


async def open_anew(database: Database, mailbox: Mailbox, *, on: date) -> None:
    async with database.as_system() as session:
        await open_add_on_period(session, mailbox, AddOn.EXTRA_STORAGE, quantity=1, on=on, reason="added")


_COPY = text(
    'insert into add_on_period select (jsonb_populate_record(a, \'{"id": "aop_copy"}\')).* from add_on_period a '
    "where mailbox_id = :id and ends_on is not null"
)


async def copy_ended(database: Database, mailbox: Mailbox) -> None:
    async with database.as_system() as session:
        await session.execute(_COPY, {"id": mailbox.id})


@dataclass(frozen=True)
class Event:
    """`what` is "serve", "stop", or what becomes of an attribute, by its number."""

    days_later: int
    what: str
    number: int = 0


ATTRIBUTES = ("archive", "extra_storage_units", "service_class", "customer_id", "placed_in")

events = st.lists(
    st.one_of(
        st.builds(Event, st.integers(0, 2), st.sampled_from(["serve", "serve", "stop"])),
        st.builds(Event, st.integers(0, 2), st.sampled_from(ATTRIBUTES), st.integers(0, 2)),
    ),
    max_size=16,
)

History = list[tuple[date, bool, tuple[int, str, str]]]


class TestAnySequence:
    @settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(happened=events)
    async def test_each_day_is_counted_once_and_as_the_rules_say(
        self, database: Database, happened: list[Event]
    ) -> None:
        async with database.as_system() as session:
            reseller = await make_reseller(session)
            customers = [await make_customer(session, reseller) for _ in range(2)]
            mailbox = await make_mailbox(session, await make_domain(session, customers[0]), placed_in="de-fra-1")
            choices: dict[str, tuple[Any, ...]] = {
                "archive": (False, True, True),
                "extra_storage_units": (0, 1, 2),
                "service_class": (ServiceClass.IMAP, ServiceClass.EXCHANGE, ServiceClass.EXCHANGE),
                "customer_id": (customers[0].id, customers[1].id, customers[1].id),
                "placed_in": ("de-fra-1", "de-nbg-1", "fi-hel-1"),
            }
            at, in_service = MONDAY, False
            histories: dict[AddOn, History] = {add_on: [] for add_on in AddOn}
            for event in happened:
                at += event.days_later * DAY
                if event.what in choices:
                    setattr(mailbox, event.what, choices[event.what][event.number])
                else:
                    in_service = event.what == "serve"
                for _ in range(2):
                    await record_service(session, mailbox, in_service=in_service, at=at, reason=event.what)
                for add_on, history in histories.items():
                    quantity = mailbox.add_ons.get(add_on, 0)
                    key = (quantity, mailbox.customer_id, mailbox.placed_in or "")
                    history.append((at.date(), in_service and quantity > 0, key))
            periods = await periods_of(session, mailbox)
        for add_on, history in histories.items():
            mine = [each for each in periods if each.add_on is add_on]
            counted = [day for period in mine for day in days_of(period, until=at.date())]
            assert len(counted) == len({day for day, _ in counted})
            assert dict(counted) == expected_days(history, until=at.date())


def days_of(period: AddOnPeriod, *, until: date) -> Iterator[tuple[date, tuple[int, str, str]]]:
    """Each day of the period up to and with `until`, or to its end where that is later."""
    day = period.starts_on
    while day < (period.ends_on or until + DAY):
        yield day, (period.quantity, period.customer_id, period.location)
        day += DAY
