"""The agent of a cell: what the control plane speaks to. Its port belongs on the control network only.

`python -m provisioning.cell.agent DIRECTORY` serves it with the cell's certificate, and beside it the gate, on a
socket for the gateway alone, which says whether a mailbox includes what a phone asks for.
"""

import asyncio
import hmac
import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.middleware.base import RequestResponseEndpoint
from starlette.types import ASGIApp, Receive, Scope, Send

from provisioning.cell import boxes, directory, moving, shares, status
from provisioning.cell.gate import may_pass
from provisioning.cell.house import House
from provisioning.cell.layout import Cell, open_cell
from provisioning.cell.policy import converse
from provisioning.cell.refusals import Busy, Refusal
from provisioning.cell.reports import report, whereabouts
from provisioning.cell.watching import watch
from provisioning.terms import MailboxKind, Protocol, ServiceClass

_RETRY_SECONDS = "5"
GrantRole = Literal["full_access", "send_as", "send_on_behalf"]
Address = Annotated[str, Field(pattern=r"^[^\s@'\"\\]+@[^\s@'\"\\]+$", max_length=320)]
CellName = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]
BackendId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class SpecBody(BaseModel):
    kind: MailboxKind
    service_class: ServiceClass
    display_name: str
    quota_mib: int = Field(ge=0)
    protocols: list[Protocol]
    addresses: list[Address] = Field(min_length=1)
    suspended: bool = False
    password_version: int = Field(default=0, ge=0)

    def spec(self) -> directory.Spec:
        return directory.Spec(
            kind=self.kind,
            service_class=self.service_class,
            display_name=self.display_name,
            quota_mib=self.quota_mib,
            protocols=tuple(sorted(self.protocols)),
            addresses=tuple(each.lower() for each in self.addresses),
            suspended=self.suspended,
            password_version=self.password_version,
        )


class MailboxBody(BaseModel):
    spec: SpecBody
    password_hash: str | None = None


class MaskBody(BaseModel):
    mask: int = Field(ge=0, le=0x1FFF)


class OnBody(BaseModel):
    on: bool


class GuestBody(BaseModel):
    mailbox_id: str
    addresses: list[Address] = Field(min_length=1)
    display_name: str
    cell: CellName

    def guest(self, backend_id: str) -> directory.Guest:
        addresses = tuple(each.lower() for each in self.addresses)
        return directory.Guest(backend_id, self.mailbox_id, self.display_name, self.cell, addresses)


class GranteeBody(GuestBody):
    backend_id: BackendId


class RightRow(BaseModel):
    folder: str
    grantee: BackendId
    mask: int


class GrantRow(BaseModel):
    role: GrantRole
    grantee: BackendId


class ArrivalBody(BaseModel):
    mailbox_id: str
    spec: SpecBody
    password_hash: str | None
    presence: Literal["present", "deleted"]
    archive: bool
    rights: list[RightRow]
    grants: list[GrantRow]
    grantees: list[GranteeBody] = []


class ToBody(BaseModel):
    to: CellName


def create_agent(house: House) -> FastAPI:
    """The application for one cell, which whoever calls opens and closes."""
    secret = f"Bearer {house.cell.secrets.agent}".encode()

    def authenticated(authorization: Annotated[str, Header()] = "") -> None:
        if not hmac.compare_digest(authorization.encode(), secret):
            raise _Unauthorized("the bearer token is wrong or missing")

    app = FastAPI(title="Postfachwerk cell", dependencies=[Depends(authenticated)], openapi_url=None)
    app.middleware("http")(partial(_say_where, house.cell.name))
    app.exception_handler(Refusal)(_refuse)
    app.exception_handler(RequestValidationError)(_malformed)
    _mailbox_routes(app, house)
    _share_routes(app, house)
    _guest_routes(app, house)
    _departure_routes(app, house)
    _arrival_routes(app, house)
    return app


class _Unauthorized(Refusal):
    status = 401
    code = "unauthorized"


