"""Service periods are append-only: nothing is deleted, and only an open one can be closed, once."""

from alembic import op

revision = "20261123_04"
down_revision = "20261123_03"
branch_labels = None
depends_on = None

# Rows are compared as documents so that a column added later is guarded from its first day.
GUARD = """
    create function service_period_is_append_only() returns trigger language plpgsql as $$
    begin
        if tg_op = 'TRUNCATE' then
            raise exception 'service_period is append-only' using errcode = 'integrity_constraint_violation';
        end if;
        if tg_op = 'UPDATE' and old.ends_on is null and new.ends_on is not null and new.end_reason is not null
            and to_jsonb(new) - 'ends_on' - 'end_reason' = to_jsonb(old) - 'ends_on' - 'end_reason'
        then
            return new;
        end if;
        raise exception 'service_period % is append-only: an open one can be closed once, and nothing else', old.id
            using errcode = 'integrity_constraint_violation';
    end $$
"""


def upgrade() -> None:
    op.execute(GUARD)
    op.execute(
        "create trigger service_period_append_only before update or delete on service_period "
        "for each row execute function service_period_is_append_only()"
    )
    op.execute(
        "create trigger service_period_no_truncate before truncate on service_period "
        "for each statement execute function service_period_is_append_only()"
    )


def downgrade() -> None:
    op.execute("drop function service_period_is_append_only() cascade")
