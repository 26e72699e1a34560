"""`python -m bench`: what it costs, beside the least it could cost."""

import argparse
import json
import os
import platform
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from bench import access, cells, documents, invoice_runs, lists, orders
from bench.load import LoadError, generator
from bench.measure import Bench, Subject
from provisioning.core.embedded import EmbeddedPostgres, EmbeddedPostgresError
from provisioning.core.migrations import migrate

SUBJECTS: dict[str, Callable[[Bench], Subject]] = {
    "orders": orders.measure,
    "lists": lists.measure,
    "access": access.measure,
    "invoices": invoice_runs.measure,
    "documents": documents.measure,
    "cells": cells.measure,
}
RESULTS = Path(__file__).parent / "results" / "latest.json"

# As a small server of its own would be set: safe against power loss, and without checkpoints in every round.
POSTGRES_SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "checkpoint_timeout": "15min",
    "max_connections": "100",
}

EPILOG = """\
subjects:
  orders    ordering mailboxes through HTTP, one and in batches, until accepted and until active
  lists     a page of 50 among 1,000, 100,000 and 1,000,000 mailboxes
  access    who can open what, in a customer of 500 among 100,000 mailboxes and 200,000 shares
  invoices  the monthly run for 1,000 resellers with 10,000, 100,000 and 300,000 mailboxes, beside loops over objects
            and, where it is installed, beside bframelib
  cells     orders that end in Dovecot and SOGo: until mail and phone programs open them, many at once, shares, moves;
            needs the packages that `postfachwerk cell install` brings
  documents XML, gate, HTML and PDF/A-3 of an invoice of twelve lines, on one core

Each figure stands beside its floor, which is measured in the same run in turns with it: the least that could stand in
its place. Documents have none and stand beside the rate that is asked for. CPU is that of the API's or worker's
processes (app) and of all of PostgreSQL (PG), read from /proc, and can be trusted on a busy machine; wall figures and
percentiles need an idle one. Everything takes about eight minutes.

examples:
  python -m bench                        everything
  python -m bench orders lists           two subjects
  python -m bench --quick                everything small, in about a minute: does it still run?
  python -m bench invoices --resellers 10000 --mailboxes 100000 1000000 5000000
"""

console = Console(stderr=True)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    names = list(dict.fromkeys(chosen.subject)) or list(SUBJECTS)
    try:
        report = _run(names, quick=chosen.quick, sizes=tuple(chosen.mailboxes), resellers=chosen.resellers)
    except (LoadError, TimeoutError, EmbeddedPostgresError) as error:
        console.print(f"[red]{error}[/]", highlight=False, soft_wrap=True)
        return 1
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    console.print(f"Written to {chosen.json}", highlight=False, soft_wrap=True)
    missed = [each for subject in report["subjects"].values() for each in subject["targets"] if each["holds"] is False]
    return 1 if missed and chosen.strict else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=(__doc__ or "").strip(),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("subject", nargs="*", choices=SUBJECTS, help="what to measure; all when left out")
    parser.add_argument("--quick", action="store_true", help="small numbers, whose figures say little")
    parser.add_argument(
        "--mailboxes", nargs="+", type=_count, default=(), metavar="N", help="other sizes of the invoice run"
    )
    parser.add_argument("--resellers", type=_count, metavar="N", help="other number of resellers of the invoice run")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the figures go (%(default)s)")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of things")
    return int(text)


def _run(names: Sequence[str], *, quick: bool, sizes: tuple[int, ...], resellers: int | None) -> dict[str, Any]:
    report: dict[str, Any] = {
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": _machine(),
        "subjects": {},
    }
    with _bench(quick=quick, sizes=sizes, resellers=resellers) as bench:
        for name in names:
            subject = SUBJECTS[name](bench)
            _show(subject)
            report["subjects"][name] = subject.as_json()
    report["machine"]["load_average_after"] = os.getloadavg()[0]
    return report


@contextmanager
def _bench(*, quick: bool, sizes: tuple[int, ...], resellers: int | None) -> Iterator[Bench]:
    """A PostgreSQL of its own in the temporary folder, a load generator, and a spinner that says what is done."""
    with (
        tempfile.TemporaryDirectory(prefix="postfachwerk-bench-") as folder,
        generator() as load,
        console.status("starting PostgreSQL") as status,
    ):
        # As root, PostgreSQL runs as another user, who must get to its folder.
        Path(folder).chmod(0o711)

        def step(text: str) -> None:
            status.update(text)
            if not console.is_terminal:
                console.print(text, highlight=False)

        with EmbeddedPostgres(Path(folder) / "postgresql", settings=POSTGRES_SETTINGS) as embedded:
            log = Path(folder) / "servers.log"
            yield Bench(quick, load, lambda: _new_database(embedded), log, step, sizes, resellers)


@contextmanager
def _new_database(embedded: EmbeddedPostgres) -> Iterator[str]:
    """A migrated, empty database, dropped afterwards."""
    name = f"bench_{secrets.token_hex(4)}"
    admin = embedded.url("postgres").replace("+psycopg", "")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'create database "{name}" template template0'.encode())
    try:
        migrate(embedded.url(name))
        yield embedded.url(name)
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f'drop database "{name}" with (force)'.encode())


def _machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "load_average_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def _show(subject: Subject) -> None:
    """The table, and each target beside its figure, on standard output."""
    out = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(title=subject.title, title_justify="left", title_style="bold")
    table.add_column("")
    for column in subject.columns:
        table.add_column(column, justify="right")
    for name, figures in subject.rows:
        table.add_row(name, *(_shown(figure) for figure in figures))
    out.print(table)
    for target in subject.targets:
        verdict = {True: "[green]holds[/]", False: "[red]missed[/]", None: "not measurable"}[target.holds]
        bound = f"at {'least' if target.at_least else 'most'} {_shown(target.bound)}"
        out.print(f"target: {target.what}: {_shown(target.figure)}, {bound}: {verdict}", highlight=False)
    out.print()


def _shown(figure: float | None) -> str:
    if figure is None:
        return "-"
    if abs(figure) >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.2f}" if abs(figure) < 10 else f"{figure:.1f}"


if __name__ == "__main__":
    sys.exit(main())
