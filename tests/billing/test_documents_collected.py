"""What a stored document announces is what Stripe, here its imitation, is then asked for."""

from datetime import date

import pytest
from lxml import etree

from billing.rating import Tier
from tests.billing.ledger_factory import add_customer, add_mailboxes, add_prices, bill, read
from tests.billing.means_world import MEANS, SELLER, TERMS, said, xml_of
from tests.billing.payment_world import CARD, IBAN, Till

pytest_plugins = ["tests.billing.payment_fixtures"]
pytestmark = pytest.mark.anyio


async def add_usage(till: Till, reseller_id: str, *, price_cents: int = 790) -> None:
    """28 mailbox-days of November."""
    async with till.database.as_system() as session:
        await add_prices(session, prices={"exchange": (Tier(1, price_cents),)})
        customer_id = await add_customer(session, reseller_id)
        await add_mailboxes(session, reseller_id, customer_id, count=2, starts_on=date(2026, 11, 17))


async def overpay(till: Till, reseller_id: str, cents: int) -> None:
    """What came in for nothing that is owed is the reseller's balance."""
    await read(
        till.database,
        "insert into payment_entry (id, reseller_id, kind, amount_cents, booked_on, source, created_at) "
        "values ('ent_1', :id, 'receipt', :cents, :day, 'too much', :now) returning 1",
        id=reseller_id,
        cents=cents,
        day=till.now.date(),
        now=till.now,
    )


async def bill_before(till: Till, reseller_id: str, cents: int) -> list[str]:
    """An invoice of another month, whose number leaves the first ones to the run."""
    till.numbers = 900
    return await till.bill(reseller_id, cents)


async def billed(till: Till, reseller_id: str) -> tuple[etree._Element, str]:
    run = await bill(till.database, issuer=SELLER)
    assert (run.documents, run.alarms) == (1, 0)
    query = "select id from invoice where reseller_id = :id and run_id = :run_id"
    ((invoice_id,),) = await read(till.database, query, id=reseller_id, run_id=run.id)
    return await xml_of(till.database, reseller_id), invoice_id


async def test_a_card_is_charged_what_was_said(till: Till) -> None:
    reseller_id = await till.add_payer(card=CARD)
    await add_usage(till, reseller_id)
    tree, invoice_id = await billed(till, reseller_id)
    assert said(tree, f"{MEANS}/ApplicableTradeSettlementFinancialCard/ID") == CARD[-4:]
    await till.collect(invoice_id)
    (cents,) = till.charged(invoice_id)
    assert f"{cents // 100},{cents % 100:02d} €" in (said(tree, f"{TERMS}/Description") or "")


async def test_an_account_is_debited_on_the_day_that_was_said(till: Till) -> None:
    reseller_id = await till.add_payer(iban=IBAN)
    await add_usage(till, reseller_id)
    tree, invoice_id = await billed(till, reseller_id)
    note = said(tree, f"{TERMS}/Description") or ""
    await till.collect(invoice_id)
    ((on, reference),) = await read(
        till.database,
        "select request ->> 'debit_on', method.mandate_reference from payment_attempt "
        "join payment_method method on method.id = method_id",
    )
    assert f"am {date.fromisoformat(on):%d.%m.%Y}" in note
    assert f"Endziffern {IBAN[-4:]}" in note
    assert note.endswith(f"Mandatsreferenz: {reference}.")


async def test_too_little_is_not_charged_and_said_so(till: Till) -> None:
    reseller_id = await till.add_payer(card=CARD)
    await add_usage(till, reseller_id, price_cents=30)
    tree, invoice_id = await billed(till, reseller_id)
    note = said(tree, f"{TERMS}/Description") or ""
    assert "werden mit der nächsten Rechnung eingezogen" in note
    await till.collect(invoice_id)
    assert till.charged(invoice_id) == []
    assert (await till.payment(invoice_id))["error_code"] == "amount_too_small"


async def test_what_was_too_little_before_is_charged_with_it_as_was_said(till: Till) -> None:
    reseller_id = await till.add_payer(card=CARD)
    [small] = await bill_before(till, reseller_id, 37)
    await till.collect(small)
    await add_usage(till, reseller_id)
    tree, invoice_id = await billed(till, reseller_id)
    note = said(tree, f"{TERMS}/Description") or ""
    assert "Darin sind 0,37 € aus früheren Rechnungen" in note
    await till.collect(invoice_id)
    (cents,) = till.charged(invoice_id)
    assert f"mit {cents // 100},{cents % 100:02d} €" in note


@pytest.mark.parametrize("balance", [300, 5_000])
async def test_what_a_balance_pays_is_not_charged_and_said_so(till: Till, balance: int) -> None:
    reseller_id = await till.add_payer(card=CARD)
    await overpay(till, reseller_id, balance)
    await add_usage(till, reseller_id)
    tree, invoice_id = await billed(till, reseller_id)
    payable = int((said(tree, "DuePayableAmount") or "-1").replace(".", ""))
    payment = await till.payment(invoice_id)
    assert payment["due"] == payable == max(payment["amount_cents"] - balance, 0)
    await till.collect(invoice_id)
    assert till.charged(invoice_id) == ([payable] if payable else [])
    assert said(tree, f"{MEANS}/TypeCode") == ("48" if payable else "58")


async def test_a_balance_that_older_invoices_take_pays_nothing_of_it(till: Till) -> None:
    reseller_id = await till.add_payer(card=CARD)
    await add_usage(till, reseller_id)
    [older] = await bill_before(till, reseller_id, 400)
    await overpay(till, reseller_id, 400)
    tree, invoice_id = await billed(till, reseller_id)
    assert said(tree, "TotalPrepaidAmount") == "0.00"
    assert ((await till.payment(older))["due"], (await till.payment(invoice_id))["settled"]) == (0, 0)
