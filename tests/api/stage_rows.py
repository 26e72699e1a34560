"""Rows in which every documented example works: a tenant with one of everything, and another with the same.

They are made once for each test process and cloned for every test that writes, so that each begins with the same ids
and sees nobody else's rows.
"""

from datetime import date
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from billing.periods import BillingMonth
from provisioning.core.database import Database
from provisioning.keys import OPERATOR_SCOPES, RESELLER_SCOPES, NewKey, create_key
from provisioning.terms import AddOn, DomainState, Scope, Standing
from tests import conftest, factories
from tests.api import billing_rows
from tests.api.conftest import PEPPER
from tests.api.payment_rows import (
    add_bank_rows,
    add_payment_rows,
    mark_charged_and_credited,
    name_credit_note,
    name_payment,
)
from tests.api.stage import Facts
from tests.billing import ledger_factory, resale_factory

NOW = conftest.NOW

# What the documented examples speak of.
DOCUMENTED_CUSTOMER = "cus_01k9z3f6m2w5t8y1c4e7h0j3n6"
DOCUMENTED_CREDIT_NOTE = "crn_01k9z3f6m2w5t8y1c4e7h0j3n6"
DOCUMENTED_PAYMENT = "pay_01k9z3f6m2w5t8y1c4e7h0j3n6"
DOCUMENTED_RESELLER = "res_01k9z3f6m2w5t8y1c4e7h0j3n6"
DOCUMENTED_COUPON = "cou_01k9z3f6m2w5t8y1c4e7h0j3n6"
OCTOBER, SEPTEMBER, AUGUST = BillingMonth(2026, 10), BillingMonth(2026, 9), BillingMonth(2026, 8)


async def build(url: str) -> Facts:
    database = Database(url, pool_size=2)
    facts = Facts()
    try:
        async with database.as_system() as session:
            await ledger_factory.add_prices(session)
            facts.own = await _make_tenant(session, customer_id=DOCUMENTED_CUSTOMER, name="kanzlei-lindenhof.example")
            facts.foreign = await _make_tenant(session, name="praxis-am-markt.example")
            await _make_odd_resellers(session, facts)
            await _make_keys(session, facts)
            await billing_rows.add_coupon(session, DOCUMENTED_COUPON)
            facts.own["coupon_id"] = DOCUMENTED_COUPON
            facts.own["discount_id"] = await billing_rows.add_discount(session, facts.foreign["reseller_id"])
            facts.own["price_list_id"] = await ledger_factory.add_prices(session, valid_from=date(2030, 1, 1))
        await _make_runs(database, facts)
    finally:
        await database.close()
    return facts


async def _make_tenant(session: AsyncSession, *, name: str, **customer: Any) -> dict[str, str]:
    """One of everything, by the name of the path parameter that it is for."""
    reseller = await factories.make_reseller(session, **({"id": DOCUMENTED_RESELLER} if customer else {}))
    served = await factories.make_customer(session, reseller)
    unserved = await factories.make_customer(session, reseller, **({"id": customer["customer_id"]} if customer else {}))
    domain = await factories.make_domain(session, served, name=name)
    unproven = await factories.make_domain(
        session, unserved, name=f"neu.{name}", state=DomainState.PENDING_VERIFICATION, verified_at=None
    )
    unused = await factories.make_domain(session, unserved, name=f"alt.{name}")
    boss = await factories.order_mailbox(session, domain, address=f"chef@{name}")
    secretary = await factories.order_mailbox(session, domain, address=f"sekretariat@{name}")
    await factories.make_share(session, boss, secretary, scope=Scope.CALENDAR)
    broken = await factories.order_mailbox(session, domain, address=f"kaputt@{name}")
    operations = {row.mailbox_id: row.id for row in await session.execute(text("select id, mailbox_id from operation"))}
    await session.execute(
        text("update operation set state = 'failed', finished_at = :now where id = :id"),
        {"id": operations[broken.id], "now": NOW},
    )
    await session.execute(text("update mailbox set failed = true where id = :id"), {"id": broken.id})
    for first_on, ends_on in ((date(2026, 8, 5), date(2026, 9, 1)), (date(2026, 9, 5), date(2026, 11, 1))):
        await ledger_factory.add_mailboxes(session, reseller.id, served.id, starts_on=first_on, ends_on=ends_on)
    dkim_key = await factories.make_dkim_key(session, domain)
    resale_price_id = await resale_factory.add_resale_price(session, reseller.id)
    await resale_factory.add_billing_data(session, reseller.id, [served.id, unserved.id])
    return {
        "resale_price_id": resale_price_id,
        "reseller_id": reseller.id,
        "customer_id": unserved.id,
        "served_customer_id": served.id,
        "dkim_key_id": dkim_key.id,
        "domain_id": unused.id,
        "unproven_domain_id": unproven.id,
        "verification_token": unproven.verification_token,
        "mailbox_id": boss.id,
        "grantee": secretary.id,
        "operation_id": operations[broken.id],
        "scope": Scope.CALENDAR.value,
        "add_on": AddOn.ARCHIVE.value,
        "address": f"krueger@{name}",
        "code": "de-fra-1",
        "scheme": "ISO27001",
        "name": name,
        "kind": "TXT",
    }


