"""What the fonts of an invoice can print, and what becomes of the rest."""

from pathlib import Path

import pytest

from billing.documents import glyphs
from billing.documents.glyphs import code_points, printable

FONTS = sorted(Path(glyphs.__file__).with_name("fonts").glob("*.otf"))


@pytest.mark.parametrize("file", FONTS, ids=lambda file: file.stem)
def test_a_face_prints_europe_and_knows_what_it_cannot_print(file: Path) -> None:
    points = code_points(file.read_bytes())
    assert {ord(each) for each in "ÄÖÜäöüßẞ€§–„“ŁódźİzmirΕλλάςКиївğșțőő→×·□"} <= points
    assert not {ord(each) for each in "山😀\u0007"} & points


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        ("Süß", "Süß"),
        ("Su\u0308ß", "Süß"),
        ("ﬁx", "fix"),
        ("山 😀", "□ □"),
        ("a\u0007b\u00adc", "abc"),
        ("a\u2003b\tc\nd", "a b c\nd"),
        ("short words stay whole", "short words stay whole"),
        ("x" * 60, "\u200b".join(["x" * 24, "x" * 24, "x" * 12])),
    ],
)
def test_a_text_keeps_what_can_be_printed(given: str, printed: str) -> None:
    points = frozenset(range(32, 127)) | {ord(each) for each in "Süß□"}
    assert printable(given, points) == printed


def test_a_font_without_its_table_of_signs_is_refused() -> None:
    with pytest.raises(ValueError, match="no cmap"):
        code_points(b"OTTO" + bytes(8))
