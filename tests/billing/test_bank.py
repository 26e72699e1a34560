"""What the bank reports: booked once for each line, matched by what it names, else left to people."""

from datetime import date

import pytest

from billing import bank
from billing.iban import creditor_reference
from billing.payment_models import BankEntryState
from billing.settlement import lock_payment
from provisioning.core.errors import Conflict
from tests.billing.bank_lines import import_, line, number_of
from tests.billing.ledger_factory import read
from tests.billing.payment_world import Till

pytest_plugins = ["tests.billing.payment_fixtures"]


async def test_a_transfer_that_names_its_invoice_pays_it_once_however_often_it_is_imported(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(), 1786)
    entry = line("k1", 1786, f"Rechnung {await number_of(till, invoice)} Danke")
    assert await import_(till, entry) == (1, 0, 0)
    assert await import_(till, entry) == (0, 0, 1)
    payment = await till.payment(invoice)
    assert (payment["status"], payment["due"]) == ("paid", 0)
    assert await read(till.database, "select booked_on from payment_entry") == [(date(2026, 12, 7),)]


async def test_two_halves_pay_the_whole_and_too_much_is_credit(till: Till) -> None:
    reseller_id = await till.add_payer()
    [invoice] = await till.bill(reseller_id, 1786)
    reference = f"RF{await reference_of(till, invoice)}"
    assert await import_(till, line("k1", 1000, references=(reference,))) == (1, 0, 0)
    assert ((await till.payment(invoice))["status"], (await till.payment(invoice))["due"]) == ("open", 786)
    assert await import_(till, line("k2", 1000, references=(reference,))) == (1, 0, 0)
    assert (await till.payment(invoice))["status"] == "paid"
    assert await till.balance(reseller_id) == 214


async def test_one_transfer_for_two_invoices_pays_both(till: Till) -> None:
    [one, two] = await till.bill(await till.add_payer(), 1786, 2500)
    text = f"{await number_of(till, one)} und {await number_of(till, two)}"
    assert await import_(till, line("k1", 4286, text)) == (1, 0, 0)
    assert [(await till.payment(each))["status"] for each in (one, two)] == ["paid", "paid"]


async def test_what_was_paid_too_much_pays_what_is_open_elsewhere(till: Till) -> None:
    reseller_id = await till.add_payer()
    [one, two] = await till.bill(reseller_id, 1000, 500)
    reference = f"RF{await reference_of(till, one)}"
    await import_(till, line("k1", 1500, references=(reference,)))
    assert [(await till.payment(each))["status"] for each in (one, two)] == ["paid", "paid"]
    assert await till.balance(reseller_id) == 0


async def test_a_line_that_names_nothing_waits_and_is_assigned_once(till: Till) -> None:
    [invoice] = await till.bill(await till.add_payer(), 1786)
    assert await import_(till, line("k1", 1786, "Miete")) == (0, 1, 0)
    assert (await till.payment(invoice))["due"] == 1786
    async with till.database.as_system() as session:
        [waiting] = await bank.list_bank_entries(session, state=BankEntryState.UNMATCHED)
        entry = await bank.get_bank_entry(session, waiting.id)
        payment = await lock_payment(session, (await till.payment(invoice))["id"])
        await bank.assign(session, entry, payment, now=till.now)
        with pytest.raises(Conflict) as refusal:
            await bank.assign(session, entry, payment, now=till.now)
    assert refusal.value.code == "entry_assigned"
    assert (await till.payment(invoice))["status"] == "paid"
    assert await import_(till, line("k1", 1786, "Miete")) == (0, 0, 1)


async def reference_of(till: Till, invoice: str) -> str:
    return creditor_reference(await number_of(till, invoice)).removeprefix("RF")
