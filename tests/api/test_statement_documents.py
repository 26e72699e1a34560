"""What a customer may see of its month: the reseller's name and prices, on paper and on screen, and no margin."""

import html
import io
import re
from datetime import date

import pikepdf
import pytest
from pypdf import PdfReader
from sqlalchemy import text

from billing import corrections
from billing.rating import Period, Tier
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from tests.api.conftest import MakeTenant, Tenant
from tests.billing.ledger_factory import (
    IN_DECEMBER,
    ISSUER,
    add_customer,
    add_mailboxes,
    add_periods,
    add_prices,
    bill,
    read,
)
from tests.billing.resale_factory import add_resale_price

pytestmark = pytest.mark.anyio

BAKERY = "Bäckerei <Süß>"


@pytest.fixture
def database(fresh_database: Database, clock: TestClock) -> Database:
    """A month is billed once in a database; here it is over."""
    clock.advance(IN_DECEMBER)
    return fresh_database


@pytest.fixture
async def tenant(make_tenant: MakeTenant, database: Database) -> Tenant:
    """A reseller that sells at 11.90 what costs it 7.90, with a bakery of 17 Exchange days in November."""
    tenant = await make_tenant(name="IT-Haus Müller & Söhne", language="de")
    await serve_bakery(database, tenant.reseller_id)
    return tenant


async def serve_bakery(database: Database, reseller_id: str) -> None:
    async with database.as_system() as session:
        await add_prices(session)
        bakery = await add_customer(session, reseller_id, BAKERY)
        await add_mailboxes(session, reseller_id, bakery, starts_on=date(2026, 11, 3), ends_on=date(2026, 11, 20))
        await add_resale_price(session, reseller_id, price_cents=1190)


async def path_to(database: Database, suffix: str = "") -> str:
    [(found,)] = await read(database, "select id from customer where name = :name", name=BAKERY)
    return f"/v1/statements/{found}{suffix}?period=2026-11"


def printed(content: bytes) -> str:
    return " ".join(" ".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages).split())


async def pdf(tenant: Tenant, database: Database, query: str = "") -> str:
    answer = await tenant.client.get(await path_to(database, "/pdf") + query)
    assert answer.status_code == 200, answer.text
    return printed(answer.content)


async def test_it_has_the_resellers_name_its_customer_and_each_lines_arithmetic(
    tenant: Tenant, database: Database
) -> None:
    await bill(database)
    answer = await tenant.client.get(await path_to(database, "/pdf"))
    assert answer.headers["content-type"] == "application/pdf"
    assert re.fullmatch(r'attachment; filename="statement-2026-11-cus_\w+\.pdf"', answer.headers["content-disposition"])
    said = printed(answer.content)
    for wanted in (
        *("Leistungsaufstellung 2026-11", "IT-Haus Müller & Söhne", BAKERY, "01.11.2026 – 30.11.2026"),
        *("17 Tage × 11,90 € / 30 Tage = 6,74 €", "Summe netto 6,74 €", "Keine Rechnung."),
    ):
        assert wanted in said
    assert "Vorläufig" not in said


async def test_it_is_archivable_accessible_and_the_same_each_time(tenant: Tenant, database: Database) -> None:
    await bill(database)
    path = await path_to(database, "/pdf")
    first, second = await tenant.client.get(path), await tenant.client.get(path)
    assert first.content == second.content
    with pikepdf.open(io.BytesIO(first.content)) as opened:
        assert list(opened.attachments) == []
        with opened.open_metadata() as metadata:
            assert (metadata["pdfaid:part"], metadata["pdfaid:conformance"]) == ("3", "A")
            assert metadata["pdfuaid:part"] == "1"
            assert not [name for name in metadata if "factur-x" in name]


async def test_nothing_on_it_tells_what_the_reseller_pays_or_who_serves_it(tenant: Tenant, database: Database) -> None:
    await bill(database)
    page = (await tenant.client.get(await path_to(database, "/html"))).text
    for said in (await pdf(tenant, database), re.sub("<style>.*</style>", "", page, flags=re.DOTALL)):
        for secret in ("7,90", "4,48", "2,26", "Marge", "Postfachwerk"):
            assert secret not in said


