"""`postfachwerk payments`: bring all payments in line with Stripe, and let go of what waits for people."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer

from api.composition import open_context
from billing import payments
from billing.gateways.base import TryAgain
from billing.reconciliation import Reconciled, reconcile
from billing.settlement import lock_payment
from provisioning.audit import record_events
from provisioning.core.errors import Unavailable
from provisioning.core.settings import Settings

ACTOR = "command line"
LEFT = 3
"""Exit code when the outcome of an attempt is not known yet, or an event waits."""

app = typer.Typer(
    no_args_is_help=True,
    help="Payments: ask Stripe what became of everything that is under way.\n\n"
    "Workers do the same bit by bit; `reconcile` does it in one go, as after an outage.",
)


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


@app.command()
def release(payment: Annotated[str, typer.Argument(help="Id of the payment (pay_…).")]) -> None:
    """Give up an attempt whose key came with another body, once you have seen at Stripe that nothing came of it.

    The payment is then collected anew, with a new key.
    """
    asyncio.run(_release(payment))
    typer.echo("Released; a worker collects it.")


async def _release(payment_id: str) -> None:
    async with open_context(Settings()) as context, context.database.as_system() as session:
        now = context.clock.now()
        held = await lock_payment(session, payment_id)
        await payments.release(session, held, now=now)
        await record_events(session, None, actor=ACTOR, action="payment.release", resource_ids=[payment_id], now=now)


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
