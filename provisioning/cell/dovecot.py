"""What the agent asks of Dovecot, over doveadm's HTTP interface."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import httpx

from provisioning.cell.layout import Cell
from provisioning.cell.refusals import Busy

STANDARD_FOLDERS = ("INBOX", "Drafts", "Sent", "Trash", "Junk")
ARCHIVE = "Archive/"
_TIMEOUT_SECONDS = 30.0
_NO_SUCH_USER, _NOT_FOUND, _NOT_POSSIBLE = 67, 68, 65
_INCOMPLETE = 2

Call = tuple[str, dict[str, Any]]
Acl = dict[str, frozenset[str]]


class Dovecot:
    """An open client; `close` it. Every call raises Busy when Dovecot is away or breaks off."""

    def __init__(self, cell: Cell) -> None:
        key = base64.b64encode(cell.secrets.doveadm.encode()).decode()
        self._client = httpx.AsyncClient(
            base_url=f"https://{cell.address}:{cell.ports.doveadm}",
            headers={"Authorization": f"X-Dovecot-API {key}"},
            verify=cell.trust(),
            timeout=_TIMEOUT_SECONDS,
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def folders(self, address: str) -> dict[str, str]:
        """Name -> GUID of every mail folder of its own, the archive's left out."""
        calls = [("mailboxStatus", {"user": address, "field": ["guid"], "mailboxMask": ["*"]})]
        (rows,) = await self._ask(calls)
        return {row["mailbox"]: row["guid"] for row in rows if not _is_elsewhere(row["mailbox"])}

    async def acls(self, address: str, folders: Sequence[str]) -> dict[str, Acl]:
        """Folder -> identifier -> rights, only of identifiers that name somebody ("group=", "user=")."""
        answers = await self._ask([("aclGet", {"user": address, "mailbox": name}) for name in folders])
        return {
            name: {
                row["id"]: frozenset(row["rights"].split())
                for row in rows
                if row["id"].startswith(("group=", "user=")) and row["rights"]
            }
            for name, rows in zip(folders, answers, strict=True)
        }

    async def create_folders(self, address: str) -> None:
        """The standard folders, each so that ActiveSync can follow its changes from the first day."""
        folders = {"user": address, "mailbox": list(STANDARD_FOLDERS[1:]), "subscriptions": True}
        # Dovecot sends no HIGHESTMODSEQ before it was asked for once, and SOGo waits for it for ever.
        marks = [
            ("mailboxUpdate", {"user": address, "mailbox": name, "minHighestModseq": 2}) for name in STANDARD_FOLDERS
        ]
        await self._ask([("mailboxCreate", folders), *marks], tolerated={_NOT_POSSIBLE})

    async def set_acls(self, address: str, wanted: Iterable[tuple[str, str, frozenset[str]]]) -> None:
        """For each (folder, identifier, rights): exactly these rights; none takes the entry away."""
        calls: list[Call] = []
        for folder, identifier, rights in wanted:
            who = {"user": address, "mailbox": folder, "id": identifier}
            calls.append(("aclSet", {**who, "right": sorted(rights)}) if rights else ("aclDelete", who))
        if calls:
            await self._ask(calls, tolerated={_NOT_FOUND})

    async def recalculate_shares(self, address: str) -> None:
        """Tell those it shares with, after its folders have come from elsewhere."""
        await self._ask([("aclRecalc", {"user": address})])

    async def kick(self, address: str) -> None:
        """Cut its sessions; new ones have to log in anew."""
        with suppress(Busy):
            await self._ask([("kick", {"mask": [address]})], tolerated={_NOT_FOUND})

    async def copy(self, address: str, *, to: str, archive: bool, seconds: float) -> bool:
        """One pass of copying its mail to another cell's Dovecot at host:port; False when more came meanwhile."""
        # Only the first namespace comes along unasked; one of the other side's that is missing there is an error.
        where = {"destination": [f"tcps:{to}"], "namespace": ["", ARCHIVE] if archive else [""]}
        calls = [("backup", {"user": address, **where})]
        (answer,) = await self._post(calls, seconds=seconds)
        if answer[0] == "error" and answer[1].get("exitCode") == _INCOMPLETE:
            return False
        self._read(answer, frozenset())
        return True

    async def answers(self) -> bool:
        try:
            return (await self._client.get("/doveadm/v1")).is_success
        except httpx.HTTPError:
            return False

    async def _ask(self, calls: Sequence[Call], *, tolerated: Iterable[int] = ()) -> list[list[dict[str, Any]]]:
        allowed = frozenset(tolerated)
        return [self._read(answer, allowed) for answer in await self._post(calls, seconds=_TIMEOUT_SECONDS)]

    async def _post(self, calls: Sequence[Call], *, seconds: float) -> list[Any]:
        body = [[command, parameters, str(number)] for number, (command, parameters) in enumerate(calls)]
        try:
            response = await self._client.post("/doveadm/v1", json=body, timeout=seconds)
            response.raise_for_status()
            answers: list[Any] = response.json()
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            raise Busy(f"Dovecot does not answer: {type(error).__name__}") from error
        if len(answers) != len(calls):
            raise Busy("Dovecot broke off")
        return answers

    def _read(self, answer: Any, tolerated: frozenset[int]) -> list[dict[str, Any]]:
        kind, body, _ = answer
        if kind == "doveadmResponse":
            rows: list[dict[str, Any]] = body
            return rows
        code = body.get("exitCode") if isinstance(body, Mapping) else None
        if code in tolerated:
            return []
        raise Busy(f"Dovecot refused: {body}")


def _is_elsewhere(folder: str) -> bool:
    return folder.startswith(ARCHIVE) or folder == ARCHIVE.rstrip("/")
