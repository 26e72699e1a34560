"""Payments, the attempts to collect them, the money that moved, bank entries, and the inbox of Stripe's events."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from provisioning.core.database import SYSTEM_ROLE
from provisioning.core.security import drop_immutable, make_immutable, protect

revision = "20261124_04"
down_revision = "20261124_03"
branch_labels = None
depends_on = None

# What a reseller's own transaction may do to each.
OWNED = {
    "payment_customer": "select, insert",
    "payment_method": "select, insert, update",
    "payment": "select, update (status, next_attempt_at)",
    "payment_attempt": "select",
    "payment_entry": "select",
    "bank_entry": "select",
}
OF_THE_OPERATOR = ("stripe_event", "event_poll", "direct_debit_file")
TABLES = (
    "payment_entry",
    "payment_attempt",
    "bank_entry",
    "payment",
    "payment_method",
    "payment_customer",
    *OF_THE_OPERATOR,
)

# One PaymentIntent for life: once it is named, nothing puts another in its place.
PAYMENT_IS_FIXED = """
    create function payment_is_fixed() returns trigger language plpgsql as $$
    begin
        if tg_op = 'UPDATE' and (new.id, new.reseller_id, new.invoice_id, new.amount_cents, new.opened_at)
            = (old.id, old.reseller_id, old.invoice_id, old.amount_cents, old.opened_at)
            and (old.provider_id is null or new.provider_id is not distinct from old.provider_id)
        then
            return new;
        end if;
        raise exception 'payment % belongs to its invoice and its PaymentIntent for life', old.id
            using errcode = 'integrity_constraint_violation';
    end $$
"""

# What was sent is sent again as it was, and a charge that was named stays the attempt's.
ATTEMPT_IS_FIXED = """
    create function payment_attempt_is_fixed() returns trigger language plpgsql as $$
    begin
        if tg_op = 'UPDATE' and (new.id, new.reseller_id, new.payment_id, new.kind, new.number, new.idempotency_key,
                new.amount_cents, new.request, new.request_hash, new.created_at)
            = (old.id, old.reseller_id, old.payment_id, old.kind, old.number, old.idempotency_key,
                old.amount_cents, old.request, old.request_hash, old.created_at)
        then
            return new;
        end if;
        raise exception 'attempt % is what was sent and cannot be changed', old.id
            using errcode = 'integrity_constraint_violation';
    end $$
"""

# Looked at when the transaction ends, because entry and status are two statements.
PAID_IS_COVERED = """
    create function paid_is_covered() returns trigger language plpgsql as $$
    declare
        short text;
    begin
        select payment.id into short from payment
        where payment.id = case tg_table_name when 'payment' then new.id else to_jsonb(new) ->> 'payment_id' end
            and payment.status = 'paid' and payment.amount_cents >
                (select coalesce(sum(amount_cents), 0) from payment_entry where payment_id = payment.id);
        if short is not null then
            raise exception 'payment % is called paid and its entries do not cover it', short
                using errcode = 'integrity_constraint_violation';
        end if;
        return null;
    end $$
