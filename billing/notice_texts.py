"""What a notice about an unpaid invoice says, in German and in English (pure)."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from billing.money import Language, format_eur

LANGUAGES: tuple[Language, ...] = ("de", "en")
GERMAN_SPEAKING = frozenset({"AT", "CH", "DE", "LI", "LU"})


class NoticeKind(StrEnum):
    """The steps of dunning that are told, and that all is well again."""

    REMINDER = "reminder"
    FIRST_DUNNING = "first_dunning"
    SECOND_DUNNING = "second_dunning"
    SUSPENSION = "suspension"
    RESUMPTION = "resumption"


@dataclass(frozen=True, slots=True)
class Owed:
    """One invoice that is not paid, and the step that is told.

    `fees_cents` is all that was added to it, `fee_cents` what this step adds. `pay_by_on` is the day before the next
    step, `suspends_on` the first day on which service may be suspended, None where the policy has no such step.
    """

    kind: NoticeKind
    number: str
    issued_on: date
    due_on: date
    amount_cents: int
    owed_cents: int
    fees_cents: int
    fee_cents: int
    pay_by_on: date
    suspends_on: date | None


@dataclass(frozen=True, slots=True)
class Payee:
    """Whom to pay, where to, and whom to ask."""

    name: str
    iban: str
    bic: str
    email: str


@dataclass(frozen=True, slots=True)
class Text:
    subject: str
    body: str


_SUBJECTS: dict[Language, dict[NoticeKind, str]] = {
    "de": {
        NoticeKind.REMINDER: "Zahlungserinnerung zur Rechnung {number}",
        NoticeKind.FIRST_DUNNING: "1. Mahnung zur Rechnung {number}",
        NoticeKind.SECOND_DUNNING: "2. Mahnung zur Rechnung {number}",
        NoticeKind.SUSPENSION: "Gesperrt: Rechnung {number} ist nicht bezahlt",
        NoticeKind.RESUMPTION: "Anmeldung und Versand sind wieder frei",
    },
    "en": {
        NoticeKind.REMINDER: "Payment reminder for invoice {number}",
        NoticeKind.FIRST_DUNNING: "First dunning notice for invoice {number}",
        NoticeKind.SECOND_DUNNING: "Second dunning notice for invoice {number}",
        NoticeKind.SUSPENSION: "Suspended: invoice {number} is unpaid",
        NoticeKind.RESUMPTION: "Login and sending work again",
    },
}

# None speaks of an earlier letter: the policy may have no such step.
_OPENINGS: dict[Language, dict[NoticeKind, str]] = {
    "de": {
        NoticeKind.REMINDER: "vielleicht ist es im Alltag untergegangen: unsere Rechnung {number} vom {issued} über "
        "{amount} war am {due} fällig und ist noch nicht ganz bezahlt. Bitte holen Sie das bis zum {pay_by} nach.",
        NoticeKind.FIRST_DUNNING: "unsere Rechnung {number} vom {issued} über {amount} war am {due} fällig. Eine "
        "vollständige Zahlung haben wir bis heute nicht erhalten. Bitte zahlen Sie bis zum {pay_by}.",
        NoticeKind.SECOND_DUNNING: "unsere Rechnung {number} vom {issued} über {amount} war am {due} fällig und ist "
        "noch immer nicht vollständig bezahlt. Wir fordern Sie auf, bis zum {pay_by} zu zahlen.",
        NoticeKind.SUSPENSION: "unsere Rechnung {number} vom {issued} über {amount} war am {due} fällig und ist bis "
        "heute nicht bezahlt. Deshalb sind Anmeldung und Versand in Ihren Postfächern und denen Ihrer Kunden ab "
        "sofort gesperrt. Eingehende Nachrichten werden weiter zugestellt, und nichts wird gelöscht. Sobald Ihre "
        "Zahlung eingegangen ist, wird die Sperre von selbst aufgehoben.",
    },
    "en": {
        NoticeKind.REMINDER: "this may have slipped your mind: our invoice {number} of {issued} over {amount} was due "
        "on {due} and has not been paid in full. Please make up for it by {pay_by}.",
        NoticeKind.FIRST_DUNNING: "our invoice {number} of {issued} over {amount} was due on {due}. We have not "
        "received full payment to this day. Please pay by {pay_by}.",
        NoticeKind.SECOND_DUNNING: "our invoice {number} of {issued} over {amount} was due on {due} and has still not "
        "been paid in full. We request payment by {pay_by}.",
        NoticeKind.SUSPENSION: "our invoice {number} of {issued} over {amount} was due on {due} and has not been paid "
        "to this day. Login and sending are therefore suspended from now on in your mailboxes and those of your "
        "customers. Incoming mail is delivered as before, and nothing is deleted. The suspension ends by itself once "
        "your payment has arrived.",
    },
}

_WARNINGS: dict[Language, str] = {
    "de": "Geht bis dahin keine Zahlung ein, können wir ab dem {suspends} Anmeldung und Versand in Ihren Postfächern "
    "und denen Ihrer Kunden sperren. Eingehende Nachrichten würden weiter zugestellt.",
    "en": "If no payment arrives by then, we may suspend login and sending in your mailboxes and those of your "
    "customers from {suspends} on. Incoming mail would still be delivered.",
}
_FEES: dict[Language, str] = {
    "de": "Für diese Mahnung berechnen wir {fee} als Verzugsschaden. Er ist Schadensersatz, unterliegt nicht der "
    "Umsatzsteuer und steht deshalb auf keiner Rechnung.",
    "en": "For this notice we charge {fee} as damages for late payment. Damages are not subject to VAT and therefore "
    "stand on no invoice.",
}
_SUMS: dict[Language, tuple[str, str, str]] = {
    "de": ("Offen aus der Rechnung", "Mahnkosten und Gebühren", "Zu zahlen"),
    "en": ("Owed on the invoice", "Dunning costs and fees", "To be paid"),
}
_ACCOUNT: dict[Language, str] = {
    "de": "Empfänger: {name}\nIBAN: {iban}\nBIC: {bic}\nVerwendungszweck: {number}",
    "en": "Payee: {name}\nIBAN: {iban}\nBIC: {bic}\nReference: {number}",
}
_CLOSINGS: dict[Language, str] = {
    "de": "Haben Sie schon gezahlt, betrachten Sie dieses Schreiben bitte als gegenstandslos. Fragen beantworten wir "
    "unter {email}.\n\nMit freundlichen Grüßen\n{name}",
    "en": "If you have paid already, please disregard this letter. Questions are answered at {email}.\n\n"
    "Kind regards\n{name}",
}
_GREETINGS: dict[Language, str] = {"de": "Guten Tag,", "en": "Good day,"}
_THANKS: dict[Language, str] = {
    "de": "vielen Dank: die Zahlung ist bei uns eingegangen oder der Rückstand anders geklärt. Anmeldung und Versand "
    "sind wieder frei. Postfächer, die Sie selbst gesperrt haben, bleiben es.\n\nMit freundlichen Grüßen\n{name}",
    "en": "thank you: payment has arrived, or the arrears have been settled otherwise. Login and sending work again. "
    "Mailboxes that you have suspended yourself stay so.\n\nKind regards\n{name}",
}

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def language_for(country: str) -> Language:
    """What a business of this country (ISO 3166-1 alpha-2) is written to in."""
    return "de" if country in GERMAN_SPEAKING else "en"


def dunning_text(language: Language, owed: Owed, payee: Payee) -> Text:
    """The notice of a step. Raises KeyError for `resumption`, which is about no invoice."""
    values = {
        "number": owed.number,
        "issued": _day(owed.issued_on, language),
        "due": _day(owed.due_on, language),
        "amount": format_eur(owed.amount_cents, language),
        "fee": format_eur(owed.fee_cents, language),
        "pay_by": _day(owed.pay_by_on, language),
        "suspends": _day(owed.suspends_on or owed.pay_by_on, language),
        "name": payee.name,
        "iban": " ".join(payee.iban[place : place + 4] for place in range(0, len(payee.iban), 4)),
        "bic": payee.bic,
        "email": payee.email,
    }
    paragraphs = [_GREETINGS[language], _OPENINGS[language][owed.kind].format_map(values)]
    if owed.fee_cents:
        paragraphs.append(_FEES[language].format_map(values))
    if owed.kind is NoticeKind.SECOND_DUNNING and owed.suspends_on is not None:
        paragraphs.append(_WARNINGS[language].format_map(values))
    paragraphs += [_sums(owed, language), _ACCOUNT[language].format_map(values), _CLOSINGS[language].format_map(values)]
    return Text(_SUBJECTS[language][owed.kind].format_map(values), "\n\n".join(paragraphs) + "\n")


def resumption_text(language: Language, payee: Payee) -> Text:
    body = "\n\n".join([_GREETINGS[language], _THANKS[language].format(name=payee.name)])
    return Text(_SUBJECTS[language][NoticeKind.RESUMPTION], body + "\n")


def _sums(owed: Owed, language: Language) -> str:
    names = _SUMS[language]
    if not owed.fees_cents:
        return f"{names[2]}: {format_eur(owed.owed_cents, language)}"
    cents = (owed.owed_cents, owed.fees_cents, owed.owed_cents + owed.fees_cents)
    return "\n".join(f"{name}: {format_eur(each, language)}" for name, each in zip(names, cents, strict=True))


def _day(on: date, language: Language) -> str:
    return f"{on:%d.%m.%Y}" if language == "de" else f"{on.day} {_MONTHS[on.month - 1]} {on.year}"
