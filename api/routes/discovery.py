"""Where a mailbox's programs ask for their servers: Outlook, phones, Thunderbird, calendars. Without a key.

Whoever asks gets an answer of the domain's, whether the address exists or not: `provisioning.discovery` says how.
Parameters that are not known are ignored and names compared without case, since nobody here writes these programs.
"""

import base64
import binascii
import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from api.context import Context
from api.discovery import apple, autoconfig, autodiscover
from api.openapi import refusals
from provisioning import discovery, dns_records
from provisioning.core.errors import NotFound
from provisioning.endpoints import Offer
from provisioning.names import domain_to_ascii, readable_address

AWAY = refusals("unavailable", status=503)
UNKNOWN = refusals("not_found", status=404)
_NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_POX = "/autodiscover/autodiscover.xml"
_ADDRESS = "anna.krueger@kanzlei-lindenhof.example"


class AnyCase(APIRoute):
    """Answers to /Autodiscover/Autodiscover.xml too, as Outlook writes it."""

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.path_regex = re.compile(self.path_regex.pattern, re.IGNORECASE)


router = APIRouter(tags=["discovery"], route_class=AnyCase)


class ServiceLocation(BaseModel):
    """Autodiscover, version 2."""

    Protocol: str
    Url: str


class DiscoveryError(BaseModel):
    ErrorCode: str
    ErrorMessage: str


def _parameter(name: str, example: str, description: str, *, place: str = "query") -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": 320}
    shown = {"name": name, "in": place, "required": place == "path", "description": description, "schema": schema}
    return {**shown, "example": example}


def _file(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    content = {media_type.partition(";")[0]: {"schema": {"type": "string"}}}
    return {200: {"description": description, "content": content}}


_PROTOCOL: dict[str, Any] = {
    **_parameter("Protocol", "ActiveSync", "In any case of letters."),
    "required": True,
    "schema": {"type": "string", "enum": ["ActiveSync", "AutodiscoverV1"]},
}
_EMAIL_ADDRESS = _parameter("emailaddress", _ADDRESS, "When left out, the host says which domain is meant.")
_QUESTION = f"""<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">
  <Request>
    <EMailAddress>{_ADDRESS}</EMailAddress>
    <AcceptableResponseSchema>{autodiscover.OUTLOOK}</AcceptableResponseSchema>
  </Request>
</Autodiscover>
"""
_LOCATION: dict[int | str, dict[str, Any]] = {
    200: {"model": ServiceLocation, "description": "Where it is."},
    400: {"model": DiscoveryError, "description": "No address, or no protocol that there is."},
    404: {
        "model": DiscoveryError,
        "description": "The domain is not served here, or the mailbox lacks this.",
    },
    **AWAY,
}


@router.post(
    _POX,
    operation_id="autodiscover",
    summary="Outlook and ActiveSync devices find their servers",
    response_class=Response,
    responses={**_file(autodiscover.MEDIA_TYPE, "The settings, or an error in the same format."), **AWAY},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"text/xml": {"schema": {"type": "string"}, "example": _QUESTION}},
        }
    },
)
async def pox(request: Request) -> Response:
    """Autodiscover, version 1, in both schemas. Errors: 500 nobody serves this domain, 600 no request, 601 not for
    this mailbox."""
    context: Context = request.app.state.context
    body = await _body(request)
    question = None if body is None else autodiscover.read_question(body)
    if question is None:
        return _refuse_pox(context, autodiscover.INVALID_REQUEST)
    offer = await _find(context, question.address)
    if offer is None:
        return _refuse_pox(context, autodiscover.NOT_FOUND)
    settings = autodiscover.write_settings(question, offer)
    if settings is None:
        return _refuse_pox(context, autodiscover.NO_PROVIDER)
    return Response(settings, media_type=autodiscover.MEDIA_TYPE, headers=_NO_STORE)


@router.get(
    _POX,
    operation_id="redirectAutodiscover",
    summary="Where Autodiscover may be asked safely",
    response_class=Response,
    responses={
        **_file(autodiscover.MEDIA_TYPE, "An error: it is here that it must be posted."),
        302: {"description": "To the service's own host."},
    },
)
async def redirect_pox(request: Request) -> Response:
    """Programs that find no certificate for autodiscover.<domain> ask there by plain HTTP, and follow (MS-OXDISCO)."""
    context: Context = request.app.state.context
    target = f"{context.public_url}{_POX}"
    if request.url.hostname is None or f"//{request.url.netloc}/" in target:
        return _refuse_pox(context, autodiscover.INVALID_REQUEST)
    return RedirectResponse(target, 302, headers=_NO_STORE)


