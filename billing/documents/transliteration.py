"""Names in the character sets of banks and of DATEV: German spelling first, nothing refused."""

import re
import unicodedata
from functools import lru_cache
from typing import Final

from text_unidecode import unidecode  # type: ignore[import-untyped]  # the library carries no annotations

# How a German writes these without the key; unidecode alone would make Muller of Müller.
_GERMAN: Final[dict[int, str]] = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ẞ": "SS"}
)
# EPC217-08 names these replacements for characters that are common in names of companies.
_SEPA_SIGNS: Final[dict[int, str]] = str.maketrans({"&": "+", "€": "EUR", "@": "(at)", "_": "-", ";": ",", '"': "'"})
_SEPA_SIGNS_LATIN: Final[dict[str, str]] = {'"': "'", "`": "'", "_": "-", ";": ",", "&": "+"}
_SEPA: Final[frozenset[str]] = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/-?:().,'+ ")


def to_cp1252(text: str) -> str:
    """Return the text on one line in characters that Windows-1252 holds: "Łukasz" becomes "Lukasz", "ä" stays.

    Control characters become spaces, and runs of white space one space. Never raises.
    """
    composed = unicodedata.normalize("NFC", text)
    return " ".join("".join(map(_fitting, composed)).split())


def to_sepa(text: str) -> str:
    """Return the text in the SEPA character set (EPC217-08): "Bäckerei & Söhne" becomes "Baeckerei + Soehne".

    What has no equivalent becomes a full stop; a leading or doubled slash is taken away, as banks refuse it.
    Never raises.
    """
    german = unicodedata.normalize("NFC", text).translate(_GERMAN).translate(_SEPA_SIGNS)
    latin = "".join(character if character in _SEPA else _latin(character) for character in german)
    kept = "".join(character if character in _SEPA else _SEPA_SIGNS_LATIN.get(character, ".") for character in latin)
    return " ".join(re.sub("/{2,}", "/", kept).split()).strip("/ ")


def shorten(text: str, length: int) -> str:
    """Return at most `length` characters, cut behind a word where one ends in the second half."""
    if len(text) <= length:
        return text
    cut = text[: length + 1].rfind(" ")
    return text[:cut].rstrip() if cut >= length // 2 else text[:length].rstrip()


@lru_cache(maxsize=4096)
def _fitting(character: str) -> str:
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return "" if character in "\u00ad\u200b\u200c\u200d\ufeff" else " "
    try:
        character.encode("cp1252")
    except UnicodeEncodeError:
        return _latin(character)
    return character


def _latin(character: str) -> str:
    # unidecode answers "" for what it does not know and cannot take a lone surrogate.
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return " "
    latin = str(unidecode(character))
    return " ".join(latin.split()) if latin.strip() else ("?" if latin == "" else " ")
