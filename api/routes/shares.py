"""Shares: who may open what of whose mailbox, in the plain word and in Exchange's own role."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import RowMapping

from api.deps import Call, Requires
from api.openapi import refusals
from api.paging import Page, PageDep
from api.routing import Moment, Route
from api.views import MailboxId
from provisioning import shares
from provisioning.core.errors import NotFound
from provisioning.mailboxes import get_mailbox, lock_present
from provisioning.roles import ROLES, Right, Role, mask_on, rights_of, roles_on
from provisioning.terms import SCOPES, Access, MailboxState, Scope, ServiceClass, ShareState

router = APIRouter(prefix="/v1", tags=["shares"], route_class=Route)

Read = Annotated[Call, Depends(Requires("shares:read"), scope="function")]
Write = Annotated[Call, Depends(Requires("shares:write"), scope="function")]
ScopePath = Annotated[Scope, Path(description="What is opened.")]

EXPIRY_MAX = datetime(2200, 1, 1, tzinfo=UTC)

_SEES_PRIVATE = ("shows_private_items", "Who has full access also sees items marked as private.")
_CANNOT_SEND = ("does_not_include_sending", "It does not include sending in the owner's name: grant send_as for that.")
_FOLDER_BY_FOLDER = (
    "folder_by_folder",
    "There is no single right to read a whole mailbox: every folder gets its own, later ones copy their parent's.",
)
_HIDES_PRIVATE = ("hides_private_items", "Items marked as private stay hidden.")


class ShareWish(BaseModel):
    """How far the share goes: the plain word, or an exact role. The two rights to send need neither."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"access": "read_write"}, {"role": "Author", "expires_at": "2026-12-31T23:00:00Z"}]
        },
    )

    access: Access | None = None
    role: str | None = Field(
        None, min_length=1, max_length=64, description="A name of GET /v1/permission-roles, or its EWS spelling."
    )
    expires_at: Moment | None = Field(None, le=EXPIRY_MAX, description="When it ends by itself; null for never.")


class Caution(BaseModel):
    """Something that people expect otherwise."""

    code: str
    message: str


class RoleView(BaseModel):
    """What can be granted on a scope."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "scope": "calendar",
                    "access": "read",
                    "role": "Reviewer",
                    "mask": 7169,
                    "rights": ["ReadItems", "FolderVisible", "AvailabilityOnly", "LimitedDetails"],
                    "classes": ["exchange"],
                    "warnings": [],
                }
            ]
        }
    )

    scope: Scope
    access: Access | None = Field(description="The plain word; null for roles that have none.")
    role: Role
    mask: int | None = Field(description="The rights as bits, as stored; null for a grant on the mailbox itself.")
    rights: list[str] = Field(description="The same by their cmdlet names.")
    classes: list[ServiceClass] = Field(description="Classes whose mailboxes can be shared so.")
    warnings: list[Caution]


class RoleCatalogue(BaseModel):
    roles: list[RoleView]


class ShareView(BaseModel):
    """A share as it stands."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "shr_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "mailbox_id": "mbx_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "grantee_id": "mbx_01k9z3f6m2w5t8y1c4e7h0j3n7",
                    "grantee_address": "sekretariat@kanzlei-lindenhof.example",
                    "scope": "calendar",
                    "access": "read_write",
                    "role": "Editor",
                    "mask": 7291,
                    "rights": ["ReadItems", "CreateItems", "EditOwnedItems"],
                    "warnings": [],
                    "state": "active",
                    "expires_at": None,
                    "version": 2,
                    "created_at": "2026-11-17T10:00:00Z",
                }
            ]
        }
    )

    id: str
    mailbox_id: str = Field(description="The owner.")
    grantee_id: str
    grantee_address: str
    scope: Scope
    access: Access | None = Field(description="The plain word; null for roles that have none.")
    role: Role
    mask: int | None
    rights: list[str]
    warnings: list[Caution]
    state: ShareState = Field(description="pending until the backend has confirmed it.")
    expires_at: datetime | None
    version: int = Field(description="The ETag.")
    created_at: datetime


