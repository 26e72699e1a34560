"""Ordering: one mailbox, or up to 500 in one call."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.costs import cost_of_orders
from api.deps import Call, Requires
from api.openapi import refusals
from api.routing import Route
from api.views import CLASS_CODES, PLACEMENT_CODES, MailboxView, shown
from provisioning.core.errors import AppError
from provisioning.orders import ORDERS_MAX, MailboxOrder, Ordered, OrdersRefused, order_mailboxes
from provisioning.terms import MailboxState

router = APIRouter(prefix="/v1", tags=["mailboxes"], route_class=Route)

OrderCall = Annotated[Call, Depends(Requires("mailboxes:write", keeps_rules=True), scope="function")]

ORDER_CODES = (
    *PLACEMENT_CODES,
    *CLASS_CODES,
    "address_taken",
    "class_does_not_support_add_on",
    "domain_not_verified",
    "domain_of_other_customer",
    "external_id_taken",
    "limit_exceeded",
    "unknown_domain",
)


class BatchOrder(BaseModel):
    """Up to 500 orders, all or nothing."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "orders": [
                        {
                            "address": "info@kanzlei-lindenhof.example",
                            "display_name": "Kanzlei Lindenhof",
                            "kind": "shared",
                            "service_class": "exchange",
                        },
                        {
                            "address": "jan.vogt@kanzlei-lindenhof.example",
                            "display_name": "Jan Vogt",
                            "service_class": "imap",
                        },
                    ]
                }
            ]
        },
    )

    orders: list[MailboxOrder] = Field(min_length=1, max_length=ORDERS_MAX)


class Verdict(BaseModel):
    """What became of one line."""

    index: int
    mailbox: MailboxView
    operation_id: str


class BatchView(BaseModel):
    verdicts: list[Verdict]


def _new_view(ordered: Ordered, now: datetime) -> MailboxView:
    fresh: Mapping[str, Any] = {
        "placed_in": None,
        "state": MailboxState.PROVISIONING,
        "reason": None,
        "drift": [],
        "service_suspended": False,
        "password_version": 0,
        "version": 1,
        "created_at": now,
        "purge_at": None,
    }
    return MailboxView.model_validate({**ordered.mailbox, **fresh})


@router.post(
    "/mailboxes",
    operation_id="orderMailbox",
    summary="Order a mailbox",
    status_code=202,
    response_model=MailboxView,
    responses=refusals(*ORDER_CODES),
)
async def order(order: MailboxOrder, call: OrderCall) -> Response:
    """The mailbox can be read at once, in state `provisioning`; it is active, and on the bill, once its data centre
    has confirmed it."""
    try:
        [ordered] = await order_mailboxes(call.session, call.reseller_id, [order], now=call.now, on=call.today)
    except OrdersRefused as refused:
        raise _only_verdict(refused) from None
    if call.dry_run:
        call.cost = await cost_of_orders(call, [ordered])
    await call.record("mailbox.order", [ordered.mailbox["id"]], service_class=order.service_class)
    call.waiting = (ordered.operation_id, lambda later: shown(later, ordered.mailbox["id"]))
    return await call.answer(
        _new_view(ordered, call.now), status=202, location=f"/v1/operations/{ordered.operation_id}", version=1
    )


def _only_verdict(refused: OrdersRefused) -> AppError:
    return refused.verdicts[0] or refused


@router.post(
    "/mailbox-batches",
    operation_id="orderMailboxes",
    summary="Order up to 500 mailboxes, all or nothing",
    status_code=202,
    response_model=BatchView,
    responses=refusals("orders_refused", "limit_exceeded", "external_id_taken", "unknown_domain"),
)
async def order_batch(batch: BatchOrder, call: OrderCall) -> Response:
    """Either every order is placed or none; a refusal carries `verdicts`, a problem or null for each line."""
    placed = await order_mailboxes(call.session, call.reseller_id, batch.orders, now=call.now, on=call.today)
    if call.dry_run:
        call.cost = await cost_of_orders(call, placed)
    await call.record("mailbox.order", [each.mailbox["id"] for each in placed], batch=len(placed))
    verdicts = [
        Verdict(index=index, mailbox=_new_view(each, call.now), operation_id=each.operation_id)
        for index, each in enumerate(placed)
    ]
    return await call.answer(BatchView(verdicts=verdicts), status=202)
