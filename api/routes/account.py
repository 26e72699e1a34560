"""Who calls and what is left of the limits, and the API keys of a reseller or of the operator."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page, PageDep
from api.routing import Moment, Route
from provisioning import keys
from provisioning.core.ids import ID_PATTERN
from provisioning.tenants import ApiKey, get_reseller, get_usage
from provisioning.terms import Standing

router = APIRouter(prefix="/v1", tags=["account"], route_class=Route)

Anyone = Annotated[Call, Depends(Requires(None, anyone=True), scope="function")]
Keys = Annotated[Call, Depends(Requires("keys:write", anyone=True), scope="function")]
# A key that has leaked must end, whatever its owner owes.
Revoke = Annotated[Call, Depends(Requires("keys:write", anyone=True, while_suspended=True), scope="function")]
KeyId = Annotated[str, Path(pattern=f"^key_{ID_PATTERN}$", description="key_…")]

# Said in the document only: a scope that there is none of is refused by the service, which names those there are.
ScopeName = Annotated[str, Field(max_length=64, json_schema_extra={"enum": sorted(keys.OPERATOR_SCOPES)})]

KEY_EXAMPLE: dict[str, JsonValue] = {
    "id": "key_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "name": "dashboard",
    "prefix": "pfw_rs_1f0a9c3e",
    "scopes": ["mailboxes:read", "mailboxes:write"],
    "created_at": "2026-11-17T10:00:00Z",
    "expires_at": "2027-11-17T10:00:00Z",
    "last_used_at": None,
    "revoked_at": None,
    "version": 1,
}
RESELLER_EXAMPLE: dict[str, JsonValue] = {
    "id": "res_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "name": "IT-Haus Goslar",
    "standing": "good",
    "standing_reason": None,
    "service_suspended_at": None,
    "service_suspended_reason": None,
    "mailboxes": {"max": 500, "used": 12},
    "customers": {"max": None, "used": 1},
}
ME_EXAMPLE: dict[str, JsonValue] = {
    "key_id": "key_01k9z3f6m2w5t8y1c4e7h0j3n6",
    "key_name": "dashboard",
    "operator": False,
    "scopes": ["mailboxes:read", "mailboxes:write"],
    "reseller": RESELLER_EXAMPLE,
}


class Limit(BaseModel):
    max: int | None = Field(description="null where nothing but use itself sets an end.")
    used: int


class ResellerRef(BaseModel):
    """The reseller this key belongs to, or that an operator acts for."""

    id: str
    name: str
    standing: Standing
    standing_reason: str | None
    service_suspended_at: datetime | None = Field(
        description="Since when login and sending are stopped in all mailboxes because an invoice is not paid."
    )
    service_suspended_reason: str | None
    mailboxes: Limit
    customers: Limit


class Me(BaseModel):
    """The caller. `reseller` is null for an operator that acts for nobody."""

    model_config = ConfigDict(json_schema_extra={"examples": [ME_EXAMPLE]})

    key_id: str
    key_name: str
    operator: bool
    scopes: list[ScopeName]
    reseller: ResellerRef | None


class ApiKeyOrder(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "dashboard", "scopes": ["mailboxes:read"]}]}
    )

    name: str = Field(min_length=1, max_length=128)
    scopes: list[ScopeName] = Field(
        min_length=1, max_length=50, description=f"A reseller's: {', '.join(sorted(keys.RESELLER_SCOPES))}."
    )
    expires_at: Moment | None = Field(None, description="Ten years ahead at most; never when left out.")


class ApiKeyChange(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "old dashboard"}]})

    name: str = Field(min_length=1, max_length=128)


class Rotation(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"overlap_hours": 48}]})

    overlap_hours: Annotated[int, Field(ge=0, le=168, strict=True)] = Field(
        24, description="How long the old key works on beside the new one."
    )


class ApiKeyView(BaseModel):
    """A key without its secret, which is kept nowhere. `prefix` is how to recognise it in your settings."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [KEY_EXAMPLE]})

    id: str
    name: str
    prefix: str
    scopes: list[ScopeName]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None
    version: int = Field(description="Counts the changes; the ETag begins with it.")


class ApiKeyCreated(ApiKeyView):
    """A new key, with its secret in this one answer only."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**KEY_EXAMPLE, "secret": "pfw_rs_1f0a9c3e_…"}]})

    secret: str | None = Field(None, description="The whole key, shown once; null when this answer is replayed.")


async def make_key(call: Call, reseller_id: str | None, order: ApiKeyOrder) -> Response:
    """A key of this reseller, or of the operator (None), that can do no more than the caller's."""
    keys.check_can_grant(call.principal, order.scopes)
    new = await keys.create_key(
        call.session,
        reseller_id,
        name=order.name,
        scopes=frozenset(order.scopes),
        expires_at=order.expires_at,
        pepper=call.context.pepper,
        now=call.now,
    )
    await call.record("api_key.create", [new.key.id], reseller=reseller_id, name=order.name, scopes=new.key.scopes)
    return await _answer_created(call, new)


