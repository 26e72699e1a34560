"""Stored documents, corrections of final invoices, and the run's phases between checking and success."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from provisioning.core.security import drop_immutable, make_immutable, protect

revision = "20261124_05"
down_revision = "20261124_07"
branch_labels = None
depends_on = None

IMMUTABLE = ("credit_note", "credit_note_line", "invoice_document")

# Whoever corrects an invoice waits for whoever else does: the sums below are of all that is committed.
CREDIT_NOTE_WITHIN_INVOICE = """
    create function credit_note_within_invoice() returns trigger language plpgsql as $$
    declare
        charged record;
        credited record;
    begin
        select * into charged from invoice where id = new.invoice_id for no key update;
        if charged is null or charged.status <> 'final' or charged.reseller_id <> new.reseller_id then
            raise exception 'invoice % is not a final one of reseller %', new.invoice_id, new.reseller_id
                using errcode = 'integrity_constraint_violation', constraint = 'credit_note_of_final_invoice';
        end if;
        select coalesce(sum(net_cents), 0) as net_cents, coalesce(sum(tax_cents), 0) as tax_cents,
            coalesce(sum(allowances_cents), 0) as allowances_cents
            into credited from credit_note where invoice_id = new.invoice_id;
        if credited.net_cents + new.net_cents > charged.net_cents
            or credited.tax_cents + new.tax_cents > charged.tax_cents then
            raise exception 'invoice % charged less than its corrections would take back', new.invoice_id
                using errcode = 'integrity_constraint_violation', constraint = 'credit_note_within_invoice';
        end if;
        return new;
    end $$
"""

# The row of the credit note has locked the invoice.
CREDIT_NOTE_LINE_WITHIN_INVOICE = """
    create function credit_note_line_within_invoice() returns trigger language plpgsql as $$
    declare
        corrected text;
    begin
        select invoice_id into corrected from credit_note where id = new.credit_note_id;
        if new.net_cents + coalesce((
            select sum(line.net_cents) from credit_note_line line
            join credit_note on credit_note.id = line.credit_note_id
            where credit_note.invoice_id = corrected and line.invoice_position = new.invoice_position
        ), 0) > coalesce((
            select net_cents from invoice_line where invoice_id = corrected and position = new.invoice_position
        ), -1) then
            raise exception 'line % of invoice % charged less than its corrections would take back',
                new.invoice_position, corrected
                using errcode = 'integrity_constraint_violation', constraint = 'credit_note_within_invoice';
        end if;
        return new;
    end $$
"""

INVOICE_REPLACES_CANCELLED = """
    create function invoice_replaces_cancelled() returns trigger language plpgsql as $$
    begin
        if not exists (
            select from invoice replaced
            join credit_note on credit_note.invoice_id = replaced.id and credit_note.kind = 'cancellation'
            where replaced.id = new.replaces_id and replaced.reseller_id = new.reseller_id
                and replaced.period_starts_on = new.period_starts_on
        ) then
            raise exception 'invoice % is not a cancelled one of the same period', new.replaces_id
                using errcode = 'integrity_constraint_violation', constraint = 'invoice_replaces_cancelled';
        end if;
        return new;
    end $$
"""

# A draft that is to say something else is a new draft: what the gate has seen of it stays true.
INVOICE_LINE_IS_NEVER_EDITED = """
    create function invoice_line_is_never_edited() returns trigger language plpgsql as $$
    begin
        raise exception 'the lines of an invoice are never edited'
            using errcode = 'integrity_constraint_violation';
    end $$
"""

# Lines have no id of their own.
CREDIT_NOTE_LINE_IS_IMMUTABLE = """
    create function credit_note_line_is_immutable() returns trigger language plpgsql as $$
    begin
        raise exception 'credit_note_line is immutable' using errcode = 'integrity_constraint_violation';
    end $$
