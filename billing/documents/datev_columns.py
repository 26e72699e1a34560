"""The columns of DATEV's format 700 as line 2 of a file names them; those in quotes are text and always quoted.

Names and order are those of the sample files on developer.datev.de ("DATEV-Format, Einstieg").
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the name that line 2 gives it, and whether its values stand in quotation marks."""

    name: str
    is_text: bool


def _columns(block: str) -> tuple[Column, ...]:
    names = [line.strip() for line in block.strip().splitlines()]
    return tuple(Column(name.strip('"'), name.startswith('"')) for name in names)


def _pairs(pair: tuple[str, str], count: int) -> tuple[Column, ...]:
    return tuple(Column(f"{name} {number}", True) for number in range(1, count + 1) for name in pair)


# Format 13 of the Buchungsstapel, 125 columns. "Zusatzinformation- Inhalt" is written like that there.
BOOKING_COLUMNS: Final[tuple[Column, ...]] = (
    *_columns(
        """
        Umsatz (ohne Soll/Haben-Kz)
        "Soll/Haben-Kennzeichen"
        "WKZ Umsatz"
        Kurs
        Basis-Umsatz
        "WKZ Basis-Umsatz"
        Konto
        Gegenkonto (ohne BU-Schlüssel)
        "BU-Schlüssel"
        Belegdatum
        "Belegfeld 1"
        "Belegfeld 2"
        Skonto
        "Buchungstext"
        Postensperre
        "Diverse Adressnummer"
        Geschäftspartnerbank
        Sachverhalt
        Zinssperre
        "Beleglink"
        """
    ),
    *_pairs(("Beleginfo - Art", "Beleginfo - Inhalt"), 8),
    *_columns(
        """
        "KOST1 - Kostenstelle"
        "KOST2 - Kostenstelle"
        Kost-Menge
        "EU-Land u. UStID (Bestimmung)"
        EU-Steuersatz (Bestimmung)
        "Abw. Versteuerungsart"
        Sachverhalt L+L
        Funktionsergänzung L+L
        BU 49 Hauptfunktionstyp
        BU 49 Hauptfunktionsnummer
        BU 49 Funktionsergänzung
        """
    ),
    *_pairs(("Zusatzinformation - Art", "Zusatzinformation- Inhalt"), 20),
    *_columns(
        """
        Stück
        Gewicht
        Zahlweise
        "Forderungsart"
        Veranlagungsjahr
        Zugeordnete Fälligkeit
        Skontotyp
        "Auftragsnummer"
        "Buchungstyp"
        USt-Schlüssel (Anzahlungen)
        "EU-Land (Anzahlungen)"
        Sachverhalt L+L (Anzahlungen)
        EU-Steuersatz (Anzahlungen)
        Erlöskonto (Anzahlungen)
        "Herkunft-Kz"
        "Buchungs GUID"
        KOST-Datum
        "SEPA-Mandatsreferenz"
        Skontosperre
        "Gesellschaftername"
        Beteiligtennummer
        "Identifikationsnummer"
        "Zeichnernummer"
        Postensperre bis
        "Bezeichnung SoBil-Sachverhalt"
        Kennzeichen SoBil-Buchung
        Festschreibung
        Leistungsdatum
        Datum Zuord. Steuerperiode
        Fälligkeit
        "Generalumkehr (GU)"
        Steuersatz
        "Land"
        "Abrechnungsreferenz"
        BVV-Position
        "EU-Land u. UStID (Ursprung)"
        EU-Steuersatz (Ursprung)
        Abw. Skontokonto
        """
    ),
)


def _bank(number: int) -> tuple[Column, ...]:
    texts = ("Bankleitzahl {}", "Bankbezeichnung {}", "Bank-Kontonummer {}", "Länderkennzeichen {}", "IBAN-Nr. {}")
    more = ("Leerfeld", "SWIFT-Code {}", "Abw. Kontoinhaber {}", "Kennz. Hauptbankverb. {}")
    dates = ("Bankverb {} Gültig von", "Bankverb {} Gültig bis")
    return (
        *(Column(name.format(number), True) for name in (*texts, *more)),
        *(Column(name.format(number), False) for name in dates),
    )


