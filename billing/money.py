"""Money as whole cents: one rounding rule, one tax rule, one way to print an amount."""

from typing import Literal

Language = Literal["de", "en"]

BASIS_POINTS = 10_000


def round_half_up(numerator: int, denominator: int) -> int:
    """Return `numerator / denominator` as a whole number, a half going away from zero (1.5 -> 2, -1.5 -> -2).

    Both are integers, so the result is exact at any size. A denominator below 1 raises ValueError.
    """
    if denominator < 1:
        raise ValueError(f"the denominator must be at least 1, not {denominator}")
    # On the absolute value, so that a credit note is the exact mirror of the invoice it corrects.
    rounded = (2 * abs(numerator) + denominator) // (2 * denominator)
    return rounded if numerator >= 0 else -rounded


def tax_cents(net_cents: int, rate_basis_points: int) -> int:
    """Return the tax on a net amount, both in cents; 1900 basis points are 19 %.

    EN 16931 wants it once per rate on the document total: BT-117 is BT-116 times BT-119 / 100, to two
    decimals (BR-CO-17). A negative rate raises ValueError.
    """
    if rate_basis_points < 0:
        raise ValueError(f"a tax rate cannot be negative, not {rate_basis_points} basis points")
    return round_half_up(net_cents * rate_basis_points, BASIS_POINTS)


def format_eur(cents: int, language: Language = "de") -> str:
    """Return the amount for people: "1.234,56 €" (de) or "€1,234.56" (en), a minus sign in front.

    Another language raises ValueError.
    """
    sign = "-" if cents < 0 else ""
    euros, rest = divmod(abs(cents), 100)
    grouped = f"{euros:,}"
    if language == "de":
        return f"{sign}{grouped.replace(',', '.')},{rest:02d} €"
    if language == "en":
        return f"{sign}€{grouped}.{rest:02d}"
    raise ValueError(f"the language must be 'de' or 'en', not {language!r}")
