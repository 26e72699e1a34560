"""All settings, read from the environment (POSTFACHWERK_*) in the composition roots and handed down as arguments."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from provisioning.core.embedded import default_directory

SETTINGS_PREFIX = "POSTFACHWERK_"


class ConfigurationError(Exception):
    """The settings do not suffice; the message names the fix."""


class Settings(BaseSettings):
    """Every field is an environment variable of the same name with the prefix POSTFACHWERK_."""

    model_config = SettingsConfigDict(env_prefix=SETTINGS_PREFIX, env_file=".env", extra="ignore")

    database_url: str | None = Field(
        default=None,
        description="PostgreSQL 15 or later, as postgresql://user:password@host/name. "
        "Without it the service starts its own embedded PostgreSQL.",
    )
    state_directory: Path = Field(
        default_factory=default_directory,
        description="Where the embedded PostgreSQL keeps its data.",
    )
    database_pool_size: int = Field(default=10, ge=1, le=200, description="Database connections per process.")
    secret_key: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Pepper of the API key hashes, 32 characters or more. "
        "Without it one is made and kept in the state directory (embedded PostgreSQL only).",
    )
    public_url: str = Field(
        default="http://127.0.0.1:8000", description="How the API is reached from outside; stands in one-time links."
    )
    service_domain: str = Field(
        default="postfachwerk.example",
        description="The platform's own domain, under which mx, autodiscover and spf records point.",
    )
    log_format: Literal["console", "json"] = Field(default="console", description="console or json.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="The least to log.")
    worker_concurrency: int = Field(default=10, ge=1, le=100, description="Jobs a worker runs at the same time.")
    worker_stalled_seconds: float = Field(
        default=15.0, ge=1.0, le=600.0, description="Silence after which a worker's jobs are taken over by another."
    )
    restore_days: int = Field(default=30, ge=0, le=365, description="Days a deleted mailbox stays restorable.")
    resolver: str | None = Field(
        default=None, description="Address of the DNS resolver for domain checks; the system's own when empty."
    )
    cells: Path | None = Field(
        default=None,
        description="A file that names the open cells and how their agents are reached, as `postfachwerk cell up` "
        "writes it; it holds tokens.",
    )
    issuer_name: str | None = Field(default=None, description="Seller on the invoices; needed with a database URL.")
    issuer_street: str | None = Field(default=None, description="Its street and number.")
    issuer_postcode: str | None = Field(default=None, description="Its postcode.")
    issuer_city: str | None = Field(default=None, description="Its city.")
    issuer_country: str = Field(default="DE", pattern="^[A-Z]{2}$", description="Its country.")
    issuer_vat_id: str | None = Field(default=None, description="Its VAT id.")
    issuer_tax_number: str | None = Field(default=None, description="Its tax number.")
    issuer_email: str | None = Field(default=None, description="Where to ask about an invoice.")
    issuer_iban: str | None = Field(default=None, description="Where invoices are paid to.")
    issuer_bic: str | None = Field(default=None, description="BIC of that account.")
    issuer_contact_name: str | None = Field(default=None, description="Who answers questions about an invoice.")
    issuer_phone: str | None = Field(default=None, description="And under which number.")
    issuer_register_number: str | None = Field(default=None, description="Its number in the commercial register.")
    issuer_logo: Path | None = Field(
        default=None, description="A PNG or JPEG on its invoices, 256 KiB at most; its name when left out."
    )
    issuer_legal_info: str | None = Field(
        default=None, description="What else business letters must say, such as court of registry and directors."
    )
    invoice_series: str = Field(
        default="PF", pattern="^[A-Z0-9]{1,8}$", description="Begins every invoice number, as in PF-2026-000001."
    )
    creditor_id: str | None = Field(
        default=None, description="Creditor identifier of the Bundesbank, for direct debits of our own."
    )
    stripe_api_key: SecretStr | None = Field(
        default=None, description="Stripe's secret key; without it invoices are paid by transfer."
    )
    stripe_webhook_secret: SecretStr | None = Field(
        default=None, description="Signing secret of the webhook endpoint; without it every webhook is refused."
    )
    stripe_url: str | None = Field(
        default=None, description="Another address than Stripe's, for a test peer; never with a live key."
    )
    stripe_requests_per_second: float | None = Field(
        default=None, gt=0, le=100, description="Calls to Stripe a second; 20 with a live key, else 5."
    )
    return_fee_cents: int = Field(
        default=0, ge=0, le=10_000, description="What a debit that comes back costs the reseller."
    )
    smtp_url: SecretStr | None = Field(
        default=None,
        description="Mail server for notices, as smtp://user:password@host:587 or smtps://…:465; "
        "without it they are listed only.",
    )
    payment_days: int = Field(default=14, ge=0, le=90, description="Days until an invoice is due.")
    datev_consultant: int | None = Field(
        default=None, ge=1001, le=9_999_999, description="The tax adviser's number (Berater) in DATEV exports."
    )
    datev_client: int | None = Field(
        default=None, ge=1, le=99_999, description="Your number with the tax adviser (Mandant) in DATEV exports."
    )
    datev_chart: Literal["SKR03", "SKR04"] = Field(default="SKR03", description="Chart of accounts: SKR03 or SKR04.")
    datev_account_length: int = Field(
        default=4, ge=4, le=8, description="Digits of general ledger accounts; debtors have one more."
    )
    datev_fiscal_year_starts_in: int = Field(
        default=1, ge=1, le=12, description="Month in which your fiscal year begins."
    )
    datev_fee_income_account: int | None = Field(
        default=None,
        ge=1_000,
        le=99_999_999,
        description="Account for dunning and return fees, without VAT; 8600 (SKR03) or 4830 (SKR04) when not set.",
    )
    vies_url: str = Field(
        default="https://ec.europa.eu/taxation_customs/vies/rest-api",
        description="Where VAT ids of resellers in other EU countries are checked. When empty nobody is asked, "
        "and their invoices wait.",
    )
    vies_timeout_seconds: float = Field(default=20.0, ge=1.0, le=120.0, description="How long VIES may take to answer.")
    vat_check_days: int = Field(
        default=90, ge=1, le=365, description="Days for which a VAT id that VIES has confirmed is not asked for again."
    )
    price_notice_days: int = Field(
        default=30, ge=0, le=365, description="Days ahead that a list must be made which makes something dearer."
    )
