"""The demo as a new user runs it: one command, the whole job, nothing left behind."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.demo.roster import RosterError, read_roster

SECONDS_MAX = 150


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A temporary folder of the demo's own, which `nobody` can enter when root runs this."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture(scope="module")
def demo(folder: Path) -> subprocess.CompletedProcess[str]:
    """One run of the whole job, though the environment names a database of somebody's."""
    environment = {
        "COLUMNS": "140",
        "TMPDIR": str(folder),
        "POSTFACHWERK_DEMO_ONCE": "1",
        "POSTFACHWERK_DATABASE_URL": "postgresql://nowhere.invalid/real",
    }
    return subprocess.run(
        [sys.executable, "-m", "api.cli", "demo", "--port", "0"],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


def test_the_demo_onboards_and_shares(demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "Müller-Lüdenscheidt" in demo.stdout
    assert "Besprechungszimmer Löwe" in demo.stdout
    assert demo.stdout.count(" active ") == 14 + 2, "fourteen mailboxes and two shares"
    assert "Editor" in demo.stdout
    assert "Reviewer" in demo.stdout


def test_its_invoice_is_the_formula_by_the_day(demo: subprocess.CompletedProcess[str]) -> None:
    lines = re.findall(r"│ (exchange|imap|pop3) +│ +(\d+) │ +(\d+) │ +€(\d+\.\d\d) │ +€(\d+\.\d\d) │", demo.stdout)
    assert [line[0] for line in lines] == ["exchange", "imap", "pop3"], demo.stdout
    days = int(lines[0][2])
    # One Exchange and one POP3 mailbox are ordered on the 17th, the others on the 1st.
    assert [int(line[1]) for line in lines] == [9 * days - 16, 3 * days, 2 * days - 16]
    for _, quantity, base, price, net in lines:
        exact = int(quantity) * round(float(price) * 100) / int(base)
        assert abs(round(float(net) * 100) - exact) <= 0.5


def test_it_leaves_nothing_behind(demo: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert demo.returncode == 0
    assert not list(folder.iterdir())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_a_staff_list_is_read_however_excel_saved_it(root: Path, tmp_path: Path, encoding: str) -> None:
    text = (root / "examples" / "kanzlei.csv").read_text("utf-8-sig")
    path = tmp_path / "list.csv"
    path.write_text(text, encoding)
    entries = read_roster(path)
    assert len(entries) == 14
    assert entries[1].order["display_name"] == "Käthe Özdemir"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("Klasse", "Sorte", "Klasse"),
        (";POP3;", ";Fax;", "line 10"),
        (";Raum;1;", ";Raum;31;", "line 15"),
    ],
)
def test_a_staff_list_with_a_mistake_names_it(root: Path, tmp_path: Path, old: str, new: str, named: str) -> None:
    text = (root / "examples" / "kanzlei.csv").read_text("utf-8-sig")
    path = tmp_path / "list.csv"
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(RosterError, match=named):
        read_roster(path)
