"""Terms of prices, coupons and credits, kinds of lines, and runs by the day on which billing periods close."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from provisioning.core.database import APP_ROLE, SYSTEM_ROLE
from provisioning.core.security import drop_immutable, make_immutable, protect

revision = "20261124_01"
down_revision = "20261123_04"
branch_labels = None
depends_on = None

# Terms are those of a mailbox's first day, so a list may have been used on any day on which it holds.
USED = {
    "before": "period_starts_on >= old.valid_from",
    "after": "(period_starts_on >= old.valid_from or (period_ends_on > old.valid_from and exists (select from price_terms)))",
}
PRICE_LIST_IS_FIXED = """
    create or replace function price_list_is_fixed() returns trigger language plpgsql as $$
    begin
        if tg_op = 'DELETE' and not exists (
            select from invoice
            where status = 'final' and {used}
                and (old.reseller_id is null or reseller_id = old.reseller_id)
        ) then
            return old;
        end if;
        raise exception 'price list % is final and cannot be changed', old.id
            using errcode = 'integrity_constraint_violation';
    end $$
"""


def upgrade() -> None:
    create_price_terms()
    op.execute(PRICE_LIST_IS_FIXED.format(used=USED["after"]))
    # With a default, so that lines are written by the version before this one too.
    op.add_column("invoice_line", sa.Column("kind", sa.String(32), nullable=False, server_default="usage"))
    op.add_column("reseller", sa.Column("billing_anchor_day", sa.Integer(), nullable=False, server_default="1"))
    op.create_check_constraint(op.f("ck_reseller_anchor_is_a_day"), "reseller", "billing_anchor_day between 1 and 31")
    know_runs_by_closing_day()
    create_discounts()
    create_allowances()


def create_discounts() -> None:
    op.create_table(
        "coupon",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("percent_basis_points", sa.Integer(), nullable=True),
        sa.Column("amount_cents", sa.Integer(), nullable=True),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("duration", sa.String(32), nullable=False),
        sa.Column("duration_in_months", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "num_nonnulls(percent_basis_points, amount_cents) = 1", name=op.f("ck_coupon_share_or_amount")
        ),
        sa.CheckConstraint(
            "(duration = 'repeating') = (duration_in_months is not null)", name=op.f("ck_coupon_repeats_for_months")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_coupon")),
    )
    op.execute(f"grant select, insert, update, delete on coupon to {SYSTEM_ROLE}")
    op.create_table(
        "discount",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("coupon_id", sa.String(collation="C"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("percent_basis_points", sa.Integer(), nullable=True),
        sa.Column("amount_cents", sa.Integer(), nullable=True),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        postgresql.ExcludeConstraint(
            (sa.column("reseller_id"), "="),
            (sa.text("daterange(starts_on, ends_on)"), "&&"),
            name="ex_discount_overlap",
            using="gist",
        ),
        sa.ForeignKeyConstraint(["coupon_id"], ["coupon.id"], name=op.f("fk_discount_coupon_id_coupon")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_discount_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_discount")),
    )
    op.create_index(op.f("ix_discount_coupon_id"), "discount", ["coupon_id"])
    protect("discount", app="select")


def create_allowances() -> None:
    op.create_table(
        "credit",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("invoice_id", sa.String(collation="C"), nullable=True),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "case when invoice_id is null then amount_cents > 0 else amount_cents < 0 end",
            name=op.f("ck_credit_granted_or_used"),
        ),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"], name=op.f("fk_credit_invoice_id_invoice")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_credit_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit")),
        sa.UniqueConstraint("invoice_id", name=op.f("uq_credit_invoice_id")),
    )
    op.create_index("ix_credit_reseller_id_id", "credit", ["reseller_id", "id"])
    protect("credit", app="select")
    make_immutable("credit")
    op.create_table(
        "invoice_allowance",
        sa.Column("invoice_id", sa.String(collation="C"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("discount_id", sa.String(collation="C"), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("percent_basis_points", sa.Integer(), nullable=True),
        sa.Column("base_cents", sa.BigInteger(), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "amount_cents > 0 and amount_cents <= base_cents", name=op.f("ck_invoice_allowance_within_its_base")
        ),
        sa.ForeignKeyConstraint(
            ["invoice_id"],
            ["invoice.id"],
            name=op.f("fk_invoice_allowance_invoice_id_invoice"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("invoice_id", "position", name=op.f("pk_invoice_allowance")),
    )
    protect("invoice_allowance", app="select")
    fix_allowances()
    op.add_column("invoice", sa.Column("allowances_cents", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_check_constraint(op.f("ck_invoice_allowances_not_negative"), "invoice", "allowances_cents >= 0")


def fix_allowances() -> None:
    """They are as final as the lines, by the same function."""
    rows = {
        "insert": "referencing new table as new_line",
        "update": "referencing old table as old_line new table as new_line",
        "delete": "referencing old table as old_line",
    }
    for event, tables in rows.items():
        op.execute(
            f"create trigger invoice_allowance_no_{event} after {event} on invoice_allowance {tables} "
            "for each statement execute function invoice_line_is_immutable()"
        )
    op.execute(
        "create trigger invoice_allowance_no_truncate before truncate on invoice_allowance "
        "for each statement execute function invoice_line_is_immutable()"
    )


def know_runs_by_closing_day() -> None:
    op.add_column("invoice_run", sa.Column("closes_on", sa.Date(), nullable=True))
    op.execute("set local role postfachwerk_system")
    op.execute("update invoice_run set closes_on = month + interval '1 month'")
    op.execute("reset role")
    op.alter_column("invoice_run", "closes_on", nullable=False)
    op.drop_constraint(op.f("uq_invoice_run_month"), "invoice_run")
    op.create_unique_constraint(op.f("uq_invoice_run_closes_on"), "invoice_run", ["closes_on"])
    op.create_check_constraint(
        op.f("ck_invoice_run_closes_in_the_next_month"),
        "invoice_run",
        "closes_on >= month + interval '1 month' and closes_on < month + interval '2 months'",
    )


def create_price_terms() -> None:
    op.create_table(
        "price_terms",
        sa.Column("price_list_id", sa.String(collation="C"), nullable=False),
        sa.Column("service_class", sa.String(), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=True),
        sa.Column("tiers_mode", sa.String(32), nullable=False),
        sa.Column("proration", sa.String(32), nullable=False),
        sa.Column("minimum_term_months", sa.Integer(), nullable=False),
        sa.Column("notice_days", sa.Integer(), nullable=False),
        sa.Column("trial_days", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "least(minimum_term_months, notice_days, trial_days) >= 0", name=op.f("ck_price_terms_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["price_list_id"],
            ["price_list.id"],
            name=op.f("fk_price_terms_price_list_id_price_list"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_price_terms_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("price_list_id", "service_class", name=op.f("pk_price_terms")),
    )
    protect("price_terms", app="select")
    op.execute(f"create policy for_all on price_terms for select to {APP_ROLE} using (reseller_id is null)")
    op.execute(
        "create trigger price_terms_fixed before update or delete on price_terms "
        "for each row execute function price_is_fixed()"
    )


def downgrade() -> None:
    op.execute(PRICE_LIST_IS_FIXED.format(used=USED["before"]))
    drop_immutable("credit")
    op.drop_column("invoice", "allowances_cents")
    for table in ("invoice_allowance", "credit", "discount", "coupon"):
        op.drop_table(table)
    op.create_unique_constraint(op.f("uq_invoice_run_month"), "invoice_run", ["month"])
    op.drop_column("invoice_run", "closes_on")
    op.drop_constraint(op.f("ck_reseller_anchor_is_a_day"), "reseller")
    op.drop_column("reseller", "billing_anchor_day")
    op.drop_column("invoice_line", "kind")
    op.drop_table("price_terms")
