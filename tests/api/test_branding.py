"""A reseller's logo: set, read and removed by it alone, and on what its customers get."""

import base64
import io
from dataclasses import replace
from datetime import date
from pathlib import Path

import httpx
import pikepdf
import pytest

from api.issuing import issuer_of
from billing import runs
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from provisioning.core.settings import ConfigurationError, Settings
from tests.api.conftest import MakeTenant, Tenant
from tests.billing.documents.corpus import png
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
from tests.billing.resale_factory import add_resale_price

pytestmark = pytest.mark.anyio

PATH = "/v1/branding/logo"


@pytest.fixture
def database(fresh_database: Database, clock: TestClock) -> Database:
    """A month is billed once in a database; here it is over."""
    clock.advance(IN_DECEMBER)
    return fresh_database


async def put(tenant: Tenant, content: bytes, **headers: str) -> httpx.Response:
    body = {"content": base64.b64encode(content).decode()}
    return await tenant.client.put(PATH, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


def pictures(content: bytes) -> int:
    with pikepdf.open(io.BytesIO(content)) as pdf:
        return len(pdf.pages[0].get_images())


async def test_it_is_set_read_changed_by_version_and_removed(make_tenant: MakeTenant) -> None:
    tenant, other = await make_tenant(), await make_tenant()
    assert (await tenant.client.get(PATH)).status_code == 404
    assert (await put(tenant, png())).json()["version"] == 1
    shown = (await tenant.client.get(PATH)).json()
    assert (shown["media_type"], base64.b64decode(shown["content"])) == ("image/png", png())
    assert (await other.client.get(PATH)).status_code == 404
    assert (await put(tenant, png())).json()["version"] == 1
    assert (await put(tenant, png(60, 20), If_Match='"1"')).json()["version"] == 2
    assert (await put(tenant, png(), If_Match='"1"')).status_code == 412
    assert (await tenant.client.delete(PATH)).status_code == 204
    assert (await tenant.client.get(PATH)).status_code == 404


@pytest.mark.parametrize("content", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", png()[:-3], b"\xff\xd8\xff"])
async def test_what_is_no_picture_is_refused(make_tenant: MakeTenant, content: bytes) -> None:
    answer = await put(await make_tenant(), content)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "invalid_picture")


async def test_it_stands_on_statement_page_and_invoice_in_the_resellers_name(
    make_tenant: MakeTenant, database: Database
) -> None:
    tenant = await make_tenant()
    async with database.as_system() as session:
        await add_prices(session)
        law = await add_customer(session, tenant.reseller_id)
        await add_mailboxes(session, tenant.reseller_id, law, starts_on=date(2026, 11, 3))
        await add_resale_price(session, tenant.reseller_id)
    await bill(database)
    path = f"/v1/statements/{law}"
    before = await tenant.client.get(f"{path}/pdf?period=2026-11")
    assert pictures(before.content) == 0
    await put(tenant, png())
    first, second = [await tenant.client.get(f"{path}/pdf?period=2026-11") for _ in range(2)]
    assert pictures(first.content) == 1
    assert first.content == second.content
    page = await tenant.client.get(f"{path}/html?period=2026-11")
    assert f"data:image/png;base64,{base64.b64encode(png()).decode()}" in page.text
    assert "img-src data:" in page.headers["content-security-policy"]
    profile = {"contact_name": "A", "phone": "0123 456", "email": "a@it.example", "iban": "DE02120300000000202051"}
    await tenant.client.put("/v1/seller-profile", json=profile | {"tax_number": "21/123/45678"})
    billing = {"street": "Lindenhof 3", "postcode": "38100", "city": "Braunschweig", "email": "b@kanzlei.example"}
    await tenant.client.put(f"/v1/customers/{law}/billing", json=billing)
    query = "period=2026-11&number=1&issued_on=2026-12-01"
    assert pictures((await tenant.client.get(f"{path}/zugferd?{query}")).content) == 1


def test_the_operators_logo_comes_from_a_file_that_is_looked_at_before_all_else(tmp_path: Path) -> None:
    (tmp_path / "logo.png").write_bytes(png())
    (tmp_path / "logo.svg").write_text("<svg/>")
    assert issuer_of(Settings(issuer_logo=tmp_path / "logo.png")).logo == png()
    assert issuer_of(Settings()).logo is None
    for name in ("logo.svg", "none.png"):
        with pytest.raises(ConfigurationError, match="POSTFACHWERK_ISSUER_LOGO"):
            issuer_of(Settings(issuer_logo=tmp_path / name))


async def test_the_operators_logo_is_on_its_invoices_and_in_no_row(make_tenant: MakeTenant, database: Database) -> None:
    tenant = await make_tenant()
    async with database.as_system() as session:
        await add_prices(session)
        await add_mailboxes(session, tenant.reseller_id, await add_customer(session, tenant.reseller_id))
        run = await runs.start_run(session, NOVEMBER, actor="operator", now=IN_DECEMBER)
    with_logo = replace(ISSUER, logo=png())
    await runs.continue_run(database, run.id, now=IN_DECEMBER, issuer=with_logo)
    [(invoice_id, seller)] = await read(database, "select id, seller from invoice")
    assert "logo" not in seller
    assert pictures((await tenant.client.get(f"/v1/invoices/{invoice_id}/pdf")).content) == 1
