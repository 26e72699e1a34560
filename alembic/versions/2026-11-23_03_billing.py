"""Prices, invoice runs, invoices with their lines, and the counters of invoice numbers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from provisioning.core.database import APP_ROLE, SYSTEM_ROLE
from provisioning.core.security import drop_immutable, make_immutable, protect

revision = "20261123_03"
down_revision = "20261123_02"
branch_labels = None
depends_on = None

OWNED = ("price_list", "price", "invoice_run_item", "invoice", "invoice_line")
OF_THE_OPERATOR = ("invoice_run", "number_series")
TABLES = (
    "invoice_line",
    "invoice",
    "invoice_run_item",
    "invoice_run",
    "price",
    "price_list",
    "number_series",
)

PRICE_LIST_IS_FIXED = """
    create function price_list_is_fixed() returns trigger language plpgsql as $$
    begin
        if tg_op = 'DELETE' and not exists (
            select from invoice
            where status = 'final' and period_starts_on >= old.valid_from
                and (old.reseller_id is null or reseller_id = old.reseller_id)
        ) then
            return old;
        end if;
        raise exception 'price list % is final and cannot be changed', old.id
            using errcode = 'integrity_constraint_violation';
    end $$
"""

# A price goes only with its list: the cascade runs when the list is gone already.
PRICE_IS_FIXED = """
    create function price_is_fixed() returns trigger language plpgsql as $$
    begin
        if tg_op = 'DELETE' and not exists (select from price_list where id = old.price_list_id) then
            return old;
        end if;
        raise exception 'the prices of list % are final and cannot be changed', old.price_list_id
            using errcode = 'integrity_constraint_violation';
    end $$
"""

# One look at the invoices for each statement and not for each line: a run writes its lines in one statement.
# Two transactions cannot slip past each other, because the lines' foreign key locks the invoice's number.
INVOICE_LINE_IS_IMMUTABLE = """
    create function invoice_line_is_immutable() returns trigger language plpgsql as $$
    declare
        final text;
    begin
        if tg_op in ('UPDATE', 'DELETE') then
            select invoice.id into final from (select distinct invoice_id from old_line) line
            join invoice on invoice.id = line.invoice_id where invoice.status = 'final' limit 1;
        end if;
        if final is null and tg_op in ('INSERT', 'UPDATE') then
            select invoice.id into final from (select distinct invoice_id from new_line) line
            join invoice on invoice.id = line.invoice_id where invoice.status = 'final' limit 1;
        end if;
        if final is not null or tg_op = 'TRUNCATE' then
            raise exception 'invoice % is final and its lines cannot be changed', final
                using errcode = 'integrity_constraint_violation';
        end if;
        return null;
    end $$
