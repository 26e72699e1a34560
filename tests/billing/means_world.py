"""Resellers who pay by each means there is, and what their stored documents say of it."""

import asyncio
from dataclasses import replace
from datetime import date

from lxml import etree
from sqlalchemy import text

from billing.composing import compose_invoice
from billing.document_sources import final_invoices
from billing.documents.cii import Profile, build_xml
from billing.documents.pdf import render_pdf
from billing.gateways.base import Method
from billing.methods import add_direct_debit, add_transfer, keep_customer, keep_method
from provisioning.core.database import Database
from tests.billing.ledger_factory import IN_DECEMBER, ISSUER, read
from tests.billing.payment_world import IBAN

CREDITOR_ID = "DE98ZZZ09999999999"
SELLER = replace(ISSUER, creditor_id=CREDITOR_ID, has_gateway=True)


async def pay_by_stripe(database: Database, reseller_id: str, kind: str, last4: str = "4242") -> str:
    mandate = {"mandate_id": "mandate_1", "mandate_reference": "PXKQ1", "mandate_status": "active"}
    found = Method(
        f"pm_{kind}_{last4}_{reseller_id}", kind, last4, "cus_1", **(mandate if kind == "sepa_debit" else {})
    )
    async with database.as_system() as session:
        await keep_customer(session, reseller_id, f"cus_{reseller_id}", now=IN_DECEMBER)
        method = await keep_method(session, reseller_id, found, now=IN_DECEMBER)
    assert method is not None
    return method.id


async def pay_by_debit(database: Database, reseller_id: str, *, signed_on: date = date(2026, 11, 1)) -> str:
    async with database.as_system() as session:
        method = await add_direct_debit(
            session,
            reseller_id,
            iban=IBAN,
            bic=None,
            holder="Müller & Söhne",
            mandate_reference="PFW-1",
            signed_on=signed_on,
            now=IN_DECEMBER,
        )
    return method.id


async def pay_by_transfer(database: Database, reseller_id: str) -> None:
    async with database.as_system() as session:
        await add_transfer(session, reseller_id, now=IN_DECEMBER)


async def stored(database: Database, reseller_id: str) -> dict[str, bytes]:
    query = """
        select kind, content from invoice_document
        where reseller_id = :id and invoice_id = (select max(id) from invoice where reseller_id = :id)
    """
    rows = await read(database, query, id=reseller_id)
    return {str(kind): bytes(content) for kind, content in rows}


async def rendered_again(database: Database) -> dict[str, bytes]:
    """The files of the only invoice there is, made anew of its rows."""
    async with database.as_system() as session:
        ids = (await session.scalars(text("select id from invoice"))).all()
        (facts,) = await final_invoices(session, list(ids))
    document = compose_invoice(facts)
    xml = build_xml(document, Profile.ZUGFERD)
    pdf = await asyncio.to_thread(render_pdf, document, xml)
    return {"pdf": pdf, "xrechnung": build_xml(document, Profile.XRECHNUNG), "zugferd": xml}


async def xml_of(database: Database, reseller_id: str, kind: str = "xrechnung") -> etree._Element:
    return etree.fromstring((await stored(database, reseller_id))[kind])


def said(tree: etree._Element, path: str) -> str | None:
    return tree.findtext(f".//{{*}}{path.replace('/', '/{*}')}")


MEANS = "SpecifiedTradeSettlementPaymentMeans"
TERMS = "SpecifiedTradePaymentTerms"
IN_SETTLEMENT = "ApplicableHeaderTradeSettlement"
