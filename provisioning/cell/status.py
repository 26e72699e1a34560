"""How the cell is: what runs, and what must hold for it to be safe."""

import shutil
from importlib.metadata import version
from typing import Any

from provisioning.cell.house import House
from provisioning.cell.packages import hole_in_groupware
from provisioning.cell.processes import is_running
from provisioning.cell.refusals import Busy

SERVICES = ("postgresql", "memcached", "dovecot", "groupware", "gateway", "postfix", "agent")
_FREE_BYTES_MIN = 512 * 1024 * 1024


async def status(house: House) -> dict[str, Any]:
    """As the seam describes it."""
    cell = house.cell
    free = shutil.disk_usage(cell.root).free
    checks = {
        "acl_query_is_shut": _check(hole_in_groupware()),
        "disk": _check(None if free >= _FREE_BYTES_MIN else f"only {free // 1024**2} MiB are free"),
        "dovecot": _check(None if await house.dovecot.answers() else "Dovecot does not answer"),
        "directory": _check(await _directory_fault(house)),
    }
    return {
        "cell": cell.name,
        "version": version("postfachwerk"),
        "services": {name: "up" if is_running(cell, name) else "down" for name in SERVICES},
        "checks": checks,
    }


async def _directory_fault(house: House) -> str | None:
    try:
        async with house.transaction() as db:
            await db.execute("SELECT FROM directory.box LIMIT 1")
    except Busy as error:
        return error.detail
    return None


def _check(fault: str | None) -> dict[str, Any]:
    return {"ok": fault is None, "detail": fault or ""}
