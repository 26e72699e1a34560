"""An invoice or its correction as one frozen value, named by the terms of EN 16931 (BT and BG numbers).

Amounts are whole cents, rates basis points (1900 is 19 %), periods half-open. Sums are computed from the lines, so a
document cannot disagree with itself; `cii`, `pdf` and `html` only say what stands here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import cached_property

from billing.documents.payment_means import Payment
from billing.money import Language, round_half_up, tax_cents


class DocumentType(StrEnum):
    """BT-3 (UNTDID 1001): a credit note has positive amounts, a corrected invoice negative ones."""

    INVOICE = "380"
    CREDIT_NOTE = "381"
    CORRECTED_INVOICE = "384"


class Unit(StrEnum):
    """BT-130 and BT-150 (UN/ECE Recommendation 20)."""

    DAY = "DAY"
    MONTH = "MON"
    PIECE = "C62"


class TaxCategory(StrEnum):
    """BT-118, BT-151 (UNTDID 5305)."""

    STANDARD = "S"
    ZERO = "Z"
    EXEMPT = "E"
    REVERSE_CHARGE = "AE"
    EXPORT = "G"
    NOT_SUBJECT = "O"


@dataclass(frozen=True, slots=True)
class Tax:
    """What is taxed how. Every category but S and Z needs a reason (BT-120) or its code (BT-121), and has rate 0."""

    category: TaxCategory
    rate_basis_points: int
    reason: str | None = None
    reason_code: str | None = None

    def __post_init__(self) -> None:
        taxed = self.category is TaxCategory.STANDARD
        if (self.rate_basis_points > 0) is not taxed:
            raise ValueError(f"category {self.category} cannot have a rate of {self.rate_basis_points} basis points")
        is_exempt = not taxed and self.category is not TaxCategory.ZERO
        if bool(self.reason or self.reason_code) is not is_exempt:
            raise ValueError(f"category {self.category} {'needs' if is_exempt else 'has no'} reason for an exemption")


@dataclass(frozen=True, slots=True)
class Period:
    """Days of service `[starts_on, ends_on)`; documents print `last_on`."""

    starts_on: date
    ends_on: date

    def __post_init__(self) -> None:
        if self.ends_on <= self.starts_on:
            raise ValueError(f"a period cannot end on {self.ends_on} when it starts on {self.starts_on}")

    @property
    def last_on(self) -> date:
        return self.ends_on - timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Address:
    """BG-5, BG-8. `street` may be followed by two more lines (BT-36, BT-162); `country` is ISO 3166-1 alpha-2."""

    street: str
    postcode: str
    city: str
    country: str
    line_two: str | None = None
    line_three: str | None = None


@dataclass(frozen=True, slots=True)
class Contact:
    """BG-6: whom to ask about this document."""

    name: str
    phone: str
    email: str


@dataclass(frozen=True, slots=True)
class ElectronicAddress:
    """BT-34, BT-49: where e-invoices go. Scheme EM is an e-mail address, 0204 a Leitweg-ID."""

    value: str
    scheme: str = "EM"


@dataclass(frozen=True, slots=True)
class Seller:
    """BG-4. `legal_info` (BT-33) is what § 35a GmbHG and its like want on business letters."""

    name: str
    address: Address
    contact: Contact
    electronic_address: ElectronicAddress
    vat_id: str | None = None
    tax_number: str | None = None
    register_number: str | None = None
    legal_info: str | None = None


@dataclass(frozen=True, slots=True)
class Buyer:
    """BG-7. `number` (BT-46) is the seller's own number for the customer."""

    name: str
    address: Address
    electronic_address: ElectronicAddress
    number: str | None = None
    vat_id: str | None = None
    contact_name: str | None = None


@dataclass(frozen=True, slots=True)
class LineAllowance:
    """BG-27: a discount on one line. `reason_code` is UNTDID 5189 (95 is a discount)."""

    amount_cents: int
    reason: str
    reason_code: str = "95"


