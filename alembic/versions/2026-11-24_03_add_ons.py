"""Add-ons of mailboxes: what is wanted of them, the sandbox's archive, and their append-only ledger."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from provisioning.core.security import protect

revision = "20261124_03"
down_revision = "20261124_02"
branch_labels = None
depends_on = None

# Rows are compared as documents so that a column added later is guarded from its first day.
GUARD = """
    create function add_on_period_is_append_only() returns trigger language plpgsql as $$
    begin
        if tg_op = 'TRUNCATE' then
            raise exception 'add_on_period is append-only' using errcode = 'integrity_constraint_violation';
        end if;
        if tg_op = 'UPDATE' and old.ends_on is null and new.ends_on is not null and new.end_reason is not null
            and to_jsonb(new) - 'ends_on' - 'end_reason' = to_jsonb(old) - 'ends_on' - 'end_reason'
        then
            return new;
        end if;
        raise exception 'add_on_period % is append-only: an open one can be closed once, and nothing else', old.id
            using errcode = 'integrity_constraint_violation';
    end $$
"""


def upgrade() -> None:
    add_columns()
    create_ledger()
    protect("add_on_period", app="select")
    op.execute(GUARD)
    op.execute(
        "create trigger add_on_period_append_only before update or delete on add_on_period "
        "for each row execute function add_on_period_is_append_only()"
    )
    op.execute(
        "create trigger add_on_period_no_truncate before truncate on add_on_period "
        "for each statement execute function add_on_period_is_append_only()"
    )


def add_columns() -> None:
    """With defaults of their own: an order without add-ons does not name them, nor does the version before."""
    op.add_column("mailbox", sa.Column("archive", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("mailbox", sa.Column("extra_storage_units", sa.Integer(), server_default="0", nullable=False))
    op.add_column("sandbox_mailbox", sa.Column("archive", sa.Boolean(), server_default=sa.false(), nullable=False))


def create_ledger() -> None:
    op.create_table(
        "add_on_period",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("customer_id", sa.String(collation="C"), nullable=False),
        sa.Column("mailbox_id", sa.String(collation="C"), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("add_on", sa.String(32), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("start_reason", sa.String(), nullable=False),
        sa.Column("end_reason", sa.String(), nullable=True),
        postgresql.ExcludeConstraint(
            (sa.column("mailbox_id"), "="),
            (sa.column("add_on"), "="),
            (sa.text("daterange(starts_on, ends_on)"), "&&"),
            using="gist",
            name="ex_add_on_period_overlap",
        ),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_add_on_period_quantity_positive")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_add_on_period_customer_id_customer")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_add_on_period_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_add_on_period")),
    )
    op.create_index(
        "ix_add_on_period_reseller_id_starts_on", "add_on_period", ["reseller_id", "starts_on"], unique=False
    )
    op.create_index(
        "uq_add_on_period_open",
        "add_on_period",
        ["mailbox_id", "add_on"],
        unique=True,
        postgresql_where=sa.text("ends_on is null"),
    )


def downgrade() -> None:
    op.drop_table("add_on_period")
    op.execute("drop function add_on_period_is_append_only() cascade")
    op.drop_column("sandbox_mailbox", "archive")
    op.drop_column("mailbox", "extra_storage_units")
    op.drop_column("mailbox", "archive")
