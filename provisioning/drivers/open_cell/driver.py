"""Data centres of Dovecot, SOGo and Postfix, each spoken to through the agent that runs inside it.

All that is known of a mailbox is known by the cells: which of them has it, how far a move got, who may open
what. A mailbox is a guest of every cell that it does not lie in, which is how mail finds it from there and how
it can be named as a grantee.
"""

import asyncio
from pathlib import Path

import structlog

from provisioning.drivers.base import CONVERGED, DriverException, Outcome, TryAgain
from provisioning.drivers.open_cell import moves
from provisioning.drivers.open_cell.agent import Json, NotHere, Refused
from provisioning.drivers.open_cell.cells import Cells
from provisioning.drivers.open_cell.reports import GRANTS, Box, Guest, guest_of, knows, seen_of, spec_body
from provisioning.drivers.open_cell.sightings import Sightings, find_box, leaving, look_everywhere
from provisioning.planner import MailboxSpec, Seen
from provisioning.roles import Role

HOMES_MAX = 50_000
NOT_YET = "kept, and open once both mailboxes are in one data centre"

log = structlog.get_logger()


class OpenCellDriver:
    """Implements `drivers.base.Driver`. Any number of instances may work on the same cells.

    `cells_file` is read again when it changes. Close it with `await driver.close()`.
    """

    def __init__(self, cells_file: Path | None) -> None:
        self._cells = Cells(cells_file)
        # Where a mailbox was last seen: asked first, believed only if it answers.
        self._homes: dict[str, str] = {}

    async def close(self) -> None:
        await self._cells.close()

    async def observe_mailbox(self, mailbox_id: str) -> Seen | None:
        """Finishes a move that was cut off at its end, and sees to it that the other cells know the mailbox."""
        sightings = await self._look_for(mailbox_id)
        if not sightings.found:
            sightings.check_nowhere()
            return None
        [(code, report)] = sightings.found.items()
        seen = seen_of(report, cell=code)
        self._remember(seen.backend_id, code)
        await self._announce(guest_of(seen, mailbox_id), sightings)
        return seen

    async def ensure_mailbox(
        self, mailbox_id: str, spec: MailboxSpec, *, location: str, password_hash: str | None
    ) -> Outcome:
        sightings = await self._look_for(mailbox_id)
        home = next(iter(sightings.found), None)
        if home is None:
            sightings.check_nowhere()
        elif home == location:
            report = sightings.found[home]
            await moves.give_up(self._cells, home, report["backend_id"], leaving(sightings.found)[home])
        body = {"spec": spec_body(spec), "password_hash": password_hash}
        answer = await self._cells.agent(home or location).call("PUT", f"/v1/mailboxes/{mailbox_id}", body)
        self._remember(str(answer.get("backend_id", "")), home or location)
        return CONVERGED

    async def move_mailbox(self, backend_id: str, *, to: str) -> Outcome:
        outcome = await moves.move(self._cells, backend_id, await self._homes_of(backend_id), to=to)
        self._homes.pop(backend_id, None)
        return outcome

    async def remove_mailbox(self, backend_id: str) -> Outcome:
        try:
            homes = await self._homes_of(backend_id)
        except NotHere:
            return CONVERGED
        for code, box in homes.items():
            await moves.give_up(self._cells, code, backend_id, box.moving)
            await self._cells.agent(code).call("DELETE", f"/v1/boxes/{backend_id}")
        return CONVERGED

    async def purge_mailbox(self, backend_id: str) -> Outcome:
        """Where it lies comes last: until then it is found again and the rest is done again."""
        try:
            homes = await self._homes_of(backend_id)
        except NotHere:
            homes = {}
        for code, box in homes.items():
            await moves.give_up(self._cells, code, backend_id, box.moving)
        for code, agent in self._cells.agents().items():
            if code not in homes:
                await agent.call("DELETE", f"/v1/guests/{backend_id}")
        for code in homes:
            await self._cells.agent(code).call("POST", f"/v1/boxes/{backend_id}/purge")
        self._homes.pop(backend_id, None)
        return CONVERGED

    async def ensure_archive(self, backend_id: str, *, on: bool) -> Outcome:
        try:
            await self._at_home(backend_id, "PUT", "archive", {"on": on})
        except NotHere:
            if on:
                raise
        return CONVERGED

    async def ensure_folder_rights(self, backend_id: str, *, folder_id: str, grantee: str, mask: int) -> Outcome:
        return await self._let_in(backend_id, f"folders/{folder_id}/rights/{grantee}", {"mask": int(mask)}, grantee)

    async def remove_folder_rights(self, backend_id: str, *, folder_id: str, grantee: str) -> Outcome:
        return await self._shut_out(backend_id, f"folders/{folder_id}/rights/{grantee}")

    async def ensure_grant(self, backend_id: str, *, role: Role, grantee: str) -> Outcome:
        return await self._let_in(backend_id, f"grants/{GRANTS[role]}/{grantee}", {}, grantee)

    async def remove_grant(self, backend_id: str, *, role: Role, grantee: str) -> Outcome:
        return await self._shut_out(backend_id, f"grants/{GRANTS[role]}/{grantee}")

    async def _let_in(self, backend_id: str, path: str, body: Json, grantee: str) -> Outcome:
        """A grantee of another cell is introduced first, should the owner's not know it yet."""
        try:
            answer = await self._at_home(backend_id, "PUT", path, body)
        except Refused as refusal:
            if refusal.code != "unknown_grantee" or not await self._introduce(grantee, backend_id):
                raise
            answer = await self._at_home(backend_id, "PUT", path, body)
        return CONVERGED if answer.get("effective", True) else Outcome(CONVERGED.progress, NOT_YET)

    async def _shut_out(self, backend_id: str, path: str) -> Outcome:
        try:
            await self._at_home(backend_id, "DELETE", path)
        except NotHere:
            self._homes.pop(backend_id, None)
        return CONVERGED

    async def _introduce(self, grantee: str, backend_id: str) -> bool:
        """Make the grantee a guest where the owner lies; False when no cell has it."""
        homes = await find_box(self._cells.agents(), grantee)
        if not homes:
            return False
        [(code, box), *_] = homes.items()
        report = await self._cells.agent(code).call("GET", f"/v1/mailboxes/{box.mailbox_id}")
        guest = guest_of(seen_of(report, cell=code), box.mailbox_id)
        for owner in await self._homes_of(backend_id):
            if owner != code:
                await self._cells.agent(owner).call("PUT", f"/v1/guests/{grantee}", guest.body())
        return True

    async def _at_home(self, backend_id: str, method: str, path: str, body: Json | None = None) -> Json:
        """A call to the cell that has the mailbox. Raises NotHere when none has it, or has what the path names."""
        whole = f"/v1/boxes/{backend_id}/{path}"
        code = self._homes.get(backend_id)
        if code in self._cells.agents():
            try:
                return await self._cells.agent(str(code)).call(method, whole, body)
            except NotHere:
                self._homes.pop(backend_id, None)
        [code, *_] = await self._homes_of(backend_id)
        self._remember(backend_id, code)
        return await self._cells.agent(code).call(method, whole, body)

    async def _homes_of(self, backend_id: str) -> dict[str, Box]:
        """Where it lies, once a move that was cut off at its end is finished. Raises NotHere when nowhere."""
        homes = await find_box(self._cells.agents(), backend_id)
        if await moves.settle(self._cells, backend_id, {code: box.moving for code, box in homes.items()}):
            homes = await find_box(self._cells.agents(), backend_id)
        if not homes:
            raise NotHere("every cell", {})
        if len(homes) > 1:
            raise TryAgain("a mailbox that was moved to be gone where it was", seconds=1.0)
        return homes

    async def _look_for(self, mailbox_id: str) -> Sightings:
        """As `_homes_of`, by our id and with its report."""
        path = f"/v1/mailboxes/{mailbox_id}"
        sightings = await look_everywhere(self._cells.agents(), path)
        if len(sightings.found) > 1:
            backend_id = str(next(iter(sightings.found.values())).get("backend_id"))
            await moves.settle(self._cells, backend_id, leaving(sightings.found))
            sightings = await look_everywhere(self._cells.agents(), path)
        if len(sightings.found) > 1:
            raise TryAgain("a mailbox that was moved to be gone where it was", seconds=1.0)
        return sightings

    async def _announce(self, guest: Guest, sightings: Sightings) -> None:
        """A cell that is away learns of it when the mailbox is next observed: nobody else waits for that."""

        async def introduce(code: str) -> None:
            try:
                await self._cells.agent(code).call("PUT", f"/v1/guests/{guest.backend_id}", guest.body())
            except DriverException as error:
                log.warning("a cell does not know a mailbox of another", cell=code, reason=str(error))

        strangers = [code for code, known in sightings.elsewhere.items() if not knows(known, guest)]
        await asyncio.gather(*(introduce(code) for code in strangers))

    def _remember(self, backend_id: str, code: str) -> None:
        if len(self._homes) >= HOMES_MAX:
            self._homes.clear()
        self._homes[backend_id] = code
