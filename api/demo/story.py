"""The story of the demo: a law office from its staff list to its invoice, told over REST."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from api.context import Context
from api.demo.dashboard import Dashboard, by_address
from api.demo.roster import Entry
from api.demo.show import invoice_table, mailboxes_table, shares_table, times_table
from billing.periods import BERLIN, BillingMonth, berlin_day
from provisioning.core.clock import SystemClock
from provisioning.keys import OPERATOR_SCOPES, RESELLER_SCOPES, create_key

DOMAIN = "kanzlei-lindenhof.example"
PRICES = {"pop3": 190, "imap": 390, "exchange": 790}


@dataclass(slots=True)
class Story:
    """What is printed as it goes, and how long each step took."""

    console: Console
    times: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        with self.console.status(f"{name} …"):
            yield
        self.times.append((name, time.perf_counter() - started))
        self.console.print(f"[green]✓[/] {name} [dim]({self.times[-1][1]:.2f} s)[/]")


async def first_key(context: Context) -> str:
    """The operator's first key, as `postfachwerk key create --operator` makes it."""
    async with context.database.as_system() as session:
        new = await create_key(
            session,
            None,
            name="demo",
            scopes=OPERATOR_SCOPES,
            expires_at=None,
            pepper=context.pepper,
            now=context.clock.now(),
        )
    return new.secret


async def make_reseller(operator: Dashboard, month: BillingMonth) -> str:
    """The operator sets prices and lets a reseller in; its key."""
    await operator.post(
        "/v1/price-lists",
        {
            "name": "Standard",
            "valid_from": month.starts_on.isoformat(),
            "prices": [
                {"service_class": name, "tiers": [{"min_quantity": 1, "price_cents": cents}]}
                for name, cents in PRICES.items()
            ],
        },
    )
    reseller = await operator.post(
        "/v1/resellers",
        {
            "name": "IT-Haus Harz GmbH",
            "street": "Marktstraße 5",
            "postcode": "38640",
            "city": "Goslar",
            "country": "DE",
            "billing_email": "buchhaltung@it-haus-harz.example",
        },
    )
    wish = {"name": "dashboard", "scopes": sorted(RESELLER_SCOPES)}
    key = await operator.post(f"/v1/resellers/{reseller['id']}/api-keys", wish)
    secret: str = key["secret"]
    return secret


async def work_through(story: Story, dashboard: Dashboard, entries: Sequence[Entry], month: BillingMonth) -> None:
    console = story.console
    with story.step("Add the customer, verify its domain by DNS"):
        customer = await dashboard.post(
            "/v1/customers",
            {"name": "Kanzlei Lindenhof & Weiß", "external_id": "K-1001", "allowed_countries": ["DE"]},
        )
        await dashboard.set_up_domain(customer["id"], DOMAIN)
    for day in sorted({entry.day for entry in entries}):
        await dashboard.set_clock(morning(month, day=day) + timedelta(hours=1))
        orders = [entry.order for entry in entries if entry.day == day]
        with story.step(f"Order {len(orders)} mailboxes on {month}-{day:02}"):
            await dashboard.post("/v1/mailbox-batches", {"orders": orders})
        await wait_for_all(story, dashboard, f"Their data centres confirm them ({month}-{day:02})")
    boxes = by_address(await dashboard.all("/v1/mailboxes", limit=200))
    with story.step("Share: the boss's calendar with the secretary, a mailbox with the trainee"):
        await dashboard.share(boxes["lindenhof"]["id"], "calendar", boxes["krueger"]["id"], "read_write")
        await dashboard.share(boxes["weiss"]["id"], "mailbox", boxes["foerster"]["id"], "read")
    await wait_for_all(story, dashboard, "Their data centres confirm the shares")
    with story.step(f"{month} ends, the schedule makes the invoice"):
        await dashboard.set_clock(morning(month.next(), day=1))
        invoice = await dashboard.first_invoice()
    mailboxes = await dashboard.all("/v1/mailboxes", limit=200)
    console.print(mailboxes_table(mailboxes))
    addresses = {each["id"]: each["address"] for each in mailboxes}
    console.print(shares_table(await _shares(dashboard, mailboxes), addresses))
    console.print(invoice_table({**invoice, "period": str(month)}))
    console.print(times_table(story.times))


async def wait_for_all(story: Story, dashboard: Dashboard, name: str) -> None:
    """Show how far the operations are, until all have ended."""
    started = time.perf_counter()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=story.console, transient=True) as progress:
        task = progress.add_task(name, total=None)
        async for ended, total in dashboard.until_done():
            progress.update(task, completed=ended, total=total)
    story.times.append((name, time.perf_counter() - started))
    story.console.print(f"[green]✓[/] {name} [dim]({story.times[-1][1]:.2f} s)[/]")


async def _shares(dashboard: Dashboard, mailboxes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for mailbox in mailboxes:
        found += (await dashboard.get(f"/v1/mailboxes/{mailbox['id']}/shares"))["items"]
    return found


def last_month() -> BillingMonth:
    """The month before the one the machine's own clock stands in."""
    return BillingMonth.containing(berlin_day(SystemClock().now())).previous()


def morning(month: BillingMonth, *, day: int) -> datetime:
    """Nine in the morning in Berlin."""
    return datetime(month.year, month.month, day, 9, tzinfo=BERLIN)
