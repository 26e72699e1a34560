"""SEPA Core direct debits as a pain.008.001.08 file for the creditor's bank, checked against the schema.

Rules by the SEPA Core Direct Debit rulebook (EPC016-06) and its implementation guidelines (EPC130-08).
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Final, Literal

from lxml import etree
from sepaxml import SepaDD  # type: ignore[import-untyped]  # the library carries no annotations

from billing.documents.transliteration import shorten, to_sepa
from billing.iban import compact, is_creditor_id, is_iban
from billing.periods import BERLIN
from billing.target_days import add_target_days, next_target_day
from provisioning.core.errors import Invalid

SCHEMA: Final = "pain.008.001.08"
# Agreed with the debtor, a shorter notice is possible; one day is the least a notice can be.
NOTICE_DAYS: Final = 14
# The debtor's bank must have the collection a settlement day before it is due, also the first one since 2016.
SUBMISSION_TARGET_DAYS: Final = 1
MAX_AMOUNT_CENTS: Final = 99_999_999_999
LAPSE_MONTHS: Final = 36

SequenceType = Literal["FRST", "RCUR"]

_IDENTIFIER = re.compile(r"(?!/)(?!.*//)[A-Za-z0-9+?/:().,' -]{1,35}(?<![/ ])")
_NAMESPACE = f"{{urn:iso:std:iso:20022:tech:xsd:{SCHEMA}}}"


@dataclass(frozen=True, slots=True)
class Creditor:
    """Who collects, onto which account; a wrong IBAN or creditor identifier raises Invalid."""

    name: str
    iban: str
    creditor_id: str
    bic: str = ""

    def __post_init__(self) -> None:
        if not is_iban(self.iban):
            raise Invalid("The creditor's IBAN is not valid: compare it with the bank's letter.", code="sepa_iban")
        if not is_creditor_id(self.creditor_id):
            raise Invalid(
                f"{self.creditor_id!r} is not a valid creditor identifier (in Germany DE, 16 more characters, given "
                "by the Bundesbank).",
                code="sepa_creditor_id",
            )


@dataclass(frozen=True, slots=True)
class Mandate:
    """A debtor's authorisation. `last_used_on` is the day its last collection was due, None before the first one.

    `reference` (BT-89) has 1 to 35 characters of the SEPA set. A wrong one or a wrong IBAN raises Invalid.
    """

    reference: str
    signed_on: date
    debtor: str
    iban: str
    bic: str = ""
    last_used_on: date | None = None

    def __post_init__(self) -> None:
        _check_identifier(self.reference, "sepa_mandate_reference")
        if not is_iban(self.iban):
            raise Invalid(f"The IBAN of mandate {self.reference} is not valid.", code="sepa_iban")

    def has_lapsed(self, on: date) -> bool:
        """Say whether 36 months have gone by without a collection, after which a new mandate is needed."""
        return _months_after(self.last_used_on or self.signed_on, LAPSE_MONTHS) <= on


@dataclass(frozen=True, slots=True)
class DirectDebit:
    """One collection, due on a settlement day; `end_to_end_id` comes back in statements, so it must be unique.

    Raises Invalid for an amount out of range, an identifier the scheme refuses or a day on which T2 is closed.
    """

    mandate: Mandate
    amount_cents: int
    collection_on: date
    end_to_end_id: str
    description: str

    def __post_init__(self) -> None:
        _check_identifier(self.end_to_end_id, "sepa_end_to_end_id")
        if not 0 < self.amount_cents <= MAX_AMOUNT_CENTS:
            raise Invalid("A debit is at least 0.01 and at most 999,999,999.99 euro.", code="sepa_amount")
        if next_target_day(self.collection_on) != self.collection_on:
            raise Invalid(f"On {self.collection_on} no bank settles: use collection_day().", code="sepa_collection_day")
        if self.collection_on < self.mandate.signed_on or self.mandate.has_lapsed(self.collection_on):
            raise Invalid(
                f"Mandate {self.mandate.reference} does not cover {self.collection_on}: it was signed on "
                f"{self.mandate.signed_on} and lapses after {LAPSE_MONTHS} months without a collection.",
                code="sepa_mandate",
            )


@dataclass(frozen=True, slots=True)
class DirectDebitFile:
    """The bytes for the bank, with the control sums that its answer will repeat."""

    content: bytes
    message_id: str
    debits: int
    amount_cents: int


def collection_day(due_on: date, *, notified_on: date, submitted_on: date, notice_days: int = NOTICE_DAYS) -> date:
    """Return the first settlement day on which a debit can be due: not before the invoice is.

    The debtor has `notice_days` from the pre-notification, the banks one settlement day from the submission. A
    notice of less than one day raises Invalid.
    """
    if notice_days < 1:
        raise Invalid("A debtor is told of a debit at least one day ahead.", code="sepa_notice")
    possible_on = add_target_days(submitted_on, SUBMISSION_TARGET_DAYS)
    return next_target_day(max(due_on, notified_on + timedelta(days=notice_days), possible_on))


def write_direct_debits(creditor: Creditor, debits: Iterable[DirectDebit], *, now: datetime) -> DirectDebitFile:
    """Return the file, one batch for each sequence type and day; the same debits and `now` give the same bytes.

    The first collection of an unused mandate is FRST, every other RCUR. No debit, an end-to-end id that occurs
    twice, or what the schema refuses raises Invalid.
    """
    ordered = sorted(debits, key=lambda debit: (debit.collection_on, debit.mandate.reference, debit.end_to_end_id))
    if not ordered:
        raise Invalid("There is no debit to write.", code="sepa_empty")
    if len({debit.end_to_end_id for debit in ordered}) != len(ordered):
        raise Invalid("An end-to-end id occurs twice: a return could not be told apart.", code="sepa_end_to_end_id")
    message_id = _message_id(creditor, ordered)
    exported = _export(creditor, ordered)
    document = etree.fromstring(exported, _parser())
    _make_deterministic(document, message_id, now)
    if not (schema := _schema()).validate(document):
        raise Invalid(f"The schema {SCHEMA} refuses the file: {schema.error_log.last_error}", code="sepa_schema")
    content = etree.tostring(document, xml_declaration=True, encoding="UTF-8")
    return DirectDebitFile(content, message_id, len(ordered), sum(debit.amount_cents for debit in ordered))


def _export(creditor: Creditor, debits: Sequence[DirectDebit]) -> bytes:
    config = {
        "name": _name(creditor.name),
        "IBAN": compact(creditor.iban),
        "batch": True,
        "creditor_id": compact(creditor.creditor_id),
        "currency": "EUR",
        **({"BIC": compact(creditor.bic)} if creditor.bic else {}),
    }
    # clean=True would write Muller for Müller; its validation takes two seconds for a thousand debits.
    writer = SepaDD(config, schema=SCHEMA, clean=False)
    begun: set[str] = set()
    for debit in debits:
        mandate = debit.mandate
        writer.add_payment(
            {
                "name": _name(mandate.debtor),
                "IBAN": compact(mandate.iban),
                "amount": debit.amount_cents,
                "type": _sequence_type(mandate, begun),
                "collection_date": debit.collection_on,
                "mandate_id": mandate.reference,
                "mandate_date": mandate.signed_on,
                "description": shorten(to_sepa(debit.description), 140) or debit.end_to_end_id,
                "endtoend_id": debit.end_to_end_id,
                **({"BIC": compact(mandate.bic)} if mandate.bic else {}),
            }
        )
    return bytes(writer.export(validate=False))


def _sequence_type(mandate: Mandate, begun: set[str]) -> SequenceType:
    if mandate.last_used_on is not None or mandate.reference in begun:
        return "RCUR"
    begun.add(mandate.reference)
    return "FRST"


def _message_id(creditor: Creditor, debits: Sequence[DirectDebit]) -> str:
    # From the content, so that a file written again after a crash is the same message: banks refuse it twice.
    facts = [compact(creditor.creditor_id)]
    facts += [
        f"{debit.end_to_end_id}|{debit.amount_cents}|{debit.collection_on}|{debit.mandate.reference}"
        for debit in debits
    ]
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    return f"PFW-{digest[:24]}"


def _make_deterministic(document: etree._Element, message_id: str, now: datetime) -> None:
    """Replace the random ids and the wall clock that the library writes."""
    texts = {f"{_NAMESPACE}MsgId": message_id, f"{_NAMESPACE}CreDtTm": f"{now.astimezone(BERLIN):%Y-%m-%dT%H:%M:%S}"}
    for element in document.iter(*texts):
        element.text = texts[str(element.tag)]
    for count, element in enumerate(document.iter(f"{_NAMESPACE}PmtInfId"), start=1):
        element.text = f"{message_id}-{count}"


@cache
def _schema() -> etree.XMLSchema:
    source = files("sepaxml").joinpath("schemas", f"{SCHEMA}.xsd").read_bytes()
    return etree.XMLSchema(etree.fromstring(source, _parser()))


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True)


def _check_identifier(text: str, code: str) -> None:
    if not _IDENTIFIER.fullmatch(text):
        raise Invalid(
            f"{text!r} is refused by banks: 1 to 35 letters, digits or +?/-:().,' and spaces, no slash at an end and "
            "none doubled.",
            code=code,
        )


def _name(text: str) -> str:
    # A name of signs only would be empty, and the schema refuses the whole file for one debtor.
    return shorten(to_sepa(text), 70) or "NOTPROVIDED"


def _months_after(day: date, months: int) -> date:
    years, month = divmod(day.month - 1 + months, 12)
    for last in (day.day, 30, 29, 28):
        try:
            return date(day.year + years, month + 1, last)
        except ValueError:  # the month is shorter
            continue
    raise AssertionError("every month has 28 days")
