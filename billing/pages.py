"""The page of an invoice: what its PDF says, for screen and paper."""

import asyncio
from dataclasses import replace
from datetime import date

from sqlalchemy.ext.asyncio import AsyncSession

from billing.composing import compose_invoice
from billing.document_sources import page_facts
from billing.documents.html import render_html
from billing.models import Invoice, Issuer
from billing.money import Language


async def invoice_page(
    session: AsyncSession, invoice: Invoice, *, language: Language | None, issuer: Issuer, today: date
) -> tuple[str, Language]:
    """Return the page and its language, which is the buyer's when none is named; a draft's as if it were issued today.

    Raises ValueError for a draft that no document can be made of.
    """
    document = replace(
        compose_invoice(await page_facts(session, invoice, issuer=issuer, today=today), language), logo=issuer.logo
    )
    # An annex of thousands of mailboxes takes its time, which others need not wait for.
    return await asyncio.to_thread(render_html, document), document.language
