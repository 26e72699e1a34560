"""One core making invoices of twelve lines: the XML, the gate's verdict, the page, and the PDF with the XML inside."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from statistics import median
from time import perf_counter, process_time

from bench.measure import Bench, Subject, Target
from billing.documents.cii import Profile, build_xml
from billing.documents.document import (
    Address,
    Buyer,
    Contact,
    Document,
    DocumentType,
    ElectronicAddress,
    Line,
    Period,
    Seller,
    Unit,
)
from billing.documents.gate import check
from billing.documents.html import render_html
from billing.documents.payment_means import SepaTransfer
from billing.documents.pdf import render_pdf
from billing.documents.regimes import standard

COLUMNS = ("a second and core", "CPU ms each", "wall ms each")
PDF_PER_SECOND_MIN = 25.0
DOCUMENTS, ROUNDS = 100, 3
LINES = 12
MONTH = Period(date(2026, 11, 1), date(2026, 12, 1))
PRODUCTS = (
    ("Exchange-Postfach 50 GB", "EX-50", 790),
    ("IMAP-Postfach 10 GB", "IM-10", 290),
    ("POP3-Postfach", "POP", 100),
)


@dataclass(frozen=True, slots=True)
class Cost:
    cpu_ms: float
    wall_ms: float


def measure(bench: Bench) -> Subject:
    count, rounds = (5, 1) if bench.quick else (DOCUMENTS, ROUNDS)
    subject = Subject(f"Invoices of {LINES} lines on one core, each of its own number and amounts", COLUMNS)
    works: dict[str, Callable[[Document], object]] = {
        "XML (XRechnung)": partial(build_xml, profile=Profile.XRECHNUNG),
        "XML and gate": _judged,
        "HTML": render_html,
        "PDF with XML": _with_pdf,
        "XML, gate and PDF": _issued,
    }
    for name, work in works.items():
        bench.step(f"documents: {name}, {rounds} times {count}")
        cost = _cost(work, count, rounds)
        subject.add(name, 1000 / cost.cpu_ms, cost.cpu_ms, cost.wall_ms)
        if work is _with_pdf:
            subject.targets.append(
                Target("PDF with XML, a second and core", 1000 / cost.cpu_ms, PDF_PER_SECOND_MIN, at_least=True)
            )
    return subject


def _judged(document: Document) -> None:
    report = check(build_xml(document, Profile.XRECHNUNG), Profile.XRECHNUNG)
    assert report.valid, report.findings


def _with_pdf(document: Document) -> bytes:
    return render_pdf(document, build_xml(document, Profile.ZUGFERD))


def _issued(document: Document) -> bytes:
    xml = build_xml(document, Profile.ZUGFERD)
    assert check(xml, Profile.ZUGFERD).valid
    return render_pdf(document, xml)


def _cost(work: Callable[[Document], object], count: int, rounds: int) -> Cost:
    """The median round; a first document, which loads fonts and rules, is not counted."""
    work(next(_invoices(0, 1)))
    costs = []
    for number in range(rounds):
        documents = list(_invoices(1 + number * count, count))
        cpu, wall = process_time(), perf_counter()
        for document in documents:
            work(document)
        costs.append(((process_time() - cpu) * 1000 / count, (perf_counter() - wall) * 1000 / count))
    return Cost(median(cpu for cpu, _ in costs), median(wall for _, wall in costs))


def _invoices(first: int, count: int) -> Iterator[Document]:
    for number in range(first, first + count):
        lines = tuple(_line(number, position) for position in range(LINES))
        yield replace(_TEMPLATE, number=f"PF-2026-{number:06d}", lines=lines)


def _line(number: int, position: int) -> Line:
    name, sku, price_cents = PRODUCTS[position % len(PRODUCTS)]
    days = 31 + number % 29 + 37 * position
    line = Line(name, days, Unit.DAY, price_cents, standard(1900), base_quantity=30, sku=sku, period=MONTH)
    return replace(line, group="Bäckerei Süß")


_TEMPLATE = Document(
    type_code=DocumentType.INVOICE,
    number="PF-2026-000000",
    issued_on=date(2026, 12, 1),
    due_on=date(2026, 12, 15),
    seller=Seller(
        name="Messstand GmbH",
        address=Address("Gerberau 12", "79098", "Freiburg im Breisgau", "DE"),
        contact=Contact("Rechnungsstelle", "+49 761 1234560", "rechnung@messstand.example"),
        electronic_address=ElectronicAddress("rechnung@messstand.example"),
        vat_id="DE136695976",
        tax_number="06123/45678",
    ),
    buyer=Buyer(
        name="Müller & Söhne IT-Systeme GmbH",
        address=Address("Hauptstraße 1", "79098", "Freiburg im Breisgau", "DE"),
        electronic_address=ElectronicAddress("rechnung@mueller.example"),
        number="K-10023",
        vat_id="DE129273398",
    ),
    payment=SepaTransfer("DE02120300000000202051", "Messstand GmbH", "BYLADEM1001"),
    lines=(Line("Exchange-Postfach 50 GB", 30, Unit.DAY, 790, standard(1900), base_quantity=30),),
    buyer_reference="K-10023",
    period=MONTH,
)