async def _make_odd_resellers(session: AsyncSession, facts: Facts) -> None:
    """One whose invoice cannot be written, one of another EU country, and a suspended one."""
    abroad = await factories.make_reseller(session, country="AT", postcode="5020", vat_id="ATU12345675")
    facts.own["eu_reseller_id"] = abroad.id
    reseller = await factories.make_reseller(session, city="")
    customer = await factories.make_customer(session, reseller)
    await ledger_factory.add_mailboxes(
        session, reseller.id, customer.id, starts_on=date(2026, 10, 5), ends_on=date(2026, 11, 1)
    )
    suspended = await factories.make_reseller(session, standing=Standing.SUSPENDED)
    facts.secrets["suspended"] = (await _make_key(session, suspended.id, RESELLER_SCOPES)).secret


async def _make_key(session: AsyncSession, owner: str | None, scopes: frozenset[str]) -> NewKey:
    return await create_key(session, owner, name="test", scopes=scopes, expires_at=None, pepper=PEPPER, now=NOW)


async def _make_keys(session: AsyncSession, facts: Facts) -> None:
    async def make(owner: str | None, scopes: frozenset[str]) -> tuple[str, str]:
        new = await _make_key(session, owner, scopes)
        return new.key.id, new.secret

    owner, other = facts.own["reseller_id"], facts.foreign["reseller_id"]
    facts.own["key_id"], _ = await make(owner, RESELLER_SCOPES)
    facts.foreign["key_id"], _ = await make(other, RESELLER_SCOPES)
    _, facts.secrets["tenant"] = await make(owner, RESELLER_SCOPES)
    overreaching_id, facts.secrets["overreaching"] = await make(owner, RESELLER_SCOPES)
    await session.execute(
        text("update api_key set scopes = :scopes where id = :id"),
        {"scopes": sorted(OPERATOR_SCOPES), "id": overreaching_id},
    )
    _, facts.secrets["operator"] = await make(None, OPERATOR_SCOPES)
    for scope in sorted(OPERATOR_SCOPES):
        _, facts.lacking[True, scope] = await make(None, OPERATOR_SCOPES - {scope})
        _, facts.lacking[False, scope] = await make(owner, RESELLER_SCOPES - {scope})


async def _make_runs(database: Database, facts: Facts) -> None:
    """October is billed, with one reseller parked; September's run has only just been asked for.

    August's invoices have a credit note each, so that October's can still be cancelled.
    """
    credited = await ledger_factory.bill(database, AUGUST, now=NOW)
    billed = await ledger_factory.bill(database, OCTOBER, now=NOW)
    async with database.as_system() as session:
        begun = await billing_rows.begin_run(session, SEPTEMBER)
        rows = await session.execute(text("select run_id, reseller_id, id from invoice"))
        invoices = {(row.run_id, row.reseller_id): row.id for row in rows}
        for each in (facts.own, facts.foreign):
            each["invoice_id"] = invoices[billed.id, each["reseller_id"]]
            each["credit_note_id"] = await billing_rows.credit_net(
                session, invoices[credited.id, each["reseller_id"]], 1
            )
            each.update(await add_payment_rows(session, each["reseller_id"]))
        facts.own["charged_payment_id"] = facts.foreign["payment_id"]
        refundable = await mark_charged_and_credited(session, facts.foreign["payment_id"])
        facts.own |= await add_bank_rows(session)
    await name_credit_note(database, refundable, DOCUMENTED_CREDIT_NOTE)
    facts.own["payment_id"] = await name_payment(database, facts.own["payment_id"], DOCUMENTED_PAYMENT)
    facts.own |= {"run_id": billed.id, "begun_run_id": begun.id}
