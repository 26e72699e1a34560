"""Which signs an OpenType font can print, read from its `cmap` table (OpenType 1.9, "cmap", format 4 and 12)."""

import re
import struct
import unicodedata
from collections.abc import Iterator
from typing import Final

_PART: Final = 24
_LONG_WORD: Final = re.compile(rf"\S{{{_PART + 8},}}")
_BREAK: Final = "\N{ZERO WIDTH SPACE}"
REPLACEMENT: Final = "\N{WHITE SQUARE}"


def code_points(font: bytes) -> frozenset[int]:
    """Return the code points that have a glyph. Raises ValueError for a font without a Unicode `cmap`."""
    (tables,) = struct.unpack_from(">H", font, 4)
    for index in range(tables):
        tag, _, start, _ = struct.unpack_from(">4sLLL", font, 12 + 16 * index)
        if tag == b"cmap":
            return frozenset(_of_cmap(font, start))
    raise ValueError("the font has no cmap")


def printable(value: str, points: frozenset[int]) -> str:
    """Return the text with composed letters, and a white square for each sign that has no glyph.

    Compatibility forms such as the ligature fi are taken apart where that helps, and very long words may be broken.
    """
    composed = unicodedata.normalize("NFC", value)
    signs = "".join(_sign(each, points) for each in composed)
    return _LONG_WORD.sub(lambda word: _breakable(word[0]), signs)


def _breakable(word: str) -> str:
    """A word that is longer than its column runs into the next one unless it may be broken."""
    return _BREAK.join(word[start : start + _PART] for start in range(0, len(word), _PART))


def _sign(sign: str, points: frozenset[int]) -> str:
    if sign == "\n" or ord(sign) in points:
        return sign
    if sign.isspace():
        return " "
    apart = unicodedata.normalize("NFKC", sign)
    if unicodedata.category(sign) in ("Cc", "Cf"):
        return ""
    return apart if all(ord(each) in points for each in apart) else REPLACEMENT


def _of_cmap(font: bytes, start: int) -> Iterator[int]:
    (subtables,) = struct.unpack_from(">H", font, start + 2)
    found = False
    for index in range(subtables):
        platform, _, offset = struct.unpack_from(">HHL", font, start + 4 + 8 * index)
        (kind,) = struct.unpack_from(">H", font, start + offset)
        if platform in (0, 3) and kind in (4, 12):
            found = True
            yield from (_of_format_4 if kind == 4 else _of_format_12)(font, start + offset)
    if not found:
        raise ValueError("the font has no Unicode cmap of format 4 or 12")


def _of_format_4(font: bytes, start: int) -> Iterator[int]:
    (doubled,) = struct.unpack_from(">H", font, start + 6)
    ends = struct.unpack_from(f">{doubled // 2}H", font, start + 14)
    starts = struct.unpack_from(f">{doubled // 2}H", font, start + 16 + doubled)
    for first, last in zip(starts, ends, strict=True):
        yield from (point for point in range(first, last + 1) if point != 0xFFFF)


def _of_format_12(font: bytes, start: int) -> Iterator[int]:
    (groups,) = struct.unpack_from(">L", font, start + 12)
    for index in range(groups):
        first, last, _ = struct.unpack_from(">LLL", font, start + 16 + 12 * index)
        yield from range(first, last + 1)
