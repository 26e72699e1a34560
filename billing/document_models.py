"""What is issued beside the invoice rows: the stored documents, and the corrections of final invoices.

Both are immutable from their first moment, held so by the database.
"""

from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Index, LargeBinary, UniqueConstraint, text
from sqlmodel import Field

from provisioning.core.tables import Id, Table, key, moment, reference, word

RETENTION_YEARS = 8
"""§ 14b (1) UStG, § 147 (3) AO: counted from the end of the year of issue."""


class DocumentKind(StrEnum):
    """`pdf` carries the `zugferd` XML inside; `report` is the gate's verdict on both XML files, as JSON."""

    PDF = "pdf"
    ZUGFERD = "zugferd"
    XRECHNUNG = "xrechnung"
    REPORT = "report"


class CreditNoteKind(StrEnum):
    """A cancellation takes back all of an invoice, a credit note a part or what is left of it."""

    CANCELLATION = "cancellation"
    CREDIT_NOTE = "credit_note"


class CreditNote(Table, table=True):
    """A correction of a final invoice (BT-3 is 381): amounts are positive and taken off what was charged.

    It has a number of its own, in the invoices' series with a K behind. Parties, period and tax are the invoice's.
    The database refuses more than the invoice charged, for all its corrections together, and a second cancellation.
    """

    __tablename__ = "credit_note"
    __table_args__ = (
        UniqueConstraint("series", "year", "sequence"),
        CheckConstraint("gross_cents = net_cents + tax_cents", name="sums_agree"),
        CheckConstraint("least(net_cents, tax_cents, allowances_cents) >= 0", name="not_negative"),
        Index("ix_credit_note_invoice_id", "invoice_id"),
        Index("ix_credit_note_reseller_id_id", "reseller_id", "id"),
        Index("uq_credit_note_cancellation", "invoice_id", unique=True, postgresql_where=text("kind = 'cancellation'")),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    invoice_id: str = reference("invoice.id")
    kind: CreditNoteKind = word(CreditNoteKind)
    number: str = Field(unique=True)
    series: str
    year: int
    sequence: int
    issued_on: date
    reason: str
    currency: str = "EUR"
    allowances_cents: int = Field(default=0, sa_type=BigInteger)
    net_cents: int = Field(sa_type=BigInteger)
    tax_cents: int = Field(sa_type=BigInteger)
    gross_cents: int = Field(sa_type=BigInteger)
    tax_category: str
    rate_basis_points: int
    actor: str
    created_at: datetime = moment()


class CreditNoteLine(Table, table=True):
    """What of one line of the invoice is taken back, before allowances on the document."""

    __tablename__ = "credit_note_line"
    __table_args__ = (
        ForeignKeyConstraint(["credit_note_id"], ["credit_note.id"]),
        UniqueConstraint("credit_note_id", "invoice_position"),
        CheckConstraint("net_cents >= 0", name="not_negative"),
    )

    credit_note_id: str = key()
    position: int = Field(primary_key=True)
    reseller_id: str = Field(sa_type=Id)
    invoice_position: int
    net_cents: int = Field(sa_type=BigInteger)


class InvoiceDocument(Table, table=True):
    """The bytes of one document of an invoice or a credit note; `sha256` is that of `content`, in hexadecimal."""

    __tablename__ = "invoice_document"
    __table_args__ = (
        UniqueConstraint("invoice_id", "kind"),
        UniqueConstraint("credit_note_id", "kind"),
        CheckConstraint("num_nonnulls(invoice_id, credit_note_id) = 1", name="of_one"),
        CheckConstraint("sha256 = encode(sha256(content), 'hex')", name="digest_of_content"),
        Index("ix_invoice_document_reseller_id_id", "reseller_id", "id"),
    )

    id: str = key()
    reseller_id: str = reference("reseller.id")
    invoice_id: str | None = reference("invoice.id", nullable=True)
    credit_note_id: str | None = reference("credit_note.id", nullable=True)
    kind: DocumentKind = word(DocumentKind)
    content: bytes = Field(sa_type=LargeBinary)
    sha256: str
    created_at: datetime = moment()
    retain_until: date
