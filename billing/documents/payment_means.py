"""The means of payment that a document can name: BG-16 to BG-19 of EN 16931."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class SepaTransfer:
    """BT-81 is 58: the buyer transfers to `iban` (BT-84) of `account_name` (BT-85)."""

    iban: str
    account_name: str
    bic: str | None = None


@dataclass(frozen=True, slots=True)
class SepaDirectDebit:
    """BT-81 is 59: the seller collects under mandate BT-89 with creditor id BT-90 from BT-91 on `collected_on`."""

    mandate: str
    creditor_id: str
    debtor_iban: str
    collected_on: date


@dataclass(frozen=True, slots=True)
class Card:
    """BT-81 is 54 (credit card), 55 (debit card) or 48 (either): charged to the card ending in `last4` (BT-87).

    `carried_cents` of earlier invoices, too little to be charged alone, are charged with it. With `is_deferred` this
    one is such an invoice itself: it waits for the next.
    """

    last4: str
    code: str = "54"
    brand: str | None = None
    holder: str | None = None
    carried_cents: int = 0
    is_deferred: bool = False


@dataclass(frozen=True, slots=True)
class OnlineDebit:
    """BT-81 is 68: an online payment service collects from an account that it keeps to itself, on `collected_on` or,
    without that, in the days after the issue.

    Code 59 is for who knows the account: XRechnung wants creditor id and IBAN with it (BR-DE-30, BR-DE-31), and a
    mandate (BT-89) brings that about with any code. So what is known, `mandate` and `last4`, is said in BT-20. Without
    `last4` it is some means that the service keeps. `carried_cents` and `is_deferred` are those of Card.
    """

    service: str
    last4: str | None = None
    mandate: str | None = None
    collected_on: date | None = None
    carried_cents: int = 0
    is_deferred: bool = False


@dataclass(frozen=True, slots=True)
class NonSepaTransfer:
    """BT-81 is 30: a transfer to an account outside SEPA, `account` being an IBAN or a national number."""

    account: str
    account_name: str
    bic: str | None = None


Payment = SepaTransfer | SepaDirectDebit | Card | OnlineDebit | NonSepaTransfer


@dataclass(frozen=True, slots=True)
class Means:
    """How an invoice is paid: BG-16, and BT-113, which the buyer's credit balance pays before anything is collected."""

    payment: Payment
    prepaid_cents: int = 0