"""


def upgrade() -> None:
    extend_tables()
    create_tables()
    for table in IMMUTABLE:
        protect(table, app="select")
    make_immutable("credit_note")
    make_immutable("invoice_document")
    op.execute(CREDIT_NOTE_LINE_IS_IMMUTABLE)
    op.execute(
        "create trigger credit_note_line_immutable before update or delete or truncate on credit_note_line "
        "for each statement execute function credit_note_line_is_immutable()"
    )
    op.execute(INVOICE_LINE_IS_NEVER_EDITED)
    op.execute(
        "create trigger invoice_line_stays_as_drafted after update on invoice_line "
        "for each statement execute function invoice_line_is_never_edited()"
    )
    op.execute(CREDIT_NOTE_WITHIN_INVOICE)
    op.execute(CREDIT_NOTE_LINE_WITHIN_INVOICE)
    for table in ("credit_note", "credit_note_line"):
        op.execute(
            f"create trigger {table}_within_invoice before insert on {table} "
            f"for each row execute function {table}_within_invoice()"
        )
    op.execute(INVOICE_REPLACES_CANCELLED)
    op.execute(
        "create trigger invoice_replaces_cancelled before insert on invoice for each row "
        "when (new.replaces_id is not null) execute function invoice_replaces_cancelled()"
    )


def extend_tables() -> None:
    op.add_column("reseller", sa.Column("language", sa.String(), nullable=False, server_default="de"))
    op.alter_column("reseller", "language", server_default=None)
    for name in ("contact_name", "buyer_reference", "electronic_address", "electronic_address_scheme"):
        op.add_column("reseller", sa.Column(name, sa.String(), nullable=True))
    for name in ("documents", "alarms"):
        op.add_column("invoice_run", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
        op.alter_column("invoice_run", name, server_default=None)
    op.add_column("invoice_run_item", sa.Column("report", postgresql.JSONB(), nullable=True))
    for name in ("validated_hash", "alarm"):
        op.add_column("invoice_run_item", sa.Column(name, sa.String(), nullable=True))
    op.create_index(
        "ix_invoice_run_item_alarm",
        "invoice_run_item",
        ["run_id"],
        unique=False,
        postgresql_where=sa.text("alarm is not null"),
    )
    op.add_column("invoice", sa.Column("replaces_id", sa.String(collation="C"), nullable=True))
    op.create_foreign_key(op.f("fk_invoice_replaces_id_invoice"), "invoice", "invoice", ["replaces_id"], ["id"])
    op.create_unique_constraint(op.f("uq_invoice_replaces_id"), "invoice", ["replaces_id"])
    op.drop_constraint("uq_invoice_reseller_id_period_starts_on", "invoice")
    op.create_index(
        "uq_invoice_reseller_id_period_starts_on",
        "invoice",
        ["reseller_id", "period_starts_on"],
        unique=True,
        postgresql_where=sa.text("replaces_id is null"),
    )


def create_tables() -> None:
    op.create_table(
        "credit_note",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("invoice_id", sa.String(collation="C"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("series", sa.String(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("issued_on", sa.Date(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("allowances_cents", sa.BigInteger(), nullable=False),
        sa.Column("net_cents", sa.BigInteger(), nullable=False),
        sa.Column("tax_cents", sa.BigInteger(), nullable=False),
        sa.Column("gross_cents", sa.BigInteger(), nullable=False),
        sa.Column("tax_category", sa.String(), nullable=False),
        sa.Column("rate_basis_points", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("gross_cents = net_cents + tax_cents", name=op.f("ck_credit_note_sums_agree")),
        sa.CheckConstraint(
            "least(net_cents, tax_cents, allowances_cents) >= 0", name=op.f("ck_credit_note_not_negative")
        ),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"], name=op.f("fk_credit_note_invoice_id_invoice")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_credit_note_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_note")),
        sa.UniqueConstraint("number", name=op.f("uq_credit_note_number")),
        sa.UniqueConstraint("series", "year", "sequence", name=op.f("uq_credit_note_series_year_sequence")),
    )
    op.create_index("ix_credit_note_invoice_id", "credit_note", ["invoice_id"], unique=False)
    op.create_index("ix_credit_note_reseller_id_id", "credit_note", ["reseller_id", "id"], unique=False)
    op.create_index(
        "uq_credit_note_cancellation",
        "credit_note",
        ["invoice_id"],
        unique=True,
        postgresql_where=sa.text("kind = 'cancellation'"),
    )
    op.create_table(
        "credit_note_line",
        sa.Column("credit_note_id", sa.String(collation="C"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("invoice_position", sa.Integer(), nullable=False),
        sa.Column("net_cents", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("net_cents >= 0", name=op.f("ck_credit_note_line_not_negative")),
        sa.ForeignKeyConstraint(
            ["credit_note_id"], ["credit_note.id"], name=op.f("fk_credit_note_line_credit_note_id_credit_note")
        ),
        sa.PrimaryKeyConstraint("credit_note_id", "position", name=op.f("pk_credit_note_line")),
        sa.UniqueConstraint(
            "credit_note_id", "invoice_position", name=op.f("uq_credit_note_line_credit_note_id_invoice_position")
        ),
    )
    create_document_table()


def create_document_table() -> None:
    op.create_table(
        "invoice_document",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("invoice_id", sa.String(collation="C"), nullable=True),
        sa.Column("credit_note_id", sa.String(collation="C"), nullable=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retain_until", sa.Date(), nullable=False),
        sa.CheckConstraint("num_nonnulls(invoice_id, credit_note_id) = 1", name=op.f("ck_invoice_document_of_one")),
        sa.CheckConstraint(
            "sha256 = encode(sha256(content), 'hex')", name=op.f("ck_invoice_document_digest_of_content")
        ),
        sa.ForeignKeyConstraint(
            ["credit_note_id"], ["credit_note.id"], name=op.f("fk_invoice_document_credit_note_id_credit_note")
        ),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"], name=op.f("fk_invoice_document_invoice_id_invoice")),
        sa.ForeignKeyConstraint(
            ["reseller_id"], ["reseller.id"], name=op.f("fk_invoice_document_reseller_id_reseller")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoice_document")),
        sa.UniqueConstraint("credit_note_id", "kind", name=op.f("uq_invoice_document_credit_note_id_kind")),
        sa.UniqueConstraint("invoice_id", "kind", name=op.f("uq_invoice_document_invoice_id_kind")),
    )
    op.create_index("ix_invoice_document_reseller_id_id", "invoice_document", ["reseller_id", "id"], unique=False)


def downgrade() -> None:
    for table in ("invoice_document", "credit_note_line", "credit_note"):
        op.drop_table(table)
    op.execute("drop trigger invoice_replaces_cancelled on invoice")
    op.execute("drop trigger invoice_line_stays_as_drafted on invoice_line")
    for function in (
        "invoice_replaces_cancelled",
        "invoice_line_is_never_edited",
        "credit_note_within_invoice",
        "credit_note_line_within_invoice",
        "credit_note_line_is_immutable",
    ):
        op.execute(f"drop function {function}()")
    for table in ("credit_note", "invoice_document"):
        drop_immutable(table)
    op.drop_index("uq_invoice_reseller_id_period_starts_on", "invoice")
    op.drop_constraint(op.f("fk_invoice_replaces_id_invoice"), "invoice")
    op.drop_column("invoice", "replaces_id")
    op.create_unique_constraint(
        op.f("uq_invoice_reseller_id_period_starts_on"), "invoice", ["reseller_id", "period_starts_on"]
    )
    op.drop_index("ix_invoice_run_item_alarm", "invoice_run_item")
    for name in ("report", "validated_hash", "alarm"):
        op.drop_column("invoice_run_item", name)
    for name in ("documents", "alarms"):
        op.drop_column("invoice_run", name)
    for name in ("language", "contact_name", "buyer_reference", "electronic_address", "electronic_address_scheme"):
        op.drop_column("reseller", name)
