"""SOGo's memory of who may what: it would hold for minutes what the directory no longer says."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from provisioning.cell.refusals import Busy

_TIMEOUT_SECONDS = 5.0


async def forget(socket: Path, keys: Iterable[str]) -> None:
    """Let memcached forget these; raises Busy when it is away."""
    commands = "".join(f"delete {key}\r\n" for key in keys)
    if not commands:
        return
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(commands.encode())
                await writer.drain()
                for _ in range(commands.count("\r\n")):
                    await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise Busy(f"memcached does not answer: {type(error).__name__}") from error


def keys_of_person(backend_id: str, addresses: Iterable[str]) -> list[str]:
    """Where a name, a password or a right to log in is remembered."""
    names = [backend_id, *addresses]
    domains = {address.rpartition("@")[2] for address in names if "@" in address}
    names += [f"{backend_id}@{domain}" for domain in (*sorted(domains), "cell.internal")]
    return [f"{name}+{what}" for name in names for what in ("attributes", "settings", "defaults", "failedlogins")]


def keys_of_collection(owner: str, collection: str) -> list[str]:
    return [f"{owner}/{collection}+acl", f"/Users/{owner}/{collection}"]
