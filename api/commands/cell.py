"""`postfachwerk cell`: a data centre of our own on this machine, from Debian's packages."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from provisioning.cell.errors import CellError
from provisioning.cell.layout import Cell, Tls, cells_in, default_directory, open_cell
from provisioning.cell.packages import install as install_packages
from provisioning.cell.running import down as bring_down
from provisioning.cell.running import services
from provisioning.cell.running import up as bring_up
from provisioning.core.settings import Settings

__all__ = ["CellError", "app"]

app = typer.Typer(
    no_args_is_help=True,
    help="A data centre of our own: Dovecot, SOGo and Postfix on this machine, without systemd and without Docker.",
)

Name = Annotated[str, typer.Argument(help="Name of the cell, as in de-fra-1.")]
Directory = Annotated[
    Path | None,
    typer.Option(help="Where cells keep everything; /var/lib/postfachwerk/cells for root, else beside the database."),
]


@app.command()
def install() -> None:
    """Install the Debian packages, as root. May be repeated; after an upgrade of SOGo it must be."""
    install_packages()
    Console(stderr=True).print("[green]Everything a cell needs is installed.[/]")


@app.command()
def up(
    name: Name,
    *,
    directory: Directory = None,
    address: Annotated[str | None, typer.Option(help="Address to listen on; a loopback address if left out.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="Certificate with its chain, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, readable by the cell's account.")] = None,
    ca: Annotated[Path | None, typer.Option(help="The authority that clients know it by, PEM.")] = None,
    host: Annotated[str | None, typer.Option(help="The name that the certificate is for.")] = None,
    relay: Annotated[
        str, typer.Option(help="Where mail to other domains goes, as [host]:port; as DNS says if left out.")
    ] = "",
) -> None:
    """Bring a cell up, or what is missing of it, and print where it answers.

    Without --certificate it makes an authority of its own, good for development.
    """
    began = time.monotonic()
    tls = Tls(certificate, key, ca, host) if certificate and key and ca and host else None
    if tls is None and (certificate or key or ca or host):
        raise typer.BadParameter("--certificate, --key, --ca and --host go together")
    cell = bring_up(_directory(directory), name, address=address, tls=tls, relay=relay)
    seconds = time.monotonic() - began
    Console(stderr=True).print(f"[green]{name} is up[/] in {seconds:.1f} s")
    _print_addresses(Console(soft_wrap=True, highlight=False), cell)


@app.command()
def down(name: Name, directory: Directory = None) -> None:
    """End everything that runs of a cell. Its mailboxes stay on disk."""
    bring_down(open_cell(_directory(directory), name))
    Console(stderr=True).print(f"{name} is down.")


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="All cells when left out.")] = None, directory: Directory = None
) -> None:
    """Which daemons run, and where they answer."""
    where = _directory(directory)
    console = Console(soft_wrap=True, highlight=False)
    for each in [name] if name else cells_in(where):
        cell = open_cell(where, each)
        words = {True: "[green]up[/]", False: "[red]down[/]"}
        running = services(cell).items()
        console.print(f"[bold]{each}[/]: " + ", ".join(f"{service} {words[runs]}" for service, runs in running))
        _print_addresses(console, cell)


def _print_addresses(console: Console, cell: Cell) -> None:
    ports = cell.ports
    host = cell.address
    for what, where in (
        ("IMAP", f"imaps://{host}:{ports.imaps}"),
        ("POP3", f"pop3s://{host}:{ports.pop3s}"),
        ("Sending", f"smtps://{host}:{ports.submissions}, with STARTTLS smtp://{host}:{ports.submission}"),
        ("Receiving", f"smtp://{host}:{ports.smtp}"),
        ("Filters", f"sieve://{host}:{ports.sieve}, with STARTTLS"),
        ("Web, calendars, phones", f"https://{host}:{ports.https}/"),
        ("Agent", f"{cell.agent_url}, token in {cell.token_file}"),
        ("Certificate authority", str(cell.ca_file)),
    ):
        console.print(f"  {what:<24}{where}", markup=False)


def _directory(given: Path | None) -> Path:
    return given or default_directory(Settings().state_directory)
