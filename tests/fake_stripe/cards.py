"""The documented test numbers, and what the bank says to each.

Sources: Stripe's testing pages for cards and for SEPA Direct Debit. Outcomes of cards are decline codes, or:
`ok`, `authenticate` (every payment needs the holder), `authenticate_unless_set_up`, `disputed`, `refund_pending`,
`refund_fails`. Outcomes of bank accounts are failure codes, or `ok`, `disputed`; a delay may follow after a colon.
"""

from tests.fake_stripe.errors import Refusal, card_error

CARDS = {
    "4242424242424242": "ok",
    "4000056655665556": "ok",
    "5555555555554444": "ok",
    "4000000000000002": "generic_decline",
    "4000000000009995": "insufficient_funds",
    "4000000000009987": "lost_card",
    "4000000000009979": "stolen_card",
    "4000000000000069": "expired_card",
    "4000000000000127": "incorrect_cvc",
    "4000000000000119": "processing_error",
    # Can be saved, and is declined when it is charged.
    "4000000000000341": "generic_decline",
    "4000002500003155": "authenticate_unless_set_up",
    "4000002760003184": "authenticate",
    "4000003800000446": "ok",
    "4000000000000259": "disputed",
    "4000000000007726": "refund_pending",
    "4000000000005126": "refund_fails",
}
DECLINED_WHEN_CHARGED = "4000000000000341"
DECLINES = {
    "generic_decline": "card_declined",
    "insufficient_funds": "card_declined",
    "lost_card": "card_declined",
    "stolen_card": "card_declined",
    "do_not_honor": "card_declined",
    "fraudulent": "card_declined",
    "expired_card": "expired_card",
    "incorrect_cvc": "incorrect_cvc",
    "processing_error": "processing_error",
}
# Declines after which the networks forbid another try.
FINAL_DECLINES = {"lost_card", "stolen_card", "fraudulent"}
# The payment methods that exist in every test account.
NAMED_CARDS = {
    "pm_card_visa": "4242424242424242",
    "pm_card_mastercard": "5555555555554444",
    "pm_card_chargeCustomerFail": "4000000000000341",
    "pm_card_visa_chargeDeclined": "4000000000000002",
    "pm_card_chargeDeclined": "4000000000000002",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_visa_chargeDeclinedLostCard": "4000000000009987",
    "pm_card_visa_chargeDeclinedStolenCard": "4000000000009979",
    "pm_card_chargeDeclinedExpiredCard": "4000000000000069",
    "pm_card_chargeDeclinedProcessingError": "4000000000000119",
    "pm_card_authenticationRequired": "4000002760003184",
    "pm_card_authenticationRequiredOnSetup": "4000002500003155",
    "pm_card_createDispute": "4000000000000259",
    "pm_card_pendingRefund": "4000000000007726",
    "pm_card_refundFail": "4000000000005126",
}
IBANS = {
    "DE89370400440532013000": "ok",
    "DE08370400440532013003": "ok:180",
    "DE62370400440532013001": "debit_not_authorized",
    "DE78370400440532013004": "debit_not_authorized:180",
    "DE35370400440532013002": "disputed",
    "DE65370400440000343434": "charge_exceeds_source_limit",
    "DE27370400440000121212": "charge_exceeds_weekly_limit",
    "DE65370400440002222227": "insufficient_funds",
}
SEPA_COUNTRIES = frozenset(
    [
        *("AD", "AT", "BE", "BG", "CH", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GB", "GI", "GR", "HR", "HU"),
        *("IE", "IS", "IT", "LI", "LT", "LU", "LV", "MC", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK", "SM"),
        "VA",
    ]
)


def luhn(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    return sum(digits[::2] + [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]) % 10 == 0


def card_outcome(number: str) -> str:
    """What the issuer says to this number; raises the card error of a number that is none."""
    if not number.isdecimal() or not 12 <= len(number) <= 19 or not luhn(number):
        raise card_error("Your card number is incorrect.", code="incorrect_number", param="number")
    if number not in CARDS:
        raise Refusal(
            402,
            "card_error",
            "Only documented test cards can be used.",
            code="card_declined",
            decline_code="test_mode_live_card",
        )
    return CARDS[number]


def declined_when_saved(number: str) -> str | None:
    """The decline code of a card that cannot even be saved."""
    outcome = card_outcome(number)
    return outcome if outcome in DECLINES and number != DECLINED_WHEN_CHARGED else None


def iban_outcome(iban: str) -> str:
    """What the bank behind this account does; an account that is documented nowhere pays."""
    compact = iban.replace(" ", "").upper()
    valid = compact.isalnum() and 15 <= len(compact) <= 34 and compact[:2] in SEPA_COUNTRIES
    rearranged = compact[4:] + compact[:4]
    if not valid or int("".join(str(int(char, 36)) for char in rearranged)) % 97 != 1:
        raise Refusal(
            400,
            "invalid_request_error",
            "The IBAN you entered is invalid.",
            code="invalid_bank_account_iban",
            param="sepa_debit[iban]",
        )
    return IBANS.get(compact, "ok")


def decline(outcome: str) -> dict[str, str]:
    """The fields of the error of a declined card."""
    code = DECLINES[outcome]
    advice = "do_not_try_again" if outcome in FINAL_DECLINES else "try_again_later"
    fields = {"code": code, "decline_code": outcome, "advice_code": advice}
    return fields | {"message": MESSAGES.get(outcome, "Your card was declined.")}


MESSAGES = {
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "insufficient_funds": "Your card has insufficient funds.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
}
