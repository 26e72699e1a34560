"""The page of a document says what its PDF says, and asks nobody else for anything."""

import html
import re
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from billing.documents.html import render_html
from billing.documents.sheet import Sheet, sheet_of, title_of
from tests.billing.documents.corpus import CORPUS, document, png

MARKUP = re.compile(r"<(style|svg|title)\b.*?</\1>|<[^>]+>", re.DOTALL)


def words(value: Any) -> list[str]:
    """Every text of a sheet but those that a page has no place for."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, tuple):
        return [text for each in value for text in words(each)]
    if is_dataclass(value):
        unseen = {"page", "seller_name", "language", "girocode"} | ({"girocode_caption"} if no_code(value) else set())
        return [text for each in fields(value) if each.name not in unseen for text in words(getattr(value, each.name))]
    return []


def no_code(value: Any) -> bool:
    return getattr(value, "girocode", None) is None


@pytest.mark.parametrize("name", CORPUS)
def test_the_page_has_every_word_of_the_sheet(name: str) -> None:
    sheet = sheet_of(CORPUS[name])
    page = html.unescape(MARKUP.sub("\n", render_html(CORPUS[name])))
    assert isinstance(sheet, Sheet)
    assert [each for each in words(sheet) if each not in page] == []


def test_the_page_loads_nothing() -> None:
    page = render_html(document(logo=png()))
    assert "data:image/png;base64," in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert "<script" not in page


def test_what_a_customer_is_called_is_text_and_no_markup() -> None:
    assert "<b>" not in render_html(CORPUS["special characters"])


def test_the_code_to_pay_with_stands_on_transfers_only() -> None:
    assert "<svg" in render_html(document())
    for name in ("debit", "credit card", "debit by a service", "too little for a card", "nothing left for a card"):
        assert "<svg" not in render_html(CORPUS[name])


@pytest.mark.parametrize(("language", "said"), [("de", "Rechnung Entwurf"), ("en", "Invoice Draft")])
def test_a_draft_says_so_and_asks_for_no_money(language: str, said: str) -> None:
    draft = document(is_draft=True, language=language)
    page = render_html(draft)
    assert f"<h1>{said}</h1>" in page
    provisional = (draft.number, "01.12.2026", "2026-12-01", "15.12.2026", "2026-12-15", "IBAN", "<svg")
    assert [each for each in provisional if each in page] == []
    assert "Müller &amp; Söhne IT-Systeme GmbH" in page


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("domestic", "Rechnung"),
        ("English", "Invoice"),
        ("cancellation as credit note", "Stornorechnung"),
        ("correction as credit note", "Rechnungskorrektur"),
        ("correction in English", "Invoice correction"),
        ("new invoice that names the one before", "Rechnung"),
    ],
)
def test_a_document_is_called_what_it_is(name: str, title: str) -> None:
    assert title_of(CORPUS[name]) == title
    assert f"<h1>{title} PF-2026-" in render_html(CORPUS[name])
