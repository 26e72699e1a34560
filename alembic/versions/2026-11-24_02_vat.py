"""Evidence of VAT ids, the issuer's tax regimes, and which evidence an invoice rests on."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from provisioning.core.security import drop_immutable, make_immutable, protect, share

revision = "20261124_02"
down_revision = "20261124_01"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tax_regime",
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("regime", sa.String(32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("valid_from", name=op.f("pk_tax_regime")),
    )
    share("tax_regime")
    op.create_table(
        "vat_check",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("vat_id", sa.String(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer", sa.String(32), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("consultation_number", sa.String(), nullable=True),
        sa.Column("raw", postgresql.JSONB(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(answer = 'valid') = (expires_at is not null)", name=op.f("ck_vat_check_valid_expires")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_vat_check_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vat_check")),
    )
    op.create_index(
        "ix_vat_check_reseller_id_vat_id_asked_at", "vat_check", ["reseller_id", "vat_id", "asked_at"], unique=False
    )
    protect("vat_check", app="select")
    make_immutable("vat_check")
    op.add_column("invoice", sa.Column("vat_check_id", sa.String(collation="C"), nullable=True))
    op.create_foreign_key(op.f("fk_invoice_vat_check_id_vat_check"), "invoice", "vat_check", ["vat_check_id"], ["id"])
    op.create_index(
        "ix_invoice_run_item_parked_code",
        "invoice_run_item",
        ["code"],
        unique=False,
        postgresql_where=sa.text("state = 'parked'"),
    )


def downgrade() -> None:
    op.drop_index("ix_invoice_run_item_parked_code", table_name="invoice_run_item")
    op.drop_constraint(op.f("fk_invoice_vat_check_id_vat_check"), "invoice", type_="foreignkey")
    op.drop_column("invoice", "vat_check_id")
    drop_immutable("vat_check")
    op.drop_table("vat_check")
    op.drop_table("tax_regime")
