"""Where a mailbox is: every cell is asked, and one that is away leaves the question open."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provisioning.drivers.base import DriverException, TryAgain
from provisioning.drivers.open_cell.agent import Agent, Json, NotHere
from provisioning.drivers.open_cell.reports import Box, Moving, box_of, moving_of

AWAY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Sightings:
    """Cell -> its answer where it was found, cell -> what is known of it where not, and who did not say."""

    found: Mapping[str, Json]
    elsewhere: Mapping[str, Mapping[str, Any]]
    away: Mapping[str, DriverException]

    def check_nowhere(self) -> None:
        """Raises TryAgain unless every cell has said that it is not there."""
        if self.away:
            reasons = "; ".join(str(error) for error in self.away.values())
            raise TryAgain(f"where the mailbox lies cannot be told: {reasons}", seconds=AWAY_SECONDS)


async def look_everywhere(agents: Mapping[str, Agent], path: str) -> Sightings:
    """Ask all cells at once."""
    found: dict[str, Json] = {}
    elsewhere: dict[str, Mapping[str, Any]] = {}
    away: dict[str, DriverException] = {}

    async def look(agent: Agent) -> None:
        try:
            found[agent.cell] = await agent.call("GET", path)
        except NotHere as absence:
            elsewhere[agent.cell] = absence.known
        except DriverException as error:
            away[agent.cell] = error

    await asyncio.gather(*(look(agent) for agent in agents.values()))
    return Sightings(found, elsewhere, away)


async def find_box(agents: Mapping[str, Agent], backend_id: str) -> dict[str, Box]:
    """Cell -> the mailbox, in each that has it in service: two only in the last moment of a move.

    Empty when there is none. Raises TryAgain when that cannot be told.
    """
    sightings = await look_everywhere(agents, f"/v1/boxes/{backend_id}")
    boxes = {cell: box_of(row, cell=cell) for cell, row in sightings.found.items()}
    homes = {cell: box for cell, box in boxes.items() if box.state == "here"}
    if not homes:
        sightings.check_nowhere()
    return homes


def leaving(reports: Mapping[str, Json]) -> dict[str, Moving | None]:
    return {cell: moving_of(report, cell=cell) for cell, report in reports.items()}
