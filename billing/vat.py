"""The VAT rate of a country on a day, from a table of what the law said when."""

from dataclasses import dataclass
from datetime import date
from typing import Final


@dataclass(frozen=True, slots=True)
class VatRate:
    """A VAT category code (BT-118, BT-151) and its rate (BT-119, BT-152); 1900 basis points are 19 %."""

    category: str
    rate_basis_points: int


class UnsupportedTaxRegime(Exception):
    """The table has no rate for this country on this day, so no invoice may be made."""

    def __init__(self, country: str, on: date) -> None:
        super().__init__(country, on)
        self.country = country
        self.on = on

    def __str__(self) -> str:
        return f"no VAT rate is known for country {self.country!r} on {self.on}"


# By country, newest first, each valid from its day on: § 12 (1) UStG; the half-year at 16 % is § 28 (1) UStG.
RATES: Final[dict[str, tuple[tuple[date, VatRate], ...]]] = {
    "DE": (
        (date(2021, 1, 1), VatRate("S", 1900)),
        (date(2020, 7, 1), VatRate("S", 1600)),
        (date(2007, 1, 1), VatRate("S", 1900)),
    ),
}


def vat_rate(country: str, on: date) -> VatRate:
    """Return the standard rate of a country (ISO 3166-1 alpha-2, upper case) for a supply completed on a day.

    A month of service is a part supply completed on its last day (§ 13 (1) no. 1 a, § 27 (1) UStG): give
    `BillingMonth.last_on`, never the invoice date. A country or day not in the table raises
    UnsupportedTaxRegime.
    """
    for starts_on, rate in RATES.get(country, ()):
        if starts_on <= on:
            return rate
    raise UnsupportedTaxRegime(country, on)
