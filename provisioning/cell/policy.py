"""What Postfix asks the agent about a message that a mailbox sends: on whose behalf it does so.

The protocol is Postfix's own: lines of name=value, an empty line, and an answer of one line.
"""

import asyncio

from provisioning.cell.house import House
from provisioning.cell.refusals import Busy

_QUERY = """
    SELECT s.backend_id = l.backend_id AS own,
           EXISTS (SELECT FROM directory.mailbox_grant g WHERE g.backend_id = s.backend_id
                      AND g.grantee = l.backend_id AND role = 'send_as') AS send_as
      FROM directory.address l, directory.address s WHERE l.address = %s AND s.address = %s
"""


async def answer(house: House, asked: dict[str, str]) -> str:
    """An action for Postfix: who only sends on behalf of another is named in the message."""
    login, sender = asked.get("sasl_username", "").lower(), asked.get("sender", "").lower()
    if not login or not sender:
        return "DUNNO"
    try:
        async with house.transaction() as db:
            row = await (await db.execute(_QUERY, [login, sender])).fetchone()
    except Busy:
        return "DEFER_IF_PERMIT the directory does not answer"
    if row is None or row["own"] or row["send_as"]:
        return "DUNNO"
    return f"PREPEND Sender: <{login}>"


async def converse(house: House, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection of Postfix, which asks again and again."""
    asked: dict[str, str] = {}
    try:
        async for line in reader:
            name, _, value = line.decode("utf-8", "replace").rstrip("\n").partition("=")
            if name:
                asked[name] = value
                continue
            writer.write(f"action={await answer(house, asked)}\n\n".encode())
            await writer.drain()
            asked = {}
    except (ConnectionError, ValueError):
        pass
    finally:
        writer.close()
