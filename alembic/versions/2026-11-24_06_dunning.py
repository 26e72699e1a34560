"""Dunning: policy, pauses, steps, days and notices; and the suspension of service, which is not the reseller's own."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from provisioning.core.database import SYSTEM_ROLE
from provisioning.core.security import drop_immutable, make_immutable, protect, share

revision = "20261124_06"
down_revision = "20261124_04"
branch_labels = None
depends_on = None

TABLES = ("notice", "dunning_day", "dunning_step", "dunning_pause", "dunning_policy")

# Rows are compared as documents so that a column added later is guarded from its first day.
NOTICE_IS_FIXED = """
    create function notice_is_fixed() returns trigger language plpgsql as $$
    declare
        fixed_before jsonb := to_jsonb(old) - '{delivery,tries,next_try_at,tried_at,problem}'::text[];
    begin
        if tg_op = 'UPDATE'
            and to_jsonb(new) - '{delivery,tries,next_try_at,tried_at,problem}'::text[] = fixed_before
        then
            return new;
        end if;
        raise exception 'notice % says what it said', old.id using errcode = 'integrity_constraint_violation';
    end $$
"""


def upgrade() -> None:
    create_tables()
    share("dunning_policy")
    op.execute(f"grant select, insert, update, delete on dunning_day to {SYSTEM_ROLE}")
    for table in ("dunning_pause", "dunning_step", "notice"):
        protect(table, app="select")
    make_immutable("dunning_step")
    op.execute(NOTICE_IS_FIXED)
    op.execute(
        "create trigger notice_fixed before update or delete on notice for each row execute function notice_is_fixed()"
    )
    op.add_column("reseller", sa.Column("service_suspended_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("reseller", sa.Column("service_suspended_reason", sa.String(), nullable=True))
    # A constant default is kept in the catalogue: no row is written.
    op.add_column("mailbox", sa.Column("service_suspended", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index(
        "ix_reseller_service_suspended_at",
        "reseller",
        ["service_suspended_at"],
        postgresql_where=sa.text("service_suspended_at is not null"),
    )
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_mailbox_service_suspended",
            "mailbox",
            ["reseller_id"],
            postgresql_where=sa.text("service_suspended"),
            postgresql_concurrently=True,
        )


def create_tables() -> None:
    op.create_table(
        "dunning_policy",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("small_amount_cents", sa.Integer(), nullable=False),
        sa.Column("steps", postgresql.JSONB(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 'current'", name=op.f("ck_dunning_policy_only_one")),
        sa.CheckConstraint("small_amount_cents >= 0", name=op.f("ck_dunning_policy_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dunning_policy")),
    )
    op.create_table(
        "dunning_pause",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("until_on", sa.Date(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_dunning_pause_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("reseller_id", name=op.f("pk_dunning_pause")),
    )
    op.create_table(
        "dunning_step",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("payment_id", sa.String(collation="C"), nullable=False),
        sa.Column("invoice_id", sa.String(collation="C"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("days_past_due", sa.Integer(), nullable=False),
        sa.Column("owed_cents", sa.BigInteger(), nullable=False),
        sa.Column("fee_cents", sa.Integer(), nullable=False),
        sa.Column("taken_on", sa.Date(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"], name=op.f("fk_dunning_step_invoice_id_invoice")),
        sa.ForeignKeyConstraint(["payment_id"], ["payment.id"], name=op.f("fk_dunning_step_payment_id_payment")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_dunning_step_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dunning_step")),
        sa.UniqueConstraint("invoice_id", "kind", name=op.f("uq_dunning_step_invoice_id_kind")),
        sa.UniqueConstraint("invoice_id", "taken_on", name=op.f("uq_dunning_step_invoice_id_taken_on")),
    )
    op.create_index("ix_dunning_step_payment_id", "dunning_step", ["payment_id"])
    op.create_index(
        "ix_dunning_step_suspension",
        "dunning_step",
        ["reseller_id"],
        postgresql_where=sa.text("kind = 'suspension'"),
    )
    op.create_table(
        "dunning_day",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_dunning_day")),
    )
    op.create_table(
        "notice",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("invoice_id", sa.String(collation="C"), nullable=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("recipient", sa.String(), nullable=False),
        sa.Column("language", sa.String(), nullable=False),
        sa.Column("subject_de", sa.String(), nullable=False),
        sa.Column("body_de", sa.String(), nullable=False),
        sa.Column("subject_en", sa.String(), nullable=False),
        sa.Column("body_en", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivery", sa.String(32), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("problem", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"], name=op.f("fk_notice_invoice_id_invoice")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_notice_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice")),
        sa.UniqueConstraint("source", name=op.f("uq_notice_source")),
    )
    op.create_index("ix_notice_reseller_id_id", "notice", ["reseller_id", "id"])
    op.create_index(
        "ix_notice_next_try_at",
        "notice",
        ["next_try_at"],
        postgresql_where=sa.text("delivery in ('waiting', 'sending')"),
    )


def downgrade() -> None:
    op.drop_index("ix_mailbox_service_suspended", table_name="mailbox")
    op.drop_index("ix_reseller_service_suspended_at", table_name="reseller")
    op.drop_column("mailbox", "service_suspended")
    op.drop_column("reseller", "service_suspended_reason")
    op.drop_column("reseller", "service_suspended_at")
    drop_immutable("dunning_step")
    op.execute("drop function notice_is_fixed() cascade")
    for table in TABLES:
        op.drop_table(table)