async def _answer_created(call: Call, new: keys.NewKey) -> Response:
    """201 with the secret, which is in no answer that is stored or replayed."""
    view = ApiKeyCreated.model_validate(new.key)
    shown, location = view.model_copy(update={"secret": new.secret}), f"/v1/api-keys/{view.id}"
    return await call.answer(view, once=shown, status=201, location=location, version=view.version, derived=True)


async def _answer(call: Call, key: ApiKey) -> Response:
    await call.session.flush()  # the version that is shown is the one stored
    return await call.answer(ApiKeyView.model_validate(key), version=key.version, derived=True)


@router.get("/me", operation_id="getMe", summary="Who am I, and what may I do?", response_model=Me)
async def me(call: Anyone) -> Response:
    who = call.principal
    reseller = None
    if who.reseller_id is not None:
        row = await get_reseller(call.session, who.reseller_id)
        usage = await get_usage(call.session, row.id, row.id)
        reseller = ResellerRef(
            id=row.id,
            name=row.name,
            standing=row.standing,
            standing_reason=row.standing_reason,
            service_suspended_at=row.service_suspended_at,
            service_suspended_reason=row.service_suspended_reason,
            mailboxes=Limit(max=row.mailboxes_max, used=usage.mailboxes),
            customers=Limit(max=row.customers_max, used=usage.customers),
        )
    scopes = sorted(who.scopes)
    return await call.answer(
        Me(key_id=who.key_id, key_name=who.key_name, operator=who.operator, scopes=scopes, reseller=reseller)
    )


@router.post(
    "/api-keys",
    operation_id="createApiKey",
    summary="Make an API key; its secret is shown once",
    status_code=201,
    response_model=ApiKeyCreated,
    responses=refusals("scope_escalation", status=403),
)
async def create(order: ApiKeyOrder, call: Keys) -> Response:
    """The key is of the same reseller as yours, and has no scope that yours has not."""
    return await make_key(call, call.principal.reseller_id, order)


@router.get("/api-keys", operation_id="listApiKeys", summary="List API keys", response_model=Page[ApiKeyView])
async def list_(call: Keys, page: PageDep) -> Response:
    """Newest first, revoked and expired ones included."""
    rows = await keys.list_keys(call.session, call.principal.reseller_id, before=page.after, limit=page.fetch)
    return await call.answer(page.page(rows, ApiKeyView.model_validate, lambda row: row.id))


@router.get("/api-keys/{key_id}", operation_id="getApiKey", summary="Read an API key", response_model=ApiKeyView)
async def read(key_id: KeyId, call: Keys) -> Response:
    return await _answer(call, await keys.get_key(call.session, call.principal.reseller_id, key_id))


@router.patch("/api-keys/{key_id}", operation_id="changeApiKey", summary="Rename an API key", response_model=ApiKeyView)
async def change(key_id: KeyId, change: ApiKeyChange, call: Keys) -> Response:
    key = await _locked(call, key_id)
    key.name = change.name
    await call.record("api_key.change", [key_id], name=change.name)
    return await _answer(call, key)


@router.delete(
    "/api-keys/{key_id}", operation_id="revokeApiKey", summary="Revoke an API key", response_model=ApiKeyView
)
async def revoke(key_id: KeyId, call: Revoke) -> Response:
    """It stops working at once, also when it is the one you call with. Also a suspended reseller can do it."""
    await _locked(call, key_id)
    key = await keys.revoke_key(call.session, call.principal.reseller_id, key_id, now=call.now)
    await call.record("api_key.revoke", [key_id])
    return await _answer(call, key)


@router.post(
    "/api-keys/{key_id}/rotate",
    operation_id="rotateApiKey",
    summary="Replace an API key; the old one works on for a while",
    status_code=201,
    response_model=ApiKeyCreated,
    responses={**refusals("key_not_active"), **refusals("scope_escalation", status=403)},
)
async def rotate(key_id: KeyId, rotation: Rotation, call: Keys) -> Response:
    """A new key with the same name, scopes and lifetime. Put it in place before the old one ends."""
    old = await _locked(call, key_id)
    keys.check_can_grant(call.principal, old.scopes)
    new = await keys.rotate_key(
        call.session,
        call.principal.reseller_id,
        key_id,
        overlap=timedelta(hours=rotation.overlap_hours),
        pepper=call.context.pepper,
        now=call.now,
    )
    await call.record("api_key.rotate", [key_id], new_key=new.key.id, overlap_hours=rotation.overlap_hours)
    return await _answer_created(call, new)


async def _locked(call: Call, key_id: str) -> ApiKey:
    key = await keys.get_key(call.session, call.principal.reseller_id, key_id, lock=True)
    call.check_if_match(key.version)
    return key
