"""Real data centres for the demo: for each that the roster names, a cell of Dovecot, SOGo and Postfix."""

import asyncio
import poplib
import secrets
import ssl
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api.demo.dashboard import Dashboard, DemoError, by_address
from api.demo.roster import Entry
from api.demo.show import settings_table
from api.demo.story import Story, wait_for_all
from provisioning.cell.errors import CellError
from provisioning.cell.layout import Cell, cells_in, open_cell
from provisioning.cell.running import down, up

# One for each class: what each of them types into a phone or a mail program.
SHOWN = ("lindenhof", "gross", "boehm")
_NOT_WISHED = ("code", "sandbox", "note", "certificates", "version")


@contextmanager
def running_cells(story: Story, directory: Path, entries: Sequence[Entry]) -> Iterator[list[Cell]]:
    """The cells, up until the block ends, even where one of them did not come up. Raises DemoError."""
    names = sorted({str(entry.order["location"]) for entry in entries})
    try:
        with story.step(f"Bring up the data centres {' and '.join(names)}"), ThreadPoolExecutor() as threads:
            cells = list(threads.map(lambda name: up(directory, name, durable=False), names))
        yield cells
    except CellError as error:
        raise DemoError(str(error)) from error
    finally:
        for name in cells_in(directory):
            down(open_cell(directory, name))


async def make_real(operator: Dashboard, cells: Sequence[Cell]) -> None:
    """The operator has these data centres served by their cells."""
    for cell in cells:
        centre = await operator.get(f"/v1/data-centres/{cell.name}")
        wish = {name: value for name, value in centre.items() if name not in _NOT_WISHED}
        await operator.put(
            f"/v1/data-centres/{cell.name}", {**wish, "driver": "open_cell", "endpoints": _endpoints(cell)}
        )


def _endpoints(cell: Cell) -> Mapping[str, Any]:
    host, ports = cell.address, cell.ports
    web = f"https://{host}:{ports.https}"
    return {
        "imap": {"host": host, "port": ports.imaps},
        "pop3": {"host": host, "port": ports.pop3s},
        "submission": {"host": host, "port": ports.submissions},
        "sieve": {"host": host, "port": ports.sieve, "security": "starttls"},
        "activesync_url": f"{web}/Microsoft-Server-ActiveSync",
        "dav_url": f"{web}/SOGo/dav/",
        "web_url": f"{web}/SOGo/",
    }


def _log_in(endpoints: Mapping[str, Any], user: str, password: str, ca: Path) -> None:
    """Over POP3, which every class answers on. Raises DemoError."""
    server = endpoints["pop3"]
    context = ssl.create_default_context(cafile=str(ca))
    try:
        client = poplib.POP3_SSL(server["host"], server["port"], context=context, timeout=30)
        client.user(user)
        client.pass_(password)
        client.quit()
    except (OSError, poplib.error_proto) as error:
        raise DemoError(f"{user} could not log in to {server['host']}: {error}") from error


async def show_settings(story: Story, dashboard: Dashboard, cells: Sequence[Cell]) -> None:
    """Give three mailboxes passwords and print what to type into a phone or a mail program."""
    boxes = by_address(await dashboard.all("/v1/mailboxes", limit=200))
    shown = [boxes[name] for name in SHOWN if name in boxes]
    passwords = {box["id"]: secrets.token_urlsafe(12) for box in shown}
    for box in shown:
        await dashboard.put(f"/v1/mailboxes/{box['id']}/password", {"password": passwords[box["id"]]})
    await wait_for_all(story, dashboard, "Their data centres take their passwords")
    centres = {each["code"]: each["endpoints"] for each in await dashboard.all("/v1/data-centres")}
    with story.step("Log in to them, as a mail program would"):
        for box in shown:
            where = centres[box["location"]]
            await asyncio.to_thread(_log_in, where, box["address"], passwords[box["id"]], cells[0].ca_file)
    for box in shown:
        story.console.print(settings_table(box, passwords[box["id"]], centres[box["location"]]))
    story.console.print(f"These servers are known by the authority in {cells[0].ca_file}", soft_wrap=True)
