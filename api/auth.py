"""From an API key to a principal: who calls, in which reseller's name, with which scopes."""

from typing import Annotated

from fastapi import Header, Request, Security
from fastapi.security import HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from api.context import Context
from provisioning.core.errors import Forbidden, NotFound, Unauthorized
from provisioning.keys import Principal, authenticate, hash_secret
from provisioning.terms import Standing

bearer = HTTPBearer(
    scheme_name="ApiKey",
    bearerFormat="pfw_…",
    description="Your API key, as `Authorization: Bearer pfw_…`. Keys are made with `postfachwerk key create` or "
    "`POST /v1/api-keys` and shown once.",
    auto_error=False,
)

BearerDep = Security(bearer)

ACTING_FOR = "Postfachwerk-Reseller"

ActingForDep = Annotated[
    str | None,
    Header(
        alias=ACTING_FOR,
        max_length=64,
        pattern=r"^[!-~]+$",
        description="For operator keys only: the id of the reseller to act for.",
    ),
]


def presented_key(request: Request) -> str:
    """The key of the Authorization header. Raises Unauthorized."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized("Send your API key as `Authorization: Bearer pfw_…`.")
    return key.strip()


async def authenticated(
    session: AsyncSession, request: Request, context: Context, *, acting_for: str | None, keeps_rules: bool = False
) -> Principal:
    """The principal, with the transaction running in its name (and see `authenticate`). Raises Unauthorized."""
    secret_hash = hash_secret(presented_key(request), pepper=context.pepper)
    principal = await authenticate(
        session, secret_hash, acting_for=acting_for, now=context.clock.now(), keeps_rules=keeps_rules
    )
    if principal is None:
        raise Unauthorized("This API key is unknown, expired or revoked.")
    return principal


def check_scope(principal: Principal, scope: str | None) -> None:
    """Raises Forbidden naming the scope that the key lacks."""
    if scope is not None and scope not in principal.scopes:
        raise Forbidden(
            f"The key lacks the scope {scope}. Make one that has it, or ask the key's owner.",
            code="missing_scope",
            missing_scope=scope,
        )


def check_tenant(principal: Principal, *, acting_for: str | None, writes: bool, anyone: bool = False) -> None:
    """Raises NotFound for an unknown reseller to act for, Forbidden for a suspended one that would write.

    An operator that acts for nobody gets on only where `anyone` may call.
    """
    if principal.reseller_id is None and acting_for is not None:
        raise NotFound(f"There is no reseller {acting_for}.")
    if principal.reseller_id is None and not anyone:
        raise Forbidden(
            f"Resellers' objects need a reseller: name one in the header {ACTING_FOR}.", code="reseller_needed"
        )
    if writes and not principal.operator and principal.standing is Standing.SUSPENDED:
        raise Forbidden(
            "Your account is suspended: everything can be read, nothing ordered or changed. Ask your provider.",
            code="reseller_suspended",
        )


def check_operator(principal: Principal) -> None:
    if not principal.operator or principal.reseller_id is not None:
        raise Forbidden("This is for the operator's own key, acting for nobody.", code="operator_only")
