"""What others call: Stripe's events, signed, stored and answered at once; a worker looks at them."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.context import Context
from api.openapi import refusals
from api.routing import Route
from billing.gateways.base import ForgedWebhook
from billing.inbox import store_events
from provisioning.core.errors import Forbidden, Invalid, NotFound

router = APIRouter(prefix="/v1/webhooks", tags=["service"], route_class=Route)

# The largest of Stripe's events are some tens of kilobytes.
BODY_BYTES_MAX = 512 * 1024


@router.post(
    "/stripe",
    operation_id="receiveStripeEvent",
    summary="Take an event of Stripe",
    status_code=204,
    response_class=Response,
    responses={
        **refusals("forged_webhook", status=403),
        **refusals("not_found", status=404),
        **refusals("unavailable", status=503),
    },
)
async def receive(request: Request) -> Response:
    """Needs no key but Stripe's signature. Only its id and object are kept; the object is fetched again."""
    context: Context = request.app.state.context
    if context.gateway is None:
        raise NotFound("No payment provider is configured here.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise Invalid(f"An event has {BODY_BYTES_MAX} bytes at most.")
    now = context.clock.now()
    try:
        event = context.gateway.read_webhook(bytes(body), request.headers.get("stripe-signature"), now=now)
    except ForgedWebhook as error:
        raise Forbidden(str(error), code="forged_webhook") from error
    async with context.database.as_system() as session:
        await store_events(session, [event], now=now)
    return Response(status_code=204)
