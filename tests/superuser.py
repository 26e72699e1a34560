"""What only the superuser of a test can do: write past triggers, row-level security and foreign keys."""

from collections.abc import Mapping
from typing import Any, LiteralString

import psycopg

from provisioning.core.database import Database
from tests.conftest import as_superuser


async def rewrite(database: Database, *statements: LiteralString, **parameters: Any) -> None:
    """Execute statements in one transaction that nothing guards; parameters stand in them as %(name)s."""
    values: Mapping[str, Any] = parameters
    async with await psycopg.AsyncConnection.connect(as_superuser(database.url)) as connection:
        await connection.execute("set local session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement, values)
