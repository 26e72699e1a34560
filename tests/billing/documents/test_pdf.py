"""The PDF is a hybrid invoice: for people to read, for archives to keep, and with the XML inside."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pikepdf
import pytest
from lxml import etree
from PIL import Image
from pypdf import PdfReader

from billing.documents.cii import Profile, build_xml
from billing.documents.document import Document
from billing.documents.pdf import UnprintableDocument, render_pdf
from billing.iban import creditor_reference
from tests.billing.documents.corpus import BUYER, CORPUS, annex, customers, document, line, png

RENDERED: dict[str, bytes] = {}


def rendered(name: str) -> bytes:
    """Each document of the corpus is laid out once for all tests."""
    if name not in RENDERED:
        RENDERED[name] = render(CORPUS[name])
    return RENDERED[name]


def render(of: Document) -> bytes:
    return render_pdf(of, build_xml(of, Profile.ZUGFERD))


def pages(content: bytes) -> list[str]:
    """The text of each page, every run of blanks as one."""
    return [" ".join(page.extract_text().split()) for page in PdfReader(io.BytesIO(content)).pages]


def fonts(pdf: pikepdf.Pdf) -> Iterator[pikepdf.Object]:
    for each in pdf.objects:
        if isinstance(each, pikepdf.Dictionary) and each.get("/Type") == "/FontDescriptor":
            yield each


@pytest.mark.parametrize("name", CORPUS)
def test_every_document_is_an_archivable_pdf_with_its_xml(name: str) -> None:
    with pikepdf.open(io.BytesIO(rendered(name))) as pdf:
        assert list(pdf.attachments) == ["factur-x.xml"]
        attached = pdf.attachments["factur-x.xml"]
        assert attached.get_file().read_bytes() == build_xml(CORPUS[name], Profile.ZUGFERD)
        assert attached.relationship == pikepdf.Name.Alternative
        assert attached.get_file().mime_type == "text/xml"
        assert attached.get_file().mod_date is not None
        assert [each.F for each in pdf.Root.AF.as_list()] == ["factur-x.xml"]
        with pdf.open_metadata() as metadata:
            assert (metadata["pdfaid:part"], metadata["pdfaid:conformance"]) == ("3", "A")
            assert metadata["pdfuaid:part"] == "1"
            prefix = "{urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#}"
            assert metadata[f"{prefix}ConformanceLevel"] == "EN 16931"
            assert metadata[f"{prefix}DocumentFileName"] == "factur-x.xml"
            assert metadata[f"{prefix}DocumentType"] == "INVOICE"
            assert metadata[f"{prefix}Version"] == "1.0"
        (intent,) = pdf.Root.OutputIntents.as_list()
        assert intent.S == "/GTS_PDFA1"
        assert "/DestOutputProfile" in intent
        descriptors = list(fonts(pdf))
        assert descriptors
        assert all("/FontFile2" in each or "/FontFile3" in each for each in descriptors)
        assert pdf.Root.Lang == CORPUS[name].language
        assert pdf.Root.MarkInfo.Marked
        assert "/StructTreeRoot" in pdf.Root
        assert not pdf.is_encrypted
        assert "/OpenAction" not in pdf.Root
        assert len(pdf.trailer.ID) == 2


def test_the_metadata_describes_the_fields_of_factur_x_in_the_one_list_of_schemas() -> None:
    with pikepdf.open(io.BytesIO(rendered("domestic"))) as pdf:
        packet = etree.fromstring(pdf.Root.Metadata.read_bytes())
        assert "/Filter" not in pdf.Root.Metadata
    space = {
        "ext": "http://www.aiim.org/pdfa/ns/extension/",
        "schema": "http://www.aiim.org/pdfa/ns/schema#",
        "property": "http://www.aiim.org/pdfa/ns/property#",
        "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    }
    assert len(packet.findall(".//ext:schemas", space)) == 1
    described = packet.xpath(".//rdf:li[schema:prefix='fx']//property:name/text()", namespaces=space)
    assert described == ["DocumentFileName", "DocumentType", "Version", "ConformanceLevel"]


def test_signs_are_printed_as_they_were_typed() -> None:
    stay = replace(annex(1)[0], mailbox="v3x5wmn9@x.example", group="3x5 -> 4x4")
    _, page = pages(render(document(annex=(stay,))))
    assert "v3x5wmn9@x.example" in page
    assert "3x5 -> 4x4" in page


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "domestic",
            ["Rechnung PF-2026-000042", "57 Tage × 7,90 € / 30 Tage = 15,01 €", "Umsatzsteuer 19 %", "17,86 €"],
        ),
        ("domestic", ["01.11.2026 – 30.11.2026", "bis zum 15.12.2026", "DE02 1203 0000 0000 2020 51", "Seite 1 von 1"]),
        ("English", ["Invoice PF-2026-000042", "57 days × €7.90 / 30 days = €15.01", "VAT 19%", "Page 1 of 1"]),
        (
            "debit",
            ["17,86 € am 15.12.2026 per SEPA-Lastschrift", "Vorabankündigung", "PF-M-000017", "DE98ZZZ09999999999"],
        ),
        ("debit in English", ["pre-notification", "Mandate reference", "Creditor ID", "2026-12-15"]),
        ("credit card", ["Visa mit den Endziffern 4242", "nichts überweisen"]),
        ("debit by a service", ["Einzug am", "Endziffern 3000", "Mandatsreferenz", "PXKQZ1ABCDEFGH2K"]),
        ("too little for a card", ["mit der nächsten Rechnung eingezogen"]),
        ("nothing left for a card", ["Bereits gezahlt", "Es ist nichts zu zahlen"]),
        ("reverse charge", ["Steuerschuldnerschaft des Leistungsempfängers", "ATU12345675", "DE136695976"]),
        ("small business", ["Steuerfrei nach § 19 UStG"]),
        ("third country", ["Nicht im Inland steuerbare Leistung"]),
        ("two rates", ["Umsatzsteuer 19 % auf 15,01 €", "Umsatzsteuer 7 % auf 59,70 €"]),
        ("percentage off", ["Nachlass (10 % von", "Summe der Positionen"]),
        ("line allowance", ["Partnerrabatt: -1,50 €"]),
        ("part prepaid", ["Bereits gezahlt -10,00 €", "Zahlbetrag 7,86 €"]),
        ("nothing to pay", ["Es ist nichts zu zahlen."]),
        (
            "cancellation as credit note",
            ["Stornorechnung PF-2026-000043", "PF-2026-000007 vom 01.11.2026", "erstatten"],
        ),
        ("correction as credit note", ["Rechnungskorrektur PF-2026-000043", "teilweise"]),
        ("cancellation with negative amounts", ["Stornorechnung", "Korrekturbetrag -"]),
        ("correction in English", ["Invoice correction", "corrected in part"]),
        ("authority", ["04011000-1234512345-06", "B-2026/77", "RV 12/2025", "Referat 3, Frau Größe"]),
        ("special characters", ['Süß <b>& "Söhne"</b> ]]>']),
        ("other scripts", ["Łódź İzmir Ελλάς Київ", "□□ □ fi é"]),
        ("annex in English", ["Annex: mailboxes and days", "bestellt → gekündigt"]),
    ],
)
def test_a_reader_finds_what_the_law_and_the_bank_want(name: str, words: list[str]) -> None:
    text = " ".join(pages(rendered(name)))
    assert [each for each in words if each not in text] == []


def test_no_document_is_called_gutschrift() -> None:
    for name in CORPUS:
        assert "gutschrift" not in " ".join(pages(rendered(name))).lower(), name


def test_a_transfer_names_its_reference_and_a_debit_names_no_account_to_pay_to() -> None:
    reference = creditor_reference("PF-2026-000042")
    assert reference.replace(" ", "") in "".join(pages(rendered("domestic"))).replace(" ", "")
    assert "DE02 1203" not in " ".join(pages(rendered("debit")))


def test_a_long_invoice_repeats_the_head_of_its_table_and_counts_its_pages() -> None:
    found = pages(rendered("thirty-five lines"))
    assert len(found) >= 4
    for number, page in enumerate(found, start=1):
        assert f"Seite {number} von {len(found)}" in page
    with_lines = [page for page in found if " × " in page]
    assert len(with_lines) >= 2
    assert all("Pos. Leistung Menge Einzelpreis Betrag netto" in page for page in with_lines)
    with_mailboxes = [page for page in found if "@süß.example" in page]
    assert len(with_mailboxes) >= 2
    assert all("Postfach Leistung Von Bis Tage Grund" in page for page in with_mailboxes)
    text = " ".join(found)
    assert all(f"größe.{n}@süß.example" in text for n in range(90))


def test_the_name_of_a_customer_never_stands_alone_at_the_foot_of_a_page() -> None:
    places = set()
    for count in range(16, 20):
        lines = tuple(line(group="Erste" if n < count else "Zweite") for n in range(count + 3))
        found = pages(render(document(lines=lines)))
        (place,) = (number for number, page in enumerate(found) if "Zweite" in page)
        assert f" {count + 1} Exchange-Postfach" in found[place].split("Zweite")[1]
        places.add(place)
    assert places == {0, 1}, "one of them should have been at the foot"


def test_twelve_lines_for_one_customer_fit_on_one_page() -> None:
    lines = tuple(replace(each, group="Bäckerei Süß") for each in customers(12))
    assert len(pages(render(document(lines=lines)))) == 1


def test_the_same_document_gives_the_same_bytes_in_another_process_too(root: Path) -> None:
    script = (
        "import hashlib; from tests.billing.documents.test_pdf import render; "
        "from tests.billing.documents.corpus import CORPUS; "
        "print(hashlib.sha256(render(CORPUS['annex'])).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=root,
            env=os.environ | {"PYTHONHASHSEED": seed, "TZ": zone},
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert len(found) == 1


def test_another_document_gives_another_file() -> None:
    assert render(document()) != render(document(buyer=replace(BUYER, name="Andere GmbH")))


def test_many_threads_share_the_layout() -> None:
    expected = rendered("domestic")
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(render, [CORPUS["domestic"]] * 8)) == {expected}


def test_a_photograph_serves_as_logo_too() -> None:
    out = io.BytesIO()
    Image.new("RGB", (60, 20), (31, 78, 121)).save(out, "JPEG")
    assert pages(render(document(logo=out.getvalue())))


def test_a_logo_is_drawn_and_described() -> None:
    with pikepdf.open(io.BytesIO(rendered("logo"))) as pdf:
        assert len(pdf.pages[0].get_images()) == 1
        alternatives = [
            str(each.Alt) for each in pdf.objects if isinstance(each, pikepdf.Dictionary) and "/Alt" in each
        ]
    assert "Fachwerk Postdienste GmbH" in alternatives


def test_a_logo_that_is_no_image_is_refused_with_the_reason() -> None:
    with pytest.raises(UnprintableDocument):
        render(document(logo=png()[:40]))
