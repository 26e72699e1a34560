"""Customers and the account itself."""

from typing import Any

from tests.fake_stripe.events import change, emit
from tests.fake_stripe.world import Object, World, get, keep, merged_metadata, new_id

ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
CUSTOMER_PARAMS = ("address", "description", "email", "metadata", "name", "phone", "preferred_locales", "tax_exempt")


def create(world: World, params: dict[str, Any]) -> Object:
    customer = keep(
        world,
        {
            "id": new_id(world, "cus"),
            "object": "customer",
            "address": None,
            "balance": 0,
            "created": world.now,
            "currency": None,
            "default_source": None,
            "delinquent": False,
            "description": None,
            "discount": None,
            "email": None,
            "invoice_prefix": "".join(world.random.choices("ABCDEFGHJKLMNPQRSTUVWXYZ", k=8)),
            "invoice_settings": {
                "custom_fields": None,
                "default_payment_method": None,
                "footer": None,
                "rendering_options": None,
            },
            "livemode": False,
            "metadata": {},
            "name": None,
            "next_invoice_sequence": 1,
            "phone": None,
            "preferred_locales": [],
            "shipping": None,
            "tax_exempt": "none",
            "test_clock": None,
        },
    )
    customer.update(wanted(customer, params))
    emit(world, "customer.created", customer)
    return customer


def wanted(customer: Object, params: dict[str, Any]) -> dict[str, Any]:
    """The fields as they shall be; an empty string unsets one."""
    fields: dict[str, Any] = {
        name: value if value != "" else None for name, value in params.items() if name in CUSTOMER_PARAMS
    }
    if "metadata" in params:
        fields["metadata"] = merged_metadata(customer["metadata"], params["metadata"])
    if fields.get("address"):
        fields["address"] = full_address(fields["address"])
    if "tax_exempt" in fields:
        fields["tax_exempt"] = fields["tax_exempt"] or "none"
    return fields


def full_address(address: dict[str, str]) -> dict[str, str | None]:
    return {name: address.get(name) or None for name in ADDRESS}


def retrieve(world: World, _: dict[str, Any], identifier: str) -> Object:
    return get(world, "customer", identifier)


def update(world: World, params: dict[str, Any], identifier: str) -> Object:
    customer = get(world, "customer", identifier)
    previous = change(customer, **wanted(customer, params))
    if previous:
        emit(world, "customer.updated", customer, previous=previous)
    return customer


def account(world: World, _: dict[str, Any]) -> Object:
    return {
        "id": "acct_1FakeStripe0000",
        "object": "account",
        "business_type": "company",
        "capabilities": {"card_payments": "active", "sepa_debit_payments": "active"},
        "charges_enabled": True,
        "country": "DE",
        "created": min(world.now, 1_700_000_000),
        "default_currency": "eur",
        "details_submitted": True,
        "email": "billing@example.test",
        "metadata": {},
        "payouts_enabled": True,
        "type": "standard",
    }
