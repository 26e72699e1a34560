"""Price lists over HTTP: what the operator sets, and what a reseller sees of it."""

from datetime import date

import httpx
import pytest

from billing.prices import price_table
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from tests.api.conftest import MakeTenant
from tests.billing.ledger_factory import add_customer, add_mailboxes, bill, read

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(fresh_database: Database) -> Database:
    """Lists for all count for everybody in a database, so each test has one of its own."""
    return fresh_database


def price_list(*, name: str = "Preise 2026", valid_from: str = "2026-01-01", **fields: object) -> dict[str, object]:
    tiers = [{"min_quantity": 1, "price_cents": 790}, {"min_quantity": 10, "price_cents": 690}]
    prices = [
        {"service_class": "exchange", "tiers": tiers},
        {"service_class": "imap", "tiers": [{"min_quantity": 0, "price_cents": 290}]},
    ]
    return {"name": name, "valid_from": valid_from, "prices": prices, **fields}


def one_class(service_class: str, *tiers: tuple[int, int]) -> list[dict[str, object]]:
    shapes = [{"min_quantity": quantity, "price_cents": cents} for quantity, cents in tiers]
    return [{"service_class": service_class, "tiers": shapes}]


async def create(operator: httpx.AsyncClient, **fields: object) -> dict[str, object]:
    answer = await operator.post("/v1/price-lists", json=price_list(**fields))  # type: ignore[arg-type]  # fields of JSON
    assert answer.status_code == 201, answer.text
    body: dict[str, object] = answer.json()
    return body


async def actions(database: Database) -> list[str]:
    rows = await read(database, "select action from audit_event where chain = 'operator' order by sequence")
    return [action for (action,) in rows]


class TestCreate:
    async def test_a_list_can_be_read_back_as_it_was_created(
        self, operator: httpx.AsyncClient, database: Database
    ) -> None:
        answer = await operator.post("/v1/price-lists", json=price_list(name="Preise für Österreich"))
        assert answer.status_code == 201
        assert answer.headers["location"] == f"/v1/price-lists/{answer.json()['id']}"
        again = await operator.get(answer.headers["location"])
        assert again.json() == answer.json()
        assert again.json()["name"] == "Preise für Österreich"
        usual = {
            "tiers_mode": "volume",
            "proration": "daily",
            "minimum_term_months": 0,
            "notice_days": 0,
            "trial_days": 0,
        }
        given = price_list()["prices"]
        assert isinstance(given, list)
        assert again.json()["prices"] == [{**each, **usual} for each in given]
        assert await actions(database) == ["price_list.create"]

    async def test_a_second_list_of_the_same_day_and_owner_is_refused(self, operator: httpx.AsyncClient) -> None:
        await create(operator)
        answer = await operator.post("/v1/price-lists", json=price_list(name="noch einmal"))
        assert (answer.status_code, answer.json()["code"]) == (409, "price_list_exists")

    async def test_a_list_for_an_unknown_reseller_is_not_found(self, operator: httpx.AsyncClient) -> None:
        answer = await operator.post("/v1/price-lists", json=price_list(reseller_id=new_id("res")))
        assert answer.status_code == 404

    @pytest.mark.parametrize(
        ("wrong", "pointer"),
        [
            ({"prices": one_class("exchange", (5, 790))}, "/prices/0/tiers"),
            ({"prices": one_class("imap", (1, 290)) + one_class("exchange", (1, 790), (1, 690))}, "/prices/1/tiers"),
            ({"prices": one_class("imap", (1, 290)) * 2}, "/prices/1/service_class"),
            ({"prices": one_class("fax", (1, 290))}, "/prices/0/service_class"),
            ({"prices": [{**one_class("imap", (1, 290))[0], "trial_days": 367}]}, "/prices/0/trial_days"),
            ({"prices": [{**one_class("imap", (1, 290))[0], "proration": "weekly"}]}, "/prices/0/proration"),
            ({"prices": one_class("imap", (1, -1))}, "/prices/0/tiers/0/price_cents"),
            ({"prices": one_class("imap", (1, 2**31))}, "/prices/0/tiers/0/price_cents"),
            ({"prices": []}, "/prices"),
            ({"name": "  "}, "/name"),
            ({"name": "nul\0"}, "/name"),
            ({"valid_from": "20260101"}, "/valid_from"),
            ({"valid_from": 0}, "/valid_from"),
            ({"validfrom": "2026-01-01"}, "/validfrom"),
        ],
    )
    async def test_a_wrong_field_is_pointed_at(
        self, operator: httpx.AsyncClient, database: Database, wrong: dict[str, object], pointer: str
    ) -> None:
        answer = await operator.post("/v1/price-lists", json={**price_list(), **wrong})
        assert answer.status_code == 422, answer.text
        assert pointer in [each["pointer"] for each in answer.json()["errors"]]
        assert await read(database, "select count(*) from price_list") == [(0,)]
        assert await actions(database) == []

    async def test_a_dry_run_writes_nothing(self, operator: httpx.AsyncClient, database: Database) -> None:
        answer = await operator.post("/v1/price-lists?dry_run=true", json=price_list())
        assert (answer.status_code, answer.json()["would_be"]["name"]) == (200, "Preise 2026")
        assert await read(database, "select count(*) from price_list") == [(0,)]
        assert await actions(database) == []

    async def test_a_reseller_sets_no_prices(self, make_tenant: MakeTenant) -> None:
        tenant = await make_tenant()
        assert (await tenant.client.post("/v1/price-lists", json=price_list())).status_code == 403
        assert (await tenant.client.get("/v1/price-lists")).status_code == 403


