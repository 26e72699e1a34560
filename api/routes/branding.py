"""The reseller's logo, on what goes out to customers in its name."""

import base64
import binascii
from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.auth import ActingForDep, BearerDep
from api.deps import Call, Requires
from api.routing import Route
from billing import resale_billing
from billing.documents.pdf import UnprintableDocument, check_picture
from billing.documents.pictures import BYTES_MAX, media_type_of
from billing.export_models import ResellerLogo
from billing.resale_documents import render_aside
from provisioning.core.errors import FieldError, Invalid, NotFound

router = APIRouter(prefix="/v1", tags=["billing"], route_class=Route)

WRITE = Requires("resale_prices:write")
Read = Annotated[Call, Depends(Requires("billing:read"), scope="function")]
Write = Annotated[Call, Depends(WRITE, scope="function")]

_CONTENT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGOQ96sEAAF2AOe2j1NWAAAAAElFTkSuQmCC"


class NewLogo(BaseModel):
    """PNG or JPEG (grey or RGB), 256 KiB and 2000 × 2000 pixels at most. No SVG, which can run and load things."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"content": _CONTENT}]})

    content: str = Field(min_length=1, max_length=4 * (BYTES_MAX // 3 + 1), description="The file, in base64.")


class LogoView(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "media_type": "image/png",
                    "sha256": "fc4ccac2c65c234202fc82d9d3a3e5e0435df774953ac8ce608920603661caee",
                    "content": _CONTENT,
                    "version": 1,
                }
            ]
        }
    )

    media_type: str = Field(description="image/png or image/jpeg")
    sha256: str
    content: str = Field(description="The file, in base64.")
    version: int = Field(description="Counts the changes; the ETag begins with it.")


async def printable(
    request: Request, new: NewLogo, _credentials: Annotated[Any, BearerDep], acting_for: ActingForDep = None
) -> bytes:
    """The picture, printed for trial before the call's own transaction opens. Raises Invalid."""
    async with WRITE.before(request, acting_for):
        pass  # who may not set it need not have it looked at
    try:
        content = base64.b64decode(new.content, validate=True)
        await render_aside(lambda: check_picture(content))
    except (ValueError, binascii.Error, UnprintableDocument) as error:
        wrong = [FieldError("/content", "invalid_picture", str(error))]
        raise Invalid("This is no picture that can be printed. Send a PNG or JPEG in base64.", errors=wrong) from error
    return content


@router.get(
    "/branding/logo", operation_id="getLogo", summary="Your logo on what your customers get", response_model=LogoView
)
async def read(call: Read) -> Response:
    """404 until it is set."""
    logo = await resale_billing.find_logo(call.session, call.reseller_id)
    if logo is None:
        raise NotFound("There is no logo yet. Set it: PUT /v1/branding/logo.")
    return await call.answer(_view(logo), version=logo.version, derived=True)


@router.put("/branding/logo", operation_id="putLogo", summary="Set your logo", response_model=LogoView)
async def put(content: Annotated[bytes, Depends(printable)], call: Write) -> Response:
    """It stands on statements and invoices to your customers, in place of your name at the top."""
    stands = await resale_billing.find_logo(call.session, call.reseller_id, lock=True)
    call.check_if_match(0 if stands is None else stands.version)
    wanted = ResellerLogo(
        reseller_id=call.reseller_id,
        media_type=media_type_of(content),
        content=content,
        sha256=sha256(content).hexdigest(),
    )
    logo, changed = await resale_billing.put_logo(call.session, wanted)
    if changed:
        await call.record("logo.put", [call.reseller_id], sha256=logo.sha256, media_type=logo.media_type)
    return await call.answer(_view(logo), version=logo.version, derived=True)


@router.delete("/branding/logo", operation_id="deleteLogo", summary="Remove your logo", status_code=204)
async def delete(call: Write) -> Response:
    """Your name stands in its place again."""
    logo = await resale_billing.find_logo(call.session, call.reseller_id, lock=True)
    if logo is None:
        raise NotFound("There is no logo to remove.")
    call.check_if_match(logo.version)
    await call.session.delete(logo)
    await call.session.flush()
    await call.record("logo.delete", [call.reseller_id], sha256=logo.sha256)
    return await call.answer(None, status=204)


def _view(logo: ResellerLogo) -> LogoView:
    return LogoView(
        media_type=logo.media_type,
        sha256=logo.sha256,
        content=base64.b64encode(logo.content).decode(),
        version=logo.version,
    )
