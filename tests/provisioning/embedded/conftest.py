"""Folders with an embedded PostgreSQL in them, for this user and for nobody."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from provisioning.core.embedded import EmbeddedPostgres
from tests.provisioning.embedded.holders import (
    IS_ROOT,
    new_folder,
    processes_under,
)
from tests.waiting import until


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of the test's own, like /tmp in that any user may make directories in it."""
    own = new_folder()
    own.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    yield own
    for process in processes_under(own):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGINT)  # a server that is killed leaves shared memory behind
    until(lambda: not processes_under(own))
    shutil.rmtree(own)


@pytest.fixture(scope="module")
def initialised() -> Iterator[Path]:
    """A directory whose server has run and was stopped, to copy from: initdb takes most of a first start."""
    own = new_folder()
    own.chmod(0o711)
    with EmbeddedPostgres(own / "pg", fsync=False):
        pass
    yield own / "pg"
    shutil.rmtree(own)


@pytest.fixture(params=["this user", "nobody"])
def user(request: pytest.FixtureRequest) -> str | None:
    """Who holds the server: this process's user, which may be root, or one that surely is not."""
    if request.param == "this user":
        return None
    if not IS_ROOT:
        pytest.skip("only root can become nobody")
    return "nobody"


@pytest.fixture
def pg(home: Path, initialised: Path) -> Path:
    subprocess.run(["cp", "-a", initialised, home / "pg"], check=True)
    return home / "pg"
