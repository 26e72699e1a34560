"""Debits of our own: in one file, under way until the bank reports, and open again when they come back."""

from datetime import date

import pytest

from billing import debits
from billing.attempts import CollectionPolicy
from billing.documents.sepa import Creditor
from billing.methods import add_direct_debit
from billing.payments import retry
from billing.settlement import lock_payment
from provisioning.core.errors import Conflict
from tests.billing.bank_lines import import_, line, number_of
from tests.billing.ledger_factory import ISSUER, read
from tests.billing.payment_world import POLICY, Till

pytest_plugins = ["tests.billing.payment_fixtures"]

CREDITOR = Creditor(ISSUER.name, ISSUER.iban, "DE98ZZZ09999999999", ISSUER.bic)


async def add_debtor(till: Till, *, reference: str = "PFW-1", signed_on: date = date(2026, 11, 1)) -> str:
    reseller_id = await till.add_payer()
    async with till.database.as_system() as session:
        await add_direct_debit(
            session,
            reseller_id,
            iban="DE89370400440532013000",
            bic=None,
            holder="Müller & Söhne",
            mandate_reference=reference,
            signed_on=signed_on,
            now=till.now,
        )
    return reseller_id


async def make_file(till: Till) -> debits.Made:
    async with till.database.as_system() as session:
        return await debits.make_debits(session, CREDITOR, actor="key_1", notice_days=14, now=till.now)


async def debit_of(till: Till, invoice: str) -> str:
    rows = await read(
        till.database,
        "select request ->> 'end_to_end_id' from payment_attempt where payment_id = "
        "(select id from payment where invoice_id = :id) order by number desc",
        id=invoice,
    )
    return str(rows[0][0])


async def test_what_is_due_under_a_mandate_goes_to_the_bank_once(till: Till) -> None:
    [one, two] = await till.bill(await add_debtor(till), 1786, 2500)
    made = await make_file(till)
    assert (made.file.count, made.file.total_cents, made.left_out) == (2, 4286, ())
    assert made.file.content.count(b"<EndToEndId>") == 2
    assert [(await till.payment(each))["status"] for each in (one, two)] == ["processing", "processing"]
    with pytest.raises(Conflict) as refusal:
        await make_file(till)
    assert refusal.value.code == "nothing_to_debit"


async def test_a_debit_is_paid_when_the_statement_shows_it(till: Till) -> None:
    [invoice] = await till.bill(await add_debtor(till), 1786)
    await make_file(till)
    assert await import_(till, line("k1", 1786, end_to_end_id=await debit_of(till, invoice))) == (1, 0, 0)
    assert (await till.payment(invoice))["status"] == "paid"
    assert await till.attempts(invoice) == [("debit", "succeeded", None, None)]


async def test_debits_that_the_bank_credits_in_one_sum_are_all_paid(till: Till) -> None:
    invoices = await till.bill(await add_debtor(till), 1786, 2500)
    [other] = await till.bill(await add_debtor(till, reference="PFW-2"), 900)
    await make_file(till)
    assert await import_(till, line("k0", 5000, transactions=3)) == (0, 1, 0), "no batch of ours has this sum"
    assert await import_(till, line("k1", 1786 + 2500 + 900, transactions=3)) == (1, 0, 0)
    for invoice in (*invoices, other):
        assert ((await till.payment(invoice))["status"], (await till.payment(invoice))["due"]) == ("paid", 0)
    assert await import_(till, line("k1", 1786 + 2500 + 900, transactions=3)) == (0, 0, 1)