"""


def upgrade() -> None:
    create_tables()
    for table, app in OWNED.items():
        protect(table, app=app)
    for table in OF_THE_OPERATOR:
        op.execute(f"grant select, insert, update, delete on {table} to {SYSTEM_ROLE}")
    make_immutable("payment_entry")
    make_immutable("direct_debit_file")
    guard()


def guard() -> None:
    for function in (PAYMENT_IS_FIXED, ATTEMPT_IS_FIXED, PAID_IS_COVERED):
        op.execute(function)
    for table in ("payment", "payment_attempt"):
        op.execute(
            f"create trigger {table}_fixed before update or delete on {table} "
            f"for each row execute function {table}_is_fixed()"
        )
    for table, event in (("payment", "insert or update of status"), ("payment_entry", "insert")):
        op.execute(
            f"create constraint trigger {table}_covered after {event} on {table} deferrable initially deferred "
            "for each row execute function paid_is_covered()"
        )


def create_tables() -> None:
    op.create_table(
        "direct_debit_file",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("collect_on", sa.Date(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("total_cents", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_direct_debit_file")),
    )
    op.create_table(
        "event_poll",
        sa.Column("gateway", sa.String(), nullable=False),
        sa.Column("watermark_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("gateway", name=op.f("pk_event_poll")),
    )
    op.create_table(
        "stripe_event",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("object_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("handled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("problem", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stripe_event")),
    )
    op.create_index(
        "ix_stripe_event_next_try_at",
        "stripe_event",
        ["next_try_at"],
        unique=False,
        postgresql_where=sa.text("handled_at is null"),
    )
    op.create_table(
        "payment_customer",
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("provider_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["reseller_id"], ["reseller.id"], name=op.f("fk_payment_customer_reseller_id_reseller")
        ),
        sa.PrimaryKeyConstraint("reseller_id", name=op.f("pk_payment_customer")),
        sa.UniqueConstraint("provider_id", name=op.f("uq_payment_customer_provider_id")),
    )
    op.create_table(
        "payment_method",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("provider_id", sa.String(), nullable=True),
        sa.Column("last4", sa.String(), nullable=True),
        sa.Column("mandate_id", sa.String(), nullable=True),
        sa.Column("mandate_reference", sa.String(), nullable=True),
        sa.Column("mandate_url", sa.String(), nullable=True),
        sa.Column("mandate_status", sa.String(), nullable=True),
        sa.Column("mandate_signed_on", sa.Date(), nullable=True),
        sa.Column("iban", sa.String(), nullable=True),
        sa.Column("bic", sa.String(), nullable=True),
        sa.Column("holder", sa.String(), nullable=True),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_reason", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind <> 'direct_debit' or num_nulls(iban, holder, mandate_reference, mandate_signed_on) = 0",
            name=op.f("ck_payment_method_debit_has_mandate"),
        ),
        sa.CheckConstraint(
            "(disabled_at is null) = (disabled_reason is null)", name=op.f("ck_payment_method_disabled_has_reason")
        ),
        sa.CheckConstraint("not is_default or disabled_at is null", name=op.f("ck_payment_method_default_is_usable")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_payment_method_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_method")),
        sa.UniqueConstraint("mandate_reference", name=op.f("uq_payment_method_mandate_reference")),
        sa.UniqueConstraint("provider_id", name=op.f("uq_payment_method_provider_id")),
    )
    op.create_index("ix_payment_method_reseller_id_id", "payment_method", ["reseller_id", "id"], unique=False)
    op.create_index(
        "uq_payment_method_default",
        "payment_method",
        ["reseller_id"],
        unique=True,
        postgresql_where=sa.text("is_default"),
    )
    op.create_table(
        "payment",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("invoice_id", sa.String(collation="C"), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.String(32), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("provider_id", sa.String(), nullable=True),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("action_url", sa.String(), nullable=True),
        sa.Column("error_code", sa.String(), nullable=True),
        sa.Column("dispute_id", sa.String(), nullable=True),
        sa.Column("dispute_status", sa.String(), nullable=True),
        sa.Column("carried_to_id", sa.String(collation="C"), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(dispute_id is null) = (dispute_status is null)", name=op.f("ck_payment_dispute_has_status")
        ),
        sa.ForeignKeyConstraint(["carried_to_id"], ["payment.id"], name=op.f("fk_payment_carried_to_id_payment")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"], name=op.f("fk_payment_invoice_id_invoice")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_payment_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment")),
        sa.UniqueConstraint("invoice_id", name=op.f("uq_payment_invoice_id")),
        sa.UniqueConstraint("provider_id", name=op.f("uq_payment_provider_id")),
    )
    op.create_index(
        "ix_payment_carried_to_id",
        "payment",
        ["carried_to_id"],
        unique=False,
        postgresql_where=sa.text("carried_to_id is not null"),
    )
    op.create_index(
        "ix_payment_next_attempt_at",
        "payment",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("next_attempt_at is not null"),
    )
    op.create_index("ix_payment_reseller_id_id", "payment", ["reseller_id", "id"], unique=False)
    op.create_table(
        "bank_entry",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("entry_key", sa.String(), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=True),
        sa.Column("payment_id", sa.String(collation="C"), nullable=True),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("booked_on", sa.Date(), nullable=False),
        sa.Column("counterparty_name", sa.String(), nullable=True),
        sa.Column("counterparty_iban", sa.String(), nullable=True),
        sa.Column("end_to_end_id", sa.String(), nullable=True),
        sa.Column("remittance", sa.String(), nullable=True),
        sa.Column("return_reason", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(state = 'unmatched') = (payment_id is null)", name=op.f("ck_bank_entry_matched_has_payment")
        ),
        sa.ForeignKeyConstraint(["payment_id"], ["payment.id"], name=op.f("fk_bank_entry_payment_id_payment")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_bank_entry_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bank_entry")),
        sa.UniqueConstraint("entry_key", name=op.f("uq_bank_entry_entry_key")),
    )
    op.create_index("ix_bank_entry_state_id", "bank_entry", ["state", "id"], unique=False)
    op.create_table(
        "payment_attempt",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("payment_id", sa.String(collation="C"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("method_id", sa.String(collation="C"), nullable=True),
        sa.Column("request", postgresql.JSONB(), nullable=False),
        sa.Column("request_hash", sa.String(), nullable=False),
        sa.Column("provider_id", sa.String(), nullable=True),
        sa.Column("stored_errors", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.String(), nullable=True),
        sa.Column("decline_code", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state in ('sending', 'unknown', 'processing')) = (finished_at is null)",
            name=op.f("ck_payment_attempt_finished_has_time"),
        ),
        sa.CheckConstraint("amount_cents > 0", name=op.f("ck_payment_attempt_amount_positive")),
        sa.ForeignKeyConstraint(
            ["method_id"], ["payment_method.id"], name=op.f("fk_payment_attempt_method_id_payment_method")
        ),
        sa.ForeignKeyConstraint(["payment_id"], ["payment.id"], name=op.f("fk_payment_attempt_payment_id_payment")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_payment_attempt_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_attempt")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_payment_attempt_idempotency_key")),
        sa.UniqueConstraint("payment_id", "number", name=op.f("uq_payment_attempt_payment_id_number")),
    )
    op.create_index("ix_payment_attempt_provider_id", "payment_attempt", ["provider_id"], unique=False)
    op.create_index(
        "uq_payment_attempt_collecting",
        "payment_attempt",
        ["payment_id"],
        unique=True,
        postgresql_where=sa.text("kind <> 'refund' and state in ('sending', 'unknown', 'processing')"),
    )
    op.create_table(
        "payment_entry",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("payment_id", sa.String(collation="C"), nullable=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("booked_on", sa.Date(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount_cents <> 0", name=op.f("ck_payment_entry_amount_not_zero")),
        sa.ForeignKeyConstraint(["payment_id"], ["payment.id"], name=op.f("fk_payment_entry_payment_id_payment")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_payment_entry_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_entry")),
        sa.UniqueConstraint("source", name=op.f("uq_payment_entry_source")),
    )
    op.create_index(
        "ix_payment_entry_balance",
        "payment_entry",
        ["reseller_id"],
        unique=False,
        postgresql_where=sa.text("payment_id is null"),
    )
    op.create_index("ix_payment_entry_payment_id", "payment_entry", ["payment_id"], unique=False)


def downgrade() -> None:
    for table in ("payment_entry", "direct_debit_file"):
        drop_immutable(table)
    for function in ("payment_is_fixed", "payment_attempt_is_fixed", "paid_is_covered"):
        op.execute(f"drop function {function}() cascade")
    for table in TABLES:
        op.drop_table(table)
