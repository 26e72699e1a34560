"""VAT over HTTP: who may read the evidence, when VIES is asked, and how the issuer's regime is set."""

from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from api.context import Context
from api.issuing import issuer_of, open_vies
from billing.vat_checks import check_vat_id
from provisioning.core.database import Database
from provisioning.core.settings import ConfigurationError, Settings
from tests.api.conftest import MakeTenant
from tests.billing.ledger_factory import add_customer, add_mailboxes, add_prices
from tests.billing.vat_world import AUSTRIAN, VAT_ID, ask
from tests.fake_vies import fake_vies

pytestmark = pytest.mark.anyio

ORDER = {**AUSTRIAN, "billing_email": "rechnung@alpen-it.example"}


async def waiting(database: Database, reseller_id: str) -> int:
    """How many questions for this reseller's VAT id wait for a worker."""
    async with database.transaction() as session:
        query = text(
            "select count(*) from procrastinate_jobs "
            "where task_name = 'check_vat_id' and status = 'todo' and args ->> 'key' = :key"
        )
        return int(await session.scalar(query, {"key": reseller_id}) or 0)


async def admitted(operator: httpx.AsyncClient, **changes: Any) -> str:
    answer = await operator.post("/v1/resellers", json={**ORDER, **changes})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


class TestWhenItIsAsked:
    async def test_a_new_reseller_of_another_eu_country(self, operator: httpx.AsyncClient, database: Database) -> None:
        assert await waiting(database, await admitted(operator)) == 1

    @pytest.mark.parametrize(
        "changes",
        [{"country": "DE", "vat_id": "DE136695976"}, {"country": "CH", "vat_id": "CHE107787577"}, {"vat_id": None}],
    )
    async def test_not_for_one_whose_invoices_need_no_evidence(
        self, operator: httpx.AsyncClient, database: Database, changes: dict[str, Any]
    ) -> None:
        assert await waiting(database, await admitted(operator, **changes)) == 0

    async def test_when_the_vat_id_is_set_later(self, operator: httpx.AsyncClient, database: Database) -> None:
        reseller_id = await admitted(operator, vat_id=None)
        await operator.patch(f"/v1/resellers/{reseller_id}", json={"city": "Linz"})
        assert await waiting(database, reseller_id) == 0
        await operator.patch(f"/v1/resellers/{reseller_id}", json={"vat_id": VAT_ID})
        assert await waiting(database, reseller_id) == 1

    async def test_by_hand_and_once_only_while_the_question_waits(
        self, operator: httpx.AsyncClient, database: Database
    ) -> None:
        reseller_id = await admitted(operator)
        for _ in range(2):
            answer = await operator.post(f"/v1/resellers/{reseller_id}/vat-checks")
            assert (answer.status_code, answer.json()) == (202, {"vat_id": VAT_ID})
        assert await waiting(database, reseller_id) == 1

    async def test_not_by_hand_where_there_is_nothing_to_ask(self, operator: httpx.AsyncClient) -> None:
        reseller_id = await admitted(operator, country="DE", vat_id="DE136695976")
        answer = await operator.post(f"/v1/resellers/{reseller_id}/vat-checks")
        assert (answer.status_code, answer.json()["code"]) == (409, "vat_id_not_checkable")


