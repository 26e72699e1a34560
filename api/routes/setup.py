"""How a mailbox is set up: as data, and as a sheet for its user in the reseller's name. No password anywhere."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from api.auth import ActingForDep, BearerDep
from api.deps import Call, Requires
from api.downloads import send_bytes, send_page
from api.endpoint_views import ServerShape
from api.openapi import refusals
from api.routing import Route
from api.setup_loading import Loaded, load_setup, setup_page, setup_pdf
from api.views import MailboxId
from billing.resale_documents import render_aside
from provisioning.terms import ServiceClass

router = APIRouter(prefix="/v1/mailboxes/{mailbox_id}", tags=["mailboxes"], route_class=Route)

READ = Requires("mailboxes:read")
Read = Annotated[Call, Depends(READ, scope="function")]
CODES = ("mailbox_deleted", "mailbox_without_login")
IMITATION = "This data centre has no servers: nothing can connect to it."

File = TypeVar("File", bytes, str)


class SetupView(BaseModel):
    """What a mailbox's programs need to know; null for what its class, its protocols or its data centre do not have."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "mailbox_id": "mbx_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "address": "anna.krueger@kanzlei-lindenhof.example",
                    "user_name": "anna.krueger@kanzlei-lindenhof.example",
                    "service_class": "exchange",
                    "data_centre": "de-fra-1",
                    "imap": {"host": "mail.de-fra-1.example", "port": 993, "security": "tls"},
                    "pop3": {"host": "mail.de-fra-1.example", "port": 995, "security": "tls"},
                    "submission": {"host": "mail.de-fra-1.example", "port": 465, "security": "tls"},
                    "sieve": {"host": "mail.de-fra-1.example", "port": 4190, "security": "starttls"},
                    "activesync_url": "https://mail.de-fra-1.example/Microsoft-Server-ActiveSync",
                    "caldav_url": "https://mail.de-fra-1.example/SOGo/dav/",
                    "carddav_url": "https://mail.de-fra-1.example/SOGo/dav/",
                    "web_url": "https://mail.de-fra-1.example/SOGo/",
                    "profile_url": "https://api.it-haus.example/mobileconfig?email=anna.krueger%40kanzlei-lindenhof.example",
                    "note": None,
                }
            ]
        },
    )

    mailbox_id: str
    address: str
    user_name: str = Field(description="What every program asks for beside the password.")
    service_class: ServiceClass
    data_centre: str = Field(description="Where it lies.")
    imap: ServerShape | None
    pop3: ServerShape | None
    submission: ServerShape | None
    sieve: ServerShape | None
    activesync_url: str | None
    caldav_url: str | None
    carddav_url: str | None
    web_url: str | None
    profile_url: str = Field(description="Sets up iPhone, iPad and Mac; answers 404 where there is nothing to set up.")
    note: str | None = Field(description="Why there is nothing to connect to.")


class PdfResponse(Response):
    media_type = "application/pdf"


@dataclass(frozen=True, slots=True)
class Rendered(Generic[File]):
    """A sheet as it is sent."""

    content: File
    language: Literal["de", "en"]


@dataclass(frozen=True, slots=True)
class Render(Generic[File]):
    """Lays a sheet out before the call's own transaction opens: none is held open by the layout."""

    render: Callable[[Loaded, Literal["de", "en"]], File]

    async def __call__(
        self,
        request: Request,
        mailbox_id: MailboxId,
        _credentials: Annotated[Any, BearerDep],
        acting_for: ActingForDep = None,
        language: Annotated[Literal["de", "en"] | None, Query(description="de or en; yours when left out.")] = None,
    ) -> Rendered[File]:
        async with READ.before(request, acting_for) as (session, reseller_id):
            loaded = await load_setup(session, request.app.state.context, reseller_id, mailbox_id)
        chosen = language or loaded.language
        return Rendered(await render_aside(lambda: self.render(loaded, chosen)), chosen)


@router.get(
    "/setup",
    operation_id="getSetup",
    summary="The servers and names to set a mailbox up with",
    response_model=SetupView,
    responses=refusals(*CODES),
)
async def read(mailbox_id: MailboxId, call: Read) -> Response:
    """By its class, its protocols and its data centre. Most programs find the same by themselves."""
    loaded = await load_setup(call.session, call.context, call.reseller_id, mailbox_id)
    setup = loaded.setup
    view = SetupView.model_validate(
        {
            **{name: getattr(setup.offer, name) for name in SetupView.model_fields if hasattr(setup.offer, name)},
            "mailbox_id": mailbox_id,
            "address": loaded.mailbox.address,
            "user_name": loaded.mailbox.address,
            "service_class": setup.service_class,
            "data_centre": loaded.centre.code,
            "profile_url": setup.profile_url,
            "note": None if setup.offer else IMITATION,
        }
    )
    return await call.answer(view)


@router.get(
    "/setup/pdf",
    operation_id="getSetupPdf",
    summary="The setup sheet of a mailbox, as PDF to hand on",
    response_class=PdfResponse,
    responses=refusals(*CODES),
)
async def as_pdf(
    mailbox_id: MailboxId, made: Annotated[Rendered[bytes], Depends(Render(setup_pdf))], _call: Read
) -> Response:
    """In your name and with your logo: what to type into Outlook, a phone and Thunderbird. No password is on it."""
    return send_bytes(made.content, f"setup-{mailbox_id}.pdf", "application/pdf")


@router.get(
    "/setup/html",
    operation_id="getSetupPage",
    summary="The setup sheet of a mailbox, as a page",
    response_class=HTMLResponse,
    responses=refusals(*CODES),
)
async def as_page(made: Annotated[Rendered[str], Depends(Render(setup_page))], _call: Read) -> Response:
    """What its PDF says, as one file without anything from elsewhere."""
    return send_page(made.content, made.language)
