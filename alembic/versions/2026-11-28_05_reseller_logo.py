"""The picture on what goes out in a reseller's name."""

import sqlalchemy as sa
from alembic import op

from provisioning.core.security import protect

revision = "20261128_05"
down_revision = "20261128_04"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reseller_logo",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_reseller_logo_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("reseller_id", name=op.f("pk_reseller_logo")),
    )
    protect("reseller_logo")


def downgrade() -> None:
    op.drop_table("reseller_logo")
