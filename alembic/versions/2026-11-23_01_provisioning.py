"""Tenants, data centres, mailboxes, shares, operations, the ledger of service periods, and the job queue."""

from contextlib import closing
from datetime import date

import sqlalchemy as sa
from alembic import op
from procrastinate.schema import SchemaManager
from sqlalchemy.dialects import postgresql

from provisioning.core.database import APP_ROLE, SYSTEM_ROLE
from provisioning.core.security import (
    create_roles,
    drop_immutable,
    let_owner_read,
    make_immutable,
    protect,
    share,
)

revision = "20261123_01"
down_revision = None
branch_labels = None
depends_on = None

OWNED = (
    "customer",
    "tenant_usage",
    "domain",
    "mailbox",
    "mailbox_address",
    "share",
    "password_link",
    "operation",
)

# Each event's hash covers the one before it, so that no event can be changed or taken out unnoticed. The lock makes
# events of one chain wait for each other; the array's text keeps fields apart whatever they contain.
AUDIT_CHAIN = """
    create function audit_event_chain() returns trigger language plpgsql as $$
    declare
        last audit_event%rowtype;
    begin
        perform pg_advisory_xact_lock(hashtextextended('audit:' || new.chain, 0));
        select * into last from audit_event where chain = new.chain order by sequence desc limit 1;
        new.sequence := coalesce(last.sequence, 0) + 1;
        new.previous_hash := coalesce(last.hash, '');
        new.hash := audit_event_hash(new);
        return new;
    end $$
"""

AUDIT_HASH = """
    create function audit_event_hash(event audit_event) returns bytea language sql immutable as $$
        select sha256(event.previous_hash || convert_to(jsonb_build_array(
            event.id, event.chain, event.sequence,
            to_char(event.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            event.actor, event.action, event.resource_id, event.detail)::text, 'UTF8'))
    $$
"""

TABLES = (
    "share",
    "password_link",
    "operation",
    "mailbox_address",
    "mailbox",
    "service_period",
    "domain",
    "tenant_usage",
    "customer",
    "certificate",
    "audit_event",
    "api_key",
    "reseller",
    "idempotency_key",
    "data_centre",
)

DATA_CENTRES = (
    ("de-fra-1", "Frankfurt 1 (sandbox)", "Frankfurt am Main", "DE"),
    ("de-nbg-1", "Nürnberg 1 (sandbox)", "Nürnberg", "DE"),
    ("fi-hel-1", "Helsinki 1 (sandbox)", "Helsinki", "FI"),
)

# The Finnish certificate has lapsed and Nürnberg's C5 attestation ends with 2026, so that the rule can be seen at work.
CERTIFICATES = (
    ("de-fra-1", "ISO27001", "SBX-27001-FRA", date(2024, 1, 1), date(2030, 1, 1)),
    ("de-fra-1", "C5", "SBX-C5-FRA", date(2025, 1, 1), date(2030, 1, 1)),
    ("de-nbg-1", "ISO27001", "SBX-27001-NBG", date(2024, 1, 1), date(2030, 1, 1)),
    ("de-nbg-1", "C5", "SBX-C5-NBG", date(2025, 1, 1), date(2027, 1, 1)),
    ("fi-hel-1", "ISO27001", "SBX-27001-HEL", date(2023, 10, 1), date(2026, 10, 1)),
)


def upgrade() -> None:
    create_roles()
    op.execute("create extension if not exists btree_gist")
    create_procrastinate()
    create_tables()
    for table in OWNED:
        protect(table)
    protect("reseller", owner="id", app="select")
    protect("service_period", app="select")
    protect("api_key")
    protect("idempotency_key", owner="principal_id")
    protect("audit_event", app="select, insert")
    let_owner_read("api_key")
    let_owner_read("reseller")
    share("data_centre")
    share("certificate")
    op.execute(AUDIT_HASH)
    op.execute(AUDIT_CHAIN)
    op.execute(
        "create trigger audit_event_chain before insert on audit_event "
        "for each row execute function audit_event_chain()"
    )
    make_immutable("audit_event")
    let_roles_enqueue()
    insert_catalogue()


def create_procrastinate() -> None:
    """Its schema file holds many statements and percent signs, so it goes to the driver as it is."""
    with closing(op.get_bind().connection.cursor()) as cursor:
        cursor.execute(SchemaManager.get_schema())


def let_roles_enqueue() -> None:
    for role in (APP_ROLE, SYSTEM_ROLE):
        op.execute(f"grant select, insert, update on procrastinate_jobs to {role}")
        op.execute(f"grant select, insert on procrastinate_events to {role}")
        op.execute(f"grant usage on sequence procrastinate_jobs_id_seq, procrastinate_events_id_seq to {role}")


