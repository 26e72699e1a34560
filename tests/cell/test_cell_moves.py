"""A move call by call, as the driver asks for it, and what happens when it stops on the way."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from provisioning.cell.layout import Cell
from tests.cell import mail
from tests.cell.direct import Box, ask
from tests.cells import Cells

TO = {"to": "fi-hel-1"}


@pytest.fixture
def box(cells: Cells) -> Box:
    return Box(cells.by_code["de-fra-1"])


@pytest.fixture
def target(cells: Cells) -> Cell:
    return cells.by_code["fi-hel-1"]


def arrive(box: Box, target: Cell) -> None:
    record = box.ask("GET", f"/boxes/{box.id}/record").json()
    assert ask(target, "PUT", f"/arrivals/{box.id}", record).is_success


def copy(box: Box) -> None:
    while not box.ask("POST", f"/boxes/{box.id}/copy", TO).json()["done"]:
        pass


def freeze(box: Box) -> None:
    assert box.ask("POST", f"/boxes/{box.id}/freeze", TO).is_success


def hand_over(box: Box, target: Cell) -> None:
    assert box.ask("POST", f"/boxes/{box.id}/hold", TO).json() == {"held": True}
    for _ in range(2):
        assert ask(target, "POST", f"/arrivals/{box.id}/activate").is_success
    for _ in range(2):
        assert box.ask("POST", f"/boxes/{box.id}/depart", TO).is_success


@contextmanager
def moved(box: Box, target: Cell) -> Iterator[None]:
    home, box.cell = box.cell, target
    yield
    box.cell = home


class TestMoves:
    def test_the_archive_goes_along(self, box: Box, target: Cell) -> None:
        assert box.ask("PUT", f"/boxes/{box.id}/archive", {"on": True}).is_success
        with box.imap() as client:
            client.create("Archive/2025")
            mail.append(client, mail.letter("von früher", sender=box.address, to=box.address), "Archive/2025")
        arrive(box, target)
        freeze(box)
        copy(box)
        hand_over(box, target)
        with moved(box, target), box.imap() as client:
            assert mail.subjects(client, "Archive/2025") == ["von früher"]
        assert not (box.cell.mail / box.id).exists()

    def test_who_lives_elsewhere_is_known_as_a_guest(self, box: Box, target: Cell) -> None:
        arrive(box, target)
        freeze(box)
        copy(box)
        assert ask(target, "GET", f"/boxes/{box.id}").json()["state"] == "arriving"
        hand_over(box, target)
        assert ask(target, "GET", f"/boxes/{box.id}").json()["state"] == "here"
        assert box.ask("GET", f"/boxes/{box.id}").json()["state"] == "guest"
        gone = box.ask("GET", f"/mailboxes/{box.mailbox_id}")
        assert (gone.status_code, gone.json()["guest"]["cell"]) == (404, "fi-hel-1")

    def test_nothing_is_erased_that_is_not_held(self, box: Box, target: Cell) -> None:
        arrive(box, target)
        freeze(box)
        copy(box)
        refusal = box.ask("POST", f"/boxes/{box.id}/depart", TO)
        assert (refusal.status_code, refusal.json()["code"]) == (409, "wrong_state")
        assert (box.cell.mail / box.id).exists()

    def test_a_move_given_up_leaves_everything_as_it_was(self, box: Box, target: Cell) -> None:
        with box.imap() as client:
            mail.append(client, mail.letter("bleibt", sender=box.address, to=box.address))
        before = box.report()
        arrive(box, target)
        copy(box)
        freeze(box)
        assert ask(target, "DELETE", f"/arrivals/{box.id}").is_success
        assert not (target.mail / box.id).exists()
        assert box.ask("POST", f"/boxes/{box.id}/thaw").is_success
        assert box.report() == before
        assert box.inbox() == ["bleibt"]

    def test_what_lives_in_the_target_is_not_given_up(self, box: Box, target: Cell) -> None:
        arrive(box, target)
        freeze(box)
        copy(box)
        hand_over(box, target)
        refusal = ask(target, "DELETE", f"/arrivals/{box.id}")
        assert (refusal.status_code, refusal.json()["code"]) == (409, "wrong_state")

    def test_a_frozen_mailbox_is_not_changed_and_not_opened(self, box: Box) -> None:
        freeze(box)
        answer = box.ask("PUT", f"/mailboxes/{box.mailbox_id}", {"spec": box.spec, "password_hash": None})
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
        assert int(answer.headers["Retry-After"]) > 0
        with pytest.raises(Exception, match="moved"), box.imap():
            pass

    def test_an_arriving_mailbox_is_open_to_nobody(self, box: Box, target: Cell) -> None:
        arrive(box, target)
        copy(box)
        with moved(box, target), pytest.raises(Exception, match="AUTHENTICATIONFAILED"), box.imap():
            pass

    def test_no_copy_goes_to_a_cell_that_is_not_known(self, box: Box) -> None:
        answer = box.ask("POST", f"/boxes/{box.id}/copy", {"to": "no-one-1"})
        assert answer.status_code == 404
        assert box.report()["moving"] is None
