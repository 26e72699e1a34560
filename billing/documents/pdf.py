"""A document as PDF/A-3 with its XML inside: ZUGFeRD 2 / Factur-X, profile EN 16931.

Typst lays out and tags, pikepdf adds the Factur-X fields to the metadata. Both are loaded by whoever imports this
module, so only the worker does.
"""

import io
import json
from dataclasses import asdict
from datetime import UTC, date, datetime, time
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Final

import pikepdf
import typst
from lxml import etree

from billing.documents.document import Document
from billing.documents.glyphs import code_points, printable
from billing.documents.guide import Guide
from billing.documents.pictures import media_type_of
from billing.documents.sheet import Sheet, sheet_of

FACTUR_X: Final = "urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#"
ATTACHMENT: Final = "factur-x.xml"

# A compiler refuses a second caller while it works; more processes make more documents, more threads do not.
_compiling: Final = Lock()

_TRIAL: Final = b"""
#set document(title: "-")
#set text(font: "Inter", lang: "en")
#image(bytes(json(bytes(sys.inputs.logo))), width: 52mm, height: 20mm, fit: "contain", alt: "-")
"""

_FOLDER: Final = Path(__file__).parent
_FONTS: Final = _FOLDER / "fonts"

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_PDFA = "{http://www.aiim.org/pdfa/ns/%s#}"
_EXTENSION, _SCHEMA, _PROPERTY = (_PDFA % each for each in ("extension", "schema", "property"))
_FIELDS: Final = {
    "DocumentFileName": (ATTACHMENT, "name of the embedded XML invoice file"),
    "DocumentType": ("INVOICE", "type of the hybrid document"),
    "Version": ("1.0", "version of the standard that the embedded XML follows"),
    "ConformanceLevel": ("EN 16931", "conformance level of the embedded XML"),
}


class UnprintableDocument(Exception):
    """The document cannot be laid out, such as for a logo that is no image."""


def render_pdf(document: Document, xml: bytes) -> bytes:
    """Return the PDF of a document with `xml`, which is its `build_xml` of profile ZUGFERD, attached.

    The same input gives the same bytes. A sign that no font has is printed as a white square; the XML keeps it.
    Raises UnprintableDocument with the layout's own words.
    """
    laid_out = _laid_out(sheet_of(document), xml=xml, logo=document.logo, on=document.issued_on)
    return _with_factur_x_metadata(laid_out)


def render_sheet(sheet: Sheet, *, logo: bytes | None, on: date) -> bytes:
    """Return the PDF of a sheet that no XML belongs to, dated `on` a day; `logo` is a PNG or JPEG.

    Archivable, accessible and the same bytes each time, like an invoice. Raises UnprintableDocument.
    """
    return _laid_out(sheet, xml=b"", logo=logo, on=on)


def render_guide(guide: Guide, *, logo: bytes | None, on: date) -> bytes:
    """Return the PDF of a guide, as `render_sheet` does of a sheet."""
    picture = json.dumps(list(logo)) if logo else ""
    return _compiled(_layout("guide.typ"), {"sheet": _words(guide), "logo": picture}, on=on)


def check_picture(content: bytes) -> None:
    """Print a picture for trial, as the only sure way to know that it can be printed.

    Raises ValueError with what is wrong with it, UnprintableDocument with the layout's own words.
    """
    media_type_of(content)
    _compiled(_TRIAL, {"logo": json.dumps(list(content))}, on=date(2026, 1, 1))


def _laid_out(sheet: Sheet, *, xml: bytes, logo: bytes | None, on: date) -> bytes:
    picture = json.dumps(list(logo)) if logo else ""
    return _compiled(_layout("invoice.typ"), {"sheet": _words(sheet), "xml": xml.decode(), "logo": picture}, on=on)


def _words(page: Sheet | Guide) -> str:
    return json.dumps(_printable(asdict(page)), ensure_ascii=False)