def insert_catalogue() -> None:
    centre = sa.table(
        "data_centre",
        *(sa.column(name) for name in ("version", "code", "name", "city", "country", "jurisdiction", "operator")),
        *(sa.column(name) for name in ("parent_country", "driver", "sandbox", "accepts_orders")),
    )
    op.bulk_insert(
        centre,
        [
            {
                "version": 1,
                "code": code,
                "name": name,
                "city": city,
                "country": country,
                "jurisdiction": country,
                "operator": "Postfachwerk sandbox",
                "parent_country": country,
                "driver": "sandbox",
                "sandbox": True,
                "accepts_orders": True,
            }
            for code, name, city, country in DATA_CENTRES
        ],
    )
    certificate = sa.table(
        "certificate",
        *(sa.column(name) for name in ("data_centre", "scheme", "number", "issuer")),
        sa.column("valid_from", sa.Date()),
        sa.column("valid_until", sa.Date()),
    )
    op.bulk_insert(
        certificate,
        [
            {
                "data_centre": centre,
                "scheme": scheme,
                "number": number,
                "issuer": "Sandbox certification body",
                "valid_from": valid_from,
                "valid_until": valid_until,
            }
            for centre, scheme, number, valid_from, valid_until in CERTIFICATES
        ],
    )


def create_tables() -> None:
    op.create_table(
        "data_centre",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("city", sa.String(), nullable=False),
        sa.Column("country", sa.String(), nullable=False),
        sa.Column("jurisdiction", sa.String(), nullable=False),
        sa.Column("operator", sa.String(), nullable=False),
        sa.Column("parent_country", sa.String(), nullable=False),
        sa.Column("driver", sa.String(), nullable=False),
        sa.Column("sandbox", sa.Boolean(), nullable=False),
        sa.Column("accepts_orders", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_data_centre")),
    )
    op.create_table(
        "idempotency_key",
        sa.Column("principal_id", sa.String(collation="C"), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("headers", postgresql.JSONB(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("principal_id", "idempotency_key", name=op.f("pk_idempotency_key")),
    )
    op.create_index(op.f("ix_idempotency_key_created_at"), "idempotency_key", ["created_at"], unique=False)
    op.create_table(
        "reseller",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("allowed_locations", postgresql.ARRAY(sa.String()), nullable=True),
        sa.Column("allowed_countries", postgresql.ARRAY(sa.String()), nullable=True),
        sa.Column("required_certificates", postgresql.ARRAY(sa.String()), nullable=True),
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("external_id", sa.String(), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("street", sa.String(), nullable=False),
        sa.Column("postcode", sa.String(), nullable=False),
        sa.Column("city", sa.String(), nullable=False),
        sa.Column("country", sa.String(), nullable=False),
        sa.Column("vat_id", sa.String(), nullable=True),
        sa.Column("billing_email", sa.String(), nullable=False),
        sa.Column("standing", sa.String(32), nullable=False),
        sa.Column("standing_reason", sa.String(), nullable=True),
        sa.Column("mailboxes_max", sa.Integer(), nullable=True),
        sa.Column("customers_max", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reseller")),
        sa.UniqueConstraint("external_id", name=op.f("uq_reseller_external_id")),
    )
    op.create_table(
        "api_key",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_api_key_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_api_key_secret_hash")),
    )
    op.create_index(op.f("ix_api_key_reseller_id"), "api_key", ["reseller_id"], unique=False)
    op.create_table(
        "audit_event",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("chain", sa.String(collation="C"), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("resource_id", sa.String(collation="C"), nullable=False),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_audit_event_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_event")),
        sa.UniqueConstraint("chain", "sequence", name=op.f("uq_audit_event_chain_sequence")),
    )
    op.create_index(op.f("ix_audit_event_resource_id"), "audit_event", ["resource_id"], unique=False)
    op.create_table(
        "certificate",
        sa.Column("data_centre", sa.String(), nullable=False),
        sa.Column("scheme", sa.String(), nullable=False),
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=False),
        sa.ForeignKeyConstraint(
            ["data_centre"], ["data_centre.code"], name=op.f("fk_certificate_data_centre_data_centre")
        ),
        sa.PrimaryKeyConstraint("data_centre", "scheme", "number", name=op.f("pk_certificate")),
    )
    op.create_table(
        "customer",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("allowed_locations", postgresql.ARRAY(sa.String()), nullable=True),
        sa.Column("allowed_countries", postgresql.ARRAY(sa.String()), nullable=True),
        sa.Column("required_certificates", postgresql.ARRAY(sa.String()), nullable=True),
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("external_id", sa.String(), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("mailboxes_max", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_customer_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer")),
        sa.UniqueConstraint("reseller_id", "external_id", name=op.f("uq_customer_reseller_id_external_id")),
    )
    op.create_index("ix_customer_reseller_id_id", "customer", ["reseller_id", "id"], unique=False)
    op.create_table(
        "tenant_usage",
        sa.Column("tenant_id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("mailboxes", sa.Integer(), nullable=False),
        sa.Column("customers", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_tenant_usage_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenant_usage")),
    )
    op.create_index(op.f("ix_tenant_usage_reseller_id"), "tenant_usage", ["reseller_id"], unique=False)
    op.create_table(
        "domain",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("customer_id", sa.String(collation="C"), nullable=False),
        sa.Column("name", sa.String(collation="C"), nullable=False),
        sa.Column("unicode_name", sa.String(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("verification_token", sa.String(), nullable=False),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_domain_customer_id_customer")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_domain_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_domain")),
        sa.UniqueConstraint("reseller_id", "name", name=op.f("uq_domain_reseller_id_name")),
    )
    op.create_index(op.f("ix_domain_customer_id"), "domain", ["customer_id"], unique=False)
    op.create_index("ix_domain_reseller_id_id", "domain", ["reseller_id", "id"], unique=False)
    op.create_index(
        "uq_domain_verified_name",
        "domain",
        ["name"],
        unique=True,
        postgresql_where=sa.text("state = 'verified'"),
    )
    op.create_table(
        "service_period",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("customer_id", sa.String(collation="C"), nullable=False),
        sa.Column("mailbox_id", sa.String(collation="C"), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("service_class", sa.String(32), nullable=False),
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("start_reason", sa.String(), nullable=False),
        sa.Column("end_reason", sa.String(), nullable=True),
        postgresql.ExcludeConstraint(
            (sa.column("mailbox_id"), "="),
            (sa.text("daterange(starts_on, ends_on)"), "&&"),
            using="gist",
            name="ex_service_period_overlap",
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_service_period_customer_id_customer")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_service_period_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_period")),
    )
    op.create_index(
        "ix_service_period_reseller_id_starts_on",
        "service_period",
        ["reseller_id", "starts_on"],
        unique=False,
    )
    op.create_index(
        "uq_service_period_open",
        "service_period",
        ["mailbox_id"],
        unique=True,
        postgresql_where=sa.text("ends_on is null"),
    )
    op.create_table(
        "mailbox",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("allowed_locations", postgresql.ARRAY(sa.String()), nullable=True),
        sa.Column("allowed_countries", postgresql.ARRAY(sa.String()), nullable=True),
        sa.Column("required_certificates", postgresql.ARRAY(sa.String()), nullable=True),
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("customer_id", sa.String(collation="C"), nullable=False),
        sa.Column("domain_id", sa.String(collation="C"), nullable=True),
        sa.Column("external_id", sa.String(), nullable=True),
        sa.Column("address", sa.String(collation="C"), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("service_class", sa.String(32), nullable=False),
        sa.Column("protocols", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("quota_mib", sa.Integer(), nullable=False),
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("intent", sa.String(32), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=True),
        sa.Column("password_version", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("confirmed_generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("failed", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("backend_id", sa.String(collation="C"), nullable=True),
        sa.Column("placed_in", sa.String(), nullable=True),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("purge_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("quota_mib > 0", name=op.f("ck_mailbox_quota_positive")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_mailbox_customer_id_customer")),
        sa.ForeignKeyConstraint(["domain_id"], ["domain.id"], name=op.f("fk_mailbox_domain_id_domain")),
        sa.ForeignKeyConstraint(["location"], ["data_centre.code"], name=op.f("fk_mailbox_location_data_centre")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_mailbox_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailbox")),
        sa.UniqueConstraint("reseller_id", "external_id", name=op.f("uq_mailbox_reseller_id_external_id")),
    )
    op.create_index("ix_mailbox_customer_id_id", "mailbox", ["customer_id", "id"], unique=False)
    op.create_index(op.f("ix_mailbox_domain_id"), "mailbox", ["domain_id"], unique=False)
    op.create_index(
        "ix_mailbox_observed_at",
        "mailbox",
        ["observed_at"],
        unique=False,
        postgresql_where=sa.text("state <> 'purged'"),
    )
    op.create_index(
        "ix_mailbox_purge_at",
        "mailbox",
        ["purge_at"],
        unique=False,
        postgresql_where=sa.text("intent = 'deleted'"),
    )
    op.create_index("ix_mailbox_reseller_id_id", "mailbox", ["reseller_id", "id"], unique=False)
    op.create_index("ix_mailbox_reseller_id_state_id", "mailbox", ["reseller_id", "state", "id"], unique=False)
    op.create_index(
        "ix_mailbox_unconfirmed",
        "mailbox",
        ["id"],
        unique=False,
        postgresql_where=sa.text("confirmed_generation < generation and not failed"),
    )
    op.create_table(
        "mailbox_address",
        sa.Column("address", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("mailbox_id", sa.String(collation="C"), nullable=False),
        sa.Column("domain_id", sa.String(collation="C"), nullable=False),
        sa.Column("is_primary", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["domain_id"], ["domain.id"], name=op.f("fk_mailbox_address_domain_id_domain")),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name=op.f("fk_mailbox_address_mailbox_id_mailbox")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_mailbox_address_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_mailbox_address")),
    )
    op.create_index(op.f("ix_mailbox_address_domain_id"), "mailbox_address", ["domain_id"], unique=False)
    op.create_index(op.f("ix_mailbox_address_mailbox_id"), "mailbox_address", ["mailbox_id"], unique=False)
    op.create_table(
        "operation",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("mailbox_id", sa.String(collation="C"), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("steps", postgresql.JSONB(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name=op.f("fk_operation_mailbox_id_mailbox")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_operation_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operation")),
    )
    op.create_index("ix_operation_mailbox_id_id", "operation", ["mailbox_id", "id"], unique=False)
    op.create_index(
        "ix_operation_open",
        "operation",
        ["mailbox_id", "generation"],
        unique=False,
        postgresql_where=sa.text("state in ('queued', 'running')"),
    )
    op.create_index("ix_operation_reseller_id_id", "operation", ["reseller_id", "id"], unique=False)
    op.create_table(
        "password_link",
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("mailbox_id", sa.String(collation="C"), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name=op.f("fk_password_link_mailbox_id_mailbox")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_password_link_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_password_link")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_password_link_token_hash")),
    )
    op.create_index(op.f("ix_password_link_mailbox_id"), "password_link", ["mailbox_id"], unique=False)
    op.create_index(op.f("ix_password_link_reseller_id"), "password_link", ["reseller_id"], unique=False)
    op.create_table(
        "share",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(collation="C"), nullable=False),
        sa.Column("reseller_id", sa.String(collation="C"), nullable=False),
        sa.Column("mailbox_id", sa.String(collation="C"), nullable=False),
        sa.Column("grantee_id", sa.String(collation="C"), nullable=False),
        sa.Column("scope", sa.String(32), nullable=False),
        sa.Column("access", sa.String(32), nullable=True),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["grantee_id"], ["mailbox.id"], name=op.f("fk_share_grantee_id_mailbox")),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailbox.id"], name=op.f("fk_share_mailbox_id_mailbox")),
        sa.ForeignKeyConstraint(["reseller_id"], ["reseller.id"], name=op.f("fk_share_reseller_id_reseller")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_share")),
        sa.UniqueConstraint("mailbox_id", "scope", "grantee_id", name=op.f("uq_share_mailbox_id_scope_grantee_id")),
    )
    op.create_index(
        "ix_share_expires_at",
        "share",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("expires_at is not null"),
    )
    op.create_index("ix_share_grantee_id_mailbox_id", "share", ["grantee_id", "mailbox_id"], unique=False)
    op.create_index(op.f("ix_share_reseller_id"), "share", ["reseller_id"], unique=False)


def downgrade() -> None:
    drop_immutable("audit_event")
    op.execute("drop function audit_event_chain() cascade")
    op.execute("drop function audit_event_hash(audit_event)")
    for table in TABLES:
        op.drop_table(table)
    drop_procrastinate()
    op.execute("drop extension btree_gist")


def drop_procrastinate() -> None:
    """Its schema file creates nothing but names that begin with procrastinate_; the roles stay, others may use them."""
    op.execute(
        """
        do $$ declare thing record; begin
            for thing in select tablename from pg_tables where tablename like 'procrastinate\\_%' loop
                execute format('drop table %I cascade', thing.tablename);
            end loop;
            for thing in select oid::regprocedure as name from pg_proc where proname like 'procrastinate\\_%' loop
                execute format('drop function %s cascade', thing.name);
            end loop;
            for thing in select typname from pg_type
                where typname like 'procrastinate\\_%' and typtype in ('e', 'c') and typrelid not in
                    (select oid from pg_class where relkind <> 'c') loop
                execute format('drop type %I cascade', thing.typname);
            end loop;
        end $$
        """
    )
