"""Who issues the invoices, in whose books they stand, and whom VAT ids are checked with, from the settings."""

from pathlib import Path

from billing.documents.pdf import UnprintableDocument, check_picture
from billing.gateways.vies import Vies
from billing.models import Books, Issuer
from billing.vat_territory import HOME
from provisioning.core.settings import ConfigurationError, Settings

_EMBEDDED_ISSUER = Issuer(
    name="Postfachwerk Muster GmbH",
    street="Fachwerkgasse 1",
    postcode="38100",
    city="Braunschweig",
    country="DE",
    vat_id="DE123456788",
    tax_number="14/123/45678",
    email="rechnung@postfachwerk.example",
    iban="DE02120300000000202051",
    bic="BYLADEM1001",
    contact_name="Rechnungsstelle",
    phone="+49 531 1234560",
)


def issuer_of(settings: Settings) -> Issuer:
    """Who the invoices come from; the embedded database comes with a made-up one. Raises ConfigurationError."""
    names = (
        *("name", "street", "postcode", "city", "country", "vat_id", "tax_number", "email", "iban", "bic"),
        *("contact_name", "phone"),
    )
    given = {name: getattr(settings, f"issuer_{name}") for name in names}
    missing = [f"POSTFACHWERK_ISSUER_{name.upper()}" for name, value in given.items() if not value]
    if missing and settings.database_url is None:
        given = {name: given[name] or getattr(_EMBEDDED_ISSUER, name) for name in names}
    elif missing:
        raise ConfigurationError(f"Invoices need a seller: set {', '.join(missing)}.")
    if given["country"] != HOME:
        raise ConfigurationError("Invoices follow German tax law: POSTFACHWERK_ISSUER_COUNTRY must be DE.")
    return Issuer(
        **given,
        register_number=settings.issuer_register_number,
        legal_info=settings.issuer_legal_info,
        series=settings.invoice_series,
        payment_days=settings.payment_days,
        creditor_id=settings.creditor_id,
        has_gateway=settings.stripe_api_key is not None,
        logo=_logo_of(settings.issuer_logo),
    )


def _logo_of(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        content = path.read_bytes()
        check_picture(content)
    except (OSError, ValueError, UnprintableDocument) as error:
        raise ConfigurationError(f"POSTFACHWERK_ISSUER_LOGO: {error}.") from error
    return content


def open_vies(settings: Settings, issuer: Issuer) -> Vies | None:
    """A client that asks in the issuer's name, to be closed; None where nobody is to be asked."""
    if not settings.vies_url:
        return None
    return Vies(settings.vies_url, requester=issuer.vat_id, timeout_seconds=settings.vies_timeout_seconds)


def books_of(settings: Settings) -> Books:
    """Whose books DATEV exports are for; without the tax adviser's numbers each export has to name them."""
    return Books(
        settings.datev_consultant,
        settings.datev_client,
        settings.datev_chart,
        account_length=settings.datev_account_length,
        fiscal_year_starts_in=settings.datev_fiscal_year_starts_in,
        fee_income_account=settings.datev_fee_income_account,
    )