class TestTerms:
    async def test_terms_are_kept_with_the_list_and_shown_to_those_they_hold_for(
        self, operator: httpx.AsyncClient, make_tenant: MakeTenant
    ) -> None:
        terms = {"tiers_mode": "graduated", "minimum_term_months": 12, "notice_days": 30, "trial_days": 14}
        prices = [{**one_class("extra_storage", (1, 90), (10, 70))[0], **terms, "proration": "full_month"}]
        created = await create(operator, prices=prices)
        assert created["prices"] == prices
        tenant = await make_tenant()
        [shown] = (await tenant.client.get("/v1/prices?on=2026-11-01")).json()["prices"]
        assert {name: shown[name] for name in prices[0]} == prices[0]


class TestList:
    async def test_pages_show_every_list_once_newest_first(self, operator: httpx.AsyncClient) -> None:
        created = [str((await create(operator, valid_from=f"2026-0{month}-01"))["id"]) for month in (1, 2, 3)]
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await operator.get("/v1/price-lists", params={"limit": 2, **cursor})).json()
            seen += [each["id"] for each in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert seen == sorted(created, reverse=True)

    async def test_a_filter_shows_what_counts_for_one_reseller(
        self, operator: httpx.AsyncClient, make_tenant: MakeTenant
    ) -> None:
        mine, other = await make_tenant(), await make_tenant()
        for_all = await create(operator)
        own = await create(operator, reseller_id=mine.reseller_id)
        await create(operator, reseller_id=other.reseller_id)
        page = (await operator.get("/v1/price-lists", params={"reseller": mine.reseller_id})).json()
        assert {each["id"] for each in page["items"]} == {for_all["id"], own["id"]}


class TestWithdraw:
    async def test_an_unused_list_goes(self, operator: httpx.AsyncClient, database: Database) -> None:
        path = f"/v1/price-lists/{(await create(operator))['id']}"
        assert (await operator.delete(path)).status_code == 204
        assert (await operator.get(path)).status_code == 404
        assert (await operator.delete(path)).status_code == 404
        assert await actions(database) == ["price_list.create", "price_list.withdraw"]

    async def test_a_list_somebody_was_billed_by_stays(
        self, operator: httpx.AsyncClient, make_tenant: MakeTenant, database: Database
    ) -> None:
        path = f"/v1/price-lists/{(await create(operator))['id']}"
        tenant = await make_tenant()
        async with database.as_system() as session:
            customer = await add_customer(session, tenant.reseller_id)
            await add_mailboxes(session, tenant.reseller_id, customer)
        await bill(database)
        answer = await operator.delete(path)
        assert (answer.status_code, answer.json()["code"]) == (409, "price_list_used")
        assert (await operator.get(path)).status_code == 200


class TestEffectivePrices:
    async def test_an_own_list_wins_for_the_classes_it_names_and_says_so(
        self, operator: httpx.AsyncClient, make_tenant: MakeTenant
    ) -> None:
        mine, other = await make_tenant(), await make_tenant()
        for_all = await create(operator)
        own = await create(
            operator,
            name="Rahmenvertrag",
            reseller_id=mine.reseller_id,
            valid_from="2026-10-01",
            prices=one_class("exchange", (1, 650), (25, 600)),
        )
        body = (await mine.client.get("/v1/prices?on=2026-11-01")).json()
        exchange, imap = body["prices"]
        assert (exchange["price_list_id"], exchange["price_list_name"]) == (own["id"], "Rahmenvertrag")
        assert exchange["is_own"] is True
        assert exchange["tiers"] == [
            {"min_quantity": 1, "price_cents": 650},
            {"min_quantity": 25, "price_cents": 600},
        ]
        assert (imap["price_list_id"], imap["is_own"]) == (for_all["id"], False)

        before = (await mine.client.get("/v1/prices?on=2026-09-30")).json()
        elsewhere = (await other.client.get("/v1/prices?on=2026-11-01")).json()
        for answer in (before, elsewhere):
            assert {each["price_list_id"] for each in answer["prices"]} == {for_all["id"]}

    async def test_it_shows_what_the_rating_uses(
        self, operator: httpx.AsyncClient, make_tenant: MakeTenant, database: Database
    ) -> None:
        tenant = await make_tenant()
        await create(operator)
        await create(operator, valid_from="2026-06-01", prices=one_class("imap", (1, 250)))
        await create(operator, reseller_id=tenant.reseller_id, prices=one_class("pop3", (1, 90), (5, 80)))
        for on in (date(2025, 12, 31), date(2026, 1, 1), date(2026, 5, 31), date(2026, 6, 1)):
            body = (await tenant.client.get("/v1/prices", params={"on": on.isoformat()})).json()
            shown = {
                each["service_class"]: [(tier["min_quantity"], tier["price_cents"]) for tier in each["tiers"]]
                for each in body["prices"]
            }
            async with database.as_system() as session:
                table = await price_table(session, tenant.reseller_id, on)
            rated = {name: [(tier.min_quantity, tier.price_cents) for tier in tiers] for name, tiers in table.items()}
            assert shown == rated

    async def test_today_is_what_is_meant_when_no_day_is_given(self, make_tenant: MakeTenant) -> None:
        tenant = await make_tenant()
        body = (await tenant.client.get("/v1/prices")).json()
        assert (body["on"], body["prices"]) == ("2026-11-17", [])

    @pytest.mark.parametrize("on", ["2026-02-30", "20261101", "0", "01.11.2026", "2026-11-01T00:00:00Z"])
    async def test_what_is_no_day_is_refused(self, make_tenant: MakeTenant, on: str) -> None:
        tenant = await make_tenant()
        answer = await tenant.client.get("/v1/prices", params={"on": on})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "?on"


class TestNotice:
    async def add_user(self, database: Database, reseller_id: str) -> None:
        async with database.as_system() as session:
            await add_mailboxes(session, reseller_id, await add_customer(session, reseller_id))

    async def test_what_becomes_dearer_is_announced_in_time_and_shown_to_whom_it_concerns(
        self, operator: httpx.AsyncClient, make_tenant: MakeTenant, database: Database
    ) -> None:
        tenant, apart = await make_tenant(), await make_tenant()
        await create(operator)
        own = await create(operator, reseller_id=apart.reseller_id, prices=one_class("exchange", (1, 500)))
        for each in (tenant, apart):
            await self.add_user(database, each.reseller_id)
        dearer = price_list(valid_from="2026-12-16", prices=one_class("exchange", (1, 790), (10, 691)))
        refused = await operator.post("/v1/price-lists", json=dearer)
        assert (refused.status_code, refused.json()["code"]) == (409, "notice_too_short")
        assert (refused.json()["first_allowed_on"], refused.json()["service_class"]) == ("2026-12-17", "exchange")
        created = await create(operator, **{**dearer, "valid_from": "2026-12-17"})

        [change] = (await tenant.client.get("/v1/price-changes")).json()["price_changes"][:1]
        assert (change["service_class"], change["effective_on"]) == ("exchange", "2027-01-01")
        assert change["price_list_id"] == created["id"]
        assert [tier["price_cents"] for tier in change["old"]["tiers"]] == [790, 690]
        assert [tier["price_cents"] for tier in change["new"]["tiers"]] == [790, 691]
        theirs = (await apart.client.get("/v1/price-changes")).json()["price_changes"]
        assert [each["service_class"] for each in theirs] == ["imap"]
        assert theirs[0]["new"] is None
        assert own["reseller_id"] == apart.reseller_id

    async def test_what_becomes_cheaper_or_concerns_nobody_may_hold_at_once(
        self, operator: httpx.AsyncClient, make_tenant: MakeTenant, database: Database
    ) -> None:
        await create(operator)
        # Nobody has a mailbox yet.
        await create(operator, valid_from="2026-11-02", prices=one_class("exchange", (1, 900)))
        tenant = await make_tenant()
        await self.add_user(database, tenant.reseller_id)
        await create(operator, valid_from="2026-11-18", prices=one_class("exchange", (1, 890)))
        await create(
            operator, valid_from="2026-11-19", prices=one_class("exchange", (1, 890)) + one_class("imap", (1, 9))
        )
        own = {"reseller_id": tenant.reseller_id, "valid_from": "2026-11-18"}
        dearer = price_list(**own, prices=one_class("exchange", (1, 891)))
        assert (await operator.post("/v1/price-lists", json=dearer)).json()["code"] == "notice_too_short"
