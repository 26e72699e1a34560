"""A reseller's own invoice to its customer, composed of its statement and both parties' data.

Number and day are the reseller's, who is the issuer and keeps it: nothing of it is stored here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from billing.documents.document import (
    Address,
    Buyer,
    Contact,
    Document,
    DocumentType,
    ElectronicAddress,
    Period,
    Seller,
)
from billing.documents.payment_means import SepaTransfer
from billing.export_models import CustomerBilling, SellerProfile
from billing.money import Language
from billing.periods import BillingMonth
from billing.resale_billing import find_billing, find_logo, find_profile
from billing.resale_documents import line_of
from billing.resale_tax import resale_tax
from billing.statements import Party, Statement, get_statement
from provisioning.core.errors import Conflict

_SELLER_FIELDS: Final = ("name", "street", "postcode", "city")
_PROFILE_FIELDS: Final = ("contact_name", "phone", "email", "iban")
_BUYER_FIELDS: Final = ("street", "postcode", "city", "country", "email")


@dataclass(frozen=True, slots=True)
class ResaleFacts:
    """All that the invoice is made of; parties are None as long as the reseller has told nothing of them."""

    statement: Statement
    profile: SellerProfile | None
    billing: CustomerBilling | None
    number: str
    issued_on: date
    logo: bytes | None = None


async def resale_facts(
    session: AsyncSession,
    reseller_id: str,
    customer_id: str,
    month: BillingMonth,
    *,
    number: str,
    issued_on: date,
    now: datetime,
) -> ResaleFacts:
    """Return what the invoice of a month is made of, with the reseller's own number. Raises as `get_statement` does."""
    statement = await get_statement(session, reseller_id, customer_id, month, now=now)
    profile = await find_profile(session, reseller_id)
    billing = await find_billing(session, reseller_id, customer_id)
    logo = await find_logo(session, reseller_id)
    return ResaleFacts(statement, profile, billing, number, issued_on, logo.content if logo else None)


def compose_resale_invoice(facts: ResaleFacts, language: Language) -> Document:
    """Return the document. Raises Conflict.

    `statement_not_final` as long as the month is not invoiced, `nothing_to_bill` where nothing was served,
    `billing_data_incomplete` with every missing field and how to set it, and where no tax can be told
    `tax_regime_unsupported` or `vat_id_foreign`.
    """
    statement = facts.statement
    if statement.is_estimate:
        raise Conflict(
            f"The days of {statement.month} are final once it is invoiced to you. Ask again then.",
            code="statement_not_final",
        )
    if not statement.lines:
        raise Conflict(f"Nothing was served to {statement.buyer.name} in {statement.month}.", code="nothing_to_bill")
    profile, billing = _complete(facts)
    tax = resale_tax(statement, profile, billing, language)
    period = Period(statement.period.starts_on, statement.period.ends_on)
    return Document(
        type_code=DocumentType.INVOICE,
        number=facts.number,
        issued_on=facts.issued_on,
        due_on=facts.issued_on + timedelta(days=profile.payment_days),
        seller=_seller(statement.seller, profile),
        buyer=_buyer(statement.buyer, billing),
        payment=SepaTransfer(profile.iban, statement.seller.name, profile.bic),
        lines=tuple(line_of(each, period, language, tax) for each in statement.lines),
        period=period,
        language=language,
        logo=facts.logo,
        buyer_reference=billing.buyer_reference or statement.buyer.external_id or statement.buyer.id,
    )


def _complete(facts: ResaleFacts) -> tuple[SellerProfile, CustomerBilling]:
    """Both parties' data, or Conflict with all that is missing at once."""
    missing = list(_missing(facts))
    if missing or facts.profile is None or facts.billing is None:
        named = ", ".join(each["field"] for each in missing)
        raise Conflict(
            f"An invoice in your name needs more: {named}. Each stands in `missing` with the call that sets it.",
            code="billing_data_incomplete",
            missing=missing,
        )
    return facts.profile, facts.billing


def _missing(facts: ResaleFacts) -> Iterator[dict[str, str]]:
    seller = facts.statement.seller
    yield from _named("seller", [each for each in _SELLER_FIELDS if not getattr(seller, each)], _BY_OPERATOR)
    profile = facts.profile
    yield from _named("seller", [each for each in _PROFILE_FIELDS if not getattr(profile, each, None)], _PROFILE)
    if not seller.vat_id and not getattr(profile, "tax_number", None):
        yield from _named("seller", ["tax_number"], _PROFILE)
    lacking = [each for each in _BUYER_FIELDS if not getattr(facts.billing, each, None)]
    yield from _named("buyer", lacking, f"PUT /v1/customers/{facts.statement.buyer.id}/billing")


_BY_OPERATOR: Final = "the operator: PATCH /v1/resellers/{reseller_id}"
_PROFILE: Final = "PUT /v1/seller-profile"


def _named(party: str, fields: list[str], set_by: str) -> Iterator[dict[str, str]]:
    return ({"field": f"{party}.{each}", "set_by": set_by} for each in fields)


def _seller(seller: Party, profile: SellerProfile) -> Seller:
    return Seller(
        name=seller.name,
        address=Address(seller.street, seller.postcode, seller.city, seller.country),
        contact=Contact(profile.contact_name, profile.phone, profile.email),
        electronic_address=ElectronicAddress(profile.email),
        vat_id=seller.vat_id,
        tax_number=profile.tax_number,
        register_number=profile.register_number,
        legal_info=profile.legal_info,
    )


def _buyer(buyer: Party, billing: CustomerBilling) -> Buyer:
    electronic = ElectronicAddress(billing.email)
    if billing.electronic_address:
        electronic = ElectronicAddress(billing.electronic_address, billing.electronic_address_scheme or "EM")
    return Buyer(
        name=buyer.name,
        address=Address(billing.street, billing.postcode, billing.city, billing.country),
        electronic_address=electronic,
        number=buyer.external_id or buyer.id,
        vat_id=billing.vat_id,
        contact_name=billing.contact_name,
    )
