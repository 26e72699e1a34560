"""Where the servers of a data centre are, for its users' programs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261201_01"
down_revision = "20261128_05"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "data_centre",
        sa.Column("endpoints", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
    )


def downgrade() -> None:
    op.drop_column("data_centre", "endpoints")
