"""Which invoices a payment settles: by what it names, with the amount as second factor, never by the amount alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from billing.documents.camt import StatementEntry
from billing.iban import compact

# A shorter one, such as "2026", would be found in any text.
MIN_NUMBER_LENGTH: Final = 6

# What scanners and people take for one another; each is read as the digit.
_CONFUSABLE: Final[dict[int, str]] = str.maketrans({"O": "0", "Q": "0", "I": "1", "L": "1", "S": "5", "B": "8"})


class MatchReason(StrEnum):
    """Why a payment was matched, or why it was not and waits for a person."""

    END_TO_END_ID = "end_to_end_id"
    REFERENCE = "reference"
    NUMBER = "number"
    NOT_INCOMING = "not_incoming"
    NOT_ITEMISED = "not_itemised"
    NOTHING_NAMED = "nothing_named"
    AMOUNT_DIFFERS = "amount_differs"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True)
class OpenItem:
    """What is still owed on one invoice, in cents. `reference` is its RF reference, `end_to_end_id` its debit's."""

    id: str
    number: str
    open_cents: int
    currency: str = "EUR"
    reference: str = ""
    end_to_end_id: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """`items` are settled by the payment; empty, `reason` says why a person has to look and at which `candidates`.

    `difference_cents` is what was paid above the open amounts of items or candidates; negative is too little.
    """

    items: tuple[OpenItem, ...]
    reason: MatchReason
    candidates: tuple[OpenItem, ...] = ()
    difference_cents: int = 0

    @property
    def is_exact(self) -> bool:
        """Say whether the payment settles its items to the cent."""
        return bool(self.items) and self.difference_cents == 0


def match(entry: StatementEntry, open_items: Sequence[OpenItem]) -> Match:
    """Return which of the open items this incoming payment settles.

    Named are items whose end-to-end id or RF reference the payment carries, or whose number or reference its free
    text holds, however it is spaced, hyphenated or cased. All that are named are settled when they add up to the
    amount. One item named by an id or a structured reference is settled by any amount, and the difference
    told; one named in free text only by the exact amount.
    """
    if entry.amount_cents <= 0 or entry.return_reason:
        return Match((), MatchReason.NOT_INCOMING)
    if entry.transactions > 1:
        return Match((), MatchReason.NOT_ITEMISED)
    items = [item for item in open_items if item.currency == entry.currency and item.open_cents > 0]
    by_id = [item for item in items if entry.end_to_end_id and item.end_to_end_id == entry.end_to_end_id]
    by_reference = [item for item in items if item.reference and compact(item.reference) in entry.references]
    text = _Text(entry.remittance, entry.end_to_end_id)
    by_text = [item for item in items if text.holds(item.number) or text.holds(item.reference)]
    return _settle(entry.amount_cents, by_id, by_reference, by_text)


def match_return(entry: StatementEntry, debits: Iterable[OpenItem]) -> Match:
    """Return which debit a returned one takes back, by its end-to-end id; `open_cents` is what was collected.

    The bank may have added its fee and the debtor bank's interest: `difference_cents` is negative by those. Less
    than was collected is no match.
    """
    if entry.amount_cents >= 0 or not (entry.return_reason or entry.is_reversal):
        return Match((), MatchReason.NOT_INCOMING)
    if entry.transactions > 1:
        return Match((), MatchReason.NOT_ITEMISED)
    found = tuple(debit for debit in debits if entry.end_to_end_id and debit.end_to_end_id == entry.end_to_end_id)
    if len(found) != 1:
        return Match((), MatchReason.AMBIGUOUS if found else MatchReason.NOTHING_NAMED, found)
    difference = found[0].open_cents + entry.amount_cents
    if difference > 0 or found[0].currency != entry.currency:
        return Match((), MatchReason.AMOUNT_DIFFERS, found, difference)
    return Match(found, MatchReason.END_TO_END_ID, difference_cents=difference)


def _settle(
    amount_cents: int, by_id: Sequence[OpenItem], by_reference: Sequence[OpenItem], by_text: Sequence[OpenItem]
) -> Match:
    named = tuple(dict.fromkeys((*by_id, *by_reference, *by_text)))
    if not named:
        return Match((), MatchReason.NOTHING_NAMED)
    if len({item.number for item in named}) < len(named):
        return Match((), MatchReason.AMBIGUOUS, named)
    difference = amount_cents - sum(item.open_cents for item in named)
    reason = MatchReason.END_TO_END_ID if by_id else MatchReason.REFERENCE if by_reference else MatchReason.NUMBER
    if difference == 0 or (len(named) == 1 and reason is not MatchReason.NUMBER):
        return Match(named, reason, difference_cents=difference)
    return Match((), MatchReason.AMOUNT_DIFFERS if len(named) == 1 else MatchReason.AMBIGUOUS, named, difference)


class _Text:
    """Free text without its separators, in which a number is found with its borders known."""

    def __init__(self, *texts: str) -> None:
        # A border between texts, and the place of each kept character to see which stood side by side.
        written = "\0\0".join(texts).upper()
        kept = [(at, character) for at, character in enumerate(written) if character.isalnum()]
        self._places = [at for at, _ in kept]
        self._letters = "".join(character for _, character in kept)
        self._plain = self._letters.translate(_CONFUSABLE)

    def holds(self, number: str) -> bool:
        """Say whether the number stands here by itself and not within a longer one."""
        wanted = _plain(number)
        start = self._plain.find(wanted) if len(wanted) >= MIN_NUMBER_LENGTH else -1
        while start >= 0:
            end = start + len(wanted)
            if self._is_border(start, before=True) and self._is_border(end, before=False):
                return True
            start = self._plain.find(wanted, start + 1)
        return False

    def _is_border(self, at: int, *, before: bool) -> bool:
        if at in {0, len(self._places)} or self._places[at] - self._places[at - 1] > 1:
            return True
        # Letters glued on behind ("000001vom 1.12.") are another word; in front they may belong to the series.
        return not before and not self._plain[at].isdigit()


@lru_cache(maxsize=65_536)
def _plain(number: str) -> str:
    return "".join(character for character in number.upper() if character.isalnum()).translate(_CONFUSABLE)
