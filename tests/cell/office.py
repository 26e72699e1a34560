"""A reseller's dashboard and the people of its customer: orders over REST alone, and clients at the cells."""

import imaplib
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any
from uuid import uuid4

import httpx

from provisioning.cell.layout import Cell
from tests.cell import mail
from tests.cell.activesync import Phone
from tests.cell.groupware import Dav
from tests.cells import CODES, Cells
from tests.waiting import until

Json = dict[str, Any]

WAIT = {"Prefer": "wait=30"}
PATIENCE_SECONDS = 60.0
OVER = ("succeeded", "failed", "cancelled")


class Api:
    """One key's calls, every answer checked."""

    def __init__(self, url: str, secret: str) -> None:
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60, trust_env=False
        )

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: Json | None = None, *, wait: bool = True, **query: Any) -> Json:
        """What the API answers, which must be no refusal; `wait` holds it until the data centre has confirmed."""
        answer = self.bare(method, path, body, wait=wait, **query)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        found: Json = answer.json() if answer.content else {}
        return found

    def bare(
        self, method: str, path: str, body: Json | None = None, *, wait: bool = True, **query: Any
    ) -> httpx.Response:
        headers = dict(WAIT) if wait else {}
        if method == "POST":
            headers["Idempotency-Key"] = uuid4().hex
        return self._http.request(method, f"/v1{path}", json=body, headers=headers, params=query)


@dataclass
class Person:
    """A mailbox and all its programs. `cell` is where it was ordered."""

    office: "Office"
    id: str
    address: str
    password: str
    cell: Cell
    _open: list[Callable[[], None]] = field(default_factory=list)

    @property
    def _trusted(self) -> ssl.SSLContext:
        return self.office.trusted

    @property
    def web(self) -> str:
        return f"https://{self.cell.address}:{self.cell.ports.https}"

    def imap(self) -> AbstractContextManager[imaplib.IMAP4_SSL]:
        where = (self.cell.address, self.cell.ports.imaps)
        return mail.imap(*where, self.address, self.password, trusted=self._trusted)

    def inbox(self) -> list[str]:
        """The subjects of what has come."""
        with self.imap() as client:
            return mail.subjects(client)

    def pop3(self) -> list[str]:
        where = (self.cell.address, self.cell.ports.pop3s)
        return mail.fetch_by_pop3(*where, self.address, self.password, trusted=self._trusted)

    def submit(self, message: EmailMessage) -> None:
        where = (self.cell.address, self.cell.ports.submissions)
        mail.submit(*where, self.address, self.password, message, trusted=self._trusted)

    def write(self, to: "Person | str", subject: str) -> None:
        recipient = to if isinstance(to, str) else to.address
        self.submit(mail.letter(subject, sender=self.address, to=recipient))

    def dav(self) -> Dav:
        dav = Dav(self.web, self.address, self.password, trusted=self._trusted)
        self._open.append(dav.close)
        return dav

    def phone(self) -> Phone:
        phone = Phone(self.web, self.address, self.password, trusted=self._trusted)
        self._open.append(phone.close)
        return phone

    def close(self) -> None:
        while self._open:
            self._open.pop()()

    def view(self) -> Json:
        return self.office.api.call("GET", f"/mailboxes/{self.id}")

    def act(self, verb: str, body: Json | None = None) -> Json:
        """suspend, resume, restore, purge, move, or delete, until it is done."""
        if verb == "delete":
            return self.office.finish(self.office.api.call("DELETE", f"/mailboxes/{self.id}"))
        return self.office.finish(self.office.api.call("POST", f"/mailboxes/{self.id}/{verb}", body))

    def move(self, code: str) -> None:
        self.act("move", {"location": code})
        self.cell = self.office.cells.by_code[code]

    def change(self, **what: Any) -> Json:
        return self.office.finish(self.office.api.call("PATCH", f"/mailboxes/{self.id}", what))

    def share(self, scope: str, grantee: "Person", access: str | None = None, **more: Any) -> Json:
        body = {**({} if access is None else {"access": access}), **more}
        return self.office.api.call("PUT", f"/mailboxes/{self.id}/shares/{scope}/{grantee.id}", body)

    def revoke(self, scope: str, grantee: "Person") -> None:
        self.office.api.call("DELETE", f"/mailboxes/{self.id}/shares/{scope}/{grantee.id}")

    def set_password(self, password: str) -> None:
        self.office.api.call("PUT", f"/mailboxes/{self.id}/password", {"password": password})
        self.password = password


@dataclass
class Office:
    """A customer with a domain that is its own."""

    cells: Cells
    api: Api
    customer_id: str
    domain: str
    trusted: ssl.SSLContext
    people: list[Person] = field(default_factory=list)

    def order(
        self, name: str, *, service_class: str = "exchange", at: str = CODES[0], wait: bool = True, **details: Any
    ) -> Person:
        """A mailbox with a password, in service unless one does not wait for it."""
        address, password = f"{name}@{self.domain}", f"Fachwerk-{uuid4().hex[:12]}"
        body = {"address": address, "display_name": name.title(), "service_class": service_class, "location": at}
        ordered = self.api.call("POST", "/mailboxes", {**body, **details}, wait=wait)
        person = Person(self, ordered["id"], address, password, self.cells.by_code[at])
        self.people.append(person)
        if wait:
            assert ordered["state"] == "active", json.dumps(ordered, indent=1)
            person.set_password(password)
        return person

    def finish(self, answer: Json) -> Json:
        """The mailbox once nothing is going on with it any more."""
        path = f"/mailboxes/{answer['id']}"
        settled = ("active", "suspended", "deleted", "purged", "failed")
        until(lambda: self.api.call("GET", path)["state"] in settled, PATIENCE_SECONDS)
        return self.api.call("GET", path)

    def close(self) -> None:
        for person in self.people:
            person.close()


@contextmanager
def office_of(api: Api, cells: Cells, *, name: str = "Kanzlei Lindenhof") -> Iterator[Office]:
    customer = api.call("POST", "/customers", {"name": name})
    domain = api.call(
        "POST", "/domains", {"name": f"kanzlei-{uuid4().hex[:10]}.example", "customer_id": customer["id"]}
    )
    proof = domain["verification"]
    api.call("PUT", f"/sandbox-zone/{proof['name']}/{proof['kind']}", {"values": [proof["expected"]]})
    api.call("POST", f"/domains/{domain['id']}/verify")
    office = Office(cells, api, customer["id"], domain["name"], cells.trusted)
    try:
        yield office
    finally:
        office.close()
