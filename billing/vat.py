"""Value-added tax as German law has it: which category and rate an invoice carries, or why none can be made.

Mailboxes are services to businesses, so the place of supply is where the buyer is (§ 3a (2) UStG):

| buyer | category | why |
|---|---|---|
| in Germany | S, the rate of the day | § 12 (1) UStG |
| in Germany, issuer is a small business | E, 0 % | § 19 (1) UStG |
| in another EU country, its VAT id checked | AE, 0 % | it owes the tax itself: art. 196 of directive 2006/112/EC |
| in another EU country, otherwise | none | without the id the place of supply is not proven, and it may owe nothing |
| in a third country | O | outside the scope of German VAT |

A third country is O and not G: G is an export that is exempt, and a service that is supplied abroad is not taxable in
Germany in the first place. EN 16931 wants an O document to carry nothing else: no rate on its lines (BR-O-05), no
other category (BR-O-11 to 14), neither the seller's nor the buyer's VAT id (BR-O-02); the seller is then known by its
tax number (BT-32) and an identifier or register number (BT-29 or BT-30, BR-CO-26).

A small business that supplies abroad is treated like any other: § 19 exempts what is taxable in Germany.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from billing.vat_territory import HOME, VAT_ID_PREFIXES, VAT_IDS, Place, is_vat_id_of, place_of


class Regime(StrEnum):
    """How the issuer itself is taxed."""

    STANDARD = "standard"
    SMALL_BUSINESS = "small_business"


class IdState(StrEnum):
    """What is known of a buyer's VAT id. `foreign` is one of an EU country the buyer is not in; `pending` has not been
    checked, or not lately enough.
    """

    MISSING = "missing"
    MALFORMED = "malformed"
    FOREIGN = "foreign"
    PENDING = "pending"
    INVALID = "invalid"
    VALID = "valid"


@dataclass(frozen=True, slots=True)
class Exemption:
    """Why there is no tax: BT-121 (a code of the VATEX list, where there is one) and BT-120 in both languages."""

    code: str | None
    de: str
    en: str


@dataclass(frozen=True, slots=True)
class VatRate:
    """A VAT category code (BT-118, BT-151) and its rate (BT-119, BT-152); 1900 basis points are 19 %."""

    category: str
    rate_basis_points: int

    @property
    def exemption(self) -> Exemption | None:
        return EXEMPTIONS.get(self.category)


@dataclass(frozen=True, slots=True)
class CheckedId:
    """The last definite answer to whether a VAT id is valid; a yes counts until `expires_at`."""

    is_valid: bool
    expires_at: datetime | None


class Untreatable(Exception):
    """No invoice may be made. `code` is stable; `reason` names the fix."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class UnsupportedTaxRegime(Untreatable):
    """The table has no rate for this country on this day, so no invoice may be made."""

    def __init__(self, country: str, on: date) -> None:
        super().__init__("tax_regime_unsupported", f"no VAT rate is known for country {country!r} on {on}")
        self.country = country
        self.on = on


# By country, newest first, each valid from its day on: § 12 (1) UStG; the half-year at 16 % is § 28 (1) UStG.
RATES: Final[dict[str, tuple[tuple[date, VatRate], ...]]] = {
    "DE": (
        (date(2021, 1, 1), VatRate("S", 1900)),
        (date(2020, 7, 1), VatRate("S", 1600)),
        (date(2007, 1, 1), VatRate("S", 1900)),
    ),
}

SMALL_BUSINESS: Final = VatRate("E", 0)
REVERSE_CHARGE: Final = VatRate("AE", 0)
OUT_OF_SCOPE: Final = VatRate("O", 0)

EXEMPTIONS: Final[Mapping[str, Exemption]] = {
    # The VATEX list has no code for § 19 UStG.
    "E": Exemption(
        None,
        "Kein Ausweis von Umsatzsteuer: steuerfrei als Kleinunternehmer gemäß § 19 UStG.",
        "No VAT charged: exempt as a small business under section 19 of the German VAT Act (UStG).",
    ),
    "AE": Exemption("VATEX-EU-AE", "Steuerschuldnerschaft des Leistungsempfängers.", "Reverse charge."),
    "O": Exemption(
        "VATEX-EU-O",
        "Nicht im Inland steuerbare Leistung (§ 3a Abs. 2 UStG).",
        "Not subject to German VAT (section 3a (2) UStG).",
    ),
}