class AccessView(BaseModel):
    """One line of who can open what."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "share_id": "shr_01k9z3f6m2w5t8y1c4e7h0j3n6",
                    "mailbox_id": "mbx_01k9z3f6m2w5t8y1c4e7h0j3n7",
                    "address": "sekretariat@kanzlei-lindenhof.example",
                    "display_name": "Sekretariat",
                    "mailbox_state": "active",
                    "scope": "calendar",
                    "access": "read_write",
                    "role": "Editor",
                    "state": "active",
                    "expires_at": None,
                }
            ]
        }
    )

    share_id: str
    mailbox_id: str = Field(description="The other side: who can open it, or what can be opened.")
    address: str
    display_name: str
    mailbox_state: MailboxState
    scope: Scope
    access: Access | None
    role: Role
    state: ShareState
    expires_at: datetime | None


def warnings_of(scope: Scope, role: Role) -> list[Caution]:
    said: list[tuple[str, str]] = []
    mask = mask_on(scope, role)
    if role is Role.FULL_ACCESS:
        said = [_SEES_PRIVATE, _CANNOT_SEND]
    elif scope is Scope.MAILBOX:
        said = [_FOLDER_BY_FOLDER, _HIDES_PRIVATE, _CANNOT_SEND]
    elif mask is not None and mask & Right.READ_ITEMS and scope is Scope.CALENDAR:
        said = [_HIDES_PRIVATE]
    if scope in (Scope.INBOX, Scope.CALENDAR) and mask is not None and mask & Right.CREATE_ITEMS:
        said.append(_CANNOT_SEND)
    return [Caution(code=code, message=message) for code, message in said]


def _rights(scope: Scope, role: Role) -> dict[str, Any]:
    mask = mask_on(scope, role)
    rights = [str(role)] if mask is None else rights_of(mask)
    return {"mask": mask, "rights": rights, "warnings": warnings_of(scope, role)}


def _view(row: RowMapping) -> ShareView:
    return ShareView.model_validate({**row, **_rights(row["scope"], row["role"])})


async def shown(call: Call, mailbox_id: str, scope: Scope, grantee_id: str) -> ShareView:
    return _view(
        await shares.read_share(call.session, call.reseller_id, mailbox_id, scope=scope, grantee_id=grantee_id)
    )


@router.get(
    "/mailboxes/{mailbox_id}/shares",
    operation_id="listShares",
    summary="List what a mailbox shares",
    response_model=Page[ShareView],
)
async def list_(mailbox_id: MailboxId, call: Read, page: PageDep) -> Response:
    """Oldest first."""
    rows = await shares.list_shares(call.session, call.reseller_id, mailbox_id, after=page.after, limit=page.fetch)
    if not rows:
        await get_mailbox(call.session, call.reseller_id, mailbox_id)  # none of that name, or none shared
    return await call.answer(page.page(rows, _view, lambda row: row["id"]))


@router.get(
    "/mailboxes/{mailbox_id}/shares/{scope}/{grantee}",
    operation_id="getShare",
    summary="Read a share",
    response_model=ShareView,
)
async def read(mailbox_id: MailboxId, scope: ScopePath, grantee: MailboxId, call: Read) -> Response:
    view = await shown(call, mailbox_id, scope, grantee)
    return await call.answer(view, version=view.version)


@router.put(
    "/mailboxes/{mailbox_id}/shares/{scope}/{grantee}",
    operation_id="putShare",
    summary="Share, or change a share",
    status_code=202,
    response_model=ShareView,
    responses={
        200: {"model": ShareView, "description": "Nothing a data centre has to follow."},
        **refusals(
            "class_does_not_support_scope",
            "mailbox_deleted",
            "rival_right_to_send",
            "share_across_customers",
            "share_with_itself",
        ),
    },
)
async def put(
    mailbox_id: MailboxId, scope: ScopePath, grantee: MailboxId, call: Write, wish: ShareWish | None = None
) -> Response:
    """The answer's `warnings` say what people expect otherwise. Putting what stands changes nothing."""
    wish = wish or ShareWish()
    mailbox = await shares.lock_pair(call.session, call.reseller_id, mailbox_id, grantee)
    granted = await shares.put_share(
        call.session,
        mailbox,
        grantee,
        scope=scope,
        access=wish.access,
        role=wish.role,
        expires_at=wish.expires_at,
        if_match=call.if_match(),
        now=call.now,
    )
    if granted.changed:
        role = granted.share.role
        await call.record("share.grant", [mailbox_id], scope=scope, grantee=grantee, role=role)
    return await call.accept(granted.operation, lambda later: shown(later, mailbox_id, scope, grantee))


@router.delete(
    "/mailboxes/{mailbox_id}/shares/{scope}/{grantee}",
    operation_id="deleteShare",
    summary="End a share",
    status_code=202,
    response_model=ShareView,
    responses={200: {"model": ShareView, "description": "It is ending already."}, **refusals("mailbox_deleted")},
)
async def delete(mailbox_id: MailboxId, scope: ScopePath, grantee: MailboxId, call: Write) -> Response:
    """It is gone once the data centre has confirmed; until then it shows as `revoking`."""
    mailbox = await lock_present(call.session, call.reseller_id, mailbox_id)
    share = await shares.get_share(call.session, call.reseller_id, mailbox_id, scope=scope, grantee_id=grantee)
    shares.check_version(share, call.if_match())
    operation = await shares.revoke_share(call.session, mailbox, share, now=call.now)
    if operation is not None:
        await call.record("share.revoke", [mailbox_id], scope=scope, grantee=grantee)
    await call.session.flush()
    last = await shown(call, mailbox_id, scope, grantee)

    async def ended(later: Call) -> ShareView:
        try:
            return await shown(later, mailbox_id, scope, grantee)
        except NotFound:
            return last.model_copy(update={"state": ShareState.REVOKED})

    return await call.accept(operation, ended)


@router.get(
    "/mailboxes/{mailbox_id}/access",
    operation_id="listAccess",
    summary="Who can open a mailbox, or what its user can open",
    response_model=Page[AccessView],
)
async def access(
    mailbox_id: MailboxId,
    call: Read,
    page: PageDep,
    direction: Annotated[
        Literal["inbound", "outbound"],
        Query(description="inbound: who can open this mailbox; outbound: what its user can open."),
    ] = "inbound",
) -> Response:
    """Oldest first."""
    rows = await shares.list_access(
        call.session, call.reseller_id, mailbox_id, direction=direction, after=page.after, limit=page.fetch
    )
    if not rows:
        await get_mailbox(call.session, call.reseller_id, mailbox_id)
    return await call.answer(page.page(rows, AccessView.model_validate, lambda row: row["share_id"]))


@router.get(
    "/permission-roles",
    operation_id="listPermissionRoles",
    summary="What can be granted on what",
    response_model=RoleCatalogue,
)
async def list_roles(call: Read) -> Response:
    """Every scope with its plain words, the exact roles, their masks and single rights."""
    return await call.answer(
        RoleCatalogue(roles=[_role_view(scope, role) for scope in Scope for role in roles_on(scope)])
    )


def _role_view(scope: Scope, role: Role) -> RoleView:
    words = {each: word for word, each in ROLES.get(scope, {}).items()}
    classes = [each for each in ServiceClass if scope in SCOPES[each]]
    return RoleView(scope=scope, access=words.get(role), role=role, classes=classes, **_rights(scope, role))