"""


def upgrade() -> None:
    create_price_tables()
    create_run_tables()
    create_invoice_tables()
    for table in OWNED:
        protect(table, app="select")
    for table in ("price_list", "price"):
        op.execute(f"create policy for_all on {table} for select to {APP_ROLE} using (reseller_id is null)")
    for table in OF_THE_OPERATOR:
        op.execute(f"grant select, insert, update, delete on {table} to {SYSTEM_ROLE}")
    make_immutable("invoice", when="old.status = 'final'")
    fix_lines()
    fix_prices()


def fix_lines() -> None:
    op.execute(INVOICE_LINE_IS_IMMUTABLE)
    rows = {
        "insert": "referencing new table as new_line",
        "update": "referencing old table as old_line new table as new_line",
        "delete": "referencing old table as old_line",
    }
    for event, tables in rows.items():
        op.execute(
            f"create trigger invoice_line_no_{event} after {event} on invoice_line {tables} "
            "for each statement execute function invoice_line_is_immutable()"
        )
    op.execute(
        "create trigger invoice_line_no_truncate before truncate on invoice_line "
        "for each statement execute function invoice_line_is_immutable()"
    )


def fix_prices() -> None:
    op.execute(PRICE_LIST_IS_FIXED)
    op.execute(PRICE_IS_FIXED)
    for table in ("price_list", "price"):
        op.execute(
            f"create trigger {table}_fixed before update or delete on {table} "
            f"for each row execute function {table}_is_fixed()"
        )


def create_price_tables() -> None:
    op.create_table(
        "price_list",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_price_list_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_price_list")),
        sa.UniqueConstraint(
            "reseller_id",
            "valid_from",
            name=op.f("uq_price_list_reseller_id_valid_from"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "price",
        sa.Column("price_list_id", sa.String(collation="C"), nullable=False),
        sa.Column("service_class", sa.String(), nullable=False),
        sa.Column("min_quantity", sa.Integer(), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=True),
        sa.Column("price_cents", sa.Integer(), nullable=False),
        sa.CheckConstraint("min_quantity >= 0 and price_cents >= 0", name=op.f("ck_price_not_negative")),
        sa.ForeignKeyConstraint(
            ["price_list_id"],
            ["price_list.id"],
            name=op.f("fk_price_price_list_id_price_list"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_price_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("price_list_id", "service_class", "min_quantity", name=op.f("pk_price")),
    )


def create_run_tables() -> None:
    op.create_table(
        "invoice_run",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("resellers", sa.Integer(), nullable=False),
        sa.Column("parked", sa.Integer(), nullable=False),
        sa.Column("finalised", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("extract(day from month) = 1", name=op.f("ck_invoice_run_month_is_first_day")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoice_run")),
        sa.UniqueConstraint("month", name=op.f("uq_invoice_run_month")),
    )
    op.create_table(
        "invoice_run_item",
        sa.Column("run_id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("code", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.CheckConstraint(
            "(state = 'parked') = (code is not null and reason is not null)",
            name=op.f("ck_invoice_run_item_parked_has_reason"),
        ),
        sa.ForeignKeyConstraint(
            ["reseller_id"], ["reseller.id"], name=op.f("fk_invoice_run_item_reseller_id_reseller")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["invoice_run.id"], name=op.f("fk_invoice_run_item_run_id_invoice_run")),
        sa.PrimaryKeyConstraint("run_id", "reseller_id", name=op.f("pk_invoice_run_item")),
    )
    op.create_index(
        "ix_invoice_run_item_run_id_state_reseller_id",
        "invoice_run_item",
        ["run_id", "state", "reseller_id"],
        unique=False,
    )
    op.create_table(
        "number_series",
        sa.Column("series", sa.String(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("series", "year", name=op.f("pk_number_series")),
    )


def create_invoice_tables() -> None:
    op.create_table(
        "invoice",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("run_id", sa.String(collation="C"), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("number", sa.String(), nullable=True),
        sa.Column("series", sa.String(), nullable=True),
        sa.Column("year", sa.Integer(), nullable=True),
        sa.Column("sequence", sa.Integer(), nullable=True),
        sa.Column("period_starts_on", sa.Date(), nullable=False),
        sa.Column("period_ends_on", sa.Date(), nullable=False),
        sa.Column("issued_on", sa.Date(), nullable=True),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("net_cents", sa.BigInteger(), nullable=False),
        sa.Column("tax_cents", sa.BigInteger(), nullable=False),
        sa.Column("gross_cents", sa.BigInteger(), nullable=False),
        sa.Column("tax_category", sa.String(), nullable=False),
        sa.Column("rate_basis_points", sa.Integer(), nullable=False),
        sa.Column("buyer", postgresql.JSONB(), nullable=True),
        sa.Column("seller", postgresql.JSONB(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finalised_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("gross_cents = net_cents + tax_cents", name=op.f("ck_invoice_sums_agree")),
        sa.CheckConstraint("status = 'final' or number is null", name=op.f("ck_invoice_draft_has_no_number")),
        sa.CheckConstraint(
            "status = 'draft' or "
            "num_nulls(number, series, year, sequence, issued_on, due_on, buyer, seller, finalised_at) = 0",
            name=op.f("ck_invoice_final_is_complete"),
        ),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_invoice_reseller_id_reseller")),
        sa.ForeignKeyConstraint(["run_id"], ["invoice_run.id"], name=op.f("fk_invoice_run_id_invoice_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoice")),
        sa.UniqueConstraint("number", name=op.f("uq_invoice_number")),
        sa.UniqueConstraint("reseller_id", "period_starts_on", name=op.f("uq_invoice_reseller_id_period_starts_on")),
        sa.UniqueConstraint("series", "year", "sequence", name=op.f("uq_invoice_series_year_sequence")),
    )
    op.create_index("ix_invoice_reseller_id_id", "invoice", ["reseller_id", "id"], unique=False)
    op.create_index("ix_invoice_run_id_id", "invoice", ["run_id", "id"], unique=False)
    op.create_table(
        "invoice_line",
        sa.Column("invoice_id", sa.String(collation="C"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("customer_id", sa.String(collation="C"), nullable=False),
        sa.Column("customer_name", sa.String(), nullable=False),
        sa.Column("service_class", sa.String(), nullable=False),
        sa.Column("price_cents", sa.Integer(), nullable=False),
        sa.Column("mailbox_days", sa.Integer(), nullable=False),
        sa.Column("base_days", sa.Integer(), nullable=False),
        sa.Column("net_cents", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["invoice_id"],
            ["invoice.id"],
            name=op.f("fk_invoice_line_invoice_id_invoice"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("invoice_id", "position", name=op.f("pk_invoice_line")),
    )


def downgrade() -> None:
    drop_immutable("invoice")
    for function in ("invoice_line_is_immutable", "price_list_is_fixed", "price_is_fixed"):
        op.execute(f"drop function {function}() cascade")
    for table in TABLES:
        op.drop_table(table)
