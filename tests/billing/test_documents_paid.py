"""The stored documents say how the reseller pays: as it was when the invoice was finalised."""

from dataclasses import replace
from datetime import date

import pytest
from lxml import etree

from billing import corrections, issuing
from billing.methods import disable_method
from billing.models import RunState
from billing.rating import Tier
from provisioning.core.database import Database
from tests.billing.ledger_factory import IN_DECEMBER, ISSUER, add_billable_resellers, add_prices, bill, read
from tests.billing.means_world import (
    CREDITOR_ID,
    IN_SETTLEMENT,
    MEANS,
    SELLER,
    TERMS,
    pay_by_debit,
    pay_by_stripe,
    pay_by_transfer,
    rendered_again,
    said,
    stored,
    xml_of,
)
from tests.billing.payment_world import IBAN
from tests.billing.run_steps import drive, drive_to, start, validate

pytestmark = pytest.mark.anyio

DECEMBER_15 = "15.12.2026"


class TestStoredDocuments:
    @pytest.mark.parametrize("asked_for", [True, False])
    async def test_who_transfers_is_given_our_account(self, fresh_database: Database, asked_for: bool) -> None:
        [reseller_id] = await add_billable_resellers(fresh_database, 1)
        if asked_for:
            await pay_by_transfer(fresh_database, reseller_id)
        await bill(fresh_database, issuer=SELLER)
        tree = await xml_of(fresh_database, reseller_id)
        assert said(tree, f"{MEANS}/TypeCode") == "58"
        assert said(tree, f"{MEANS}/PayeePartyCreditorFinancialAccount/IBANID") == ISSUER.iban
        assert said(tree, f"{TERMS}/Description") is None

    @pytest.mark.parametrize("kind", ["xrechnung", "zugferd"])
    async def test_who_pays_by_card_is_told_which_is_charged(self, fresh_database: Database, kind: str) -> None:
        [reseller_id] = await add_billable_resellers(fresh_database, 1)
        await pay_by_stripe(fresh_database, reseller_id, "card")
        await bill(fresh_database, issuer=SELLER)
        tree = await xml_of(fresh_database, reseller_id, kind)
        assert said(tree, f"{MEANS}/TypeCode") == "48"
        assert said(tree, f"{MEANS}/ApplicableTradeSettlementFinancialCard/ID") == "4242"
        assert said(tree, f"{MEANS}/PayeePartyCreditorFinancialAccount/IBANID") is None
        assert (said(tree, f"{TERMS}/Description") or "").startswith("Wir belasten Ihre Karte mit den Endziffern 4242")

    async def test_who_pays_by_an_account_at_stripe_is_told_day_digits_and_mandate(
        self, fresh_database: Database
    ) -> None:
        [reseller_id] = await add_billable_resellers(fresh_database, 1)
        await pay_by_stripe(fresh_database, reseller_id, "sepa_debit", "3000")
        await bill(fresh_database, issuer=SELLER)
        tree = await xml_of(fresh_database, reseller_id)
        assert said(tree, f"{MEANS}/TypeCode") == "68"
        note = said(tree, f"{TERMS}/Description") or ""
        assert f"zieht Stripe am {DECEMBER_15} per SEPA-Lastschrift von Ihrem Konto mit den Endziffern 3000" in note
        assert note.endswith("Mandatsreferenz: PXKQ1.")
        assert said(tree, "IBANID") is None

    async def test_who_gave_us_a_mandate_is_told_all_that_a_pre_notification_needs(
        self, fresh_database: Database
    ) -> None:
        [reseller_id] = await add_billable_resellers(fresh_database, 1)
        await pay_by_debit(fresh_database, reseller_id)
        await bill(fresh_database, issuer=SELLER)
        tree = await xml_of(fresh_database, reseller_id)
        assert said(tree, f"{MEANS}/TypeCode") == "59"
        assert said(tree, f"{MEANS}/PayerPartyDebtorFinancialAccount/IBANID") == IBAN
        assert said(tree, f"{TERMS}/DirectDebitMandateID") == "PFW-1"
        assert said(tree, f"{IN_SETTLEMENT}/CreditorReferenceID") == CREDITOR_ID
        assert DECEMBER_15 in (said(tree, f"{TERMS}/Description") or "")

    async def test_an_english_reseller_reads_it_in_english(self, fresh_database: Database) -> None:
        [reseller_id] = await add_billable_resellers(fresh_database, 1, language="en")
        await pay_by_debit(fresh_database, reseller_id)
        await bill(fresh_database, issuer=SELLER)
        tree = await xml_of(fresh_database, reseller_id)
        assert said(tree, f"{MEANS}/Information") == "SEPA direct debit"
        assert (said(tree, f"{TERMS}/Description") or "").startswith("We collect €")

    async def test_without_a_creditor_id_no_debit_is_announced(self, fresh_database: Database) -> None:
        [reseller_id] = await add_billable_resellers(fresh_database, 1)
        await pay_by_debit(fresh_database, reseller_id)
        run = await bill(fresh_database, issuer=replace(SELLER, creditor_id=None))
        assert (run.finalised, run.documents) == (1, 1)
        assert said(await xml_of(fresh_database, reseller_id), f"{MEANS}/TypeCode") == "58"

    async def test_a_mandate_that_has_lapsed_is_not_announced(self, fresh_database: Database) -> None:
        [reseller_id] = await add_billable_resellers(fresh_database, 1)
        await pay_by_debit(fresh_database, reseller_id, signed_on=date(2020, 1, 1))
        await bill(fresh_database, issuer=SELLER)
        assert said(await xml_of(fresh_database, reseller_id), f"{MEANS}/TypeCode") == "58"

    async def test_without_a_gateway_a_card_is_not_announced(self, fresh_database: Database) -> None:
        [reseller_id] = await add_billable_resellers(fresh_database, 1)
        await pay_by_stripe(fresh_database, reseller_id, "card")
        await bill(fresh_database, issuer=replace(SELLER, has_gateway=False))
        assert said(await xml_of(fresh_database, reseller_id), f"{MEANS}/TypeCode") == "58"

    async def test_a_method_that_was_given_up_is_not_announced(self, fresh_database: Database) -> None:
        [reseller_id] = await add_billable_resellers(fresh_database, 1)
        card = await pay_by_stripe(fresh_database, reseller_id, "card")
        async with fresh_database.as_system() as session:
            await disable_method(session, reseller_id, card, reason="detached", now=IN_DECEMBER)
        await bill(fresh_database, issuer=SELLER)
        assert said(await xml_of(fresh_database, reseller_id), f"{MEANS}/TypeCode") == "58"

    async def test_many_resellers_are_told_their_own(self, fresh_database: Database) -> None:
        resellers = await add_billable_resellers(fresh_database, 4)
        await pay_by_stripe(fresh_database, resellers[0], "card", "1111")
        await pay_by_stripe(fresh_database, resellers[1], "sepa_debit")
        await pay_by_debit(fresh_database, resellers[2])
        run = await bill(fresh_database, issuer=SELLER)
        assert (run.finalised, run.documents, run.alarms) == (4, 4, 0)
        codes = [said(await xml_of(fresh_database, each), f"{MEANS}/TypeCode") for each in resellers]
        assert codes == ["48", "68", "59", "58"]

    async def test_an_invoice_over_nothing_announces_nothing(self, fresh_database: Database) -> None:
        [reseller_id] = await add_billable_resellers(fresh_database, 1)
        async with fresh_database.as_system() as session:
            await add_prices(session, valid_from=date(2026, 10, 1), prices={"exchange": (Tier(1, 0),)})
        await pay_by_debit(fresh_database, reseller_id)
        await bill(fresh_database, issuer=SELLER)
        tree = await xml_of(fresh_database, reseller_id)
        assert (said(tree, "DuePayableAmount"), said(tree, f"{TERMS}/Description")) == ("0.00", None)
        assert said(tree, f"{TERMS}/DirectDebitMandateID") is None

    async def test_a_cancellation_is_by_the_means_of_its_invoice(self, fresh_database: Database) -> None:
        [reseller_id] = await add_billable_resellers(fresh_database, 1)
        await pay_by_stripe(fresh_database, reseller_id, "card")
        await bill(fresh_database, issuer=SELLER)
        await pay_by_debit(fresh_database, reseller_id)
        ((invoice_id,),) = await read(fresh_database, "select id from invoice")
        async with fresh_database.as_system() as session:
            note = await corrections.cancel_invoice(
                session, invoice_id, reason="Irrtum", reissue=False, actor="op", issuer=SELLER, now=IN_DECEMBER
            )
        async with fresh_database.as_system() as session:
            assert await issuing.issue_credit_note(session, note.id, now=IN_DECEMBER) is None
        query = "select content from invoice_document where credit_note_id is not null and kind = 'xrechnung'"
        ((content,),) = await read(fresh_database, query)
        tree = etree.fromstring(content)
        assert said(tree, f"{MEANS}/TypeCode") == "48"
        assert said(tree, f"{TERMS}/Description") is None