async def test_each_sort_of_debits_that_the_bank_credits_by_itself_is_paid(till: Till) -> None:
    first, second = await till.bill(await add_debtor(till), 1786, 2500)
    [other] = await till.bill(await add_debtor(till, reference="PFW-2"), 900)
    content = (await make_file(till)).file.content
    assert (content.count(b"FRST"), content.count(b"RCUR")) == (1, 1)
    rows = await read(
        till.database,
        "select request ->> 'sequence', count(*), sum(amount_cents)::bigint from payment_attempt group by 1",
    )
    batches = {row[0]: row[1:] for row in rows}
    assert (batches["FRST"][0], batches["RCUR"][0]) == (2, 1)
    assert await import_(till, line("k1", batches["FRST"][1], transactions=2)) == (1, 0, 0)
    paid = [(await till.payment(each))["status"] for each in (first, second, other)]
    assert sorted(paid) == ["paid", "paid", "processing"]


@pytest.mark.parametrize("was_paid", [True, False])
@pytest.mark.parametrize(("reason", "usable"), [("AM04", True), ("MD06", False), ("AC04", False)])
async def test_a_debit_that_comes_back_opens_the_invoice_with_the_fee(
    till: Till, was_paid: bool, reason: str, usable: bool
) -> None:
    [invoice] = await till.bill(await add_debtor(till), 1786)
    await make_file(till)
    debit = await debit_of(till, invoice)
    if was_paid:
        await import_(till, line("k1", 1786, end_to_end_id=debit))
    assert await import_(till, line("k2", -2086, end_to_end_id=debit, return_reason=reason)) == (1, 0, 0)
    payment = await till.payment(invoice)
    assert (payment["status"], payment["due"]) == ("failed", 1786 + POLICY.return_fee_cents)
    assert await read(till.database, "select is_default from payment_method") == [(usable,)]
    assert await import_(till, line("k2", -2086, end_to_end_id=debit, return_reason=reason)) == (0, 0, 1)


async def test_a_return_that_no_debit_of_ours_explains_waits_for_people(till: Till) -> None:
    assert await import_(till, line("k1", -1786, end_to_end_id="foreign", return_reason="AM04")) == (0, 1, 0)


async def test_a_debit_that_failed_once_is_made_again_when_it_is_asked_for(till: Till) -> None:
    [invoice] = await till.bill(await add_debtor(till), 1786)
    till.policy = CollectionPolicy()
    await make_file(till)
    await import_(till, line("k1", -1786, end_to_end_id=await debit_of(till, invoice), return_reason="AM04"))
    async with till.database.as_system() as session:
        await retry(session, await lock_payment(session, (await till.payment(invoice))["id"]), now=till.now)
    till.let_pass(days=1)
    await till.collect(invoice)
    made = await make_file(till)
    assert (made.file.count, b"RCUR" in made.file.content or b"FRST" in made.file.content) == (1, True)
    assert [attempt[1] for attempt in await till.attempts(invoice)] == ["failed", "processing"]


async def test_a_mandate_that_has_lapsed_is_left_out_and_said(till: Till) -> None:
    [good] = await till.bill(await add_debtor(till), 1786)
    [lapsed] = await till.bill(await add_debtor(till, reference="PFW-2", signed_on=date(2020, 1, 1)), 900)
    made = await make_file(till)
    assert made.file.count == 1
    assert [(each.payment_id, each.code) for each in made.left_out] == [
        ((await till.payment(lapsed))["id"], "sepa_mandate")
    ]
    assert [(await till.payment(each))["status"] for each in (good, lapsed)] == ["processing", "open"]


async def test_a_transfer_while_the_debit_is_under_way_becomes_credit(till: Till) -> None:
    reseller_id = await add_debtor(till)
    [invoice] = await till.bill(reseller_id, 1786)
    await make_file(till)
    number = await number_of(till, invoice)
    await import_(till, line("k1", 1786, number))
    await import_(till, line("k2", 1786, end_to_end_id=await debit_of(till, invoice)))
    payment = await till.payment(invoice)
    assert payment["status"] == "paid"
    assert await till.balance(reseller_id) + (await received_unmatched(till)) == 1786


async def received_unmatched(till: Till) -> int:
    rows = await read(
        till.database, "select coalesce(sum(amount_cents), 0)::bigint from bank_entry where state = 'unmatched'"
    )
    return int(rows[0][0])
