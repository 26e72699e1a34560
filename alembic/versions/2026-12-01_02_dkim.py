"""Keys that sign the mail of a domain."""

import sqlalchemy as sa
from alembic import op

from provisioning.core.security import protect

revision = "20261201_02"
down_revision = "20261201_01"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dkim_key",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("domain_id", sa.String(collation="C"), nullable=False),
        sa.Column("selector", sa.String(), nullable=False),
        sa.Column("state", sa.Enum("published", "active", "retired", native_enum=False, length=32), nullable=False),
        sa.Column("public_key", sa.String(), nullable=False),
        sa.Column("private_key", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["domain_id"], ["domain.id"], name=op.f("fk_dkim_key_domain_id_domain")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_dkim_key_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dkim_key")),
        sa.UniqueConstraint("domain_id", "selector", name=op.f("uq_dkim_key_domain_id_selector")),
    )
    op.create_index(op.f("ix_dkim_key_reseller_id"), "dkim_key", ["reseller_id"])
    for state in ("active", "published"):
        op.create_index(
            f"uq_dkim_key_{state}",
            "dkim_key",
            ["domain_id"],
            unique=True,
            postgresql_where=sa.text(f"state = '{state}'"),
        )
    protect("dkim_key")


def downgrade() -> None:
    op.drop_table("dkim_key")
