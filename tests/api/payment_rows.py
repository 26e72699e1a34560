"""Rows in which the documented examples of payments work: methods, a charged payment, a bank entry, a file."""

from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from billing.attempts import open_attempt
from billing.methods import add_direct_debit, add_transfer, make_default
from billing.payment_models import AttemptKind, AttemptState, BankEntry, BankEntryState, DirectDebitFile, EntryKind
from billing.settlement import book, finish, lock_payment, restate
from provisioning.core.database import Database
from provisioning.core.ids import new_id
from tests.api.billing_rows import credit_net
from tests.api.dunning_rows import add_notice
from tests.conftest import NOW
from tests.superuser import rewrite


async def add_payment_rows(session: AsyncSession, reseller_id: str) -> dict[str, str]:
    """A mandate that invoices are collected with, and a transfer beside it."""
    debit = await add_direct_debit(
        session,
        reseller_id,
        iban="DE02120300000000202051",
        bic=None,
        holder="IT-Haus Goslar GmbH",
        mandate_reference=new_id("PFW").replace("_", "-"),
        signed_on=date(2026, 9, 1),
        now=NOW,
    )
    transfer = await add_transfer(session, reseller_id, now=NOW)
    await make_default(session, debit, now=NOW)
    row = await session.execute(
        text("select id from payment where reseller_id = :reseller_id order by id desc limit 1"),
        {"reseller_id": reseller_id},
    )
    return {"payment_method_id": transfer.id, "payment_id": row.scalar_one(), **await add_notice(session, reseller_id)}


async def mark_charged_and_credited(session: AsyncSession, payment_id: str) -> str:
    """A payment that Stripe has collected in full, and the credit note over 5 EUR that came too late for it."""
    payment = await lock_payment(session, payment_id)
    credit_note_id = await credit_net(session, payment.invoice_id, 420)
    attempt_id = new_id("att")
    attempt = await open_attempt(
        session,
        payment,
        AttemptKind.CHARGE,
        {},
        attempt_id=attempt_id,
        key=None,
        amount_cents=payment.amount_cents,
        method=None,
        now=NOW,
    )
    attempt.provider_id, payment.provider_id = "ch_paper", "pi_paper"
    finish(attempt, AttemptState.SUCCEEDED, now=NOW)
    await book(session, payment, EntryKind.RECEIPT, payment.amount_cents, source="ch_paper", now=NOW)
    await restate(session, payment, now=NOW)
    return credit_note_id


async def name_credit_note(database: Database, credit_note_id: str, name: str) -> None:
    """The same for a credit note, which documents and entries refer to."""
    await rewrite(
        database,
        "update credit_note set id = %(name)s where id = %(id)s",
        "update credit_note_line set credit_note_id = %(name)s where credit_note_id = %(id)s",
        "update invoice_document set credit_note_id = %(name)s where credit_note_id = %(id)s",
        "update payment_entry set source = 'cn-' || %(name)s where source = 'cn-' || %(id)s",
        name=name,
        id=credit_note_id,
    )


async def name_payment(database: Database, payment_id: str, name: str) -> str:
    """Give a payment that nothing refers to yet another id, as only the superuser of a test can."""
    await rewrite(database, "update payment set id = %(name)s where id = %(id)s", name=name, id=payment_id)
    return name


async def add_bank_rows(session: AsyncSession) -> dict[str, str]:
    """A line that waits to be assigned, and a file that went to the bank."""
    entry = BankEntry(
        id=new_id("bke"),
        entry_key="a line of a statement",
        state=BankEntryState.UNMATCHED,
        amount_cents=500,
        booked_on=date(2026, 11, 16),
        created_at=NOW,
    )
    file = DirectDebitFile(
        id=new_id("ddf"),
        collect_on=date(2026, 11, 30),
        count=1,
        total_cents=500,
        content=b"<Document/>",
        sha256="5f" * 32,
        actor="operator",
        created_at=NOW,
    )
    session.add_all([entry, file])
    await session.flush()
    return {"bank_entry_id": entry.id, "direct_debit_id": file.id}