@router.get(
    "/autodiscover/autodiscover.json",
    operation_id="locateService",
    summary="Outlook finds one service",
    responses=_LOCATION,
    openapi_extra={"parameters": [{**_parameter("Email", _ADDRESS, "Whose mailbox."), "required": True}, _PROTOCOL]},
)
async def locate(request: Request) -> Response:
    """Autodiscover, version 2."""
    return await _locate(request, _given(request, "email"))


@router.get(
    "/autodiscover/autodiscover.json/v1.0/{email}",
    operation_id="locateServiceOf",
    summary="Outlook finds one service, with the address in the path",
    responses=_LOCATION,
    openapi_extra={"parameters": [_parameter("email", _ADDRESS, "Whose mailbox.", place="path"), _PROTOCOL]},
)
async def locate_of(request: Request) -> Response:
    """Autodiscover, version 2."""
    return await _locate(request, str(request.path_params["email"]))


@router.get(
    "/mail/config-v1.1.xml",
    operation_id="autoconfig",
    summary="Thunderbird finds its servers",
    response_class=Response,
    responses={**_file(autoconfig.MEDIA_TYPE, "The servers."), **UNKNOWN, **AWAY},
    openapi_extra={"parameters": [_EMAIL_ADDRESS]},
)
async def config(request: Request) -> Response:
    """Mozilla's autoconfig, at autoconfig.<domain>."""
    context: Context = request.app.state.context
    address = _given(request, "emailaddress")
    async with context.database.as_system() as session:
        if address:
            domain: str | None = _domain_of(address)
            offer = await discovery.find_offer(session, address, key=context.pepper)
        else:
            domain = await discovery.find_domain_of_host(session, request.url.hostname or "")
            offer = await discovery.find_domain_offer(session, domain or "", key=context.pepper)
    if offer is None or domain is None or offer.submission is None or not (offer.imap or offer.pop3):
        raise NotFound("Nothing is known of servers for this address.")
    return Response(autoconfig.write_config(domain, offer), media_type=autoconfig.MEDIA_TYPE, headers=_NO_STORE)


@router.get(
    "/.well-known/autoconfig/mail/config-v1.1.xml",
    operation_id="wellKnownAutoconfig",
    summary="Thunderbird finds its servers, at the domain itself",
    response_class=Response,
    responses={**_file(autoconfig.MEDIA_TYPE, "The servers."), **UNKNOWN, **AWAY},
    openapi_extra={"parameters": [_EMAIL_ADDRESS]},
)
async def well_known_config(request: Request) -> Response:
    """The same, where the domain's own web server hands the question on."""
    return await config(request)


@router.get(
    "/mobileconfig",
    operation_id="appleProfile",
    summary="A profile that sets up iPhone, iPad and Mac",
    response_class=Response,
    responses={**_file(apple.MEDIA_TYPE, "The profile."), **UNKNOWN, **AWAY},
    openapi_extra={"parameters": [_parameter("email", _ADDRESS, "Whose mailbox.")]},
)
async def profile(request: Request) -> Response:
    """ActiveSync where the mailbox has it, else IMAP or POP3. There is no password in it: the device asks for it."""
    context: Context = request.app.state.context
    address = _given(request, "email")
    offer = await _find(context, address)
    content = None
    if offer is not None:
        content = apple.write_profile(readable_address(address), offer, issuer=context.service_domain)
    if content is None:
        raise NotFound("Nothing is known of servers for this address.")
    headers = {**_NO_STORE, "Content-Disposition": 'attachment; filename="mailbox.mobileconfig"'}
    return Response(content, media_type=apple.MEDIA_TYPE, headers=headers)


@router.get(
    "/.well-known/caldav",
    operation_id="locateCaldav",
    summary="Calendars are found by the host alone",
    response_class=Response,
    status_code=301,
    responses={301: {"description": "To the data centre."}, **UNKNOWN, **AWAY},
)
@router.api_route("/.well-known/caldav", methods=["PROPFIND"], include_in_schema=False)
async def caldav(request: Request) -> Response:
    """RFC 6764. Nobody has logged in yet, so the host must say which domain it is about, and all of that domain's
    calendars must lie in one data centre; else a user name that comes with the request decides. No password is
    asked for, looked at or kept."""
    return await _redirect_dav(request, "caldav_url")


