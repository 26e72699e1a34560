"""The test clock and the sandbox's DNS zone: there in demo and tests only, so that a month can pass in a second."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Call, Requires
from api.openapi import refusals
from api.routing import Moment, Route
from provisioning.core.errors import Conflict, NotFound

router = APIRouter(prefix="/v1", tags=["test clock"], route_class=Route)

Anybody = Annotated[Call, Depends(Requires(None), scope="function")]


class ClockView(BaseModel):
    now: datetime


class Advance(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"to": "2027-01-01T06:00:00Z"}]})

    to: Moment = Field(description="Later than now.")


class ZoneValues(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"values": ["postfachwerk-verification=…"]}]}
    )

    values: list[Annotated[str, Field(max_length=1000)]] = Field(max_length=20)


class ZoneView(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "_postfachwerk.kanzlei-lindenhof.example",
                    "kind": "TXT",
                    "values": ["postfachwerk-verification=…"],
                }
            ]
        }
    )

    name: str
    kind: str
    values: list[str]


@router.get("/test-clock", operation_id="getTestClock", summary="What time it is", response_model=ClockView)
async def read(call: Anybody) -> Response:
    return await call.answer(ClockView(now=call.now))


@router.post(
    "/test-clock/advance",
    operation_id="advanceTestClock",
    summary="Let time pass",
    response_model=ClockView,
    responses=refusals("clock_cannot_go_back"),
)
async def advance(advance: Advance, call: Anybody) -> Response:
    """What is due by then happens by itself: shares expire, deleted mailboxes are purged, the month is billed."""
    if (clock := call.context.test_clock) is None:
        raise NotFound("This service has no test clock.")
    if not call.dry_run:
        try:
            clock.advance(advance.to)
        except ValueError as error:
            raise Conflict(f"{error}.", code="clock_cannot_go_back") from error
    return await call.answer(ClockView(now=clock.now()))


@router.put(
    "/sandbox-zone/{name}/{kind}",
    operation_id="setSandboxRecords",
    summary="Publish DNS records in the sandbox's own zone",
    response_model=ZoneView,
)
async def publish(
    name: Annotated[str, Path(max_length=253)],
    kind: Annotated[str, Path(pattern="^(TXT|MX|CNAME|SRV)$")],
    values: ZoneValues,
    call: Anybody,
) -> Response:
    """As the customer's DNS host would; replaces what stood at this name."""
    if (zone := call.context.sandbox_zone) is None:
        raise NotFound("This service has no sandbox zone.")
    call.check_if_match(0)  # records have no versions: whichever is named is not the one that stands
    if not call.dry_run:
        zone.set(name, kind, values.values)
    return await call.answer(ZoneView(name=name, kind=kind, values=values.values))
