"""The taxes that a German issuer can put on a line, each with the note that the law wants."""

from billing.documents.document import Tax, TaxCategory
from billing.documents.texts import text
from billing.money import Language


def standard(rate_basis_points: int) -> Tax:
    return Tax(TaxCategory.STANDARD, rate_basis_points)


def reverse_charge(language: Language) -> Tax:
    """A service to a business in another EU state: § 13b, § 14a (1) UStG."""
    return Tax(TaxCategory.REVERSE_CHARGE, 0, text("reverse_charge", language), "VATEX-EU-AE")


def small_business(language: Language) -> Tax:
    """An issuer under § 19 UStG."""
    return Tax(TaxCategory.EXEMPT, 0, text("small_business", language))


def third_country(language: Language) -> Tax:
    """A service to a business outside the EU, whose place is there: § 3a (2) UStG."""
    return Tax(TaxCategory.NOT_SUBJECT, 0, text("third_country", language), "VATEX-EU-O")
