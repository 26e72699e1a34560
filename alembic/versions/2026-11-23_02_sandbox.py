"""The sandbox: the imitation backend's own tables, which only the system role may touch."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from provisioning.core.database import SYSTEM_ROLE

revision = "20261123_02"
down_revision = "20261123_01"
branch_labels = None
depends_on = None

TABLES = (
    "sandbox_fault",
    "sandbox_grant",
    "sandbox_right",
    "sandbox_folder",
    "sandbox_address",
    "sandbox_mailbox",
)


def upgrade() -> None:
    create_mailboxes()
    create_permissions()
    op.create_table(
        "sandbox_fault",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("address", sa.String(collation="C"), nullable=False),
        sa.Column("call", sa.String(), nullable=False),
        sa.Column("fault", sa.String(32), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sandbox_fault")),
    )
    for table in TABLES:
        op.execute(f"grant select, insert, update, delete on {table} to {SYSTEM_ROLE}")


def create_mailboxes() -> None:
    op.create_table(
        "sandbox_mailbox",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("mailbox_id", sa.String(collation="C"), nullable=False),
        sa.Column("presence", sa.String(32), nullable=False),
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("service_class", sa.String(32), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("quota_mib", sa.Integer(), nullable=False),
        sa.Column("protocols", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("addresses", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("password_version", sa.Integer(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=True),
        sa.Column("moving_to", sa.String(), nullable=True),
        sa.Column("move_left", sa.Integer(), nullable=False),
        sa.Column("stale", postgresql.JSONB(), nullable=True),
        sa.Column("stale_reads", sa.Integer(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("writes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sandbox_mailbox")),
        sa.UniqueConstraint("mailbox_id", name=op.f("uq_sandbox_mailbox_mailbox_id")),
    )
    op.create_table(
        "sandbox_address",
        sa.Column("address", sa.String(collation="C"), nullable=False),
        sa.Column("backend_id", sa.String(collation="C"), nullable=False),
        sa.ForeignKeyConstraint(
            ["backend_id"],
            ["sandbox_mailbox.id"],
            name=op.f("fk_sandbox_address_backend_id_sandbox_mailbox"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_sandbox_address")),
    )
    op.create_index(op.f("ix_sandbox_address_backend_id"), "sandbox_address", ["backend_id"], unique=False)
    op.create_table(
        "sandbox_folder",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("backend_id", sa.String(collation="C"), nullable=False),
        sa.Column("parent_id", sa.String(collation="C"), nullable=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("default_mask", sa.Integer(), nullable=False),
        sa.Column("anonymous_mask", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["backend_id"],
            ["sandbox_mailbox.id"],
            name=op.f("fk_sandbox_folder_backend_id_sandbox_mailbox"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sandbox_folder")),
        sa.UniqueConstraint(
            "backend_id",
            "parent_id",
            "name",
            name=op.f("uq_sandbox_folder_backend_id_parent_id_name"),
            postgresql_nulls_not_distinct=True,
        ),
    )


def create_permissions() -> None:
    op.create_table(
        "sandbox_right",
        sa.Column("folder_id", sa.String(collation="C"), nullable=False),
        sa.Column("grantee", sa.String(collation="C"), nullable=False),
        sa.Column("mask", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["folder_id"],
            ["sandbox_folder.id"],
            name=op.f("fk_sandbox_right_folder_id_sandbox_folder"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["grantee"],
            ["sandbox_mailbox.id"],
            name=op.f("fk_sandbox_right_grantee_sandbox_mailbox"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("folder_id", "grantee", name=op.f("pk_sandbox_right")),
    )
    op.create_index(op.f("ix_sandbox_right_grantee"), "sandbox_right", ["grantee"], unique=False)
    op.create_table(
        "sandbox_grant",
        sa.Column("backend_id", sa.String(collation="C"), nullable=False),
        sa.Column("role", sa.String(collation="C"), nullable=False),
        sa.Column("grantee", sa.String(collation="C"), nullable=False),
        sa.ForeignKeyConstraint(
            ["backend_id"],
            ["sandbox_mailbox.id"],
            name=op.f("fk_sandbox_grant_backend_id_sandbox_mailbox"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["grantee"],
            ["sandbox_mailbox.id"],
            name=op.f("fk_sandbox_grant_grantee_sandbox_mailbox"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("backend_id", "role", "grantee", name=op.f("pk_sandbox_grant")),
    )
    op.create_index(op.f("ix_sandbox_grant_grantee"), "sandbox_grant", ["grantee"], unique=False)
    op.create_index(
        "uq_sandbox_grant_one_way_to_send",
        "sandbox_grant",
        ["backend_id", "grantee"],
        unique=True,
        postgresql_where=sa.text("role in ('SendAs', 'SendOnBehalf')"),
    )


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
