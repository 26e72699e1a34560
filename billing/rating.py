"""The reference calculation of a billing period: what was held and prices in, lines and a total out, to the cent.

It goes in four steps. The days of what a mailbox held become parts that are charged alike (in service, on trial,
after it was given up too early); parts become unit-days as the product is prorated; tiers give unit-days their
prices; and each line is rounded once.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

from billing.money import Language, format_eur, round_half_up, tax_cents
from billing.periods import BillingPeriod, add_months
from billing.terms import AllowanceKind, LineKind, Product, Proration, TermsHistory, TiersMode, terms_on
from billing.vat import VatRate

_KINDS = tuple(LineKind)
_UNLIMITED = 2**62
CREDIT_REASON = "Guthaben"


@dataclass(frozen=True, slots=True)
class Period:
    """One mailbox in one class for the days `[starts_on, ends_on)`; `ends_on` None is still running.

    With `is_add_on`, `service_class` names the add-on and `quantity` says how many units of it there were. An end
    before the start raises ValueError.
    """

    mailbox_id: str
    customer_id: str
    service_class: str
    location: str
    starts_on: date
    ends_on: date | None
    quantity: int = 1
    is_add_on: bool = False

    def __post_init__(self) -> None:
        if self.ends_on is not None and self.ends_on < self.starts_on:
            raise ValueError(f"{self.mailbox_id} cannot end on {self.ends_on} before it starts on {self.starts_on}")


@dataclass(frozen=True, slots=True)
class Tier:
    """From `min_quantity` units on, each of them costs `price_cents` a month; neither may be negative."""

    min_quantity: int
    price_cents: int

    def __post_init__(self) -> None:
        if self.min_quantity < 0 or self.price_cents < 0:
            raise ValueError(f"a tier cannot be negative: {self}")


PriceTable = Mapping[str, tuple[Tier, ...]]
"""The tiers of each product, `min_quantity` rising, the first 0 or 1."""


@dataclass(frozen=True, slots=True)
class Line:
    """One invoice line: what one customer's units of one product cost in one period at one price.

    `service_class` is the product, a class of service or an add-on. `price_cents` is for a unit and month (BT-146),
    `mailbox_days` the quantity (BT-129, unit DAY), `base_days` the days of the whole period (BT-149, unit DAY in
    BT-150), `net_cents` the amount (BT-131).
    """

    customer_id: str
    service_class: str
    price_cents: int
    mailbox_days: int
    base_days: int
    net_cents: int
    kind: LineKind = LineKind.USAGE


@dataclass(frozen=True, slots=True)
class Total:
    """The sums of one document under one tax rate, in cents.

    `net_cents` is BT-109 and BT-116, the sum of the lines (BT-106) less `allowances_cents` (BT-107); `tax_cents` BT-110
    and BT-117; `gross_cents` BT-112; `rate` BT-118 and BT-119.
    """

    net_cents: int
    tax_cents: int
    gross_cents: int
    rate: VatRate
    allowances_cents: int = 0


@dataclass(frozen=True, slots=True)
class Allowance:
    """What lowers a document as a whole before tax: `amount_cents` (BT-92) of `base_cents` (BT-93), with the
    percentage in basis points (BT-94) if it is one, and the reason (BT-97).
    """

    kind: AllowanceKind
    reason: str
    base_cents: int
    amount_cents: int
    percent_basis_points: int | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """Days `[starts_on, ends_on)` within the billing period that are charged alike."""

    of: Period
    kind: LineKind
    starts_on: date
    ends_on: date


_Charged = tuple[str, str, LineKind]
"""Customer, product and kind: what a line is about, before tiers."""


class NoPrice(Exception):
    """Units of this product had days in the period, and the price table does not say what they cost."""

    def __init__(self, service_class: str) -> None:
        super().__init__(service_class)
        self.service_class = service_class

    def __str__(self) -> str:
        return f"there is no price for service class {self.service_class!r}"


def tier_for(tiers: tuple[Tier, ...], quantity: int) -> Tier:
    """Return the tier that prices all of `quantity` units (volume, not graduated); for none, the first.

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


