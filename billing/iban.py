"""Account numbers and references that carry check digits by ISO 7064 mod 97-10, checked without a network."""

import re
from typing import Final

# ISO 13616 registry: the length of an IBAN in each country of the SEPA schemes (EPC409-09).
_LENGTHS: Final = (
    "AD24 AL28 AT20 BE16 BG22 CH21 CY28 CZ24 DE22 DK18 EE20 ES24 FI18 FR27 GB22 GI23 GR27 HR21 HU28 IE22 IS26 IT27 "
    "LI21 LT20 LU20 LV21 MC27 MD24 ME22 MK19 MT31 NL18 NO15 PL28 PT25 RO24 RS22 SE24 SI19 SK24 SM27 VA22"
)
IBAN_LENGTHS: Final[dict[str, int]] = {entry[:2]: int(entry[2:]) for entry in _LENGTHS.split()}

_REFERENCE = re.compile(r"RF[0-9]{2}[A-Z0-9]{1,21}")
_CREDITOR_ID = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{3}[A-Z0-9]{1,28}")


def compact(text: str) -> str:
    """Return an IBAN, creditor identifier or reference without white space, in upper case."""
    return "".join(text.split()).upper()


def is_iban(text: str) -> bool:
    """Say whether this is the IBAN of a SEPA country with the right length and check digits (ISO 13616)."""
    iban = compact(text)
    if not re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]+", iban) or len(iban) != IBAN_LENGTHS.get(iban[:2]):
        return False
    return _remainder(iban[4:] + iban[:4]) == 1


def is_creditor_id(text: str) -> bool:
    """Say whether this is a SEPA creditor identifier (AT-02, EPC262-08) with the right check digits.

    The three characters after the check digits are the creditor's own business code and are not checked.
    """
    creditor_id = compact(text)
    if not _CREDITOR_ID.fullmatch(creditor_id) or creditor_id[:2] not in IBAN_LENGTHS:
        return False
    if creditor_id.startswith("DE") and len(creditor_id) != 18:
        return False
    return _remainder(creditor_id[7:] + creditor_id[:4]) == 1


def is_creditor_reference(text: str) -> bool:
    """Say whether this is a structured creditor reference, "RF" with check digits (ISO 11649)."""
    reference = compact(text)
    return bool(_REFERENCE.fullmatch(reference)) and _remainder(reference[4:] + reference[:4]) == 1


def creditor_reference(number: str) -> str:
    """Return the structured reference of an invoice number: "PF-2026-000042" is RF93PF2026000042.

    Two numbers that differ in signs other than letters and digits only have the same reference. A number with no or
    more than 21 letters and digits, or with letters beyond A to Z, raises ValueError.
    """
    body = re.sub(r"[-./_ ]", "", number).upper()
    if not re.fullmatch(r"[A-Z0-9]{1,21}", body):
        raise ValueError(f"number {number!r} gives no creditor reference: use up to 21 of A-Z and 0-9, and - . / _")
    return f"RF{98 - _remainder(f'{body}RF00'):02d}{body}"


def _remainder(text: str) -> int:
    # int(character, 36) is the standard's letter value: A is 10, Z is 35.
    return int("".join(str(int(character, 36)) for character in text)) % 97