@dataclass(frozen=True, slots=True)
class Line:
    """BG-25: `quantity` of `unit` at `price_cents` for every `base_quantity` of the same unit.

    57 days of mailboxes at 7.90 for 30 days are 57 DAY, 790 and 30. `group` names the customer whom the line is for.
    Negative quantities mirror an invoice; a price is never negative (BR-27).
    """

    name: str
    quantity: int
    unit: Unit
    price_cents: int
    tax: Tax
    base_quantity: int = 1
    description: str | None = None
    sku: str | None = None
    group: str | None = None
    period: Period | None = None
    allowances: tuple[LineAllowance, ...] = ()

    def __post_init__(self) -> None:
        if self.price_cents < 0 or self.base_quantity < 1:
            raise ValueError(f"no line costs {self.price_cents} cents for {self.base_quantity}: negate the quantity")

    @property
    def before_allowances_cents(self) -> int:
        return round_half_up(self.quantity * self.price_cents, self.base_quantity)

    @property
    def net_cents(self) -> int:
        """BT-131."""
        return self.before_allowances_cents - sum(each.amount_cents for each in self.allowances)


@dataclass(frozen=True, slots=True)
class Adjustment:
    """An allowance (BG-20) or a charge (BG-21) on the document; codes are UNTDID 5189 and 7161.

    `percent_basis_points` and `basis_cents` (BT-93, BT-94) say how the amount came about, both or neither.
    """

    amount_cents: int
    reason: str
    tax: Tax
    is_charge: bool = False
    reason_code: str | None = None
    percent_basis_points: int | None = None
    basis_cents: int | None = None

    def __post_init__(self) -> None:
        if (self.percent_basis_points is None) is not (self.basis_cents is None):
            raise ValueError("an adjustment gives its percentage together with the amount it was taken of")

    @property
    def signed_cents(self) -> int:
        return self.amount_cents if self.is_charge else -self.amount_cents


@dataclass(frozen=True, slots=True)
class TaxSubtotal:
    """BG-23: BT-116 is `net_cents`, BT-117 `tax_cents`."""

    tax: Tax
    net_cents: int
    tax_cents: int


@dataclass(frozen=True, slots=True)
class Totals:
    """BG-22: BT-106, 107, 108, 109, 110, 112, 113, 114 and 115 in this order, and the VAT breakdown."""

    lines_cents: int
    allowances_cents: int
    charges_cents: int
    net_cents: int
    tax_cents: int
    gross_cents: int
    prepaid_cents: int
    rounding_cents: int
    payable_cents: int
    breakdown: tuple[TaxSubtotal, ...]


@dataclass(frozen=True, slots=True)
class Corrected:
    """BG-3: the invoice that is corrected. `in_full` says that nothing of it is left."""

    number: str
    issued_on: date
    in_full: bool


@dataclass(frozen=True, slots=True)
class AnnexEntry:
    """One mailbox behind the lines: its billed days, and why they began and ended where they did."""

    group: str
    mailbox: str
    product: str
    days: int
    starts_on: date
    last_on: date
    start_reason: str
    end_reason: str | None = None


