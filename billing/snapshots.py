"""What an invoice copies when it becomes final, as SQL over `invoice` and `reseller`: made once, used by all that
draft, validate and finalise, so that what is numbered is what was validated.
"""

import json
from dataclasses import asdict

from billing.gateways.base import BELOW_MINIMUM, MINIMUM_CENTS
from billing.models import Issuer

PROVISIONAL_SEQUENCE = 0
"""In the place of the number that is not given yet: no real one has it, and none has another form."""

# What is still owed of a payment.
_DUE = """
    payment.amount_cents - (
        select coalesce(sum(entry.amount_cents), 0) from payment_entry entry
        where entry.payment_id = payment.id and entry.reseller_id = payment.reseller_id)
"""
# What is owed before this invoice, which a balance pays first.
_OWED = f"""
    (select coalesce(sum(greatest({_DUE}, 0)), 0) from payment
    where payment.reseller_id = reseller.id and payment.status in ('open', 'failed'))
"""  # noqa: S608 - made of constants only
# What was too little for Stripe, and is charged with the next one (`billing.charges`).
_CARRIED = f"""
    (select sum(due) from (
        select payment.error_code, {_DUE} as due from payment
        where payment.reseller_id = reseller.id and payment.status = 'open' and payment.next_attempt_at is null
            and payment.method in ('card', 'sepa_debit') and not exists (
                select from payment other where other.id = payment.carried_to_id
                    and other.reseller_id = payment.reseller_id and other.status = 'processing')) small
    where due > 0 and (due < {MINIMUM_CENTS} or error_code = '{BELOW_MINIMUM}'))
"""  # noqa: S608 - made of constants only
# Found by the reseller's payments: nothing finds attempts by their method.
_LAST_USED = """
    (select max(cast(attempt.request ->> 'collection_on' as date)) from payment
    join payment_attempt attempt on attempt.payment_id = payment.id and attempt.reseller_id = payment.reseller_id
    where payment.reseller_id = reseller.id and attempt.method_id = method.id and attempt.kind = 'debit'
        and attempt.state in ('processing', 'succeeded'))
"""
# What is asked for of few resellers only is looked up for no others.
_MEANS_SQL = f"""
    (select jsonb_strip_nulls(jsonb_build_object('method', method.kind, 'last4', method.last4,
        'mandate_reference', method.mandate_reference, 'mandate_signed_on', method.mandate_signed_on,
        'mandate_last_used_on', case when method.kind = 'direct_debit' then {_LAST_USED} end,
        'iban', method.iban, 'holder', method.holder,
        'balance_cents', case when balance.cents > 0 then nullif(greatest(balance.cents - {_OWED}, 0), 0) end,
        'carried_cents', case when method.kind in ('card', 'sepa_debit') and balance.cents <= 0 then {_CARRIED} end))
    from (
        select coalesce(sum(amount_cents), 0) as cents from payment_entry
        where payment_entry.reseller_id = reseller.id and payment_entry.payment_id is null
    ) balance
    left join payment_method method on method.reseller_id = reseller.id and method.is_default
        and (method.kind not in ('card', 'sepa_debit') or exists (
            select from payment_customer customer where customer.reseller_id = reseller.id)))
"""  # noqa: S608 - made of constants only

BUYER_SQL = f"""
    jsonb_build_object('id', reseller.id, 'number', reseller.external_id, 'name', reseller.name,
        'street', reseller.street, 'postcode', reseller.postcode, 'city', reseller.city, 'country', reseller.country,
        'vat_id', reseller.vat_id, 'email', reseller.billing_email, 'language', reseller.language,
        'contact_name', reseller.contact_name, 'reference', reseller.buyer_reference,
        'electronic_address', reseller.electronic_address,
        'electronic_address_scheme', reseller.electronic_address_scheme, 'means', {_MEANS_SQL})
"""
"""BG-7, and as `means` how the reseller pays now: its default method where it can be used (`billing.means`)."""

CANCELLED_SQL = """
    select invoice.reseller_id, invoice.id from invoice
    join credit_note on credit_note.invoice_id = invoice.id and credit_note.kind = 'cancellation'
    where invoice.run_id = :run_id and invoice.status = 'final'
        and not exists (select from invoice anew where anew.replaces_id = invoice.id)
"""
"""The cancelled invoices of a run that none has replaced: one for each reseller at most."""


def validated_hash_sql(buyer: str = BUYER_SQL) -> str:
    """SQL for a hash that changes with everything that a draft's document is made of; :seller is `seller_json`.

    `buyer` names what holds BUYER_SQL already.
    """
    # The lines stand in it by the draft's id: they are never edited, so that other lines are another draft.
    made_of = f"cast(to_jsonb(invoice) as text) || cast({buyer} as text) || cast(cast(:seller as jsonb) as text)"
    return f"encode(sha256(convert_to({made_of}, 'UTF8')), 'hex')"


def seller_json(issuer: Issuer) -> str:
    return json.dumps({name: value for name, value in asdict(issuer).items() if name != "logo"})


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
