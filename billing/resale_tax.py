"""The VAT of a reseller's own invoice to its customer, with the reseller as the issuer. No database."""

from typing import Any

from billing.documents.document import Tax, TaxCategory
from billing.export_models import CustomerBilling, SellerProfile
from billing.money import Language
from billing.statements import Statement
from billing.vat import EXEMPTIONS, IdState, Regime, treatment
from billing.vat_territory import HOME, VAT_ID_PREFIXES, Place, place_of
from provisioning.core.errors import Conflict


def resale_tax(statement: Statement, profile: SellerProfile, billing: CustomerBilling, language: Language) -> Tax:
    """Return the tax of an invoice between two parties in Germany: for all else the seller itself must have evidence.

    Raises Conflict `tax_regime_unsupported` or `vat_id_foreign`.
    """
    addresses = {
        "Your": (statement.seller.country, statement.seller.postcode),
        "The customer's": (billing.country, billing.postcode),
    }
    for whose, (country, postcode) in addresses.items():
        if place_of(country, postcode) is not Place.DOMESTIC:
            raise Conflict(
                f"{whose} address is in {country} {postcode}, and invoices in your name are made within Germany only. "
                "Bill this customer with a programme of your own.",
                code="tax_regime_unsupported",
            )
    if billing.vat_id and billing.vat_id[:2] in VAT_ID_PREFIXES - {HOME}:
        raise Conflict(
            f"The VAT id {billing.vat_id} is not one of {HOME}, where the customer's address is. Correct one of the "
            f"two: PUT /v1/customers/{statement.buyer.id}/billing.",
            code="vat_id_foreign",
        )
    regime = Regime.SMALL_BUSINESS if profile.is_small_business else Regime.STANDARD
    rate = treatment(Place.DOMESTIC, IdState.MISSING, regime=regime, on=statement.period.last_on)
    exemption = EXEMPTIONS.get(rate.category)
    reason: dict[str, Any] = (
        {} if exemption is None else {"reason": getattr(exemption, language), "reason_code": exemption.code}
    )
    return Tax(TaxCategory(rate.category), rate.rate_basis_points, **reason)
