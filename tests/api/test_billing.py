"""Previews and invoices over HTTP, as a reseller reads them."""

import base64
import html
import io
import re
from collections.abc import Awaitable, Callable
from datetime import date
from hashlib import sha256

import httpx
import pytest
from pypdf import PdfReader

from billing import runs
from billing.rating import Tier
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from tests.api.conftest import MakeTenant, Tenant
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    ISSUER,
    NOVEMBER,
    add_customer,
    add_mailboxes,
    add_prices,
    bill,
    read,
)

pytestmark = pytest.mark.anyio

SUMS = ("currency", "net_cents", "tax_cents", "gross_cents", "tax_category", "rate_basis_points")
LINE = (
    *("customer_id", "customer_name", "service_class"),
    *("mailbox_days", "base_days", "price_cents", "net_cents"),
)

MakeBilled = Callable[..., Awaitable[Tenant]]


@pytest.fixture
def database(fresh_database: Database) -> Database:
    """A month is billed once in a database, for everybody in it."""
    return fresh_database


@pytest.fixture
def office(make_tenant: MakeTenant, database: Database) -> MakeBilled:
    """A reseller with two customers and a November of joiners and leavers, not billed yet."""

    async def make(**details: object) -> Tenant:
        tenant = await make_tenant(**details)
        async with database.as_system() as session:
            if (await read(database, "select count(*) from price_list"))[0] == (0,):
                await add_prices(session)
            law = await add_customer(session, tenant.reseller_id, "Kanzlei Lindenhof & <Söhne>")
            baker = await add_customer(session, tenant.reseller_id, "Bäckerei Süß")
            await add_mailboxes(session, tenant.reseller_id, law, count=3, starts_on=date(2026, 10, 5))
            await add_mailboxes(session, tenant.reseller_id, law, service_class="imap", starts_on=date(2026, 11, 17))
            await add_mailboxes(
                session, tenant.reseller_id, baker, starts_on=date(2026, 11, 3), ends_on=date(2026, 11, 20)
            )
        return tenant

    return make


class Interrupted(Exception):
    """As if the process had died after the first phase."""


def interrupt(_at: runs.Progress) -> None:
    raise Interrupted


async def only_invoice(tenant: Tenant) -> dict[str, object]:
    [summary] = (await tenant.client.get("/v1/invoices")).json()["items"]
    answer = await tenant.client.get(f"/v1/invoices/{summary['id']}")
    assert answer.status_code == 200, answer.text
    body: dict[str, object] = answer.json()
    assert {name: body[name] for name in summary} == summary
    return body


class TestPreview:
    async def test_it_is_the_invoice_to_the_cent(
        self, office: MakeBilled, database: Database, clock: TestClock
    ) -> None:
        tenant = await office()
        clock.advance(IN_DECEMBER)
        preview = (await tenant.client.get("/v1/billing/preview?period=2026-11")).json()
        await bill(database)
        invoice = await only_invoice(tenant)

        assert preview["is_estimate"] is False
        assert {name: preview[name] for name in SUMS} == {name: invoice[name] for name in SUMS}
        assert preview["customers"] == invoice["customers"]
        lines = invoice["lines"]
        assert isinstance(lines, list)
        assert [[line[name] for name in LINE] for line in preview["lines"]] == [
            [line[name] for name in LINE] for line in lines
        ]
        assert [line["position"] for line in lines] == [1, 2, 3]
        assert invoice["net_cents"] == sum(line["net_cents"] for line in lines) == 448 + 2370 + 135
        assert invoice["gross_cents"] == 2953 + 561

    async def test_each_line_explains_its_arithmetic_in_german_and_english(self, office: MakeBilled) -> None:
        tenant = await office()
        preview = (await tenant.client.get("/v1/billing/preview?period=2026-11")).json()
        assert preview["lines"][0]["explanation"] == {
            "de": "17 Postfachtage × 7,90 € / 30 Tage = 4,48 € (kaufmännisch gerundet)",
            "en": "17 mailbox-days × €7.90 / 30 days = €4.48 (rounded half up)",
        }

    async def test_the_running_month_is_meant_when_none_is_given_and_is_an_estimate(self, office: MakeBilled) -> None:
        tenant = await office()
        preview = (await tenant.client.get("/v1/billing/preview")).json()
        assert (preview["period"], preview["is_estimate"]) == (str(NOVEMBER), True)
        assert preview == (await tenant.client.get("/v1/billing/preview?period=2026-11")).json()

    async def test_an_own_price_and_a_volume_tier_are_in_it(self, office: MakeBilled, database: Database) -> None:
        tenant, other = await office(), await office()
        async with database.as_system() as session:
            own = {"exchange": (Tier(1, 600), Tier(3, 500))}
            await add_prices(session, tenant.reseller_id, prices=own)
        mine = (await tenant.client.get("/v1/billing/preview?period=2026-11")).json()
        theirs = (await other.client.get("/v1/billing/preview?period=2026-11")).json()
        # Three are alive on the last day, which is the second tier for every Exchange mailbox of the month.
        assert [line["price_cents"] for line in mine["lines"]] == [500, 500, 290]
        assert [line["price_cents"] for line in theirs["lines"]] == [790, 790, 290]

    async def test_a_class_without_a_price_is_a_conflict_that_names_it(
        self, make_tenant: MakeTenant, database: Database
    ) -> None:
        tenant = await make_tenant()
        async with database.as_system() as session:
            customer = await add_customer(session, tenant.reseller_id)
            await add_mailboxes(session, tenant.reseller_id, customer)
        answer = await tenant.client.get("/v1/billing/preview?period=2026-11")
        assert (answer.status_code, answer.json()["code"]) == (409, "no_price")
        assert answer.json()["service_class"] == "exchange"

    @pytest.mark.parametrize("period", ["2026-13", "2026-1", "1999-12", "2101-01", "9999-12", "november", "2026-11\n"])
    async def test_what_is_no_month_is_refused(self, make_tenant: MakeTenant, period: str) -> None:
        tenant = await make_tenant()
        for path in ("/v1/billing/preview", "/v1/invoices"):
            answer = await tenant.client.get(path, params={"period": period})
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["pointer"] == "?period"


