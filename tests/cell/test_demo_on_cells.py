"""The demo on real data centres: the same story, and mailboxes that a mail program opens."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests import cells

SECONDS_MAX = 170


@pytest.mark.slow
def test_the_demo_onboards_an_office_on_two_cells_and_says_what_to_type_into_a_phone(root: Path) -> None:
    if reason := cells.why_not():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)  # the account of the daemons passes through
        done = subprocess.run(
            [sys.executable, "-m", "api.cli", "demo", "--cell", "--once", "--port", "0"],
            cwd=root,
            env={**os.environ, "COLUMNS": "140", "TMPDIR": folder},
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        assert list(Path(folder).iterdir()) == [], "nothing is left behind"
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Bring up the data centres de-fra-1 and de-nbg-1" in done.stdout
    assert "✓ Log in to them, as a mail program would" in done.stdout
    assert re.search(r"Phone \(Exchange\) +│ https://\S+/Microsoft-Server-ActiveSync", done.stdout)
    assert re.search(r"Invoice PF-\d{4}-000001", done.stdout)
