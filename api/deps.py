"""All an endpoint may ask for: a `Call`, which is one authenticated request in one transaction.

The transaction opens with the key and commits before the answer leaves, so that a 201 is a promise kept.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Any, cast
from zlib import crc32

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from api.auth import ActingForDep, BearerDep, authenticated, check_operator, check_scope, check_tenant
from api.context import Context
from api.idempotency import Claim, claim, given_key, settle
from api.previews import CostView, Preview
from api.waiting import has_succeeded, preferred_wait
from provisioning.audit import Event, event_values
from provisioning.core.clock import berlin_day
from provisioning.core.errors import FieldError, Invalid, PreconditionFailed, Unavailable
from provisioning.keys import Principal
from provisioning.models import Operation

PAYING = "payments:write"

Render = Callable[["Call"], Awaitable[BaseModel]]


@dataclass(slots=True)
class Call:
    """One request: who calls, when, in which transaction; and how to answer it."""

    request: Request
    context: Context
    session: AsyncSession
    principal: Principal
    now: datetime
    dry_run: bool = False
    cost: CostView | None = None
    claimed: Claim | None = None
    response: Response | None = None
    kept: bytes = b""
    events: list[Event] = field(default_factory=list)
    waiting: tuple[str, Render] | None = field(default=None)

    @property
    def reseller_id(self) -> str:
        """The reseller this call is about; only for calls that `Requires` let in as a tenant's."""
        return cast(str, self.principal.reseller_id)

    @property
    def today(self) -> date:
        """The day in Berlin, on which certificates must be valid and prices hold."""
        return berlin_day(self.now)

    def check_if_match(self, version: int) -> None:
        """Raises PreconditionFailed when If-Match names another version than the one that stands."""
        if (expected := self.if_match()) is not None and expected != version:
            raise PreconditionFailed("It has changed since you read it. Read it again and decide anew.")

    def if_match(self) -> int | None:
        """The version in If-Match; None when there is none or it is `*`. Raises Invalid."""
        header = self.request.headers.get("if-match", "*").strip()
        if header == "*":
            return None
        number, _, _ = header.removeprefix("W/").strip('"').partition("-")
        if not (number.isascii() and number.isdigit() and len(number) <= 18):
            message = 'send the ETag of the object as it came, for example "3"'
            raise Invalid(
                "If-Match holds no ETag of ours.", errors=[FieldError("header If-Match", "invalid_etag", message)]
            )
        return int(number)

    async def record(self, action: str, resource_ids: Sequence[str], **detail: Any) -> None:
        """Note the audit events of this change; they are written with the answer, at the end of its transaction."""
        self.events += [Event(action, resource_id, detail) for resource_id in resource_ids]

    async def answer(
        self,
        body: BaseModel | None,
        *,
        status: int = 200,
        location: str | None = None,
        version: int | None = None,
        once: BaseModel | None = None,
        derived: bool = False,
    ) -> Response:
        """The response, stored for replay where the call is idempotent by key.

        `once` is what the first caller sees instead of `body`: the same with a secret that is never shown again.
        `derived` says that the body shows more than its version counts, such as use of a limit or validity today, so
        that the ETag must tell apart what one version can look like.
        """
        if self.dry_run:
            preview = Preview(would_be=None if body is None else body.model_dump(mode="json"), cost=self.cost)
            return Response(preview.model_dump_json().encode(), 200, media_type="application/json")
        headers = {} if location is None else {"Location": location}
        if version is not None:
            mark = f"-{crc32(body.model_dump_json().encode()):08x}" if derived and body is not None else ""
            headers["ETag"] = f'"{version}{mark}"'
            if self.request.method == "GET" and _known(self.request, headers["ETag"]):
                return Response(None, 304, headers=headers)
        shown = once or body
        content = b"" if shown is None else shown.model_dump_json().encode()
        self.response = Response(content, status, headers, "application/json" if shown else None)
        self.kept = content if once is None or body is None else body.model_dump_json().encode()
        return self.response

    async def settle(self) -> None:
        """Write what was noted on the way, as the last statement of the transaction."""
        audit = None
        if self.events:
            audit = event_values(self.principal.reseller_id, self.events, actor=self.principal.key_id, now=self.now)
        await settle(self.session, audit, self.claimed, self.response, kept=self.kept)

    async def accept(
        self,
        operation: Operation | None,
        render: Render,
        *,
        status: int = 202,
        version: int | None = None,
    ) -> Response:
        """Answer a change: `status` with the operation's Location when a backend has to follow, else 200.

        With `Prefer: wait` the answer is held until the operation has ended, and then shows the finished object.
        """
        await self.session.flush()  # views show versions and defaults as stored
        body = await render(self)
        version = getattr(body, "version", version)
        if operation is None:
            return await self.answer(body, version=version)
        self.waiting = (operation.id, render)
        return await self.answer(body, status=status, location=f"/v1/operations/{operation.id}", version=version)

    async def linger(self) -> None:
        """After the commit: hold the answer while the operation runs, for as long as `Prefer: wait` allows."""
        seconds = preferred_wait(self.request)
        if seconds is None or self.waiting is None or self.response is None or self.dry_run:
            return
        operation_id, render = self.waiting
        try:
            if await has_succeeded(self.context.database, self.reseller_id, operation_id, seconds=seconds):
                async with self.context.database.as_tenant(self.reseller_id) as session:
                    self.session = session
                    body = await render(self)
                self.response.body = body.model_dump_json().encode()
                self.response.status_code = 201 if self.request.method == "POST" else 200
                self.response.headers["content-length"] = str(len(self.response.body))
                if (version := getattr(body, "version", None)) is not None:
                    self.response.headers["etag"] = f'"{version}"'
        except Unavailable:
            return  # what was asked for is committed; the answer of before stands
        self.response.headers["preference-applied"] = f"wait={seconds}"