class TestInvoices:
    async def test_seller_and_buyer_are_as_they_were_at_issue(self, office: MakeBilled, database: Database) -> None:
        tenant = await office(name="Müller & Söhne IT <GmbH>")
        await bill(database)
        invoice = await only_invoice(tenant)
        buyer, seller = invoice["buyer"], invoice["seller"]
        assert isinstance(buyer, dict)
        assert isinstance(seller, dict)
        assert (buyer["id"], buyer["name"]) == (tenant.reseller_id, "Müller & Söhne IT <GmbH>")
        assert (seller["name"], seller["iban"]) == ("Postfachwerk Betrieb GmbH", "DE02120300000000202051")
        assert (invoice["number"], invoice["status"]) == ("PF-2026-000001", "final")
        assert (invoice["period"], invoice["issued_on"], invoice["due_on"]) == ("2026-11", "2026-12-01", "2026-12-15")

    async def test_another_resellers_invoice_is_not_found(self, office: MakeBilled, database: Database) -> None:
        tenant, other = await office(), await office()
        await bill(database)
        theirs = (await only_invoice(other))["id"]
        for path in (f"/v1/invoices/{theirs}", f"/v1/invoices/{theirs}/html", f"/v1/invoices/{theirs}/mailboxes"):
            foreign = await tenant.client.get(path)
            unknown = await tenant.client.get(path.replace(str(theirs), new_id("inv")))
            assert (foreign.status_code, unknown.status_code) == (404, 404)
            assert foreign.json()["code"] == unknown.json()["code"] == "not_found"
            assert (await other.client.get(path)).status_code == 200
        listed = (await tenant.client.get("/v1/invoices")).json()["items"]
        assert theirs not in [each["id"] for each in listed]
        number = (await only_invoice(other))["number"]
        assert (await tenant.client.get("/v1/invoices", params={"number": str(number)})).json()["items"] == []

    async def test_a_draft_is_not_shown_to_the_reseller_nor_to_an_operator_in_its_name(
        self, office: MakeBilled, database: Database, operator: httpx.AsyncClient
    ) -> None:
        tenant = await office()
        await bill(database, NOVEMBER.previous())
        async with database.as_system() as session:
            run = await runs.start_run(session, NOVEMBER, actor="operator", now=IN_DECEMBER)
        with pytest.raises(Interrupted):
            await runs.continue_run(database, run.id, now=IN_DECEMBER, issuer=ISSUER, on_progress=interrupt)
        [(draft,)] = await read(database, "select id from invoice where status = 'draft'")
        acting = {"Postfachwerk-Reseller": tenant.reseller_id}
        for client, headers in ((tenant.client, {}), (operator, acting)):
            for path in ("", "/html", "/mailboxes"):
                answer = await client.get(f"/v1/invoices/{draft}{path}", headers=headers)
                assert answer.status_code == 404
            listed = (await client.get("/v1/invoices", headers=headers)).json()["items"]
            assert [each["status"] for each in listed] == ["final"]

    async def test_filters_and_pages_show_each_invoice_once(self, office: MakeBilled, database: Database) -> None:
        tenant = await office()
        for month in (NOVEMBER.previous(), NOVEMBER):
            await bill(database, month)

        async def found(**params: str | int) -> list[str]:
            page = (await tenant.client.get("/v1/invoices", params=params)).json()
            return [each["number"] for each in page["items"]]

        assert await found() == ["PF-2026-000002", "PF-2026-000001"]
        assert await found(period="2026-10") == ["PF-2026-000001"]
        assert await found(number="PF-2026-000002") == ["PF-2026-000002"]
        assert await found(year=2026) == ["PF-2026-000002", "PF-2026-000001"]
        assert await found(year=2025) == []
        first = (await tenant.client.get("/v1/invoices?limit=1")).json()
        assert await found(limit=1, cursor=first["next_cursor"]) == ["PF-2026-000001"]

    async def test_the_annex_pages_add_up_to_the_lines(self, office: MakeBilled, database: Database) -> None:
        tenant = await office()
        await bill(database)
        invoice = await only_invoice(tenant)
        days: dict[tuple[str, str], int] = {}
        mailboxes: list[str] = []
        params: dict[str, str | int] = {"limit": 2}
        while True:
            page = (await tenant.client.get(f"/v1/invoices/{invoice['id']}/mailboxes", params=params)).json()
            for entry in page["items"]:
                mailboxes.append(entry["mailbox_id"])
                for stay in entry["stays"]:
                    key = (stay["customer_id"], stay["service_class"])
                    days[key] = days.get(key, 0) + stay["mailbox_days"]
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
        lines = invoice["lines"]
        assert isinstance(lines, list)
        assert days == {(line["customer_id"], line["service_class"]): line["mailbox_days"] for line in lines}
        assert len(mailboxes) == len(set(mailboxes)) == 5

    async def test_a_key_without_the_scope_is_told_which_one(self, make_tenant: MakeTenant) -> None:
        tenant = await make_tenant(scopes=frozenset({"mailboxes:read"}))
        for path in ("/v1/billing/preview", "/v1/invoices", "/v1/prices"):
            answer = await tenant.client.get(path)
            assert (answer.status_code, answer.json()["missing_scope"]) == (403, "billing:read")