async def _say_where(cell: str, request: Request, proceed: RequestResponseEndpoint) -> Response:
    """Where a mailbox lies is evidence: who answers says who it is."""
    answer = await proceed(request)
    answer.headers["X-Cell"] = cell
    return answer


def _refuse(_: Request, error: Refusal) -> JSONResponse:
    headers = {"Retry-After": _RETRY_SECONDS} if isinstance(error, Busy) else None
    return JSONResponse(
        {"code": error.code, "detail": error.detail, **error.extra}, status_code=error.status, headers=headers
    )


def _malformed(_: Request, error: RequestValidationError) -> JSONResponse:
    # Without the values: they may hold a hash.
    said = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
    return JSONResponse({"code": "malformed", "detail": said}, status_code=422)


def _mailbox_routes(app: FastAPI, house: House) -> None:
    @app.get("/v1/status")
    async def get_status() -> dict[str, Any]:
        return await status.status(house)

    @app.get("/v1/mailboxes/{mailbox_id}")
    async def get_mailbox(mailbox_id: str) -> dict[str, Any]:
        return await report(house, mailbox_id)

    @app.put("/v1/mailboxes/{mailbox_id}")
    async def put_mailbox(mailbox_id: str, body: MailboxBody) -> dict[str, str]:
        spec = body.spec.spec()
        return {"backend_id": await boxes.put_mailbox(house, mailbox_id, spec, body.password_hash)}

    @app.get("/v1/boxes/{backend_id}")
    async def get_box(backend_id: str) -> dict[str, Any]:
        return await whereabouts(house, backend_id)

    @app.delete("/v1/boxes/{backend_id}", status_code=204)
    async def delete_box(backend_id: str) -> None:
        await boxes.remove_mailbox(house, backend_id)

    @app.post("/v1/boxes/{backend_id}/purge", status_code=204)
    async def purge(backend_id: str) -> None:
        await boxes.purge_mailbox(house, backend_id)

    @app.put("/v1/boxes/{backend_id}/archive", status_code=204)
    async def put_archive(backend_id: str, body: OnBody) -> None:
        await boxes.put_archive(house, backend_id, on=body.on)

    @app.post("/v1/boxes/{backend_id}/kick", status_code=204)
    async def kick(backend_id: str) -> None:
        await boxes.kick(house, backend_id)


def _guest_routes(app: FastAPI, house: House) -> None:
    @app.put("/v1/guests/{backend_id}", status_code=204)
    async def put_guest(backend_id: BackendId, body: GuestBody) -> None:
        await boxes.put_guest(house, body.guest(backend_id))

    @app.delete("/v1/guests/{backend_id}", status_code=204)
    async def delete_guest(backend_id: str) -> None:
        await boxes.drop_guest(house, backend_id)


def _share_routes(app: FastAPI, house: House) -> None:
    rights = "/v1/boxes/{backend_id}/folders/{folder_id}/rights/{grantee}"
    grants = "/v1/boxes/{backend_id}/grants/{role}/{grantee}"

    @app.put(rights)
    async def put_right(backend_id: str, folder_id: str, grantee: BackendId, body: MaskBody) -> dict[str, bool]:
        return {"effective": await shares.put_right(house, backend_id, folder_id, grantee, body.mask)}

    @app.delete(rights, status_code=204)
    async def delete_right(backend_id: str, folder_id: str, grantee: BackendId) -> None:
        await shares.put_right(house, backend_id, folder_id, grantee, 0)

    @app.put(grants)
    async def put_grant(backend_id: str, role: GrantRole, grantee: BackendId) -> dict[str, bool]:
        return {"effective": await shares.put_grant(house, backend_id, role, grantee)}

    @app.delete(grants, status_code=204)
    async def delete_grant(backend_id: str, role: GrantRole, grantee: BackendId) -> None:
        await shares.drop_grant(house, backend_id, role, grantee)