@dataclass(frozen=True)
class Document:
    """One document as it is issued. Raises ValueError for what no profile could express.

    `buyer_reference` (BT-10) is the Leitweg-ID of an authority and else the customer's number. `logo` is a PNG or
    JPEG. Lines of one `group` stand together. A draft has a number and days that are provisional, so that what people
    read shows none of them and asks for no money.
    """

    type_code: DocumentType
    number: str
    issued_on: date
    seller: Seller
    buyer: Buyer
    payment: Payment
    lines: tuple[Line, ...]
    language: Language = "de"
    currency: str = "EUR"
    due_on: date | None = None
    buyer_reference: str | None = None
    order_reference: str | None = None
    contract_reference: str | None = None
    payment_terms: str | None = None
    notes: tuple[str, ...] = ()
    corrects: Corrected | None = None
    period: Period | None = None
    adjustments: tuple[Adjustment, ...] = ()
    prepaid_cents: int = 0
    rounding_cents: int = 0
    annex: tuple[AnnexEntry, ...] = ()
    logo: bytes | None = None
    is_draft: bool = False

    def __post_init__(self) -> None:
        if not self.lines:
            raise ValueError(f"document {self.number} has no line")
        if self.type_code is not DocumentType.INVOICE and self.corrects is None:
            raise ValueError(f"document {self.number} corrects an invoice and must name it")
        if self.logo is not None and not self.logo.startswith((b"\x89PNG\r\n", b"\xff\xd8\xff")):
            raise ValueError(f"the logo of document {self.number} is neither PNG nor JPEG")
        if self.currency != "EUR":
            raise ValueError(f"document {self.number} is in {self.currency}; invoices are made in EUR")
        taxes = self.taxes
        if len({(tax.category, tax.rate_basis_points) for tax in taxes}) < len(taxes):
            raise ValueError(f"document {self.number} gives two reasons for one exemption")
        if len(taxes) > 1 and any(tax.category is TaxCategory.NOT_SUBJECT for tax in taxes):
            raise ValueError(f"document {self.number} mixes what is not subject to VAT with what is (BR-O-11)")

    @property
    def taxes(self) -> tuple[Tax, ...]:
        """The distinct taxes of lines and adjustments, highest rate first."""
        found = {line.tax for line in self.lines} | {each.tax for each in self.adjustments}
        return tuple(sorted(found, key=lambda tax: (-tax.rate_basis_points, tax.category, tax.reason or "")))

    @cached_property
    def totals(self) -> Totals:
        return totals(
            self.lines, self.adjustments, prepaid_cents=self.prepaid_cents, rounding_cents=self.rounding_cents
        )

    @property
    def is_correction(self) -> bool:
        return self.type_code is not DocumentType.INVOICE

    @property
    def names_vat_ids(self) -> bool:
        """Where nothing is subject to VAT, no party may give its VAT id (BR-O-02)."""
        return all(tax.category is not TaxCategory.NOT_SUBJECT for tax in self.taxes)

    @property
    def groups(self) -> tuple[tuple[str | None, tuple[tuple[int, Line], ...]], ...]:
        """The lines with their positions by group, groups in the order of their first line."""
        found: dict[str | None, list[tuple[int, Line]]] = {}
        for position, line in enumerate(self.lines, start=1):
            found.setdefault(line.group, []).append((position, line))
        return tuple((name, tuple(lines)) for name, lines in found.items())


def totals(
    lines: Iterable[Line], adjustments: Iterable[Adjustment] = (), *, prepaid_cents: int = 0, rounding_cents: int = 0
) -> Totals:
    """Return all sums of a document. The tax is taken once per rate, on the sum, half up (BR-CO-17).

    What is payable is gross less `prepaid_cents` plus `rounding_cents` (BR-CO-16); it may be negative.
    """
    nets: dict[Tax, int] = {}
    lines_cents = allowances_cents = charges_cents = 0
    for line in lines:
        lines_cents += line.net_cents
        nets[line.tax] = nets.get(line.tax, 0) + line.net_cents
    for each in adjustments:
        charges_cents += each.amount_cents if each.is_charge else 0
        allowances_cents += 0 if each.is_charge else each.amount_cents
        nets[each.tax] = nets.get(each.tax, 0) + each.signed_cents
    breakdown = tuple(
        TaxSubtotal(tax, net, tax_cents(net, tax.rate_basis_points))
        for tax, net in sorted(nets.items(), key=lambda item: (-item[0].rate_basis_points, item[0].category))
    )
    net = lines_cents - allowances_cents + charges_cents
    tax = sum(each.tax_cents for each in breakdown)
    return Totals(
        lines_cents=lines_cents,
        allowances_cents=allowances_cents,
        charges_cents=charges_cents,
        net_cents=net,
        tax_cents=tax,
        gross_cents=net + tax,
        prepaid_cents=prepaid_cents,
        rounding_cents=rounding_cents,
        payable_cents=net + tax - prepaid_cents + rounding_cents,
        breakdown=breakdown,
    )
