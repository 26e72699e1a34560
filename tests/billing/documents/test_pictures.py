"""A logo is what its own structure says, and what the layout can print."""

import io

import pikepdf
import pytest
from PIL import Image

from billing.documents.pdf import UnprintableDocument, check_picture
from billing.documents.pictures import BYTES_MAX, media_type_of
from tests.billing.documents.corpus import document, png
from tests.billing.documents.test_pdf import render

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def saved(mode: str, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (40, 20)).save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind", "media_type"),
    [
        *((mode, "PNG", "image/png") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        *((mode, "JPEG", "image/jpeg") for mode in ("L", "RGB")),
    ],
)
def test_each_way_to_write_a_png_or_jpeg_is_taken_and_printed(mode: str, kind: str, media_type: str) -> None:
    picture = saved(mode, kind)
    assert media_type_of(picture) == media_type
    check_picture(picture)
    with pikepdf.open(io.BytesIO(render(document(logo=picture)))) as pdf:
        assert len(pdf.pages[0].get_images()) == 1
        with pdf.open_metadata() as metadata:
            assert (metadata["pdfaid:part"], metadata["pdfuaid:part"]) == ("3", "1")


def test_a_progressive_jpeg_is_taken() -> None:
    check_picture(saved("RGB", "JPEG", progressive=True))


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (SVG, "neither PNG nor JPEG"),
        (b"GIF89a" + bytes(20), "neither PNG nor JPEG"),
        (b"", "neither PNG nor JPEG"),
        (png()[:-1], "damaged"),
        (png() + b"more", "damaged"),
        (png().replace(b"IDAT", b"IDAX"), "damaged"),
        (png()[:8], "damaged"),
        (png(2001, 1), "2001 x 1 pixels"),
        (png() + bytes(BYTES_MAX), "are allowed"),
        (saved("CMYK", "JPEG"), "neither grey nor RGB"),
        (saved("RGB", "JPEG")[:30], "damaged"),
        (b"\xff\xd8\xff", "damaged"),
    ],
)
def test_anything_else_is_refused_with_the_reason(picture: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        media_type_of(picture)


def test_what_only_looks_like_a_picture_is_found_out_by_printing_it() -> None:
    hollow = saved("RGB", "JPEG").partition(b"\xff\xda")[0]
    assert media_type_of(hollow) == "image/jpeg"
    with pytest.raises(UnprintableDocument):
        check_picture(hollow)
