"""Health, readiness and metrics: for load balancers and monitoring, without a key."""

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from sqlalchemy import text

from api.context import Context
from api.observability import refresh_gauges
from api.openapi import refusals
from api.routing import Route
from provisioning.core.errors import Unavailable
from provisioning.core.migrations import newest_revision

router = APIRouter(tags=["service"], route_class=Route)

AWAY = refusals("unavailable", status=503)


class Health(BaseModel):
    status: str


@router.get("/healthz", operation_id="health", summary="Is the process alive?")
async def health() -> Health:
    return Health(status="ok")


@router.get("/readyz", operation_id="readiness", summary="Can it serve: database there and migrated?", responses=AWAY)
async def readiness(request: Request) -> Health:
    """503 while the database is away or older than this version needs."""
    context: Context = request.app.state.context
    async with context.database.transaction() as session:
        revision = await session.scalar(text("select version_num from alembic_version"))
    if revision != newest_revision():
        raise Unavailable(f"The database is at revision {revision}. Run `postfachwerk migrate`.")
    return Health(status="ok")


@router.get(
    "/metrics", operation_id="metrics", summary="Prometheus metrics", response_class=PlainTextResponse, responses=AWAY
)
async def metrics(request: Request) -> Response:
    context: Context = request.app.state.context
    await refresh_gauges(context.database, context.clock.now())
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
