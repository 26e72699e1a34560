"""The floor: the least that could stand in the service's place, through the same HTTP stack, engine and driver.

No key, no roles, no row-level security, no checks: one statement in one transaction for each request. `/raw` leaves
SQLAlchemy out as well, which shows what its engine costs.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from fastapi import FastAPI
from fastapi.responses import Response
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, TypeAdapter
from sqlalchemy import text

from provisioning.core.database import Database
from provisioning.core.ids import new_id
from provisioning.mailboxes import SHOWN

TABLE = """
    create table if not exists floor_mailbox (
        id text collate "C" primary key, reseller_id text not null, address text not null, display_name text not null,
        service_class text not null, location text, created_at timestamptz not null default now()
    )
"""
_COLUMNS = ("id", "reseller_id", "address", "display_name", "service_class", "location")
_INSERT = text(
    f"insert into floor_mailbox ({', '.join(_COLUMNS)}) values ({', '.join(':' + name for name in _COLUMNS)})"  # noqa: S608  # constants of this module
)
_INSERT_RAW = (
    f"insert into floor_mailbox ({', '.join(_COLUMNS)}) values ({', '.join(f'%({name})s' for name in _COLUMNS)})"  # noqa: S608  # constants of this module
)

_WHERE = {
    "all": "state <> 'purged'",
    "customer": "state <> 'purged' and customer_id = :value",
    "state": "state = :value",
    "class": "state <> 'purged' and service_class = :value",
}
_LIST = {
    name: text(
        f"select {', '.join(SHOWN)} from mailbox where reseller_id = :reseller and id < :before and {where} "  # noqa: S608  # constants of this module
        "order by id desc limit 51"
    )
    for name, where in _WHERE.items()
}
_OTHER_SIDE = {"inbound": ("mailbox_id", "grantee_id"), "outbound": ("grantee_id", "mailbox_id")}
_ACCESS = {
    name: text(
        f"select s.id as share_id, m.id as mailbox_id, m.address, m.display_name, s.scope, s.access, s.role, s.state, "  # noqa: S608  # constants of this module
        f"s.expires_at from share s join mailbox m on m.id = s.{there} where s.{here} = :mailbox order by s.id limit 51"
    )
    for name, (here, there) in _OTHER_SIDE.items()
}


class Order(BaseModel):
    address: str
    display_name: str
    service_class: str
    location: str | None = None


class Placed(Order):
    id: str
    reseller_id: str


class Shown(BaseModel):
    """A row of a list, without the service's enums and checks."""

    id: str
    customer_id: str
    external_id: str | None
    address: str
    display_name: str
    kind: str
    service_class: str
    protocols: list[str]
    quota_mib: int
    location: str
    placed_in: str | None
    state: str
    reason: str | None
    service_suspended: bool
    allowed_locations: list[str] | None
    allowed_countries: list[str] | None
    required_certificates: list[str] | None
    password_version: int
    version: int
    created_at: datetime
    purge_at: datetime | None


class Accessible(BaseModel):
    share_id: str
    mailbox_id: str
    address: str
    display_name: str
    scope: str
    access: str | None
    role: str
    state: str
    expires_at: datetime | None


_SHOWN = TypeAdapter(list[Shown])
_ACCESSIBLE = TypeAdapter(list[Accessible])


def create_floor(url: str, *, pool_size: int) -> FastAPI:
    database = Database(url, pool_size=pool_size)
    engine = database.engine
    conninfo = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    pool = AsyncConnectionPool(conninfo, min_size=1, max_size=pool_size, open=False, kwargs={"prepare_threshold": 2})

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with pool:
            yield
        await database.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None)

    @app.get("/healthz")
    async def healthz() -> Response:
        return Response(b"{}", media_type="application/json")

    @app.post("/mailboxes", status_code=202)
    async def insert(order: Order) -> Response:
        placed = Placed(id=new_id("mbx"), reseller_id="res_floor", **order.model_dump())
        async with engine.begin() as connection:
            await connection.execute(_INSERT, placed.model_dump())
        return _json(placed.model_dump_json().encode(), 202)

    @app.post("/raw/mailboxes", status_code=202)
    async def insert_raw(order: Order) -> Response:
        placed = Placed(id=new_id("mbx"), reseller_id="res_floor", **order.model_dump())
        async with pool.connection() as connection:
            await connection.execute(_INSERT_RAW, placed.model_dump())
        return _json(placed.model_dump_json().encode(), 202)

    @app.get("/mailboxes")
    async def page(reseller: str, by: str = "all", value: str = "", before: str = "n") -> Response:
        async with engine.connect() as connection:
            rows = await connection.execute(
                _LIST[by],
                {"reseller": reseller, "before": before} | ({} if by == "all" else {"value": value}),
            )
        return _json(_SHOWN.dump_json(_SHOWN.validate_python(rows.mappings().all())), 200)

    @app.get("/access")
    async def access(mailbox: str, direction: str) -> Response:
        async with engine.connect() as connection:
            rows = await connection.execute(_ACCESS[direction], {"mailbox": mailbox})
        return _json(_ACCESSIBLE.dump_json(_ACCESSIBLE.validate_python(rows.mappings().all())), 200)

    return app


def _json(content: bytes, status: int) -> Response:
    return Response(content, status, media_type="application/json")
