"""Row-level security as migrations apply it: two roles, one pair of policies on each owned table, immutable rows.

A migration calls these and never changes afterwards; a new table needs one call.
"""

from alembic import op

from provisioning.core.database import APP_ROLE, SYSTEM_ROLE

# An unset setting reads as NULL, one that was set on this connection before as '': both must match no row.
_CURRENT_RESELLER = "nullif(current_setting('app.reseller_id', true), '')"


def create_roles() -> None:
    """The two roles belong to the whole cluster, so another database may have made them already.

    A login that may create no roles migrates too, once somebody has made these two and granted them to it.
    """
    for role in (APP_ROLE, SYSTEM_ROLE):
        op.execute(
            f"""
            do $$ begin
                if not exists (select from pg_roles where rolname = '{role}') then
                    create role {role} nologin;
                end if;
            exception when duplicate_object or unique_violation then null;
            end $$
            """
        )
        # Who made a role may grant it but not yet take it on; who was granted it may take it on but not grant it.
        # Another database of the cluster may be granting the same at this moment.
        op.execute(
            f"""
            do $$ begin
                grant {role} to current_user;
            exception when unique_violation then null;
            when insufficient_privilege then
                if not pg_has_role(current_user, '{role}', 'member') then
                    raise;
                end if;
            end $$
            """
        )
        op.execute(f"grant usage on schema public to {role}")


def protect(table: str, *, owner: str = "reseller_id", app: str = "select, insert, update, delete") -> None:
    """Force row-level security: the app role sees rows whose `owner` is the current reseller, the system role all.

    `app` lists the privileges of the app role.
    """
    op.execute(f"alter table {table} enable row level security")
    op.execute(f"alter table {table} force row level security")
    op.execute(f"create policy tenant on {table} to {APP_ROLE} using ({owner} = {_CURRENT_RESELLER})")
    # A policy for a role also covers its members, and the login is one: only who has taken the role on sees all.
    # Said by array_position, because PostgreSQL guesses that an equality lets one row in two hundred through, and
    # would plan nested loops for everything this role does.
    is_system = f"array_position(array['{SYSTEM_ROLE}'], current_user::text) is not null"
    op.execute(f"create policy system on {table} to {SYSTEM_ROLE} using ({is_system})")
    op.execute(f"grant {app} on {table} to {APP_ROLE}")
    op.execute(f"grant select, insert, update, delete on {table} to {SYSTEM_ROLE}")


def let_owner_read(table: str) -> None:
    """The login role may read this one table before it knows which reseller calls: keys are looked up in it."""
    op.execute(f"create policy authentication on {table} for select to current_user using (true)")


def share(table: str, *, app: str = "select") -> None:
    """A table that belongs to nobody: `app` lists the privileges of the app role, the system role has all."""
    op.execute(f"grant {app} on {table} to {APP_ROLE}")
    op.execute(f"grant select, insert, update, delete on {table} to {SYSTEM_ROLE}")


def make_immutable(table: str, *, when: str = "true") -> None:
    """Refuse UPDATE and DELETE of rows for which `when` (an SQL condition over `old`) holds, whoever asks."""
    op.execute(
        f"""
        create function {table}_is_immutable() returns trigger language plpgsql as $$
        begin
            if tg_op = 'TRUNCATE' then
                raise exception '{table} is immutable' using errcode = 'integrity_constraint_violation';
            end if;
            raise exception '{table} % is final and cannot be changed', old.id
                using errcode = 'integrity_constraint_violation';
        end $$
        """
    )
    op.execute(
        f"create trigger {table}_immutable before update or delete on {table} "
        f"for each row when ({when}) execute function {table}_is_immutable()"
    )
    op.execute(
        f"create trigger {table}_no_truncate before truncate on {table} "
        f"for each statement execute function {table}_is_immutable()"
    )


def drop_immutable(table: str) -> None:
    op.execute(f"drop function {table}_is_immutable() cascade")
