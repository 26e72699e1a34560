"""The link under which a reseller enters a card or an account at Stripe; the number itself never comes here."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.auth import ActingForDep, BearerDep
from api.context import Context
from api.deps import Call, Requires
from api.openapi import refusals
from api.routing import Route
from billing import methods
from billing.gateways.base import GatewayError, TryAgain
from provisioning.core.errors import Conflict, Unavailable
from provisioning.core.ids import new_id
from provisioning.tenants import get_reseller

router = APIRouter(prefix="/v1", tags=["billing"], route_class=Route)

WRITE = Requires("payments:write")
Write = Annotated[Call, Depends(WRITE, scope="function")]


class SetupLinkView(BaseModel):
    """A page at Stripe where a card or an account is entered and the mandate given."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://checkout.stripe.com/c/pay/cs_test_a1b2c3"}]}
    )

    url: str | None = Field(description="Shown once: null when this answer is replayed or only tried out.")


@dataclass(frozen=True, slots=True)
class Link:
    customer_id: str
    url: str


async def linked(request: Request, _credentials: Annotated[Any, BearerDep], acting_for: ActingForDep = None) -> Link:
    """Customer and page at Stripe, made before the call's own transaction opens. A page nobody opens expires."""
    context: Context = request.app.state.context
    async with WRITE.before(request, acting_for) as (session, reseller_id):
        reseller = await get_reseller(session, reseller_id)
        customer_id = await methods.find_customer_id(session, reseller_id)
    if context.gateway is None:
        raise Conflict("Cards and accounts are not taken here: pay by transfer.", code="gateway_not_configured")
    if request.query_params.get("dry_run") == "true":
        return Link(customer_id or "", "")
    try:
        customer_id = customer_id or await context.gateway.create_customer(
            name=reseller.name, email=reseller.billing_email, reseller_id=reseller_id
        )
        return_url = context.policy.return_url
        url = await context.gateway.create_setup_link(customer_id, return_url=return_url, key=new_id("set"))
    except TryAgain as error:
        raise Unavailable("Stripe does not answer; nothing was changed. Try again.") from error
    except GatewayError as error:
        raise Conflict(f"Stripe refuses this: {error}", code="gateway_refused") from error
    return Link(customer_id, url)


@router.post(
    "/payment-setup-links",
    operation_id="createSetupLink",
    summary="Make a link to enter a card or an account",
    status_code=201,
    response_model=SetupLinkView,
    responses=refusals("gateway_not_configured", "gateway_refused"),
)
async def create_link(link: Annotated[Link, Depends(linked)], call: Write) -> Response:
    """Open it in a browser. The method appears here once Stripe has confirmed it, and becomes the default."""
    await methods.keep_customer(call.session, call.reseller_id, link.customer_id, now=call.now)
    await call.record("payment_method.setup_link", [call.reseller_id])
    return await call.answer(SetupLinkView(url=None), status=201, once=SetupLinkView(url=link.url))
