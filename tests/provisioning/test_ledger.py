"""The ledger follows confirmed mailboxes, counts each day once and cannot be edited."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from provisioning.core.clock import berlin_day
from provisioning.core.database import Database
from provisioning.ledger import Reason, ServicePeriod, open_period, record_service
from provisioning.models import Mailbox
from provisioning.tenants import Customer
from provisioning.terms import ServiceClass
from tests.factories import make_customer, make_domain, make_mailbox, make_reseller, make_tenant
from tests.provisioning.ledger_days import DAY, expected_days

MONDAY = datetime(2026, 11, 16, 9, 0, tzinfo=UTC)


async def serve(session: AsyncSession, mailbox: Mailbox, at: datetime, reason: str = "ordered") -> bool:
    return await record_service(session, mailbox, in_service=True, at=at, reason=reason)


async def give_up(session: AsyncSession, mailbox: Mailbox, at: datetime, **options: Any) -> bool:
    return await record_service(session, mailbox, in_service=False, at=at, reason="deleted", **options)


async def periods_of(session: AsyncSession, mailbox: Mailbox) -> list[ServicePeriod]:
    query = select(ServicePeriod).where(col(ServicePeriod.mailbox_id) == mailbox.id)
    found = await session.scalars(query.execution_options(populate_existing=True))
    # The order in which they were opened; empty ones of one day share their first day.
    return sorted(found, key=lambda period: (period.starts_on, period.ends_on or date.max, period.id))


async def spans(session: AsyncSession, mailbox: Mailbox) -> list[tuple[int, int | None, str]]:
    """Each period as days of November with its class."""
    return [
        (
            period.starts_on.day,
            None if period.ends_on is None else period.ends_on.day,
            period.service_class.value,
        )
        for period in await periods_of(session, mailbox)
    ]


class TestBerlinDay:
    def test_late_evening_in_utc_is_the_next_day_in_germany(self) -> None:
        assert berlin_day(datetime(2026, 11, 16, 22, 59, tzinfo=UTC)) == date(2026, 11, 16)
        assert berlin_day(datetime(2026, 11, 16, 23, 0, tzinfo=UTC)) == date(2026, 11, 17)

    def test_summer_time_moves_the_border_by_an_hour(self) -> None:
        assert berlin_day(datetime(2026, 7, 1, 22, 0, tzinfo=UTC)) == date(2026, 7, 2)


class TestRecordService:
    async def test_service_begins_on_the_german_day_of_the_confirmation(self, database: Database) -> None:
        async with database.as_system() as session:
            mailbox = await make_mailbox(session, await make_tenant(session))
            began = await serve(session, mailbox, datetime(2026, 11, 16, 23, 30, tzinfo=UTC))
            [period] = await periods_of(session, mailbox)
        assert began
        assert (period.starts_on, period.ends_on) == (date(2026, 11, 17), None)
        assert (period.address, period.start_reason) == (mailbox.address, "ordered")

    async def test_saying_it_again_changes_nothing(self, database: Database) -> None:
        async with database.as_system() as session:
            mailbox = await make_mailbox(session, await make_tenant(session))
            await serve(session, mailbox, MONDAY)
            again = await serve(session, mailbox, MONDAY + DAY)
            await give_up(session, mailbox, MONDAY + 2 * DAY)
            gone_again = await give_up(session, mailbox, MONDAY + 3 * DAY)
            assert await spans(session, mailbox) == [(16, 18, "exchange")]
        assert not again
        assert not gone_again

    async def test_the_day_of_giving_up_does_not_count(self, database: Database) -> None:
        async with database.as_system() as session:
            mailbox = await make_mailbox(session, await make_tenant(session))
            await serve(session, mailbox, MONDAY)
            left = await give_up(session, mailbox, MONDAY + DAY)
            [period] = await periods_of(session, mailbox)
        assert left
        assert (period.starts_on, period.ends_on) == (date(2026, 11, 16), date(2026, 11, 17))
        assert period.end_reason == "deleted"

    async def test_a_mailbox_that_lived_and_died_on_one_day_counts_one_day(self, database: Database) -> None:
        async with database.as_system() as session:
            mailbox = await make_mailbox(session, await make_tenant(session))
            await serve(session, mailbox, MONDAY)
            await give_up(session, mailbox, MONDAY + timedelta(hours=1))
            assert await spans(session, mailbox) == [(16, 17, "exchange")]

    async def test_a_new_class_counts_from_the_day_of_its_confirmation(self, database: Database) -> None:
        async with database.as_system() as session:
            mailbox = await make_mailbox(session, await make_tenant(session), service_class=ServiceClass.IMAP)
            await serve(session, mailbox, MONDAY)
            mailbox.service_class = ServiceClass.EXCHANGE
            await serve(session, mailbox, MONDAY + 2 * DAY)
            assert await spans(session, mailbox) == [(16, 18, "imap"), (18, None, "exchange")]
            old, new = await periods_of(session, mailbox)
        assert (old.end_reason, new.start_reason) == (Reason.CLASS_CHANGED, Reason.CLASS_CHANGED)

    async def test_two_changes_on_one_day_leave_the_day_to_the_last_class(self, database: Database) -> None:
        async with database.as_system() as session:
            mailbox = await make_mailbox(session, await make_tenant(session), service_class=ServiceClass.POP3)
            await serve(session, mailbox, MONDAY)
            for service_class in (ServiceClass.IMAP, ServiceClass.EXCHANGE):
                mailbox.service_class = service_class
                await serve(session, mailbox, MONDAY)
            assert sorted(await spans(session, mailbox), key=str) == [
                (16, 16, "imap"),
                (16, 16, "pop3"),
                (16, None, "exchange"),
            ]

    async def test_a_move_and_a_new_customer_close_one_period_and_open_the_next(self, database: Database) -> None:
        async with database.as_system() as session:
            reseller = await make_reseller(session)
            first, second = [await make_customer(session, reseller) for _ in range(2)]
            mailbox = await make_mailbox(session, await make_domain(session, first), placed_in="de-fra-1")
            await serve(session, mailbox, MONDAY)
            mailbox.placed_in = "de-nbg-1"
            await serve(session, mailbox, MONDAY + DAY)
            mailbox.customer_id = second.id
            await serve(session, mailbox, MONDAY + 2 * DAY)
            periods = await periods_of(session, mailbox)
        assert [(period.location, period.customer_id, period.start_reason) for period in periods] == [
            ("de-fra-1", first.id, "ordered"),
            ("de-nbg-1", first.id, "moved"),
            ("de-nbg-1", second.id, "customer_changed"),
        ]

    async def test_given_up_and_restored_on_one_day_is_never_counted_twice(self, database: Database) -> None:
        async with database.as_system() as session:
            mailbox = await make_mailbox(session, await make_tenant(session))
            await serve(session, mailbox, MONDAY)
            await give_up(session, mailbox, MONDAY)
            await serve(session, mailbox, MONDAY, "restored")
            assert await spans(session, mailbox) == [(16, 17, "exchange"), (17, None, "exchange")]

    async def test_a_change_of_class_does_not_make_the_day_of_giving_up_count(self, database: Database) -> None:
        async with database.as_system() as session:
            mailbox = await make_mailbox(session, await make_tenant(session), service_class=ServiceClass.IMAP)
            await serve(session, mailbox, MONDAY)
            mailbox.service_class = ServiceClass.EXCHANGE
            await serve(session, mailbox, MONDAY + DAY)
            await give_up(session, mailbox, MONDAY + DAY)
            assert await spans(session, mailbox) == [(16, 17, "imap"), (17, 17, "exchange")]

    async def test_waiting_for_the_backend_is_not_billed(self, database: Database) -> None:
        async with database.as_system() as session:
            mailbox = await make_mailbox(session, await make_tenant(session))
            await serve(session, mailbox, MONDAY)
            await give_up(session, mailbox, MONDAY + 3 * DAY, given_up_at=MONDAY + DAY)
            assert await spans(session, mailbox) == [(16, 17, "exchange")]

    async def test_days_of_a_month_that_is_over_stay_as_they_were(self, database: Database) -> None:
        first_of_december = datetime(2026, 12, 2, 9, 0, tzinfo=UTC)
        async with database.as_system() as session:
            mailbox = await make_mailbox(session, await make_tenant(session))
            await serve(session, mailbox, MONDAY)
            await give_up(session, mailbox, first_of_december, given_up_at=MONDAY + DAY)
            [period] = await periods_of(session, mailbox)
        assert period.ends_on == date(2026, 12, 1)


class TestAppendOnly:
    @pytest.fixture
    async def mailbox(self, database: Database) -> Mailbox:
        async with database.as_system() as session:
            mailbox = await make_mailbox(session, await make_tenant(session))
            await serve(session, mailbox, MONDAY)
            await give_up(session, mailbox, MONDAY + DAY)
            await serve(session, mailbox, MONDAY + 5 * DAY, "restored")
        return mailbox

    @pytest.mark.parametrize(
        "edit",
        [
            "delete from service_period where mailbox_id = :id",
            "update service_period set ends_on = '2026-11-30' where mailbox_id = :id and ends_on is not null",
            "update service_period set ends_on = null where mailbox_id = :id and ends_on is not null",
            "update service_period set end_reason = 'other' where mailbox_id = :id and ends_on is not null",
            "update service_period set service_class = 'pop3' where mailbox_id = :id and ends_on is null",
            "update service_period set starts_on = '2026-11-22' where mailbox_id = :id and ends_on is null",
            "update service_period set ends_on = '2026-11-30' where mailbox_id = :id and ends_on is null",
            "truncate service_period",
        ],
    )
    async def test_what_was_served_cannot_be_edited(self, database: Database, mailbox: Mailbox, edit: str) -> None:
        with pytest.raises(IntegrityError, match="append-only"):
            await as_owner_of_the_table(database, edit, {"id": mailbox.id} if ":id" in edit else {})

    async def test_two_open_periods_of_one_mailbox_cannot_be(self, database: Database, mailbox: Mailbox) -> None:
        with pytest.raises(IntegrityError):
            await open_twice(database, mailbox)


async def as_owner_of_the_table(database: Database, edit: str, values: dict[str, str]) -> None:
    async with database.transaction() as session:
        # Row-level security would show it nothing, and this test is about the trigger behind it.
        await session.execute(text("alter table service_period no force row level security"))
        await session.execute(text(edit), values)


async def open_twice(database: Database, mailbox: Mailbox) -> None:
    async with database.as_system() as session:
        await open_period(session, mailbox, on=date(2026, 12, 1), reason="ordered")


@dataclass(frozen=True)
class Event:
    """`what` is "serve", "stop", or a wish for class, customer or location by its number."""

    days_later: int
    what: str
    number: int = 0


Key = tuple[str, str, str]

events = st.lists(
    st.one_of(
        st.builds(Event, st.integers(0, 2), st.sampled_from(["serve", "stop", "stop"])),
        st.builds(Event, st.integers(0, 2), st.sampled_from(["class", "customer", "place"]), st.integers(0, 1)),
    ),
    max_size=14,
)


class TestAnySequence:
    @settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(happened=events)
    async def test_each_day_is_counted_once_and_as_the_rules_say(
        self, database: Database, happened: list[Event]
    ) -> None:
        async with database.as_system() as session:
            customers, mailbox = await _make(session)
            at, in_service = MONDAY, False
            history: list[tuple[date, bool, Key]] = []
            for event in happened:
                at += event.days_later * DAY
                in_service = _apply(event, mailbox, customers, in_service)
                for _ in range(2):
                    await record_service(session, mailbox, in_service=in_service, at=at, reason=event.what)
                history.append((at.date(), in_service, _key(mailbox)))
            counted = [
                (day, key)
                for period in await periods_of(session, mailbox)
                for day, key in _days(period, until=at.date())
            ]
        assert len(counted) == len({day for day, _ in counted})
        assert dict(counted) == expected_days(history, until=at.date())


async def _make(session: AsyncSession) -> tuple[list[Customer], Mailbox]:
    reseller = await make_reseller(session)
    customers = [await make_customer(session, reseller) for _ in range(2)]
    domain = await make_domain(session, customers[0])
    mailbox = await make_mailbox(session, domain, service_class=ServiceClass.IMAP, placed_in="de-fra-1")
    return customers, mailbox


def _apply(event: Event, mailbox: Mailbox, customers: Sequence[Customer], in_service: bool) -> bool:
    match event.what:
        case "class":
            mailbox.service_class = (ServiceClass.IMAP, ServiceClass.EXCHANGE)[event.number]
        case "customer":
            mailbox.customer_id = customers[event.number].id
        case "place":
            mailbox.placed_in = ("de-fra-1", "de-nbg-1")[event.number]
        case what:
            return what == "serve"
    return in_service


def _key(mailbox: Mailbox) -> Key:
    return mailbox.service_class.value, mailbox.customer_id, mailbox.placed_in or ""


def _days(period: ServicePeriod, *, until: date) -> Iterator[tuple[date, Key]]:
    """Each day of the period up to and with `until`, or to its end where that is later."""
    day = period.starts_on
    while day < (period.ends_on or until + DAY):
        yield day, (period.service_class.value, period.customer_id, period.location)
        day += DAY
