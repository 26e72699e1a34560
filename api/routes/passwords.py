"""Passwords: set directly, or by the mailbox's user through a link that works once and its small public page."""

from base64 import b64encode
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from api.auth import ActingForDep, BearerDep
from api.context import Context
from api.deps import Call, Requires
from api.openapi import refusals
from api.routing import Route
from api.views import MailboxId, MailboxView, shown
from provisioning import mailboxes, passwords
from provisioning.core.errors import NotFound, Unavailable
from provisioning.names import readable_address

router = APIRouter(prefix="/v1/mailboxes/{mailbox_id}", tags=["mailboxes"], route_class=Route)
# For people without a key: not part of the API, and forgiving about what mail programs append to links.
page_router = APIRouter(prefix="/set-password", include_in_schema=False)

PASSWORD = Requires("mailboxes:password")
Password = Annotated[Call, Depends(PASSWORD, scope="function")]

# Two passwords of 256 characters, each of them four bytes and percent-encoded, with room to spare.
FORM_BYTES_MAX = 16 * 1024

_PAGES = Environment(
    loader=PackageLoader("api", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_PAGE = _PAGES.get_template("set_password.html")
_STYLE = (_PAGES.loader or PackageLoader("api")).get_source(_PAGES, "set_password.css")[0]
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Language",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}


class NewPassword(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"password": "correct horse battery staple"}]}
    )

    password: SecretStr = Field(
        min_length=passwords.LENGTH_MIN,
        max_length=passwords.LENGTH_MAX,
        description="Length counts, character classes do not. It is never returned and never logged.",
    )


class PasswordLinkView(BaseModel):
    """A link for the mailbox's user. It works once, and ends with any other change of the password."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "url": "https://mail.it-haus.example/set-password/nV3kqD0pW1xY7sT5uR9aB2cE4fG6hJ8kLmN0pQ2rS4t",
                    "expires_at": "2026-11-20T10:00:00Z",
                }
            ]
        }
    )

    url: str | None = Field(description="Shown once: null when this answer is replayed or only tried out.")
    expires_at: datetime


async def hashed(
    request: Request,
    mailbox_id: MailboxId,
    new: NewPassword,
    _credentials: Annotated[Any, BearerDep],
    acting_for: ActingForDep = None,
) -> str:
    """The hash, made before the call's own transaction opens: it takes about 0.1 s."""
    async with PASSWORD.before(request, acting_for) as (session, reseller_id):
        mailbox = await mailboxes.get_mailbox(session, reseller_id, mailbox_id)
    passwords.check_can_log_in(mailbox)
    secret = new.password.get_secret_value()
    passwords.check_password(secret, address=mailbox.address)
    return await passwords.hash_aside(secret)


@router.put(
    "/password",
    operation_id="setPassword",
    summary="Set the password of a mailbox",
    status_code=202,
    response_model=MailboxView,
    responses=refusals("mailbox_deleted", "mailbox_without_login"),
)
async def put(mailbox_id: MailboxId, password_hash: Annotated[str, Depends(hashed)], call: Password) -> Response:
    """Only a hash of it is kept. Links that were made before end with it."""
    mailbox = await mailboxes.lock_present(call.session, call.reseller_id, mailbox_id)
    call.check_if_match(mailbox.version)
    operation = await passwords.set_password(call.session, mailbox, password_hash=password_hash, now=call.now)
    await call.record("mailbox.password", [mailbox_id])
    return await call.accept(operation, lambda later: shown(later, mailbox_id))


@router.post(
    "/password-links",
    operation_id="createPasswordLink",
    summary="Make a link with which the user sets the password",
    status_code=201,
    response_model=PasswordLinkView,
    responses=refusals("mailbox_deleted", "mailbox_without_login"),
)
async def create_link(mailbox_id: MailboxId, call: Password) -> Response:
    """Good for one password within 72 hours. Hand it to nobody but the user."""
    mailbox = await mailboxes.lock_present(call.session, call.reseller_id, mailbox_id)
    link = await passwords.create_link(call.session, mailbox, now=call.now)
    await call.record("mailbox.password_link", [mailbox_id])
    url = f"{call.context.public_url.rstrip('/')}/set-password/{link.token}"
    return await call.answer(
        PasswordLinkView(url=None, expires_at=link.expires_at),
        status=201,
        once=PasswordLinkView(url=url, expires_at=link.expires_at),
    )


@page_router.get("/{token}")
async def form(token: str, request: Request) -> Response:
    """The form; opening it uses nothing up, since mail scanners open links too."""
    context: Context = request.app.state.context
    try:
        address = await _address_of(context, token)
    except NotFound:
        return _page(request, 404, state="invalid")
    except Unavailable:
        return _page(request, 503, state="unavailable")
    return _page(request, 200, state="form", address=address)


@page_router.post("/{token}")
async def submit(token: str, request: Request) -> Response:
    """Sets the password and uses the link up, in one transaction."""
    context: Context = request.app.state.context
    fields = await _read_form(request)
    if fields is None:
        return _page(request, 413, state="too_large")
    password = fields.get("password", "")
    try:
        address = await _address_of(context, token)
        weakness = passwords.find_weakness(password, address=address)
        if weakness is not None:
            return _page(request, 422, state="form", address=address, error=weakness.name.lower())
        if fields.get("again") != password:
            return _page(request, 422, state="form", address=address, error="different")
        await _use_link(context, token, password_hash=await passwords.hash_aside(password))
    except NotFound:
        return _page(request, 404, state="invalid")
    except Unavailable:
        return _page(request, 503, state="unavailable")
    return _page(request, 200, state="done")


async def _address_of(context: Context, token: str) -> str:
    async with context.database.as_system() as session:
        _, mailbox = await passwords.mailbox_of_link(session, token, now=context.clock.now())
    return readable_address(mailbox.address)


async def _use_link(context: Context, token: str, *, password_hash: str) -> None:
    now = context.clock.now()
    async with context.database.as_system() as session:
        await passwords.use_link(session, token, password_hash=password_hash, now=now)


async def _read_form(request: Request) -> dict[str, str] | None:
    """The fields of a form, those of an unreadable one missing; None when it is too large to be one of ours."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            return None
    try:
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=8)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}


def _page(
    request: Request, status: int, *, state: str, address: str | None = None, error: str | None = None
) -> HTMLResponse:
    content = _PAGE.render(
        language=_language(request.headers.get("accept-language", "")),
        style=_STYLE,
        state=state,
        address=address,
        error=error,
        minimum=passwords.LENGTH_MIN,
        maximum=passwords.LENGTH_MAX,
    )
    retry = {"Retry-After": "60"} if status == 503 else {}
    return HTMLResponse(content, status, headers={**_HEADERS, **retry})


def _language(accepted: str) -> str:
    """German or English, whichever Accept-Language (RFC 9110 12.5.4) prefers; German when it names neither."""
    weights: dict[str, float] = {}
    for choice in accepted.lower().split(","):
        name, _, parameter = choice.strip().partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        language = name.strip().partition("-")[0]
        weights[language] = max(weight, weights.get(language, 0.0))
    return "en" if weights.get("en", 0.0) > weights.get("de", 0.0) else "de"
