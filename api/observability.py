"""Every request gets an id that is in its answer and in every log line, one line when it ends, and its metrics."""

import time
from typing import Any

import structlog
from prometheus_client import Counter, Gauge, Histogram
from sqlalchemy import text
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from provisioning.core.database import Database
from provisioning.core.ids import new_id

log = structlog.get_logger()

REQUESTS = Counter("postfachwerk_http_requests_total", "Requests answered.", ["method", "route", "status"])
LATENCY = Histogram(
    "postfachwerk_http_request_seconds",
    "Time from the first byte in to the last byte out.",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 35),
)
JOBS = Gauge("postfachwerk_jobs", "Jobs by state.", ["status"])
UNCONFIRMED = Gauge("postfachwerk_mailboxes_unconfirmed", "Mailboxes with a change not confirmed yet.")
FAILED = Gauge("postfachwerk_mailboxes_failed", "Mailboxes whose last change was refused for good.")
OLDEST = Gauge("postfachwerk_operation_oldest_seconds", "Age of the oldest operation that has not ended.")

QUIET_PATHS = ("/healthz", "/readyz", "/metrics")
# The rest of these paths is a secret that works once, or whoever a stranger asks about.
SECRET_PATHS = ("/set-password/", "/autodiscover/autodiscover.json/")

_FIGURES = text(
    """
    select (select count(*) from mailbox where confirmed_generation < generation and not failed) as unconfirmed,
           (select count(*) from mailbox where failed) as failed,
           (select min(created_at) from operation where state in ('queued', 'running')) as oldest
    """
)
_JOBS = text(
    "select status, count(*) as jobs from procrastinate_jobs "
    "where status in ('todo', 'doing', 'failed') group by status"
)


class Observed:
    """ASGI middleware; a caller's own Request-Id is kept when it is a plain word, so that its logs and ours meet."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _given_id(scope) or new_id("req")
        scope["request_id"] = request_id
        scope["shown_path"] = shown_path(scope)
        status, started = 500, time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"request-id", request_id.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, send_with_id)
            finally:
                _account(scope, status, time.perf_counter() - started)


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"request-id" and 8 <= len(value) <= 64 and value.replace(b"-", b"").replace(b"_", b"").isalnum():
            given: str = value.decode("ascii")
            return given
    return None


def shown_path(scope: Scope) -> str:
    """The path as logs may have it."""
    path: str = scope["path"]
    return next((secret + "***" for secret in SECRET_PATHS if path.lower().startswith(secret)), path)


def _account(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "none")
    REQUESTS.labels(scope["method"], route, status).inc()
    LATENCY.labels(scope["method"], route).observe(seconds)
    if scope["path"] not in QUIET_PATHS:
        path, ms = scope["shown_path"], round(seconds * 1000, 1)
        log.info("request", method=scope["method"], path=path, status=status, ms=ms)


async def refresh_gauges(database: Database, now: Any) -> None:
    """Read what the database alone knows, when metrics are asked for. Raises Unavailable."""
    async with database.as_system() as session:
        figures = (await session.execute(_FIGURES)).one()
    UNCONFIRMED.set(figures.unconfirmed)
    FAILED.set(figures.failed)
    OLDEST.set(0 if figures.oldest is None else max(0.0, (now - figures.oldest).total_seconds()))
    async with database.transaction() as session:
        jobs = {row.status: row.jobs for row in await session.execute(_JOBS)}
    for status in ("todo", "doing", "failed"):
        JOBS.labels(status).set(jobs.get(status, 0))
