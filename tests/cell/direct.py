"""Mailboxes ordered of a cell's agent itself, for tests of what happens inside a cell."""

import ssl
from contextlib import AbstractContextManager
from imaplib import IMAP4_SSL
from typing import Any
from uuid import uuid4

import httpx
from argon2 import PasswordHasher

from provisioning.cell.layout import Cell
from provisioning.terms import PROTOCOLS, ServiceClass
from tests.cell import mail

PASSWORD = "geheim und lang"
HASH = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)


class Box:
    """One mailbox at one agent."""

    def __init__(self, cell: Cell, service_class: ServiceClass = ServiceClass.EXCHANGE) -> None:
        self.cell = cell
        self.mailbox_id = f"mbx_{uuid4().hex}"
        self.address = f"{self.mailbox_id[4:16]}@muster.example"
        self.spec: dict[str, Any] = {
            "kind": "user",
            "service_class": service_class,
            "display_name": "Käthe Müller",
            "quota_mib": 100,
            "protocols": sorted(PROTOCOLS[service_class]),
            "addresses": [self.address],
            "suspended": False,
            "password_version": 1,
        }
        self.id: str = self.put()["backend_id"]

    @property
    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.cell.ca_file))

    def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        return ask(self.cell, method, path, body)

    def put(self, **changes: object) -> dict[str, Any]:
        self.spec |= changes
        answer = self.ask("PUT", f"/mailboxes/{self.mailbox_id}", {"spec": self.spec, "password_hash": HASH})
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def report(self) -> dict[str, Any]:
        answer = self.ask("GET", f"/mailboxes/{self.mailbox_id}")
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def grant(self, role: str, grantee: "Box", *, on: bool = True) -> None:
        method = "PUT" if on else "DELETE"
        assert self.ask(method, f"/boxes/{self.id}/grants/{role}/{grantee.id}").is_success

    def allow(self, folder: str, grantee: "Box", mask: int) -> None:
        assert self.ask("PUT", f"/boxes/{self.id}/folders/{folder}/rights/{grantee.id}", {"mask": mask}).is_success

    def imap(self) -> AbstractContextManager[IMAP4_SSL]:
        where = (self.cell.address, self.cell.ports.imaps)
        return mail.imap(*where, self.address, PASSWORD, trusted=self.trusted)

    def inbox(self) -> list[str]:
        with self.imap() as client:
            return mail.subjects(client)

    def send(self, subject: str, *, to: list["Box"], sender: "Box | None" = None) -> None:
        """Under the sender's address, by the login of this mailbox. Raises smtplib.SMTPException when refused."""
        name = (sender or self).address
        message = mail.letter(subject, sender=name, to=", ".join(each.address for each in to))
        where = (self.cell.address, self.cell.ports.submissions)
        mail.submit(*where, self.address, PASSWORD, message, trusted=self.trusted)

    def dav(self, method: str, path: str, *, content: str | None = None, **headers: str) -> httpx.Response:
        """Through the gateway, as customers come."""
        url = f"https://{self.cell.address}:{self.cell.ports.https}/SOGo/dav/{path}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.request(
            method, url, content=content, headers=named, auth=(self.address, PASSWORD), verify=self.trusted
        )


def ask(cell: Cell, method: str, path: str, body: object = None) -> httpx.Response:
    """Of the agent, with its token."""
    headers = {"Authorization": f"Bearer {cell.secrets.agent}"}
    trusted = ssl.create_default_context(cafile=str(cell.ca_file))
    return httpx.request(method, f"{cell.agent_url}/v1{path}", json=body, headers=headers, verify=trusted, timeout=60)


def introduce(box: Box, cell: Cell) -> None:
    """Let another cell know where the mailbox is, as the control plane does."""
    guest = {"mailbox_id": box.mailbox_id, "addresses": [box.address], "display_name": "Gast", "cell": box.cell.name}
    assert ask(cell, "PUT", f"/guests/{box.id}", guest).is_success
