"""Lines of a bank statement, as they come out of its file, and the import of some."""

from datetime import date
from typing import Any

from billing.bank import settle_statement
from billing.documents.camt import StatementEntry
from tests.billing.ledger_factory import ISSUER, read
from tests.billing.payment_world import Till


def line(key: str, amount_cents: int, remittance: str = "", **more: Any) -> StatementEntry:
    fields: dict[str, Any] = {
        "account_iban": ISSUER.iban,
        "statement_id": "2026-226",
        "key": key,
        "amount_cents": amount_cents,
        "currency": "EUR",
        "booked_on": date(2026, 12, 7),
        "value_on": date(2026, 12, 7),
        "counterparty": "Müller & Söhne",
        "counterparty_iban": "AT611904300234573201",
        "remittance": remittance,
        "references": (),
        "end_to_end_id": "",
        "mandate_reference": "",
        "return_reason": "",
        "is_reversal": False,
        "transactions": 1,
        "transaction_code": "PMNT-RCDT-ESCT",
    }
    return StatementEntry(**fields | more)


async def import_(till: Till, *lines: StatementEntry) -> tuple[int, int, int]:
    async with till.database.as_system() as session:
        done = await settle_statement(session, lines, now=till.now, policy=till.policy)
    return done.matched, done.unmatched, done.known


async def number_of(till: Till, invoice: str) -> str:
    return str((await read(till.database, "select number from invoice where id = :id", id=invoice))[0][0])
