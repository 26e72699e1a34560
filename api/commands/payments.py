"""`postfachwerk payments`: bring all payments in line with Stripe, here and now."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer

from api.composition import open_context
from billing.gateways.base import TryAgain
from billing.reconciliation import Reconciled, reconcile
from provisioning.core.errors import Unavailable
from provisioning.core.settings import Settings

LEFT = 3
"""Exit code when the outcome of an attempt is not known yet, or an event waits."""

app = typer.Typer(
    no_args_is_help=True,
    help="Payments: ask Stripe what became of everything that is under way.\n\n"
    "Workers do the same bit by bit; `reconcile` does it in one go, as after an outage.",
)


@app.callback()
def group() -> None:
    """Without a callback, Typer would take the only command for the whole group."""


@app.command("reconcile")
def reconcile_command(
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Read Stripe's events from this day on again, thirty back at most."),
    ] = None,
) -> None:
    """Read the events that never arrived, handle all that wait, and look for every attempt without an answer.

    Exit code 0: nothing is open. 3: something is still unknown; workers go on, or call it again.
    """
    done = asyncio.run(_reconcile(None if since is None else since.replace(tzinfo=UTC)))
    typer.echo(
        f"{done.found} new events, {done.handled} handled, {done.waiting} waiting; "
        f"{done.looked_at} payments looked at, {done.unknown} attempts without an answer."
    )
    if done.unknown or done.waiting:
        raise typer.Exit(LEFT)


async def _reconcile(since: datetime | None) -> Reconciled:
    async with open_context(Settings()) as context:
        if context.gateway is None:
            typer.echo("There is nothing to reconcile with: set POSTFACHWERK_STRIPE_API_KEY.", err=True)
            raise typer.Exit(1)
        try:
            return await reconcile(
                context.database, context.gateway, now=context.clock.now(), policy=context.policy, since=since
            )
        except TryAgain as error:
            raise Unavailable(f"{error} Try again.") from error