async def test_the_page_has_every_word_of_the_pdf(tenant: Tenant, database: Database) -> None:
    await bill(database)
    answer = await tenant.client.get(await path_to(database, "/html"))
    assert answer.headers["content-language"] == "de"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "&lt;Süß&gt;" in answer.text
    shown = html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", answer.text, flags=re.DOTALL))
    assert [word for word in (await pdf(tenant, database)).split() if word not in f"{shown} Seite 1 von 1"] == []


async def test_it_speaks_the_resellers_language_or_the_one_that_is_asked_for(
    make_tenant: MakeTenant, database: Database
) -> None:
    tenant = await make_tenant(language="en")
    await serve_bakery(database, tenant.reseller_id)
    await bill(database)
    assert "Statement of services 2026-11" in await pdf(tenant, database)
    assert "Leistungsaufstellung 2026-11" in await pdf(tenant, database, "&language=de")


async def test_before_the_month_is_invoiced_and_after_its_invoice_is_cancelled_it_is_provisional(
    tenant: Tenant, database: Database
) -> None:
    assert "Vorläufig" in await pdf(tenant, database)
    await bill(database)
    assert "Vorläufig" not in await pdf(tenant, database)
    [(invoice_id,)] = await read(database, "select id from invoice")
    async with database.as_system() as session:
        await corrections.cancel_invoice(
            session,
            invoice_id,
            reason="Falscher Preis",
            reissue=False,
            actor="operator",
            issuer=ISSUER,
            now=IN_DECEMBER,
        )
    said = await pdf(tenant, database)
    assert "Vorläufig" in said
    assert "17 Tage" in said


async def test_the_days_are_those_of_the_resellers_own_billing_period(
    make_tenant: MakeTenant, database: Database
) -> None:
    tenant = await make_tenant(billing_anchor_day=31)
    async with database.as_system() as session:
        await add_prices(session)
        bakery = await add_customer(session, tenant.reseller_id, BAKERY)
        await add_mailboxes(session, tenant.reseller_id, bakery, starts_on=date(2026, 10, 1))
        await add_resale_price(session, tenant.reseller_id, price_cents=1190)
    said = await pdf(tenant, database)
    # From the last of November to the day before the last of December are 31 days, all of them served.
    assert "30.11.2026 – 30.12.2026" in said
    assert "31 Tage × 11,90 € / 31 Tage = 11,90 €" in said


async def test_a_customer_that_was_not_served_owes_nothing(tenant: Tenant, database: Database) -> None:
    async with database.as_system() as session:
        quiet = await add_customer(session, tenant.reseller_id, "Still")
    answer = await tenant.client.get(f"/v1/statements/{quiet}/pdf?period=2026-11")
    assert "Summe netto 0,00 €" in printed(answer.content)


async def test_what_has_no_resale_price_is_refused_and_add_ons_can_have_one(tenant: Tenant, database: Database) -> None:
    [(customer_id,)] = await read(database, "select id from customer where name = :name", name=BAKERY)
    async with database.as_system() as session:
        await add_prices(session, tenant.reseller_id, prices={"archive": (Tier(0, 200),)})
        [mailbox_id] = (await session.scalars(text("select mailbox_id from service_period"))).all()
        days = (date(2026, 11, 5), date(2026, 11, 20))
        archive = Period(mailbox_id, customer_id, "archive", "de-fra-1", *days, is_add_on=True)
        await add_periods(session, tenant.reseller_id, [archive])
    path = await path_to(database, "/pdf")
    refused = await tenant.client.get(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "no_resale_price")
    assert refused.json()["service_classes"] == ["archive"]
    new = {"service_class": "archive", "price_cents": 300, "valid_from": "2026-01-01"}
    assert (await tenant.client.post("/v1/resale-prices", json=new)).status_code == 201
    assert "15 Tage × 3,00 € / 30 Tage = 1,50 €" in await pdf(tenant, database)


async def test_another_resellers_customer_is_unknown(
    tenant: Tenant, make_tenant: MakeTenant, database: Database
) -> None:
    other = await make_tenant()
    for suffix in ("/pdf", "/html"):
        path = await path_to(database, suffix)
        assert (await other.client.get(path)).status_code == 404
        assert (await tenant.client.get(path)).status_code == 200
