"""The reference calculation of a month: periods and prices in, invoice lines and a total out, to the cent."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from billing.money import Language, format_eur, round_half_up, tax_cents
from billing.periods import BillingMonth, mailbox_days
from billing.vat import VatRate


@dataclass(frozen=True, slots=True)
class Period:
    """One mailbox in one class for the days `[starts_on, ends_on)`; `ends_on` None is still running.

    An end before the start raises ValueError.
    """

    mailbox_id: str
    customer_id: str
    service_class: str
    location: str
    starts_on: date
    ends_on: date | None

    def __post_init__(self) -> None:
        if self.ends_on is not None and self.ends_on < self.starts_on:
            raise ValueError(f"{self.mailbox_id} cannot end on {self.ends_on} before it starts on {self.starts_on}")


@dataclass(frozen=True, slots=True)
class Tier:
    """From `min_quantity` mailboxes on, each of them costs `price_cents` a month; neither may be negative."""

    min_quantity: int
    price_cents: int

    def __post_init__(self) -> None:
        if self.min_quantity < 0 or self.price_cents < 0:
            raise ValueError(f"a tier cannot be negative: {self}")


PriceTable = Mapping[str, tuple[Tier, ...]]
"""The tiers of each service class, `min_quantity` rising, the first 0 or 1."""


@dataclass(frozen=True, slots=True)
class Line:
    """One invoice line: what one customer's mailboxes of one class cost in one month.

    `price_cents` is for a mailbox and month (BT-146), `mailbox_days` the quantity (BT-129, unit DAY),
    `base_days` the days of the month (BT-149, unit DAY in BT-150), `net_cents` the amount (BT-131).
    """

    customer_id: str
    service_class: str
    price_cents: int
    mailbox_days: int
    base_days: int
    net_cents: int


@dataclass(frozen=True, slots=True)
class Total:
    """The sums of one document under one tax rate, in cents.

    `net_cents` is BT-106, BT-109 and BT-116; `tax_cents` BT-110 and BT-117; `gross_cents` BT-112; `rate`
    BT-118 and BT-119.
    """

    net_cents: int
    tax_cents: int
    gross_cents: int
    rate: VatRate


class NoPrice(Exception):
    """Mailboxes of this class had days in the month, and the price table does not say what they cost."""

    def __init__(self, service_class: str) -> None:
        super().__init__(service_class)
        self.service_class = service_class

    def __str__(self) -> str:
        return f"there is no price for service class {self.service_class!r}"


def tier_for(tiers: tuple[Tier, ...], quantity: int) -> Tier:
    """Return the tier that prices all of `quantity` mailboxes (volume, not graduated); for none, the first.

    Tiers that do not rise from a `min_quantity` of 0 or 1 raise ValueError.
    """
    quantities = [tier.min_quantity for tier in tiers]
    if not tiers or quantities[0] > 1 or quantities != sorted(set(quantities)):
        raise ValueError(f"tiers must rise from a min_quantity of 0 or 1, not {quantities}")
    # Mailboxes given up before the last day still have days to pay: with no other left, at the first price.
    chosen = tiers[0]
    for tier in tiers[1:]:
        if tier.min_quantity <= quantity:
            chosen = tier
    return chosen


def rate(periods: Iterable[Period], prices: PriceTable, month: BillingMonth) -> list[Line]:
    """Return the lines of one reseller's month, sorted by customer and class; none is without days.

    `net_cents = round_half_up(mailbox_days * price_cents / base_days)`, rounded once per line, so a month
    cut into any pieces costs what the whole costs. How many of the reseller's periods of a class are alive
    on the month's last day decides its price. `periods` are all of one reseller's, in any order, and do not
    overlap for one mailbox (the ledger sees to that). A class with days and no tiers raises NoPrice,
    malformed tiers raise ValueError.
    """
    days: Counter[tuple[str, str]] = Counter()
    alive: Counter[str] = Counter()
    for period in periods:
        line = period.customer_id, period.service_class
        days[line] += mailbox_days(period.starts_on, period.ends_on, month)
        alive[period.service_class] += _alive(period, month.last_on)

    billed = sorted((line, quantity) for line, quantity in days.items() if quantity)
    price_cents: dict[str, int] = {}
    for service_class in sorted({service_class for (_, service_class), _ in billed}):
        tiers = prices.get(service_class)
        if not tiers:
            raise NoPrice(service_class)
        price_cents[service_class] = tier_for(tiers, alive[service_class]).price_cents

    return [
        Line(
            customer_id=customer_id,
            service_class=service_class,
            price_cents=price_cents[service_class],
            mailbox_days=quantity,
            base_days=month.days,
            net_cents=round_half_up(quantity * price_cents[service_class], month.days),
        )
        for (customer_id, service_class), quantity in billed
    ]


def total(lines: Iterable[Line], rate: VatRate) -> Total:
    """Return the sums of a document; the tax is taken once, on the net total (EN 16931, BR-CO-17)."""
    net = sum(line.net_cents for line in lines)
    tax = tax_cents(net, rate.rate_basis_points)
    return Total(net_cents=net, tax_cents=tax, gross_cents=net + tax, rate=rate)


def explain(line: Line, language: Language = "de") -> str:
    """Return the line's arithmetic for people: "57 Postfachtage × 7,90 € / 30 Tage = 15,01 €".

    It says so when the amount had to be rounded. A language other than de and en raises ValueError.
    """
    price = format_eur(line.price_cents, language)
    net = format_eur(line.net_cents, language)
    if language == "de":
        quantity = "1 Postfachtag" if line.mailbox_days == 1 else f"{line.mailbox_days} Postfachtage"
        days, rounded = "Tage", "kaufmännisch gerundet"
    else:
        quantity = "1 mailbox-day" if line.mailbox_days == 1 else f"{line.mailbox_days} mailbox-days"
        days, rounded = "days", "rounded half up"
    sentence = f"{quantity} × {price} / {line.base_days} {days} = {net}"
    exact = line.mailbox_days * line.price_cents % line.base_days == 0
    return sentence if exact else f"{sentence} ({rounded})"


def _alive(period: Period, day: date) -> bool:
    return period.starts_on <= day and (period.ends_on is None or day < period.ends_on)