def _departure_routes(app: FastAPI, house: House) -> None:
    @app.get("/v1/boxes/{backend_id}/record")
    async def get_record(backend_id: str) -> dict[str, Any]:
        return await moving.record(house, backend_id)

    @app.post("/v1/boxes/{backend_id}/copy")
    async def copy(backend_id: str, body: ToBody) -> dict[str, bool]:
        return {"done": await moving.copy(house, backend_id, to=body.to)}

    @app.post("/v1/boxes/{backend_id}/freeze")
    async def freeze(backend_id: str, body: ToBody) -> dict[str, int]:
        return {"seconds": await moving.freeze(house, backend_id, to=body.to)}

    @app.post("/v1/boxes/{backend_id}/hold")
    async def hold(backend_id: str) -> dict[str, bool]:
        return {"held": await moving.hold(house, backend_id)}

    @app.post("/v1/boxes/{backend_id}/thaw", status_code=204)
    async def thaw(backend_id: str) -> None:
        await moving.thaw(house, backend_id)

    @app.get("/v1/boxes/{backend_id}/groupware")
    async def get_groupware(backend_id: str) -> Response:
        archive = await moving.export_groupware(house, backend_id)
        return Response(archive, media_type="application/octet-stream", status_code=204 if archive is None else 200)

    @app.post("/v1/boxes/{backend_id}/depart", status_code=204)
    async def depart(backend_id: str, body: ToBody) -> None:
        await moving.depart(house, backend_id, to=body.to)


def _arrival_routes(app: FastAPI, house: House) -> None:
    @app.put("/v1/arrivals/{backend_id}", status_code=204)
    async def put_arrival(backend_id: BackendId, body: ArrivalBody) -> None:
        grantees = [each.guest(each.backend_id) for each in body.grantees]
        arrival = body.model_dump(exclude={"spec", "grantees"})
        spec = body.spec.spec()
        await moving.arrive(house, backend_id, body.mailbox_id, spec, arrival=arrival, grantees=grantees)

    @app.put("/v1/arrivals/{backend_id}/groupware", status_code=204)
    async def put_groupware(backend_id: str, request: Request) -> None:
        await moving.import_groupware(house, backend_id, await request.body())

    @app.post("/v1/arrivals/{backend_id}/activate", status_code=204)
    async def activate(backend_id: str) -> None:
        await moving.activate(house, backend_id)

    @app.delete("/v1/arrivals/{backend_id}", status_code=204)
    async def delete_arrival(backend_id: str) -> None:
        await moving.give_up(house, backend_id)


def create_gate(house: House) -> ASGIApp:
    """For the gateway's subrequests: 200 to let a request through, 401 to refuse it."""

    async def gate(scope: Scope, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            passes = await may_pass(
                house,
                protocol=scope["path"].rpartition("/")[2],
                uri=headers.get("x-original-uri", ""),
                authorization=headers.get("authorization", ""),
            )
            code = 200 if passes else 401
        except Busy:
            code = 503
        said = [(b"www-authenticate", b'Basic realm="SOGo"')] if code == 401 else []
        await send({"type": "http.response.start", "status": code, "headers": [*said, (b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    return gate


async def serve(cell: Cell) -> None:
    """Until the process is told to end."""
    async with House(cell) as house:
        agent = uvicorn.Config(
            create_agent(house),
            host=cell.address,
            port=cell.ports.agent,
            ssl_certfile=cell.certificate_file,
            ssl_keyfile=cell.key_file,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        socket = cell.run / "gate.sock"
        socket.unlink(missing_ok=True)
        gate = uvicorn.Config(
            create_gate(house), uds=str(socket), lifespan="off", log_level="warning", access_log=False
        )
        if cell.sockets.exists():
            place = cell.sockets / "policy"
            place.unlink(missing_ok=True)
            await asyncio.start_unix_server(partial(converse, house), place)
            # The directory is closed to all but Postfix.
            place.chmod(0o666)
        watching = asyncio.create_task(watch(house))
        await asyncio.gather(uvicorn.Server(agent).serve(), uvicorn.Server(gate).serve())
        watching.cancel()


def main() -> None:
    root = Path(sys.argv[1])
    cell = open_cell(root.parent, root.name)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(cell.account.gid)
        os.setuid(cell.account.uid)
    os.umask(0o077)
    asyncio.run(serve(cell))


if __name__ == "__main__":
    main()