def _compiled(layout: bytes, inputs: dict[str, str], *, on: date) -> bytes:
    dated = datetime.combine(on, time(), tzinfo=UTC)
    try:
        with _compiling:
            laid_out = _compiler().compile(
                input=layout,
                format="pdf",
                sys_inputs=inputs,
                # Archivable with the meaning of every glyph and a reading order, and accessible.
                pdf_standards=["a-3a", "ua-1"],
                timestamp=int(dated.timestamp()),
            )
    except typst.TypstError as error:
        raise UnprintableDocument(error.message) from error
    if not isinstance(laid_out, bytes):
        raise UnprintableDocument("the layout made more than one file")
    return laid_out


@lru_cache(maxsize=1)
def _compiler() -> typst.Compiler:
    """Fonts are parsed once a process; only ours, so that every machine makes the same bytes."""
    fonts = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(_FONTS)])
    return typst.Compiler(font_paths=fonts)


def _printable(value: Any) -> Any:
    """The same structure, each text of it as our fonts can print it."""
    match value:
        case str():
            return printable(value, _points())
        case dict():
            # A drawing is no text.
            return {name: each if name in ("girocode", "qr") else _printable(each) for name, each in value.items()}
        case list() | tuple():
            return [_printable(each) for each in value]
    return value


@lru_cache(maxsize=1)
def _points() -> frozenset[int]:
    """What every one of our fonts can print; PDF/A allows no sign without a glyph."""
    faces = (_FONTS / name for name in ("Inter-Regular.otf", "Inter-SemiBold.otf"))
    return frozenset.intersection(*(code_points(face.read_bytes()) for face in faces))


@lru_cache(maxsize=2)
def _layout(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()


def _with_factur_x_metadata(content: bytes) -> bytes:
    with pikepdf.open(io.BytesIO(content)) as pdf:
        metadata = pdf.Root.Metadata
        metadata.write(_extended(metadata.read_bytes()))
        out = io.BytesIO()
        # The digest of the content as the file's identifier: random ones would change with every call.
        pdf.save(out, deterministic_id=True, object_stream_mode=pikepdf.ObjectStreamMode.preserve)
    return out.getvalue()


def _extended(xmp: bytes) -> bytes:
    """Return the metadata with the four Factur-X fields and the description of their schema.

    PDF/A allows one list of extension schemas; Typst writes one, so that ours goes into it.
    """
    packet = etree.fromstring(xmp)
    rdf = next(packet.iter(f"{_RDF}RDF"))
    fields = etree.SubElement(rdf, f"{_RDF}Description", {f"{_RDF}about": ""}, nsmap={"fx": FACTUR_X})
    for name, (value, _) in _FIELDS.items():
        etree.SubElement(fields, f"{{{FACTUR_X}}}{name}").text = value
    bag = rdf.find(f".//{_EXTENSION}schemas/{_RDF}Bag")
    if bag is None:
        holder = etree.SubElement(
            rdf, f"{_RDF}Description", {f"{_RDF}about": ""}, nsmap={"pdfaExtension": _EXTENSION[1:-1]}
        )
        bag = etree.SubElement(etree.SubElement(holder, f"{_EXTENSION}schemas"), f"{_RDF}Bag")
    bag.append(_schema())
    body = etree.tostring(packet, encoding="UTF-8")
    return b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n' + body + b'\n<?xpacket end="r"?>'


def _schema() -> etree._Element:
    item = etree.Element(f"{_RDF}li", nsmap={"pdfaSchema": _SCHEMA[1:-1], "pdfaProperty": _PROPERTY[1:-1]})
    item.set(f"{_RDF}parseType", "Resource")
    etree.SubElement(item, f"{_SCHEMA}schema").text = "Factur-X PDFA Extension Schema"
    etree.SubElement(item, f"{_SCHEMA}namespaceURI").text = FACTUR_X
    etree.SubElement(item, f"{_SCHEMA}prefix").text = "fx"
    sequence = etree.SubElement(etree.SubElement(item, f"{_SCHEMA}property"), f"{_RDF}Seq")
    for name, (_, description) in _FIELDS.items():
        each = etree.SubElement(sequence, f"{_RDF}li")
        each.set(f"{_RDF}parseType", "Resource")
        etree.SubElement(each, f"{_PROPERTY}name").text = name
        etree.SubElement(each, f"{_PROPERTY}valueType").text = "Text"
        etree.SubElement(each, f"{_PROPERTY}category").text = "external"
        etree.SubElement(each, f"{_PROPERTY}description").text = description
    return item