def _known(request: Request, etag: str) -> bool:
    """Whether If-None-Match names this ETag; proxies that compress mark it as weak."""
    given = request.headers.get("if-none-match", "")
    return etag in {each.strip().removeprefix("W/") for each in given.split(",")}


@dataclass(frozen=True, slots=True)
class Requires:
    """The dependency that lets a call in: key, scope, reseller, and the transaction that it all happens in.

    `operator` endpoints are for the operator's own key; all others are about one reseller, or with `anyone` about
    whoever calls, the operator included. `scope` None lets every valid key in. `while_suspended` is for the writes
    that a suspended reseller may do too. `keeps_rules` spares a call that judges placements the statement that holds
    policies and data centres still: the key's own does it.
    """

    scope: str | None
    operator: bool = False
    anyone: bool = False
    while_suspended: bool = False
    keeps_rules: bool = False

    async def __call__(
        self,
        request: Request,
        _credentials: Annotated[Any, BearerDep],
        acting_for: ActingForDep = None,
    ) -> AsyncIterator[Call]:
        context: Context = request.app.state.context
        async with context.database.transaction() as session:
            principal = await self._let_in(session, request, acting_for)
            call = Call(request, context, session, principal, context.clock.now())
            call.dry_run = _writes(request) and request.query_params.get("dry_run") == "true"
            key = given_key(request) if request.method == "POST" else None
            if key is not None and not call.dry_run:
                call.claimed = await claim(session, request, key, principal.reseller_id or "operator", now=call.now)
            yield call
            if call.dry_run:
                await session.rollback()
            else:
                await call.settle()
        await call.linger()

    @asynccontextmanager
    async def before(self, request: Request, acting_for: str | None) -> AsyncIterator[tuple[AsyncSession, str]]:
        """A short transaction of its own and the reseller it is about, for a dependency that stands before the call.

        There belongs what no open transaction may wait for: asking the network, hashing a password.
        """
        context: Context = request.app.state.context
        async with context.database.transaction() as session:
            principal = await self._let_in(session, request, acting_for)
            yield session, cast(str, principal.reseller_id)  # an operator's endpoint has nothing to look at before

    async def _let_in(self, session: AsyncSession, request: Request, acting_for: str | None) -> Principal:
        context: Context = request.app.state.context
        principal = await authenticated(session, request, context, acting_for=acting_for, keeps_rules=self.keeps_rules)
        if self.operator:
            # First of all: a scope that a reseller's key cannot have is not what it lacks.
            check_operator(principal)
        check_scope(principal, self.scope)
        if not self.operator:
            # Whoever is suspended for an unpaid invoice must be able to pay it.
            writes = _writes(request) and not self.while_suspended and self.scope != PAYING
            check_tenant(principal, acting_for=acting_for, writes=writes, anyone=self.anyone)
        return principal


def _writes(request: Request) -> bool:
    return request.method not in ("GET", "HEAD")
