"""`postfachwerk` as somebody types it, in a process of its own."""

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from api import cli

ROOT = Path(__file__).parent.parent.parent

# To import everything takes seconds, so one process does it and each of the others begins as a copy of it.
FORK = get_context("forkserver")
FORK.set_forkserver_preload([__name__])


@dataclass(frozen=True, slots=True)
class Said:
    """How the process ended, and what it wrote."""

    code: int | None
    output: str
    error: str

    @property
    def all(self) -> str:
        return self.output + self.error


async def start(env: Mapping[str, str], *words: str, folder: Path = ROOT) -> Said:
    """As the shell starts it."""
    command = [sys.executable, "-m", "api.cli", *words]
    done = await anyio.run_process(command, cwd=folder, env={**env, "PYTHONPATH": str(ROOT)}, check=False)
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


async def run(env: Mapping[str, str], *words: str, folder: Path = ROOT) -> Said:
    """The same from `main` on, sooner."""
    return await run_sync(_run, dict(env), words, folder)


def _run(env: dict[str, str], words: tuple[str, ...], folder: Path) -> Said:
    with tempfile.TemporaryDirectory() as name:
        output, error = Path(name) / "output", Path(name) / "error"
        process = FORK.Process(target=_main, args=(env, words, folder, output, error))
        process.start()
        process.join()
        code = process.exitcode
        process.close()
        return Said(code, output.read_text(encoding="utf-8"), error.read_text(encoding="utf-8"))


def _main(env: dict[str, str], words: tuple[str, ...], folder: Path, output: Path, error: Path) -> None:
    for file, stream in ((output, sys.stdout), (error, sys.stderr)):
        os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY), stream.fileno())
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.argv = ["postfachwerk", *words]
    cli.main()
