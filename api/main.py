"""The composition root of the API: everything is opened here once and handed down."""

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

from fastapi import FastAPI
from fastapi.routing import APIRouter
from fastapi_offline import FastAPIOffline

from api import openapi, problems
from api.context import Context
from api.idempotency import Replay
from api.observability import Observed
from api.routes import (
    account,
    add_ons,
    addresses,
    audit,
    bank,
    billing,
    branding,
    clock,
    corrections,
    customers,
    data_centres,
    discounts,
    discovery,
    dkim,
    domains,
    dunning,
    exports,
    invoice_documents,
    invoice_runs,
    mailboxes,
    notices,
    operations,
    orders,
    passwords,
    payment_methods,
    payment_setup_links,
    payments,
    previews,
    price_changes,
    prices,
    resale_billing,
    resale_invoices,
    resale_prices,
    resellers,
    service,
    setup,
    shares,
    statement_documents,
    statements,
    usage,
    vat,
    webhooks,
)

ROUTERS: tuple[APIRouter, ...] = (
    service.router,
    discovery.router,
    orders.router,
    mailboxes.router,
    setup.router,
    domains.router,
    dkim.router,
    addresses.router,
    add_ons.router,
    passwords.router,
    passwords.page_router,
    shares.router,
    operations.router,
    account.router,
    customers.router,
    data_centres.router,
    audit.router,
    resellers.router,
    prices.router,
    price_changes.router,
    discounts.router,
    previews.router,
    billing.router,
    invoice_documents.router,
    corrections.router,
    invoice_runs.router,
    payment_methods.router,
    payment_setup_links.router,
    payments.router,
    dunning.router,
    notices.router,
    bank.router,
    webhooks.router,
    resale_prices.router,
    statements.router,
    statement_documents.router,
    resale_billing.router,
    branding.router,
    resale_invoices.router,
    usage.router,
    exports.router,
    vat.router,
)

Background = Callable[[], AbstractAsyncContextManager[None]]


def create_app(context: Context, *, background: Background | None = None) -> FastAPI:
    """The application over an open context; `background` runs beside it, such as the worker on a single machine."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # What has been loaded by now stays. Walking through all of it time and again would hold up whoever calls then.
        gc.collect()
        gc.freeze()
        if background is None:
            yield
            return
        async with background():
            yield

    routers = ROUTERS if context.test_clock is None else (*ROUTERS, clock.router)
    # The docs page comes with its own scripts: it works on a machine that reaches nothing but this service.
    app = FastAPIOffline(
        # As they stand: to include a router is to build each of its routes once more, while the first callers wait.
        routes=[route for router in routers for route in router.routes],
        title="Postfachwerk",
        version=openapi.VERSION,
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_parameters={"persistAuthorization": True, "tryItOutEnabled": True, "displayRequestDuration": True},
    )
    app.state.context = context
    problems.install(app)
    app.add_exception_handler(Replay, _replay)
    app.add_middleware(Observed)
    app.openapi = lambda: openapi.describe(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


async def _replay(_request: Any, replay: Exception) -> Any:
    return cast(Replay, replay).response
