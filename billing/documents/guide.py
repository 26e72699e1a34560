"""A page of instructions in somebody's name: steps to follow and what to type; PDF and HTML only lay it out."""

from dataclasses import dataclass

from billing.documents.demand import Pair
from billing.money import Language


@dataclass(frozen=True, slots=True)
class Section:
    """Steps in their order, what to type, and a code to scan: `qr` is SVG, `qr_caption` says what for."""

    title: str
    steps: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    note: str | None = None
    qr: str | None = None
    qr_caption: str = ""


@dataclass(frozen=True, slots=True)
class Guide:
    """All texts of the page. `page` keeps the places {page} and {pages}, which only the layout knows."""

    language: Language
    title: str
    subject: str
    sender: str
    intro: str
    facts: tuple[Pair, ...]
    sections: tuple[Section, ...]
    page: str
