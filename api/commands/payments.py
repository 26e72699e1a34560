"""`postfachwerk payments`: bring all in line with Stripe, dun what is overdue, let go of what waits for people."""

import asyncio
from datetime import UTC, date, datetime
from typing import Annotated

import typer

from api.composition import open_context
from api.dunning_jobs import dun_now
from billing import payments
from billing.dunning import BLOCK
from billing.dunning_cases import Case, Outlook, outlook, overdue_cases, read_policy
from billing.gateways.base import TryAgain
from billing.money import format_eur
from billing.reconciliation import Reconciled, reconcile
from billing.settlement import lock_payment
from provisioning.audit import record_events
from provisioning.core.clock import berlin_day
from provisioning.core.errors import Unavailable
from provisioning.core.settings import Settings

ACTOR = "command line"
LEFT = 3
"""Exit code when the outcome of an attempt is not known yet, or an event waits."""

app = typer.Typer(
    no_args_is_help=True,
    help="Payments: ask Stripe what became of everything that is under way, and dun what is overdue.\n\n"
    "Workers do the same bit by bit; `reconcile` and `dunning` do it in one go, as after an outage.",
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


@app.command("dunning")
def dunning_command(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what is overdue and what would be done today.")
    ] = False,
) -> None:
    """Take the steps that are due today, each once, and suspend or resume service as invoices stand.

    Workers do so by themselves every day; called again, it finds nothing to do.

    Example: postfachwerk payments dunning --dry-run
    """
    typer.echo(asyncio.run(_list_overdue() if dry_run else _dun()))


async def _dun() -> str:
    async with open_context(Settings()) as context:
        return f"{await dun_now(context, again=True)} steps taken."


async def _list_overdue() -> str:
    lines, due, after = [], 0, ""
    async with open_context(Settings()) as context, context.database.as_system() as session:
        today = berlin_day(context.clock.now())
        policy = await read_policy(session)
        while cases := await overdue_cases(session, today=today, after=after, block=BLOCK):
            after = cases[-1].payment_id
            for case in cases:
                seen = outlook(case, policy)
                is_due = seen.hold is None and seen.coming is not None and seen.coming.on <= today
                due += is_due
                lines.append(_line(case, seen, today=today, is_due=is_due))
    return "\n".join([*lines, f"{len(lines)} overdue, {due} steps due today; nothing was done."])


def _line(case: Case, seen: Outlook, *, today: date, is_due: bool) -> str:
    """One invoice: number, reseller, days overdue, what is owed, and what comes next or why nothing does."""
    if seen.hold is not None:
        what = f"held: {seen.hold}"
    elif seen.coming is None:
        what = "every step taken"
    elif is_due:
        what = f"today: {seen.coming.step.kind}, fee {format_eur(seen.coming.step.fee_cents)}"
    else:
        what = f"{seen.coming.step.kind} on {seen.coming.on}"
    overdue = (today - case.due_on).days
    return f"{case.number}  {case.reseller_id}  {overdue} days overdue  {format_eur(case.owed_cents)}  {what}"
