"""Resale prices, and a debtor account for every reseller."""

import sqlalchemy as sa
from alembic import op

from provisioning.core.security import protect

revision = "20261124_07"
down_revision = "20261124_06"
branch_labels = None
depends_on = None

# A number that a tax adviser has once seen must mean the same debtor for ever, so it is given on the first day.
GIVE_DEBTOR_ACCOUNT = """
    create function give_debtor_account() returns trigger language plpgsql as $$
    begin
        insert into debtor_account (reseller_id) values (new.id);
        return null;
    end $$
"""


def upgrade() -> None:
    op.create_table(
        "resale_price",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("customer_id", sa.String(collation="C"), nullable=True),
        sa.Column("service_class", sa.String(), nullable=False),
        sa.Column("price_cents", sa.Integer(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("price_cents >= 0", name=op.f("ck_resale_price_not_negative")),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_resale_price_customer_id_customer"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_resale_price_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resale_price")),
        sa.UniqueConstraint(
            "reseller_id",
            "service_class",
            "customer_id",
            "valid_from",
            name=op.f("uq_resale_price_valid_from"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(op.f("ix_resale_price_customer_id"), "resale_price", ["customer_id"], unique=False)
    op.create_table(
        "debtor_account",
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("number", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_debtor_account_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("reseller_id", name=op.f("pk_debtor_account")),
        sa.UniqueConstraint("number", name=op.f("uq_debtor_account_number")),
    )
    # Before its rows are protected: the login that migrates may write none afterwards.
    op.execute("insert into debtor_account (reseller_id) select id from reseller order by id")
    protect("resale_price")
    protect("debtor_account", app="select")
    op.execute(GIVE_DEBTOR_ACCOUNT)
    op.execute(
        "create trigger reseller_debtor_account after insert on reseller "
        "for each row execute function give_debtor_account()"
    )


def downgrade() -> None:
    op.execute("drop function give_debtor_account() cascade")
    op.drop_table("debtor_account")
    op.drop_table("resale_price")
