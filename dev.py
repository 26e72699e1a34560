#!/usr/bin/env python3
"""Set up `.venv` from the locked requirements and run one of the project's commands in it.

Needs Python 3.11 and nothing else, which is why only the standard library is imported here.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Stands above all else: an older Python should get a sentence and not a traceback.
if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts this file chose the Python
    sys.exit(f"dev.py: Python 3.11 or newer is needed, this is {sys.version.split()[0]}.")

if sys.platform != "win32":
    import fcntl

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
LOCKS = {"run": ROOT / "requirements.txt", "dev": ROOT / "requirements-dev.txt"}
PROCESSES_MAX = 8
TYPED = ("api", "billing", "provisioning", "bench", "tests", "dev.py")

COMMANDS = """\
commands:
  demo [OPTIONS]        run the whole job on this machine: database, API, worker, an invoice
                        (--once ends after the job; --help lists the rest)
  test [PYTEST ARGS]    alone: every linter, then every test on all cores;
                        with arguments: only pytest with these arguments
  setup                 create .venv and fill it, which every other command does as well
  lint                  ruff, mypy, import contracts, Dockerfile and compose file
  bench [OPTIONS]       measure against the floors (python -m bench)
  lock [UV OPTIONS]     write requirements.txt and requirements-dev.txt anew (--upgrade for newer releases)

