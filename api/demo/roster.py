"""Reading a list of people as German Excel saves it: semicolons, umlauts, with or without a byte order mark."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

COLUMNS = ("Vorname", "Nachname", "E-Mail", "Klasse", "Rechenzentrum", "Art", "Ab Tag", "Weitere Adressen")
CLASSES = {"pop3": "pop3", "imap": "imap", "exchange": "exchange"}
KINDS = {"person": "user", "gemeinsam": "shared", "raum": "room", "gerät": "equipment"}


class RosterError(Exception):
    """The file cannot be used; the message names line and fix."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: an order as the API takes it, and the day of the month it is placed on."""

    order: dict[str, object]
    day: int

    @property
    def address(self) -> str:
        return str(self.order["address"])


def read_roster(path: Path) -> list[Entry]:
    """Raises RosterError."""
    rows = list(csv.DictReader(io.StringIO(_decode(path.read_bytes())), delimiter=";"))
    if not rows:
        raise RosterError(f"{path} holds no line below its header.")
    if missing := [name for name in COLUMNS if name not in rows[0]]:
        raise RosterError(f"{path} lacks the column {', '.join(missing)}; needed are {';'.join(COLUMNS)}.")
    return [_entry(row, f"{path}, line {number}") for number, row in enumerate(rows, start=2)]


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")  # what Excel writes under "CSV (Trennzeichen-getrennt)"


def _entry(row: dict[str, str], where: str) -> Entry:
    name = " ".join(part for part in (row["Vorname"].strip(), row["Nachname"].strip()) if part)
    aliases = [alias.strip() for alias in (row["Weitere Adressen"] or "").split(",") if alias.strip()]
    if not (day := row["Ab Tag"].strip(" .")).isdigit() or not 1 <= int(day) <= 28:
        raise RosterError(f"{where}: Ab Tag must be a day from 1 to 28.")
    return Entry(
        {
            "address": row["E-Mail"].strip(),
            "display_name": name,
            "service_class": _word(CLASSES, row["Klasse"], where),
            "kind": _word(KINDS, row["Art"], where),
            "location": row["Rechenzentrum"].strip(),
            "aliases": aliases,
        },
        int(day),
    )


def _word(known: dict[str, str], value: str, where: str) -> str:
    if (word := known.get(value.strip().lower())) is None:
        raise RosterError(f"{where}: {value!r} is none of {', '.join(known)}.")
    return word
