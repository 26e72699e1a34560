"""Which cells there are: a file with an entry for each, written by `postfachwerk cell up` or by hand.

{"cells": {"de-fra-1": {"url": "https://127.0.0.11:8443", "token": "...", "ca_file": "/etc/.../ca.pem"}}}
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioning.drivers.base import DriverError
from provisioning.drivers.open_cell.agent import Agent


@dataclass(frozen=True, slots=True)
class CellEntry:
    """Where the agent of a cell answers, what it lets in, and the certificate that vouches for it."""

    url: str
    token: str = field(repr=False)
    ca_file: str


class Cells:
    """The agents of all cells by the code of their data centre. Close it with `await cells.close()`.

    The file is read again when it has changed, so that a cell can be added while the service runs; without a
    file there are no cells.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._entries: Mapping[str, CellEntry] = {}
        self._agents: dict[str, Agent] = {}
        self._retired: list[Agent] = []

    def agents(self) -> Mapping[str, Agent]:
        """Raises DriverError when the file cannot be understood; it may be mended while the service runs."""
        stamp = _stamp(self._path)
        if self._path is not None and stamp != self._stamp:
            self._take(read_cells(self._path) if stamp else {})
            self._stamp = stamp
        return self._agents

    def agent(self, code: str) -> Agent:
        """Raises DriverError for a data centre without an entry."""
        agents = self.agents()
        if code not in agents:
            raise DriverError(f"this worker knows no cell {code}: POSTFACHWERK_CELLS has no entry", permanent=False)
        return agents[code]

    def _take(self, entries: Mapping[str, CellEntry]) -> None:
        """Keep the agents that stay as they are; the others may be in the middle of a call."""
        agents = {}
        for code, entry in entries.items():
            if self._entries.get(code) == entry:
                agents[code] = self._agents[code]
            else:
                agents[code] = Agent(code, url=entry.url, token=entry.token, ca_file=entry.ca_file)
        self._retired += (agent for code, agent in self._agents.items() if agents.get(code) is not agent)
        self._entries, self._agents = entries, agents

    async def close(self) -> None:
        for agent in (*self._agents.values(), *self._retired):
            await agent.close()


def read_cells(path: Path) -> dict[str, CellEntry]:
    """Raises DriverError naming what is wrong, never what stands there: the file holds tokens."""
    try:
        cells: dict[str, Any] = json.loads(path.read_text("utf-8"))["cells"]
        return {
            code: CellEntry(url=str(cell["url"]), token=str(cell["token"]), ca_file=str(cell["ca_file"]))
            for code, cell in cells.items()
        }
    except OSError as error:
        raise DriverError(f"the cells file cannot be read: {error.strerror}", permanent=False) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DriverError(
            f"{path} is no cells file: each of its cells needs url, token and ca_file", permanent=False
        ) from None


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """Changes with the file; None where there is none."""
    try:
        status = path.stat() if path is not None else None
    except OSError:
        return None
    return None if status is None else (status.st_mtime_ns, status.st_ino)
