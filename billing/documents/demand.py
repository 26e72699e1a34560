"""What a document asks for: who moves how much money by what means and when, in words that XML, PDF and page share."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from billing.documents.document import Document
from billing.documents.payment_means import Card, NonSepaTransfer, OnlineDebit, Payment, SepaDirectDebit, SepaTransfer
from billing.documents.texts import format_day, grouped_iban, text
from billing.iban import creditor_reference
from billing.money import Language, format_eur

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Demand:
    """`payable_cents` is BT-115; of a correction, and below nothing, it is what we give back."""

    payment: Payment
    payable_cents: int
    number: str
    due_on: date | None
    language: Language
    is_correction: bool = False
    is_draft: bool = False

    @property
    def moves_money(self) -> bool:
        """Whether the buyer is to pay anything."""
        return not (self.is_correction or self.is_draft) and self.payable_cents > 0


def demand_of(document: Document) -> Demand:
    return Demand(
        document.payment,
        document.totals.payable_cents,
        document.number,
        document.due_on,
        document.language,
        is_correction=document.is_correction,
        is_draft=document.is_draft,
    )


def day_of(demand: Demand) -> Pair | None:
    """Return the day on which money moves, with what it is called."""
    if not demand.moves_money:
        return None
    language, payment = demand.language, demand.payment
    if isinstance(payment, SepaDirectDebit | OnlineDebit) and payment.collected_on:
        return text("collected_on", language), format_day(payment.collected_on, language)
    if demand.due_on is None:
        return None
    label = "due" if isinstance(payment, SepaTransfer | NonSepaTransfer) else "due_on"
    return text(label, language), format_day(demand.due_on, language)


def sentence_of(demand: Demand) -> str:
    language = demand.language
    amount = format_eur(abs(demand.payable_cents), language)
    if demand.is_draft or demand.payable_cents == 0:
        return text("draft_unpayable" if demand.is_draft else "nothing_to_pay", language)
    if not demand.moves_money:
        return text("refund", language, amount=amount)
    match demand.payment:
        case SepaDirectDebit(collected_on=day):
            return text("debit", language, amount=amount, day=format_day(day, language))
        case Card() | OnlineDebit():
            return _charge(demand.payment, demand.payable_cents, language)
        case SepaTransfer() | NonSepaTransfer():
            if demand.due_on is None:
                return text("pay_without_day", language, amount=amount)
            return text("pay_by", language, amount=amount, day=format_day(demand.due_on, language))


def _charge(payment: Card | OnlineDebit, payable_cents: int, language: Language) -> str:
    if payment.is_deferred:
        return text("deferred", language, amount=format_eur(payable_cents, language))
    said = [_charger(payment, format_eur(payable_cents + payment.carried_cents, language), language)]
    if payment.carried_cents:
        said.append(text("carried", language, amount=format_eur(payment.carried_cents, language)))
    return " ".join((*said, text("no_transfer", language)))


def _charger(payment: Card | OnlineDebit, amount: str, language: Language) -> str:
    if isinstance(payment, Card):
        brand = f"{payment.brand} " if payment.brand else ""
        return text("card", language, amount=amount, brand=brand, last4=payment.last4)
    name, day = "online", ""
    if payment.last4 and payment.collected_on:
        name, day = "online_debit", format_day(payment.collected_on, language)
    elif payment.last4:
        name = "online_debit_soon"
    return text(name, language, amount=amount, service=payment.service, last4=payment.last4 or "", day=day)


def particulars_of(demand: Demand) -> Iterator[Pair]:
    """What to look for on the statement, or to fill in; nothing where no money moves."""
    if demand.moves_money:
        yield from _particulars(demand.payment, demand.number, demand.language)


def _particulars(payment: Payment, number: str, language: Language) -> Iterator[Pair]:
    match payment:
        case SepaDirectDebit():
            yield text("mandate", language), payment.mandate
            yield text("creditor_id", language), payment.creditor_id
            yield text("debtor_iban", language), grouped_iban(payment.debtor_iban)
        case OnlineDebit(mandate=str() as mandate):
            yield text("mandate", language), mandate
        case Card(holder=str() as holder):
            yield text("card_holder", language), holder
        case SepaTransfer():
            yield text("holder", language), payment.account_name
            yield "IBAN", grouped_iban(payment.iban)
        case NonSepaTransfer():
            yield text("holder", language), payment.account_name
            yield text("bank", language), payment.account
    if isinstance(payment, SepaTransfer | NonSepaTransfer):
        if payment.bic:
            yield "BIC", payment.bic
        yield text("reference", language), grouped_iban(creditor_reference(number))


def note_of(demand: Demand) -> str | None:
    """Return what BT-20 says of a payment that we collect, and that BG-18 and BG-19 have no place for."""
    if not demand.moves_money or isinstance(demand.payment, SepaTransfer | NonSepaTransfer):
        return None
    found = [sentence_of(demand)]
    if isinstance(demand.payment, OnlineDebit):
        found += [f"{label}: {value}." for label, value in particulars_of(demand)]
    return " ".join(found)
