"""The bench runs, says what it found beside its targets, and judges no machine here: figures are not asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SUBJECTS = ("orders", "lists", "access", "documents")


@pytest.mark.slow
def test_a_quick_bench_prints_each_target_and_writes_what_it_measured(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--json", str(file), *SUBJECTS],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text(encoding="utf-8"))
    assert report["quick"] is True
    assert tuple(report["subjects"]) == SUBJECTS
    for subject in report["subjects"].values():
        assert subject["title"] in done.stdout
        assert subject["rows"]
        assert subject["targets"]
        for row in subject["rows"]:
            assert row["name"]
            assert all(figure is None or figure >= 0 for name, figure in row.items() if name != "name")
        for target in subject["targets"]:
            assert target["holds"] in (True, False, None)
            assert f"target: {target['what']}:" in done.stdout


def test_an_unknown_subject_is_answered_with_those_there_are(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "mailbixes"], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert all(subject in done.stderr for subject in (*SUBJECTS, "invoices"))
