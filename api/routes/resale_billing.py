"""The data that your own invoices to your customers need: yours as seller, and each customer's as buyer."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call, Requires
from api.routes.resellers import (
    AddressScheme,
    BuyerReference,
    Contact,
    Country,
    ElectronicAddress,
    Email,
    Line,
    Postcode,
    VatId,
)
from api.routing import Route
from billing import resale_billing
from billing.export_models import CustomerBilling, SellerProfile
from provisioning.core.errors import NotFound
from provisioning.core.ids import ID_PATTERN
from provisioning.tenants import get_customer

router = APIRouter(prefix="/v1", tags=["billing"], route_class=Route)

Read = Annotated[Call, Depends(Requires("billing:read"), scope="function")]
Write = Annotated[Call, Depends(Requires("resale_prices:write"), scope="function")]
ReadCustomer = Annotated[Call, Depends(Requires("customers:read"), scope="function")]
WriteCustomer = Annotated[Call, Depends(Requires("customers:write"), scope="function")]
CustomerId = Annotated[str, Path(pattern=f"^cus_{ID_PATTERN}$", description="cus_…")]

_PROFILE: dict[str, Any] = {
    "contact_name": "Buchhaltung",
    "phone": "+49 5321 123450",
    "email": "rechnung@it-haus.example",
    "iban": "DE02120300000000202051",
    "bic": "BYLADEM1001",
    "tax_number": "21/123/45678",
    "register_number": "HRB 204711",
    "legal_info": "Amtsgericht Braunschweig, HRB 204711",
    "is_small_business": False,
    "payment_days": 14,
}
_BILLING: dict[str, Any] = {
    "street": "Lindenhof 3",
    "postcode": "38100",
    "city": "Braunschweig",
    "country": "DE",
    "email": "buchhaltung@kanzlei-lindenhof.example",
    "vat_id": None,
    "contact_name": "Frau Krüger",
    "buyer_reference": None,
    "electronic_address": None,
    "electronic_address_scheme": None,
}


class NewSellerProfile(BaseModel):
    """Name, address and VAT id are those of your account. One of VAT id and tax number must be known."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_PROFILE]})

    contact_name: Line = Field(description="Whom customers ask about an invoice (BT-41).")
    phone: str = Field(min_length=1, max_length=64, pattern="[0-9].*[0-9].*[0-9]", description="BT-42.")
    email: Email
    iban: str = Field(min_length=15, max_length=42, description="Where customers pay.")
    bic: str | None = Field(None, pattern="^[A-Z]{6}[A-Z0-9]{2}([A-Z0-9]{3})?$")
    tax_number: str | None = Field(None, min_length=1, max_length=64, description="Steuernummer (BT-32).")
    register_number: str | None = Field(None, min_length=1, max_length=64, description="BT-30.")
    legal_info: str | None = Field(None, min_length=1, max_length=1024, description="BT-33, such as § 35a GmbHG wants.")
    is_small_business: bool = Field(False, description="You charge no VAT (§ 19 UStG).")
    payment_days: Annotated[int, Field(ge=0, le=365, strict=True)] = 14


class SellerProfileView(NewSellerProfile):
    model_config = ConfigDict(
        from_attributes=True, json_schema_extra={"examples": [{**_PROFILE, "version": 1}]}, extra="ignore"
    )

    version: int = Field(description="Counts the changes; it is the ETag.")


class NewCustomerBilling(BaseModel):
    """Where a customer's invoices go; its name is that of the customer."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_BILLING]})

    street: Line
    postcode: Postcode
    city: Line
    country: Country = "DE"
    email: Email
    vat_id: VatId | None = None
    contact_name: Contact | None = None
    buyer_reference: BuyerReference | None = None
    electronic_address: ElectronicAddress | None = None
    electronic_address_scheme: AddressScheme | None = None


class CustomerBillingView(NewCustomerBilling):
    model_config = ConfigDict(
        from_attributes=True, json_schema_extra={"examples": [{**_BILLING, "version": 1}]}, extra="ignore"
    )

    version: int = Field(description="Counts the changes; it is the ETag.")


@router.get(
    "/seller-profile",
    operation_id="getSellerProfile",
    summary="What your own invoices say of you",
    response_model=SellerProfileView,
)
async def read_profile(call: Read) -> Response:
    """404 until it is set."""
    profile = await resale_billing.find_profile(call.session, call.reseller_id)
    if profile is None:
        raise NotFound("There is no seller profile yet. Set it: PUT /v1/seller-profile.")
    return await call.answer(SellerProfileView.model_validate(profile), version=profile.version)


@router.put(
    "/seller-profile",
    operation_id="putSellerProfile",
    summary="Set what your own invoices say of you",
    response_model=SellerProfileView,
)
async def put_profile(new: NewSellerProfile, call: Write) -> Response:
    """For the invoices to your customers that are made in your name. What is left out is taken away."""
    iban = resale_billing.check_account(new.iban)
    stands = await resale_billing.find_profile(call.session, call.reseller_id, lock=True)
    call.check_if_match(0 if stands is None else stands.version)
    wanted = SellerProfile(reseller_id=call.reseller_id, **{**new.model_dump(), "iban": iban})
    profile, changed = await resale_billing.put_profile(call.session, wanted)
    if changed:
        await call.record("seller_profile.put", [call.reseller_id], **new.model_dump(mode="json", exclude={"iban"}))
    return await call.answer(SellerProfileView.model_validate(profile), version=profile.version)


@router.get(
    "/customers/{customer_id}/billing",
    operation_id="getCustomerBilling",
    summary="Where a customer's invoices go",
    response_model=CustomerBillingView,
)
async def read_billing(customer_id: CustomerId, call: ReadCustomer) -> Response:
    """404 until it is set."""
    billing = await resale_billing.find_billing(call.session, call.reseller_id, customer_id)
    if billing is None:
        raise NotFound(
            f"There is no such customer, or nothing to bill it with: PUT /v1/customers/{customer_id}/billing."
        )
    return await call.answer(CustomerBillingView.model_validate(billing), version=billing.version)


@router.put(
    "/customers/{customer_id}/billing",
    operation_id="putCustomerBilling",
    summary="Set where a customer's invoices go",
    response_model=CustomerBillingView,
)
async def put_billing(customer_id: CustomerId, new: NewCustomerBilling, call: WriteCustomer) -> Response:
    """For the invoices that are made in your name. What is left out is taken away."""
    await get_customer(call.session, call.reseller_id, customer_id, lock=True)
    stands = await resale_billing.find_billing(call.session, call.reseller_id, customer_id, lock=True)
    call.check_if_match(0 if stands is None else stands.version)
    wanted = CustomerBilling(customer_id=customer_id, reseller_id=call.reseller_id, **new.model_dump())
    billing, changed = await resale_billing.put_billing(call.session, wanted)
    if changed:
        await call.record("customer.billing", [customer_id], **new.model_dump(mode="json"))
    return await call.answer(CustomerBillingView.model_validate(billing), version=billing.version)
