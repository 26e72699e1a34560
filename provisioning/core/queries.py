"""The query layer's half of tenant isolation, and the few query shapes every noun shares."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from provisioning.core.database import violated_constraint
from provisioning.core.errors import Conflict


class Owned(Protocol):
    reseller_id: Any


OwnedTable = TypeVar("OwnedTable", bound=Owned)


def owned(table: type[OwnedTable], reseller_id: str) -> Select[OwnedTable]:
    """Every select on an owned table begins here; row-level security refuses what would pass by it."""
    return select(table).where(table.reseller_id == reseller_id)


@asynccontextmanager
async def unique_or_conflict(field: str) -> AsyncIterator[None]:
    """Turns a clash on a unique constraint that names `field` into Conflict `<field>_taken`."""
    try:
        yield
    except IntegrityError as error:
        if field in (violated_constraint(error) or ""):
            raise Conflict(f"This {field} is in use already.", code=f"{field}_taken") from error
        raise


async def flush_unique(session: AsyncSession, field: str) -> None:
    """Write what is pending, here and not at commit, where nobody knows any more what was wished for."""
    async with unique_or_conflict(field):
        await session.flush()
