"""Names of any language in the character sets of banks and of DATEV."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.documents.transliteration import shorten, to_cp1252, to_sepa


@pytest.mark.parametrize(
    ("name", "for_datev", "for_banks"),
    [
        ("Bäckerei Groß & Söhne GmbH", "Bäckerei Groß & Söhne GmbH", "Baeckerei Gross + Soehne GmbH"),
        ("Ärzte-Haus Übersee", "Ärzte-Haus Übersee", "Aerzte-Haus Uebersee"),
        ("Ba\u0308cker", "Bäcker", "Baecker"),
        ("Łukasz Şahin", "Lukasz Sahin", "Lukasz Sahin"),
        ("Иванов", "Ivanov", "Ivanov"),
        ("O’Neil – „Nord“", "O’Neil – „Nord“", "O'Neil - ,,Nord'"),
        ("Preis 5 €; mehr_info", "Preis 5 €; mehr_info", "Preis 5 EUR, mehr-info"),
        ("eins\r\nzwei\tdrei", "eins zwei drei", "eins zwei drei"),
        ("/vorn//mitte/", "/vorn//mitte/", "vorn/mitte"),
    ],
)
def test_a_name_keeps_its_german_spelling(name: str, for_datev: str, for_banks: str) -> None:
    assert to_cp1252(name) == for_datev
    assert to_sepa(name) == for_banks


@given(st.text())
@settings(deadline=None)
def test_every_text_fits_windows_1252_on_one_line(text: str) -> None:
    written = to_cp1252(text)
    assert written.encode("cp1252").decode("cp1252") == written
    assert not re.search(r"[\x00-\x1f\x7f\x80-\x9f]", written)


@given(st.text(st.characters()))
@settings(deadline=None)
def test_every_text_fits_the_character_set_of_banks(text: str) -> None:
    written = to_sepa(text)
    assert re.fullmatch(r"[A-Za-z0-9/?:().,'+ -]*", written)
    assert "//" not in written
    assert not written.startswith("/")


@given(st.text(st.characters(categories=["Cs", "Cc", "Co", "Cn", "So", "Lo"])))
@settings(deadline=None)
def test_not_even_broken_text_raises(text: str) -> None:
    assert to_cp1252(text).encode("cp1252") is not None
    assert to_sepa(text).isascii()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kurz", "kurz"),
        ("Hotel zum Goldenen Hirschen", "Hotel zum Goldenen"),
        ("Hotel zum Goldenen", "Hotel zum Goldenen"),
        ("Donaudampfschifffahrtsgesellschaft", "Donaudampfschifffa"),
        ("A Donaudampfschifffahrtsgesellschaft", "A Donaudampfschiff"),
    ],
)
def test_a_long_text_is_cut_behind_a_word_where_that_keeps_half(text: str, expected: str) -> None:
    assert shorten(text, 18) == expected


@given(st.text(), st.integers(min_value=1, max_value=60))
@settings(deadline=None)
def test_a_shortened_text_is_a_beginning_of_it(text: str, length: int) -> None:
    short = shorten(text, length)
    assert len(short) <= length
    assert text.startswith(short)
