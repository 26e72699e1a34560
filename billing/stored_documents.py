"""Documents as they were stored: the same bytes each time."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.document_models import CreditNote, DocumentKind, InvoiceDocument
from billing.models import Invoice
from provisioning.core.errors import Conflict
from provisioning.core.queries import owned


async def get_document(session: AsyncSession, of: Invoice | CreditNote, kind: DocumentKind) -> InvoiceDocument:
    """Return one stored document. Raises Conflict `document_not_ready` as long as there is none."""
    column = col(InvoiceDocument.invoice_id if isinstance(of, Invoice) else InvoiceDocument.credit_note_id)
    query = owned(InvoiceDocument, of.reseller_id).where(column == of.id, col(InvoiceDocument.kind) == kind)
    document = (await session.scalars(query)).one_or_none()
    if document is None:
        raise Conflict(
            f"The documents of {of.number or of.id} are not stored yet. Ask again in a minute; whether something keeps "
            "them up, the items of its invoice run say.",
            code="document_not_ready",
        )
    return document


async def kinds_of(session: AsyncSession, of: Invoice | CreditNote) -> Sequence[DocumentKind]:
    """Return which documents of an invoice or credit note are stored."""
    column = col(InvoiceDocument.invoice_id if isinstance(of, Invoice) else InvoiceDocument.credit_note_id)
    query = select(col(InvoiceDocument.kind)).where(column == of.id, col(InvoiceDocument.reseller_id) == of.reseller_id)
    return sorted((await session.scalars(query)).all())
