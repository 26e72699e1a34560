"""The words of prices, in Stripe's sense where Stripe has one, and the terms on which a product is sold. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Literal


class Product(StrEnum):
    """What has a price: the classes of service and the add-ons. A unit of extra storage is 10 GiB."""

    POP3 = "pop3"
    IMAP = "imap"
    EXCHANGE = "exchange"
    ARCHIVE = "archive"
    EXTRA_STORAGE = "extra_storage"


PRODUCT_NAMES: Mapping[Literal["de", "en"], Mapping[str, str]] = {
    "de": {
        Product.POP3: "POP3",
        Product.IMAP: "IMAP",
        Product.EXCHANGE: "Exchange",
        Product.ARCHIVE: "Archiv",
        Product.EXTRA_STORAGE: "Speicher, je 10 GiB",
    },
    "en": {
        Product.POP3: "POP3",
        Product.IMAP: "IMAP",
        Product.EXCHANGE: "Exchange",
        Product.ARCHIVE: "Archive",
        Product.EXTRA_STORAGE: "Storage, 10 GiB each",
    },
}


class TiersMode(StrEnum):
    """`volume`: the tier reached prices all units. `graduated`: each unit has the price of its own tier."""

    VOLUME = "volume"
    GRADUATED = "graduated"


class Proration(StrEnum):
    """What a period costs that a unit is not there all of.

    `daily`: its days. `full_month`: any day pays the whole period. `none`: a period that it begins in after the
    first day is free, and one that it is there on the first day of is paid whole.
    """

    DAILY = "daily"
    FULL_MONTH = "full_month"
    NONE = "none"


class LineKind(StrEnum):
    """What a line charges: days in service, days of a trial (at a price of 0), or days after a mailbox was given up
    before its minimum term or notice was over. They stand on an invoice in this order.
    """

    USAGE = "usage"
    TRIAL = "trial"
    MINIMUM_TERM = "minimum_term"


class CouponDuration(StrEnum):
    """For how many months' billing periods a coupon counts: one, some, or all from its first on."""

    ONCE = "once"
    REPEATING = "repeating"
    FOREVER = "forever"


class AllowanceKind(StrEnum):
    """What lowers an invoice as a whole (EN 16931 BG-20): a coupon's discount first, then the reseller's credit."""

    DISCOUNT = "discount"
    CREDIT = "credit"


@dataclass(frozen=True, slots=True)
class Terms:
    """How the tiers of one product are applied, and what a mailbox agrees to when it comes into service.

    `tiers_mode` and `proration` hold as prices do, for periods that begin under their list. The other three are
    those of the mailbox's first day (for an add-on, its first day on that mailbox) for as long as it lives.
    """

    tiers_mode: TiersMode = TiersMode.VOLUME
    proration: Proration = Proration.DAILY
    minimum_term_months: int = 0
    notice_days: int = 0
    trial_days: int = 0

    def __post_init__(self) -> None:
        if min(self.minimum_term_months, self.notice_days, self.trial_days) < 0:
            raise ValueError(f"terms cannot be negative: {self}")


TermsHistory = Mapping[str, tuple[tuple[date, Terms], ...]]
"""The terms of each product for one reseller, newest first, each from its day on. What is missing is `Terms()`."""


def terms_on(history: TermsHistory, product: str, day: date) -> Terms:
    """Return the terms of a product that hold on a day."""
    for valid_from, terms in history.get(product, ()):
        if valid_from <= day:
            return terms
    return Terms()
