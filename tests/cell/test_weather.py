"""A cell or a part of it is away while something is wanted: it waits, says for what, and ends right."""

import re
from collections.abc import Iterator

import pytest

from tests import cells as real
from tests.cell.groupware import event, new_uid
from tests.cell.mail import append, letter, subjects
from tests.cell.office import PATIENCE_SECONDS, Json, Office, Person
from tests.cell.service import Service, running_service
from tests.cells import Cells
from tests.spares import Spares
from tests.waiting import until

HERE, THERE = "de-fra-1", "fi-hel-1"


@pytest.fixture(scope="module")
def cells() -> Cells:
    """Two of its own: others must not feel this weather."""
    return real.cells("w")


@pytest.fixture(scope="module")
def service(cells: Cells, spares: Spares) -> Iterator[Service]:
    with spares.taken() as database_url, running_service(cells, database_url) as service:
        yield service


def operation_of(office: Office, mailbox_id: str) -> Json:
    """The newest operation on a mailbox."""
    found: list[Json] = office.api.call("GET", "/operations", mailbox=mailbox_id)["items"]
    return max(found, key=lambda each: str(each["created_at"]))


def waits_for(office: Office, mailbox_id: str, words: str) -> bool:
    operation = operation_of(office, mailbox_id)
    assert operation["state"] in ("queued", "running"), operation
    return re.search(words, operation["reason"] or "") is not None


def settled(office: Office, person: Person) -> bool:
    operation = operation_of(office, person.id)
    assert operation["state"] != "failed", operation
    return bool(operation["state"] == "succeeded")


class TestAnOrder:
    def test_waits_for_a_cell_that_is_down_and_ends_right_when_it_is_back(self, office: Office, cells: Cells) -> None:
        with cells.down(HERE):
            person = office.order("geduld", wait=False)
            until(lambda: waits_for(office, person.id, "de-fra-1 does not answer"))
            assert person.view()["state"] == "provisioning"
        until(lambda: settled(office, person), PATIENCE_SECONDS)
        person.set_password("Endlich-da-und-lang-7")
        assert person.inbox() == []

    def test_is_not_doubled_when_the_agent_dies_over_it(self, office: Office, cells: Cells) -> None:
        people = []
        for number in range(4):
            people.append(office.order(f"eilig-{number}", wait=False))
            cells.restart_agent(HERE)
        for person in people:
            until(lambda person=person: settled(office, person), PATIENCE_SECONDS)  # type: ignore[misc]  # bound per turn
        assert len({person.view()["id"] for person in people}) == 4
        people[0].set_password("Einmal-und-lang-genug-7")
        assert people[0].inbox() == []

    def test_elsewhere_waits_too_since_it_might_lie_in_the_cell_that_is_away(
        self, office: Office, cells: Cells
    ) -> None:
        with cells.without(THERE, "agent"):
            person = office.order("anderswo", wait=False)
            until(lambda: waits_for(office, person.id, "fi-hel-1 does not answer"))
        until(lambda: settled(office, person), PATIENCE_SECONDS)


class TestAShare:
    def test_waits_for_dovecot_and_opens_when_it_is_back(self, office: Office, cells: Cells) -> None:
        owner, grantee = office.order("geber"), office.order("nehmer")
        with owner.imap() as client:
            append(client, letter("Zum Lesen", sender=owner.address, to=owner.address))
        with cells.without(HERE, "dovecot"):
            path = f"/mailboxes/{owner.id}/shares/inbox/{grantee.id}"
            assert office.api.call("PUT", path, {"access": "read"}, wait=False)["state"] == "pending"
            until(lambda: waits_for(office, owner.id, "de-fra-1 is busy"))
        until(lambda: settled(office, owner), PATIENCE_SECONDS)
        with grantee.imap() as client:
            assert subjects(client, f"shared/{owner.address}") == ["Zum Lesen"]

    def test_of_what_is_here_goes_on_while_another_cell_is_away(self, office: Office, cells: Cells) -> None:
        owner, grantee = office.order("kalender"), office.order("mitleser")
        dav = owner.dav()
        dav.put(dav.own("personal"), "termin.ics", event(new_uid(), "Termin"))
        with cells.without(THERE, "agent"):
            assert owner.share("calendar", grantee, "read")["state"] == "active"
        reader = grantee.dav()
        [path] = reader.shared()
        assert "SUMMARY:Termin" in (reader.get(path, "termin.ics") or "")


class TestAMove:
    def furnish(self, person: Person) -> list[str]:
        with person.imap() as client:
            for number in range(20):
                append(client, letter(f"Brief {number}", sender=person.address, to=person.address))
        return sorted(f"Brief {number}" for number in range(20))

    def test_waits_for_the_target_and_stays_usable_meanwhile(self, office: Office, cells: Cells) -> None:
        person = office.order("ziel-weg")
        letters = self.furnish(person)
        with cells.down(THERE):
            office.api.call("POST", f"/mailboxes/{person.id}/move", {"location": THERE}, wait=False)
            until(lambda: waits_for(office, person.id, "fi-hel-1 does not answer"))
            assert sorted(person.inbox()) == letters
        until(lambda: settled(office, person), PATIENCE_SECONDS)
        person.cell = cells.by_code[THERE]
        assert sorted(person.inbox()) == letters

    def test_waits_for_the_source_and_loses_nothing(self, office: Office, cells: Cells) -> None:
        person = office.order("quelle-weg")
        letters = self.furnish(person)
        with cells.down(HERE):
            office.api.call("POST", f"/mailboxes/{person.id}/move", {"location": THERE}, wait=False)
            until(lambda: waits_for(office, person.id, "de-fra-1 does not answer"))
        until(lambda: settled(office, person), PATIENCE_SECONDS)
        person.cell = cells.by_code[THERE]
        assert sorted(person.inbox()) == letters

    @pytest.mark.parametrize("code", [HERE, THERE])
    def test_goes_on_where_an_agent_was_killed(self, office: Office, cells: Cells, code: str) -> None:
        person = office.order(f"gestolpert-{code}")
        letters = self.furnish(person)
        office.api.call("POST", f"/mailboxes/{person.id}/move", {"location": THERE}, wait=False)
        for _ in range(3):
            cells.restart_agent(code)
        until(lambda: settled(office, person), PATIENCE_SECONDS)
        person.cell = cells.by_code[THERE]
        assert sorted(person.inbox()) == letters
        assert person.view()["location"] == THERE

    def test_that_is_called_back_leaves_it_where_it_was(self, office: Office, cells: Cells) -> None:
        person = office.order("umentschieden")
        letters = self.furnish(person)
        with cells.down(THERE):
            office.api.call("POST", f"/mailboxes/{person.id}/move", {"location": THERE}, wait=False)
            until(lambda: waits_for(office, person.id, "fi-hel-1 does not answer"))
            office.api.call("POST", f"/mailboxes/{person.id}/move", {"location": HERE}, wait=False)
        until(lambda: settled(office, person), PATIENCE_SECONDS)
        assert sorted(person.inbox()) == letters
        assert person.view()["location"] == HERE
