"""`postfachwerk key`: the first key of an operator, and keys for resellers."""

import asyncio
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from api.composition import open_context
from provisioning import keys
from provisioning.audit import record_events
from provisioning.core.settings import Settings
from provisioning.tenants import get_reseller

app = typer.Typer(no_args_is_help=True, help="API keys: create, list, revoke.")

Operator = Annotated[bool, typer.Option("--operator", help="A key of the operator, for everything.")]
Reseller = Annotated[str | None, typer.Option(help="Id of the reseller the key belongs to (res_…).")]


@app.command()
def create(
    operator: Operator = False,
    reseller: Reseller = None,
    name: Annotated[str, typer.Option(help="What it is for; shown in lists.")] = "command line",
    scope: Annotated[
        list[str] | None, typer.Option(help="May be given several times; all scopes of the owner when left out.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="Expires after so many days.")] = None,
) -> None:
    """Create a key and print it, alone on standard output. It cannot be shown again.

    Example: export KEY=$(postfachwerk key create --operator)
    """
    owner = _owner(operator=operator, reseller=reseller)
    secret = asyncio.run(_create(owner, name=name, scopes=scope, days=days))
    Console(stderr=True).print("[dim]Keep it safe: only its hash is stored.[/]")
    typer.echo(secret)


async def _create(owner: str | None, *, name: str, scopes: list[str] | None, days: int | None) -> str:
    allowed = keys.OPERATOR_SCOPES if owner is None else keys.RESELLER_SCOPES
    async with open_context(Settings()) as context, context.database.as_system() as session:
        now = context.clock.now()
        if owner is not None:
            await get_reseller(session, owner)
        new = await keys.create_key(
            session,
            owner,
            name=name,
            scopes=frozenset(scopes) if scopes else allowed,
            expires_at=None if days is None else now + timedelta(days=days),
            pepper=context.pepper,
            now=now,
        )
        await record_events(
            session, owner, actor="command line", action="api_key.create", resource_ids=[new.key.id], now=now
        )
        return new.secret


@app.command(name="list")
def list_(operator: Operator = False, reseller: Reseller = None) -> None:
    """List keys: prefix, scopes, last use; never the key itself."""
    owner = _owner(operator=operator, reseller=reseller)
    Console().print(asyncio.run(_list(owner)))


async def _list(owner: str | None) -> Table:
    table = Table()
    for name in ("id", "prefix"):
        table.add_column(name, no_wrap=True)
    for name in ("name", "scopes", "expires", "last used", "revoked"):
        table.add_column(name)
    every = keys.OPERATOR_SCOPES if owner is None else keys.RESELLER_SCOPES
    async with open_context(Settings()) as context, context.database.as_system() as session:
        for key in await keys.list_keys(session, owner, before=None, limit=200):
            scopes = "all" if every <= set(key.scopes) else ", ".join(key.scopes)
            moments = (key.expires_at, key.last_used_at, key.revoked_at)
            shown = [f"{moment:%Y-%m-%d %H:%M}" if moment else "" for moment in moments]
            table.add_row(key.id, key.prefix, key.name, scopes, *shown)
    return table


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Id of the key (key_…).")],
    operator: Operator = False,
    reseller: Reseller = None,
) -> None:
    """End a key at once."""
    owner = _owner(operator=operator, reseller=reseller)
    asyncio.run(_revoke(owner, key))
    Console().print(f"{key} is revoked.")


async def _revoke(owner: str | None, key_id: str) -> None:
    async with open_context(Settings()) as context, context.database.as_system() as session:
        now = context.clock.now()
        await keys.revoke_key(session, owner, key_id, now=now)
        await record_events(
            session, owner, actor="command line", action="api_key.revoke", resource_ids=[key_id], now=now
        )


def _owner(*, operator: bool, reseller: str | None) -> str | None:
    if operator == (reseller is not None):
        raise typer.BadParameter("say whose key: --operator, or --reseller res_…")
    return reseller
