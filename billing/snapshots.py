"""What an invoice copies when it becomes final, as SQL over `invoice` and `reseller`: made once, used by all that
draft, validate and finalise, so that what is numbered is what was validated.
"""

import json
from dataclasses import asdict

from billing.models import Issuer

PROVISIONAL_SEQUENCE = 0
"""In the place of the number that is not given yet: no real one has it, and none has another form."""

BUYER_SQL = """
    jsonb_build_object('id', reseller.id, 'number', reseller.external_id, 'name', reseller.name,
        'street', reseller.street, 'postcode', reseller.postcode, 'city', reseller.city, 'country', reseller.country,
        'vat_id', reseller.vat_id, 'email', reseller.billing_email, 'language', reseller.language,
        'contact_name', reseller.contact_name, 'reference', reseller.buyer_reference,
        'electronic_address', reseller.electronic_address,
        'electronic_address_scheme', reseller.electronic_address_scheme)
"""

# The lines stand in it by the draft's id: they are never edited, so that other lines are another draft.
VALIDATED_HASH_SQL = f"""
    encode(sha256(convert_to(
        cast(to_jsonb(invoice) as text) || cast({BUYER_SQL} as text) || cast(cast(:seller as jsonb) as text),
    'UTF8')), 'hex')
"""
"""Changes with everything that a draft's document is made of; the parameter is `seller_json`."""

CANCELLED_SQL = """
    select invoice.reseller_id, invoice.id from invoice
    join credit_note on credit_note.invoice_id = invoice.id and credit_note.kind = 'cancellation'
    where invoice.run_id = :run_id and invoice.status = 'final'
        and not exists (select from invoice anew where anew.replaces_id = invoice.id)
"""
"""The cancelled invoices of a run that none has replaced: one for each reseller at most."""


def seller_json(issuer: Issuer) -> str:
    return json.dumps(asdict(issuer))


def number_sql(sequence: str) -> str:
    """SQL for the number as printed; parameters are :series and :year."""
    digits = f"cast({sequence} as text)"
    return (
        "format('%s-%s-%s', cast(:series as text), cast(:year as integer), "
        f"lpad({digits}, greatest(6, length({digits})), '0'))"
    )


def number_of(series: str, year: int, sequence: int) -> str:
    """Return the number as printed, such as PF-2026-000042."""
    return f"{series}-{year}-{sequence:06d}"
