"""A mailbox goes from cell to cell, in steps of which each may be repeated: what is done is known by the cells.

    arrival     the target knows the mailbox, its rights and grantees, and takes mail from nobody but the copy
    copy        while it stays in service at the source; as often as it takes
    freeze      nobody logs in, new mail waits with whoever sends it, for the seconds of the last copy
    groupware   calendars, contacts and tasks
    hold        a freeze ends by itself, should nobody come back; from here on it does not
    activate    from here on the target has it; a kill after this is mended by the next observation
    depart      the source erases its copy and sends what still comes on to the target

Before `activate` a move can be given up, and the target erases what it got. Nothing is ever erased where the
mailbox has not been activated elsewhere.
"""

from collections.abc import Mapping
from contextlib import suppress

from provisioning.drivers.base import CONVERGED, DriverError, Outcome, Progress
from provisioning.drivers.open_cell.agent import Agent, NotHere
from provisioning.drivers.open_cell.cells import Cells
from provisioning.drivers.open_cell.reports import FROZEN, Box, Moving

# Each waits a few seconds at the agent; nobody can use the mailbox while the last copy runs.
LAST_COPIES_MAX = 12


async def move(cells: Cells, backend_id: str, homes: Mapping[str, Box], *, to: str) -> Outcome:
    """Take it one call further; `homes` is where it is, settled. Converged once it is in `to` and nowhere else."""
    [(code, box)] = homes.items()
    if code == to:
        await give_up(cells, code, backend_id, box.moving)
        return CONVERGED
    target = cells.agent(to)
    moving = box.moving
    if moving is not None and moving.to != to:
        await give_up(cells, code, backend_id, moving)
        moving = None
    return await _carry_over(
        cells.agent(code), target, backend_id, frozen=moving is not None and moving.phase == FROZEN
    )


async def _carry_over(source: Agent, target: Agent, backend_id: str, *, frozen: bool) -> Outcome:
    to = {"to": target.cell}
    here, there = f"/v1/boxes/{backend_id}", f"/v1/arrivals/{backend_id}"
    if not frozen:
        await target.call("PUT", there, await source.call("GET", f"{here}/record"))
        if not await _copy(source, here, to, times=1):
            return Outcome(Progress.PENDING, f"mail is being copied to {target.cell}")
        await source.call("POST", f"{here}/freeze", to)
    # What was changed during the copy goes along.
    await target.call("PUT", there, await source.call("GET", f"{here}/record"))
    if not await _copy(source, here, to, times=LAST_COPIES_MAX):
        return Outcome(Progress.PENDING, f"the last mail is being copied to {target.cell}")
    await source.carry(f"{here}/groupware", to=target, path_there=f"{there}/groupware")
    if not (await source.call("POST", f"{here}/hold", to)).get("held"):
        return Outcome(Progress.PENDING, f"the last copy took too long; mail is being copied to {target.cell} again")
    await target.call("POST", f"{there}/activate")
    await source.call("POST", f"{here}/depart", to)
    return CONVERGED


async def _copy(source: Agent, here: str, to: dict[str, str], *, times: int) -> bool:
    for _ in range(times):
        if (await source.call("POST", f"{here}/copy", to)).get("done"):
            return True
    return False


async def settle(cells: Cells, backend_id: str, homes: Mapping[str, Moving | None]) -> bool:
    """Finish a move that was cut off after `activate`; whether there was one. Raises DriverError, TryAgain."""
    if len(homes) < 2:
        return False
    staying = [code for code, moving in homes.items() if moving is None]
    if len(staying) != 1:
        raise DriverError(f"the mailbox lies in {' and '.join(sorted(homes))} at once", permanent=False)
    for code in homes.keys() - set(staying):
        await cells.agent(code).call("POST", f"/v1/boxes/{backend_id}/depart", {"to": staying[0]})
    return True


async def give_up(cells: Cells, code: str, backend_id: str, moving: Moving | None) -> None:
    """Leave the mailbox where it is. The target goes first: it refuses where it has it in service already."""
    if moving is None:
        return
    with suppress(NotHere):
        await cells.agent(moving.to).call("DELETE", f"/v1/arrivals/{backend_id}")
    await cells.agent(code).call("POST", f"/v1/boxes/{backend_id}/thaw")
