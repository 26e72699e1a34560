"""Which picture some bytes are, read from their own structure: PNG or JPEG, which paper and browsers both can show.

SVG is not taken: it is a programme that may load and run things, and no list of what it may hold stays complete.
"""

import struct
import zlib
from typing import Final, Literal

MediaType = Literal["image/png", "image/jpeg"]

BYTES_MAX: Final = 256 * 1024
SIDE_MAX: Final = 2_000

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
# Start of frame, of whatever coding; C4, C8 and CC are other things.
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_COMPONENTS: Final = (1, 3)


def media_type_of(content: bytes) -> MediaType:
    """Return what it is. Raises ValueError for anything else, for more than 256 KiB or 2000 pixels, and for CMYK."""
    if len(content) > BYTES_MAX:
        raise ValueError(f"it has {len(content)} bytes, and {BYTES_MAX} are allowed")
    if content.startswith(_PNG):
        _check_png(content)
        return "image/png"
    if content.startswith(_JPEG):
        _check_jpeg(content)
        return "image/jpeg"
    raise ValueError("it is neither PNG nor JPEG")


def _check_png(content: bytes) -> None:
    """Every chunk with its checksum, from the head to the end and nothing after it."""
    names: list[bytes] = []
    at = len(_PNG)
    while at + 12 <= len(content):
        (length,), name = struct.unpack_from(">L", content, at), content[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(content) or struct.unpack_from(">L", content, end - 4)[0] != zlib.crc32(content[at + 4 : end - 4]):
            break
        names.append(name)
        at = end
        if name == b"IEND":
            break
    if at != len(content) or names[:1] != [b"IHDR"] or names[-1] != b"IEND":
        raise ValueError("the PNG is damaged")
    _check_size(*struct.unpack_from(">LL", content, len(_PNG) + 8))


def _check_jpeg(content: bytes) -> None:
    """The segments up to the frame's head; CMYK would need a colour profile of its own in a PDF/A."""
    at = 2
    while at + 10 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker in _FRAMES:
            height, width, components = struct.unpack_from(">HHB", content, at + 5)
            _check_size(width, height)
            if components not in _COMPONENTS:
                raise ValueError("the JPEG is neither grey nor RGB")
            return
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    raise ValueError("the JPEG is damaged")


def _check_size(width: int, height: int) -> None:
    if not (1 <= width <= SIDE_MAX and 1 <= height <= SIDE_MAX):
        raise ValueError(f"it has {width} x {height} pixels, and {SIDE_MAX} x {SIDE_MAX} are allowed")