def rate(
    periods: Iterable[Period], prices: PriceTable, period: BillingPeriod, terms: TermsHistory | None = None
) -> list[Line]:
    """Return the lines of one reseller's billing period, sorted by customer, product and kind; none is without days.

    `net_cents = round_half_up(mailbox_days * price_cents / base_days)`, rounded once per line, so a month
    cut into any pieces costs what the whole costs. With volume tiers, how many of the reseller's units of a product
    are there on the last day decides its price. With graduated ones, its unit-days fill the tiers, each of which
    holds its size times the days of the period, in the order of customer ids. `periods` are all of one reseller's
    since it began (without terms those of the billing period do), in any order, and do not overlap for one mailbox
    (the ledger sees to that). A product with days and no tiers raises NoPrice, malformed tiers raise ValueError.
    """
    periods, terms = list(periods), terms or {}
    alive: Counter[str] = Counter()
    for each in periods:
        alive[each.service_class] += each.quantity if _alive(each, period.last_on) else 0
    of_product: defaultdict[str, list[tuple[_Charged, int]]] = defaultdict(list)
    for charged, quantity in _unit_days(_parts(periods, period, terms), period, terms).items():
        of_product[charged[1]].append((charged, quantity))

    priced: Counter[tuple[_Charged, int]] = Counter()
    for product, days in sorted(of_product.items()):
        tiers = prices.get(product)
        if not tiers:
            raise NoPrice(product)
        billed = sorted(
            ((charged, quantity) for charged, quantity in days if charged[2] != LineKind.TRIAL), key=_line_order
        )
        priced.update({(charged, 0): quantity for charged, quantity in days if charged[2] == LineKind.TRIAL})
        if terms_on(terms, product, period.starts_on).tiers_mode == TiersMode.VOLUME:
            price_cents = tier_for(tiers, alive[product]).price_cents
            priced.update({(charged, price_cents): quantity for charged, quantity in billed})
        else:
            priced.update(_graduated(billed, tiers, period.days))
    return [
        Line(
            customer_id=customer_id,
            service_class=product,
            price_cents=price_cents,
            mailbox_days=quantity,
            base_days=period.days,
            net_cents=round_half_up(quantity * price_cents, period.days),
            kind=kind,
        )
        for ((customer_id, product, kind), price_cents), quantity in sorted(priced.items(), key=_priced_order)
    ]


def _parts(periods: Iterable[Period], period: BillingPeriod, terms: TermsHistory) -> Iterator[_Part]:
    """Cut the life of each mailbox, and of each add-on on it, into parts that lie within the billing period."""
    lives: defaultdict[tuple[str, str], list[Period]] = defaultdict(list)
    for each in periods:
        if each.starts_on != each.ends_on:
            lives[each.mailbox_id, each.service_class if each.is_add_on else ""].append(each)
    for life in lives.values():
        life.sort(key=lambda each: each.starts_on)
        following = [*(each.starts_on for each in life[1:]), date.max]
        for each, next_on in zip(life, following, strict=True):
            for part in _parts_of(each, terms, first_on=life[0].starts_on, next_on=next_on):
                starts_on, ends_on = max(part.starts_on, period.starts_on), min(part.ends_on, period.ends_on)
                if starts_on < ends_on:
                    yield _Part(each, part.kind, starts_on, ends_on)


def _parts_of(held: Period, terms: TermsHistory, *, first_on: date, next_on: date) -> Iterator[_Part]:
    """One period's trial, service, and what is owed after it; nothing is owed by who leaves while on trial."""
    agreed = terms_on(terms, held.service_class, first_on)
    trial_ends_on = first_on + timedelta(days=agreed.trial_days)
    ends_on = held.ends_on or date.max
    yield _Part(held, LineKind.TRIAL, held.starts_on, min(ends_on, trial_ends_on))
    yield _Part(held, LineKind.USAGE, max(held.starts_on, trial_ends_on), ends_on)
    if held.ends_on is not None and held.ends_on > trial_ends_on:
        owed_until = max(
            add_months(first_on, agreed.minimum_term_months), held.ends_on + timedelta(days=agreed.notice_days)
        )
        yield _Part(held, LineKind.MINIMUM_TERM, held.ends_on, min(owed_until, next_on))


def _unit_days(parts: Iterable[_Part], period: BillingPeriod, terms: TermsHistory) -> Counter[_Charged]:
    """Count unit-days as the product is prorated now; a mailbox that pays a whole period pays it once."""
    of_unit: defaultdict[tuple[str, str, str], list[_Part]] = defaultdict(list)
    for part in parts:
        of_unit[part.of.customer_id, part.of.service_class, part.of.mailbox_id].append(part)
    counted: Counter[_Charged] = Counter()
    for (customer_id, product, _), of_mailbox in of_unit.items():
        proration = terms_on(terms, product, period.starts_on).proration
        in_service = any(part.kind == LineKind.USAGE for part in of_mailbox)
        for kind in {part.kind for part in of_mailbox}:
            alike = [part for part in of_mailbox if part.kind == kind]
            if kind == LineKind.TRIAL or proration == Proration.DAILY:
                days = sum(part.of.quantity * (part.ends_on - part.starts_on).days for part in alike)
            elif proration == Proration.FULL_MONTH:
                is_paid = kind == LineKind.USAGE or not in_service
                days = max(part.of.quantity for part in alike) * period.days if is_paid else 0
            else:
                there = sum(part.of.quantity for part in alike if part.starts_on == period.starts_on)
                days = there * period.days
            counted[customer_id, product, kind] += days
    return +counted


