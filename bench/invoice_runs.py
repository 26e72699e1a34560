"""The monthly run at several sizes, each in a database of its own, beside its floor and beside other ways to do it."""

import asyncio
from typing import Any

from bench import bframe_peer, invoice_loop, invoices
from bench.measure import Bench, Subject, Target, ratio
from provisioning.core.database import Database

COLUMNS = (
    *("run s", "run CPU s", "floor s", "floor CPU s", "x floor", "CPU x floor"),
    *("invoices", "lines", "mailboxes/s", "MiB"),
)
TIMES_FLOOR_MAX = 2.5
# From the smallest size judged to the largest, CPU for each mailbox may grow by so much and still be called linear.
LINEAR_MAX = 1.2
# Below this, what a run costs whatever its size hides what a mailbox costs.
JUDGED_MIN = 100_000
MAILBOXES_PER_SECOND_MIN = 250_000
MEMORY_MIB_MAX = 300
SIZES = (10_000, 100_000, 300_000)
QUICK_SIZES = (300, 1_000)
RESELLERS, QUICK_RESELLERS = 1_000, 10
LOOP_MAILBOXES, QUICK_LOOP_MAILBOXES = 10_000, 300


def measure(bench: Bench) -> Subject:
    quick = bench.quick
    sizes = bench.sizes or (QUICK_SIZES if quick else SIZES)
    resellers = bench.resellers or (QUICK_RESELLERS if quick else RESELLERS)
    rounds = 1 if quick else 3
    title = f"Invoice run for {resellers:,} resellers, beside one INSERT ... SELECT ... GROUP BY"
    subject = Subject(title, COLUMNS)
    found: dict[int, dict[str, Any]] = {}
    for mailboxes in sizes:
        bench.step(f"invoices: {mailboxes:,} mailboxes, {rounds} months")
        with bench.new_database() as url:
            found[mailboxes] = asyncio.run(invoices.run(url, resellers=resellers, mailboxes=mailboxes, rounds=rounds))
        _add(subject, found[mailboxes])
    _add_peers(bench, subject, largest=max(sizes))
    _judge(subject, found)
    return subject


def _judge(subject: Subject, found: dict[int, dict[str, Any]]) -> None:
    largest = max(found)
    smallest = min([size for size in found if size >= JUDGED_MIN] or found)
    judged = found[largest]
    subject.targets += [
        Target(f"run of {largest:,} mailboxes, CPU times its floor", judged["times_floor_cpu"], TIMES_FLOOR_MAX),
        Target(
            f"CPU for each mailbox, {largest:,} over {smallest:,}",
            ratio(_cpu_each(judged, largest), _cpu_each(found[smallest], smallest)),
            LINEAR_MAX,
        ),
        Target(
            f"mailboxes a second at {largest:,}",
            judged["mailboxes_per_second"],
            MAILBOXES_PER_SECOND_MIN,
            at_least=True,
        ),
        Target(f"MiB of the process at {largest:,} mailboxes", judged["memory_mib"], MEMORY_MIB_MAX),
    ]


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
        found["memory_mib"],
    )


def _add_peers(bench: Bench, subject: Subject, *, largest: int) -> None:
    """Loops over objects at a small size, as they are and multiplied up; and bframelib, where it is installed."""
    mailboxes = QUICK_LOOP_MAILBOXES if bench.quick else LOOP_MAILBOXES
    resellers = max(1, mailboxes // 100)
    bench.step(f"invoices: {mailboxes:,} mailboxes in loops over objects")
    with bench.new_database() as url:
        loops, run = asyncio.run(_in_loops(url, resellers=resellers, mailboxes=mailboxes))
    _add_seconds(subject, f"{mailboxes:,} mailboxes, set-based", run, mailboxes)
    _add_seconds(subject, f"{mailboxes:,} mailboxes, loops over objects", loops, mailboxes)
    _add_seconds(subject, f"{largest:,} in loops, multiplied up", loops * largest / mailboxes, largest)
    bench.step(f"invoices: {largest:,} mailboxes by bframelib")
    seconds = bframe_peer.measure(largest)
    if seconds is not None:
        _add_seconds(subject, f"{largest:,} mailboxes, bframelib", seconds, largest)


async def _in_loops(url: str, *, resellers: int, mailboxes: int) -> tuple[float, float]:
    """Seconds of the loops, and of the run of another month in the same database."""
    run = await invoices.run(url, resellers=resellers, mailboxes=mailboxes, rounds=1)
    database = Database(url, pool_size=2)
    try:
        loops = await invoice_loop.measure(database, invoices.FIRST_MONTH.next())
    finally:
        await database.close()
    return loops, float(run["run_seconds"])


def _add_seconds(subject: Subject, name: str, seconds: float, mailboxes: int) -> None:
    unknown = (None,) * 7
    subject.add(name, seconds, *unknown, mailboxes / seconds, None)


def _cpu_each(found: dict[str, Any], mailboxes: int) -> float:
    return float(found["run_cpu_seconds"] or 0) / mailboxes
