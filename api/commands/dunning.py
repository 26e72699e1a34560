"""`postfachwerk payments dunning`: dun what is overdue, here and now, or look what would be done."""

import asyncio
from datetime import date
from typing import Annotated

import typer

from api.composition import open_context
from api.dunning_jobs import dun_now
from billing.dunning import BLOCK
from billing.dunning_cases import Case, Outlook, outlook, overdue_cases, read_policy
from billing.money import format_eur
from provisioning.core.clock import berlin_day
from provisioning.core.settings import Settings


def dun(
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