def _graduated(
    billed: Sequence[tuple[_Charged, int]], tiers: tuple[Tier, ...], base_days: int
) -> Counter[tuple[_Charged, int]]:
    """Fill the tiers with unit-days, one after the other; the last one takes what is left."""
    tier_for(tiers, 0)  # which refuses tiers that leave a price open
    bounds = [0, *((tier.min_quantity - 1) * base_days for tier in tiers[1:]), _UNLIMITED]
    priced: Counter[tuple[_Charged, int]] = Counter()
    begins = 0
    for charged, quantity in billed:
        ends = begins + quantity
        for tier, (lower, upper) in zip(tiers, pairwise(bounds), strict=True):
            priced[charged, tier.price_cents] += max(0, min(ends, upper) - max(begins, lower))
        begins = ends
    return +priced


def _line_order(counted: tuple[_Charged, int]) -> tuple[str, int]:
    (customer_id, _, kind), _ = counted
    return customer_id, _KINDS.index(kind)


def _priced_order(counted: tuple[tuple[_Charged, int], int]) -> tuple[str, str, int, int]:
    ((customer_id, product, kind), price_cents), _ = counted
    return customer_id, product, _KINDS.index(kind), -price_cents


def allowances_of(
    lines_cents: int,
    *,
    reason: str = "",
    percent_basis_points: int | None = None,
    amount_cents: int = 0,
    credit_cents: int = 0,
) -> list[Allowance]:
    """Return what is taken off the sum of the lines: a discount by share or amount, then credit, never below 0.

    What is left of the credit stays for the next invoice; what is left of a discount is lost.
    """
    taken: list[Allowance] = []
    off = amount_cents if percent_basis_points is None else tax_cents(lines_cents, percent_basis_points)
    if discount := min(off, lines_cents):
        taken.append(Allowance(AllowanceKind.DISCOUNT, reason, lines_cents, discount, percent_basis_points))
    left = lines_cents - discount
    if credit := min(credit_cents, left):
        taken.append(Allowance(AllowanceKind.CREDIT, CREDIT_REASON, left, credit))
    return taken


def total(lines: Iterable[Line], rate: VatRate, taken: Iterable[Allowance] = ()) -> Total:
    """Return the sums of a document; the tax is taken once, on the net total (EN 16931, BR-CO-17)."""
    allowed = sum(each.amount_cents for each in taken)
    net = sum(line.net_cents for line in lines) - allowed
    tax = tax_cents(net, rate.rate_basis_points)
    return Total(net_cents=net, tax_cents=tax, gross_cents=net + tax, rate=rate, allowances_cents=allowed)


def explain(line: Line, language: Language = "de") -> str:
    """Return the line's arithmetic for people: "57 Postfachtage × 7,90 € / 30 Tage = 15,01 €".

    It says so when the amount had to be rounded, and what the days are when the mailbox was not in service or on
    trial. A language other than de and en raises ValueError.
    """
    price = format_eur(line.price_cents, language)
    net = format_eur(line.net_cents, language)
    unit = _UNITS[language][line.service_class == Product.EXTRA_STORAGE][line.mailbox_days != 1]
    days, rounded = ("Tage", "kaufmännisch gerundet") if language == "de" else ("days", "rounded half up")
    kind = KIND_WORDS[language].get(line.kind)
    sentence = f"{line.mailbox_days} {unit} × {price} / {line.base_days} {days} = {net}"
    if kind is not None:
        sentence = f"{kind}: {sentence}"
    exact = line.mailbox_days * line.price_cents % line.base_days == 0
    return sentence if exact else f"{sentence} ({rounded})"


_UNITS: Mapping[Language, Sequence[Sequence[str]]] = {
    "de": (("Postfachtag", "Postfachtage"), ("Tag je 10 GiB", "Tage je 10 GiB")),
    "en": (("mailbox-day", "mailbox-days"), ("day of 10 GiB", "days of 10 GiB")),
}

KIND_WORDS: Mapping[Language, Mapping[str, str]] = {
    "de": {LineKind.TRIAL: "Probezeit", LineKind.MINIMUM_TERM: "Mindestlaufzeit"},
    "en": {LineKind.TRIAL: "Trial", LineKind.MINIMUM_TERM: "Minimum term"},
}
"""What a line says beside its product when it is not simply for days in service."""


def _alive(period: Period, day: date) -> bool:
    return period.starts_on <= day and (period.ends_on is None or day < period.ends_on)