class TestEvidence:
    async def test_operator_and_reseller_read_the_same(
        self, operator: httpx.AsyncClient, make_tenant: MakeTenant, database: Database
    ) -> None:
        tenant, other = await make_tenant(**AUSTRIAN), await make_tenant(**AUSTRIAN)
        with fake_vies("MS_UNAVAILABLE") as fake:
            await ask(database, fake, tenant.reseller_id)
            fake.otherwise = "valid"
            await ask(database, fake, tenant.reseller_id)
        seen = (await operator.get(f"/v1/resellers/{tenant.reseller_id}/vat-checks")).json()
        assert (await tenant.client.get("/v1/vat-checks")).json() == seen
        assert [(each["answer"], each["error"]) for each in seen["items"]] == [
            ("valid", None),
            ("unavailable", "MS_UNAVAILABLE"),
        ]
        assert seen["items"][0]["consultation_number"] == "WAPIAAAA00000001"
        assert (await other.client.get("/v1/vat-checks")).json()["items"] == []

    async def test_an_unknown_reseller_has_none(self, operator: httpx.AsyncClient) -> None:
        answer = await operator.get("/v1/resellers/res_01k9z3f6m2w5t8y1c4e7h0j3n6/vat-checks")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    async def test_the_preview_says_what_stands_against_the_invoice_and_then_why_there_is_no_tax(
        self, make_tenant: MakeTenant, database: Database, context: Context
    ) -> None:
        tenant = await make_tenant(**AUSTRIAN)
        async with database.as_system() as session:
            await add_prices(session, tenant.reseller_id)
            await add_mailboxes(session, tenant.reseller_id, await add_customer(session, tenant.reseller_id))
        refused = await tenant.client.get("/v1/billing/preview?period=2026-11")
        assert (refused.status_code, refused.json()["code"]) == (409, "vat_check_pending")
        with fake_vies() as fake:
            await ask(database, fake, tenant.reseller_id, now=context.clock.now())
        seen = (await tenant.client.get("/v1/billing/preview?period=2026-11")).json()
        assert (seen["tax_category"], seen["tax_cents"], seen["gross_cents"]) == ("AE", 0, seen["net_cents"])
        assert seen["tax_exemption"] == {
            "code": "VATEX-EU-AE",
            "de": "Steuerschuldnerschaft des Leistungsempfängers.",
            "en": "Reverse charge.",
        }


class TestRegimes:
    async def test_they_are_listed_latest_first_and_replaced_on_their_day(self, operator: httpx.AsyncClient) -> None:
        for valid_from, regime in (("2090-01-01", "small_business"), ("2091-01-01", "small_business")):
            answer = await operator.post("/v1/tax-regimes", json={"valid_from": valid_from, "regime": regime})
            assert (answer.status_code, answer.json()) == (201, {"valid_from": valid_from, "regime": regime})
        await operator.post("/v1/tax-regimes", json={"valid_from": "2091-01-01", "regime": "standard"})
        listed = (await operator.get("/v1/tax-regimes")).json()["items"]
        assert listed[:2] == [
            {"valid_from": "2091-01-01", "regime": "standard"},
            {"valid_from": "2090-01-01", "regime": "small_business"},
        ]

    async def test_an_unknown_one_is_refused(self, operator: httpx.AsyncClient) -> None:
        answer = await operator.post("/v1/tax-regimes", json={"valid_from": "2090-01-01", "regime": "margin"})
        assert answer.status_code == 422


class TestSettings:
    def test_without_a_url_nobody_is_asked(self) -> None:
        settings = Settings(_env_file=None, database_url=None, vies_url="")
        assert open_vies(settings, issuer_of(settings)) is None

    async def test_otherwise_it_is_asked_in_the_name_of_the_issuer(
        self, operator: httpx.AsyncClient, database: Database, context: Context
    ) -> None:
        reseller_id = await admitted(operator)
        with fake_vies() as fake:
            settings = Settings(_env_file=None, database_url=None, vies_url=fake.url, issuer_vat_id="DE136695976")
            vies = open_vies(settings, issuer_of(settings))
            assert vies is not None
            check = await check_vat_id(database, vies, reseller_id, now=context.clock.now())
            await vies.close()
        assert check is not None
        assert check.consultation_number == "WAPIAAAA00000001"

    def test_an_issuer_abroad_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="POSTFACHWERK_ISSUER_COUNTRY must be DE"):
            issuer_of(Settings(_env_file=None, database_url=None, issuer_country="AT"))

    def test_what_is_collected_with_stands_in_the_copy_of_the_issuer(self) -> None:
        key = SecretStr("sk_test_1")
        bare = issuer_of(Settings(_env_file=None, database_url=None))
        given = Settings(_env_file=None, database_url=None, creditor_id="DE98ZZZ09999999999", stripe_api_key=key)
        set_up = issuer_of(given)
        assert (set_up.creditor_id, set_up.has_gateway) == ("DE98ZZZ09999999999", True)
        assert (bare.creditor_id, bare.has_gateway) == (None, False)