The first call creates .venv and fills it from the lock; later calls only look whether the lock changed.
"""


class SetupError(Exception):
    """Something only the caller can put right; the text says how."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="dev.py",
        usage="python3 dev.py COMMAND [ARGUMENTS]",
        description=(__doc__ or "").splitlines()[0],
        epilog=COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("demo", "test", "setup", "lint", "bench", "lock"), help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments or ["--help"])
    os.chdir(ROOT)
    try:
        return run(chosen.command, chosen.rest)
    except SetupError as error:
        print(f"\ndev.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run(command: str, rest: list[str]) -> int:
    if command == "lock":
        return lock(rest)
    prepare("run" if command == "demo" else "dev")
    if command == "demo":
        return replace_by([str(BIN / "postfachwerk"), "demo", *rest])
    if command == "bench":
        return replace_by([str(PYTHON), "-m", "bench", *rest])
    if command in ("setup", "lint"):
        return lint() if command == "lint" else 0
    if rest:
        return replace_by([str(PYTHON), "-m", "pytest", *rest])
    # The tests run even after a failed linter: one run then shows all there is to repair.
    linted = lint()
    # In the order of tests/conftest.py, which has the long files first, and not the longest lists.
    # One process more than cores: what is tested with real daemons waits for them.
    processes = min((os.cpu_count() or 1) + 1, PROCESSES_MAX)
    return call("pytest", "-n", str(processes), "--dist=loadfile", "--no-loadscope-reorder") or linted


# Setting up -----------------------------------------------------------------------------------------------


def prepare(kind: str) -> None:
    """Make `.venv` hold what the lock of this kind ("run" or "dev") says, and the project itself."""
    if is_ready(kind):
        return
    with one_at_a_time():
        if is_ready(kind):  # another dev.py did it while this one waited
            return
        create_venv()
        for stamp in VENV.glob("stamp-*"):  # a half-done installation must not pass for a finished one
            stamp.unlink()
        quiet = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
        # The lock names everything, and Python compiles what it comes to import, which is a part of it.
        install = [str(PYTHON), "-m", "pip", "install", *quiet, "--no-deps", "--no-compile"]
        step(
            f"installing {LOCKS[kind].name} (the first time takes a minute)",
            [*install, "--require-hashes", "-r", str(LOCKS[kind])],
        )
        step("installing postfachwerk", [*install, "--no-build-isolation", "-e", "."])
        stamp_of(kind).write_text(wanted(kind))


def is_ready(kind: str) -> bool:
    # The development lock holds all of the other one with the same pins.
    kinds = ("run", "dev") if kind == "run" else ("dev",)
    return PYTHON.exists() and any(
        stamp_of(each).exists() and stamp_of(each).read_text() == wanted(each) for each in kinds
    )


def stamp_of(kind: str) -> Path:
    return VENV / f"stamp-{kind}"


def wanted(kind: str) -> str:
    """A fingerprint of all that decides what gets installed, and where."""
    digest = hashlib.sha256(str(ROOT).encode())
    for file in (ROOT / "pyproject.toml", *(LOCKS.values() if kind == "dev" else [LOCKS["run"]])):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def create_venv() -> None:
    if PYTHON.exists():
        pip = subprocess.run([str(PYTHON), "-m", "pip", "--version"], check=False, capture_output=True)
        if pip.returncode == 0:
            return
    if importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupError(
            f"this Python has no ensurepip, so it cannot create a virtual environment.\n"
            f"On Debian and Ubuntu: sudo apt install python3-venv   (or python{version}-venv)"
        )
    step("creating .venv", [sys.executable, "-m", "venv", "--clear", str(VENV)])


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let one dev.py at a time change the environment; the system frees the lock of a killed one."""
    try:
        file = (ROOT / ".venv.lock").open("w")
    except PermissionError:
        raise SetupError(f"{ROOT} cannot be written by this user; use a checkout of your own.") from None
    with file:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("waiting for another dev.py to finish its set-up", file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def step(what: str, command: Sequence[str]) -> None:
    """Run one command of the set-up; its output is shown when it fails."""
    live = sys.stderr.isatty()
    print(what, end="" if live else "\n", file=sys.stderr, flush=True)
    started = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = None
    while output is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            output, _ = process.communicate(timeout=1)
        if live:
            print(f"\r{what} {time.monotonic() - started:3.0f} s", end="", file=sys.stderr, flush=True)
    if live:
        print(file=sys.stderr)
    if process.returncode:
        sys.stderr.write(output.decode(errors="replace"))
        raise SetupError(f"{what}: failed (exit {process.returncode}); the lines above say why.")


# Commands -------------------------------------------------------------------------------------------------


def lint() -> int:
    """Run every linter, also after one has failed; 1 if any did. After mypy, which uses both cores, two at a time."""
    typed = [path for path in TYPED if Path(path).is_file() or any(Path(path).rglob("*.py"))]
    checks = [
        (ROOT, ["mypy", "--num-workers", "2", *typed]),
        (ROOT, ["ruff", "check", "."]),
        (ROOT, ["ruff", "format", "--check", "."]),
        # From inside: seen from the root, the folder's name would stand for the library's. What it imports is known.
        (ROOT / "alembic", ["mypy", "--config-file", "../pyproject.toml", "--cache-dir", "../.mypy_cache", "."]),
        (ROOT, ["lint-imports", "--no-logo"]),
        (ROOT, ["hadolint", "--no-color", "--failure-threshold", "info", "Dockerfile"]),
        (ROOT, ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"]),
    ]
    (folder, types), *others = checks
    statuses = [call(*types, folder=folder)]
    with ThreadPoolExecutor(max_workers=2) as pool:
        statuses += pool.map(lambda check: call(*check[1], folder=check[0], quiet=True), others)
    failed = [" ".join(command[:2]) for (_, command), status in zip(checks, statuses, strict=True) if status]
    if failed:
        print(f"\nlint failed: {', '.join(failed)}\n", flush=True)
    return 1 if failed else 0


def lock(options: Sequence[str]) -> int:
    """Resolve pyproject.toml for every platform; the files name hashes and no index."""
    with one_at_a_time():
        create_venv()
        uv = BIN / "uv"
        if not uv.exists():
            step("installing uv", [str(PYTHON), "-m", "pip", "install", "--quiet", "uv"])
        compiler = [
            *(str(uv), "pip", "compile", "pyproject.toml", "--universal", "--python-version", "3.11"),
            *("--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--quiet"),
            *("--annotation-style", "line"),
            *("--custom-compile-command", "python3 dev.py lock", "--extra", "build", *options),
        ]
        developer = ["--extra", "dev", "-o", "requirements-dev.txt"]
        step("locking requirements-dev.txt", [*compiler, *developer])
        # The tools' own bounds are the narrower ones, and tests must run on what is shipped.
        step("locking requirements.txt", [*compiler, "-c", "requirements-dev.txt", "-o", "requirements.txt"])
    return 0


def call(tool: str, *arguments: str, folder: Path = ROOT, quiet: bool = False) -> int:
    """Run a tool and return its exit status; a quiet one's output is shown in one piece when it has ended."""
    where = "" if folder == ROOT else f"{folder.name}/ "
    title = f"\n{where}$ {' '.join((tool, *arguments))}\n"
    # Some tools start others by name and must find those of this environment.
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [str(BIN / tool), *arguments]
    if not quiet:
        print(title, end="", flush=True)
        return subprocess.run(command, check=False, cwd=folder, env=environment).returncode
    done = subprocess.run(
        command, check=False, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    print(title + done.stdout.decode(errors="replace"), end="", flush=True)
    return done.returncode


def replace_by(command: list[str]) -> int:
    """Become the command, so that signals and the exit status are its own."""
    sys.stdout.flush()
    if os.name != "nt":  # there, exec returns to the shell before the new process ends
        os.execv(command[0], command)  # noqa: S606 - the command and its path are this file's own words
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
