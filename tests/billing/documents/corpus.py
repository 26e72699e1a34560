"""The documents that every check is run over: each regime, means of payment, type and awkward text at least once."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, Final

from billing.documents.document import (
    Address,
    Adjustment,
    AnnexEntry,
    Buyer,
    Contact,
    Corrected,
    Document,
    DocumentType,
    ElectronicAddress,
    Line,
    LineAllowance,
    Period,
    Seller,
    Tax,
    TaxCategory,
    Unit,
)
from billing.documents.payment_means import Card, NonSepaTransfer, OnlineDebit, SepaDirectDebit, SepaTransfer
from billing.documents.regimes import reverse_charge, small_business, standard, third_country

NOVEMBER: Final = Period(date(2026, 11, 1), date(2026, 12, 1))
FEBRUARY: Final = Period(date(2028, 2, 1), date(2028, 3, 1))
S19: Final = standard(1900)
S7: Final = standard(700)

SELLER: Final = Seller(
    name="Fachwerk Postdienste GmbH",
    address=Address("Gerberau 12", "79098", "Freiburg im Breisgau", "DE"),
    contact=Contact("Rechnungsstelle", "+49 761 1234560", "rechnung@fachwerk.example"),
    electronic_address=ElectronicAddress("rechnung@fachwerk.example"),
    vat_id="DE136695976",
    tax_number="06123/45678",
    register_number="HRB 712345",
    legal_info="Amtsgericht Freiburg, HRB 712345\nSitz: Freiburg im Breisgau",
)
BUYER: Final = Buyer(
    name="Müller & Söhne IT-Systeme GmbH",
    address=Address("Straße des 17. Juni 1", "10623", "Berlin", "DE"),
    electronic_address=ElectronicAddress("buchhaltung@mueller-soehne.example"),
    number="K-10023",
    vat_id="DE129273398",
)
TRANSFER: Final = SepaTransfer("DE02 1203 0000 0000 2020 51", "Fachwerk Postdienste GmbH", "BYLADEM1001")
DEBIT: Final = SepaDirectDebit("PF-M-000017", "DE98ZZZ09999999999", "DE89370400440532013000", date(2026, 12, 15))
ONLINE: Final = OnlineDebit("Stripe", "3000", "PXKQZ1ABCDEFGH2K", date(2026, 12, 15))
CORRECTED: Final = Corrected("PF-2026-000007", date(2026, 11, 1), in_full=True)


def line(name: str = "Exchange-Postfach 50 GB", quantity: int = 57, price_cents: int = 790, **more: Any) -> Line:
    """Mailbox-days of November by default."""
    given: dict[str, Any] = {"unit": Unit.DAY, "base_quantity": 30, "tax": S19, "sku": "EX-50", "period": NOVEMBER}
    return Line(name, quantity, price_cents=price_cents, **given | more)


def document(**more: Any) -> Document:
    """A transfer of one line in German unless told otherwise."""
    given: dict[str, Any] = {
        "type_code": DocumentType.INVOICE,
        "number": "PF-2026-000042",
        "issued_on": date(2026, 12, 1),
        "due_on": date(2026, 12, 15),
        "seller": SELLER,
        "buyer": BUYER,
        "payment": TRANSFER,
        "lines": (line(),),
        "period": NOVEMBER,
        "buyer_reference": "K-10023",
    }
    return Document(**given | more)


def customers(count: int) -> tuple[Line, ...]:
    """Three customers' lines, prices and days all different."""
    names = ("Bäckerei Süß", "Kanzlei Grün & Söhne", "Schreinerei Jäger <GmbH>")
    products = (("Exchange-Postfach 50 GB", "EX-50", 790), ("IMAP-Postfach 10 GB", "IM-10", 290), ("POP3", "POP", 100))
    return tuple(
        line(products[n % 3][0], 31 + 37 * n, products[n % 3][2], sku=products[n % 3][1], group=names[n * 3 // count])
        for n in range(count)
    )


def annex(count: int) -> tuple[AnnexEntry, ...]:
    return tuple(
        AnnexEntry(
            group="Kanzlei Grün & Söhne" if n % 2 else "Bäckerei Süß",
            mailbox=f"größe.{n}@süß.example",
            product="Exchange",
            days=30 - n % 29,
            starts_on=date(2026, 11, 1) + timedelta(days=n % 29),
            last_on=date(2026, 11, 30),
            start_reason="bestellt" if n % 29 else "aus dem Vormonat",
            end_reason="gekündigt" if n % 3 == 0 else None,
        )
        for n in range(count)
    )


def mirrored(original: Document, type_code: DocumentType, **more: Any) -> Document:
    """What takes an invoice back: the same positive amounts (381) or negative ones (384)."""
    sign = -1 if type_code is DocumentType.CORRECTED_INVOICE else 1
    lines = tuple(replace(each, quantity=sign * each.quantity) for each in original.lines)
    given: dict[str, Any] = {"type_code": type_code, "number": "PF-2026-000043", "lines": lines, "corrects": CORRECTED}
    return replace(original, **given | more)


def png(width: int = 48, height: int = 16) -> bytes:
    """A one-coloured picture with an alpha channel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    head = struct.pack(">LLBBBBB", width, height, 8, 6, 0, 0, 0)
    rows = (b"\0" + b"\x1f\x4e\x79\xc0" * width) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def abroad(country: str, vat_id: str | None, **more: Any) -> Buyer:
    return replace(BUYER, address=Address("Ringstraße 4/2", "1010", "Wien", country), vat_id=vat_id, **more)


def discounted(percent: int, lines: tuple[Line, ...]) -> tuple[Adjustment, ...]:
    """A percentage of everything, in one allowance."""
    basis = sum(each.net_cents for each in lines)
    amount = (basis * percent + 50) // 100
    return (
        Adjustment(amount, "Nachlass", S19, reason_code="95", percent_basis_points=percent * 100, basis_cents=basis),
    )


def _regimes() -> dict[str, Document]:
    exempt = replace(SELLER, vat_id=None, name="Kleines Systemhaus")
    export = Tax(TaxCategory.EXPORT, 0, "Free export, tax not charged", "VATEX-EU-G")
    zero = Tax(TaxCategory.ZERO, 0)
    austrian, swiss = abroad("AT", "ATU12345675"), abroad("CH", None)
    return {
        "domestic": document(),
        "reverse charge": document(buyer=austrian, lines=(line(tax=reverse_charge("de")),)),
        "reverse charge in English": document(
            buyer=austrian, language="en", lines=(line("Exchange mailbox", tax=reverse_charge("en")),)
        ),
        "small business": document(seller=exempt, lines=(line(tax=small_business("de")),)),
        "small business of a sole trader": document(
            seller=replace(exempt, register_number=None, legal_info=None), lines=(line(tax=small_business("de")),)
        ),
        "third country by a sole trader": document(
            seller=replace(SELLER, register_number=None, legal_info=None),
            buyer=swiss,
            lines=(line(tax=third_country("de")),),
        ),
        "third country": document(buyer=swiss, lines=(line(tax=third_country("de")),)),
        "third country in English": document(
            buyer=swiss, language="en", lines=(line("Exchange mailbox", tax=third_country("en")),)
        ),
        "third country as export": document(buyer=swiss, lines=(line(tax=export),)),
        "two rates": document(lines=(line(), line("Handbuch", 3, 1990, unit=Unit.PIECE, base_quantity=1, tax=S7))),
        "two rates with allowances and a charge": document(
            lines=(line(), line("Handbuch", 3, 1990, unit=Unit.PIECE, base_quantity=1, tax=S7)),
            adjustments=(
                Adjustment(100, "Treuerabatt", S19, reason_code="95"),
                Adjustment(57, "Mengenrabatt", S7, reason_code="95"),
                Adjustment(490, "Mahngebühr", S19, is_charge=True, reason_code="ABK"),
            ),
        ),
        "taxed and exempt": document(
            lines=(line(), line("Schulung", tax=Tax(TaxCategory.EXEMPT, 0, "§ 4 Nr. 21 UStG")))
        ),
        "taxed and zero rated": document(lines=(line(), line("Muster", 1, 100, tax=zero))),
        "former rate": document(lines=(line(tax=standard(1600)),)),
        "broken rate": document(lines=(line(tax=standard(550)),)),
    }


def _payments() -> dict[str, Document]:
    return {
        "transfer without BIC": document(payment=replace(TRANSFER, bic=None)),
        "debit": document(payment=DEBIT),
        "debit in English": document(payment=DEBIT, language="en"),
        "debit of reverse charge": document(
            payment=replace(DEBIT, debtor_iban="AT611904300234573201"),
            buyer=abroad("AT", "ATU12345675"),
            lines=(line(tax=reverse_charge("de")),),
        ),
        "cancellation of a debit": mirrored(document(payment=DEBIT), DocumentType.CREDIT_NOTE),
        "credit card": document(payment=Card("4242", brand="Visa", holder="E. Müller")),
        "debit card": document(payment=Card("4242", code="55")),
        "card with small ones before it": document(payment=Card("4242", code="48", carried_cents=37)),
        "too little for a card": document(lines=(line(quantity=1),), payment=Card("4242", code="48", is_deferred=True)),
        "cancellation of a card payment": mirrored(
            document(payment=Card("4242", code="48")), DocumentType.CORRECTED_INVOICE
        ),
        "nothing left for a card": document(payment=Card("4242", code="48"), prepaid_cents=1786),
        "debit by a service": document(payment=ONLINE),
        "debit by a service in English": document(payment=replace(ONLINE, carried_cents=37), language="en"),
        "debit by a service without day": document(payment=replace(ONLINE, collected_on=None)),
        "debit by a service without day and mandate": document(
            payment=replace(ONLINE, collected_on=None, mandate=None), language="en"
        ),
        "debit by a service for an austrian": document(
            payment=ONLINE, buyer=abroad("AT", "ATU12345675"), lines=(line(tax=reverse_charge("de")),)
        ),
        "too little for a service": document(
            lines=(line(quantity=1),), payment=OnlineDebit("Stripe", "3000", is_deferred=True), language="en"
        ),
        "whatever a service keeps": document(payment=OnlineDebit("Stripe")),
        "cancellation of a debit by a service": mirrored(document(payment=ONLINE), DocumentType.CREDIT_NOTE),
        "debit with terms": document(payment=DEBIT, payment_terms="Zahlbar sofort.\n#SKONTO#TAGE=7#PROZENT=2.00#\n"),
        "bank card in English": document(payment=Card("0005", code="48"), language="en"),
        "transfer outside SEPA": document(
            buyer=abroad("US", None),
            lines=(line(tax=third_country("en")),),
            payment=NonSepaTransfer("000123456789", "Fachwerk Postdienste GmbH", "CHASUS33"),
            language="en",
        ),
        "transfer to an IBAN outside SEPA": document(
            payment=NonSepaTransfer("GE29NB0000000101904917", "Fachwerk Postdienste GmbH"), language="en"
        ),
        "terms with early payment discount": document(
            payment_terms="Zahlbar innerhalb von 14 Tagen.\n#SKONTO#TAGE=7#PROZENT=2.00#\n"
        ),
        "due by terms only": document(due_on=None, payment_terms="Zahlbar sofort ohne Abzug."),
        "part prepaid": document(prepaid_cents=1000),
        "all prepaid": document(prepaid_cents=1786),
        "rounded": document(rounding_cents=-1),
    }


def _corrections() -> dict[str, Document]:
    several = document(lines=customers(6))
    in_part = replace(CORRECTED, in_full=False)
    return {
        "cancellation as credit note": mirrored(document(), DocumentType.CREDIT_NOTE),
        "cancellation with negative amounts": mirrored(several, DocumentType.CORRECTED_INVOICE),
        "correction as credit note": mirrored(document(), DocumentType.CREDIT_NOTE, corrects=in_part),
        "correction in English": mirrored(
            document(language="en"), DocumentType.CORRECTED_INVOICE, corrects=in_part, payment=DEBIT
        ),
        "cancellation of reverse charge": mirrored(
            document(buyer=abroad("AT", "ATU12345675"), lines=(line(tax=reverse_charge("de")),)),
            DocumentType.CREDIT_NOTE,
        ),
        "cancellation of small business": mirrored(
            document(seller=replace(SELLER, vat_id=None), lines=(line(tax=small_business("de")),)),
            DocumentType.CORRECTED_INVOICE,
        ),
        "new invoice that names the one before": document(corrects=in_part),
    }


def _lines() -> dict[str, Document]:
    monthly: dict[str, Any] = {"unit": Unit.MONTH, "base_quantity": 1}
    leap: dict[str, Any] = {"period": FEBRUARY, "base_quantity": 29}
    credit = (LineAllowance(1501, "Erster Monat frei", "95"),)
    return {
        "one day": document(lines=(line(quantity=1),)),
        "volume tier": document(lines=(line("Exchange-Postfach ab 250", 30 * 312, 590),)),
        "graduated tiers": document(lines=(line("1 bis 24", 720, 790), line("25 bis 249", 1503, 690))),
        "price change inside the month": document(
            lines=(
                line("bis 14.11.", 14, 790, period=Period(date(2026, 11, 1), date(2026, 11, 15))),
                line("ab 15.11.", 16, 890, period=Period(date(2026, 11, 15), date(2026, 12, 1))),
            )
        ),
        "leap February": document(lines=(line(quantity=17, **leap),), period=FEBRUARY, issued_on=date(2028, 3, 1)),
        "full months and an add-on": document(
            lines=(line("Archiv", 12, 250, **monthly), line("10 GB mehr", 7, 99, unit=Unit.PIECE, base_quantity=1))
        ),
        "line allowance": document(lines=(line(allowances=(LineAllowance(150, "Partnerrabatt"),)),)),
        "line free of charge": document(lines=(line(allowances=credit), line("IMAP", 30, 290))),
        "percentage off": document(lines=customers(4), adjustments=discounted(10, customers(4))),
        "everything off": document(lines=customers(4), adjustments=discounted(100, customers(4))),
        "nothing to pay": document(lines=(line(price_cents=0),)),
        "negative total": document(lines=(line(), line("Ausgleich Oktober", -90, 790))),
        "charge below nothing": document(
            adjustments=(Adjustment(5000, "Guthaben aus Oktober", S19, reason_code="95"),), due_on=None
        ),
        "millions": document(lines=(line(quantity=30 * 1_000_000, price_cents=99_999),)),
        "twelve lines": document(lines=customers(12)),
        "thirty-five lines": document(lines=customers(35), annex=annex(90)),
        "same line twice": document(lines=(line(), line())),
        "no period": document(period=None, lines=(line(period=None),)),
    }


def _texts() -> dict[str, Document]:
    long_name = "Donaudampfschifffahrtsgesellschaftskapitänswitwenverein " * 3
    unbroken = f"{'unzertrennlich' * 6}@{'sehr-lang' * 5}.example"
    special = "Süß <b>& \"Söhne\"</b> ]]> 'Ltd.'"
    authority = replace(
        BUYER,
        name="Stadtverwaltung Freiburg – Amt für Digitales",
        contact_name="Referat 3, Frau Größe",
        electronic_address=ElectronicAddress("04011000-1234512345-06", "0204"),
        vat_id=None,
    )
    return {
        "authority": document(
            buyer=authority,
            buyer_reference="04011000-1234512345-06",
            order_reference="B-2026/77",
            contract_reference="RV 12/2025",
        ),
        "English": document(language="en", lines=(line("Exchange mailbox 50 GB"),)),
        "long names": document(buyer=replace(BUYER, name=long_name.strip()), lines=(line(long_name.strip()),)),
        "long words": document(
            buyer=replace(BUYER, name=unbroken), lines=(line(unbroken, description=unbroken, group=unbroken),)
        ),
        "special characters": document(
            buyer=replace(BUYER, name=special),
            lines=(line(special, description=special, group=special),),
            notes=(special,),
        ),
        "line breaks": document(
            notes=("Erste Zeile\nZweite Zeile\r\nDritte Zeile",), lines=(line(description="a\nb"),)
        ),
        "three line address": document(
            buyer=replace(
                BUYER, address=Address("Gebäude Ä", "80331", "München", "DE", "Aufgang Öst", "3. Stock, Zimmer 12")
            )
        ),
        "other scripts": document(
            buyer=replace(BUYER, name="Łódź İzmir Ελλάς Київ"), notes=("山田 😀 \u200b\u0007 ﬁ e\u0301",)
        ),
        "logo": document(logo=png()),
        "annex": document(lines=customers(3), annex=annex(8)),
        "annex in English": document(lines=customers(3), annex=annex(8), language="en"),
        "no register": document(seller=replace(SELLER, register_number=None, legal_info=None)),
        "no tax number": document(seller=replace(SELLER, tax_number=None)),
    }


_PARTS: Final[tuple[Callable[[], dict[str, Document]], ...]] = (_regimes, _payments, _corrections, _lines, _texts)
CORPUS: Final[dict[str, Document]] = {name: each for part in _PARTS for name, each in part().items()}
