"""Whose data resellers' own invoices carry: their own as seller, their customers' as buyer."""

import sqlalchemy as sa
from alembic import op

from provisioning.core.security import protect

revision = "20261128_04"
down_revision = "20261124_05"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "seller_profile",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("contact_name", sa.String(), nullable=False),
        sa.Column("phone", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("iban", sa.String(), nullable=False),
        sa.Column("bic", sa.String(), nullable=True),
        sa.Column("tax_number", sa.String(), nullable=True),
        sa.Column("register_number", sa.String(), nullable=True),
        sa.Column("legal_info", sa.String(), nullable=True),
        sa.Column("is_small_business", sa.Boolean(), nullable=False),
        sa.Column("payment_days", sa.Integer(), nullable=False),
        sa.CheckConstraint("payment_days between 0 and 365", name=op.f("ck_seller_profile_payment_days_in_a_year")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_seller_profile_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("reseller_id", name=op.f("pk_seller_profile")),
    )
    op.create_table(
        "customer_billing",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("street", sa.String(), nullable=False),
        sa.Column("postcode", sa.String(), nullable=False),
        sa.Column("city", sa.String(), nullable=False),
        sa.Column("country", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("vat_id", sa.String(), nullable=True),
        sa.Column("contact_name", sa.String(), nullable=True),
        sa.Column("buyer_reference", sa.String(), nullable=True),
        sa.Column("electronic_address", sa.String(), nullable=True),
        sa.Column("electronic_address_scheme", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_customer_billing_customer_id_customer"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["reseller_id"], ["reseller.id"], name=op.f("fk_customer_billing_reseller_id_reseller")
        ),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("pk_customer_billing")),
    )
    op.create_index(op.f("ix_customer_billing_reseller_id"), "customer_billing", ["reseller_id"], unique=False)
    protect("seller_profile")
    protect("customer_billing")


def downgrade() -> None:
    op.drop_table("customer_billing")
    op.drop_table("seller_profile")