class TestWhenItChanges:
    @pytest.mark.parametrize("method", ["card", "debit"])
    async def test_after_finalising_the_documents_stay_to_the_byte(self, fresh_database: Database, method: str) -> None:
        [reseller_id] = await add_billable_resellers(fresh_database, 1)
        if method == "card":
            await pay_by_stripe(fresh_database, reseller_id, "card")
        else:
            await pay_by_debit(fresh_database, reseller_id)
        await bill(fresh_database, issuer=SELLER)
        before = await stored(fresh_database, reseller_id)
        await pay_by_transfer(fresh_database, reseller_id)
        await read(fresh_database, "delete from payment_method where not is_default returning 1")
        assert await stored(fresh_database, reseller_id) == before
        assert await rendered_again(fresh_database) == {kind: before[kind] for kind in ("pdf", "xrechnung", "zugferd")}

    async def test_between_finalising_and_rendering_what_was_judged_is_issued(self, fresh_database: Database) -> None:
        [reseller_id] = await add_billable_resellers(fresh_database, 1)
        await pay_by_stripe(fresh_database, reseller_id, "card")
        run_id = await start(fresh_database)
        await drive_to(fresh_database, run_id, RunState.VALIDATING, issuer=SELLER)
        await validate(fresh_database, run_id, issuer=SELLER)
        await drive_to(fresh_database, run_id, RunState.DOCUMENTS, issuer=SELLER)
        await pay_by_debit(fresh_database, reseller_id)
        await drive(fresh_database, run_id, issuer=SELLER)
        assert said(await xml_of(fresh_database, reseller_id), f"{MEANS}/TypeCode") == "48"

    @pytest.mark.parametrize("before", ["transfer", "card", "debit"])
    async def test_between_validating_and_finalising_the_draft_is_judged_again(
        self, fresh_database: Database, before: str
    ) -> None:
        [reseller_id] = await add_billable_resellers(fresh_database, 1)
        if before == "card":
            await pay_by_stripe(fresh_database, reseller_id, "card")
        elif before == "debit":
            await pay_by_debit(fresh_database, reseller_id)
        run_id = await start(fresh_database)
        await drive_to(fresh_database, run_id, RunState.VALIDATING, issuer=SELLER)
        await validate(fresh_database, run_id, issuer=SELLER)
        await drive_to(fresh_database, run_id, RunState.FINALISING, issuer=SELLER)
        await pay_by_stripe(fresh_database, reseller_id, "card", "1881")
        await drive_to(fresh_database, run_id, RunState.VALIDATING, issuer=SELLER)
        assert await read(fresh_database, "select count(number) from invoice") == [(0,)]
        assert (await drive(fresh_database, run_id, issuer=SELLER)).finalised == 1
        tree = await xml_of(fresh_database, reseller_id)
        assert said(tree, f"{MEANS}/ApplicableTradeSettlementFinancialCard/ID") == "1881"

    async def test_a_creditor_id_that_comes_between_has_it_judged_again(self, fresh_database: Database) -> None:
        [reseller_id] = await add_billable_resellers(fresh_database, 1)
        await pay_by_debit(fresh_database, reseller_id)
        run_id = await start(fresh_database)
        await drive_to(fresh_database, run_id, RunState.VALIDATING, issuer=SELLER)
        await validate(fresh_database, run_id, issuer=SELLER)
        await drive_to(fresh_database, run_id, RunState.FINALISING, issuer=SELLER)
        other = replace(SELLER, creditor_id="AT61ZZZ01234567890")
        await drive(fresh_database, run_id, issuer=other)
        tree = await xml_of(fresh_database, reseller_id)
        assert said(tree, f"{IN_SETTLEMENT}/CreditorReferenceID") == "AT61ZZZ01234567890"
