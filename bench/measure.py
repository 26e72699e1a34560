"""Measuring one load against one service, and putting rounds and targets together."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.load import Generator, percentile
from bench.processes import PostgreSQL, Service

LOAD_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What one load cost; CPU in milliseconds for each of `things` (orders, pages), latencies for each request."""

    things: int
    seconds: float
    p50_ms: float
    p99_ms: float
    app_cpu_ms: float
    database_cpu_ms: float
    load_cpu_ms: float

    @property
    def cpu_ms(self) -> float:
        return self.app_cpu_ms + self.database_cpu_ms

    @property
    def per_second(self) -> float:
        return self.things / self.seconds


@dataclass(frozen=True, slots=True)
class Target:
    """What must hold: `figure` at most, or at least, `bound`."""

    what: str
    figure: float | None
    bound: float
    at_least: bool = False

    @property
    def holds(self) -> bool | None:
        if self.figure is None:
            return None
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound


@dataclass(slots=True)
class Subject:
    """The table of one subject: each row a name and its figures in the order of `columns`."""

    title: str
    columns: Sequence[str]
    rows: list[tuple[str, list[float | None]]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

    def add(self, name: str, *figures: float | None) -> None:
        assert len(figures) == len(self.columns)
        self.rows.append((name, list(figures)))

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "rows": [{"name": name} | dict(zip(self.columns, each, strict=True)) for name, each in self.rows],
            "targets": [asdict(target) | {"holds": target.holds} for target in self.targets],
        }


Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Bench:
    """What every subject is given. `step` says what is done next; `sizes` (mailboxes) and `resellers` are those asked
    for of the invoice run, if any.
    """

    quick: bool
    generator: Generator
    new_database: Callable[[], AbstractContextManager[str]]
    log: Path
    step: Step
    sizes: tuple[int, ...] = ()
    resellers: int | None = None

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 5

    def measure(
        self,
        service: Service,
        postgres: PostgreSQL,
        requests: Sequence[bytes],
        *,
        connections: int,
        status: int = 200,
        things_each: int = 1,
    ) -> Figures:
        """Send the requests and account for them. Raises LoadError for an answer of another status."""
        app, database = service.cpu_seconds(), postgres.cpu_seconds()
        outcome = self.generator.send(service.ports, requests, connections=connections, seconds=LOAD_SECONDS)
        # A process that ends is counted in whole ticks from then on, so a short measurement may lose more than it took.
        app = max(0.0, service.cpu_seconds() - app)
        database = max(0.0, postgres.cpu_seconds() - database)
        outcome.check(status)
        things = outcome.answered * things_each
        return Figures(
            things=things,
            seconds=outcome.seconds,
            p50_ms=percentile(outcome.latencies_ms, 0.5),
            p99_ms=percentile(outcome.latencies_ms, 0.99),
            app_cpu_ms=app * 1000 / things,
            database_cpu_ms=database * 1000 / things,
            load_cpu_ms=outcome.cpu_seconds * 1000 / things,
        )


def middle(rounds: Sequence[Figures]) -> Figures:
    """The median of each figure."""
    return Figures(*(_median(rounds, name) for name in Figures.__slots__))  # type: ignore[arg-type]  # counts come whole


def _median(rounds: Sequence[Figures], name: str) -> float:
    return float(median(getattr(each, name) for each in rounds))


def ratio(figure: float, floor: float) -> float | None:
    """None where the floor was too short to be seen, as CPU of a quick run can be."""
    return figure / floor if floor else None
