"""The Girocode (EPC069-12, version 2) that fills in a transfer."""

import io
from typing import Final

import segno

from billing.documents.document import Document
from billing.documents.payment_means import SepaTransfer
from billing.iban import creditor_reference

NAME_LENGTH_MAX: Final = 70
PAYLOAD_BYTES_MAX: Final = 331
# The standard ends at 999,999,999.99.
AMOUNT_CENTS_MAX: Final = 99_999_999_999
QR_VERSION_MAX: Final = 13


def girocode_payload(*, name: str, iban: str, amount_cents: int, reference: str, bic: str | None = None) -> str:
    """Return the twelve lines of the code without the empty ones at its end.

    A longer name is cut to 70 characters, which the standard allows. An amount outside 0.01 to 999,999,999.99 raises
    ValueError.
    """
    if not 1 <= amount_cents <= AMOUNT_CENTS_MAX:
        raise ValueError(f"a Girocode carries 1 to {AMOUNT_CENTS_MAX} cents, not {amount_cents}")
    holder = " ".join(name.split())[:NAME_LENGTH_MAX].rstrip()
    amount = f"EUR{amount_cents // 100}.{amount_cents % 100:02d}"
    fields = ("BCD", "002", "1", "SCT", bic or "", holder, iban.replace(" ", ""), amount, "", reference, "", "")
    # Character set 1 is UTF-8; the last fields, text and information, stay empty beside a structured reference.
    payload = "\n".join(fields).rstrip("\n")
    if len(payload.encode()) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"a Girocode holds {PAYLOAD_BYTES_MAX} bytes; shorten the account's name")
    return payload


def girocode_of(document: Document) -> str | None:
    """Return the payload that pays a document; None where nothing, or too much, is to be transferred within SEPA."""
    payable = document.totals.payable_cents
    if document.is_correction or not isinstance(document.payment, SepaTransfer):
        return None
    if not 1 <= payable <= AMOUNT_CENTS_MAX:
        return None
    return girocode_payload(
        name=document.payment.account_name,
        iban=document.payment.iban,
        bic=document.payment.bic,
        amount_cents=payable,
        reference=creditor_reference(document.number),
    )


def qr_svg(payload: str) -> str:
    """Return the code as an SVG element without fixed size; error correction M, as the standard wants."""
    code = make_qr(payload)
    out = io.BytesIO()
    code.save(out, kind="svg", xmldecl=False, svgns=True, border=2, omitsize=True)
    return out.getvalue().decode()


def make_qr(payload: str) -> segno.QRCode:
    """Return the symbol. Raises segno.DataOverflowError beyond version 13, which the standard ends at."""
    code = segno.make_qr(payload, error="m", boost_error=False, mode="byte", encoding="utf-8")
    if int(code.version) > QR_VERSION_MAX:
        raise segno.DataOverflowError(f"a Girocode ends at version {QR_VERSION_MAX}, not {code.version}")
    return code
