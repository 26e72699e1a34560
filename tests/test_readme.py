"""The README says what is true: its commands are the ones that run, its settings the ones there are."""

import re
from pathlib import Path

from provisioning.core.settings import Settings


def sh_blocks(root: Path) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", (root / "README.md").read_text(), re.DOTALL | re.MULTILINE)


def test_the_first_two_blocks_are_one_command_each(root: Path) -> None:
    assert [block.strip() for block in sh_blocks(root)[:2]] == ["python3 dev.py demo", "python3 dev.py test"]


def test_ci_runs_the_second_one(root: Path) -> None:
    lines = (root / ".ci" / "run").read_text().splitlines()
    assert sh_blocks(root)[1].strip() in [line.removeprefix("exec ").strip() for line in lines]


def test_every_setting_is_documented_with_its_meaning(root: Path) -> None:
    readme = (root / "README.md").read_text()
    for name, field in Settings.model_fields.items():
        [line] = re.findall(rf"^\| `POSTFACHWERK_{name.upper()}` \|.*$", readme, re.MULTILINE)
        assert str(field.description) in line
    assert readme.count("| `POSTFACHWERK_") == len(Settings.model_fields), "a setting that is gone is still listed"


def test_the_example_environment_names_only_settings_there_are(root: Path) -> None:
    names = re.findall(r"^POSTFACHWERK_(\w+)=", (root / ".env.example").read_text(), re.MULTILINE)
    assert names
    assert {name.lower() for name in names} <= set(Settings.model_fields)
