"""What others change at a backend is put right or let stand, by the data centre's policy."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "20261201_03"
down_revision = "20261201_02"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "data_centre",
        sa.Column(
            "on_drift",
            sa.Enum("repair", "accept", native_enum=False, length=32),
            server_default="repair",
            nullable=False,
        ),
    )
    op.add_column(
        "mailbox",
        sa.Column("drift", postgresql.ARRAY(sa.String()), server_default="{}", nullable=False),
    )


def downgrade() -> None:
    op.drop_column("mailbox", "drift")
    op.drop_column("data_centre", "on_drift")