# Format 5 of Debitoren/Kreditoren, 254 columns. "Leerfeld" occurs twelve times: columns are addressed by position.
DEBTOR_COLUMNS: Final[tuple[Column, ...]] = (
    *_columns(
        """
        Konto
        "Name (Adressattyp Unternehmen)"
        "Unternehmensgegenstand"
        "Name (Adressattyp natürl. Person)"
        "Vorname (Adressattyp natürl. Person)"
        "Name (Adressattyp keine Angabe)"
        "Adressattyp"
        "Kurzbezeichnung"
        "EU-Land"
        "EU-UStID"
        "Anrede"
        "Titel/Akad. Grad"
        "Adelstitel"
        "Namensvorsatz"
        "Adressart"
        "Straße"
        "Postfach"
        "Postleitzahl"
        "Ort"
        "Land"
        "Versandzusatz"
        "Adresszusatz"
        "Abweichende Anrede"
        "Abw. Zustellbezeichnung 1"
        "Abw. Zustellbezeichnung 2"
        Kennz. Korrespondenzadresse
        Adresse Gültig von
        Adresse Gültig bis
        "Telefon"
        "Bemerkung (Telefon)"
        "Telefon GL"
        "Bemerkung (Telefon GL)"
        "E-Mail"
        "Bemerkung (E-Mail)"
        "Internet"
        "Bemerkung (Internet)"
        "Fax"
        "Bemerkung (Fax)"
        "Sonstige"
        "Bemerkung (Sonstige)"
        """
    ),
    *(column for number in range(1, 6) for column in _bank(number)),
    *_columns(
        """
        "Leerfeld"
        "Briefanrede"
        "Grußformel"
        "Kunden-/Lief.-Nr."
        "Steuernummer"
        Sprache
        "Ansprechpartner"
        "Vertreter"
        "Sachbearbeiter"
        Diverse-Konto
        Ausgabeziel
        Währungssteuerung
        Kreditlimit (Debitor)
        Zahlungsbedingung
        Fälligkeit in Tagen (Debitor)
        Skonto in Prozent (Debitor)
        Kreditoren-Ziel 1 Tg.
        Kreditoren-Skonto 1 %
        Kreditoren-Ziel 2 Tg.
        Kreditoren-Skonto 2 %
        Kreditoren-Ziel 3 Brutto Tg.
        Kreditoren-Ziel 4 Tg.
        Kreditoren-Skonto 4 %
        Kreditoren-Ziel 5 Tg.
        Kreditoren-Skonto 5 %
        Mahnung
        Kontoauszug
        Mahntext 1
        Mahntext 2
        Mahntext 3
        Kontoauszugstext
        Mahnlimit Betrag
        Mahnlimit %
        Zinsberechnung
        Mahnzinssatz 1
        Mahnzinssatz 2
        Mahnzinssatz 3
        "Lastschrift"
        "Leerfeld"
        Mandantenbank
        "Zahlungsträger"
        """
    ),
    *(Column(f"Indiv. Feld {number}", True) for number in range(1, 16)),
    *_columns(
        """
        "Abweichende Anrede (Rechnungsadresse)"
        "Adressart (Rechnungsadresse)"
        "Straße (Rechnungsadresse)"
        "Postfach (Rechnungsadresse)"
        "Postleitzahl (Rechnungsadresse)"
        "Ort (Rechnungsadresse)"
        "Land (Rechnungsadresse)"
        "Versandzusatz (Rechnungsadresse)"
        "Adresszusatz (Rechnungsadresse)"
        "Abw. Zustellbezeichnung 1 (Rechnungsadresse)"
        "Abw. Zustellbezeichnung 2 (Rechnungsadresse)"
        Adresse Gültig von (Rechnungsadresse)
        Adresse Gültig bis (Rechnungsadresse)
        """
    ),
    *(column for number in range(6, 11) for column in _bank(number)),
    *_columns('"Nummer Fremdsystem"\nInsolvent'),
    *(Column(f"SEPA-Mandatsreferenz {number}", True) for number in range(1, 11)),
    *_columns(
        """
        Verknüpftes OPOS-Konto
        Mahnsperre bis
        Lastschriftsperre bis
        Zahlungssperre bis
        Gebührenberechnung
        Mahngebühr 1
        Mahngebühr 2
        Mahngebühr 3
        Pauschalenberechnung
        Verzugspauschale 1
        Verzugspauschale 2
        Verzugspauschale 3
        "Alternativer Suchname"
        Status
        Anschrift manuell geändert (Korrespondenzadresse)
        "Anschrift individuell (Korrespondenzadresse)"
        Anschrift manuell geändert (Rechnungsadresse)
        "Anschrift individuell (Rechnungsadresse)"
        Fristberechnung bei Debitor
        Mahnfrist 1
        Mahnfrist 2
        Mahnfrist 3
        Letzte Frist
        """
    ),
)

# What an empty line holds by position: a text is quoted also where there is none.
EMPTY_BOOKING: Final = tuple('""' if column.is_text else "" for column in BOOKING_COLUMNS)
EMPTY_DEBTOR: Final = tuple('""' if column.is_text else "" for column in DEBTOR_COLUMNS)