# Code and reason; {country}, {postcode} and {vat_id} are the buyer's.
_SPECIAL: Final = (
    "tax_regime_unsupported",
    (
        "{country} {postcode} is a territory with VAT rules of its own. Correct the reseller's address, or have a tax "
        "adviser decide and bill it by hand."
    ),
)
_UNKNOWN: Final = (
    "tax_regime_unsupported",
    "{country} is no country code of ISO 3166. Correct the reseller's country.",
)
_FOREIGN: Final = (
    "vat_id_foreign",
    "The VAT id {vat_id} is not one of {country}, where the reseller's address is. Correct one of the two.",
)
_NO_EVIDENCE: Final[Mapping[IdState, tuple[str, str]]] = {
    IdState.MISSING: ("vat_id_missing", "A business in {country} is billed by its VAT id. Add the id to the reseller."),
    IdState.MALFORMED: (
        "vat_id_invalid",
        "{vat_id} does not look like a VAT id of {country}. Correct the reseller's VAT id.",
    ),
    IdState.INVALID: (
        "vat_id_invalid",
        "VIES says that the VAT id {vat_id} is not valid. Correct it, or once it is registered ask anew.",
    ),
    IdState.PENDING: (
        "vat_check_pending",
        "VIES has not confirmed the VAT id {vat_id} lately. It is asked again by itself, and the reseller then billed.",
    ),
}

TREATMENT_CODES: Final = frozenset(
    {code for code, _ in (_SPECIAL, _UNKNOWN, _FOREIGN, *_NO_EVIDENCE.values())} | {"vat_treatment_changed"}
)
"""The codes of resellers that are parked for their VAT."""


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


def id_state(country: str, vat_id: str | None, checked: CheckedId | None, *, now: datetime) -> IdState:
    """Return what is known of a VAT id; `checked` is the last definite answer for this very id."""
    if not vat_id:
        return IdState.MISSING
    own_prefix, _ = VAT_IDS.get(country, ("", ""))
    if vat_id[:2] in VAT_ID_PREFIXES - {own_prefix}:
        return IdState.FOREIGN
    if not is_vat_id_of(country, vat_id):
        return IdState.MALFORMED
    if checked is None:
        return IdState.PENDING
    if not checked.is_valid:
        return IdState.INVALID
    return IdState.VALID if checked.expires_at is not None and checked.expires_at > now else IdState.PENDING


def treatment(place: Place, state: IdState, *, regime: Regime, on: date) -> VatRate:
    """Return what a service completed on a day carries; see the table above. Raises Untreatable."""
    if place is Place.SPECIAL:
        raise Untreatable(*_SPECIAL)
    if place is Place.UNKNOWN:
        raise Untreatable(*_UNKNOWN)
    if state is IdState.FOREIGN:
        raise Untreatable(*_FOREIGN)
    if place is Place.THIRD_COUNTRY:
        return OUT_OF_SCOPE
    if place is Place.EU:
        if state in _NO_EVIDENCE:
            raise Untreatable(*_NO_EVIDENCE[state])
        return REVERSE_CHARGE
    return SMALL_BUSINESS if regime is Regime.SMALL_BUSINESS else vat_rate(HOME, on)


def treatment_of(
    country: str,
    postcode: str,
    vat_id: str | None,
    checked: CheckedId | None,
    *,
    regime: Regime,
    on: date,
    now: datetime,
) -> VatRate:
    """Return what a buyer's invoice carries for a month completed `on` a day. Raises Untreatable, its reason filled."""
    state = id_state(country, vat_id, checked, now=now)
    try:
        return treatment(place_of(country, postcode), state, regime=regime, on=on)
    except Untreatable as error:
        names = {"{country}": country, "{postcode}": postcode, "{vat_id}": vat_id or ""}
        reason = error.reason
        for name, value in names.items():
            reason = reason.replace(name, value)
        raise Untreatable(error.code, reason) from error
