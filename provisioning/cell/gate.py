"""The gate: whether a mailbox includes what a phone or calendar asks the gateway for.

SOGo knows one answer for all its protocols and remembers it for minutes; this one is exact and true at once.
"""

import base64
import binascii

from provisioning.cell.house import House

_QUERY = """
    SELECT protocols, suspended OR phase <> 'home' AS shut FROM directory.homes
     WHERE presence = 'present' AND backend_id =
       (SELECT backend_id FROM directory.address WHERE address = %(name)s UNION SELECT %(name)s LIMIT 1)
"""


async def may_pass(house: House, *, protocol: str, uri: str, authorization: str) -> bool:
    """False when the mailbox whose name is given lacks the protocol. Whether the password is right SOGo says."""
    name = _name(authorization)
    if name is None:
        return True
    async with house.transaction() as db:
        row = await (await db.execute(_QUERY, {"name": name})).fetchone()
    if row is None:
        return True
    if row["shut"]:
        return False
    return bool(_needed(protocol, uri) & set(row["protocols"]))


def _needed(protocol: str, uri: str) -> set[str]:
    """Any of these will do."""
    if protocol == "activesync":
        return {"activesync"}
    parts = uri.split("/")
    if "Calendar" in parts:
        return {"caldav"}
    return {"carddav"} if "Contacts" in parts else {"caldav", "carddav"}


def _name(authorization: str) -> str | None:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0].lower()
    except (binascii.Error, UnicodeDecodeError):
        return None