class TestPage:
    async def test_it_shows_number_and_umlauts_and_escapes_what_customers_are_called(
        self, office: MakeBilled, database: Database
    ) -> None:
        tenant = await office(name="Müller & Söhne IT <GmbH>")
        await bill(database)
        invoice = await only_invoice(tenant)
        answer = await tenant.client.get(f"/v1/invoices/{invoice['id']}/html")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-language"] == "de"
        assert "Rechnung PF-2026-000001" in answer.text
        assert "Kanzlei Lindenhof &amp; &lt;Söhne&gt;" in answer.text
        assert "Müller &amp; Söhne IT &lt;GmbH&gt;" in answer.text
        assert "<Söhne>" not in answer.text

    async def test_it_comes_in_english_too_and_in_no_third_language(
        self, office: MakeBilled, database: Database
    ) -> None:
        tenant = await office()
        await bill(database)
        path = f"/v1/invoices/{(await only_invoice(tenant))['id']}/html"
        english = await tenant.client.get(path, params={"language": "en"})
        assert english.headers["content-language"] == "en"
        assert "Invoice PF-2026-000001" in english.text
        assert (await tenant.client.get(path, params={"language": "fr"})).status_code == 422

    async def test_it_has_every_word_of_the_stored_pdf_and_the_code_to_pay_with(
        self, office: MakeBilled, database: Database
    ) -> None:
        tenant = await office(language="en")
        await bill(database)
        path = f"/v1/invoices/{(await only_invoice(tenant))['id']}"
        page, pdf = await tenant.client.get(f"{path}/html"), await tenant.client.get(f"{path}/pdf")
        assert page.headers["content-language"] == "en"
        assert "<svg" in page.text
        shown = html.unescape(re.sub(r"<(style|svg)\b.*?</\1>|<[^>]+>", " ", page.text, flags=re.DOTALL))
        printed = " ".join(each.extract_text() for each in PdfReader(io.BytesIO(pdf.content)).pages).split()
        # A narrow column breaks long addresses; only paper has pages to number.
        assert [word for word in printed if word not in shown and word not in ("Page", "1", "2")] == []
        assert "Annex: mailboxes and days" in shown

    async def test_the_policy_lets_nothing_in_but_the_pages_own_style(
        self, office: MakeBilled, database: Database
    ) -> None:
        tenant = await office()
        await bill(database)
        answer = await tenant.client.get(f"/v1/invoices/{(await only_invoice(tenant))['id']}/html")
        policy = dict(
            directive.strip().split(" ", 1) for directive in answer.headers["content-security-policy"].split(";")
        )
        style = answer.text.split("<style>")[1].split("</style>")[0]
        digest = base64.b64encode(sha256(style.encode()).digest()).decode()
        assert policy["default-src"] == "'none'"
        assert policy["style-src"] == f"'sha256-{digest}'"
        assert "script-src" not in policy
        assert " style=" not in answer.text
