"""Where a buyer is for VAT, and what a VAT id looks like there; offline, from the postal address and the id alone."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

HOME: Final = "DE"
"""The issuer's country: all that is said here is German law."""


class Place(StrEnum):
    """What kind of territory a buyer is in, seen from Germany (§ 1 (2), (2a) UStG).

    `special` territories have rules of their own, which are not guessed: no invoice is made for them.
    """

    DOMESTIC = "domestic"
    EU = "eu"
    THIRD_COUNTRY = "third_country"
    SPECIAL = "special"
    UNKNOWN = "unknown"


# By country: the prefix, which for Greece is not the country's code, and what follows it. As the Commission lists
# them for VIES; written so that Python and PostgreSQL read the same.
VAT_IDS: Final[Mapping[str, tuple[str, str]]] = {
    "AT": ("AT", "U[0-9]{8}"),
    "BE": ("BE", "[01][0-9]{9}"),
    "BG": ("BG", "[0-9]{9,10}"),
    "CY": ("CY", "[0-9]{8}[A-Z]"),
    "CZ": ("CZ", "[0-9]{8,10}"),
    "DE": ("DE", "[0-9]{9}"),
    "DK": ("DK", "[0-9]{8}"),
    "EE": ("EE", "[0-9]{9}"),
    "ES": ("ES", "[A-Z0-9][0-9]{7}[A-Z0-9]"),
    "FI": ("FI", "[0-9]{8}"),
    "FR": ("FR", "[A-HJ-NP-Z0-9]{2}[0-9]{9}"),
    "GR": ("EL", "[0-9]{9}"),
    "HR": ("HR", "[0-9]{11}"),
    "HU": ("HU", "[0-9]{8}"),
    "IE": ("IE", "([0-9]{7}[A-Z]{1,2}|[0-9][A-Z+*][0-9]{5}[A-Z])"),
    "IT": ("IT", "[0-9]{11}"),
    "LT": ("LT", "([0-9]{9}|[0-9]{12})"),
    "LU": ("LU", "[0-9]{8}"),
    "LV": ("LV", "[0-9]{11}"),
    "MT": ("MT", "[0-9]{8}"),
    "NL": ("NL", "[0-9A-Z+*]{10}[0-9]{2}"),
    "PL": ("PL", "[0-9]{10}"),
    "PT": ("PT", "[0-9]{9}"),
    "RO": ("RO", "[0-9]{2,10}"),
    "SE": ("SE", "[0-9]{12}"),
    "SI": ("SI", "[0-9]{8}"),
    "SK": ("SK", "[0-9]{10}"),
}

# XI is Northern Ireland's, which is in the EU for goods only.
VAT_ID_PREFIXES: Final = frozenset({prefix for prefix, _ in VAT_IDS.values()} | {"XI"})

# Codes of their own for territories that belong to a country without being in its VAT area, or the other way round:
# Monaco, the Isle of Man, Åland, the French overseas departments and Saint-Martin, Northern Ireland, and the Canary
# Islands with Ceuta and Melilla.
SPECIAL_COUNTRIES: Final = frozenset({"MC", "IM", "AX", "GF", "GP", "MF", "MQ", "RE", "YT", "XI", "IC", "EA"})

# ISO 3166-1. A code that is not in it is a slip, and a slip must not make an invoice free of tax.
_ISO_COUNTRIES: Final = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
    GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO
    JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR
    MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO
    RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV
    TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
ISO_COUNTRIES: Final = frozenset(_ISO_COUNTRIES.split())

# Some write the country in front of the postcode: D-78266.
_CODE: Final = "([A-Z]{1,3}-?)?"

AREAS: Final[tuple[tuple[str, str, Place], ...]] = (
    # Büsingen and Helgoland are in Germany and outside its VAT area: third countries (§ 1 (2) UStG).
    ("DE", f"{_CODE}(78266|27498)", Place.THIRD_COUNTRY),
    # The Canary Islands, Ceuta and Melilla.
    ("ES", f"{_CODE}(35|38|51|52)[0-9]{{3}}", Place.SPECIAL),
    # Åland.
    ("FI", f"{_CODE}22[0-9]{{3}}", Place.SPECIAL),
    # Overseas, and Monaco.
    ("FR", f"{_CODE}9[78][0-9]{{3}}", Place.SPECIAL),
    # Northern Ireland and the Isle of Man.
    ("GB", "(BT|IM)[0-9].*", Place.SPECIAL),
    # Mount Athos.
    ("GR", f"{_CODE}63086", Place.SPECIAL),
    # Livigno and Campione d'Italia.
    ("IT", f"{_CODE}(23041|22061)", Place.SPECIAL),
)
"""Country, postcode (whole, in capitals, without spaces) and what the area is, apart from the rest of its country.

There is one row a country: a buyer is found in one of them only.
"""


def country_place(country: str) -> Place:
    """What a country (ISO 3166-1 alpha-2, upper case) is as a whole."""
    if country in SPECIAL_COUNTRIES:
        return Place.SPECIAL
    if country == HOME:
        return Place.DOMESTIC
    if country in VAT_IDS:
        return Place.EU
    return Place.THIRD_COUNTRY if country in ISO_COUNTRIES else Place.UNKNOWN


def place_of(country: str, postcode: str) -> Place:
    """What the territory of an address is."""
    written = postcode.upper().replace(" ", "")
    for of, pattern, place in AREAS:
        if of == country and re.fullmatch(pattern, written):
            return place
    return country_place(country)


def is_vat_id_of(country: str, vat_id: str) -> bool:
    """Whether it looks like a VAT id of this EU country; of any other country it does not."""
    if country not in VAT_IDS:
        return False
    prefix, pattern = VAT_IDS[country]
    return re.fullmatch(prefix + pattern, vat_id) is not None


def can_be_checked(country: str, postcode: str, vat_id: str | None) -> bool:
    """Whether the invoice of this buyer needs its VAT id checked, and the id is one that can be asked for."""
    return place_of(country, postcode) is Place.EU and vat_id is not None and is_vat_id_of(country, vat_id)
