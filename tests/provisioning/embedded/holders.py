"""Processes that hold an embedded PostgreSQL, and looks at what they left."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest
from sqlalchemy import make_url

IS_ROOT = os.geteuid() == 0
SOCKET = ".s.PGSQL.5432"
IMPORTS = os.pathsep.join(str(Path(file).parents[depth]) for file, depth in ((__file__, 3), (psycopg.__file__, 1)))
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root lets another user run the server")

# Holds the server until it reads a line, or is killed.
HOLDER = """
import sys
from pathlib import Path
from provisioning.core.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), fsync=False)
print(server.start(), flush=True)
sys.stdin.readline()
server.stop()
print("stopped", flush=True)
"""


def python_of(user: str | None) -> str | None:
    """A Python that can run HOLDER as `user`: nobody may not enter the folder that ours is in."""
    if user is None:
        return sys.executable
    same = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{same}", f"/usr/local/bin/{same}"):
        tried = subprocess.run(
            ["env", f"PYTHONPATH={IMPORTS}", python, "-c", "import provisioning.core.embedded"],
            check=False,
            capture_output=True,
            user=user,
            group=pwd.getpwnam(user).pw_gid,
            extra_groups=[],
            cwd="/",
        )
        if tried.returncode == 0:
            return python
    return None


class Holder:
    """Another process that holds the server in `directory`, as another user if told so."""

    def __init__(self, directory: Path, *, user: str | None = None, **variables: str) -> None:
        python = python_of(user)
        if python is None:
            pytest.skip(f"user {user} can enter no folder with this Python or this project")
        always = {"PATH": os.environ["PATH"], "PYTHONPATH": IMPORTS, "TMPDIR": tempfile.gettempdir()}
        self.process = subprocess.Popen(
            [python, "-c", HOLDER, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=always | variables,
            cwd="/",
            umask=0o077,
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def url(self) -> str:
        """The URL, once the server is there; empty when it could not be started."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def stop(self) -> None:
        assert self.process.communicate("stop\n", timeout=60)[0] == "stopped\n"

    def kill(self) -> None:
        self.process.kill()
        with self.process:
            pass


def new_folder() -> Path:
    """Not pytest's, which is closed to nobody under root; in memory where there is enough of it."""
    memory = Path("/dev/shm")  # noqa: S108 (mkdtemp makes a folder of our own in it)
    fits = memory.is_dir() and shutil.disk_usage(memory).free > 2e9
    fits = fits and not os.statvfs(memory).f_flag & os.ST_NOEXEC
    return Path(tempfile.mkdtemp(prefix="pfw-test-", dir=memory if fits else None))


def processes_under(directory: Path) -> list[int]:
    """Every living process that works in `directory`, as all processes of a server do in its data."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.readlink(process / "cwd").startswith(f"{directory}/"):
                found.append(int(process.name))
    return found


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        yield connection


def ask(url: str, query: str) -> Any:
    with connected(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row and row[0]


def started_at(url: str) -> Any:
    return ask(url, "SELECT pg_postmaster_start_time()")


def identity(url: str) -> Any:
    return ask(url, "SELECT system_identifier FROM pg_control_system()")


def sockets(url: str) -> Path:
    where = make_url(url).query["host"]
    assert isinstance(where, str)
    return Path(where)


def postmaster(directory: Path) -> int:
    return int((directory / "data" / "postmaster.pid").read_text().split()[0])


def is_gone(url: str) -> bool:
    return not sockets(url).exists() and not processes_under(Path(tempfile.gettempdir()))
