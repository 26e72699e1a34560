"""CalDAV and CardDAV as a calendar application speaks them, beginning at the address a user types."""

import ssl
from uuid import uuid4
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import httpx

NAMES = {"d": "DAV:", "c": "urn:ietf:params:xml:ns:caldav", "a": "urn:ietf:params:xml:ns:carddav"}
_NAMESPACES = 'xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav" xmlns:a="urn:ietf:params:xml:ns:carddav"'


def event(uid: str, summary: str, *, day: str = "20261118", private: bool = False) -> str:
    """An appointment of an hour on this day, at nine in UTC."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Postfachwerk//Test//DE", "BEGIN:VEVENT"]
    lines += [f"UID:{uid}", f"SUMMARY:{summary}", f"DTSTAMP:{day}T080000Z"]
    lines += [f"DTSTART:{day}T090000Z", f"DTEND:{day}T100000Z", *(["CLASS:PRIVATE"] if private else [])]
    return "\r\n".join([*lines, "END:VEVENT", "END:VCALENDAR", ""])


def task(uid: str, summary: str) -> str:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Postfachwerk//Test//DE", "BEGIN:VTODO"]
    lines += [f"UID:{uid}", f"SUMMARY:{summary}", "DTSTAMP:20261118T080000Z", "STATUS:NEEDS-ACTION"]
    return "\r\n".join([*lines, "END:VTODO", "END:VCALENDAR", ""])


def card(uid: str, given: str, family: str, email: str) -> str:
    lines = ["BEGIN:VCARD", "VERSION:3.0", f"UID:{uid}", f"N:{family};{given};;;", f"FN:{given} {family}"]
    return "\r\n".join([*lines, f"EMAIL;TYPE=INTERNET:{email}", "END:VCARD", ""])


class Dav:
    """One user's client. Close it with `dav.close()`."""

    def __init__(self, url: str, user: str, password: str, *, trusted: ssl.SSLContext) -> None:
        self._http = httpx.Client(
            base_url=url, auth=(user, password), verify=trusted, timeout=60, trust_env=False, follow_redirects=True
        )

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, body: str = "", **headers: str) -> httpx.Response:
        return self._http.request(
            method, path, content=body.encode(), headers={"Content-Type": "application/xml; charset=utf-8", **headers}
        )

    def home(self, kind: str = "c:calendar-home-set") -> str:
        """The path below which this user's collections lie, as an application finds it."""
        service = "carddav" if kind.startswith("a:") else "caldav"
        principal = self._property(f"/.well-known/{service}", "d:current-user-principal")
        return self._property(principal, kind)

    def _property(self, path: str, name: str) -> str:
        answer = self._propfind(path, f"<{name}/>", depth=0)
        found = answer.find(f".//{name}/d:href", NAMES)
        assert found is not None, ElementTree.tostring(answer)
        return found.text or ""

    def collections(self) -> dict[str, str]:
        """Path -> displayed name of all calendars and task lists the user sees, those of others included."""
        return self._collections(self.home(), "d:resourcetype/c:calendar")

    def address_books(self) -> dict[str, str]:
        return self._collections(self.home("a:addressbook-home-set"), "d:resourcetype/a:addressbook")

    def _collections(self, home: str, kind: str) -> dict[str, str]:
        answer = self._propfind(home, "<d:displayname/><d:resourcetype/>", depth=1)
        return {
            each.findtext("d:href", "", NAMES): each.findtext(".//d:displayname", "", NAMES)
            for each in answer.iterfind("d:response", NAMES)
            if each.find(f".//{kind}", NAMES) is not None
        }

    def shared(self, kind: str = "calendar") -> list[str]:
        """The paths of what others have shared: calendar, tasks or contacts."""
        seen = self.address_books() if kind == "contacts" else self.collections()
        ending = "_tasks/" if kind == "tasks" else "_personal/"
        return sorted(path for path in seen if path.endswith(ending))

    def own(self, name: str, kind: str = "c:calendar-home-set") -> str:
        """The path of a collection of the user's own: personal or tasks."""
        return f"{self.home(kind).rstrip('/')}/{name}/"

    def names(self, collection: str) -> set[str]:
        """The names of what lies in a collection."""
        answer = self._propfind(collection, "<d:getetag/>", depth=1)
        paths = (each.findtext("d:href", "", NAMES) for each in answer.iterfind("d:response", NAMES))
        return {path.rpartition("/")[2] for path in paths if not path.endswith("/")}

    def put(self, collection: str, name: str, content: str) -> int:
        """The status; the content tells whether it is a calendar or a card."""
        kind = "text/vcard" if content.startswith("BEGIN:VCARD") else "text/calendar"
        return self.request("PUT", collection + name, content, **{"Content-Type": f"{kind}; charset=utf-8"}).status_code

    def get(self, collection: str, name: str) -> str | None:
        answer = self.request("GET", collection + name)
        return answer.text if answer.status_code == httpx.codes.OK else None

    def delete(self, collection: str, name: str) -> int:
        return self.request("DELETE", collection + name).status_code

    def status(self, path: str = "/SOGo/dav/") -> int:
        """How the server answers to a look at this path."""
        return self.request("PROPFIND", path, _propfind_body("<d:resourcetype/>"), Depth="0").status_code

    def _propfind(self, path: str, properties: str, *, depth: int) -> Element:
        answer = self.request("PROPFIND", path, _propfind_body(properties), Depth=str(depth))
        assert answer.status_code == httpx.codes.MULTI_STATUS, f"{path}: {answer.status_code} {answer.text[:300]}"
        return ElementTree.fromstring(answer.content)  # noqa: S314  # of the cell under test


def _propfind_body(properties: str) -> str:
    return f'<?xml version="1.0"?><d:propfind {_NAMESPACES}><d:prop>{properties}</d:prop></d:propfind>'


def new_uid() -> str:
    return uuid4().hex
