"""The monthly run for 1,000 resellers at three sizes, each in a database of its own, beside its floor."""

import asyncio
from typing import Any

from bench import invoices
from bench.measure import Bench, Subject, Target, ratio

COLUMNS = ("run s", "run CPU s", "floor s", "floor CPU s", "x floor", "CPU x floor", "invoices", "lines", "mailboxes/s")
TIMES_FLOOR_MAX = 3.0
# From 100,000 to 300,000 mailboxes, CPU for each mailbox may grow by so much and still be called linear.
LINEAR_MAX = 1.2
SIZES = (10_000, 100_000, 300_000)
QUICK_SIZES = (300, 1_000)


def measure(bench: Bench) -> Subject:
    resellers, sizes, rounds = (10, QUICK_SIZES, 1) if bench.quick else (1_000, SIZES, 3)
    subject = Subject(f"Invoice run for {resellers:,} resellers, beside one INSERT ... SELECT ... GROUP BY", COLUMNS)
    found: dict[int, dict[str, Any]] = {}
    for mailboxes in sizes:
        bench.step(f"invoices: {mailboxes:,} mailboxes, {rounds} months")
        with bench.new_database() as url:
            found[mailboxes] = asyncio.run(invoices.run(url, resellers=resellers, mailboxes=mailboxes, rounds=rounds))
        _add(subject, found[mailboxes])
    judged = found[sizes[1]]
    subject.targets.append(
        Target(f"run of {sizes[1]:,} mailboxes, CPU times its floor", judged["times_floor_cpu"], TIMES_FLOOR_MAX)
    )
    subject.targets.append(
        Target(f"run of {sizes[1]:,} mailboxes, wall clock times its floor", judged["times_floor"], TIMES_FLOOR_MAX)
    )
    growth = _cpu_each(found[sizes[-1]], sizes[-1]), _cpu_each(found[sizes[-2]], sizes[-2])
    subject.targets.append(
        Target(f"CPU for each mailbox, {sizes[-1]:,} over {sizes[-2]:,}", ratio(*growth), LINEAR_MAX)
    )
    return subject


def _add(subject: Subject, found: dict[str, Any]) -> None:
    subject.add(
        f"{found['mailboxes']:,} mailboxes",
        found["run_seconds"],
        found["run_cpu_seconds"],
        found["floor_seconds"],
        found["floor_cpu_seconds"],
        found["times_floor"],
        found["times_floor_cpu"],
        found["invoices"],
        found["lines"],
        found["mailboxes_per_second"],
    )


def _cpu_each(found: dict[str, Any], mailboxes: int) -> float:
    return float(found["run_cpu_seconds"] or 0) / mailboxes
