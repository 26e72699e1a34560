"""What the demo prints: mailboxes, shares, the invoice, and how long each step took."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from billing.money import format_eur

STATE_COLOURS = {"active": "green", "failed": "red"}


def mailboxes_table(mailboxes: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="Mailboxes", title_justify="left")
    table.add_column("Address", overflow="fold")
    for name in ("Name", "Kind", "Class", "State", "Data centre"):
        table.add_column(name)
    for mailbox in sorted(mailboxes, key=lambda each: (each["kind"], each["address"])):
        colour = STATE_COLOURS.get(mailbox["state"], "yellow")
        table.add_row(
            mailbox["address"],
            mailbox["display_name"],
            mailbox["kind"],
            mailbox["service_class"],
            f"[{colour}]{mailbox['state']}[/]",
            mailbox["placed_in"] or "",
        )
    return table


def shares_table(shares: Sequence[dict[str, Any]], addresses: dict[str, str]) -> Table:
    """`addresses` maps mailbox ids to addresses."""
    table = Table(title="Shares", title_justify="left")
    for name in ("Of", "What", "To", "Access", "Exchange role", "State"):
        table.add_column(name)
    for share in shares:
        table.add_row(
            addresses[share["mailbox_id"]],
            share["scope"],
            addresses[share["grantee_id"]],
            share["access"] or "",
            share["role"],
            share["state"],
        )
    return table


def invoice_table(invoice: dict[str, Any]) -> Table:
    table = Table(title=f"Invoice {invoice['number']}, {invoice['period']}", title_justify="left", show_footer=True)
    table.add_column("Customer", footer="Net\nVAT\n[bold]Total[/]")
    table.add_column("Class")
    for name in ("Mailbox-days", "Days of month", "Price"):
        table.add_column(name, justify="right")
    sums = (invoice["net_cents"], invoice["tax_cents"], invoice["gross_cents"])
    table.add_column("Net", justify="right", footer="\n".join(format_eur(cents, "en") for cents in sums))
    for line in invoice["lines"]:
        table.add_row(
            line["customer_name"],
            line["service_class"],
            str(line["mailbox_days"]),
            str(line["base_days"]),
            format_eur(line["price_cents"], "en"),
            format_eur(line["net_cents"], "en"),
        )
    return table


def settings_table(mailbox: dict[str, Any], password: str, endpoints: dict[str, Any]) -> Table:
    """What to type into a phone or a mail program, for the protocols that the mailbox's class answers on."""
    protocols = set(mailbox["protocols"])
    title = f"{mailbox['display_name']}, {mailbox['service_class']}"
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column("What", no_wrap=True)
    table.add_column("Value", overflow="fold")
    table.add_row("User name", mailbox["address"])
    table.add_row("Password", password)
    for protocol, name, where in (
        ("activesync", "Phone (Exchange)", endpoints["activesync_url"]),
        ("caldav", "Calendars, contacts", endpoints["dav_url"]),
        ("imap", "IMAP, TLS", _server(endpoints["imap"])),
        ("pop3", "POP3, TLS", _server(endpoints["pop3"])),
        ("smtp", "SMTP, TLS", _server(endpoints["submission"])),
        ("caldav", "Browser", endpoints["web_url"]),  # SOGo lets in who has calendars
    ):
        if protocol in protocols and where:
            table.add_row(name, where)
    return table


def _server(server: dict[str, Any] | None) -> str | None:
    return f"{server['host']}:{server['port']}" if server else None


def times_table(times: Sequence[tuple[str, float]]) -> Table:
    table = Table(title="How long it took", title_justify="left")
    table.add_column("Step")
    table.add_column("Seconds", justify="right")
    for step, seconds in times:
        table.add_row(step, f"{seconds:.2f}")
    return table