@router.get(
    "/.well-known/carddav",
    operation_id="locateCarddav",
    summary="Contacts are found by the host alone",
    response_class=Response,
    status_code=301,
    responses={301: {"description": "To the data centre."}, **UNKNOWN, **AWAY},
)
@router.api_route("/.well-known/carddav", methods=["PROPFIND"], include_in_schema=False)
async def carddav(request: Request) -> Response:
    """As for calendars."""
    return await _redirect_dav(request, "carddav_url")


@router.get(
    "/.well-known/mta-sts.txt",
    operation_id="mtaStsPolicy",
    summary="Senders read how mail to a domain must come",
    response_class=Response,
    responses={**_file("text/plain", "The policy."), **UNKNOWN, **AWAY},
)
async def mta_sts(request: Request) -> Response:
    """RFC 8461, at mta-sts.<domain> of every verified domain."""
    context: Context = request.app.state.context
    host = request.url.hostname or ""
    async with context.database.as_system() as session:
        domain = await discovery.find_domain_of_host(session, host)
    if domain is None or host.lower() != f"mta-sts.{domain}":
        raise NotFound("There is no policy for this host.")
    return Response(dns_records.mta_sts_policy(context.service_domain), media_type="text/plain")


async def _find(context: Context, address: str) -> Offer | None:
    async with context.database.as_system() as session:
        return await discovery.find_offer(session, address, key=context.pepper)


async def _locate(request: Request, address: str) -> Response:
    context: Context = request.app.state.context
    if not address:
        return _refuse(400, "MandatoryParameterMissing", "A valid smtp address must be provided")
    wanted = _given(request, "protocol").lower()
    offer = await _find(context, address)
    if offer is None:
        return _refuse(404, "UserNotFound", "The given user is not found")
    urls = {"ActiveSync": offer.activesync_url, "AutodiscoverV1": f"{context.public_url}{_POX}"}
    here = {name.lower(): (name, url) for name, url in urls.items() if url is not None}
    if wanted not in here:
        # A protocol there is, but not for this mailbox, is nothing wrong with the question.
        status = 404 if wanted in map(str.lower, urls) else 400
        shown = ",".join(name for name, _ in here.values())
        return _refuse(status, "InvalidProtocol", f"The given protocol is invalid. Supported values are '{shown}'")
    protocol, url = here[wanted]
    return _json(ServiceLocation(Protocol=protocol, Url=url), 200)


async def _redirect_dav(request: Request, name: str) -> Response:
    context: Context = request.app.state.context
    user = _user_of(request.headers.get("authorization", ""))
    async with context.database.as_system() as session:
        domain = await discovery.find_domain_of_host(session, request.url.hostname or "")
        offers = await discovery.list_offers(session, domain or "")
        if (url := _only(offers, name)) is None and user:
            offer = await discovery.find_offer(session, user, key=context.pepper)
            url = _only([offer] if offer else [], name)
    if url is None:
        raise NotFound("The name of this host does not say in which data centre to look. Use the address of the setup.")
    return RedirectResponse(url, 301, headers=_NO_STORE)


def _only(offers: list[Offer], name: str) -> str | None:
    urls = {getattr(offer, name) for offer in offers} - {None}
    return str(urls.pop()) if len(urls) == 1 else None


def _user_of(authorization: str) -> str:
    """The name before the colon (RFC 7617)."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""


def _given(request: Request, name: str) -> str:
    """A query parameter by its name in any case; empty when it is not there."""
    return next((value.strip() for key, value in request.query_params.items() if key.lower() == name), "")


def _domain_of(address: str) -> str | None:
    try:
        return domain_to_ascii(address.rpartition("@")[2])
    except ValueError:
        return None


async def _body(request: Request) -> bytes | None:
    """None when it is too large to be a question."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > autodiscover.BODY_BYTES_MAX:
            return None
    return bytes(body)


def _refuse_pox(context: Context, error: tuple[int, str]) -> Response:
    content = autodiscover.write_error(error, server=context.public_url, now=context.clock.now())
    return Response(content, media_type=autodiscover.MEDIA_TYPE, headers=_NO_STORE)


def _refuse(status: int, code: str, message: str) -> Response:
    return _json(DiscoveryError(ErrorCode=code, ErrorMessage=message), status)


def _json(body: BaseModel, status: int) -> Response:
    return Response(body.model_dump_json(), status, headers=_NO_STORE, media_type="application/json")
